"""Predicted measurements against many samples of bodies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.intervals import (
    QUANTITIES,
    Slopes,
    measure_distribution,
    measure_table,
    normal_width,
)
from plausibody.models.measure import measure_shape
from plausibody.models.shapes import ShapeGaussian
from plausibody.synth.stores import SynthAssets


@pytest.fixture(scope="module")
def template(assets: SynthAssets) -> BodyTemplate:
    return assets.template


def uncertain(count: int = 10) -> ShapeGaussian:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, count, generator=generator)
    root = 0.12 * torch.randn(2, count, count, generator=generator)
    stds = 0.2 + 0.6 * torch.rand(2, count, generator=generator)
    return ShapeGaussian.of_covariance(mean, root @ root.mT + torch.diag_embed(stds.square()))


def sampled(template: BodyTemplate, shape: ShapeGaussian, count: int) -> Tensor:
    """The slow twin: measures samples."""
    return measure_table(template, shape.sample(count, torch.Generator().manual_seed(1)))


def test_means_deviations_and_intervals_are_those_of_samples(template: BodyTemplate) -> None:
    shape = uncertain()
    bodies = sampled(template, shape, 1500)
    found = measure_distribution(template, shape)
    assert found.mean.shape == found.std.shape == (2, 13)
    # 1,500 samples are themselves off by 2.6 % of a deviation in the mean, by 1.8 % in the
    # deviation; 10,000 of them showed 1.1 % and 1.0 % of ours, the neck's 2.9 %.
    off = ((found.mean - bodies.mean(0)) / bodies.std(0)).abs()
    assert off.amax() < 0.14, f"means off by {off.amax():.3f} deviations (measured 0.108)"
    wide = (found.std / bodies.std(0) - 1).abs()
    assert wide.amax() < 0.08, f"deviations off by {wide.amax():.3f} (measured 0.048)"
    for level in (0.5, 0.8, 0.9, 0.95):
        held = found.intervals(level).holds(bodies).float().mean((0, 1))
        assert (held - level).abs().amax() < 0.05
        assert abs(float(held.mean()) - level) < 0.015


def test_a_certain_shape_has_the_measurements_of_its_body(template: BodyTemplate) -> None:
    mean = torch.randn(3, 10, generator=torch.Generator().manual_seed(2))
    found = measure_distribution(
        template, ShapeGaussian.independent(mean, torch.full_like(mean, 1e-5))
    )
    exact = measure_shape(template, mean)
    for number, name in enumerate(QUANTITIES):
        torch.testing.assert_close(found.mean[:, number], getattr(exact, name))
    assert found.std.amax() < 1e-3


def test_batches_are_people_one_by_one(template: BodyTemplate) -> None:
    shape = uncertain()
    both = measure_distribution(template, shape)
    one = measure_distribution(template, ShapeGaussian(shape.mean[1], shape.factor[1]))
    torch.testing.assert_close(both.mean[1], one.mean)
    torch.testing.assert_close(both.std[1], one.std)
    assert measure_table(template, shape.mean[:0]).shape == (0, 13)


def test_slopes_are_those_of_the_measurements(template: BodyTemplate) -> None:
    """Against derivatives by autograd, of what is smooth: mass is cubic, the arm all but linear."""
    slopes = Slopes.of(template, 10)
    torch.testing.assert_close(slopes.second, slopes.second.mT)
    shape = torch.zeros(10, requires_grad=True)
    measured = measure_shape(template, shape)
    for name, bound in (("mass", 0.02), ("arm_length", 0.003), ("inseam", 0.003)):
        (gradient,) = torch.autograd.grad(getattr(measured, name), shape, retain_graph=True)
        fitted = slopes.first[QUANTITIES.index(name)].float()
        # Cubic terms move the fitted slope a little: 0.7 % of the mass, 0.1 % of the lengths.
        assert (fitted - gradient).norm() < bound * gradient.norm(), name


def test_widths_are_those_of_the_normal_distribution() -> None:
    assert normal_width(0.5) == pytest.approx(0.67449, abs=1e-5)
    assert normal_width(0.95) == pytest.approx(1.95996, abs=1e-5)
    with pytest.raises(ValueError, match="between 0 and 1, came 90.0"):
        normal_width(90.0)
