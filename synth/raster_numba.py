"""The CPU backend of the rasteriser: compiled loops, one image after the other in each thread.

Bit for bit the same as `raster_torch`: coverage is decided by integers, and every operation on
floats is the same IEEE operation in the same order (so never `fastmath`, and no fused
multiply-add). Loops that call each other share this file because numba's cache notices changes only
in the file of the function that it stores.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.loops_numba import compile_loop, share_images
from plausibody.synth.raster_settings import (
    GUARD_BAND,
    SUBPIXEL_BITS,
    RasterSettings,
)

# Written out, because code in the cache does not notice that another file changed.
_BITS = 12
assert _BITS == SUBPIXEL_BITS and GUARD_BAND == 131072.0
_ONE = 1 << _BITS
_HALF = _ONE >> 1
_SCALE = np.float32(_ONE)
_GUARD = np.float32(131072.0)
_CULL = {"none": 0, "back": 1, "front": -1}


@compile_loop
def _draw(
    points: np.ndarray,
    faces: np.ndarray,
    values: np.ndarray,
    near: np.float32,
    cull: int,
    perspective: bool,
    snapped: np.ndarray,
    weights: np.ndarray,
    depth: np.ndarray,
    target: np.ndarray,
) -> int:
    """Draws one image over `depth` and `target`, and counts the triangles it had to drop.

    Args:
        points: (V, 3) x, y [px] and depth [m].
        faces: (F, 3).
        values: (F,) what a pixel of `target` becomes where this face is seen.
        near: Smallest depth [m].
        cull: 1 to leave out clockwise triangles, -1 for the others, 0 for none.
        perspective: Whether 1 / depth, rather than depth, is linear over the image.
        snapped: (V, 2) int32 room for positions in sub-pixels.
        weights: (V,) float32 room for what is linear over the image; 0 marks unusable vertices.
        depth: (H, W), infinite where nothing is.
        target: (H, W).
    """
    height, width = depth.shape
    one = np.float32(1.0)
    infinity = np.float32(np.inf)
    for v in range(points.shape[0]):
        x, y, z = points[v, 0], points[v, 1], points[v, 2]
        # NaN fails every comparison.
        if z >= near and z < infinity and abs(x) < _GUARD and abs(y) < _GUARD:
            snapped[v, 0] = math.floor(x * _SCALE + np.float32(0.5))
            snapped[v, 1] = math.floor(y * _SCALE + np.float32(0.5))
            weights[v] = one / z if perspective else z
        else:
            weights[v] = np.float32(0.0)

    dropped = 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        wa, wb, wc = weights[a], weights[b], weights[c]
        if wa == 0 or wb == 0 or wc == 0:
            dropped += 1
            continue
        xa, ya = np.int64(snapped[a, 0]), np.int64(snapped[a, 1])
        xb, yb = np.int64(snapped[b, 0]), np.int64(snapped[b, 1])
        xc, yc = np.int64(snapped[c, 0]), np.int64(snapped[c, 1])

        # Rows and columns whose centres lie in the bounding box.
        first_j = max((min(xa, min(xb, xc)) + (_ONE - _HALF - 1)) >> _BITS, np.int64(0))
        last_j = min((max(xa, max(xb, xc)) - _HALF) >> _BITS, width - 1)
        first_i = max((min(ya, min(yb, yc)) + (_ONE - _HALF - 1)) >> _BITS, np.int64(0))
        last_i = min((max(ya, max(yb, yc)) - _HALF) >> _BITS, height - 1)
        if first_j > last_j or first_i > last_i:
            continue
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area == 0 or area * cull > 0:
            continue
        if area < 0:
            xb, xc = xc, xb
            yb, yc = yc, yb
            wb, wc = wc, wb
            area = -area
        total = np.float32(area)

        # Edge k lies opposite to corner k; its function is positive inside.
        dx0, dy0 = xc - xb, yc - yb
        dx1, dy1 = xa - xc, ya - yc
        dx2, dy2 = xb - xa, yb - ya
        # A centre on an edge belongs to the triangle if the edge is a top or a left one.
        bias0 = 0 if dy0 < 0 or (dy0 == 0 and dx0 > 0) else -1
        bias1 = 0 if dy1 < 0 or (dy1 == 0 and dx1 > 0) else -1
        bias2 = 0 if dy2 < 0 or (dy2 == 0 and dx2 > 0) else -1
        x = (first_j << _BITS) + _HALF
        y = (first_i << _BITS) + _HALF
        row0 = dx0 * (y - yb) - dy0 * (x - xb) + bias0
        row1 = dx1 * (y - yc) - dy1 * (x - xc) + bias1
        row2 = dx2 * (y - ya) - dy2 * (x - xa) + bias2
        for i in range(first_i, last_i + 1):
            edge0, edge1, edge2 = row0, row1, row2
            for j in range(first_j, last_j + 1):
                if (edge0 | edge1 | edge2) >= 0:
                    blend = np.float32(edge0 - bias0) * wa + np.float32(edge1 - bias1) * wb
                    blend += np.float32(edge2 - bias2) * wc
                    z = total / blend if perspective else blend / total
                    # Of equals the first face stays.
                    if z < depth[i, j]:
                        depth[i, j] = z
                        target[i, j] = values[t]
                edge0 -= dy0 << _BITS
                edge1 -= dy1 << _BITS
                edge2 -= dy2 << _BITS
            row0 += dx0 << _BITS
            row1 += dx1 << _BITS
            row2 += dx2 << _BITS
    return dropped


@compile_loop
def _draw_faces(
    points: np.ndarray,
    faces: np.ndarray,
    near: np.float32,
    cull: int,
    perspective: bool,
    face: np.ndarray,
    depth: np.ndarray,
    dropped: np.ndarray,
    first: int,
    last: int,
) -> None:
    numbers = np.arange(faces.shape[0]).astype(np.int32)
    snapped = np.empty((points.shape[1], 2), np.int32)
    weights = np.empty(points.shape[1], np.float32)
    for n in range(first, last):
        depth[n] = np.inf
        face[n] = -1
        dropped[n] = _draw(
            points[n], faces, numbers, near, cull, perspective, snapped, weights, depth[n], face[n]
        )
        for i in range(face.shape[1]):
            for j in range(face.shape[2]):
                if face[n, i, j] < 0:
                    depth[n, i, j] = -1


@compile_loop
def _draw_labels(
    points: np.ndarray,
    faces: np.ndarray,
    labels: np.ndarray,
    near: np.float32,
    cull: int,
    perspective: bool,
    target: np.ndarray,
    first: int,
    last: int,
) -> None:
    depth = np.empty(target.shape[1:], np.float32)
    snapped = np.empty((points.shape[1], 2), np.int32)
    weights = np.empty(points.shape[1], np.float32)
    for n in range(first, last):
        depth[:] = np.inf
        target[n] = 0
        _draw(points[n], faces, labels, near, cull, perspective, snapped, weights, depth, target[n])


@compile_loop
def _weigh(
    points: np.ndarray,
    faces: np.ndarray,
    perspective: bool,
    face: np.ndarray,
    barycentric: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fills in barycentric coordinates; each step has its twin in `raster_torch.barycentrics`."""
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    third = one / np.float32(3.0)
    for n in range(first, last):
        for i in range(face.shape[1]):
            for j in range(face.shape[2]):
                t = face[n, i, j]
                if t < 0:
                    barycentric[n, i, j] = zero
                    continue
                a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
                x, y = np.float32(j) + half, np.float32(i) + half
                xa, ya = points[n, a, 0] - x, points[n, a, 1] - y
                xb, yb = points[n, b, 0] - x, points[n, b, 1] - y
                xc, yc = points[n, c, 0] - x, points[n, c, 1] - y
                wa = xb * yc - xc * yb
                wb = xc * ya - xa * yc
                wc = xa * yb - xb * ya
                if perspective:
                    wa /= points[n, a, 2]
                    wb /= points[n, b, 2]
                    wc /= points[n, c, 2]
                total = (wa + wb) + wc
                if total == zero:
                    wa = wb = wc = third
                else:
                    wa, wb, wc = wa / total, wb / total, wc / total
                wa = min(wa, one) if wa > zero else zero
                wb = min(wb, one) if wb > zero else zero
                wc = min(wc, one) if wc > zero else zero
                total = (wa + wb) + wc
                barycentric[n, i, j, 0] = wa / total
                barycentric[n, i, j, 1] = wb / total
                barycentric[n, i, j, 2] = wc / total


def draw_faces(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], settings: RasterSettings
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W"], Int[Tensor, " B"]]:
    """Gives the nearest face of each pixel, its depth [m], and how many faces were dropped."""
    points, corners = _arrays(vertices, faces)
    shape = (len(points), *settings.size)
    face = torch.empty(shape, dtype=torch.int32)
    depth = torch.empty(shape, dtype=torch.float32)
    dropped = torch.empty(len(points), dtype=torch.int32)
    near, cull, perspective = _scalars(settings)
    outputs = face.numpy(), depth.numpy(), dropped.numpy()
    share_images(
        lambda first, last: _draw_faces(
            points, corners, near, cull, perspective, *outputs, first, last
        ),
        len(points),
        settings.threads,
    )
    return face, depth, dropped


def draw_labels(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face_labels: UInt8[Tensor, " F"],
    settings: RasterSettings,
) -> UInt8[Tensor, "B H W"]:
    """Gives the label of the nearest face of each pixel, 0 where there is none."""
    points, corners = _arrays(vertices, faces)
    labels = np.ascontiguousarray(face_labels.numpy())
    target = torch.empty((len(points), *settings.size), dtype=torch.uint8)
    near, cull, perspective = _scalars(settings)
    output = target.numpy()
    share_images(
        lambda first, last: _draw_labels(
            points, corners, labels, near, cull, perspective, output, first, last
        ),
        len(points),
        settings.threads,
    )
    return target


def barycentrics(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face: Int[Tensor, "B H W"],
    settings: RasterSettings,
) -> Float[Tensor, "B H W 3"]:
    """Gives each pixel centre's barycentric coordinates in its face."""
    points, corners = _arrays(vertices, faces)
    barycentric = torch.empty((*face.shape, 3), dtype=torch.float32)
    seen, output = face.numpy(), barycentric.numpy()
    share_images(
        lambda first, last: _weigh(
            points, corners, settings.perspective, seen, output, first, last
        ),
        len(points),
        settings.threads,
    )
    return barycentric


def _arrays(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]
) -> tuple[np.ndarray, np.ndarray]:
    """Gives both as contiguous arrays of the one type that the loops are compiled for."""
    points = np.ascontiguousarray(vertices.numpy(), np.float32)
    return points, np.ascontiguousarray(faces.numpy(), np.int32)


def _scalars(settings: RasterSettings) -> tuple[np.float32, int, bool]:
    return np.float32(settings.near), _CULL[settings.cull], settings.perspective
