"""The CPU backend of what goes wrong with masks: one compiled pass instead of some fifty.

Does as `corrupt._spoil` does, but where all of a pixel's neighbours are alike, its noise has no say
and is not computed.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.loops_numba import compile_loop, fma, share_images

_LEAST, _MOST = np.float32(-0.4), np.float32(0.4)


@compile_loop
def _between(cells: int, place: np.ndarray, share: np.ndarray) -> None:
    """Fills in which cell lies before each pixel's centre, and the share of the one after it."""
    half = np.float32(0.5)
    scale = np.float32(cells) / np.float32(len(place))
    for j in range(len(place)):
        at = fma(scale, np.float32(j) + half, -half)
        at = at if at > 0 else np.float32(0)
        place[j] = min(int(at), cells - 1)
        share[j] = min(at - np.float32(place[j]), np.float32(1))


@compile_loop
def _mark(rectangles: np.ndarray, axis: int, marked: np.ndarray) -> None:
    """Marks which pixels of an axis lie in the columns (0) or the rows (1) of rectangles."""
    for k in range(rectangles.shape[0]):
        for j in range(marked.shape[1]):
            far = abs(np.float32(j) + np.float32(0.5) - rectangles[k, axis])
            marked[k, j] = far < rectangles[k, 2 + axis]


@compile_loop
def _spoil(
    labels: np.ndarray, bits: np.ndarray, noise: np.ndarray, means: np.ndarray,
    rectangles: np.ndarray, spoilt: np.ndarray, first: int, last: int,
) -> None:  # fmt: skip
    """Spoils masks `first` to `last` - 1.

    Args:
        bits: (B,) 1 at the place of each label that is kept.
        noise: (B, cells, cells).
        means: (10,) of nine pixels of which so many are 1.
        rectangles: (B, K, 4) centre and half sides: of the picture, of what is added, then of
            things in the way.
    """
    one, half = np.float32(1), np.float32(0.5)
    size, cells, count = labels.shape[1], noise.shape[1], rectangles.shape[1]
    place, share = np.empty(size, np.int64), np.empty(size, np.float32)
    _between(cells, place, share)
    kept = np.empty((size + 2, size + 2), np.uint8)
    three, nine = np.empty(size + 2, np.uint8), np.empty(size, np.uint8)
    across, down = np.empty((count, size), np.bool_), np.empty((count, size), np.bool_)
    hidden = np.empty(size, np.bool_)
    for n in range(first, last):
        for i in range(size):
            for j in range(size):
                kept[i + 1, j + 1] = (bits[n] >> np.int32(labels[n, i, j])) & 1
            kept[i + 1, 0], kept[i + 1, size + 1] = kept[i + 1, 1], kept[i + 1, size]
        kept[0], kept[size + 1] = kept[1], kept[size]
        _mark(rectangles[n], 0, across)
        _mark(rectangles[n], 1, down)
        for i in range(size):
            above, row, below = kept[i], kept[i + 1], kept[i + 2]
            for j in range(size + 2):
                three[j] = above[j] + row[j] + below[j]
            for j in range(size):
                nine[j] = three[j] + three[j + 1] + three[j + 2]
                hidden[j] = False
            for k in range(2, count):
                if down[k, i]:
                    hidden |= across[k]
            up, low, lower = noise[n, place[i]], noise[n, min(place[i] + 1, cells - 1)], share[i]
            target = spoilt[n, i]
            for j in range(size):
                seen = nine[j] == 9
                if 0 < nine[j] < 9:
                    left, right, more = place[j], min(place[j] + 1, cells - 1), share[j]
                    # In the order in which torch interpolates.
                    level = fma(
                        one - lower,
                        fma(one - more, up[left], more * up[right]),
                        lower * fma(one - more, low[left], more * low[right]),
                    )
                    seen = means[nine[j]] + min(max(level, _LEAST), _MOST) > half
                seen = (seen and not hidden[j]) or (down[1, i] and across[1, j])
                target[j] = one if seen and down[0, i] and across[0, j] else np.float32(0)


def spoil(
    labels: UInt8[Tensor, "B size size"],
    bits: Int[Tensor, " B"],
    noise: Float[Tensor, "B cells cells"],
    rectangles: Float[Tensor, "B K 4"],
    threads: int,
) -> Float[Tensor, "B size size"]:
    """Makes masks of labels and spoils them; see `corrupt.spoil_mask`."""
    spoilt = torch.empty(labels.shape)
    means = (torch.arange(10) / 9).numpy()
    given = (labels, bits, noise, rectangles)
    arrays = [np.ascontiguousarray(value.numpy()) for value in given]
    seen, kept, levels, places = arrays
    output = spoilt.numpy()
    share_images(
        lambda first, last: _spoil(seen, kept, levels, means, places, output, first, last),
        len(labels),
        threads,
    )
    return spoilt
