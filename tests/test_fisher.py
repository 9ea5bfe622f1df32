"""Matrix-Fisher distributions: against quadrature of high precision, sampling and the laws."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from types import SimpleNamespace

import mpmath
import pytest
import torch
from torch import Tensor

from plausibody.models.fisher import MatrixFisher, log_normalizer
from plausibody.models.fisher_sampler import (
    envelope,
    quadratic_form,
    quaternion_to_rotmat,
    rotate_noise,
)
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat

ORDINARY = [
    *((0.0, 0.0, 0.0), (0.01, 0.0, 0.0), (1.0, 1.0, 1.0), (3.0, 2.0, -1.0), (5.0, 1.0, -0.5)),
    *((20.0, 10.0, 5.0), (100.0, 80.0, 60.0), (300.0, 300.0, 300.0), (300.0, 0.0, 0.0)),
    *((300.0, 300.0, -300.0), (300.0, 299.0, -298.0)),
]
CONCENTRATED = [
    *((1000.0, 800.0, 700.0), (3000.0, 3000.0, 3000.0), (3000.0, 3000.0, -3000.0)),
    *((3000.0, 2000.0, -1000.0), (10000.0, 10000.0, 10000.0), (10000.0, 9990.0, -9989.5)),
    *((10000.0, 0.0, 0.0),),
]


@lru_cache
def quadrature(values: tuple[float, float, float]) -> tuple[float, list[float]]:
    """log c and its gradient by mpmath's adaptive rule, as means over x = 1 - u."""
    mp = mpmath.mp.clone()
    mp.dps = 20
    s1, s2, s3 = (mp.mpf(value) for value in values)

    @cache
    def integrands(x: object) -> tuple[object, ...]:
        a, b = (s2 - s3) * x / 2, (s2 + s3) * (2 - x) / 2
        scale = mp.exp(-(s1 + s3) * x - a - b) / 2
        i0, j0 = mp.besseli(0, a), mp.besseli(0, b)
        both = scale * i0 * j0
        along, against = mp.besseli(1, a) * j0 * x / 2, mp.besseli(1, b) * i0 * (1 - x / 2)
        return both, (1 - x) * both, scale * (against + along), scale * (against - along)

    pieces = [0, *(2 * mp.mpf(10) ** (-mp.mpf(k) / 2) for k in range(12, -1, -1))]
    integrals = [mp.quad(lambda x, k=k: integrands(x)[k], pieces) for k in range(4)]
    log_c = mp.log(integrals[0]) + s1 + s2 + s3
    return float(log_c), [float(slope / integrals[0]) for slope in integrals[1:]]


def matrices(*shape: int, scale: float = 3.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, 3, 3, generator=generator, dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("values", ORDINARY + CONCENTRATED)
def test_the_constant_and_its_gradient_are_those_of_quadrature(
    values: tuple[float, float, float],
) -> None:
    """Measured: 3e-14 to 300, 4e-12 to 3,000, 2e-10 to 10,000."""
    log_c, gradient = quadrature(values)
    bound = 1e-9 if values in CONCENTRATED else 1e-12
    double = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    found = log_normalizer(double)
    found.backward()
    assert found.item() == pytest.approx(log_c, rel=0, abs=bound)
    assert double.grad is not None
    assert double.grad.tolist() == pytest.approx(gradient, rel=0, abs=bound)
    single = torch.tensor(values, requires_grad=True)
    found = log_normalizer(single)
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(log_c, rel=1e-6, abs=1e-12)
    assert single.grad is not None
    assert single.grad.tolist() == pytest.approx(gradient, rel=1e-6, abs=1e-10)


def test_the_constant_of_the_uniform_distribution_is_one() -> None:
    assert log_normalizer(torch.zeros(4, 3, dtype=torch.float64)).abs().max() < 1e-14


def test_the_constant_knows_neither_order_nor_paired_signs() -> None:
    values = torch.tensor(
        [[5.0, 2.0, -1.0], [2.0, -1.0, 5.0], [-5.0, 2.0, 1.0], [-5.0, -2.0, -1.0]]
    )
    values = values.double().requires_grad_()
    found = log_normalizer(values)
    torch.testing.assert_close(found, found[0].expand(4).detach())
    assert torch.autograd.gradcheck(log_normalizer, (values,))


def test_the_constant_is_the_mean_over_uniform_rotations() -> None:
    """The only test that does not share the integral with what it tests."""
    rotmat = MatrixFisher(torch.zeros(3, 3, dtype=torch.float64)).sample(200_000, seeded())
    parameter = torch.tensor([[2.0, 0.3, 0.0], [0.1, 1.0, 0.2], [0.0, 0.4, -1.0]]).double()
    density = (parameter * rotmat).sum((-2, -1)).exp()
    log_c = -MatrixFisher(parameter).log_prob(torch.zeros(3, 3).double())
    error = density.std() / density.mean() / len(density) ** 0.5
    assert (density.mean().log() - log_c).abs() < 4 * error


SPECIAL = torch.stack(
    [
        torch.eye(3),
        torch.zeros(3, 3),
        torch.diag(torch.tensor([2.0, 2.0, -2.0])),
        torch.diag(torch.tensor([50.0, 50.0, 1.0])),
        -torch.eye(3),
        torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 5.0], [5.0, 0.0, 0.0]]),
    ]
).double()


@pytest.mark.parametrize("parameter", [SPECIAL, matrices(6), matrices(4, scale=200.0)])
@pytest.mark.parametrize("what", ["log_prob", "entropy", "mean"])
def test_gradients_by_f(parameter: Tensor, what: str) -> None:
    rotmat = rotvec_to_rotmat(torch.tensor([0.3, -0.8, 0.5]).double())

    def function(value: Tensor) -> Tensor:
        distribution = MatrixFisher(value)
        return (
            distribution.log_prob(rotmat) if what == "log_prob" else getattr(distribution, what)()
        )

    assert torch.autograd.gradcheck(function, (parameter.clone().requires_grad_(),))


def test_the_gradient_of_the_mode() -> None:
    parameter = torch.cat([torch.eye(3)[None].double(), matrices(6)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: MatrixFisher(value).mode(), (parameter,))


def test_rounded_singular_values_do_no_harm() -> None:
    """Those of -s R are (s, s, -s), whose sums would be 0 but for rounding, of either sign."""
    rotmat = MatrixFisher(torch.zeros(300, 3, 3).double()).sample(1, seeded())[0]
    for size in (1.0, 30.0, 1e3):
        parameter = (-size * rotmat).requires_grad_()
        distribution = MatrixFisher(parameter)
        log_c = -distribution.log_prob(torch.zeros(3, 3).double())
        expected = log_normalizer(torch.tensor([size, size, -size]).double())
        torch.testing.assert_close(log_c, expected.expand(300))
        assert torch.autograd.grad(log_c.sum(), parameter)[0].norm(dim=(-2, -1)).max() < 3**0.5
        assert distribution.credible_radius(0.5).isfinite().all()


@pytest.mark.parametrize("size", [0.0, 1e-20, 1.0, 1e4, 1e12, 1e35])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_whatever_the_concentration(size: float, dtype: torch.dtype) -> None:
    parameter = (size * torch.cat([SPECIAL, matrices(5)])).to(dtype).requires_grad_()
    distribution = MatrixFisher(parameter)
    rotmat = distribution.sample(3, seeded(), reparameterized=True)
    results = [rotmat, distribution.mode(), distribution.mean(), distribution.entropy()]
    results += [distribution.log_prob(rotmat.detach()), distribution.credible_radius(0.9)]
    assert all(result.isfinite().all() and result.dtype == dtype for result in results)
    for result in results[:-1]:
        (gradient,) = torch.autograd.grad(result.sum(), parameter, retain_graph=True)
        assert gradient.isfinite().all()


def test_the_mode_is_the_likeliest_rotation() -> None:
    distribution = MatrixFisher(matrices(7))
    mode = distribution.mode()
    torch.testing.assert_close(torch.linalg.det(mode), torch.ones(7).double())
    near = mode @ rotvec_to_rotmat(0.1 * matrices(50, seed=1)[:, None, 0])
    assert (distribution.log_prob(near) < distribution.log_prob(mode)).all()


def test_turning_f_turns_the_distribution() -> None:
    turn = rotvec_to_rotmat(torch.tensor([1.0, -2.0, 0.5]).double())
    straight, turned = MatrixFisher(matrices(5)), MatrixFisher(turn @ matrices(5))
    torch.testing.assert_close(turned.mode(), turn @ straight.mode())
    torch.testing.assert_close(turned.mean(), turn @ straight.mean())
    torch.testing.assert_close(turned.entropy(), straight.entropy())
    torch.testing.assert_close(turned.credible_radius(0.5), straight.credible_radius(0.5))


DRAWN = torch.cat([SPECIAL, matrices(3), matrices(2, scale=300.0)])
"""Uniform, isotropic, degenerate, of negative determinant, ordinary and concentrated."""


@pytest.fixture(scope="module")
def drawn() -> Tensor:
    return MatrixFisher(DRAWN).sample(200_000, seeded())


def test_samples_are_rotations(drawn: Tensor) -> None:
    few = drawn[:100]
    torch.testing.assert_close(few @ few.mT, torch.eye(3).double().expand_as(few))
    torch.testing.assert_close(torch.linalg.det(few), torch.ones(few.shape[:2]).double())


def test_means_of_samples_are_the_distributions(drawn: Tensor) -> None:
    """Within 5 standard errors, for 99 numbers."""
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - MatrixFisher(DRAWN).mean()).abs() < 5 * error + 1e-12).all()


def test_second_moments_of_samples_are_the_hessians(drawn: Tensor) -> None:
    """E[R_ij R_kl] = d mean_ij / dF_kl + mean_ij mean_kl, of which all 81 are compared."""
    distribution = MatrixFisher(DRAWN.clone().requires_grad_())
    mean = distribution.mean().flatten(-2)
    assert mean.requires_grad
    flat = drawn.flatten(-2)
    for entry in range(9):
        (slope,) = torch.autograd.grad(
            mean[:, entry].sum(), distribution.parameter, retain_graph=True
        )
        expected = slope.flatten(-2) + mean[:, entry, None].detach() * mean.detach()
        products = flat[..., entry, None] * flat
        error = products.std(0) / len(flat) ** 0.5
        assert ((products.mean(0) - expected).abs() < 5 * error + 1e-12).all()


@pytest.mark.parametrize("values", [(3.0, 2.0, -1.0), (5.0, 1.0, 0.0), (20.0, 10.0, 5.0)])
def test_quaternion_marginals_of_samples_are_those_of_quadrature(
    values: tuple[float, float, float],
) -> None:
    """The shares of each |q_k| in 8 bins; the density is summed over a grid of directions."""
    count, bins = 200_000, 8
    singular = torch.tensor(values, dtype=torch.float64)
    rotmat = MatrixFisher(torch.diag(singular)).sample(count, seeded(1))
    diagonal = rotmat.diagonal(dim1=-2, dim2=-1)
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    found = ((1 + diagonal @ signs.mT) / 4).clamp(min=0).sqrt()  # |w|, |x|, |y|, |z|
    # q = (cos a, sin a cos b, sin a sin b cos c, sin a sin b sin c); by symmetry one octant
    middles = (torch.arange(128).double() + 0.5) / 128 * math.pi / 2
    a, b, c = torch.meshgrid(middles, middles, middles, indexing="ij")
    ring = a.sin() * b.sin()
    grid = torch.stack([a.cos(), a.sin() * b.cos(), ring * c.cos(), ring * c.sin()], -1).flatten(
        0, 2
    )
    exponent = grid.square() @ (signs @ singular)
    mass = (exponent - exponent.max()).exp() * (a.sin().square() * b.sin()).flatten()
    edges = torch.linspace(0, 1, bins + 1).double()[1:-1]
    for part in range(4):
        expected = torch.zeros(bins).double()
        expected.index_add_(
            0, torch.bucketize(grid[:, part].contiguous(), edges), mass / mass.sum()
        )
        share = torch.bucketize(found[:, part].contiguous(), edges).bincount(minlength=bins) / count
        error = (expected * (1 - expected) / count).sqrt()
        assert ((share - expected).abs() < 5 * error + 3e-3).all()  # 3e-3: of the grid at edges


def test_samples_come_from_the_generator_alone() -> None:
    distribution = MatrixFisher(matrices(4, 5).float())
    first, second = (distribution.sample(8, seeded(7)) for _ in range(2))
    assert first.shape == (8, 4, 5, 3, 3) and first.dtype == torch.float32
    assert first.equal(second)
    assert not first.equal(distribution.sample(8, seeded(8)))
    assert distribution.sample(0, seeded()).shape == (0, 4, 5, 3, 3)


def test_the_envelope_lies_above_the_density_and_touches_it() -> None:
    """The ratio of densities, over the ceiling that the sampler accepts by, is 1 at most."""
    shape = envelope(
        torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, -0.5], [500.0, 400.0, 300.0]]).double()
    )
    torch.testing.assert_close(shape.looseness[0], torch.tensor(4.0).double())
    b = shape.looseness[:, None]
    cost = torch.linspace(0, 10, 100_001).double()
    ratio = (-cost).exp() * (1 + 2 * cost / b).square() * ((4 - b) / 2).exp() * (b / 4).square()
    torch.testing.assert_close(ratio.max(-1).values, torch.ones(3).double())
    total = (1 / (b + 2 * shape.energy)).sum(-1)
    torch.testing.assert_close(total, torch.ones(3).double())


def test_the_quadratic_form_of_a_quaternion_is_the_trace() -> None:
    quaternion = matrices(10)[..., 0, :].new_tensor([[0.1, -0.7, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]])
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    matrix = matrices(2)
    form = (quaternion[:, None] @ quadratic_form(matrix) @ quaternion[..., None]).flatten()
    trace = (matrix * quaternion_to_rotmat(quaternion)).sum((-2, -1))
    torch.testing.assert_close(form, trace)


def test_the_path_of_a_sample_is_that_of_the_symmetric_root() -> None:
    """Against finite differences of (b(F) + 2 A(F))^(-1/2) noise, by the eigenvectors of K."""
    values, noise = torch.tensor([4.0, 2.0, -0.5]).double(), torch.tensor([0.9, -0.4, 1.1, 0.3])
    noise, direction = noise.double(), matrices(scale=1.0, seed=3)

    def path(parameter: Tensor) -> Tensor:
        levels, vectors = torch.linalg.eigh(quadratic_form(parameter))
        energy = levels[-1] - levels
        low, high = torch.tensor(1.0).double(), torch.tensor(4.0).double()
        for _ in range(60):
            b = (low + high) / 2
            low, high = (b, high) if (1 / (b + 2 * energy)).sum() > 1 else (low, b)
        root = vectors @ torch.diag((b + 2 * energy).rsqrt()) @ vectors.mT
        return quaternion_to_rotmat(root @ noise)

    parameter, step = torch.diag(values), 1e-5
    ahead, behind = path(parameter + step * direction), path(parameter - step * direction)
    shape, change = envelope(values[None]), torch.zeros(1, 3, 3, dtype=torch.float64)
    by_change = torch.autograd.functional.jacobian(
        lambda moved: rotate_noise(noise[None, None], shape, moved)[0, 0], change
    )
    slope = (by_change[:, :, 0] * direction).sum((-2, -1))
    torch.testing.assert_close(rotate_noise(noise[None, None], shape, None)[0, 0], path(parameter))
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize(("size", "shortest"), [(0.05, 0.95), (4.0, 0.5), (200.0, 0.9)])
def test_gradients_through_samples_point_where_those_of_the_mean_do(
    size: float, shortest: float
) -> None:
    parameter = (size * torch.diag(torch.tensor([1.0, 0.8, 0.6]))).double().requires_grad_()
    distribution = MatrixFisher(parameter)
    weights = matrices(seed=5)
    sampled = distribution.sample(100_000, seeded(2), reparameterized=True).mean(0)
    (found,) = torch.autograd.grad((weights * sampled).sum(), parameter)
    (exact,) = torch.autograd.grad((weights * distribution.mean()).sum(), parameter)
    assert torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.98
    assert shortest < found.norm() / exact.norm() < 1.05
    assert not distribution.sample(2, seeded()).requires_grad


def test_likelihood_training_recovers_the_parameter() -> None:
    target = torch.tensor([[9.0, 2.0, 0.0], [-1.0, 6.0, 1.0], [0.5, 0.0, 4.0]]).double()
    rotmat = MatrixFisher(target).sample(50_000, seeded(3))
    mean = rotmat.mean(0)
    parameter = torch.eye(3, dtype=torch.float64, requires_grad=True)  # where networks begin
    optimiser = torch.optim.LBFGS([parameter], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -MatrixFisher(parameter).log_prob(mean)  # linear in R: the mean over all rotations
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(MatrixFisher(parameter).mean(), mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(parameter.detach(), target, atol=0.25, rtol=0)


def test_the_entropy_is_the_mean_of_minus_the_log_density(drawn: Tensor) -> None:
    distribution = MatrixFisher(DRAWN)
    surprise = -distribution.log_prob(drawn)
    error = surprise.std(0) / len(surprise) ** 0.5
    assert ((surprise.mean(0) - distribution.entropy()).abs() < 5 * error + 1e-12).all()
    assert MatrixFisher(torch.zeros(3, 3)).entropy().abs() < 1e-6


def test_balls_hold_as_many_samples_as_they_promise(drawn: Tensor) -> None:
    distribution = MatrixFisher(DRAWN)
    trace = (drawn * distribution.mode()).sum((-2, -1))
    angle = ((trace - 1) / 2).clamp(-1, 1).acos()
    for probability in (0.02, 0.5, 0.9, 0.99):
        radius = distribution.credible_radius(probability)
        held = (angle < radius).double().mean(0)
        error = (probability * (1 - probability) / len(angle)) ** 0.5
        assert ((held - probability).abs() < 5 * error).all()
        torch.testing.assert_close(
            distribution.probability_within(radius), torch.full_like(radius, probability)
        )


def test_probabilities_within_the_angles_of_samples_are_uniform(drawn: Tensor) -> None:
    distribution = MatrixFisher(DRAWN)
    angle = geodesic_angle(drawn, distribution.mode().expand_as(drawn))
    rank = distribution.probability_within(angle).sort(0).values
    even = torch.linspace(0, 1, len(rank)).double()[:, None]
    assert (rank - even).abs().max() < 2.2 / len(rank) ** 0.5  # Kolmogorov-Smirnov, 1e-4 each


def test_balls_of_the_uniform_distribution_have_the_volume_of_balls() -> None:
    uniform = MatrixFisher(torch.zeros(3, 3, dtype=torch.float64))
    for probability in (0.01, 0.5, 0.999):
        radius = uniform.credible_radius(probability).item()
        assert (radius - math.sin(radius)) / math.pi == pytest.approx(probability, abs=1e-6)
    assert uniform.probability_within(torch.tensor(4.0).double()) == 1


def test_a_product_multiplies_densities() -> None:
    first, second = MatrixFisher(matrices(4)), MatrixFisher(matrices(4, seed=1))
    both, rotmat = first.product(second), MatrixFisher(torch.zeros(4, 3, 3)).sample(9, seeded())
    rest = both.log_prob(rotmat) - first.log_prob(rotmat) - second.log_prob(rotmat)
    torch.testing.assert_close(rest, rest[:1].expand(9, 4))


def test_concentrated_rotations_are_near_the_mode() -> None:
    mode = rotvec_to_rotmat(torch.tensor([0.4, 1.0, -0.2]))
    rotmat = MatrixFisher(1e4 * mode).sample(1000, seeded())
    assert geodesic_angle(rotmat, mode.expand_as(rotmat)).max() < 0.05


def test_networks_of_half_precision_get_rotations() -> None:
    parameter = torch.eye(3).to(torch.bfloat16).expand(4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        distribution = MatrixFisher(parameter)
        rotmat = distribution.sample(5, seeded())
        log_prob = distribution.log_prob(rotmat)
    assert rotmat.dtype == log_prob.dtype == torch.float32
    torch.testing.assert_close(rotmat @ rotmat.mT, torch.eye(3).expand_as(rotmat))
    torch.testing.assert_close(log_prob, MatrixFisher(parameter.float()).log_prob(rotmat))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (
            torch.tensor([[[math.nan] * 3] * 3, [[0.0] * 3] * 3]),
            "larger ones in 1 of 2",
        ),
        (torch.full((3, 3), -math.inf), "larger ones in 1 of 1"),
        (torch.full((3, 3), 1e200, dtype=torch.float64), "1e.100 at most, got"),
        (torch.eye(3).long(), r"floating-point numbers, got torch.int64; use \.float"),
        (torch.zeros(3, 2), r"wanted 3x3 matrices .*got \(3, 2\)"),
        (torch.zeros(3), r"wanted 3x3 matrices .*got \(3,\)"),
    ],
)
def test_bad_parameters_are_refused(parameter: Tensor, message: str) -> None:
    """By what users meet, who do not have shapes checked by annotation as tests do."""
    with pytest.raises(ValueError, match=message):
        MatrixFisher.__post_init__(SimpleNamespace(parameter=parameter))  # type: ignore[arg-type]


def test_bad_arguments_are_refused() -> None:
    distribution = MatrixFisher(matrices(4))
    with pytest.raises(ValueError, match=r"wanted \(\.\.\., 4, 3, 3\), got \(5, 3, 3\)"):
        distribution.log_prob(matrices(5))
    with pytest.raises(ValueError, match="count: wanted .* got -1"):
        distribution.sample(-1)
    for probability in (0.0, 1.0, 90.0, math.nan):
        with pytest.raises(ValueError, match="probability: wanted"):
            distribution.credible_radius(probability)
    with pytest.raises(ValueError, match="NaN or infinity"):
        log_normalizer(torch.tensor([1.0, math.nan, 0.0]))
