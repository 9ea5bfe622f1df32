"""Estimates before a run: near what it takes, and no part of it."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor

from plausibody.config import RunConfig, override
from plausibody.presets import preset
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets
from plausibody.training import estimates
from plausibody.training.estimates import (
    Estimate,
    StagePlan,
    estimate,
    fitting_batch,
    round_down,
)
from plausibody.training.memory import (
    MemoryShortError,
    _available,
    _granted,
    free_memory,
    held_memory,
    is_memory_short,
    memory_advice,
)
from plausibody.training.quantities import duration, size
from plausibody.training.trainer import Trainer

OWN: dict[str, Any] = {
    "train.batch_size": 24,
    "train.steps": 10,
    "train.second_stage": 4,
    "stream.lite.shape.gendered": 0.0,
    "regressor.gendered": False,
}
PUBLISHED = {"train.batch_size": 4, "train.rate": 1e-2, "train.precision": "32-true",
             "proxy.size": 32, "stream.straps.size": 32}  # fmt: skip
GIGABYTE = 10**9
PLAN = Estimate(
    device="cpu", batch_size=128, processes=2,
    stages=(StagePlan(1, 100, 0.5), StagePlan(2, 50, 1.0)), held=GIGABYTE, learning=GIGABYTE,
    activations=6 * GIGABYTE, samples=2 * GIGABYTE, free=20 * GIGABYTE,
    checkpoint=100, kept=2, weights=10,
)  # fmt: skip


def tiny(name: str) -> RunConfig:
    return override(preset(name), PUBLISHED) if name == "straps" else tiny_run(name, OWN)


def state_of(trainer: Trainer) -> dict[str, Tensor]:
    groups = {"model": trainer.model, "objective": trainer.objective, "average": trainer.average}
    return {
        f"{group}.{name}": value.clone()
        for group, module in groups.items()
        if module is not None
        for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize("name", ["hierprob-lite", "straps"])
def test_a_run_that_was_estimated_is_the_same_run(name: str, assets: SynthAssets) -> None:
    config = tiny(name)
    runs = []
    for looked in (False, True):
        trainer, batches = Trainer(config, assets, "cpu"), BatchGenerator(config, assets)
        before, chance = state_of(trainer), torch.get_rng_state()
        if looked:
            estimate(trainer, batches)
            after = state_of(trainer)
            assert all(torch.equal(after[key], before[key]) for key in before)
            assert torch.equal(torch.get_rng_state(), chance)
            assert trainer.step == 0 and not trainer.smooth and trainer.model.training
            assert not trainer.optimiser.optimizer.state_dict()["state"]
        for step in range(3):
            trainer.train_step(trainer.prepare(batches[step]))
        runs.append(state_of(trainer))
    assert runs[0].keys() == runs[1].keys()
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_what_can_be_counted_is_right(assets: SynthAssets, tmp_path: Path) -> None:
    config = tiny("hierprob-lite")
    trainer, batches = Trainer(config, assets, "cpu"), BatchGenerator(config, assets)
    told = estimate(trainer, batches)
    assert [(plan.stage, plan.steps) for plan in told.stages] == [(1, 4), (2, 6)]
    assert all(plan.seconds > 0 for plan in told.stages)
    parameters = sum(p.nbytes for p in trainer.model.parameters())
    assert told.learning == pytest.approx(3 * parameters, rel=0.01), "gradients and two moments"
    assert told.activations > 24 * 32 * 32 * 4
    batch = trainer.prepare(batches[0])
    assert told.samples > estimates.WAITING * batch.proxy.silhouette.nbytes
    assert told.held > 0 and told.free is not None and told.free > 0
    trainer.train_step(batch)
    folder = trainer.save(tmp_path, {})
    written = sum(path.stat().st_size for path in folder.iterdir())
    assert told.checkpoint == pytest.approx(written, rel=0.1)

    trainer.step = 6
    smaller = estimate(trainer, BatchGenerator(config, assets))
    assert [(plan.stage, plan.steps) for plan in smaller.stages] == [(2, 4)]
    config = override(config, {"train.batch_size": 48})
    larger = estimate(Trainer(config, assets, "cpu"), BatchGenerator(config, assets))
    assert larger.activations == pytest.approx(2 * told.activations, rel=0.02)
    assert larger.checkpoint == told.checkpoint


def test_an_estimate_in_words() -> None:
    assert PLAN.seconds == 100 and PLAN.needed == 9 * GIGABYTE and PLAN.disk == 320
    lines = PLAN.describe().splitlines()
    assert lines[1].strip() == "stage 1: 100 steps of 128 samples, 50 s at 256 samples/s"
    assert "memory: 10.0 GB; 1.0 GB held" in lines[3] and "20.0 GB are free" in lines[3]
    single = dataclasses.replace(PLAN, stages=PLAN.stages[:1], free=None)
    assert "stage" not in single.describe() and "free" not in single.describe()
    assert [duration(value) for value in (-1.0, 59.0, 119.0, 7200.0, 172800.0)] == [
        "–", "59 s", "2 min", "2.0 h", "2.0 days",
    ]  # fmt: skip
    assert [size(value) for value in (0, 4_400_000, 2 * GIGABYTE)] == ["0 MB", "4 MB", "2.0 GB"]


def test_what_will_be_short_is_said_before(tmp_path: Path) -> None:
    assert PLAN.warnings(tmp_path) == []
    # 0.9 of 6 GB less 1 GB of gradients leave 4.4 GB; a sample of 64 takes an eighth of one.
    short = dataclasses.replace(PLAN, free=6 * GIGABYTE)
    assert short.fits == 2 * 32
    (warning,) = short.warnings(tmp_path / "none" / "yet")
    assert "want about 9.0 GB more, 6.0 GB are free on the cpu" in warning
    assert warning.endswith("do: --set train.batch_size=64")
    none = dataclasses.replace(PLAN, free=GIGABYTE)
    assert none.fits == 0 and "a smaller network" in none.warnings(tmp_path)[0]
    huge = dataclasses.replace(PLAN, checkpoint=10**18)
    (warning,) = huge.warnings(tmp_path)
    assert warning.startswith(f"disk: {tmp_path} wants") and "train.keep=1" in warning


def test_batches_are_round_numbers() -> None:
    found = [round_down(count) for count in (-3, 0, 1, 2, 3, 7, 9, 35, 100, 129)]
    assert found == [0, 0, 0, 2, 3, 7, 8, 32, 96, 128]


def test_want_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_memory_short(caught.value)
    assert is_memory_short(MemoryError()) and is_memory_short(torch.OutOfMemoryError("full"))
    assert not is_memory_short(RuntimeError("shapes differ"))
    assert not is_memory_short(ValueError("DefaultCPUAllocator: not his words"))


def test_advice_comes_after_the_failed_step_has_been_forgotten(
    assets: SynthAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("straps")
    trainer, batches = Trainer(config, assets, "cpu"), BatchGenerator(config, assets)
    trainer.step = 7
    left: list[weakref.ref[Tensor]] = []

    def fail(batch: object) -> None:
        activation = torch.zeros(3)
        left.append(weakref.ref(activation))
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(trainer, "train_step", fail)

    def fits() -> int:
        gc.collect()
        assert left[0]() is None, "what the step held is free again"
        return fitting_batch(trainer, batches, dataclasses.replace(PLAN, batch_size=4))

    message = "step 7: .* batches of 4 samples, the cpu has no more; about 3 fit; .*batch_size=3"
    with pytest.raises(MemoryShortError, match=message), memory_advice(trainer, fits):
        trainer.train_step(batches[0])
    with pytest.raises(MemoryShortError, match="a smaller network"):
        with memory_advice(trainer, lambda: 0):
            trainer.train_step(batches[0])
    with pytest.raises(RuntimeError, match="another"), memory_advice(trainer, fits):
        raise RuntimeError("another")
    with memory_advice(trainer, fits):
        pass


def test_batches_that_cannot_even_be_made_get_advice(
    assets: SynthAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(tiny("straps"), {"train.batch_size": 16})
    trainer, batches = Trainer(config, assets, "cpu"), BatchGenerator(config, assets)
    make = BatchGenerator.samples

    def short(self: BatchGenerator, start: int, count: int) -> Batch:
        if count > 4:
            raise MemoryError
        return make(self, start, count)

    monkeypatch.setattr(BatchGenerator, "samples", short)
    message = "step 0: .* batches of 16 samples, the cpu has no more; about 4 fit"
    with pytest.raises(MemoryShortError, match=message):
        with memory_advice(trainer, lambda: fitting_batch(trainer, batches)):
            estimate(trainer, batches)


def test_memory_is_read_where_linux_tells_it(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    free = free_memory(cpu)
    assert held_memory(cpu) >= 0 and (free is None or free > 0)
    meminfo = tmp_path / "meminfo"
    assert _available(meminfo) is None and _granted(tmp_path) is None
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   5 kB\n", encoding="utf-8")
    assert _available(meminfo) == 5120
    (tmp_path / "memory.current").write_text("300\n", encoding="utf-8")
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert _granted(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n", encoding="utf-8")
    assert _granted(tmp_path) == 700
