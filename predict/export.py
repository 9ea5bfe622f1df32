"""Meshes as files, and folders that are either whole or absent."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
import trimesh
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.files import explained, unfinished, write_file

MESH_FORMATS = ("glb", "obj", "ply")
SKIN = (160, 195, 240, 255)
"""Colour of a mesh without colours of its own."""
WHITE = (255, 255, 255, 255)
OURS = re.compile(
    r"person_\d+(\.(npz|json|glb|obj|ply)|_(views|samples|proxies|iuv|semantics)\.jpg)"
    r"|person_\d+(_iuv\.npz|_IUV\.png)"
    r"|overlay\.png|overlay_uncertainty\.jpg"
    r"|report(_\w+)?\.(json|jpg|webp|glb)"
)
"""Names of the files of a photo's folder, besides the marker. Others are the user's, and stay."""


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

    It replaces an older one only if that has the marker, a file that says the folder is ours. If
    the user put files of other names into the older one, they stay, and ours are replaced one by
    one; the marker is empty meanwhile, so that what a killed process left is told from a result.

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
    _remove_draft(draft)
    with explained(draft):
        draft.mkdir(parents=True)
        try:
            yield draft
            if final.exists() and _others(final, marker):
                _replace_files(draft, final, marker)
            else:
                remove(final, marker)
                draft.rename(final)
        except BaseException:
            _remove_draft(draft)
            raise


def remove(folder: Path, marker: str) -> None:
    """Removes a folder of ours, the marker last; files that are not ours stay, and it with them."""
    if not folder.is_dir():
        return
    others = _others(folder, marker)
    for path in _files(folder):
        if path.name != marker and path not in others:
            path.unlink()
    (folder / marker).unlink(missing_ok=True)
    if not others:
        folder.rmdir()


def _replace_files(draft: Path, final: Path, marker: str) -> None:
    """Moves the files of a draft into a folder that others share."""
    write_file(final / marker, "{}\n")
    others = _others(final, marker)
    for path in _files(final):
        if path.name != marker and path not in others and not (draft / path.name).exists():
            path.unlink()
    for path in _files(draft):
        if path.name != marker:
            path.replace(final / path.name)
    (draft / marker).replace(final / marker)
    draft.rmdir()


def _others(folder: Path, marker: str) -> set[Path]:
    """Gives what is in a folder and not ours."""
    return {
        path
        for path in _files(folder)
        if path.name != marker
        and not (OURS.fullmatch(path.name) and (path.is_symlink() or path.is_file()))
        and not (path.name.startswith(".") and path.name.endswith(".unfinished"))
    }


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _remove_draft(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)
