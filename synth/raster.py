"""The rasteriser: which face of a mesh each pixel sees, how far away, and where on the face.

Pixel space: x right, y down, the origin at the outer corner of the top-left pixel, so the centre
of pixel (row i, column j) is (j + 0.5, i + 0.5); depth along the camera's axis, in metres.

Contract, the same bit for bit for every backend:
- vertices are snapped to 2^-12 px, and a pixel belongs to a face exactly if its centre lies inside
  the snapped triangle; centres on an edge follow the top-left rule, so a surface without gaps is
  drawn without gaps or doubles;
- the nearest face wins, of equally near ones the one with the lowest number;
- there is no clipping: a face with a vertex that is nearer than `near`, not finite, or more than
  131072 px from the image's corner is dropped whole, and counted;
- results do not depend on the number of threads, or on what else is in the batch.

No gradients flow through coverage; `interpolate` has them with respect to the attributes.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.synth import raster_torch
from plausibody.synth.raster_settings import RasterSettings

BACKENDS = ("auto", "torch", "numba")
_PLANNED = ("triton", "pytorch3d")


@dataclass(frozen=True)
class Fragments:
    """What each pixel of each image sees."""

    face: Int[Tensor, "B H W"]
    """Number of the nearest face (int32), -1 where there is none."""
    depth: Float[Tensor, "B H W"]
    """Its depth at the pixel's centre [m], -1 where there is none."""
    barycentric: Float[Tensor, "B H W 3"] | None
    """Weights of the face's vertices in the order of `faces`, of sum 1; all 0 without a face. None
    if they were not asked for."""
    dropped: Int[Tensor, " B"]
    """How many faces of each image were dropped; see the module's contract."""

    @property
    def mask(self) -> Bool[Tensor, "B H W"]:
        """Where anything is seen: the silhouette."""
        return self.face >= 0


def rasterize(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    near: float = 0.05,
    cull: str = "none",
    perspective: bool = True,
    barycentrics: bool = True,
    backend: str = "auto",
    threads: int | None = None,
) -> Fragments:
    """Finds what each pixel sees of a batch of meshes that share their faces.

    Args:
        vertices: x, y [px] and depth [m]; float32, other floats are rounded to it.
        faces: Vertex indices, int32 or int64. A face's front appears anticlockwise in the image.
        size: Height and width [px].
        near: Faces with a vertex nearer than this are dropped [m].
        cull: none; back leaves out faces seen from behind, front those seen from before.
        perspective: False for vertices of an orthographic camera: depth and barycentric
            coordinates are then linear over the image.
        barycentrics: False to save their time.
        backend: auto (numba for tensors on the CPU, torch elsewhere), torch, or numba.
        threads: How many images the numba backend draws at a time; as many as torch uses if None.
    """
    settings = _settings(size, near, cull, perspective, threads)
    vertices, faces = _checked(vertices, faces)
    engine = _engine(backend, vertices.device)
    face, depth, dropped = engine.draw_faces(vertices, faces, settings)
    barycentric = engine.barycentrics(vertices, faces, face, settings) if barycentrics else None
    return Fragments(face=face, depth=depth, barycentric=barycentric, dropped=dropped)


def rasterize_labels(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    face_labels: UInt8[Tensor, " F"],
    size: tuple[int, int],
    *,
    near: float = 0.05,
    cull: str = "none",
    perspective: bool = True,
    backend: str = "auto",
    threads: int | None = None,
) -> UInt8[Tensor, "B H W"]:
    """Gives the label of the face that each pixel sees, 0 where it sees none.

    The same as `label_pixels(rasterize(...), face_labels)`; the numba backend keeps nothing else,
    which is what the synthetic stream needs. A face labelled 0 hides what is behind it.

    Args: as of `rasterize`.
    """
    settings = _settings(size, near, cull, perspective, threads)
    vertices, faces = _checked(vertices, faces)
    _check_labels(face_labels, faces)
    engine = _engine(backend, vertices.device)
    if engine is raster_torch:
        face, _, _ = engine.draw_faces(vertices, faces, settings)
        return _look_up(face, face_labels)
    labels: UInt8[Tensor, "B H W"] = engine.draw_labels(vertices, faces, face_labels, settings)
    return labels


def label_pixels(fragments: Fragments, face_labels: UInt8[Tensor, " F"]) -> UInt8[Tensor, "B H W"]:
    """Gives each pixel its face's label, 0 where there is none."""
    return _look_up(fragments.face, face_labels)


def interpolate(
    fragments: Fragments, attributes: Float[Tensor, "#B V C"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, "B C H W"]:
    """Spreads attributes of vertices over the pixels; 0 where no face is seen.

    Differentiable in the attributes.

    Args:
        attributes: Of each image's vertices, or of one mesh for all images.
        faces: Into the attributes; not those of the mesh where attributes have seams of their
            own, such as texture coordinates.
    """
    if fragments.barycentric is None:
        raise ValueError(
            "interpolate: wanted fragments with barycentric coordinates, got none; "
            "rasterize with barycentrics=True"
        )
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    corners = faces.long()[fragments.face[image, row, column].long()]
    source = image if len(attributes) > 1 else torch.zeros_like(image)
    weight = fragments.barycentric[image, row, column].to(attributes.dtype)
    values = (weight[..., None] * attributes[source[:, None], corners]).sum(1)
    batch, height, width = fragments.face.shape
    out = attributes.new_zeros(batch, height, width, attributes.shape[-1])
    return out.index_put((image, row, column), values).permute(0, 3, 1, 2)


def _look_up(
    face: Int[Tensor, "B H W"], face_labels: UInt8[Tensor, " F"]
) -> UInt8[Tensor, "B H W"]:
    # The extra label at the end is the background's: face -1 counts from there.
    table = torch.cat([face_labels, face_labels.new_zeros(1)])
    return table[face.long()]


def _settings(
    size: tuple[int, int], near: float, cull: str, perspective: bool, threads: int | None
) -> RasterSettings:
    height, width = size
    return RasterSettings(
        size=(int(height), int(width)),
        near=float(near),
        cull=cull,
        perspective=bool(perspective),
        threads=torch.get_num_threads() if threads is None else threads,
    )


def _checked(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Refuses what would read outside the arrays; rounds vertices to float32."""
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or not vertices.is_floating_point():
        raise ValueError(
            "vertices: wanted floats of shape (batch, vertices, 3), "
            f"got {vertices.dtype} of shape {tuple(vertices.shape)}"
        )
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype not in (torch.int32, torch.int64):
        raise ValueError(
            "faces: wanted int32 or int64 of shape (faces, 3), "
            f"got {faces.dtype} of shape {tuple(faces.shape)}"
        )
    if vertices.device != faces.device:
        raise ValueError(
            f"faces: wanted them on the vertices' device, {vertices.device}, got {faces.device}"
        )
    if len(faces):
        # By numpy on the CPU: in a forked process, torch would wait for threads that are gone.
        on_cpu = faces.device.type == "cpu"
        bounds = (faces.numpy().min(), faces.numpy().max()) if on_cpu else torch.aminmax(faces)
        low, high = (int(bound) for bound in bounds)
        if low < 0 or high >= vertices.shape[1]:
            raise ValueError(
                f"faces: wanted indices of {vertices.shape[1]} vertices, got {low} to {high}; "
                "do faces and vertices belong to the same mesh?"
            )
    return vertices.detach().float(), faces


def _check_labels(face_labels: Tensor, faces: Tensor) -> None:
    if face_labels.dtype != torch.uint8 or face_labels.shape != faces.shape[:1]:
        raise ValueError(
            f"face_labels: wanted one uint8 for each of {len(faces)} faces, "
            f"got {face_labels.dtype} of shape {tuple(face_labels.shape)}"
        )


def _engine(backend: str, device: torch.device) -> ModuleType:
    """Gives the module that draws; numba is imported only if it is the one."""
    if backend in _PLANNED:
        raise ValueError(
            f"renderer.backend: {backend} is not available in this version; "
            f"use one of {', '.join(BACKENDS)}"
        )
    if backend not in BACKENDS:
        raise ValueError(f"renderer.backend: wanted {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        backend = "numba" if device.type == "cpu" and _has_numba() else "torch"
    if backend == "torch":
        return raster_torch
    if device.type != "cpu":
        raise ValueError(
            f"renderer.backend: numba draws tensors on the CPU, got one on {device}; "
            "use auto, or move the vertices"
        )
    from plausibody.synth import raster_numba

    return raster_numba


@functools.cache
def _has_numba() -> bool:
    found = importlib.util.find_spec("numba") is not None
    if not found:
        logging.getLogger(__name__).warning(
            "numba is not installed: rasterising with torch, about 20 times slower"
        )
    return found
