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

No gradients flow through coverage; `interpolate` has them with respect to the attributes, and
`edge_grad` gives a picture those of its edges. The exception to "bit for bit" is pytorch3d, which
is there to compare with: its coverage and its weights are its own, see `raster_pytorch3d`.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from dataclasses import replace
from types import ModuleType

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.profiler import record_function
from torch.utils.weak import WeakIdKeyDictionary

from plausibody.synth import raster_torch
from plausibody.synth.raster_fragments import Fragments, interpolate, label_pixels, look_up
from plausibody.synth.raster_gradient import edge_grad
from plausibody.synth.raster_settings import RasterSettings

__all__ = [
    "BACKENDS",
    "Fragments",
    "edge_grad",
    "interpolate",
    "label_pixels",
    "rasterize",
    "rasterize_labels",
    "rasterize_outlines",
]

BACKENDS = ("auto", "torch", "numba", "triton", "pytorch3d")


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
        backend: auto (numba for tensors on the CPU, triton for those on CUDA, torch elsewhere or
            where these are not installed), torch, numba, triton, or pytorch3d.
        threads: How many images the numba backend draws at a time; as many as torch uses if None.
    """
    settings = _settings(size, near, cull, perspective, threads)
    vertices, faces = _checked(vertices, faces)
    engine = _engine(backend, vertices.device)
    if hasattr(engine, "draw_fragments"):  # PyTorch3D finds everything at once
        fragments: Fragments = engine.draw_fragments(vertices, faces, settings)
        return fragments if barycentrics else replace(fragments, barycentric=None)
    face, depth, dropped = engine.draw_faces(vertices, faces, settings)
    barycentric = engine.barycentrics(vertices, faces, face, settings) if barycentrics else None
    return Fragments(face=face, depth=depth, barycentric=barycentric, dropped=dropped)


@record_function("stage: rendering")
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

    The same as `label_pixels(rasterize(...), face_labels)`; the numba and triton backends keep
    nothing else, which is what the synthetic stream needs. A face labelled 0 hides what is behind
    it.

    Args: as of `rasterize`.
    """
    settings = _settings(size, near, cull, perspective, threads)
    vertices, faces = _checked(vertices, faces)
    _check_labels(face_labels, faces)
    engine = _engine(backend, vertices.device)
    if not hasattr(engine, "draw_labels"):
        if hasattr(engine, "draw_fragments"):
            return label_pixels(engine.draw_fragments(vertices, faces, settings), face_labels)
        face, _, _ = engine.draw_faces(vertices, faces, settings)
        return look_up(face, face_labels)
    labels: UInt8[Tensor, "B H W"] = engine.draw_labels(vertices, faces, face_labels, settings)
    return labels


def rasterize_outlines(
    places: Float[Tensor, "B V 2"],
    faces: Int[Tensor, "F 3"],
    size: tuple[int, int],
    *,
    backend: str = "auto",
) -> Bool[Tensor, "B H W"]:
    """Tells which pixels any face covers; for that, nothing need be known of depths.

    Args:
        places: Projected vertices, x and y [px].
        size: Height and width [px].
        backend: As of `rasterize`, and so the faces.
    """
    vertices = torch.cat([places, torch.ones_like(places[..., :1])], -1)
    marked = torch.ones(len(faces), dtype=torch.uint8, device=faces.device)
    return rasterize_labels(vertices, faces, marked, size, perspective=False, backend=backend) > 0


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
        low, high = _bounds(faces)
        if low < 0 or high >= vertices.shape[1]:
            raise ValueError(
                f"faces: wanted indices of {vertices.shape[1]} vertices, got {low} to {high}; "
                "do faces and vertices belong to the same mesh?"
            )
    return vertices.detach().float(), faces


_known_bounds = WeakIdKeyDictionary()
"""Of faces on a device: tensor -> (its version, bounds). To read them again is to wait for it."""


def _bounds(faces: Tensor) -> tuple[int, int]:
    """Gives the lowest and the highest vertex index."""
    if faces.device.type == "cpu":
        # By numpy: in a forked process, torch would wait for threads that are gone.
        return int(faces.numpy().min()), int(faces.numpy().max())
    return _remembered_bounds(faces)


def _remembered_bounds(faces: Tensor) -> tuple[int, int]:
    if faces.is_inference():  # such a tensor keeps no count of its changes
        return _read_bounds(faces)
    version, bounds = _known_bounds.get(faces, (None, (0, 0)))
    if version != faces._version:
        bounds = _read_bounds(faces)
        _known_bounds[faces] = faces._version, bounds
    return bounds


def _read_bounds(faces: Tensor) -> tuple[int, int]:
    low, high = torch.aminmax(faces)
    return int(low), int(high)


def _check_labels(face_labels: Tensor, faces: Tensor) -> None:
    if face_labels.dtype != torch.uint8 or face_labels.shape != faces.shape[:1]:
        raise ValueError(
            f"face_labels: wanted one uint8 for each of {len(faces)} faces, "
            f"got {face_labels.dtype} of shape {tuple(face_labels.shape)}"
        )


def _engine(backend: str, device: torch.device) -> ModuleType:
    """Gives the module that draws; its library is imported only if it is the one."""
    if backend not in BACKENDS:
        raise ValueError(f"renderer.backend: wanted {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        backend = fastest_backend(device.type)
    if backend == "numba":
        return _numba(device)
    if backend == "triton":
        return _triton(device)
    if backend == "pytorch3d":
        from plausibody.synth import raster_pytorch3d

        return raster_pytorch3d
    return raster_torch


def fastest_backend(device: str) -> str:
    """Gives what draws fastest on a kind of device with what is installed."""
    library = {"cpu": "numba", "cuda": "triton"}.get(device)
    return library if library is not None and _has(library) else "torch"


def _numba(device: torch.device) -> ModuleType:
    if device.type != "cpu":
        raise ValueError(
            f"renderer.backend: numba draws tensors on the CPU, got one on {device}; "
            "use auto, or move the vertices"
        )
    from plausibody.synth import raster_numba

    return raster_numba


def _triton(device: torch.device) -> ModuleType:
    try:
        from plausibody.synth import raster_triton
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise ValueError(
            "renderer.backend: triton is not installed; it comes with builds of torch for CUDA, "
            "and pip install 'plausibody[test-triton]' brings it alone; or use auto"
        ) from error
    if device.type != ("cpu" if raster_triton.INTERPRETED else "cuda"):
        wanted = "the CPU, because TRITON_INTERPRET is set" if raster_triton.INTERPRETED else "CUDA"
        raise ValueError(
            f"renderer.backend: triton draws tensors on {wanted}, got one on {device}; "
            "use auto, or move the vertices"
        )
    return raster_triton


@functools.cache
def _has(library: str) -> bool:
    found = importlib.util.find_spec(library) is not None
    if not found:
        logging.getLogger(__name__).warning(
            "%s is not installed: rasterising with torch, many times slower", library
        )
    return found
