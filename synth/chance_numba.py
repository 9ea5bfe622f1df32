"""Random numbers on a CPU: all steps of a draw in one compiled loop, instead of some forty small
ones.

The same 32-bit arithmetic as `synth.chance`, in unsigned numbers that overflow as they should, so
the same bits.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from plausibody.models.loops_numba import compile_loop

_WEYL = np.uint32(0x9E3779B9 >> 1)
_FIRST, _SECOND = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)
_STEP = np.float32(2.0**-24)


@compile_loop
def _mix(value: np.uint32) -> np.uint32:
    value = np.uint32(value ^ (value >> np.uint32(16)))
    value = np.uint32(value * _FIRST)
    value = np.uint32(value ^ (value >> np.uint32(15)))
    value = np.uint32(value * _SECOND)
    return np.uint32(value ^ (value >> np.uint32(15)))


@compile_loop
def _draw(
    numbers: np.ndarray, start: int, hashed: int, shift: int, drawn: np.ndarray, unit: bool
) -> None:
    """Fills in rows of random numbers, int64 or, with `unit`, float32."""
    seed, name, away = np.uint32(start), np.uint32(hashed), np.uint32(shift)
    for n in range(drawn.shape[0]):
        low, high = np.uint32(numbers[n]), np.uint32(numbers[n] >> 32)
        key = _mix(np.uint32(_mix(np.uint32(seed + low)) + high))
        other = _mix(np.uint32(_mix(np.uint32(_mix(np.uint32(~seed)) ^ low)) ^ high))
        key, other = _mix(np.uint32(key ^ name)), _mix(np.uint32(other + name))
        row = drawn[n]
        for index in range(row.shape[0]):
            place = np.uint32(key + np.uint32(np.uint32(index) * _WEYL))
            value = np.uint32(_mix(np.uint32(_mix(place) ^ other)) >> away)
            row[index] = np.float32(np.int32(value)) * _STEP if unit else value


def draw(
    numbers: Int[Tensor, " batch"],
    start: int,
    hashed: int,
    count: int,
    shift: int,
    unit: bool = False,
) -> Shaped[Tensor, "batch {count}"]:
    """Draws `count` numbers for each sample: the upper of 32 bits.

    Args:
        numbers: Of the samples, int64.
        start: Of the stream, 32 bits.
        hashed: Of the draw's name, 32 bits.
        shift: How many bits fall off.
        unit: Whether to give multiples of 2**-24 as float32 instead of int64.
    """
    drawn = torch.empty(len(numbers), count, dtype=torch.float32 if unit else torch.int64)
    _draw(numbers.contiguous().numpy(), start, hashed, shift, drawn.numpy(), unit)
    return drawn
