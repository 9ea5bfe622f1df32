"""Damaged files beside a run's checkpoints: named, with what to do, or said to be left out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run

from plausibody.config_file import config_of, to_json
from plausibody.models.checkpoint import save_checkpoint
from plausibody.models.json_file import load_json, load_object
from plausibody.training.compare import compare_runs
from plausibody.training.curves import Curves, read_lines
from plausibody.training.history import read_history, read_skipped

CONFIG = tiny_run("lite", {"train.steps": 9})
HALF = b'{"step": 2, "train/lo'
"""What a power cut leaves of a line."""
JUNK = {
    "half a line": HALF,
    "zeros": b"\0" * 40,
    "no UTF-8": b'{"step": 2, "\xff": 1.0}',
    "no JSON": b"{'step': 2}",
    "empty": b"",
    "no object": b"[2]",
    "a number": b"2",
    "no step": b'{"train/loss": 1.0}',
    "half a step": b'{"step": 2.5, "train/loss": 1.0}',
    "a step in words": b'{"step": "two", "train/loss": 1.0}',
    "a figure in words": b'{"step": 2, "train/loss": "low"}',
    "no figure": b'{"step": 2, "train/loss": null}',
    "a figure beyond all": b'{"step": 2, "train/loss": ' + b"9" * 400 + b"}",
    "two lines in one": HALF + b'{"step": 3, "train/loss": 1.0}',
    "too deep": b'{"step": ' + b"[" * 100_000,
}


def line(step: int, **figures: float) -> bytes:
    return json.dumps({"step": step, "train/loss": 1 / step, **figures}).encode()


def write_lines(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(one + b"\n" for one in lines))
    return path


def make_run(out: Path, *lines: bytes) -> Path:
    """Writes the folder of a run of which two steps were skipped."""
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(to_json(CONFIG)), "utf-8")
    (out / "skipped.json").write_text("[1, 2]", "utf-8")
    write_lines(out / "curves.jsonl", *lines)
    state = {"config": to_json(CONFIG), "skipped": [1, 2]}
    save_checkpoint(out / "checkpoints", 4, {"model": {"weight": torch.zeros(1)}}, state)
    return out


# Curves.


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_a_damaged_line_costs_no_others_and_is_counted(tmp_path: Path, junk: bytes) -> None:
    curves = write_lines(tmp_path / "curves.jsonl", line(1), junk, line(3), junk, line(4))
    lines, damaged = read_lines(curves)
    assert [one.step for one in lines] == [1, 3, 4] and damaged == 2
    with Curves(tmp_path, 3) as again:
        assert again.damaged == 2
        again.write(4, {"train/loss": 0.5})
    assert curves.read_bytes() == line(1) + b"\n" + line(3) + b"\n" + (
        b'{"step": 4, "train/loss": 0.5}\n'
    ), "what is kept stays as it was, byte for byte"
    with Curves(tmp_path, 4) as once_more:
        assert once_more.damaged == 0


def test_where_a_killed_run_breaks_off_is_no_damage(tmp_path: Path) -> None:
    curves = write_lines(tmp_path / "curves.jsonl", line(1), line(2))
    whole = curves.read_bytes()
    for cut in range(len(line(1)) + 1, len(whole)):
        curves.write_bytes(whole[:cut])
        lines, damaged = read_lines(curves)
        assert [one.step for one in lines] == [1] and damaged == 0, cut
    for nothing in (b"", HALF):
        curves.write_bytes(nothing)
        assert read_lines(curves) == ([], 0)
    with Curves(tmp_path / "none", 0, writes=False) as idle:
        assert idle.damaged == 0


def test_figures_that_are_no_numbers_are_kept(tmp_path: Path) -> None:
    lines = (line(1, other=math.nan), line(2, other=math.inf))
    before = write_lines(tmp_path / "curves.jsonl", *lines).read_bytes()
    with Curves(tmp_path, 2) as curves:
        assert curves.damaged == 0
    assert (tmp_path / "curves.jsonl").read_bytes() == before


# Skipped steps.


@pytest.mark.parametrize("content", ["", "[1, 2", "{}", "3", "[1.5]", '["1"]', "[true]", "\0\0"])
def test_damaged_skipped_steps_are_an_error_that_repairs_itself(
    tmp_path: Path, content: str
) -> None:
    out = make_run(tmp_path / "run", line(1))
    assert read_skipped(out) == (1, 2)
    (out / "skipped.json").write_text(content, "utf-8")
    for read in (read_skipped, read_history):
        with pytest.raises(ValueError) as caught:
            read(out)
        message = str(caught.value)
        assert message.startswith(f"{out / 'skipped.json'}: wanted the steps") and "came" in message
        assert "do: write [1, 2] into it, as the newest checkpoint has it" in message
    (out / "skipped.json").unlink()
    assert read_skipped(out) == ()


# What is compared.


def test_damaged_lines_are_told_where_runs_are_compared(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", line(1), HALF, line(3)), make_run(tmp_path / "b", line(1))]
    said: list[str] = []
    compare_runs(runs, tmp_path / "page.html", said.append)
    told = "damaged lines, which are left out of the curves: 1"
    assert said == [f"{runs[0] / 'curves.jsonl'}: {told}"]
    text = (tmp_path / "page.html").read_text("utf-8")
    assert f'<p class="warn">a: {told}.</p>' in text and "b: damaged" not in text


@pytest.mark.parametrize("content", ["", '{"steps": 9, "config"', "[]"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights.json", "wanted the card of the run's weights.*do: train once more with --resume"),
        ("config.json", "wanted a configuration in JSON.*do: correct it; that of a run is in"),
    ],
)
def test_a_damaged_file_of_a_compared_run_is_named(
    tmp_path: Path, name: str, message: str, content: str
) -> None:
    runs = [make_run(tmp_path / "a", line(1)), make_run(tmp_path / "b", line(1))]
    (runs[1] / name).write_text(content, "utf-8")
    with pytest.raises(ValueError, match=f"b/{name}: {message}"):
        compare_runs(runs, tmp_path / "page.html")


@pytest.mark.parametrize("content", ["{", "[]", '{"step": "four"}', "[" * 100_000])
def test_a_damaged_checkpoint_is_passed_over_for_what_is_shown(
    tmp_path: Path, content: str
) -> None:
    out = make_run(tmp_path / "run", line(1))
    newer = save_checkpoint(out / "checkpoints", 5, {}, {"device": "new"})
    assert read_history(out).record["device"] == "new"
    (newer / "state.json").write_text(content, "utf-8")
    assert read_history(out).record["step"] == 4


# The readers.


def test_a_configuration_kept_elsewhere_is_read_or_its_file_is_named() -> None:
    tables = to_json(CONFIG)
    assert config_of({"config": tables}, "state.json", "look") == CONFIG
    for told in ({}, {"config": None}, {"config": [1]}):
        with pytest.raises(ValueError, match="state.json: wanted the configuration.*; do: look$"):
            config_of(told, "state.json", "look")
    broken: dict[str, Any] = {**tables, "train": {"rate": math.nan}}
    with pytest.raises(ValueError, match="state.json, config: train.rate: .* got nan; do: look$"):
        config_of({"config": broken}, "state.json", "look")


@pytest.mark.parametrize(
    ("content", "came"),
    [
        (b"", "no JSON .Expecting value"),
        (b"\xff", "no JSON .*codec can't decode"),
        (b"[1", "no JSON"),
        (b"[" * 100_000, "JSON nested more deeply"),
        (b"[1]", r"an object, came JSON of another kind \(list\)"),
    ],
)
def test_json_that_is_none_is_named_with_what_to_do(
    tmp_path: Path, content: bytes, came: str
) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some.json: wanted a thing.*{came}.*; do: look$"):
        load_object(path, "a thing", "look")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: wanted a thing, found no file; do: check"):
        load_json(tmp_path / "none", "a thing")
    with pytest.raises(ValueError, match="wanted a thing, came a file that cannot be read.*do:"):
        load_json(tmp_path, "a thing")
    (tmp_path / "marked.json").write_bytes(b'\xef\xbb\xbf{"some": NaN}')
    assert math.isnan(load_object(tmp_path / "marked.json", "a thing")["some"])
