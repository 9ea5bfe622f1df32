"""The rows of `bench step`; not how fast anything is."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_runs import tiny_run

from plausibody.bench_training import (
    ALONE,
    FED,
    TRAINING,
    WHOLE,
    StepTimes,
    Throughput,
    stages,
    time_steps,
)
from plausibody.config import RunConfig, override
from plausibody.synth.stores import SynthAssets

PARTS = ("idle", "forward", "backward", "optimiser")
OWN: dict[str, Any] = {
    "train.batch_size": 4,
    "train.second_stage": 3,
    "stream.lite.shape.gendered": 0.0,
    "regressor.gendered": False,
}


def tiny(name: str) -> RunConfig:
    return tiny_run(name, OWN)


def by_part(times: StepTimes) -> dict[str, Throughput]:
    rows = {row.part: row for row in times.rows()}
    assert tuple(rows) == (ALONE, TRAINING, FED, *PARTS, WHOLE)
    return rows


def test_the_parts_of_a_step_are_all_of_it(assets: SynthAssets) -> None:
    config = tiny("hierprob-lite")
    for stage in stages(config):
        times = time_steps(config, assets, "cpu", 0.0, stage)
        assert times.stage == stage and times.batch == 4 and times.megabytes is None
        assert all(times.parts[part] > 0 for part in PARTS)
        assert sum(times.steps) == pytest.approx(sum(times.parts.values()), rel=0.05)
        assert times.synthesis > 0 and times.alone > 0 and 0 < times.fed < 1
        rows = by_part(times)
        assert sum(row.share or 0 for part, row in rows.items() if part in PARTS) == pytest.approx(
            1
        )
        assert rows[FED].share == pytest.approx(1 - (rows["idle"].share or 0))
        assert rows[ALONE].share is None and rows[WHOLE].share is None
        assert {row.stage for row in rows.values()} == {stage}
        assert all(row.samples_per_second > 0 for row in rows.values())


def test_the_stages_are_those_of_the_run() -> None:
    assert stages(tiny("hierprob-lite")) == [1, 2]
    assert stages(override(tiny("hierprob-lite"), {"train.second_stage": 0})) == [2]
    assert stages(tiny("lite")) == [None]


def test_rates_follow_from_times() -> None:
    parts = {"idle": 1.0, "forward": 4.0, "backward": 4.0, "optimiser": 1.0}
    steps = [1.0, 1.0, 1.0, 1.0, 2.0, 4.0]
    times = StepTimes(1, 30, 0.5, 1.5, parts, steps, megabytes=12.0)
    assert times.seconds == 10 and times.rate == 18 and times.ideal == 20
    assert times.fed == 0.9
    assert times.rates(3) == [30, 30, 10]
    rows = by_part(times)
    assert rows[TRAINING].megabytes == 12 and rows[TRAINING].samples == 180
    assert rows["forward"].samples_per_second == 45 and rows["forward"].share == 0.4
    assert rows[WHOLE].samples_per_second == 60
