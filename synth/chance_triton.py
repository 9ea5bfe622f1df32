"""Random numbers on CUDA: all steps of a draw in one kernel, instead of some forty small ones.

The same 32-bit arithmetic as `synth.chance`, in unsigned numbers that overflow as they should, so
the same bits. With TRITON_INTERPRET=1 in the environment before Triton is imported, the kernel runs
on tensors on the CPU, for tests.
"""

# Kernels are programs in Triton's language, whose arguments have no types that mypy knows.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Int, Shaped
from torch import Tensor

_BLOCK = 1024
_WEYL = tl.constexpr(0x9E3779B9 >> 1)


def _jit(function: Callable[..., Any]) -> Any:
    """Compiles at the first call, once for all numbers that are not types or constants."""
    plain = inspect.unwrap(function)
    return triton.jit(plain, do_not_specialize=["start", "hashed", "count", "total", "shift"])


@_jit
def _mix(value):
    value ^= value >> 16
    value *= 0x21F0AAAD
    value ^= value >> 15
    value *= 0x735A2D97
    return value ^ (value >> 15)


@_jit
def _draw(numbers, drawn, start, hashed, count, total, shift,
          UNIT: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Draws `count` numbers for each sample."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    lanes = place < total
    sample = place // count
    index = (place - sample * count).to(tl.uint32)
    name = hashed.to(tl.uint32, bitcast=True)
    number = tl.load(numbers + sample, mask=lanes, other=0)
    low, high = number.to(tl.uint32), (number >> 32).to(tl.uint32)
    seed = start.to(tl.uint32, bitcast=True)
    key = _mix(_mix(seed + low) + high)
    other = _mix(_mix(_mix(~seed) ^ low) ^ high)
    value = _mix(_mix(_mix(key ^ name) + index * _WEYL) ^ _mix(other + name)) >> shift
    if UNIT:
        tl.store(drawn + place, value.to(tl.float32) * (1.0 / (1 << 24)), mask=lanes)
    else:
        tl.store(drawn + place, value.to(tl.int64), mask=lanes)


INTERPRETED = not isinstance(_draw, triton.JITFunction)
"""Whether the kernel runs in Triton's interpreter, for which the environment asked."""


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
    numbers = numbers.contiguous()
    dtype = torch.float32 if unit else torch.int64
    drawn = torch.empty(len(numbers), count, dtype=dtype, device=numbers.device)
    total = drawn.numel()
    if not total:
        return drawn
    # Triton launches on the current device, which need not be the tensor's.
    with torch.cuda.device(numbers.device) if numbers.is_cuda else contextlib.nullcontext():
        _draw[(triton.cdiv(total, _BLOCK),)](
            numbers, drawn, _signed(start), _signed(hashed), count, total, shift,
            UNIT=unit, BLOCK=_BLOCK,
        )  # fmt: skip
    return drawn


def _signed(bits: int) -> int:
    """Gives the int32 of the same bits: kernels are compiled for one type."""
    return bits - (1 << 32) if bits >> 31 else bits
