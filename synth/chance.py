"""Random numbers that are a function, not a state: value = f(seed, name, sample number, index).

Sample n of the stream draws the same numbers whatever the batch size, the worker, the device or
the restart, and a new draw under a new name disturbs no other. Integer hashing in int64 tensors
is exact everywhere; uniforms are multiples of 2**-24, and normals come from a table, so that no
device's logarithm has a say.

Source of the mixing function: C. Wellons, "Hash function prospector" (two multiplications and
three shifts, bias 0.107), as a finaliser of a Weyl sequence.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property, lru_cache
from types import ModuleType
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_MASK = 0xFFFFFFFF
_WEYL = 0x9E3779B9 >> 1
_TABLE_BITS = 16

Number = TypeVar("Number", Tensor, int)


@lru_cache(maxsize=8)
def _kernels_for(device: str) -> ModuleType | None:
    """Gives the module that draws at once what takes some forty steps, if a kind of device has one.

    Where its library is missing nothing differs but the speed, and the rasteriser says it.
    """
    try:
        if device == "cpu":
            from plausibody.synth import chance_numba

            return chance_numba
        if device == "cuda":
            from plausibody.synth import chance_triton

            return None if chance_triton.INTERPRETED else chance_triton
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "triton"):
            raise
    return None


def _mix(value: Number) -> Number:
    """Scrambles 32-bit numbers held in int64; the factors are below 2**31: no overflow."""
    value = value ^ (value >> 16)
    value = (value * 0x21F0AAAD) & _MASK
    value = value ^ (value >> 15)
    value = (value * 0x735A2D97) & _MASK
    return value ^ (value >> 15)


@lru_cache(maxsize=8)
def _normal_table(device: torch.device) -> Tensor:
    """Quantiles of the normal distribution at the middles of 2**16 equal shares."""
    middles = (torch.arange(1 << _TABLE_BITS, dtype=torch.float64) + 0.5) / (1 << _TABLE_BITS)
    return torch.special.ndtri(middles).float().to(device)


class Chance:
    """The random numbers of some samples of one stream.

    Every draw has a name and gives a tensor whose first axis runs over the samples.
    """

    def __init__(self, seed: int, numbers: Int[Tensor, " batch"]):
        """Args:
        seed: Of the stream; any integer.
        numbers: Which samples of the stream, not negative.
        """
        self._start = _mix(_mix(seed & _MASK) ^ ((seed >> 32) & _MASK))
        self.numbers = numbers

    # Two keys of 32 bits, made in different ways: were there one, the streams of two seeds would
    # be the same stream, shifted.

    @cached_property
    def _key(self) -> Int[Tensor, " batch"]:
        low, high = self.numbers & _MASK, self.numbers >> 32
        return _mix((_mix((self._start + low) & _MASK) + high) & _MASK)

    @cached_property
    def _other(self) -> Int[Tensor, " batch"]:
        low, high = self.numbers & _MASK, self.numbers >> 32
        return _mix(_mix(_mix(self._start ^ _MASK) ^ low) ^ high)

    def bits(self, name: str, *shape: int) -> Int[Tensor, " batch *shape"]:
        """Draws 32 random bits per element, as int64."""
        return self._upper_bits(name, shape, 0)

    def uniform(
        self, name: str, *shape: int, low: float = 0.0, high: float = 1.0
    ) -> Float[Tensor, " batch *shape"]:
        """Draws from [low, high); rounding may give `high` itself if it is no power of two."""
        if (kernels := self._kernels()) is None:
            unit = self._upper_bits(name, shape, 8).float() * 2.0**-24
        else:
            hashed, count = zlib.crc32(name.encode()), math.prod(shape)
            drawn = kernels.draw(self.numbers, self._start, hashed, count, 8, unit=True)
            unit = drawn.reshape(len(self.numbers), *shape)
        return unit if low == 0 and high == 1 else unit * (high - low) + low

    def normal(
        self, name: str, *shape: int, mean: float = 0.0, std: float = 1.0
    ) -> Float[Tensor, " batch *shape"]:
        """Draws from a normal distribution, resolved into 2**16 steps: |z| stays below 4.33."""
        place = self._upper_bits(name, shape, 32 - _TABLE_BITS)
        drawn = _normal_table(place.device)[place]
        drawn = drawn if std == 1 else drawn * std
        return drawn if mean == 0 else drawn + mean

    def chance(self, name: str, probability: float, *shape: int) -> Bool[Tensor, " batch *shape"]:
        """Is true with a probability."""
        return self.uniform(name, *shape) < probability

    def integer(self, name: str, below: int, *shape: int) -> Int[Tensor, " batch *shape"]:
        """Draws from 0 .. below - 1."""
        if not 0 < below < 2**31:
            raise ValueError(f"{name}: wanted a bound from 1 to 2**31 - 1, got {below}")
        return (self.bits(name, *shape) * below) >> 32

    def _upper_bits(
        self, name: str, shape: tuple[int, ...], shift: int
    ) -> Int[Tensor, " batch *shape"]:
        """Draws 32 bits per element and lets the lowest fall off."""
        hashed, count = zlib.crc32(name.encode()), math.prod(shape)
        if (kernels := self._kernels()) is not None:
            drawn: Tensor = kernels.draw(self.numbers, self._start, hashed, count, shift)
            return drawn.reshape(len(self.numbers), *shape)
        key, other = _mix(self._key ^ hashed), _mix((self._other + hashed) & _MASK)
        index = torch.arange(count, dtype=torch.int64, device=key.device) * _WEYL
        drawn = _mix(_mix((key[:, None] + index) & _MASK) ^ other[:, None])
        return (drawn >> shift if shift else drawn).reshape(len(key), *shape)

    def _kernels(self) -> ModuleType | None:
        return _kernels_for(self.numbers.device.type)
