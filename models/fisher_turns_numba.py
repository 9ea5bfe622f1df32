"""From accepted noise to rotations on a CPU: one compiled loop forward, and one for gradients.

The same as `fisher_sampler.rotate_noise` between the frames, L R(q) M^T with q = width * noise +
step noise, without the dozen arrays of small matrices in between.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from plausibody.models.loops_numba import compile_loop


@compile_loop
def _quaternion(
    noise: np.ndarray, width: np.ndarray, step: np.ndarray, quaternion: np.ndarray
) -> float:
    """Fills in a quaternion of length 1, and gives one over the length it had."""
    total = 0.0
    for i in range(4):
        entry = width[i] * noise[i]
        for k in range(4):
            entry += step[i, k] * noise[k]
        quaternion[i] = entry
        total += entry * entry
    inverse = 1 / math.sqrt(total)
    for i in range(4):
        quaternion[i] *= inverse
    return inverse


@compile_loop
def _between(left: np.ndarray, inner: np.ndarray, right: np.ndarray, outer: np.ndarray) -> None:
    """Fills in left inner right^T, of 3x3 matrices."""
    for i in range(3):
        a = left[i, 0] * inner[0, 0] + left[i, 1] * inner[1, 0] + left[i, 2] * inner[2, 0]
        b = left[i, 0] * inner[0, 1] + left[i, 1] * inner[1, 1] + left[i, 2] * inner[2, 1]
        c = left[i, 0] * inner[0, 2] + left[i, 1] * inner[1, 2] + left[i, 2] * inner[2, 2]
        for k in range(3):
            outer[i, k] = a * right[k, 0] + b * right[k, 1] + c * right[k, 2]


@compile_loop
def _turn(
    noise: np.ndarray,
    width: np.ndarray,
    step: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    rotmat: np.ndarray,
) -> None:
    """Fills in rotations, (count, D, 3, 3)."""
    quaternion, inner = np.empty_like(noise[0, 0]), np.empty_like(rotmat[0, 0])
    for n in range(noise.shape[0]):
        for d in range(noise.shape[1]):
            _quaternion(noise[n, d], width[d], step[d], quaternion)
            w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
            inner[0, 0] = 1 - 2 * (y * y + z * z)
            inner[0, 1] = 2 * (x * y - w * z)
            inner[0, 2] = 2 * (x * z + w * y)
            inner[1, 0] = 2 * (x * y + w * z)
            inner[1, 1] = 1 - 2 * (x * x + z * z)
            inner[1, 2] = 2 * (y * z - w * x)
            inner[2, 0] = 2 * (x * z - w * y)
            inner[2, 1] = 2 * (y * z + w * x)
            inner[2, 2] = 1 - 2 * (x * x + y * y)
            _between(left[d], inner, right[d], rotmat[n, d])


@compile_loop
def _turn_back(
    noise: np.ndarray,
    width: np.ndarray,
    step: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    by_rotmat: np.ndarray,
    by_step: np.ndarray,
) -> None:
    """Adds to `by_step`, (D, 4, 4), what gradients of the rotations say of the steps.

    Args:
        left, right: Transposed, for they lead back.
    """
    quaternion, g = np.empty_like(noise[0, 0]), np.empty_like(by_rotmat[0, 0])
    slope = np.empty_like(quaternion)
    for n in range(noise.shape[0]):
        for d in range(noise.shape[1]):
            inverse = _quaternion(noise[n, d], width[d], step[d], quaternion)
            _between(left[d], by_rotmat[n, d], right[d], g)
            w, x, y, z = quaternion[0], quaternion[1], quaternion[2], quaternion[3]
            # Half the derivatives of R(q) for a quaternion of length 1.
            slope[0] = x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1])
            slope[1] = w * (g[2, 1] - g[1, 2]) + y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0])
            slope[2] = w * (g[0, 2] - g[2, 0]) + x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1])
            slope[3] = w * (g[1, 0] - g[0, 1]) + x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1])
            slope[1] -= 2 * x * (g[1, 1] + g[2, 2])
            slope[2] -= 2 * y * (g[0, 0] + g[2, 2])
            slope[3] -= 2 * z * (g[0, 0] + g[1, 1])
            along = slope[0] * w + slope[1] * x + slope[2] * y + slope[3] * z
            for i in range(4):
                part = 2 * inverse * (slope[i] - along * quaternion[i])
                for k in range(4):
                    by_step[d, i, k] += part * noise[n, d, k]


def turn(
    noise: Float[Tensor, "count D 4"],
    width: Float[Tensor, "D 4"],
    step: Float[Tensor, "D 4 4"],
    left: Float[Tensor, "D 3 3"],
    right: Float[Tensor, "D 3 3"],
) -> Float[Tensor, "count D 3 3"]:
    """Makes left R(q) right^T of q = width * noise + step noise; gradients reach the steps alone.

    Args:
        noise: Standard normal numbers, as all others in float32 or all in float64, on a CPU.
        left: Rotations, as `right`.
    """
    rotmat: Tensor = _Turn.apply(step, *(part.contiguous() for part in (noise, width, left, right)))
    return rotmat


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, step: Tensor, noise: Tensor, width: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        step = step.detach().contiguous()
        ctx.save_for_backward(step, noise, width, left, right)
        rotmat = noise.new_empty(*noise.shape[:2], 3, 3)
        _turn(*(part.numpy() for part in (noise, width, step, left, right, rotmat)))
        return rotmat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_rotmat: Tensor) -> tuple[Tensor | None, ...]:
        step, noise, width, left, right = ctx.saved_tensors
        back = (left.mT.contiguous(), right.mT.contiguous(), by_rotmat.contiguous())
        by_step = torch.zeros_like(step)
        _turn_back(*(part.numpy() for part in (noise, width, step, *back, by_step)))
        return by_step, None, None, None, None
