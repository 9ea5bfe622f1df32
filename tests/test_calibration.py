"""Corrected intervals hold what they say: theory, simulations and files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody.models.calibration import (
    LEVELS,
    Calibration,
    CalibrationError,
    calibration_path,
    conformal_ends,
    conformal_quantile,
    fit_calibration,
    load_calibration,
    predicted_group,
    save_calibration,
    scores,
)
from plausibody.models.intervals import QUANTITIES, MeasurementDistribution
from plausibody.models.shapes import ShapeGaussian

HEIGHT, MASS = QUANTITIES.index("height"), QUANTITIES.index("mass")
WEIGHTS = "a" * 64


def people(
    count: int, claimed: float = 1.0, seed: int = 0
) -> tuple[MeasurementDistribution, Tensor, Tensor]:
    """Gives predictions and truths: errors are normal and claimed `claimed` times as large."""
    generator = torch.Generator().manual_seed(seed)
    std = 0.02 + 0.02 * torch.rand(count, 13, generator=generator)
    mean = 1 + 0.1 * torch.randn(count, 13, generator=generator)
    mean[:, MASS] = 20 + 20 * torch.rand(count, generator=generator)
    shape_std = 0.3 + torch.rand(count, 2, generator=generator)
    shape_mean = torch.randn(count, 2, generator=generator)
    truth = mean + std * torch.randn(count, 13, generator=generator)
    shape = shape_mean + shape_std * torch.randn(count, 2, generator=generator)
    claims = ShapeGaussian.independent(shape_mean, claimed * shape_std)
    return MeasurementDistribution(mean, claimed * std, claims), truth, shape


def fit(claimed: float = 1.0, count: int = 2000, edges: tuple[float, ...] = ()) -> Calibration:
    predicted, truth, shape = people(count, claimed)
    groups = {"plain": predicted_group(predicted, edges)} if edges else None
    return fit_calibration({"plain": scores(predicted, truth, shape)}, WEIGHTS, groups, edges)


@pytest.mark.parametrize("claimed", [0.5, 1.0, 3.0])
def test_over_and_under_confident_predictions_are_corrected(claimed: float) -> None:
    calibration = fit(claimed)
    predicted, truth, shape = people(4000, claimed, seed=1)
    for level in LEVELS:
        exact = math.sqrt(2) * float(torch.erfinv(torch.tensor(level)))  # of a normal distribution
        raw = predicted.intervals(level).holds(truth).float().mean()
        theory = math.erf(claimed * exact / math.sqrt(2))
        assert abs(float(raw) - theory) < 0.01  # 52,000 draws: 0.002 a deviation
        corrected = calibration.intervals(predicted, level)
        held = corrected.holds(truth).float().mean(0)
        assert (held - level).abs().amax() < 0.045  # 2,000 people: 0.011 a deviation at 50 %
        assert abs(float(held.mean()) - level) < 0.012
        coefficients = calibration.shape_intervals(predicted, level)
        assert (coefficients.holds(shape).float().mean(0) - level).abs().amax() < 0.045
        ratio = (corrected.high - corrected.low) / (2 * predicted.std * exact / claimed)
        assert abs(float(ratio.mean()) - 1) < 0.03


def test_the_quantile_is_the_one_of_the_theorem() -> None:
    values = torch.tensor([9.0, 1, 8, 2, 7, 3, 6, 4, 5])
    assert conformal_quantile(values, 0.5) == 5  # ceil(10 * 0.5) = the fifth
    assert conformal_quantile(values, 0.8) == 8
    assert conformal_quantile(values, 0.9) == 9  # in binary, 0.9 * 10 is more than 9
    with pytest.raises(ValueError, match="at least 19 people for a quantile of 95 %, came 9"):
        conformal_quantile(values, 0.95)
    assert conformal_quantile(torch.arange(19.0), 0.95) == 18
    with pytest.raises(ValueError, match="finite scores"):
        conformal_quantile(torch.tensor([1.0, math.nan, 2.0, 3.0]), 0.5)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_guarantee_holds_however_errors_are_distributed(level: float) -> None:
    """Over fits to 39 people, the mean coverage is what ranks say, whatever the law of errors."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(40, 20_000, generator=generator)
    for errors in (normal, normal.exp(), normal / (0.01 + normal.roll(1, 1).abs())):
        found = conformal_quantile(errors[:39].abs(), level)
        held = float((errors[39].abs() <= found).float().mean())
        assert held == pytest.approx(math.ceil(40 * level) / 40, abs=0.012)  # four deviations
        down, up = conformal_ends(errors[:39], level).unbind(-1)
        below, above = (errors[39] < -down).float().mean(), (errors[39] > up).float().mean()
        each = 1 - math.ceil(40 * (1 + level) / 2) / 40  # at most half of the rest
        assert each <= (1 - level) / 2 + 1e-9
        assert float(below) == pytest.approx(each, abs=0.012)
        assert float(above) == pytest.approx(each, abs=0.012)


def test_groups_are_corrected_each_by_itself() -> None:
    edges = (30.0,)
    predicted, truth, shape = people(6000)
    group = predicted_group(predicted, edges)
    index = predicted.mean[:, MASS] / predicted.mean[:, HEIGHT].square()
    torch.testing.assert_close(group, (index > 30).long())
    # Errors of the stouter are twice as large as is claimed.
    worse = torch.where(group == 1, 2.0, 1.0)[:, None]
    truth = predicted.mean + worse * (truth - predicted.mean)
    table = scores(predicted, truth, shape)
    calibration = fit_calibration({"plain": table}, WEIGHTS, {"plain": group}, edges)
    single = fit_calibration({"plain": table}, WEIGHTS)
    for members in (group == 0, group == 1):
        held = calibration.intervals(predicted, 0.9).holds(truth)[members].float().mean()
        alone = single.intervals(predicted, 0.9).holds(truth)[members].float().mean()
        assert abs(float(held) - 0.9) < 0.005  # fitted to these very people
        assert abs(float(alone) - 0.9) > 0.03
    with pytest.raises(ValueError, match="both groups and the edges"):
        fit_calibration({"plain": table}, WEIGHTS, {"plain": group})


def test_files_keep_a_calibration(tmp_path: Path) -> None:
    calibration = fit(edges=(20.0, 30.0))
    path = calibration_path(tmp_path / "hierprob-lite.safetensors")
    assert path.name == "hierprob-lite.calibration.json"
    save_calibration(path, calibration)
    found = load_calibration(path, WEIGHTS)
    assert (found.people, found.edges, found.shape_count) == (2000, (20.0, 30.0), 2)
    torch.testing.assert_close(
        found.factors["plain"], calibration.factors["plain"], rtol=0, atol=1e-5
    )


def test_errors_that_are_skewed_miss_both_ends_as_often() -> None:
    predicted, truth, shape = people(4000)
    truth = predicted.mean + predicted.std * (((truth - predicted.mean) / predicted.std).exp() - 1)
    calibration = fit_calibration({"plain": scores(predicted, truth, shape)}, WEIGHTS)
    interval = calibration.intervals(predicted, 0.9)
    below, above = (truth < interval.low).float().mean(), (truth > interval.high).float().mean()
    assert float(below) == pytest.approx(0.05, abs=0.002)
    assert float(above) == pytest.approx(0.05, abs=0.002)
    assert (interval.high - predicted.mean).mean() > 2 * (predicted.mean - interval.low).mean()


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.calibration.json"
    with pytest.raises(FileNotFoundError, match="do: fit it to the weights"):
        load_calibration(path)
    save_calibration(path, fit())
    with pytest.raises(CalibrationError, match=r"weights bbbbbbbbbbbb\.\.\., came that of aaaaaaa"):
        load_calibration(path, "b" * 64)
    good = json.loads(path.read_text())
    for key, value, message in (
        ("version", 0, "wanted 2, came 0"),
        ("levels", [0.5], "wanted those of this version"),
        ("shape_count", 3, r"wanted \(1, 4, 16, 2\)"),
        ("edges", [2.0, 1.0], "rising"),
        ("factors", {}, "at least one condition"),
        ("factors", [1], "built otherwise; do: get the file again"),
        ("people", float("inf"), "infinity"),
        ("factors", {"naked": good["factors"]["plain"]}, "naked"),
        ("factors", {"plain": [[[[-1.0, 0.5]] * 15] * 4]}, "low ends below high ones"),
    ):
        path.write_text(json.dumps({**good, key: value}))
        with pytest.raises(CalibrationError, match=message):
            load_calibration(path)
    path.write_text("{")
    with pytest.raises(CalibrationError, match="in JSON"):
        load_calibration(path)


def test_what_was_not_fitted_is_refused() -> None:
    calibration = fit()
    predicted, _, _ = people(3)
    with pytest.raises(ValueError, match="wanted one of 0.5, 0.8, 0.9, 0.95, came 0.99"):
        calibration.intervals(predicted, 0.99)
    with pytest.raises(ValueError, match="fitted for, plain, came 'height'"):
        calibration.intervals(predicted, 0.9, "height")
    wider = ShapeGaussian.independent(torch.zeros(3, 4), torch.ones(3, 4))
    other = MeasurementDistribution(predicted.mean, predicted.std, wider)
    with pytest.raises(ValueError, match="2 coefficients of shape, came one with 4"):
        calibration.intervals(other, 0.9)
    table = scores(*people(5))
    with pytest.raises(ValueError, match="at least 9 people for a quantile of 90 %, came 5"):
        fit_calibration({"plain": table}, WEIGHTS)
    with pytest.raises(ValueError, match="came weight"):
        fit_calibration({"weight": table}, WEIGHTS)
