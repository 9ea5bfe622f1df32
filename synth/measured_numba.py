"""The CPU backend of measured outlines: bit for bit `measured._soften`, where anything is seen.

Most pixels lie so far outside that whatever is drawn for them, nothing is seen. The others are
gathered, since logarithms and exponentials are torch's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.models.loops_numba import compile_loop, fma

_WHOLE = 64
"""A multiple of how many numbers vectors hold."""
_LEAST, _MOST = np.float32(1e-4), np.float32(1 - 1e-4)


@compile_loop
def _gather(
    blurred: np.ndarray, inside: np.ndarray, blank: np.ndarray, place: np.ndarray,
    value: np.ndarray,
) -> int:  # fmt: skip
    """Fills in the places and the values of what may be seen, and counts it."""
    count, size = 0, blurred.shape[1]
    for n in range(blurred.shape[0]):
        for i in range(size):
            if not inside[n, 1, i]:
                continue
            for j in range(size):
                given = min(max(blurred[n, i, j], _LEAST), _MOST)
                place[count], value[count] = (n * size + i) * size + j, given
                count += inside[n, 0, j] and (given > _LEAST or not blank[n])
    return count


@compile_loop
def _move(
    place: np.ndarray, value: np.ndarray, noise: np.ndarray, shared: np.ndarray,
    soft: np.ndarray, offset: np.ndarray, scale: np.float32, parts: np.ndarray,
) -> None:  # fmt: skip
    """Turns logits into those of what is seen.

    Args:
        noise: (B size size,).
        parts: (2,) of a score, from what a person's outline has in common and from the rest.
    """
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    last, area = len(offset) - 1, len(noise) // len(soft)
    per_score = np.float32(last / 6.0)
    for k in range(len(place)):
        n = place[k] // area
        score = (parts[0] * shared[n] + parts[1] * noise[place[k]] + np.float32(3)) * per_score
        score = min(max(score, zero), np.float32(last))
        below = min(int(score), last - 1)
        share, low, high = score - np.float32(below), offset[below], offset[below + 1]
        # As torch.lerp does.
        near = share < half
        moved = fma(share if near else share - one, high - low, low if near else high)
        value[k] = (value[k] * scale + moved) / soft[n]


@compile_loop
def _scatter(place: np.ndarray, value: np.ndarray, least: np.float32, seen: np.ndarray) -> None:
    for k in range(len(place)):
        if value[k] > least:
            seen[place[k]] = value[k]


def soften(
    blurred: Float[Tensor, "B size size"],
    inside: Bool[Tensor, "B 2 size"],
    noise: Float[Tensor, "B size size"],
    shared: Float[Tensor, " B"],
    soft: Float[Tensor, " B"],
    offset: Float[Tensor, " Q"],
    offset_shared: float,
    scale: float,
    least: float,
) -> Float[Tensor, "B size size"]:
    """Makes soft masks of blurred ones; see `measured._soften`."""
    farthest = math.log(1e-4 / (1 - 1e-4)) * scale + float(offset.max())
    blank = farthest / soft < math.log(least / (1 - least)) - 1
    place = torch.empty(blurred.numel() + _WHOLE, dtype=torch.int64)
    value = torch.zeros(blurred.numel() + _WHOLE)
    arrays = [np.ascontiguousarray(given.numpy()) for given in (blurred, inside, blank)]
    count = _gather(*arrays, place.numpy(), value.numpy())
    # torch's functions differ in the last bits where no whole vector of numbers is left.
    value = value[: -(-count // _WHOLE) * _WHOLE].logit()
    place = place[:count]
    parts = np.array([math.sqrt(offset_shared), math.sqrt(1 - offset_shared)], np.float32)
    given = (noise.reshape(-1), shared, soft, offset)
    arrays = [np.ascontiguousarray(one.numpy()) for one in given]
    _move(place.numpy(), value.numpy(), *arrays, np.float32(scale), parts)
    seen = torch.zeros(blurred.shape)
    _scatter(place.numpy(), value.sigmoid().numpy(), np.float32(least), seen.view(-1).numpy())
    return seen
