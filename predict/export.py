"""Writes what was predicted: parameters, meshes, pictures. Every file is either whole or absent."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import PerspectiveCamera, rotmat_to_camera, world_to_camera
from plausibody.models.files import explained, unfinished
from plausibody.models.rotations import rotmat_to_rotvec
from plausibody.predict.result import PersonPrediction

SCHEMA = 1
"""Version of what `person_<k>.npz` holds."""
MESH_FORMATS = ("glb", "obj", "ply")


@dataclass(frozen=True)
class Origin:
    """Where a body comes from."""

    template: BodyTemplate
    weights: str
    """Name of the weights."""
    weights_sha256: str
    path: str
    """Of the picture."""
    size: tuple[int, int]
    """Height and width of the picture [px]."""


def person_arrays(
    person: PersonPrediction, origin: Origin, vertices: bool = False
) -> dict[str, NDArray[np.generic]]:
    """Gives the content of `person_<k>.npz`, all of it in the camera's frame: x right, y down.

    A body of the template with `betas` and `rotmats`, moved by `translation`, is where the pinhole
    camera (`focal`, `principal`) sees it. The same body, not moved, is seen at
    s (x + tx), s (y + ty) by the weak-perspective camera `cam_weak` = (s, tx, ty), in half-squares
    of `box` = (centre x, centre y, side).

    SMPL turns a body about its pelvis, not about the template's origin. So turning the root's
    rotation into the camera's frame also moves the body, and both cameras undo that here.

    Args:
        vertices: Whether to add the mesh: large, and the parameters say the same.
    """
    mode = person.prediction.mode()
    rotations = torch.cat([rotmat_to_camera(mode.rotations[:1]), mode.rotations[1:]])
    moved = _pelvis_shift(origin.template, mode.shape)
    camera = person.prediction.camera
    weak = torch.cat([camera.scale[None], camera.shift + moved[:2]])
    arrays: dict[str, Tensor | float | int | str | list[int]] = {
        "schema_version": SCHEMA,
        "betas": mode.shape,
        "rotmats": rotations,
        "rotvecs": rotmat_to_rotvec(rotations),
        "cam_weak": weak,
        "box": torch.cat([person.box.centre, person.box.side[None]]),
        "focal": person.perspective.focal,
        "principal": person.perspective.principal,
        "translation": person.perspective.translation + moved,
        "joints": _in_camera(person.body.joints, person.perspective),
        "keypoints": person.keypoints,
        "keypoints_seen": person.evidence.keypoints,
        "silhouette_iou": person.fit.silhouette_iou,
        "reprojection_percent": person.fit.reprojection,
        "topology": origin.template.topology,
        "gender": origin.template.gender,
        "image": origin.path,
        "image_size": [origin.size[1], origin.size[0]],
        "weights": origin.weights,
        "weights_sha256": origin.weights_sha256,
    }
    if vertices:
        arrays["vertices"] = _in_camera(person.body.vertices, person.perspective)
    return {
        name: value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in arrays.items()
    }


def _pelvis_shift(template: BodyTemplate, shape: Float[Tensor, " S"]) -> Float[Tensor, " 3"]:
    """Gives Rx(pi) p - p for the pelvis p at rest [m]."""
    directions = template.skin.joint_directions[0, :, : len(shape)]
    pelvis = template.skin.joints[0] + directions @ shape
    return world_to_camera(pelvis) - pelvis


def _in_camera(points: Float[Tensor, "N 3"], camera: PerspectiveCamera) -> Float[Tensor, "N 3"]:
    return world_to_camera(points) + camera.translation


def encode_mesh(person: PersonPrediction, template: BodyTemplate, suffix: str = "glb") -> bytes:
    """Gives the content of a mesh file: y up, +z towards the camera, the origin as in the template.

    Args:
        suffix: glb, obj or ply.
    """
    if suffix not in MESH_FORMATS:
        raise ValueError(f"mesh format: wanted one of {', '.join(MESH_FORMATS)}, got {suffix!r}")
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=(160, 195, 240, 255), metallicFactor=0.0, roughnessFactor=0.8
    )
    mesh = trimesh.Trimesh(
        person.body.vertices.numpy(), template.faces.numpy(), process=False, validate=False
    )
    if suffix == "glb":
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
    if suffix == "ply":
        content = mesh.export(file_type=suffix, vertex_normal=True)
    else:
        content = mesh.export(file_type=suffix, include_normals=True)
    return content.encode() if isinstance(content, str) else bytes(content)


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
