"""The CPU backend of the edge detector: rows of compiled loops, bit for bit as `edges._canny`."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.edges import CENTRE, FAR, NEAR, TANGENT, THIRD
from plausibody.models.loops_numba import compile_loop, share_images

# Written out, because code in the cache does not notice that another file changed.
_CENTRE = np.float32(0.4026199579238892)
_NEAR = np.float32(0.24420134723186493)
_FAR = np.float32(0.0544886960089206)
_TANGENT = np.float32(0.41421356237309503)
_THIRD = np.float32(0.3333333333333333)
assert [_CENTRE, _NEAR, _FAR] == [np.float32(value) for value in (CENTRE, NEAR, FAR)]
assert [_TANGENT, _THIRD] == [np.float32(value) for value in (TANGENT, THIRD)]


@compile_loop
def _detect(
    images: np.ndarray,
    zero: bool,
    threshold: np.float32,
    edges: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fills in the edges of images `first` to `last` - 1.

    Rows and columns of the rooms count from 4 pixels before the image (grey), 2 (blurred) and 1
    (strength); the loops over columns are plain so that the compiler makes vector code of them.
    """
    height, width = images.shape[2], images.shape[3]
    nothing, two = np.float32(0), np.float32(2)
    grey = np.zeros(width + 8, np.float32)
    across = np.zeros((height + 8, width + 4), np.float32)
    blurred = np.zeros((height + 4, width + 4), np.float32)
    column, rise = np.empty(width + 4, np.float32), np.empty(width + 4, np.float32)
    along_x = np.empty((height + 2, width + 2), np.float32)
    along_y = np.empty((height + 2, width + 2), np.float32)
    strength = np.zeros((height + 2, width + 2), np.float32)
    begin, end = (2, height + 2) if zero else (0, height + 4)
    for n in range(first, last):
        for i in range(height):
            red, green, blue = images[n, 0, i], images[n, 1, i], images[n, 2, i]
            inner = grey[4 : 4 + width]
            for j in range(width):
                inner[j] = (red[j] + green[j] + blue[j]) * _THIRD
            if not zero:
                grey[:4] = grey[4]
                grey[4 + width :] = grey[3 + width]
            target = across[i + 4]
            for j in range(width + 4):
                target[j] = (_CENTRE * grey[j + 2] + _NEAR * (grey[j + 1] + grey[j + 3])) + _FAR * (
                    grey[j] + grey[j + 4]
                )
        if not zero:
            for i in range(4):
                across[i] = across[4]
                across[height + 4 + i] = across[height + 3]
        for i in range(begin, end):
            a, b, c, d, e = across[i], across[i + 1], across[i + 2], across[i + 3], across[i + 4]
            target = blurred[i]
            for j in range(width + 4):
                target[j] = (_CENTRE * c[j] + _NEAR * (b[j] + d[j])) + _FAR * (a[j] + e[j])
        if zero:  # the blurred picture, too, ends at its border
            blurred[:, :2] = nothing
            blurred[:, width + 2 :] = nothing

        for i in range(height + 2):
            above, row, below = blurred[i], blurred[i + 1], blurred[i + 2]
            for j in range(width + 4):
                column[j] = (above[j] + below[j]) + two * row[j]
                rise[j] = above[j] - below[j]
            to_x, to_y, to = along_x[i], along_y[i], strength[i]
            for j in range(width + 2):
                x = column[j] - column[j + 2]
                y = (rise[j] + rise[j + 2]) + two * rise[j + 1]
                to_x[j] = x
                to_y[j] = y
                to[j] = np.sqrt(x * x + y * y)
        if zero:
            strength[0] = nothing
            strength[height + 1] = nothing
            strength[:, 0] = nothing
            strength[:, width + 1] = nothing

        for i in range(height):
            up, here, down = strength[i], strength[i + 1], strength[i + 2]
            from_x, from_y, target = along_x[i + 1], along_y[i + 1], edges[n, i]
            for j in range(width):
                x, y = from_x[j + 1], from_y[j + 1]
                far_x, far_y = abs(x), abs(y)
                beside = here[j] if here[j] > here[j + 2] else here[j + 2]
                upright = up[j + 1] if up[j + 1] > down[j + 1] else down[j + 1]
                falling = up[j] if up[j] > down[j + 2] else down[j + 2]
                rising = up[j + 2] if up[j + 2] > down[j] else down[j]
                rival = falling if (x > nothing) == (y > nothing) else rising
                rival = upright if far_x < _TANGENT * far_y else rival
                rival = beside if far_y < _TANGENT * far_x else rival
                value = here[j + 1]
                value = value if value > rival else nothing
                target[j] = value if value >= threshold else nothing


def canny(
    images: Float[Tensor, "B 3 H W"], zero: bool, threshold: float, threads: int
) -> Float[Tensor, "B H W"]:
    """Finds edges; see `edges.canny`."""
    pictures = np.ascontiguousarray(images.numpy())
    edges = torch.empty((len(images), *images.shape[-2:]), dtype=torch.float32)
    output, least = edges.numpy(), np.float32(threshold)
    share_images(
        lambda first, last: _detect(pictures, zero, least, output, first, last),
        len(images),
        threads,
    )
    return edges
