"""Runs go on beside damaged files: bit for bit as if nothing had been, or with a word to repair."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from tiny_runs import tiny_run
from torch import Tensor

from plausibody.config_file import to_json
from plausibody.models import checkpoint
from plausibody.models.checkpoint import CheckpointError, load_latest
from plausibody.synth.batch import Batch
from plausibody.synth.stores import SynthAssets
from plausibody.training.page import write_run_page
from plausibody.training.run import train_run
from plausibody.training.trainer import Trainer

CONFIG = tiny_run(
    "lite",
    {"train.steps": 8, "train.checkpoint_every": 2, "train.keep": 3, "train.calibrated": 0,
     "regressor.encoder": "lite"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def quickly(assets: SynthAssets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "plausibody.training.run.open_assets", lambda config, split, *_, **__: assets
    )
    monkeypatch.setattr("plausibody.training.run.Showing", MagicMock())


def go(out: Path, resume: bool = True) -> list[str]:
    said: list[str] = []
    train_run(CONFIG, out, "cpu", resume, say=said.append)
    return said


def stopped_at_six(out: Path, monkeypatch: pytest.MonkeyPatch, bad: int | None = None) -> Path:
    """Trains until the seventh step, after the checkpoint of six; a step may be bad."""
    honest = Trainer.loss

    def loss(trainer: Trainer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if trainer.step == 7:
            raise InterruptedError
        found, parts = honest(trainer, batch)
        return (found * float("nan") if trainer.step == bad else found), parts

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "loss", loss)
        with pytest.raises(InterruptedError):
            go(out, resume=False)
    assert load_latest(out / "checkpoints")[1]["step"] == 6
    return out


def ending(out: Path) -> Any:
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text("utf-8").splitlines()]
    figures = [(line["step"], line.get("train/loss")) for line in lines]
    _, state, passed = load_latest(out / "checkpoints")
    assert not passed
    return state["step"], state["files"], state["skipped"], figures


def test_damaged_curves_cost_their_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(tmp_path / "unbroken", resume=False)
    out = stopped_at_six(tmp_path / "damaged", monkeypatch)
    curves = out / "curves.jsonl"
    lines = curves.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:20] + b"\n"
    curves.write_bytes(b"".join(lines) + b'{"train/loss": 1.0}\n' + lines[0][:30])
    text = write_run_page(out).read_text("utf-8")
    assert "curves.jsonl: damaged lines, which are left out of the curves: 2." in text
    said = go(out)
    assert f"{curves}: damaged lines, which are left out of the curves: 2" in said
    found, wanted = ending(out), ending(tmp_path / "unbroken")
    assert found[:3] == wanted[:3]
    assert found[3] == [figure for figure in wanted[3] if figure[0] != 3]


def test_damaged_skipped_steps_stop_a_run_until_they_are_repaired_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = stopped_at_six(tmp_path / "good", monkeypatch, bad=3)
    out = stopped_at_six(tmp_path / "damaged", monkeypatch, bad=3)
    (out / "skipped.json").write_text("[3", "utf-8")
    before = hashes(out)
    with pytest.raises(ValueError, match=r"skipped.json: wanted .*do: write \[3\] into it"):
        go(out)
    assert hashes(out) == before, "nothing has been changed"
    (out / "skipped.json").write_text("[3]", "utf-8")
    for run in (good, out):
        go(run)
    assert ending(out) == ending(good) and ending(out)[2] == [3]


def hashes(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("lock", "holder.txt")
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "wanted the configuration of a run as 'config', found none; do: move .*step_6 away"),
        ({"train": {"lr": 1}}, "config: unknown configuration key 'train.lr'.*do: move .*step_6"),
    ],
)
def test_a_checkpoint_without_settings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, message: str
) -> None:
    out = stopped_at_six(tmp_path, monkeypatch)
    path = out / "checkpoints" / "step_6" / "state.json"
    state = json.loads(path.read_text("utf-8"))
    del state["sha256"]
    state["config"] = config
    path.write_text(json.dumps({**state, "sha256": checkpoint._seal(state)}), "utf-8")
    with pytest.raises(ValueError, match=f"(?s)step_6/state.json[:,] {message}"):
        go(out)
    path.parent.rename(tmp_path / "checkpoints" / "away")
    assert "resumed at step 4 of 8" in go(out)


def test_what_is_passed_over_is_said_without_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stopped_at_six(tmp_path, monkeypatch)
    for step in (6, 4):
        part = out / "checkpoints" / f"step_{step}" / "model.safetensors"
        part.write_bytes(part.read_bytes()[:-1])
    said = go(out)
    assert [line for line in said if "; it is passed over" in line] == said[:2]
    assert "step_6" in said[0] and not any("use an earlier" in line for line in said)
    assert said[2] == "resumed at step 2 of 8"
    for part in (out / "checkpoints").glob("step_*/model.safetensors"):
        part.write_bytes(b"")
    with pytest.raises(CheckpointError, match="(?s)found none.*do: start over, with another --out"):
        go(out)
    (out / "config.json").write_text(json.dumps(to_json(CONFIG))[:-9], "utf-8")
    with pytest.raises(ValueError, match="config.json: wanted a configuration .*; do: correct it"):
        go(out)
