"""Weights in eight bits: a whole number for each, and one scale for each output channel.

A filter or matrix W of C outputs becomes q in -127..127 and s of C positive numbers, W = s q. The
largest weight of each output is kept exactly but for the rounding of s; all others are off by at
most s / 2. Biases, norms and everything else stay in half precision, where they cost little.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
section 2.3 (symmetric, per channel).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

STORED = ("float16", "int8")
"""How weights may be written."""
SCALE = ".int8_scale"
"""Ends the name of a matrix's scales."""
LARGEST = 127
LEAST_VALUES = 4096
"""Matrices of fewer values stay in half precision: there is nothing to win."""


def quantise(tensors: Mapping[str, Tensor], matrices: Collection[str]) -> dict[str, Tensor]:
    """Writes large matrices in eight bits, and all else that is no whole number in sixteen.

    Args:
        tensors: Of a network, by name.
        matrices: Which of them may lose precision: its parameters, but no constants. The first
            axis is the output.

    Raises:
        ValueError: If a weight is infinite or not a number.
    """
    written: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name in matrices and value.ndim > 1 and value.numel() >= LEAST_VALUES:
            written[name], written[name + SCALE] = _round(name, value.detach().float())
        else:
            written[name] = halve(value)
    return written


def halve(value: Tensor) -> Tensor:
    """Gives numbers in half precision; whole numbers stay as they are.

    Raises:
        ValueError: If a number is too large for it.
    """
    if not value.is_floating_point():
        return value
    half = value.half()
    if bool((value.isfinite() & ~half.isfinite()).any()):
        raise ValueError(
            f"wanted weights up to 65504, which half precision holds, got {value.abs().max():.3g}"
        )
    return half


def _round(name: str, value: Tensor) -> tuple[Tensor, Tensor]:
    largest = value.abs().flatten(1).amax(1)
    if not bool(torch.isfinite(largest).all()):
        raise ValueError(f"{name}: wanted finite weights to write in eight bits, got others")
    # An output without weights has no scale of its own; any will do.
    scale = torch.where(largest > 0, largest / LARGEST, 1.0)
    whole = (value / _along(scale, value)).round().clamp(-LARGEST, LARGEST)
    return whole.to(torch.int8), scale


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives back what `quantise` was given, up to its rounding; matrices in single precision.

    Tensors that were not written in eight bits are left alone.

    Raises:
        ValueError: If there are scales without their matrix.
    """
    scales = {name.removesuffix(SCALE) for name in tensors if name.endswith(SCALE)}
    if orphans := sorted(scales - tensors.keys()):
        raise ValueError(f"wanted the matrices of all scales, found none for {', '.join(orphans)}")
    return {
        name: value.float() * _along(tensors[name + SCALE], value) if name in scales else value
        for name, value in tensors.items()
        if not name.endswith(SCALE)
    }


def _along(scale: Tensor, value: Tensor) -> Tensor:
    """Shapes scales so that they multiply outputs."""
    return scale.reshape(-1, *[1] * (value.ndim - 1))
