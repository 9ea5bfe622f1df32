"""Nothing is lost: a run that was killed, stopped, short of space or of numbers ends like another.

Runs are compared by the hashes of their last checkpoint, tensor files of network, average,
objective and optimiser, and by their curves: bit for bit.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from tiny_runs import TINY, tiny_run
from torch import Tensor

from plausibody.commands.terminal import stoppable
from plausibody.config import RunConfig, override
from plausibody.models.checkpoint import CheckpointError, load_checkpoint, load_latest
from plausibody.models.files import DiskFullError
from plausibody.stopping import StopRequest
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets
from plausibody.training.fit import Progress, StoppedError
from plausibody.training.folder import prepare_folder
from plausibody.training.run import MOST_SKIPPED, HopelessError, train_run
from plausibody.training.trainer import NonFiniteLossError, Trainer

STEPS = 10
SMALL: dict[str, Any] = {
    "train.steps": STEPS,
    "train.rate": 3e-3,
    "train.checkpoint_every": 3,
    "train.validate_every": 4,
    "train.calibrated": 0,
    "regressor.encoder": "lite",
}
STRAPS = {"stream.straps.size": 32, "train.average": 0.99}
"""Its weights of losses are learned."""
HIERPROB = {
    "train.second_stage": STEPS // 2,
    "stream.lite.shape.gendered": 0.0,
    "regressor.gendered": False,
}


def small(name: str = "lite", **changes: Any) -> RunConfig:
    own = {"lite": {}, "straps": STRAPS, "hierprob-lite": HIERPROB}[name]
    return tiny_run(name, SMALL | own, **changes)


class KilledError(BaseException):
    """As sudden as SIGKILL: nobody expects it."""


def kill_at(step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise KilledError

    return watch


def figures(trainer: Trainer) -> dict[str, float]:
    """Stands for a validation; its best is not its last."""
    return {"pa_mpjpe": abs(trainer.step - 5.0)}


def go(config: RunConfig, out: Path, resume: bool = False, **options: Any) -> Path:
    return train_run(config, out, "cpu", resume, validation=figures, **options)


@pytest.fixture(autouse=True)
def opened_once(assets: SynthAssets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies and poses take longer to open, and pictures to draw, than these runs to train."""
    monkeypatch.setattr(
        "plausibody.training.run.open_assets", lambda config, split, *_, **__: assets
    )
    monkeypatch.setattr("plausibody.training.run.Showing", MagicMock())


def ending(out: Path) -> dict[str, Any]:
    """Gives all that a run ends with, apart from how long it took."""
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        for name in ("samples_per_second", "seconds"):
            line.pop(name, None)
    _, state, passed = load_latest(out / "checkpoints")
    assert not passed
    kept = ("step", "files", "smooth", "stage", "figures", "best", "skipped")
    weights = {
        name: json.loads((out / f"{name}.json").read_text("utf-8"))["sha256"]
        for name in ("weights", "best")
        if (out / f"{name}.json").exists()
    }
    return {"curves": lines, "weights": weights, **{name: state[name] for name in kept}}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["straps", "hierprob-lite"])
def test_a_killed_run_ends_like_an_unbroken_one(tmp_path: Path, name: str, precision: str) -> None:
    config = small(name, train__precision=precision)
    go(config, tmp_path / "unbroken")
    for resume, step in ((False, 2), (True, 4), (True, 8)):  # before, at and after the switch
        with pytest.raises(KilledError):
            go(config, tmp_path / "killed", resume, watch=kill_at(step))
    go(config, tmp_path / "killed", True)
    unbroken = ending(tmp_path / "unbroken")
    assert ending(tmp_path / "killed") == unbroken
    assert unbroken["best"] == {"step": 4, "pa_mpjpe": 1.0}
    assert {"model.safetensors", "average.safetensors"} < unbroken["files"].keys()
    assert ("objective.safetensors" in unbroken["files"]) == (name == "straps")
    assert unbroken["stage"] == (2 if name == "hierprob-lite" else 1)


# A step that gives nothing to learn from.


def spoil(monkeypatch: pytest.MonkeyPatch, bad: Collection[int]) -> list[int]:
    """Makes the loss of some steps no number; the list fills with the steps that were tried."""
    tried: list[int] = []
    honest = Trainer.loss

    def loss(trainer: Trainer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        found, parts = honest(trainer, batch)
        tried.append(trainer.step)
        return (found * float("nan") if trainer.step in bad else found), parts

    monkeypatch.setattr(Trainer, "loss", loss)
    return tried


def test_a_step_without_a_finite_loss_is_gone_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = small(), list[str]()
    with monkeypatch.context() as patch:
        tried = spoil(patch, {7})
        go(config, tmp_path / "spoiled", say=said.append)
    assert tried == [*range(8), 6, 8, 9], "back at the checkpoint of step 6"
    assert any("step 7: the loss" in line and "preview --step 7" in line for line in said)
    assert any("back at step 6, step 7 will be skipped" in line for line in said)

    told = tmp_path / "told"
    prepare_folder(told, config, resume=False, force=False)
    (told / "skipped.json").write_text("[7]", encoding="utf-8")
    go(config, told, True)
    assert ending(tmp_path / "spoiled") == ending(told)
    assert ending(told)["skipped"] == [7]

    # Killed between the checkpoint it goes back to and the step after the bad one.
    def kill(message: str) -> None:
        if "will be skipped" in message:
            raise KilledError

    with monkeypatch.context() as patch:
        spoil(patch, {7})
        with pytest.raises(KilledError):
            go(config, tmp_path / "killed", say=kill)
        go(config, tmp_path / "killed", True)
    assert ending(tmp_path / "killed") == ending(told)


def test_a_run_without_hope_ends_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = range(4, 4 + MOST_SKIPPED + 3)
    config = small(train__steps=20, train__validate_every=99)
    with monkeypatch.context() as patch:
        spoil(patch, bad)
        with pytest.raises(HopelessError) as caught:
            go(config, tmp_path)
    assert caught.value.steps == list(bad)[: MOST_SKIPPED + 1]
    message = str(caught.value)
    assert "11 of the last 1000 steps had no finite loss: 4, 5, 6, 7" in message
    assert f"preview --config {tmp_path / 'config.json'} --step 4" in message
    assert "--resume --force --set train.rate=0.001 " in message

    slower, said = override(config, {"train.rate": 1e-3}), list[str]()
    tried = spoil(monkeypatch, ())
    go(slower, tmp_path, True, force=True, say=said.append)
    assert tried == list(range(12, 20)), "steps after the checkpoint get another chance"
    assert "from here on train.rate: 0.003 -> 0.001" in said
    state = load_checkpoint(tmp_path / "checkpoints" / "step_20")[1]
    assert state["skipped"] == list(range(4, 12))
    assert state["changes"] == [{"step": 12, "settings": ["train.rate: 0.003 -> 0.001"]}]
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["train"]["rate"] == 1e-3


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_no_number_is_seen_at_its_step(
    assets: SynthAssets, monkeypatch: pytest.MonkeyPatch, clip: float
) -> None:
    trainer = Trainer(small(train__clip=clip), assets, "cpu")
    honest = Trainer.loss

    def loss(trainer: Trainer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        found, parts = honest(trainer, batch)
        parameter = next(trainer.model.parameters())
        return found + (0 * parameter).sum().sqrt(), parts  # adds 0, with an infinite slope

    monkeypatch.setattr(Trainer, "loss", loss)
    before = [value.clone() for value in trainer.model.parameters()]
    with pytest.raises(NonFiniteLossError, match="step 0: the loss or its gradient is nan"):
        trainer.train_step(BatchGenerator(trainer.config, assets)[0])
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


# No space.


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("part", ["step_6", "curves.jsonl", "tensorboard", "best.safetensors"])
def test_a_run_without_space_says_so_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    config, out = small(), tmp_path / "short"
    go(config, tmp_path / "unbroken")

    def fill(progress: Progress) -> None:
        if part == "step_6" and progress.step == 5:
            limit_files(20_000)
        if part == "curves.jsonl" and progress.step == 5:
            limit_files((out / part).stat().st_size + 20)  # half a line

    def validate(trainer: Trainer) -> dict[str, float]:
        if part == "best.safetensors":
            limit_files(20_000)
        return figures(trainer)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    try:
        with monkeypatch.context() as patch:
            if part == "tensorboard":
                fail_events_after(patch, 5)
            with pytest.raises(DiskFullError, match=f"{part}: wanted to write.*do: .*--resume"):
                train_run(config, out, "cpu", watch=fill, validation=validate)
    finally:
        limit_files(before)
    _, state, passed = load_latest(out / "checkpoints")
    assert state["step"] == 3 and not passed, "the checkpoint before is whole"
    go(config, out, True)
    assert ending(out) == ending(tmp_path / "unbroken")


def fail_events_after(patch: pytest.MonkeyPatch, step: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    honest = RecordWriter.write

    def write(writer: RecordWriter, data: bytes) -> None:
        if Event.FromString(data).step == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(writer, data)

    patch.setattr(RecordWriter, "write", write)


# Signals.


def test_a_signal_lets_the_step_finish_and_saves(tmp_path: Path) -> None:
    config, told = small(), list[str]()
    go(config, tmp_path / "unbroken")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def ask(progress: Progress) -> None:
        if progress.step in (2, 5, STEPS):
            signal.raise_signal(signal.SIGINT if progress.step == 5 else signal.SIGTERM)

    for resume, step, name in ((False, 2, "TERM"), (True, 5, "INT"), (True, STEPS, "TERM")):
        with pytest.raises(StoppedError, match=f"SIG{name} after {step} steps, all saved; do:"):
            go(config, tmp_path / "stopped", resume, watch=ask, say=told.append)
        assert load_latest(tmp_path / "stopped" / "checkpoints")[1]["step"] == step
    go(config, tmp_path / "stopped", True)
    assert ending(tmp_path / "stopped") == ending(tmp_path / "unbroken")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_second_interrupt_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        assert stop() == ""
        signal.raise_signal(signal.SIGINT)
        assert stop() == "SIGINT"
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoppedError(3, "SIGTERM"), 143),
        (StoppedError(3, "SIGINT"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_are_those_of_the_signals(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, stoppable(StoppedError, "--resume"):
        raise error
    assert caught.value.code == code
    assert "--resume" in capsys.readouterr().err


# Another run's checkpoint.


def test_a_checkpoint_of_something_else_is_refused(assets: SynthAssets, tmp_path: Path) -> None:
    trainer = Trainer(small(), assets, "cpu")
    trainer.save(tmp_path, {})
    wider = Trainer(small(regressor__width=16), assets, "cpu")
    with pytest.raises(CheckpointError, match="(?s)wanted a checkpoint of the network.*do:"):
        wider.restore(tmp_path)
    trainer.identity["body"] = "male 123"
    with pytest.raises(CheckpointError, match="of the body male 123, got one of neutral .*do:"):
        trainer.restore(tmp_path)
    trainer.identity |= {"body": wider.identity["body"], "method": "straps"}
    with pytest.raises(CheckpointError, match="of the method straps, got one of lite; do:"):
        trainer.restore(tmp_path)


def test_a_run_that_does_not_fit_keeps_its_settings(tmp_path: Path) -> None:
    go(small(train__steps=1), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="got another"):
        go(small(regressor__width=16), tmp_path, True, force=True)
    assert (tmp_path / "config.json").read_bytes() == before


# Processes that are really killed.


def start(config: str, out: Path, *more: str) -> subprocess.Popen[str]:
    program = shutil.which("synth-train", path=str(Path(sys.executable).parent))
    assert program, "synth-train is not installed beside this python"
    settings = TINY | SMALL | (STRAPS if config == "straps" else HIERPROB) | LONG
    pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return subprocess.Popen(
        [program, "--preset", config, "--out", str(out), "--device", "cpu", *pairs, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


LONG = {"train.steps": 60, "train.second_stage": 30, "train.checkpoint_every": 5,
        "train.validate_every": 10**6, "train.rate": 1e-3}  # fmt: skip


def end_at(process: subprocess.Popen[str], out: Path, step: int, number: int) -> tuple[int, str]:
    """Sends a signal once a step is in the curves; gives the exit code and what was said."""
    deadline = time.monotonic() + 900
    while last_step(out) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"no step {step} in a quarter of an hour"
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate()[1]
    return process.returncode, said


def last_step(out: Path) -> int:
    curves = out / "curves.jsonl"
    lines = curves.read_text("utf-8").splitlines() if curves.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


@pytest.mark.parametrize("name", ["straps", "hierprob-lite"])
def test_processes_that_are_killed_lose_nothing(tmp_path: Path, name: str) -> None:
    first, second = random.randrange(1, 26), random.randrange(32, 55)
    out, where = tmp_path / "killed", f"killed at steps {first} and {second}"
    try:
        process = start(name, out)
        code, said = end_at(process, out, first, signal.SIGKILL)
        assert code == -signal.SIGKILL, said
        assert load_latest(out / "checkpoints")[1]["step"] >= last_step(out) - 5, where

        process = start(name, out, "--resume")
        by = signal.SIGKILL if name == "hierprob-lite" else signal.SIGTERM
        code, said = end_at(process, out, second, by)
        assert "resumed at step" in said
        assert code == (-by if by == signal.SIGKILL else 128 + by), said
        assert ("all saved; do: the same command with --resume" in said) == (code == 143), said
    finally:
        process.kill()  # nothing, if it has ended
        process.wait()
    config = override(small(name), LONG)
    train_run(config, out, "cpu", resume=True)
    train_run(config, tmp_path / "unbroken", "cpu")
    assert ending(out) == ending(tmp_path / "unbroken"), where
