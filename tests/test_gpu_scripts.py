"""Benchmarks for a GPU: without one they replace no figures, and a piece of a training is told."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from studied import open_script

from plausibody.config_file import to_json
from plausibody.presets import preset

FIGURES = {"gpu_training": "samples_per_second", "gpu_synthesis": "value"}


@pytest.fixture(params=sorted(FIGURES))
def script(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ModuleType:
    """A script on a machine without a GPU, with results of its own, that measures nothing."""
    found = open_script(request.param, monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(found, "OUT", tmp_path / f"{request.param}.json")
    if request.param == "gpu_synthesis":
        unmeasured = found.Figure("raster", found.NOT_MEASURED, "ms", 8)
        monkeypatch.setattr(found, "measure_all", lambda bench: iter([unmeasured]))
    return found


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return open_script("gpu_training", monkeypatch)


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *words])
    script.main()


def write_rows(script: ModuleType, value: Any) -> str:
    text = json.dumps({"rows": [{FIGURES[script.__name__]: value}]})
    script.OUT.write_text(text, "utf-8")
    return text


def test_a_trial_on_the_processor_needs_a_file_of_its_own(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write_rows(script, 7000.0)
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch, "--device", "cpu", "--seconds", "5")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"{script.__name__}: --device cpu: wanted --out" in said and "do: --out" in said
    assert script.OUT.read_text("utf-8") == before


def test_figures_stay_where_there_is_no_gpu(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write_rows(script, 7000.0)
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch)
    assert caught.value.code == 2
    assert "wanted a CUDA device, found none" in capsys.readouterr().err
    assert script.OUT.read_text("utf-8") == before


def test_without_a_gpu_and_figures_nothing_is_written_as_measured(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(script, script.NOT_MEASURED)
    call(script, monkeypatch)
    record = json.loads(script.OUT.read_text("utf-8"))
    assert record["device"].startswith("none: no CUDA device")
    assert {row[FIGURES[script.__name__]] for row in record["rows"]} == {script.NOT_MEASURED}


@pytest.mark.parametrize(
    ("name", "goals"),
    [("paper", [7600, 5000]), ("hierprob", [7600, 5000]), ("hierprob-lite", [None, None])],
)
def test_goals_are_of_the_published_training(
    training: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    goals: list[int | None],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    call(training, monkeypatch, "--preset", name, "--out", str(tmp_path / "out.json"))
    rows = json.loads((tmp_path / "out.json").read_text("utf-8"))["rows"]
    assert [row["goal"] for row in rows] == goals


class Training:
    """A process that ends at once, as one with a wrong setting does."""

    commands: list[list[str]] = []
    returncode = 2

    def __init__(self, command: list[str]):
        self.commands.append(command)

    def wait(self, timeout: float) -> int:
        return self.returncode


@pytest.fixture
def commands(training: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Lists the commands of trainings, none of which is run."""
    monkeypatch.setattr(Training, "commands", [])
    monkeypatch.setattr(training.subprocess, "Popen", Training)
    return Training.commands


def given(run: Path, name: str | None = None, settings: tuple[str, ...] = ()) -> Namespace:
    return Namespace(train=run, preset=name, settings=settings, device="cpu", minutes=1.0)


def test_a_training_that_never_began_leaves_a_piece(
    training: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "new"
    assert training.train_piece(given(run, settings=("train.stpes=3",))) == 2
    assert commands[0][-4:] == ["--preset", "gpu-20min", "--set", "train.stpes=3"]
    piece = json.loads(run.with_name("new.pieces.jsonl").read_text("utf-8"))
    assert piece["exit"] == 2
    assert (piece["step"], piece["done"]) == (0, False)


def test_a_run_hears_of_the_preset_only_if_it_was_told(
    training: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    config = json.dumps(to_json(preset("gpu-20min")))
    (tmp_path / "config.json").write_text(config, "utf-8")
    for name in (None, "lite"):
        training.train_piece(given(tmp_path, name))
    assert commands[0][-1] == "--resume"
    assert commands[1][-3:] == ["--resume", "--preset", "lite"], "which a run of another refuses"
