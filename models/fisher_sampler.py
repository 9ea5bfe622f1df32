"""Exact draws from matrix-Fisher distributions: many at once, with gradients where wanted.

With F = U diag(s) V^T, a rotation is U R(q) V^T, where the quaternion q = (w, x, y, z) follows a
Bingham distribution, density ~ exp(-q^T A q), A = diag(0, 2(s2+s3), 2(s1+s3), 2(s1+s2)). Its draws
are those of an angular central Gaussian, z = Omega^(-1/2) noise, q = z / |z|, Omega = I + 2 A/b,
that a uniform number accepts. Any 0 < b <= 4 is exact; ours is the one that accepts most, which is
all of them for F = 0 and 45 % in the limit of high concentration.

Source: Kent, Ganeiber and Mardia, "A New Unified Approach for the Simulation of a Wide Class of
Directional Distributions", 2018, section 3. Published training code has b = 1.5 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_PROPOSALS = {"cpu": 2}
"""For each missing rotation in the first round; later rounds have twice as many. On a processor
the work counts; elsewhere, waiting to learn what is missing does, and of 24 one will do."""
_NEWTON_STEPS = 7


@dataclass(frozen=True)
class Envelope:
    """What the proposals are made with, for D distributions; all from singular values alone."""

    energy: Float[Tensor, "D 4"]
    """Diagonal of A, the mode's zero first."""
    width: Float[Tensor, "D 4"]
    """Diagonal of Omega^(-1/2)."""
    looseness: Float[Tensor, " D"]
    """b: 1 to 4, 4 for the uniform distribution."""


def envelope(proper: Float[Tensor, "D 3"]) -> Envelope:
    """Finds the angular central Gaussian that is accepted most often.

    Its b solves sum_i 1/(b + 2 A_i) = 1. The left side is convex and falls, so that Newton's steps
    from b = 1 rise to it; where they end early, b is still one that is exact.

    Args:
        proper: Singular values, s1 >= s2 >= |s3|.
    """
    s1, s2, s3 = proper.unbind(-1)
    energy = 2 * torch.stack([torch.zeros_like(s1), s2 + s3, s1 + s3, s1 + s2], -1).clamp(min=0)
    b = torch.ones_like(s1)[:, None]
    for _ in range(_NEWTON_STEPS):
        terms = 1 / (b + 2 * energy)
        b = b + (terms.sum(-1, keepdim=True) - 1) / terms.square().sum(-1, keepdim=True)
    b = b.clamp(max=4.0)
    return Envelope(energy, (1 + 2 * energy / b).rsqrt(), b.squeeze(-1))


def draw_noise(
    shape: Envelope, count: int, dtype: torch.dtype, generator: torch.Generator | None
) -> Float[Tensor, "count D 4"]:
    """Draws the accepted proposals' standard normal numbers.

    Every round proposes for all rotations that are still missing, and keeps the first accepted.

    Args:
        shape: Of the proposals.
        count: Of rotations per distribution.
        dtype: Of the numbers.
        generator: On the device of `shape`; torch's own where None.
    """
    squared = shape.width.square()
    terms = torch.stack([shape.energy * squared, squared], -1).to(dtype)  # of q^T A q |z|^2, |z|^2
    b, device, distributions = shape.looseness.to(dtype), terms.device, len(terms)
    ceiling = torch.exp((4 - b) / 2) * (b / 4).square()  # one over the greatest ratio of densities
    noise = torch.empty(count * distributions, 4, dtype=dtype, device=device)
    missing = torch.arange(len(noise), device=device)
    proposals = _PROPOSALS.get(device.type, 24)
    while len(missing):
        size, owner = (len(missing), proposals), missing % distributions
        proposed = torch.randn(*size, 4, dtype=dtype, device=device, generator=generator)
        uniform = torch.rand(size, dtype=dtype, device=device, generator=generator)
        above, below = (proposed.square() @ terms[owner]).unbind(-1)
        cost = above / below
        ratio = torch.exp(-cost) * (1 + 2 * cost / b[owner, None]).square()
        accepted = uniform < ratio * ceiling[owner, None]
        first = accepted.to(torch.uint8).argmax(-1)
        found = accepted.any(-1)
        rows = found.nonzero().squeeze(-1)
        noise[missing[rows]] = proposed[rows, first[rows]]
        missing = missing[~found]
        proposals *= 2
    return noise.unflatten(0, (count, distributions))


def rotate_noise(
    noise: Float[Tensor, "count D 4"], shape: Envelope, change: Float[Tensor, "D 3 3"] | None
) -> Float[Tensor, "count D 3 3"]:
    """Makes R(q) of accepted noise, in the frame of the singular vectors.

    Args:
        noise: Standard normal numbers.
        shape: Of the proposals.
        change: U^T dF V, of value zero, by which gradients reach F; None for none. The path is
            z = Omega^(-1/2) noise with the symmetric root, of which all derivatives are finite,
            where those of singular vectors are not if two singular values are equal; b moves along.
    """
    quaternion = noise * shape.width.to(noise.dtype)
    if change is not None:
        step = _step(shape, change.to(noise.dtype))
        quaternion = quaternion + (step @ noise[..., None]).squeeze(-1)
    return quaternion_to_rotmat(quaternion)


def turn_noise(
    noise: Float[Tensor, "count D 4"],
    shape: Envelope,
    change: Float[Tensor, "D 3 3"] | None,
    left: Float[Tensor, "D 3 3"],
    right: Float[Tensor, "D 3 3"],
) -> Float[Tensor, "count D 3 3"]:
    """Gives left `rotate_noise(...)` right^T: on a CPU by a compiled loop, with its own gradients.

    Args:
        left: Singular vectors U; `right` are V. Constants to gradients.
    """
    if noise.device.type != "cpu":
        return left @ rotate_noise(noise, shape, change) @ right.mT
    from plausibody.models import fisher_turns_numba

    width = shape.width.to(noise.dtype)
    still = width.new_zeros(len(width), 4, 4)
    step = still if change is None else _step(shape, change.to(noise.dtype))
    return fisher_turns_numba.turn(noise, width, step, left, right)


def _step(shape: Envelope, change: Float[Tensor, "D 3 3"]) -> Float[Tensor, "D 4 4"]:
    """Gives the step of Omega^(-1/2) that follows a step of U^T F V, by divided differences."""
    width, b = shape.width.to(change.dtype), shape.looseness.to(change.dtype)
    form = quadratic_form(change)
    squares = width.square()
    weights = squares.square() / squares.square().sum(-1, keepdim=True)  # b moves with A
    middle = (weights * form.diagonal(dim1=-2, dim2=-1)).sum(-1)[:, None, None]
    form = form - middle * torch.eye(4, dtype=form.dtype, device=form.device)
    root = squares[:, :, None] * squares[:, None] / (width[:, :, None] + width[:, None])
    return 2 / b[:, None, None] * root * form


def quadratic_form(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4 4"]:
    """Gives the K for which tr(F^T R(q)) = q^T K q for unit quaternions q.

    Source: Davenport's q-method, as in Keat, "Analysis of Least-Squares Attitude Determination
    Routine DOAOP", 1977.
    """
    skew = matrix - matrix.mT
    turn = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    lower = torch.cat([turn[..., None], matrix + matrix.mT - trace * identity], -1)
    return torch.cat([torch.cat([trace, turn[..., None, :]], -1), lower], -2)


def quaternion_to_rotmat(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Turns quaternions (w, x, y, z) of any length but zero into rotations."""
    w, x, y, z = (quaternion * (2**0.5 / quaternion.norm(dim=-1, keepdim=True))).unbind(-1)
    rows = [1 - y * y - z * z, x * y - w * z, x * z + w * y]
    rows += [x * y + w * z, 1 - x * x - z * z, y * z - w * x]
    rows += [x * z - w * y, y * z + w * x, 1 - x * x - y * y]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
