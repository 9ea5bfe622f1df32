"""Metrics of many guesses: twins in plain NumPy, and what calibrated samples promise."""

from __future__ import annotations

import math

import metric_twins as twins
import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.evaluate import metrics, sample_metrics
from plausibody.evaluate.distributions import least_errors
from plausibody.models.intervals import QUANTITIES, Interval

EXACT = 1e-6
"""Bound on what twins may differ by [mm]."""


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("name", twins.METRICS)
@pytest.mark.parametrize("with_mode", [False, True])
def test_the_least_of_samples_is_its_twin(name: str, with_mode: bool) -> None:
    """Each metric takes its own best sample; the mode stands in place of the first, if at all."""
    samples, target, mode = points(6, 4, 17, seed=1), points(4, 17, seed=2), points(4, 17, seed=3)
    metric, own = getattr(metrics, name), mode if with_mode else None
    found = metrics.minimum_of_samples(metric, samples, target, own)
    of_samples = torch.stack([metric(one, target) for one in samples])
    of_mode = metric(mode, target) if with_mode else None
    least = least_errors(of_samples, [1, 6], of_mode)
    for n in range(4):
        guesses = list(samples[:, n].numpy())
        if with_mode:
            guesses[0] = mode[n].numpy()
        errors = [twins.METRICS[name](guess, target[n].numpy()) for guess in guesses]
        assert abs(found[n].item() - min(errors)) < EXACT
        assert abs(least[6][n].item() - min(errors)) < EXACT
        assert abs(least[1][n].item() - errors[0]) < EXACT


def test_the_least_of_samples_may_be_the_mode() -> None:
    samples, target = points(6, 4, 14, seed=1), points(4, 14, seed=2)
    best = metrics.minimum_of_samples(metrics.pve, samples, target, mode=target)
    assert best.max() == 0
    with pytest.raises(ValueError, match="at least one guess, got none"):
        metrics.minimum_of_samples(metrics.pve, samples[:0], target)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_calibrated_samples_cover_at_their_level(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(4000, generator=generator)
    samples = centre + torch.randn(200, 4000, generator=generator)
    truth = centre + torch.randn(4000, generator=generator)
    share = metrics.coverage(samples, truth, level).mean().item()
    # Three standard errors, and 1 % for the quantiles of 200 samples.
    assert abs(share - level) < 3 * math.sqrt(level * (1 - level) / 4000) + 0.01


def test_coverage_wants_a_probability() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 90.0"):
        metrics.coverage(torch.zeros(3, 2), torch.zeros(2), 90.0)


def test_intervals_of_samples_are_their_twin() -> None:
    samples, target = points(11, 40, seed=1)[..., 0], points(40, seed=2)[..., 0]
    held, width = (
        metrics.coverage(samples, target, 0.8),
        sample_metrics.interval_width(samples, 0.8),
    )
    for n in range(40):
        low, high = np.quantile(samples[:, n].numpy(), [0.1, 0.9])
        assert held[n].item() == (low <= target[n].item() <= high)
        assert abs(width[n].item() - (high - low)) < EXACT
    assert 0 < held.mean() < 1


def test_measurements_are_compared_in_both_directions() -> None:
    prediction, target = points(5, 13, seed=1)[..., 0], points(5, 13, seed=2)[..., 0]
    target[2, 4] = math.nan
    found = sample_metrics.measurement_errors(prediction, target)
    assert len(found) == 26
    for place, name in enumerate(QUANTITIES):
        unit = 1 if name == "mass" else 1000
        for n in range(5):
            gap = unit * (prediction[n, place].item() - target[n, place].item())
            bias, size = found[f"measured_bias/{name}"][n], found[f"measured/{name}"][n]
            assert bias.item() == pytest.approx(gap, abs=EXACT, nan_ok=True)
            assert size.item() == pytest.approx(abs(gap), abs=EXACT, nan_ok=True)
    with pytest.raises(ValueError, match="finite predictions"):
        sample_metrics.measurement_errors(target, prediction)


def test_intervals_of_measurements_hold_the_truth_or_not() -> None:
    middle, half = points(30, 13, seed=1)[..., 0], points(30, 13, seed=2)[..., 0].abs()
    target = points(30, 13, seed=3)[..., 0]
    target[7, 0] = math.nan
    intervals = {0.5: Interval(middle - half / 2, middle + half / 2),
                 0.9: Interval(middle - half, middle + half)}  # fmt: skip
    found = sample_metrics.interval_scores(intervals, target)
    assert len(found) == 2 * 2 * 13
    for level, interval in intervals.items():
        for place, name in enumerate(QUANTITIES):
            held = found[f"coverage/{name}[level{100 * level:.0f}]"]
            width = found[f"sharpness/{name}[level{100 * level:.0f}]"]
            for n in range(30):
                low, high = interval.low[n, place].item(), interval.high[n, place].item()
                true = target[n, place].item()
                unknown = math.isnan(true)
                unit = 1 if name == "mass" else 1000
                expected = math.nan if unknown else float(low <= true <= high)
                assert held[n].item() == pytest.approx(expected, nan_ok=True)
                wide = math.nan if unknown else unit * (high - low)
                assert width[n].item() == pytest.approx(wide, abs=EXACT, nan_ok=True)
    assert found["coverage/waist[level90]"].mean() > found["coverage/waist[level50]"].mean()


def test_diversity_is_the_mean_distance_to_the_mean() -> None:
    """Two guesses 2 m apart along one axis for the first joint, equal for the second."""
    samples = torch.zeros(2, 1, 2, 3)
    samples[0, 0, 0, 1], samples[1, 0, 0, 1] = 1.0, -1.0
    torch.testing.assert_close(sample_metrics.sample_diversity(samples), torch.tensor([500.0]))
    first = torch.tensor([[True, False]])
    for counted, expected in ((first, 1000.0), (~first, 0.0)):
        found = sample_metrics.sample_diversity(samples, counted)
        torch.testing.assert_close(found, torch.tensor([expected]))
    assert sample_metrics.sample_diversity(samples, first & ~first).isnan().all()
    assert sample_metrics.sample_diversity(samples[:1]).item() == 0


def test_diversity_is_its_twin_and_does_not_see_place() -> None:
    samples = points(5, 3, 17)
    counted = torch.rand(3, 17, generator=torch.Generator().manual_seed(4)) < 0.5
    found = sample_metrics.sample_diversity(samples, counted)
    for n in range(3):
        twin = twins.diversity(samples[:, n].numpy(), counted[n].numpy())
        assert abs(found[n].item() - twin) < EXACT
    torch.testing.assert_close(sample_metrics.sample_diversity(samples + 3.0, counted), found)
