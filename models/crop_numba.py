"""The CPU backend of resampling: bit for bit the two matrix products of `crop.resample_square`.

A tent reaches few pixels, so nearly all that the products multiply is zeros. What is left is summed
as a matrix product does on a CPU: in the order of the pixels, by fused multiply-add.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.loops_numba import compile_loop, fma, share_images


@compile_loop
def _reach(
    centre: np.ndarray, reach: np.float32, total: np.ndarray, length: int, begin: np.ndarray,
    weight: np.ndarray,
) -> None:  # fmt: skip
    """Fills in the first pixel that each tent may reach, and the weights from it on.

    Args:
        centre: (size,) of the tents [px], and so `total`.
        begin: (size,).
        weight: (size, taps).
    """
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    taps = weight.shape[1]
    for j in range(centre.shape[0]):
        begin[j] = max(min(math.floor(centre[j] - reach - half), length - taps), 0)
        for k in range(taps):
            share = one - abs(np.float32(begin[j] + k) + half - centre[j]) / reach
            weight[j, k] = (share if share > zero else zero) / total[j]


@compile_loop
def _resample(
    images: np.ndarray, centre: np.ndarray, reach: np.ndarray, total: np.ndarray, taps: int,
    resampled: np.ndarray, begin: int, end: int,
) -> None:  # fmt: skip
    """Resamples images `begin` to `end` - 1; axis 1 of what tells of tents is x, then y.

    Only where a row's pixels are not all zero: masks mostly are.
    """
    size, (height, width) = resampled.shape[1], images.shape[1:]
    left, top = np.empty(size, np.int64), np.empty(size, np.int64)
    across = np.empty((size, min(taps, width)), np.float32)
    down = np.empty((size, min(taps, height)), np.float32)
    low, high = np.empty(height, np.int64), np.empty(height, np.int64)
    row = np.empty(width, np.float32)
    for n in range(begin, end):
        _reach(centre[n, 0], reach[n], total[n, 0], width, left, across)
        _reach(centre[n, 1], reach[n], total[n, 1], height, top, down)
        for i in range(height):
            low[i], high[i] = _extent(images[n, i])
        for i in range(size):
            first, last = width, 0
            for k in range(top[i], top[i] + down.shape[1]):
                first, last = min(first, low[k]), max(last, high[k])
            resampled[n, i] = 0
            row[:] = 0
            for k in range(down.shape[1]):
                weight, source = down[i, k], images[n, top[i] + k]
                if weight != 0:
                    for j in range(first, last):
                        row[j] = fma(weight, source[j], row[j])
            for j in range(size):
                if left[j] + across.shape[1] > first and left[j] < last:
                    value = np.float32(0)
                    for k in range(across.shape[1]):
                        value = fma(across[j, k], row[left[j] + k], value)
                    resampled[n, i, j] = value


@compile_loop
def _extent(row: np.ndarray) -> tuple[int, int]:
    """Gives the first place of a row that is not zero, and the one after the last."""
    first, last = 0, len(row)
    while first < last and row[first] == 0:
        first += 1
    while first < last and row[last - 1] == 0:
        last -= 1
    return first, last


def resample(
    images: Float[Tensor, "B H W"],
    centre: Float[Tensor, "B 2 size"],
    reach: Float[Tensor, " B"],
    total: Float[Tensor, "B 2 size"],
    threads: int,
) -> Float[Tensor, "B size size"]:
    """Weighs pixels by tents; see `crop.resample_square`.

    Args:
        centre: Of the tents over columns, then of those over rows [px].
        reach: Of all tents [px].
        total: What the weights of each are divided by.
    """
    taps = 2 + int(2 * reach.max()) if len(reach) else 0
    pictures, places = np.ascontiguousarray(images.numpy()), np.ascontiguousarray(centre.numpy())
    sums = np.ascontiguousarray(total.numpy())
    size = centre.shape[-1]
    resampled = torch.empty(len(images), size, size)
    output, reaches = resampled.numpy(), reach.numpy()
    share_images(
        lambda first, last: _resample(pictures, places, reaches, sums, taps, output, first, last),
        len(images),
        threads,
    )
    return resampled
