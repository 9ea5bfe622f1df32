"""The CUDA backend of the edge detector: four kernels, bit for bit as `edges._canny`.

Each pixel of each stage is one lane, and every stage goes through memory: at 42 bytes a pixel that
is far from being the limit. Products and sums are kept apart (`enable_fp_fusion=False`), roots are
rounded correctly. Without a GPU the kernels run in Triton's interpreter, for tests.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of its kernels itself, and means other things by them.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from plausibody.models.edges import CENTRE, FAR, NEAR, TANGENT, THIRD

_CENTRE: tl.constexpr = tl.constexpr(CENTRE)
_NEAR: tl.constexpr = tl.constexpr(NEAR)
_FAR: tl.constexpr = tl.constexpr(FAR)
_TANGENT: tl.constexpr = tl.constexpr(TANGENT)
_THIRD: tl.constexpr = tl.constexpr(THIRD)
_BLOCK, _BLOCK_ON_CPU = 512, 16384


@triton.jit
def _grey(images, row, column, height, width, inside, ZERO: tl.constexpr):
    """Loads one grey pixel per lane; `row` counts over all images, beyond the border it goes on."""
    if ZERO:
        inside = inside & (column >= 0) & (column < width)
    else:
        column = tl.minimum(tl.maximum(column, 0), width - 1)
    plane = height * width
    place = (row // height) * (3 * plane) + (row % height) * width + column
    red = tl.load(images + place, mask=inside, other=0.0)
    green = tl.load(images + place + plane, mask=inside, other=0.0)
    blue = tl.load(images + place + 2 * plane, mask=inside, other=0.0)
    return (red + green + blue) * _THIRD


@triton.jit
def _blur_across(images, across, height, width, total, ZERO: tl.constexpr, BLOCK: tl.constexpr):
    """Grey pictures, blurred along rows; columns from -2 to width + 1."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < total
    row, column = lane // (width + 4), lane % (width + 4) - 2
    a = _grey(images, row, column - 2, height, width, inside, ZERO)
    b = _grey(images, row, column - 1, height, width, inside, ZERO)
    c = _grey(images, row, column, height, width, inside, ZERO)
    d = _grey(images, row, column + 1, height, width, inside, ZERO)
    e = _grey(images, row, column + 2, height, width, inside, ZERO)
    tl.store(across + lane, (c * _CENTRE + (b + d) * _NEAR) + (a + e) * _FAR, mask=inside)


@triton.jit
def _row_of(across, image, row, column, height, width, inside, ZERO: tl.constexpr):
    if ZERO:
        inside = inside & (row >= 0) & (row < height)
    else:
        row = tl.minimum(tl.maximum(row, 0), height - 1)
    return tl.load(across + (image * height + row) * (width + 4) + column, mask=inside, other=0.0)


@triton.jit
def _blur_down(across, blurred, height, width, total, ZERO: tl.constexpr, BLOCK: tl.constexpr):
    """Blurs along columns; rows from -2 to height + 1."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < total
    column, line = lane % (width + 4), lane // (width + 4)
    image, row = line // (height + 4), line % (height + 4) - 2
    a = _row_of(across, image, row - 2, column, height, width, inside, ZERO)
    b = _row_of(across, image, row - 1, column, height, width, inside, ZERO)
    c = _row_of(across, image, row, column, height, width, inside, ZERO)
    d = _row_of(across, image, row + 1, column, height, width, inside, ZERO)
    e = _row_of(across, image, row + 2, column, height, width, inside, ZERO)
    value = (c * _CENTRE + (b + d) * _NEAR) + (a + e) * _FAR
    if ZERO:  # the blurred picture, too, ends at its border
        within = (row >= 0) & (row < height) & (column >= 2) & (column < width + 2)
        value = tl.where(within, value, 0.0)
    tl.store(blurred + lane, value, mask=inside)


@triton.jit
def _slope(blurred, strength, axis, height, width, total, ZERO: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient's magnitude and direction; rows and columns from -1 to one past the end.

    Directions: 0 along rows, 1 along columns, 2 falling to the right, 3 rising.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < total
    column, line = lane % (width + 2), lane // (width + 2)
    image, row = line // (height + 2), line % (height + 2)
    pitch = width + 4
    place = blurred + (image * (height + 4) + row) * pitch + column
    a = tl.load(place, mask=inside, other=0.0)
    b = tl.load(place + 1, mask=inside, other=0.0)
    c = tl.load(place + 2, mask=inside, other=0.0)
    d = tl.load(place + pitch, mask=inside, other=0.0)
    e = tl.load(place + pitch + 2, mask=inside, other=0.0)
    f = tl.load(place + 2 * pitch, mask=inside, other=0.0)
    g = tl.load(place + 2 * pitch + 1, mask=inside, other=0.0)
    h = tl.load(place + 2 * pitch + 2, mask=inside, other=0.0)
    x = ((a + f) + 2 * d) - ((c + h) + 2 * e)
    y = ((a - f) + (c - h)) + 2 * (b - g)
    value = tl.sqrt_rn(x * x + y * y)
    if ZERO:
        within = (row >= 1) & (row <= height) & (column >= 1) & (column <= width)
        value = tl.where(within, value, 0.0)
    way = tl.where((x > 0) == (y > 0), 2, 3)
    way = tl.where(tl.abs(x) < tl.abs(y) * _TANGENT, 1, way)
    way = tl.where(tl.abs(y) < tl.abs(x) * _TANGENT, 0, way)
    tl.store(strength + lane, value, mask=inside)
    tl.store(axis + lane, way.to(tl.int8), mask=inside)


@triton.jit
def _thin(strength, axis, edges, threshold, height, width, total, BLOCK: tl.constexpr):
    """Keeps what is stronger than both neighbours along the gradient."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < total
    column, line = lane % width, lane // width
    image, row = line // height, line % height
    pitch = width + 2
    place = (image * (height + 2) + row + 1) * pitch + column + 1
    way = tl.load(axis + place, mask=inside, other=0).to(tl.int64)
    step = tl.where(
        way == 0, 1, tl.where(way == 1, pitch, tl.where(way == 2, pitch + 1, 1 - pitch))
    )
    here = tl.load(strength + place, mask=inside, other=0.0)
    one = tl.load(strength + place - step, mask=inside, other=0.0)
    other = tl.load(strength + place + step, mask=inside, other=0.0)
    kept = (here > one) & (here > other) & (here >= threshold)
    tl.store(edges + lane, tl.where(kept, here, 0.0), mask=inside)


def canny(images: Float[Tensor, "B 3 H W"], zero: bool, threshold: float) -> Float[Tensor, "B H W"]:
    """Finds edges; see `edges.canny`."""
    images = images.contiguous()
    count, _, height, width = images.shape
    on_gpu = images.is_cuda
    block = _BLOCK if on_gpu else _BLOCK_ON_CPU
    options = {"enable_fp_fusion": False} if on_gpu else {}

    across = images.new_empty(count, height, width + 4)
    blurred = images.new_empty(count, height + 4, width + 4)
    strength = images.new_empty(count, height + 2, width + 2)
    axis = torch.empty_like(strength, dtype=torch.int8)
    edges = images.new_empty(count, height, width)
    if not edges.numel():
        return edges

    def launch(kernel, target, *arguments, **constants):
        grid = (triton.cdiv(target.numel(), block),)
        kernel[grid](*arguments, height, width, target.numel(), **constants, BLOCK=block, **options)

    launch(_blur_across, across, images, across, ZERO=zero)
    launch(_blur_down, blurred, across, blurred, ZERO=zero)
    launch(_slope, strength, blurred, strength, axis, ZERO=zero)
    launch(_thin, edges, strength, axis, edges, threshold)
    return edges
