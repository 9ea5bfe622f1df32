"""The CUDA backend of the rasteriser: Triton kernels, one lane per face or per pixel.

Bit for bit the same as `raster_torch`: coverage is decided by integers, faces compete for a pixel
by the same 64-bit key (depth's bits, face's number), and every operation on floats is the same IEEE
operation in the same order: no fused multiply-add, and `div_rn` where Triton's `/` would round
otherwise. The smallest key wins by an atomic minimum, so the order in which lanes run is not seen.
Nothing waits for the device, and all shapes are static: calls can be captured in a CUDA graph.

With TRITON_INTERPRET=1 in the environment before Triton is imported, the kernels run on tensors on
the CPU, for tests: exact, but slower than anything else here.
"""

# Kernels are programs in Triton's language, whose arguments have no types that mypy knows.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.synth.raster_settings import GUARD_BAND, SUBPIXEL_BITS, RasterSettings

LARGE = 128
"""Faces whose bounding box has more pixels than this are shared by many lanes, not left to one. Of
a body that fills 256 px hardly any has."""

IMAGES_AT_ONCE = 65535
"""The second axis of a CUDA grid has no more."""

_BITS = tl.constexpr(SUBPIXEL_BITS)
_ONE = tl.constexpr(1 << SUBPIXEL_BITS)
_HALF = tl.constexpr(1 << (SUBPIXEL_BITS - 1))
_GUARD = tl.constexpr(GUARD_BAND)
_NOTHING = tl.constexpr(torch.iinfo(torch.int64).max)
_CULL = {"none": 0, "back": 1, "front": -1}
_TEAMS = tl.constexpr(8)
"""Groups of programs that take turns at an image's large faces."""
_PROGRAMS = 64
"""Per image, for large faces; those of a team share a face's pixels."""


def _jit(function: Callable[..., Any]) -> Any:
    """Compiles at the first call; Triton must see the function itself, not a check around it."""
    return triton.jit(inspect.unwrap(function))


@_jit
def _load_corner(points, place, near, lanes):
    """Gives a vertex in sub-pixels, its depth [m], and whether it can be used; 0, 0, 1 if not."""
    x = tl.load(points + place * 3, mask=lanes, other=0.0)
    y = tl.load(points + place * 3 + 1, mask=lanes, other=0.0)
    z = tl.load(points + place * 3 + 2, mask=lanes, other=-1.0)
    # NaN fails every comparison.
    usable = (z >= near) & (z < float("inf")) & (tl.abs(x) < _GUARD) & (tl.abs(y) < _GUARD)
    column = tl.floor(tl.where(usable, x, 0.0) * _ONE + 0.5).to(tl.int64)
    row = tl.floor(tl.where(usable, y, 0.0) * _ONE + 0.5).to(tl.int64)
    return column, row, tl.where(usable, z, 1.0), usable


@_jit
def _first_centre(a, b, c):
    """Gives the first row or column of the image whose centre lies in a bounding box."""
    low = tl.minimum(a, tl.minimum(b, c))
    return tl.maximum((low + (_ONE - _HALF - 1)) >> _BITS, 0)


@_jit
def _last_centre(a, b, c, side):
    high = tl.maximum(a, tl.maximum(b, c))
    return tl.minimum((high - _HALF) >> _BITS, side - 1)


@_jit
def _start_edge(dx, dy, x, y):
    """Gives an edge's function at (x, y) from its start, and what makes it 0 or more inside.

    A centre on an edge belongs to the triangle if the edge is a top or a left one.
    """
    bias = tl.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, -1)
    return dx * y - dy * x + bias, bias


@_jit
def _set_up(points, faces, image, face, vertices, height, width, near, lanes,
            CULL: tl.constexpr, PERSPECTIVE: tl.constexpr):  # fmt: skip
    """Snaps, checks, culls and orients faces, and places them at their box's first centre.

    Gives of each edge its step over sub-pixels, its value and its bias, edge k lying opposite to
    corner k; what is linear over the image at the corners; twice the area; the bounding box; and
    whether the face was dropped, and whether it may cover pixels.
    """
    corner = face.to(tl.int64) * 3
    base = image * vertices
    a = base + tl.load(faces + corner, mask=lanes, other=0)
    b = base + tl.load(faces + corner + 1, mask=lanes, other=0)
    c = base + tl.load(faces + corner + 2, mask=lanes, other=0)
    xa, ya, wa, usable_a = _load_corner(points, a, near, lanes)
    xb, yb, wb, usable_b = _load_corner(points, b, near, lanes)
    xc, yc, wc, usable_c = _load_corner(points, c, near, lanes)
    intact = usable_a & usable_b & usable_c
    if PERSPECTIVE:
        wa = tl.div_rn(1.0, wa)
        wb = tl.div_rn(1.0, wb)
        wc = tl.div_rn(1.0, wc)

    column, last_column = _first_centre(xa, xb, xc), _last_centre(xa, xb, xc, width)
    row, last_row = _first_centre(ya, yb, yc), _last_centre(ya, yb, yc, height)
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    kept = lanes & intact & (area != 0) & (last_column >= column) & (last_row >= row)
    if CULL == 1:
        kept &= area < 0
    if CULL == -1:
        kept &= area > 0
    turned = area < 0
    xb, xc = tl.where(turned, xc, xb), tl.where(turned, xb, xc)
    yb, yc = tl.where(turned, yc, yb), tl.where(turned, yb, yc)
    wb, wc = tl.where(turned, wc, wb), tl.where(turned, wb, wc)

    x = (column << _BITS) + _HALF
    y = (row << _BITS) + _HALF
    dx0, dy0 = xc - xb, yc - yb
    dx1, dy1 = xa - xc, ya - yc
    dx2, dy2 = xb - xa, yb - ya
    edge0, bias0 = _start_edge(dx0, dy0, x - xb, y - yb)
    edge1, bias1 = _start_edge(dx1, dy1, x - xc, y - yc)
    edge2, bias2 = _start_edge(dx2, dy2, x - xa, y - ya)
    columns, rows = last_column - column + 1, last_row - row + 1
    return (dx0, dy0, edge0, bias0, wa, dx1, dy1, edge1, bias1, wb, dx2, dy2, edge2, bias2, wc,
            tl.abs(area), column, row, columns, rows, lanes & ~intact, kept)  # fmt: skip


@_jit
def _bid(keys, offset, face, lanes, edge0, edge1, edge2, bias0, bias1, bias2, wa, wb, wc, area,
         PERSPECTIVE: tl.constexpr):  # fmt: skip
    """Bids for pixels with the keys of faces that cover them."""
    inside = lanes & ((edge0 | edge1 | edge2) >= 0)
    blend = (edge0 - bias0).to(tl.float32) * wa + (edge1 - bias1).to(tl.float32) * wb
    blend = blend + (edge2 - bias2).to(tl.float32) * wc
    total = area.to(tl.float32)
    if PERSPECTIVE:
        depth = tl.div_rn(total, tl.where(inside, blend, 1.0))
    else:
        depth = tl.div_rn(blend, tl.where(inside, total, 1.0))
    key = (depth.to(tl.int32, bitcast=True).to(tl.int64) << 32) | face
    tl.atomic_min(keys + offset, key, mask=inside & (depth < float("inf")), sem="relaxed")


@_jit
def _draw(points, faces, keys, dropped, large, larges, vertices, count, height, width, near,
          LARGE: tl.constexpr, CULL: tl.constexpr, PERSPECTIVE: tl.constexpr,
          BLOCK: tl.constexpr):  # fmt: skip
    """Draws the small faces of an image, a lane each, and lists the large ones."""
    image = tl.program_id(1).to(tl.int64)
    face = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    (dx0, dy0, edge0, bias0, wa, dx1, dy1, edge1, bias1, wb, dx2, dy2, edge2, bias2, wc,
     area, column, row, columns, rows, lost, kept) = _set_up(
        points, faces, image, face, vertices, height, width, near, face < count, CULL, PERSPECTIVE
    )  # fmt: skip
    tl.atomic_add(dropped + image, tl.sum(lost.to(tl.int32), axis=0), sem="relaxed")
    pixels = tl.where(kept, columns * rows, 0)
    big = pixels > LARGE
    place = tl.atomic_add(larges + image + 0 * face, 1, mask=big, sem="relaxed")
    tl.store(large + image * count + place, face, mask=big)

    pixels = tl.where(big, 0, pixels).to(tl.int32)
    columns = columns.to(tl.int32)
    offset = (image * height + row) * width + column
    # A step to the right; and one from a row's end to the next row's start.
    right0, next0 = -(dy0 << _BITS), (dx0 << _BITS) + (dy0 << _BITS) * (columns - 1)
    right1, next1 = -(dy1 << _BITS), (dx1 << _BITS) + (dy1 << _BITS) * (columns - 1)
    right2, next2 = -(dy2 << _BITS), (dx2 << _BITS) + (dy2 << _BITS) * (columns - 1)
    along = tl.zeros_like(columns)
    for pixel in range(0, tl.max(pixels, axis=0)):
        _bid(keys, offset, face, pixel < pixels, edge0, edge1, edge2, bias0, bias1, bias2,
             wa, wb, wc, area, PERSPECTIVE)  # fmt: skip
        end = along == columns - 1
        along = tl.where(end, 0, along + 1)
        offset += tl.where(end, width - columns + 1, 1)
        edge0 += tl.where(end, next0, right0)
        edge1 += tl.where(end, next1, right1)
        edge2 += tl.where(end, next2, right2)


@_jit
def _draw_large(points, faces, keys, large, larges, vertices, count, height, width, near,
                CULL: tl.constexpr, PERSPECTIVE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Draws the listed faces of an image, a lane for each pixel of the box."""
    image = tl.program_id(1).to(tl.int64)
    team, member = tl.program_id(0) % _TEAMS, tl.program_id(0) // _TEAMS
    stride = (tl.num_programs(0) // _TEAMS) * BLOCK
    for item in range(team, tl.load(larges + image), _TEAMS):
        face = tl.load(large + image * count + item)
        (dx0, dy0, edge0, bias0, wa, dx1, dy1, edge1, bias1, wb, dx2, dy2, edge2, bias2, wc,
         area, column, row, columns, rows, lost, kept) = _set_up(
            points, faces, image, face, vertices, height, width, near, face < count,
            CULL, PERSPECTIVE
        )  # fmt: skip
        pixels = columns * rows
        for start in range((member * BLOCK).to(tl.int64), pixels, stride):
            pixel = start + tl.arange(0, BLOCK)
            down = pixel // columns
            along = pixel - down * columns
            offset = (image * height + row + down) * width + column + along
            move0 = (dx0 * down - dy0 * along) << _BITS
            move1 = (dx1 * down - dy1 * along) << _BITS
            move2 = (dx2 * down - dy2 * along) << _BITS
            _bid(keys, offset, face, pixel < pixels, edge0 + move0, edge1 + move1, edge2 + move2,
                 bias0, bias1, bias2, wa, wb, wc, area, PERSPECTIVE)  # fmt: skip


@_jit
def _read_keys(keys, face, depth, pixels, BLOCK: tl.constexpr):
    """Takes the winning keys apart."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lanes, place = pixel < pixels, image * pixels + pixel
    key = tl.load(keys + place, mask=lanes, other=_NOTHING)
    empty = key == _NOTHING
    number = tl.where(empty, -1, key & 0x7FFFFFFF).to(tl.int32)
    bits = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    tl.store(face + place, number, mask=lanes)
    tl.store(depth + place, tl.where(empty, -1.0, bits), mask=lanes)


@_jit
def _read_labels(keys, face_labels, labels, pixels, BLOCK: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lanes, place = pixel < pixels, image * pixels + pixel
    key = tl.load(keys + place, mask=lanes, other=_NOTHING)
    seen = key != _NOTHING
    label = tl.load(face_labels + (key & 0x7FFFFFFF), mask=seen, other=0)
    tl.store(labels + place, label, mask=lanes)


@_jit
def _load_weighed(points, place, x, y, lanes):
    """Gives a corner as seen from a pixel's centre, and its depth [m]."""
    dx = tl.load(points + place * 3, mask=lanes, other=0.0) - x
    dy = tl.load(points + place * 3 + 1, mask=lanes, other=0.0) - y
    return dx, dy, tl.load(points + place * 3 + 2, mask=lanes, other=1.0)


@_jit
def _into_range(weight):
    return tl.where(weight > 0, tl.where(weight > 1, 1.0, weight), 0.0)


@_jit
def _weigh(points, faces, face, barycentric, vertices, width, pixels,
           PERSPECTIVE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Fills in barycentric coordinates; each step has its twin in `raster_torch.barycentrics`."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lanes, place = pixel < pixels, image * pixels + pixel
    number = tl.load(face + place, mask=lanes, other=-1)
    seen = number >= 0
    corner = number.to(tl.int64) * 3
    base = image * vertices
    a = base + tl.load(faces + corner, mask=seen, other=0)
    b = base + tl.load(faces + corner + 1, mask=seen, other=0)
    c = base + tl.load(faces + corner + 2, mask=seen, other=0)
    row = pixel // width
    x = (pixel - row * width).to(tl.float32) + 0.5
    y = row.to(tl.float32) + 0.5
    xa, ya, za = _load_weighed(points, a, x, y, seen)
    xb, yb, zb = _load_weighed(points, b, x, y, seen)
    xc, yc, zc = _load_weighed(points, c, x, y, seen)
    wa = xb * yc - xc * yb
    wb = xc * ya - xa * yc
    wc = xa * yb - xb * ya
    if PERSPECTIVE:
        wa, wb, wc = tl.div_rn(wa, za), tl.div_rn(wb, zb), tl.div_rn(wc, zc)
    total = (wa + wb) + wc
    flat = total == 0
    total = tl.where(flat, 1.0, total)
    wa = _into_range(tl.where(flat, 1.0 / 3.0, tl.div_rn(wa, total)))
    wb = _into_range(tl.where(flat, 1.0 / 3.0, tl.div_rn(wb, total)))
    wc = _into_range(tl.where(flat, 1.0 / 3.0, tl.div_rn(wc, total)))
    total = tl.where(seen, (wa + wb) + wc, 1.0)
    tl.store(barycentric + place * 3, tl.where(seen, tl.div_rn(wa, total), 0.0), mask=lanes)
    tl.store(barycentric + place * 3 + 1, tl.where(seen, tl.div_rn(wb, total), 0.0), mask=lanes)
    tl.store(barycentric + place * 3 + 2, tl.where(seen, tl.div_rn(wc, total), 0.0), mask=lanes)


INTERPRETED = not isinstance(_draw, triton.JITFunction)
"""Whether the kernels run in Triton's interpreter, for which the environment asked."""

# The interpreter's cost is that of a step, however many lanes take it.
_FACES_PER_PROGRAM = 4096 if INTERPRETED else 64
_PIXELS_PER_PROGRAM = 16384 if INTERPRETED else 256
_OPTIONS = {"enable_fp_fusion": False}
"""A fused multiply-add rounds once where the other backends round twice."""


def draw_faces(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], settings: RasterSettings
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W"], Int[Tensor, " B"]]:
    """Gives the nearest face of each pixel, its depth [m], and how many faces were dropped."""
    shape = (len(vertices), *settings.size)
    face = torch.empty(shape, dtype=torch.int32, device=vertices.device)
    depth = torch.empty(shape, dtype=torch.float32, device=vertices.device)
    dropped = torch.zeros(len(vertices), dtype=torch.int32, device=vertices.device)
    for here in _slices(vertices):
        keys = _keys(vertices[here], faces, dropped[here], settings)
        _over_pixels(_read_keys, keys, face[here], depth[here])
    return face, depth, dropped


def draw_labels(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face_labels: UInt8[Tensor, " F"],
    settings: RasterSettings,
) -> UInt8[Tensor, "B H W"]:
    """Gives the label of the nearest face of each pixel, 0 where there is none."""
    shape = (len(vertices), *settings.size)
    labels = torch.empty(shape, dtype=torch.uint8, device=vertices.device)
    dropped = torch.zeros(len(vertices), dtype=torch.int32, device=vertices.device)
    for here in _slices(vertices):
        keys = _keys(vertices[here], faces, dropped[here], settings)
        _over_pixels(_read_labels, keys, face_labels.contiguous(), labels[here])
    return labels


def barycentrics(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face: Int[Tensor, "B H W"],
    settings: RasterSettings,
) -> Float[Tensor, "B H W 3"]:
    """Gives each pixel centre's barycentric coordinates in its face."""
    out = torch.empty((*face.shape, 3), dtype=torch.float32, device=vertices.device)
    height, width = settings.size
    corners = _corners(faces)
    for here in _slices(vertices):
        points = vertices[here].contiguous()
        with _device_of(vertices):
            _weigh[_grid(height * width, _PIXELS_PER_PROGRAM, points)](
                points, corners, face[here].contiguous(), out[here],
                vertices.shape[1], width, height * width,
                PERSPECTIVE=settings.perspective, BLOCK=_PIXELS_PER_PROGRAM, **_OPTIONS,
            )  # fmt: skip
    return out


def _keys(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    dropped: Int[Tensor, " B"],
    settings: RasterSettings,
) -> Int[Tensor, "B H W"]:
    """Draws images; gives each pixel's smallest key, and counts in `dropped`."""
    (batch, count), device = vertices.shape[:2], vertices.device
    keys = torch.full(
        (batch, *settings.size), torch.iinfo(torch.int64).max, dtype=torch.int64, device=device
    )
    if len(faces) == 0:
        return keys
    large = torch.empty(batch, len(faces), dtype=torch.int32, device=device)
    larges = torch.zeros(batch, dtype=torch.int32, device=device)
    points, corners = vertices.contiguous(), _corners(faces)
    sizes = (count, len(faces), *settings.size, settings.near)
    rules = {"CULL": _CULL[settings.cull], "PERSPECTIVE": settings.perspective, **_OPTIONS}
    with _device_of(vertices):
        _draw[_grid(len(faces), _FACES_PER_PROGRAM, points)](
            points, corners, keys, dropped, large, larges, *sizes,
            LARGE=LARGE, BLOCK=_FACES_PER_PROGRAM, num_warps=2, **rules,
        )  # fmt: skip
        programs = _TEAMS.value if INTERPRETED else _PROGRAMS
        _draw_large[(programs, batch)](
            points, corners, keys, large, larges, *sizes, BLOCK=_PIXELS_PER_PROGRAM, **rules
        )
    return keys


def _over_pixels(kernel: Any, keys: Int[Tensor, "B H W"], *arrays: Tensor) -> None:
    pixels = keys.shape[1] * keys.shape[2]
    with _device_of(keys):
        kernel[_grid(pixels, _PIXELS_PER_PROGRAM, keys)](
            keys, *arrays, pixels, BLOCK=_PIXELS_PER_PROGRAM
        )


def _grid(count: int, block: int, images: Tensor) -> tuple[int, int]:
    return triton.cdiv(count, block), len(images)


def _corners(faces: Int[Tensor, "F 3"]) -> Int[Tensor, "F 3"]:
    return faces.to(torch.int32).contiguous()


def _slices(vertices: Tensor) -> Iterator[slice]:
    for start in range(0, len(vertices), IMAGES_AT_ONCE):
        yield slice(start, start + IMAGES_AT_ONCE)


def _device_of(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()
