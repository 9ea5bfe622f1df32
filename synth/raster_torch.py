"""The reference backend of the rasteriser, in plain torch: runs on any device, needs nothing else.

All (face, pixel) pairs within the bounding boxes are listed and tested with integers; those inside
compete for their pixel by the smallest 64-bit key (depth's bits, face's number). Positive floats
order as their bits do, so the nearest face wins, and of equals the first. The method is that of
DRTK and of most software "visibility buffers".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.synth.raster_settings import GUARD_BAND, SUBPIXEL_BITS, RasterSettings

PAIRS_AT_ONCE = 1 << 21
"""Bounds memory: about 150 bytes per pair, and a face larger than this is still taken whole."""
FACES_AT_ONCE = 1 << 19

_ONE = 1 << SUBPIXEL_BITS
_HALF = _ONE >> 1
_NOTHING = torch.iinfo(torch.int64).max


def draw_faces(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], settings: RasterSettings
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W"], Int[Tensor, " B"]]:
    """Gives the nearest face of each pixel, its depth [m], and how many faces were dropped."""
    batch, pixels = len(vertices), settings.size[0] * settings.size[1]
    keys = torch.full((batch, pixels), _NOTHING, dtype=torch.int64, device=vertices.device)
    dropped = torch.zeros(batch, dtype=torch.int32, device=vertices.device)
    step = max(1, FACES_AT_ONCE // max(1, len(faces)))
    for start in range(0, batch, step):
        here = slice(start, start + step)
        triangles, dropped[here] = _set_up(vertices[here], faces.long(), settings)
        flat = keys[here].view(-1)
        for chunk in _chunks(triangles):
            pixel, key = _compete(chunk, settings)
            flat.scatter_reduce_(0, pixel, key, "amin")
    keys = keys.view(batch, *settings.size)
    face = torch.where(keys == _NOTHING, -1, keys & 0x7FFFFFFF).to(torch.int32)
    depth = (keys >> 32).to(torch.int32).view(torch.float32)
    return face, torch.where(face < 0, depth.new_tensor(-1.0), depth), dropped


@dataclass(frozen=True)
class _Triangles:
    """Faces that may cover pixels: clockwise on the image, y being down, in sub-pixels."""

    image: Int[Tensor, " N"]
    face: Int[Tensor, " N"]
    x: Int[Tensor, "N 3"]
    y: Int[Tensor, "N 3"]
    area: Int[Tensor, " N"]
    """Twice the area."""
    weight: Float[Tensor, "N 3"]
    """What is linear over the image: 1 / depth, or depth."""
    column: Int[Tensor, " N"]
    """First column of the bounding box."""
    row: Int[Tensor, " N"]
    width: Int[Tensor, " N"]
    """Columns of the bounding box."""
    height: Int[Tensor, " N"]

    def __getitem__(self, index: Tensor | slice) -> _Triangles:
        return _Triangles(**{name: value[index] for name, value in vars(self).items()})


def _set_up(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], settings: RasterSettings
) -> tuple[_Triangles, Int[Tensor, " B"]]:
    """Snaps vertices, drops and culls faces, orients the others; counts what was dropped."""
    flat, depth = vertices[..., :2], vertices[..., 2]
    near = torch.tensor(settings.near, dtype=torch.float32, device=depth.device)
    usable = (depth >= near) & (depth < torch.inf) & (flat.abs() < GUARD_BAND).all(-1)
    snapped = torch.where(usable[..., None], torch.floor(flat * _ONE + 0.5), 0).long()
    weight = 1 / depth if settings.perspective else depth

    intact = usable[:, faces].all(-1)
    image, face = intact.nonzero(as_tuple=True)
    corners = faces[face]
    x = snapped[..., 0][image[:, None], corners]
    y = snapped[..., 1][image[:, None], corners]
    column = ((x.amin(-1) + (_ONE - _HALF - 1)) >> SUBPIXEL_BITS).clamp(min=0)
    row = ((y.amin(-1) + (_ONE - _HALF - 1)) >> SUBPIXEL_BITS).clamp(min=0)
    height, width = settings.size
    last_column = ((x.amax(-1) - _HALF) >> SUBPIXEL_BITS).clamp(max=width - 1)
    last_row = ((y.amax(-1) - _HALF) >> SUBPIXEL_BITS).clamp(max=height - 1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    keep = (last_column >= column) & (last_row >= row) & (area != 0)
    if settings.cull == "back":
        keep &= area < 0
    elif settings.cull == "front":
        keep &= area > 0
    triangles = _Triangles(
        image=image,
        face=face,
        x=x,
        y=y,
        area=area,
        weight=weight[image[:, None], corners],
        column=column,
        row=row,
        width=last_column - column + 1,
        height=last_row - row + 1,
    )[keep.nonzero()[:, 0]]
    return _orient(triangles), (~intact).sum(-1, dtype=torch.int32)


def _orient(triangles: _Triangles) -> _Triangles:
    turned = (triangles.area < 0)[:, None]

    def swap(corners: Tensor) -> Tensor:
        return torch.where(turned, corners[:, [0, 2, 1]], corners)

    fields = vars(triangles) | {
        "x": swap(triangles.x),
        "y": swap(triangles.y),
        "weight": swap(triangles.weight),
        "area": triangles.area.abs(),
    }
    return _Triangles(**fields)


def _chunks(triangles: _Triangles) -> Iterator[_Triangles]:
    """Cuts the list so that each part has at most about `PAIRS_AT_ONCE` pairs."""
    end = (triangles.width * triangles.height).cumsum(0)
    if len(end) == 0:
        return
    total = int(end[-1])
    goals = torch.arange(PAIRS_AT_ONCE, max(total, PAIRS_AT_ONCE), PAIRS_AT_ONCE, device=end.device)
    cuts = [0, *torch.searchsorted(end, goals, right=True).tolist(), len(end)]
    for first, last in zip(cuts[:-1], cuts[1:], strict=True):
        if first < last:
            yield triangles[slice(first, last)]


def _compete(
    triangles: _Triangles, settings: RasterSettings
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Lists the pixels that each triangle covers, and the keys it bids for them."""
    count = triangles.width * triangles.height
    which = torch.repeat_interleave(count)
    place = torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
    width = triangles.width[which]
    down = place // width
    along = place - down * width

    # Edge k lies opposite to corner k; its function is positive inside.
    x, y = triangles.x, triangles.y
    dx, dy = x[:, [2, 0, 1]] - x[:, [1, 2, 0]], y[:, [2, 0, 1]] - y[:, [1, 2, 0]]
    first_x = ((triangles.column << SUBPIXEL_BITS) + _HALF)[:, None]
    first_y = ((triangles.row << SUBPIXEL_BITS) + _HALF)[:, None]
    first = dx * (first_y - y[:, [1, 2, 0]]) - dy * (first_x - x[:, [1, 2, 0]])
    # A centre on an edge belongs to the triangle if the edge is a top or a left one.
    least = torch.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
    inside = torch.ones_like(which, dtype=torch.bool)
    edges = []
    for k in range(3):
        move = dx[which, k] * down - dy[which, k] * along
        edges.append(first[which, k] + (move << SUBPIXEL_BITS))
        inside &= edges[k] >= least[which, k]

    hit = inside.nonzero()[:, 0]
    which, down, along = which[hit], down[hit], along[hit]
    edge, weight = [e[hit].float() for e in edges], triangles.weight[which]
    blend = edge[0] * weight[:, 0] + edge[1] * weight[:, 1]
    blend = blend + edge[2] * weight[:, 2]
    total = triangles.area[which].float()
    depth = total / blend if settings.perspective else blend / total
    row, column = triangles.row[which] + down, triangles.column[which] + along
    pixel = (triangles.image[which] * settings.size[0] + row) * settings.size[1] + column
    key = (depth.view(torch.int32).long() << 32) | triangles.face[which]
    return pixel, torch.where(depth < torch.inf, key, _NOTHING)


def barycentrics(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face: Int[Tensor, "B H W"],
    settings: RasterSettings,
) -> Float[Tensor, "B H W 3"]:
    """Gives each pixel centre's barycentric coordinates in its face.

    From the vertices as they came, not snapped; a centre that snapping brought inside is moved to
    the nearest place with no negative coordinate.
    """
    out = vertices.new_zeros(*face.shape, 3)
    image, row, column = (face >= 0).nonzero(as_tuple=True)
    corners = vertices[image[:, None], faces.long()[face[image, row, column].long()]]
    x = corners[..., 0] - (column.float() + 0.5)[:, None]
    y = corners[..., 1] - (row.float() + 0.5)[:, None]
    after, before = [1, 2, 0], [2, 0, 1]
    weight = x[:, after] * y[:, before] - x[:, before] * y[:, after]
    if settings.perspective:
        weight = weight / corners[..., 2]
    total = _sum(weight)
    weight = torch.where(total == 0, 1 / 3, weight / total)
    weight = torch.where(weight > 0, weight.clamp(max=1), 0)
    out[image, row, column] = weight / _sum(weight)
    return out


def _sum(weight: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
    """Adds from left to right: the order decides the last bit."""
    return (weight[:, :1] + weight[:, 1:2]) + weight[:, 2:]
