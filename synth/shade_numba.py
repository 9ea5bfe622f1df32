"""The CPU backend of the shader: each image is rasterised, then all its outputs drawn in one pass.

The arithmetic is that of `shade_torch`, step by step; results differ in the last bits, as sums may
run in another order. Everything compiled shares this file because numba's cache notices changes
only in the file of the function that it stores.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from plausibody.models.loops_numba import compile_loop, share_images
from plausibody.synth import raster_numba
from plausibody.synth.shading import Job

_AT_ONCE = 4
"""Images whose faces are kept at a time: few enough for the processor's cache."""


@compile_loop
def _inverse_length(x: Any, y: Any, z: Any) -> Any:
    length: Any = math.sqrt(x * x + y * y + z * z)
    return np.float32(1.0) / max(length, np.float32(1e-12))


@compile_loop
def _normals_of_vertices(world: ndarray, faces: ndarray, normals: ndarray) -> None:
    normals[:] = 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        x1, x2 = world[b, 0] - world[a, 0], world[c, 0] - world[a, 0]
        y1, y2 = world[b, 1] - world[a, 1], world[c, 1] - world[a, 1]
        z1, z2 = world[b, 2] - world[a, 2], world[c, 2] - world[a, 2]
        x, y, z = y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2
        normals[a, 0] += x
        normals[a, 1] += y
        normals[a, 2] += z
        normals[b, 0] += x
        normals[b, 1] += y
        normals[b, 2] += z
        normals[c, 0] += x
        normals[c, 1] += y
        normals[c, 2] += z
    for k in range(normals.shape[0]):
        x, y, z = normals[k, 0], normals[k, 1], normals[k, 2]
        scale = _inverse_length(x, y, z)
        normals[k, 0] = x * scale
        normals[k, 1] = y * scale
        normals[k, 2] = z * scale


@compile_loop
def _colour(
    texels: ndarray, start: int, height: int, width: int, cell: int, u: float, v: float
) -> Any:
    """Gives red, green and blue, 0..255, of one texture at one level, between its texels."""
    half, one = np.float32(0.5), np.float32(1.0)
    x = min(max(u * np.float32(width) - half, np.float32(0.0)), np.float32(width - 1))
    y = min(max((one - v) * np.float32(height) - half, np.float32(0.0)), np.float32(height - 1))
    left, top = np.int64(x), np.int64(y)
    across, down = x - np.float32(left), y - np.float32(top)
    corner = start + (cell * height + top) * width + left
    right = 0 if left + 1 >= width else 1
    below = 0 if top + 1 >= height else width
    a, b = np.uint64(corner), np.uint64(corner + right)
    c, d = np.uint64(corner + below), np.uint64(corner + below + right)
    wa, wb = (one - across) * (one - down), across * (one - down)
    wc, wd = (one - across) * down, across * down
    red = wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0]
    green = wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1]
    blue = wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2]
    return red, green, blue


@compile_loop
def _shade(
    points: ndarray,
    world: ndarray,
    faces: ndarray,
    face: ndarray,
    perspective: bool,
    corners: ndarray,
    part: ndarray,
    area: ndarray,
    texels: ndarray,
    levels: ndarray,
    texture: ndarray,
    eye: ndarray,
    lights: ndarray,
    shininess: np.float32,
    silhouette: ndarray,
    part24: ndarray,
    semantics: ndarray,
    iuv: ndarray,
    normals: ndarray,
    rgb: ndarray,
) -> None:
    """Draws images whose faces are known; outputs of size 0 are left out, others begin as zeros.

    One function, because calls for each pixel, which pass arrays on, cost a tenth of the speed.

    Args:
        points: (B, V, 3) x, y [px] and depth [m].
        world: (B, V, 3) [m].
        faces: (F, 3).
        face: (B, H, W), -1 where there is none.
        corners: (F, 3, 2) u and v.
        part: (F,).
        area: (F,) share of a cell.
        texels: (T, N, 4) red, green, blue and label.
        levels: (L, 3) start, height and width.
        texture: (B,).
        eye: (B, 3) [m]; of size 0 for one far away.
        lights: (B, 4, 3) ambient, diffuse, specular, position [m]; of size 0 for none.
    """
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    tiny, third, full = np.float32(1e-12), one / np.float32(3.0), one / np.float32(255.0)
    dull = np.float32(1e-6) ** (one / shininess)  # fainter highlights are left out
    lit = lights.shape[0] > 0 and rgb.shape[0] > 0
    bent = lit or normals.shape[0] > 0
    textured = semantics.shape[0] > 0 or rgb.shape[0] > 0
    flat = iuv.shape[0] > 0 or textured
    last = levels.shape[0] - 1
    at_vertices = np.empty((world.shape[1], 3), np.float32)
    for n in range(face.shape[0]):
        image = texels[texture[n]]  # not in the loop: each view of an array is counted
        if bent:
            _normals_of_vertices(world[n], faces, at_vertices)
        for i in range(face.shape[1]):
            for j in range(face.shape[2]):
                if face[n, i, j] < 0:
                    continue
                # Numba looks out for negative indices unless they are unsigned.
                t = np.uint64(face[n, i, j])
                if silhouette.shape[0] > 0:
                    silhouette[n, i, j] = one
                if part24.shape[0] > 0:
                    part24[n, i, j] = part[t]
                if not (flat or bent):
                    continue

                a, b, c = np.uint64(faces[t, 0]), np.uint64(faces[t, 1]), np.uint64(faces[t, 2])
                x, y = np.float32(j) + half, np.float32(i) + half
                xa, ya = points[n, a, 0] - x, points[n, a, 1] - y
                xb, yb = points[n, b, 0] - x, points[n, b, 1] - y
                xc, yc = points[n, c, 0] - x, points[n, c, 1] - y
                wa, wb, wc = xb * yc - xc * yb, xc * ya - xa * yc, xa * yb - xb * ya
                screen = abs(wa + wb + wc) * half
                if perspective:
                    wa, wb, wc = wa / points[n, a, 2], wb / points[n, b, 2], wc / points[n, c, 2]
                total = wa + wb + wc
                if total == zero:
                    wa = wb = wc = third
                else:
                    total = one / total
                    wa = min(max(wa * total, zero), one)
                    wb = min(max(wb * total, zero), one)
                    wc = min(max(wc * total, zero), one)
                    total = one / (wa + wb + wc)
                    wa, wb, wc = wa * total, wb * total, wc * total

                nx = ny = nz = zero
                if bent:
                    nx = wa * at_vertices[a, 0] + wb * at_vertices[b, 0] + wc * at_vertices[c, 0]
                    ny = wa * at_vertices[a, 1] + wb * at_vertices[b, 1] + wc * at_vertices[c, 1]
                    nz = wa * at_vertices[a, 2] + wb * at_vertices[b, 2] + wc * at_vertices[c, 2]
                    scale = _inverse_length(nx, ny, nz)
                    nx, ny, nz = nx * scale, ny * scale, nz * scale
                    if normals.shape[0] > 0:  # the camera's y and z run the other way
                        normals[n, 0, i, j] = nx
                        normals[n, 1, i, j] = -ny
                        normals[n, 2, i, j] = -nz
                if not flat:
                    continue

                u = wa * corners[t, 0, 0] + wb * corners[t, 1, 0] + wc * corners[t, 2, 0]
                v = wa * corners[t, 0, 1] + wb * corners[t, 1, 1] + wc * corners[t, 2, 1]
                cell = np.int64(part[t]) - 1
                if iuv.shape[0] > 0:
                    iuv[n, 0, i, j] = np.float32(part[t])
                    iuv[n, 1, i, j] = u
                    iuv[n, 2, i, j] = v
                if not textured:
                    continue

                share = area[t] * np.float32(levels[0, 1] * levels[0, 2])
                level = half * math.log2(max(share, tiny) / max(screen, tiny))
                level = min(max(level, zero), np.float32(last))
                if semantics.shape[0] > 0:
                    near = np.int64(level + half)
                    height, width = levels[near, 1], levels[near, 2]
                    left = min(np.int64(max(u * np.float32(width), zero)), width - 1)
                    top = min(np.int64(max((one - v) * np.float32(height), zero)), height - 1)
                    semantics[n, i, j] = image[
                        levels[near, 0] + (cell * height + top) * width + left, 3
                    ]
                if rgb.shape[0] == 0:
                    continue

                fine = min(np.int64(level), max(last - 1, 0))
                share = level - np.float32(fine)
                red, green, blue = _colour(
                    image, levels[fine, 0], levels[fine, 1], levels[fine, 2], cell, u, v
                )
                if share > zero:
                    fine += 1
                    more_red, more_green, more_blue = _colour(
                        image, levels[fine, 0], levels[fine, 1], levels[fine, 2], cell, u, v
                    )
                    red += share * (more_red - red)
                    green += share * (more_green - green)
                    blue += share * (more_blue - blue)
                red, green, blue = red * full, green * full, blue * full
                if lit:
                    px = wa * world[n, a, 0] + wb * world[n, b, 0] + wc * world[n, c, 0]
                    py = wa * world[n, a, 1] + wb * world[n, b, 1] + wc * world[n, c, 1]
                    pz = wa * world[n, a, 2] + wb * world[n, b, 2] + wc * world[n, c, 2]
                    lx, ly, lz = (
                        lights[n, 3, 0] - px,
                        lights[n, 3, 1] - py,
                        lights[n, 3, 2] - pz,
                    )
                    scale = _inverse_length(lx, ly, lz)
                    lx, ly, lz = lx * scale, ly * scale, lz * scale
                    cosine = nx * lx + ny * ly + nz * lz
                    shine = zero
                    if cosine > zero:
                        ex, ey, ez = zero, zero, one
                        if eye.shape[0] > 0:
                            ex, ey, ez = eye[n, 0] - px, eye[n, 1] - py, eye[n, 2] - pz
                            scale = _inverse_length(ex, ey, ez)
                            ex, ey, ez = ex * scale, ey * scale, ez * scale
                        twice = cosine + cosine
                        glance = (
                            ex * (twice * nx - lx) + ey * (twice * ny - ly) + ez * (twice * nz - lz)
                        )
                        if glance > dull:
                            shine = glance**shininess
                    else:
                        cosine = zero
                    red = red * (lights[n, 0, 0] + lights[n, 1, 0] * cosine)
                    green = green * (lights[n, 0, 1] + lights[n, 1, 1] * cosine)
                    blue = blue * (lights[n, 0, 2] + lights[n, 1, 2] * cosine)
                    red += lights[n, 2, 0] * shine
                    green += lights[n, 2, 1] * shine
                    blue += lights[n, 2, 2] * shine
                rgb[n, 0, i, j] = min(red, one)
                rgb[n, 1, i, j] = min(green, one)
                rgb[n, 2, i, j] = min(blue, one)


def shade(job: Job) -> dict[str, Tensor]:
    """Rasterises and shades; gives the outputs that the job asks for, and `dropped`, by name."""
    batch, (height, width) = len(job.pixels), job.settings.size
    shapes = {
        "silhouette": (np.float32, (height, width)),
        "part24": (np.uint8, (height, width)),
        "semantics": (np.uint8, (height, width)),
        "iuv": (np.float32, (3, height, width)),
        "normals": (np.float32, (3, height, width)),
        "rgb": (np.float32, (3, height, width)),
    }
    # Zeros from numpy come untouched from the system: only pages that are drawn on cost time.
    done = {
        name: np.zeros((batch if name in job.outputs else 0, *shape), kind)
        for name, (kind, shape) in shapes.items()
    }
    depth = np.empty((batch if "depth" in job.outputs else 0, height, width), np.float32)
    dropped = np.empty(batch, np.int32)
    points = np.ascontiguousarray(job.pixels.numpy(), np.float32)
    world = np.ascontiguousarray(job.vertices.numpy(), np.float32)
    faces = np.ascontiguousarray(job.faces.numpy(), np.int32)
    corners, part, area = _chart_arrays(job)
    texels, levels, texture = _texture_arrays(job)
    eye, lights = _light_arrays(job)
    shininess = np.float32(1.0 if job.lights is None else job.lights.shininess)
    alone = replace(job.settings, threads=1)

    def draw(first: int, last: int) -> None:
        for start in range(first, last, _AT_ONCE):
            here = slice(start, min(start + _AT_ONCE, last))
            face, distance, lost = raster_numba.draw_faces(job.pixels[here], job.faces, alone)
            dropped[here] = lost.numpy()
            depth[here] = distance.numpy() if len(depth) else depth
            if job.outputs <= {"depth"}:
                continue
            _shade(
                points[here],
                world[here],
                faces,
                face.numpy(),
                alone.perspective,
                corners,
                part,
                area,
                texels,
                levels,
                texture[here],
                eye[here],
                lights[here],
                shininess,
                *(array[here] for array in done.values()),
            )

    share_images(draw, batch, job.settings.threads)
    arrays = done | {"depth": depth}
    tensors = {name: torch.from_numpy(arrays[name]) for name in job.outputs}
    return tensors | {"dropped": torch.from_numpy(dropped)}


def _chart_arrays(job: Job) -> tuple[ndarray, ndarray, ndarray]:
    chart = job.chart
    if chart is None:
        empty = np.empty(0, np.float32)
        return empty.reshape(0, 3, 2), empty.astype(np.uint8), empty
    return (
        np.ascontiguousarray(chart.corners.numpy(), np.float32),
        np.ascontiguousarray(chart.face_part.numpy()),
        np.ascontiguousarray(chart.area.numpy(), np.float32),
    )


def _texture_arrays(job: Job) -> tuple[ndarray, ndarray, ndarray]:
    mipmaps = job.mipmaps
    if mipmaps is None or job.texture is None:
        nothing = np.zeros((1, 1, 4), np.uint8)
        return nothing, np.array([[0, 1, 1]], np.int64), np.zeros(len(job.pixels), np.int64)
    texture = np.ascontiguousarray(job.texture.numpy(), np.int64)
    return mipmaps.texels.contiguous().numpy(), mipmaps.table.numpy(), texture


def _light_arrays(job: Job) -> tuple[ndarray, ndarray]:
    empty = torch.empty(0, 3)
    eye = empty if job.eye is None else job.eye
    lights = empty.reshape(0, 4, 3)
    if job.lights is not None:
        one = job.lights
        lights = torch.stack([one.ambient, one.diffuse, one.specular, one.position], 1)
    return (
        np.ascontiguousarray(eye.numpy(), np.float32),
        np.ascontiguousarray(lights.numpy(), np.float32),
    )
