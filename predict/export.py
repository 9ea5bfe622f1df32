"""Meshes as files, and folders that are either whole or absent."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
import trimesh
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.files import explained, unfinished

MESH_FORMATS = ("glb", "obj", "ply")
SKIN = (160, 195, 240, 255)
"""Colour of a mesh without colours of its own."""
WHITE = (255, 255, 255, 255)


def encode_mesh(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    suffix: str = "glb",
    colours: Float[Tensor, "V 3"] | None = None,
) -> bytes:
    """Gives the content of a mesh file, with normals and, if given, colours of the vertices.

    Args:
        vertices: In the world: y up, +z towards the camera [m].
        suffix: glb, obj or ply.
        colours: RGB as on a screen, 0..1. A glb holds them linear in light, as it must.
    """
    if suffix not in MESH_FORMATS:
        raise ValueError(f"mesh format: wanted one of {', '.join(MESH_FORMATS)}, got {suffix!r}")
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False, validate=False)
    if suffix == "glb":
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=SKIN if colours is None else WHITE,
            metallicFactor=0.0,
            roughnessFactor=0.8,
        )
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        if colours is not None:
            mesh.visual.vertex_attributes["color"] = _bytes(linear_light(colours)).numpy()
    elif colours is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=_bytes(colours).numpy())
    if suffix == "ply":
        content = mesh.export(file_type=suffix, vertex_normal=True)
    else:
        content = mesh.export(file_type=suffix, include_normals=True)
    return content.encode() if isinstance(content, str) else bytes(content)


def linear_light(colours: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
    """Undoes the gamma of screens. Source: IEC 61966-2-1."""
    return torch.where(
        colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055).clamp(min=0) ** 2.4
    )


def _bytes(colours: Float[Tensor, "V 3"]) -> UInt8[Tensor, "V 4"]:
    """Rounds colours to bytes, opaque."""
    opaque = torch.cat([colours, torch.ones_like(colours[:, :1])], 1)
    return (opaque.clamp(0, 1) * 255).round().byte()


@contextlib.contextmanager
def draft_folder(final: Path, marker: str) -> Iterator[Path]:
    """Gives a folder to fill, which takes its name only when it is full.

    It replaces an older one only if that has the marker, a file that says the folder is ours.

    Raises:
        FileExistsError: If something else has the name.
        DiskFullError: If there is no space.
    """
    if final.exists() and not (final / marker).is_file():
        raise FileExistsError(
            f"{final}: wanted to write a result there, found something that plausibody did not "
            "write; do: choose another --out"
        )
    draft = unfinished(final)
    remove(draft)
    with explained(draft):
        draft.mkdir(parents=True)
        try:
            yield draft
            remove(final)
            draft.rename(final)
        except BaseException:
            remove(draft)
            raise


def remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
