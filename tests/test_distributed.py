"""Several processes train as one: real ones, that torchrun starts and gloo connects, on a CPU.

Sums over 8 + 8 samples round otherwise than over 16, and training lets such differences grow, the
faster the higher its rate. At 1e-4 curves agree to 1e-7 for 60 steps (measured); at 3e-3 they
differ by tenfold more every eight steps, and by 1e-5 of the loss after 45.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tiny_runs import TINY, tiny_run
from torch import Tensor

from plausibody.cli import main
from plausibody.config import RunConfig, override
from plausibody.config_file import to_json
from plausibody.models.checkpoint import checkpoints, load_checkpoint
from plausibody.presets import preset
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.training.fit import Progress, Watchers, fit
from plausibody.training.launch import all_processes, first_process, processes_here, share_of
from plausibody.training.trainer import Trainer

STEPS = 60
COMPARED = 50
"""Steps at which the curves are compared."""
OWN: dict[str, Any] = TINY | {
    "train.batch_size": 16,
    "train.steps": STEPS,
    "train.rate": 1e-4,
    "train.checkpoint_every": 1000,
    "train.validate_every": 1000,
    "regressor.norm": "group",
}
STRAPS = {name: value for name, value in OWN.items() if "stream" not in name} | {
    "regressor.encoder": "lite",
    "stream.straps.size": 32,
}
"""The same with learned weights of the parts."""


def tiny(**changes: Any) -> RunConfig:
    return tiny_run("lite", OWN, **changes)


def torchrun(*command: str, out: Path) -> subprocess.Popen[str]:
    """Starts two processes; what they print goes to a file beside `out`."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, *launcher, *command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def train(out: Path, *more: str, **settings: Any) -> subprocess.Popen[str]:
    """Starts `plausibody train` in two processes."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    pairs = [part for k, v in (OWN | changes).items() for part in ("--set", f"{k}={v}")]
    command = ("-m", "plausibody", "train", "--out", str(out), "--device", "cpu", *pairs, *more)
    return torchrun(*command, out=out)


def finish(process: subprocess.Popen[str], out: Path, expected: int = 0) -> str:
    """Waits for processes and gives what they printed."""
    process.wait()
    printed = out.with_suffix(".log").read_text("utf-8")
    assert process.returncode == expected, printed
    return printed


def curve(out: Path) -> dict[int, dict[str, float]]:
    """Gives the parts of the loss by their step, of whole lines."""
    path, found = out / "curves.jsonl", dict[int, dict[str, float]]()
    for line in path.read_text("utf-8").splitlines(keepends=True) if path.exists() else ():
        if line.endswith("}\n") and "train/loss" in line:
            table = json.loads(line)
            parts = {k.removeprefix("train/"): v for k, v in table.items() if "train/" in k}
            found[table["step"]] = parts
    return found


def tensors(folder: Path) -> dict[str, Tensor]:
    groups, _ = load_checkpoint(folder)
    return {f"{group}.{name}": t for group, found in groups.items() for name, t in found.items()}


def alone(
    config: RunConfig, assets: SynthAssets, folder: Path, begun: Path | None = None
) -> tuple[Trainer, dict[int, dict[str, float]]]:
    """Trains in this process, from a checkpoint if there is one; gives the curve too."""
    trainer, told = Trainer(config, assets, "cpu"), list[Progress]()
    if begun is not None:
        trainer.restore(begun)
    batches = BatchGenerator.of(config.stream, config.proxy, assets, config.train.batch_size)
    stream = prefetch(batches, trainer.step, config.train.steps, finish=trainer.prepare)
    fit(trainer, stream, folder, Watchers(progress=told.append))
    return trainer, {progress.step: progress.parts for progress in told}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes from its start to its end."""
    out = tmp_path_factory.mktemp("two") / "unbroken"
    finish(train(out), out)
    return out


@dataclass(frozen=True)
class Stopped:
    """A run that a signal stopped on its way."""

    out: Path
    printed: str
    step: int


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """The same run, that saves at every step until torchrun gets SIGTERM."""
    out = tmp_path_factory.mktemp("two") / "stopped"
    process = train(out, train__checkpoint_every=1)
    with ended(process):
        while len(curve(out)) < 3:
            assert process.poll() is None, out.with_suffix(".log").read_text("utf-8")
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        printed = finish(process, out, expected=1)
    newest = checkpoints(out / "checkpoints")[-1]
    return Stopped(out, printed, int(newest.name.removeprefix("step_")))


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leaves no process behind, whatever happens."""
    try:
        yield
    finally:
        process.terminate()  # which torchrun passes on; killed, it would leave the others behind
        process.wait()


def test_two_processes_learn_what_one_learns(
    assets: SynthAssets, unbroken: Path, tmp_path: Path
) -> None:
    trainer, expected = alone(tiny(), assets, tmp_path)
    found = curve(unbroken)
    assert list(found) == list(expected) == list(range(1, STEPS + 1))
    for step in range(1, COMPARED + 1):
        assert found[step] == pytest.approx(expected[step], rel=1e-5), step
    fresh, config = Trainer(tiny(), assets, "cpu"), trainer.config
    batch = BatchGenerator.of(config.stream, config.proxy, assets, 16)[STEPS]
    assert trainer.loss(batch)[0] < fresh.loss(batch)[0], "something was learnt"
    state = load_checkpoint(unbroken / "checkpoints" / f"step_{STEPS}")[1]
    assert state["step"] == STEPS


def test_both_stop_at_one_step_and_leave_a_whole_checkpoint(stopped: Stopped) -> None:
    assert 3 <= stopped.step < STEPS
    assert list(curve(stopped.out)) == list(range(1, stopped.step + 1))
    assert stopped.printed.count(f"after {stopped.step} steps, all saved") == 1, "said once"
    assert "Traceback" not in stopped.printed.split("torch/distributed", 1)[0]
    assert tensors(stopped.out / "checkpoints" / f"step_{stopped.step}")


def test_what_two_processes_began_one_finishes(
    assets: SynthAssets, unbroken: Path, stopped: Stopped, tmp_path: Path
) -> None:
    found = alone(tiny(), assets, tmp_path, begun=stopped.out / "checkpoints")[1]
    assert min(found) == stopped.step + 1
    expected = curve(unbroken)
    for step in range(stopped.step + 1, COMPARED + 1):
        assert found[step] == pytest.approx(expected[step], rel=1e-5), step


def test_two_processes_go_on_exactly(unbroken: Path, stopped: Stopped) -> None:
    printed = finish(train(stopped.out, "--resume"), stopped.out)
    assert printed.count(f"resumed at step {stopped.step} of {STEPS}") == 1
    assert curve(stopped.out) == curve(unbroken)
    name = Path("checkpoints") / f"step_{STEPS}"
    expected, found = tensors(unbroken / name), tensors(stopped.out / name)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


TWO = """
import json, sys
from pathlib import Path
import torch
from plausibody.config_file import from_json
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import load_assets
from plausibody.training.trainer import Trainer

torch.set_num_threads(1)
out, *configs = sys.argv[1:]
assets, told = load_assets("train"), []
for text in configs:
    config = from_json(json.loads(text))
    trainer = Trainer(config, assets, "cpu")
    batches = BatchGenerator.of(config.stream, config.proxy, assets, config.train.batch_size)
    stream = prefetch(batches, 0, config.train.steps, part=(trainer.rank, trainer.share))
    seen, losses = [], []
    for _, batch in stream:
        seen.append(batch)
        losses.append(trainer.told(trainer.train_step(trainer.prepare(batch))))
    groups = {"model": trainer.model, "objective": trainer.objective}
    weights = {
        f"{group}.{name}": value for group, module in groups.items()
        for name, value in module.named_parameters()
    }
    told.append({
        "losses": losses, "weights": weights,
        "keypoints": torch.stack([batch.proxy.keypoints for batch in seen]),
        "images": torch.stack([batch.proxy.silhouette for batch in seen]),
    })
torch.save(told, Path(out) / f"{trainer.rank}.pt")
"""


def test_a_batch_must_be_shared_out_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [share_of(64, count) for count in (1, 2, 4)] == [64, 32, 16]
    with pytest.raises(ValueError, match="multiple of the 4 processes, got 3; .*batch_size=4"):
        share_of(3, 4)
    # The command refuses before it waits for the others or writes anything.
    for name, value in (("TORCHELASTIC_RUN_ID", "one"), ("RANK", "0"), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    options = ["train", "--preset", "lite", "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2
    assert "wanted a multiple of the 3 processes, got 128" in result.output
    assert not (tmp_path / "run").exists()


def test_what_other_launchers_set_makes_no_run_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    assert first_process() and all_processes() == 1 and processes_here() == 1


def test_samples_and_objectives_are_shared_out(assets: SynthAssets, tmp_path: Path) -> None:
    lite = tiny(regressor__norm="batch", train__steps=3)
    straps = override(preset("straps"), STRAPS | {"train.steps": 8})
    script = tmp_path / "two.py"
    script.write_text(TWO, encoding="utf-8")
    texts = [json.dumps(to_json(config)) for config in (lite, straps)]
    finish(torchrun(str(script), str(tmp_path), *texts, out=tmp_path / "run"), tmp_path / "run")
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for number, config in enumerate((lite, straps)):
        first, second = (rank[number] for rank in ranks)
        assert first["losses"] == second["losses"], "means of both"
        assert all(torch.equal(v, second["weights"][k]) for k, v in first["weights"].items())

        # Together they see the samples of one process, each its own.
        generator = BatchGenerator.of(config.stream, config.proxy, assets, 16)
        whole = [generator[step] for step in range(config.train.steps)]
        for name, field in (("keypoints", "keypoints"), ("images", "silhouette")):
            halves = torch.cat([first[name], second[name]], 1)
            expected = torch.stack([getattr(batch.proxy, field) for batch in whole])
            assert torch.equal(halves, expected)
            assert not torch.equal(first[name], second[name])

    # The parts' learned weights, whose gradients DDP does not know of.
    trainer, expected = alone(straps, assets, tmp_path / "alone")
    smooth: dict[str, float] = {}
    for step, parts in enumerate(first["losses"], start=1):
        smooth = {k: 0.8 * smooth.get(k, v) + 0.2 * v for k, v in parts.items()}
        assert smooth == pytest.approx(expected[step], rel=1e-5)
    for name, value in trainer.objective.named_parameters():
        torch.testing.assert_close(first["weights"][f"objective.{name}"], value, rtol=1e-5, atol=0)
