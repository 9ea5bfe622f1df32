"""The evaluation of intervals: people who are told apart, and coverage that theory foresees."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody.evaluate.answers import Answers, ask, known_conditions
from plausibody.evaluate.calibration import calibrate, evaluate_calibration
from plausibody.evaluate.calibration_result import (
    CalibrationResult,
    read_calibration_result,
    save_calibration_result,
    to_markdown,
)
from plausibody.evaluate.coverage import (
    mean_body_half_widths,
    measure_coverage,
    measure_errors,
    measure_shift,
    measure_subsets,
)
from plausibody.models.calibration import LEVELS
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.intervals import QUANTITIES, MeasurementDistribution
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import FisherPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.weights import TrainedRegressor
from plausibody.plots import draw_reliability
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.scene import ShapeSettings
from plausibody.synth.stores import SynthAssets, load_assets

STREAM = StreamSettings(lite=LiteSettings(frame=48, shape=ShapeSettings(gendered=0.8)))
PROXY = ProxySettings(size=32)


@pytest.fixture(scope="module")
def gendered_assets() -> SynthAssets:
    return load_assets("val", gendered=True)


class Witness:
    """Knows the truth of the people of one batch but for an error of which it says how large."""

    def __init__(self, batch: Batch, std: float, claimed: float = 1.0):
        truth = batch.target.parameters.shape
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
        self.mean, self.claimed = truth + std * noise, torch.full_like(truth, claimed * std)
        self.told: list[Tensor] = []

    def predict(self, proxy: Proxy) -> FisherPrediction:
        assert proxy.gender is not None
        self.told.append(proxy.gender)
        count = len(self.mean)
        return FisherPrediction(
            camera=WeakPerspectiveCamera(torch.ones(count), torch.zeros(count, 2)),
            root=torch.eye(3).expand(count, 3, 3),
            joints=MatrixFisher(torch.zeros(count, 23, 3, 3)),
            shape=ShapeGaussian.independent(self.mean, self.claimed),
        )


def test_a_regressor_is_asked_under_every_condition(gendered_assets: SynthAssets) -> None:
    batch = BatchGenerator.of(STREAM, PROXY, gendered_assets, 40)[0]
    witness = Witness(batch, std=0.4)
    template = gendered_assets.template
    answers = ask(witness, template, [batch], known_conditions(True))
    assert list(answers.predicted) == ["plain", "height", "gender", "height+gender"]
    genders = batch.target.gender
    assert genders is not None and 0 < int((genders == 0).sum()) < 20
    assert {tuple(told.tolist()) for told in witness.told} == {
        tuple(genders.tolist()),
        (0.0,) * 40,
    }
    assert answers.members("gender").tolist() == (genders != 0).tolist()
    assert bool(answers.members("plain").all())
    height = QUANTITIES.index("height")
    known = answers.predicted["height"]
    # Told to the centimetre, with 5 mm of doubt.
    assert (known.mean - answers.measured)[:, height].abs().amax() < 0.012
    assert known.std[:, height].amax() < 0.006 < answers.predicted["plain"].std[:, height].amin()
    assert known_conditions(False) == ("plain", "height")


def normal_answers(count: int, claimed: float, seed: int) -> Answers:
    """People whose predictions have normal errors, claimed `claimed` times as large."""
    generator = torch.Generator().manual_seed(seed)
    measured = 1 + 0.2 * torch.randn(count, 13, generator=generator)
    measured[:, QUANTITIES.index("mass")] = 70 + 10 * torch.randn(count, generator=generator)
    shape = torch.randn(count, 3, generator=generator)
    std, shape_std = torch.full_like(measured, 0.05), torch.full_like(shape, 0.5)
    mean = measured + std * torch.randn(count, 13, generator=generator)
    shape_mean = shape + shape_std * torch.randn(count, 3, generator=generator)
    gaussian = ShapeGaussian.independent(shape_mean, claimed * shape_std)
    third = torch.arange(count) % 3
    return Answers(
        predicted={"plain": MeasurementDistribution(mean, claimed * std, gaussian)},
        measured=measured,
        shape=shape,
        gender=torch.zeros(count),
        outside=third * 5,
        facing=third,
    )


@pytest.mark.parametrize("claimed", [0.6, 1.0, 2.0])
def test_coverage_is_what_theory_says(claimed: float) -> None:
    calibration = calibrate(normal_answers(3000, claimed, 0), "x" * 64)
    tested = normal_answers(3000, claimed, 1)
    rows = measure_coverage(tested, calibration, torch.full((16,), 0.5))
    assert len(rows) == 2 + 13 + 3
    for row in rows:
        for level, raw, conformal in zip(LEVELS, row.raw, row.conformal, strict=True):
            probit = float(torch.special.ndtri(torch.tensor((1 + level) / 2)))
            assert raw == pytest.approx(math.erf(claimed * probit / math.sqrt(2)), abs=0.035)
            assert conformal == pytest.approx(level, abs=0.045)
    waist = rows[2 + QUANTITIES.index("waist")]
    assert waist.width == pytest.approx(2 * 1.645 * 0.05, rel=0.08)
    assert waist.ratio == pytest.approx(1.645 * 0.05 / 0.5, rel=0.08)
    assert waist.error == pytest.approx(0.05 * math.sqrt(2 / math.pi), rel=0.05)
    assert rows[0].width is None and rows[0].quantity == "all measurements"
    subsets = {subset.name: subset for subset in measure_subsets(tested, calibration)}
    assert [subset.people for subset in subsets.values()] == [1000] * 9
    assert subsets["6 or more outside"].conformal == pytest.approx(0.9, abs=0.01)
    assert subsets["from a side"].lowest <= subsets["from a side"].conformal
    doubled = dataclasses.replace(tested, measured=2 * tested.measured)
    shift = measure_shift("twice as large", doubled, calibration)
    assert max(shift.conformal) < 0.3


def test_intervals_round_the_mean_body_know_nothing(
    gendered_assets: SynthAssets,
) -> None:
    batch = BatchGenerator.of(STREAM, PROXY, gendered_assets, 64)[1]
    answers = ask(Witness(batch, 0.3), gendered_assets.template, [batch], ("plain",))
    half = mean_body_half_widths(answers, gendered_assets.template)
    shape, rank = answers.shape.sort(0).values, math.ceil(65 * 0.95) - 1
    torch.testing.assert_close(half[13:], (shape[rank] - shape[63 - rank]) / 2)
    assert 0.1 < half[QUANTITIES.index("height")] < 0.4  # [m]
    (error,) = measure_errors(answers, gendered_assets.template)
    assert 0 < error.pve_t_sc < error.pve_t < 40  # [mm], of errors of 0.3 in each coefficient


@pytest.fixture(scope="module")
def untrained() -> TrainedRegressor:
    torch.manual_seed(0)
    settings = RegressorSettings(features=32, width=8, blocks=1, gendered=True)
    network = build_regressor("hierprob", settings, PROXY, torch.eye(3).expand(24, 3, 3)).eval()
    return TrainedRegressor(network, PROXY, "neutral", {"sha256": "c" * 64})


@pytest.fixture(scope="module")
def result(untrained: TrainedRegressor) -> CalibrationResult:
    seen = []
    result, calibration = evaluate_calibration(
        untrained, STREAM, fit=200, test=150, shifted=12, watch=lambda *done: seen.append(done)
    )
    assert seen[-1] == (386, 386)
    assert calibration.weights == "c" * 64
    return result


def test_even_an_untrained_network_is_covered_once_corrected(result: CalibrationResult) -> None:
    row = result.of("all measurements")
    for level, conformal in zip(LEVELS, row.conformal, strict=True):
        assert conformal == pytest.approx(level, abs=0.07)
    assert row.ratio == pytest.approx(1, abs=0.2)  # it tells nothing that the mean body does not
    assert result.of("waist", "height").ratio < row.ratio
    assert [shift.name for shift in result.shifts] == [
        "open-v0: uniform shapes",
        "lite.errors=measured",
        "recipe=straps",
    ]
    assert [error.condition for error in result.errors] == [
        *("plain", "height", "gender", "height+gender")
    ]


def test_results_are_written(result: CalibrationResult, tmp_path: Path) -> None:
    path = save_calibration_result(result, tmp_path)
    table = json.loads(path.read_text())
    assert table["levels"] == list(LEVELS)
    assert len(table["coverage"]) == 4 * (2 + 13 + 10)
    assert read_calibration_result(path) == result
    text = (tmp_path / "calibration.md").read_text()
    assert text == to_markdown(result)
    assert "| stoutest third | height+gender |" in text and "| waist |" in text
    assert "nan" not in text


def test_other_files_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(FileNotFoundError, match="'plausibody evaluate calibration', found no"):
        read_calibration_result(path)
    for content in ("[]", "{", '{"version": 0, "levels": []}', '{"version": 1}'):
        path.write_text(content)
        with pytest.raises(ValueError, match="wanted a result of plausibody evaluate calibration"):
            read_calibration_result(path)


def test_reliability_is_drawn(result: CalibrationResult) -> None:
    picture = draw_reliability(result, "an untrained network")
    assert picture.shape == (3, 1080, 1680)
    plain = draw_reliability(dataclasses.replace(result, subsets=(), shifts=()), "less to show")
    assert picture.amin() < 0.2 < 0.5 < (picture - plain).abs().amax()


def test_single_bodies_have_no_intervals(
    untrained: TrainedRegressor, gendered_assets: SynthAssets
) -> None:
    settings = RegressorSettings(features=32, width=8, blocks=1)
    network = build_regressor("lite", settings, PROXY, torch.eye(3).expand(24, 3, 3))
    point = dataclasses.replace(untrained, network=network.eval())
    batch = BatchGenerator.of(STREAM, PROXY, gendered_assets, 2)[0]
    with pytest.raises(TypeError, match="do: use weights of the method hierprob"):
        ask(point, gendered_assets.template, [batch], ("plain",))


def test_a_fit_needs_enough_people() -> None:
    with pytest.raises(ValueError, match="at least 19 people for a quantile of 95 %, came 12"):
        calibrate(normal_answers(12, 1.0, 0), "x" * 64)
    with pytest.raises(ValueError, match="at least 19 people for a quantile of 95 %, came 1[34]"):
        calibrate(normal_answers(40, 1.0, 0), "x" * 64, groups=3)
    grouped = calibrate(normal_answers(160, 1.0, 0), "x" * 64, groups=3)
    assert len(grouped.edges) == 2 and grouped.factors["plain"].shape == (3, 4, 16, 2)
