"""Pictures of bodies: what is where (silhouette, parts, depth), and how it looks (shaded colours).

Pure functions over `plausibody.synth.raster`. Vertices come twice: projected, as x, y [px] and
depth [m], by whichever camera; and in the world [m], for what depends on the shape itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d

from plausibody.models.body import vertex_normals
from plausibody.models.camera import world_to_camera
from plausibody.synth.raster import interpolate, label_pixels, rasterize

SKIN = (0.72, 0.78, 0.86)
"""A pale blue that no photo's person wears by accident."""
AMBIENT, HEAD, SKY = 0.2, 0.6, 0.3
"""Light from everywhere, from the camera, and from above; together at most 0.97."""


@dataclass(frozen=True)
class PartRendering:
    """Where each image shows what."""

    silhouette: Float[Tensor, "B H W"]
    """1 where anything is seen, else 0."""
    parts: UInt8[Tensor, "B H W"]
    """Label of the face that is seen, 0 where there is none."""
    depth: Float[Tensor, "B H W"]
    """[m]; -1 where nothing is seen."""


def render_parts(
    pixels: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face_parts: UInt8[Tensor, " F"],
    size: tuple[int, int],
    *,
    perspective: bool = True,
    backend: str = "auto",
) -> PartRendering:
    """Draws silhouettes, part labels and depths at once.

    For labels alone `raster.rasterize_labels` is faster.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        face_parts: A table; parts are never interpolated.
        size: Height and width [px].
    """
    fragments = rasterize(
        pixels, faces, size, perspective=perspective, barycentrics=False, backend=backend
    )
    return PartRendering(
        silhouette=fragments.mask.float(),
        parts=label_pixels(fragments, face_parts),
        depth=fragments.depth,
    )


def shade(
    pixels: Float[Tensor, "B V 3"],
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    colour: Float[Tensor, "#B #V 3"] | None = None,
    background: Float[Tensor, "#B 3 H W"] | None = None,
    opacity: float = 1.0,
    smoothing: int = 2,
    perspective: bool = True,
    backend: str = "auto",
) -> Float[Tensor, "B 3 H W"]:
    """Draws matt bodies under a light at the camera and a pale sky, smoothly and without jags.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        vertices: The same in the world [m], y up; their normals decide the shading.
        size: Height and width [px].
        colour: Of each vertex or of all, 0..1; `SKIN` if None.
        background: What shows beside and through the bodies, 0..1; white if None.
        opacity: 1 hides what is behind a body, 0 hides the body.
        smoothing: Samples per pixel and axis.
    """
    zoomed = pixels * pixels.new_tensor([smoothing, smoothing, 1.0])
    large = (size[0] * smoothing, size[1] * smoothing)
    fragments = rasterize(zoomed, faces, large, perspective=perspective, backend=backend)
    if colour is None:
        colour = vertices.new_tensor([[SKIN]])
    normals = world_to_camera(vertex_normals(vertices, faces))
    attributes = torch.cat([normals, colour.expand(*vertices.shape)], -1)
    across, down, forward, *surface = interpolate(fragments, attributes, faces).unbind(1)
    # A normal averaged over a face is shorter than one; a face seen from inside is lit as well.
    length = torch.stack([across, down, forward]).norm(dim=0).clamp(min=1e-6)
    light = AMBIENT + HEAD * (forward / length).abs() + SKY * (1 - down / length) / 2
    cover = fragments.mask[:, None].float()
    lit = avg_pool2d(torch.stack(surface, 1) * light[:, None] * cover, smoothing)
    share = avg_pool2d(cover, smoothing)
    if background is None:
        background = lit.new_ones(1, 3, *size)
    return background * (1 - opacity * share) + opacity * lit
