"""Normal distributions over shapes: against torch's own, precision form and exact formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from plausibody.models.shapes import ShapeGaussian

COUNT = 6


def normals(seed: int = 0) -> Tensor:
    """A table of noise, the same for the same seed."""
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)).double()


def gaussian(*batch: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> ShapeGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*batch, COUNT, generator=generator, dtype=torch.float64)
    root = torch.randn(*batch, COUNT, COUNT, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT / COUNT + 0.05 * torch.eye(COUNT).double()
    return ShapeGaussian.of_covariance(mean.to(dtype), covariance.to(dtype))


def reference(shape: ShapeGaussian) -> MultivariateNormal:
    return MultivariateNormal(shape.mean, scale_tril=shape.factor)


def test_densities_and_entropies_are_those_of_torch() -> None:
    shape = gaussian(3, 2)
    points = shape.sample(5, torch.Generator().manual_seed(1))
    assert points.shape == (5, 3, 2, COUNT)
    other = reference(shape)
    torch.testing.assert_close(shape.log_prob(points), other.log_prob(points))
    torch.testing.assert_close(shape.log_prob(points[0]), other.log_prob(points[0]))
    torch.testing.assert_close(shape.entropy(), other.entropy())
    torch.testing.assert_close(shape.std, other.stddev)
    torch.testing.assert_close(shape.covariance, other.covariance_matrix)


def test_independent_coefficients_are_those_of_the_published_method() -> None:
    """Log-densities add up over the coefficients."""
    mean, point, noise = normals()[:4, : 3 * COUNT].split(COUNT, -1)
    std = noise.abs() + 0.1
    shape = ShapeGaussian.independent(mean, std)
    each = torch.distributions.Normal(mean, std).log_prob(point)
    torch.testing.assert_close(shape.log_prob(point), each.sum(-1))
    torch.testing.assert_close(shape.std, std)


def test_samples_have_the_moments_and_follow_the_generator() -> None:
    shape = gaussian(2)
    drawn = shape.sample(40_000, torch.Generator().manual_seed(2))
    # Four standard errors: of the mean 2 %, of the covariance 3 % of the largest variance.
    assert ((drawn.mean(0) - shape.mean) / shape.std).abs().max() < 0.02
    gap = drawn - shape.mean
    covariance = torch.einsum("nbi,nbj->bij", gap, gap) / len(drawn)
    assert (covariance - shape.covariance).abs().max() < 0.03 * shape.covariance.max()
    again = shape.sample(40_000, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again)


def test_gradients_pass_to_mean_and_covariance() -> None:
    mean = normals(0)[0, :COUNT].clone().requires_grad_()
    root = normals(1)[:COUNT, :COUNT].clone().requires_grad_()
    point, direction = normals(2)[:3, :COUNT], normals(3)[0, :COUNT]
    value = torch.tensor(0.7, dtype=torch.float64)

    def of(mean: Tensor, root: Tensor) -> ShapeGaussian:
        return ShapeGaussian.of_covariance(mean, root @ root.mT + torch.eye(COUNT).double())

    def density(mean: Tensor, root: Tensor) -> Tensor:
        return of(mean, root).log_prob(point)

    def drawn(mean: Tensor, root: Tensor) -> Tensor:
        return of(mean, root).sample(2, torch.Generator().manual_seed(0))

    def known(mean: Tensor, root: Tensor) -> Tensor:
        shape = of(mean, root).given(direction, value, 0.1)
        return torch.cat([shape.mean, shape.covariance.flatten()])

    def both(mean: Tensor, root: Tensor) -> Tensor:
        shape = of(mean, root).product(gaussian(seed=4))
        return torch.cat([shape.mean, shape.covariance.flatten()])

    for function in (density, drawn, known, both):
        assert torch.autograd.gradcheck(function, (mean, root))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_add_precisions(dtype: torch.dtype) -> None:
    first, second = gaussian(3, seed=0, dtype=dtype), gaussian(3, seed=1, dtype=dtype)
    both = first.product(second)
    assert both.mean.dtype == dtype
    precisions = [torch.linalg.inv(one.covariance.double()) for one in (first, second)]
    covariance = torch.linalg.inv(precisions[0] + precisions[1])
    pull = sum(
        (precision @ one.mean.double()[..., None])[..., 0]
        for precision, one in zip(precisions, (first, second), strict=True)
    )
    mean = (covariance @ pull[..., None])[..., 0]
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(both.covariance.double(), covariance, atol=tolerance, rtol=0)
    torch.testing.assert_close(both.mean.double(), mean, atol=tolerance, rtol=0)
    swapped = second.product(first)
    torch.testing.assert_close(swapped.mean, both.mean, atol=tolerance, rtol=0)


def test_products_are_densities_multiplied() -> None:
    """Up to a constant: that of the integral."""
    first, second = gaussian(seed=0), gaussian(seed=1)
    points = first.sample(6, torch.Generator().manual_seed(0))
    gap = first.product(second).log_prob(points) - first.log_prob(points) - second.log_prob(points)
    torch.testing.assert_close(gap, gap[:1].expand_as(gap))


def test_two_equal_opinions_are_surer_by_the_root_of_two() -> None:
    shape = gaussian(2)
    both = shape.product(shape)
    torch.testing.assert_close(both.mean, shape.mean)
    torch.testing.assert_close(both.std, shape.std / math.sqrt(2))


@pytest.mark.parametrize("std", [1e-3, 1e-6])
def test_what_is_nearly_certain_decides_a_product(std: float) -> None:
    vague = gaussian(seed=0, dtype=torch.float32)
    sure = ShapeGaussian.independent(torch.ones(COUNT), torch.full((COUNT,), std))
    for both in (vague.product(sure), sure.product(vague)):
        torch.testing.assert_close(both.mean, sure.mean, atol=2e-3, rtol=0)
        torch.testing.assert_close(both.std, sure.std, rtol=1e-2, atol=0)


def test_a_certain_measurement_is_exact_conditioning() -> None:
    """The limit of a std of zero is the textbook's formula for a known linear function."""
    shape = gaussian(3)
    direction, value = normals(7)[:3, :COUNT], normals(8)[:3, 0]
    found = shape.given(direction, value, 1e-7)
    torch.testing.assert_close((direction * found.mean).sum(-1), value, atol=1e-9, rtol=0)
    cross = (shape.covariance @ direction[..., None])[..., 0]
    variance = (direction * cross).sum(-1)
    exact = shape.covariance - cross[..., :, None] * cross[..., None, :] / variance[:, None, None]
    torch.testing.assert_close(found.covariance, exact, atol=1e-9, rtol=0)
    mean = shape.mean + cross * ((value - (direction * shape.mean).sum(-1)) / variance)[:, None]
    torch.testing.assert_close(found.mean, mean, atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_measurement_with_an_error_is_a_product(dtype: torch.dtype) -> None:
    """Bayes' rule: a measurement adds direction direction^T / std^2 to the precision."""
    shape = gaussian(2, dtype=dtype)
    direction, value, std = (
        normals(3)[:2, :COUNT].to(dtype),
        torch.tensor([0.3, -2.0]).to(dtype),
        0.4,
    )
    found = shape.given(direction, value, std)
    assert found.mean.dtype == dtype
    precision = torch.linalg.inv(shape.covariance.double())
    outer = direction[:, :, None].double() * direction[:, None].double()
    covariance = torch.linalg.inv(precision + outer / std**2)
    pull = (precision @ shape.mean.double()[..., None])[..., 0]
    pull = pull + direction.double() * value.double()[:, None] / std**2
    mean = (covariance @ pull[..., None])[..., 0]
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found.covariance.double(), covariance, atol=tolerance, rtol=0)
    torch.testing.assert_close(found.mean.double(), mean, atol=tolerance, rtol=0)
    unsure = shape.given(direction, value, 1e6)
    torch.testing.assert_close(unsure.mean, shape.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(unsure.covariance, shape.covariance, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "std"), [(torch.float64, 1e-6), (torch.float32, 1e-2)])
def test_the_surest_measurements_leave_a_distribution(dtype: torch.dtype, std: float) -> None:
    """Measured again and again in one direction, of which the std was over 1: no variance is 0."""
    shape, direction = gaussian(4, dtype=dtype), torch.ones(4, COUNT, dtype=dtype)
    value = torch.full((4,), 0.5, dtype=dtype)
    for _ in range(3):
        shape = shape.given(direction, value, std)
    assert (shape.factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert torch.isfinite(shape.log_prob(shape.mean)).all()
    torch.testing.assert_close((direction * shape.mean).sum(-1), value, atol=1e-3, rtol=0)
    left = (shape.factor.mT @ direction[..., None]).norm(dim=(-2, -1))
    torch.testing.assert_close(left, torch.full_like(left, std / math.sqrt(3)), rtol=0.05, atol=0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_impossible_errors_of_measurement_are_refused(std: float) -> None:
    with pytest.raises(ValueError, match="std: wanted a positive standard deviation"):
        gaussian().given(torch.ones(COUNT).double(), torch.tensor(0.0).double(), std)


def test_a_covariance_that_is_none_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        ShapeGaussian.of_covariance(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


def test_one_direction_and_one_value_may_be_for_all() -> None:
    many = ShapeGaussian.independent(torch.zeros(3, 2), torch.ones(3, 2))
    direction, value = torch.tensor([1.0, 0.0]), torch.tensor(0.5)
    found = many.given(direction, value, 1e-3)
    torch.testing.assert_close(found.mean[:, 0], torch.full((3,), 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std[:, 1], torch.ones(3))
