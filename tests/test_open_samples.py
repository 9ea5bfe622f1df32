"""Samples on the open benchmark: the best of N, the same however many people go at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from plausibody.evaluate import metrics
from plausibody.evaluate.open import OpenBenchmark, OpenSettings
from plausibody.evaluate.open_samples import CHUNK, best_of_samples
from plausibody.evaluate.result import Result
from plausibody.evaluate.ruler import Ruler, errors
from plausibody.evaluate.run import evaluate_open
from plausibody.models.body import regress, rest_vertices
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import take
from plausibody.models.weights import TrainedRegressor
from plausibody.synth.stores import SynthAssets

FEW = OpenSettings(name="few", split="val", count=CHUNK + 3, seed=1)
COUNT = 4


@pytest.fixture
def regressor(known_person: Any) -> TrainedRegressor:
    network = known_person.doubting_predictor().regressor.network
    return TrainedRegressor(network, ProxySettings(), "neutral", {})


def test_the_best_of_samples_is_the_least_error_of_bodies_drawn_again(
    regressor: TrainedRegressor, known_person: Any, assets: SynthAssets
) -> None:
    people = OpenBenchmark(FEW, regressor.proxy).some(0, CHUNK + 3)
    ruler = Ruler(assets)
    true = ruler(people.batch.target.parameters, people.camera)
    answer = regressor.predict(people.batch.proxy)
    modes = errors(ruler(answer.mode(), answer.camera), true)
    found = best_of_samples(answer, ruler, true, modes, COUNT, 0)
    second = slice(CHUNK, None)  # a seed of their own
    generator = torch.Generator().manual_seed(1)
    drawn = regressor.predict(take(people.batch.proxy, second)).sample(COUNT, generator)
    for n in range(3):
        each = []
        for k in range(COUNT):
            rest = rest_vertices(assets.template, drawn.shape[k, n])
            each.append(float(metrics.pve_t_sc(rest, true.rest[CHUNK + n])))
        assert float(found[f"pve_t_sc[min{COUNT}]"][CHUNK + n]) == pytest.approx(
            min(each), rel=1e-4
        )
        mode = float(modes["pve_t_sc"][CHUNK + n])
        with_mode = min(mode, *each[1:])
        got = float(found[f"pve_t_sc[min{COUNT}+mode]"][CHUNK + n])
        assert got == pytest.approx(with_mode, rel=1e-4)
    body = drawn.posed(assets.template).vertices[:, 0]
    joints = regress(assets.regressors.h36m17, body)
    errors_ = [float(metrics.pa_mpjpe(one, true.h36m[CHUNK])) for one in joints]
    assert float(found[f"pa_mpjpe[min{COUNT}]"][CHUNK]) == pytest.approx(min(errors_), rel=1e-3)


def test_samples_do_not_depend_on_how_many_go_at_a_time(regressor: TrainedRegressor) -> None:
    results: list[Result] = [
        evaluate_open(regressor, batch_size=size, settings=FEW, samples=COUNT) for size in (40, 64)
    ]
    first, second = ({(f.metric, f.subset): f.value for f in one.figures} for one in results)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert second[key] == pytest.approx(value, rel=1e-5), key
    assert f"mpjpe_smplorigin[min{COUNT}+mode]" in {metric for metric, _ in first}
    figure = results[0].of(f"pa_mpjpe[min{COUNT}]")
    assert figure.protocol.samples == COUNT and figure.value < results[0].of("pa_mpjpe").value * 2
