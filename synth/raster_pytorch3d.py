"""PyTorch3D behind the rasteriser's interface: to compare, or to draw as others did.

It is not bit for bit the same as the other backends. Measured on bodies, its silhouette is equal
and 0.07 % of the pixels show another face; its rules differ where centres lie on edges (it leaves
holes there), where faces are tiny (it leaves out areas below 1e-8 in its units, and adds as much to
the others before it divides), and equally near faces have no fixed order on CUDA. What may be
drawn is decided here, as by the other backends, so that the same faces are dropped.

Its space: x to the left, y up, depth forward; the shorter side of the image spans -1..1.

Source: Ravi et al., "Accelerating 3D Deep Learning with PyTorch3D", 2020; its 0.7.9.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.synth.raster_fragments import Fragments
from plausibody.synth.raster_settings import GUARD_BAND, RasterSettings

FACES_PER_BIN = 10000
"""PyTorch3D's own least room for a bin. It overflows, and loses faces, if a mesh of more is far
away and falls into one bin; so there is room for the whole mesh."""


def draw_fragments(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], settings: RasterSettings
) -> Fragments:
    """Gives what PyTorch3D sees, in our frames and numbers.

    Raises:
        ValueError: If PyTorch3D is not installed.
    """
    rasterize_meshes, meshes = _library()
    usable = usable_vertices(vertices, settings)
    intact = usable[:, faces.long()].all(-1)
    corners = drawn_faces(faces, intact, settings.cull)
    if corners.numel() == 0 or len(vertices) == 0:
        return _nothing(vertices, settings)
    number, depth, weights, _ = rasterize_meshes(
        meshes(verts=list(to_ndc(vertices, usable, settings.size)), faces=list(corners)),
        image_size=settings.size,
        blur_radius=0.0,
        faces_per_pixel=1,
        max_faces_per_bin=max(FACES_PER_BIN, len(faces)),
        perspective_correct=settings.perspective,
        clip_barycentric_coords=False,
        cull_backfaces=settings.cull != "none",
    )
    face = unpack_faces(number[..., 0], len(faces))
    weight = torch.where(face[..., None] >= 0, weights[..., 0, :], 0.0)
    return Fragments(
        face=face,
        depth=torch.where(face >= 0, depth[..., 0], -1.0),
        barycentric=weight.flip(-1) if settings.cull == "front" else weight,
        dropped=(~intact).sum(-1, dtype=torch.int32),
    )


def usable_vertices(
    vertices: Float[Tensor, "B V 3"], settings: RasterSettings
) -> Bool[Tensor, "B V"]:
    """Tells which vertices lie neither before `near` nor outside the guard band."""
    near = torch.tensor(settings.near, dtype=torch.float32, device=vertices.device)
    depth = vertices[..., 2]
    within = (vertices[..., :2].abs() < GUARD_BAND).all(-1)
    return (depth >= near) & (depth < torch.inf) & within


def drawn_faces(
    faces: Int[Tensor, "F 3"], intact: Bool[Tensor, "B F"], cull: str
) -> Int[Tensor, "B F 3"]:
    """Gives each image's faces: dropped ones without area, all turned round to cull fronts.

    PyTorch3D draws nothing of a face whose corners are one vertex, and can leave out backs only.
    """
    turned = faces.long().flip(-1) if cull == "front" else faces.long()
    return torch.where(intact[..., None], turned, 0)


def to_ndc(
    vertices: Float[Tensor, "B V 3"], usable: Bool[Tensor, "B V"], size: tuple[int, int]
) -> Float[Tensor, "B V 3"]:
    """Takes pixels to PyTorch3D's normalised space, and unusable vertices to (0, 0, 1)."""
    height, width = size
    centre = vertices.new_tensor([width / 2, height / 2])
    flat = (centre - vertices[..., :2]) * (2 / min(size))
    moved = torch.cat([flat, vertices[..., 2:]], -1)
    return torch.where(usable[..., None], moved, vertices.new_tensor([0.0, 0.0, 1.0]))


def unpack_faces(number: Int[Tensor, "B H W"], count: int) -> Int[Tensor, "B H W"]:
    """Turns numbers that run on from image to image into each image's own (int32)."""
    image = torch.arange(len(number), device=number.device)[:, None, None]
    return torch.where(number >= 0, number - image * count, -1).to(torch.int32)


def _nothing(vertices: Float[Tensor, "B V 3"], settings: RasterSettings) -> Fragments:
    """PyTorch3D refuses meshes without faces, and batches without meshes."""
    shape = (len(vertices), *settings.size)
    return Fragments(
        face=torch.full(shape, -1, dtype=torch.int32, device=vertices.device),
        depth=vertices.new_full(shape, -1.0),
        barycentric=vertices.new_zeros(*shape, 3),
        dropped=torch.zeros(len(vertices), dtype=torch.int32, device=vertices.device),
    )


def _library() -> tuple[Any, Any]:
    """Gives PyTorch3D's function that rasterises, and its class of meshes."""
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ModuleNotFoundError as error:
        raise ValueError(
            "renderer.backend: pytorch3d is not installed; pip install 'plausibody[pytorch3d]' "
            "where its site has a build for this torch, or use auto"
        ) from error
    return rasterize_meshes, Meshes
