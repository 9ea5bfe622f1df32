"""Joint regressors for SMPL's mesh: Human3.6M's from the published file, COCO's by a fit.

The published file carries no name of its mesh, and SMPL has as many vertices as our open body. So
the geometry is looked at: of another mesh the joints would be somewhere in the body, or outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.models.body import BodyTemplate
from plausibody.models.markers import JointRegressors
from plausibody.models.skeleton import COCO17, H36M17, SMPL24, indices
from plausibody.synth.joint_regressor_coco import fit_coco17
from plausibody.synth.poses import load_poses
from plausibody.synth.texels import LANDMARKS

H36M = "J_regressor_h36m.npy"
FARTHEST = 0.12
"""How far a regressed joint of the limbs may be from the kinematic one [m]."""
_POSES = "poses/cmu.h5"
_LIMBS = COCO17[5:]


def published_regressors(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> JointRegressors:
    """Gives the image joints of a body of SMPL's mesh; takes a second or two.

    Args:
        directories: Folders to look in instead of `assets.catalog.search_directories()`.

    Raises:
        FileNotFoundError: If `J_regressor_h36m.npy` is missing.
        ValueError: If it, or the body, is of another mesh, or damaged.
    """
    try:
        path = find_asset(H36M, directories)
    except FileNotFoundError as missing:
        raise FileNotFoundError(
            f"the body is not of the mesh of our body/regressors.npz but of {template.topology}; "
            f"{missing}. For SMPL it comes with SPIN (github.com/nkolot/SPIN) and with HierProb3D"
        ) from missing
    h36m17 = read_h36m(path, template)
    return JointRegressors(coco17=published_coco17(template, directories), h36m17=h36m17)


def published_coco17(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> Float[Tensor, "17 V"]:
    """Gives COCO's key points alone, for which SMPL's own file is enough.

    Raises:
        ValueError: If the body is of another mesh.
    """
    check_face(template)
    return fit_coco17(template, load_poses(find_asset(_POSES, directories), "train"))


def read_regressor(path: Path, vertices: int) -> Float[ndarray, "K V"]:
    """Reads a published joint regressor, in double precision.

    Args:
        vertices: Of the mesh.

    Raises:
        ValueError: If it is damaged, or no such regressor.
    """
    try:
        with path.open("rb") as file:
            rows = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: wanted floats (K, {vertices}), came a file that is cut short, altered or "
            f"something else ({error}); do: download it again"
        ) from error
    if rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != vertices:
        raise ValueError(
            f"{path}: wanted floats (K, {vertices}), came {rows.dtype} {rows.shape}; "
            "do: use it with SMPL"
        )
    off = np.abs(rows.sum(axis=1, dtype=np.float64) - 1).max(initial=0)
    if not off < 0.1:
        raise ValueError(f"{path}: wanted rows that sum to one, came {off:.3g} off")
    return rows.astype(np.float64)


def read_h36m(path: Path, template: BodyTemplate) -> Float[Tensor, "17 V"]:
    """Reads the regressor of Human3.6M's joints and tries it on the body at rest.

    Raises:
        ValueError: If a joint of the limbs is farther than `FARTHEST` from the kinematic one.
    """
    rows = torch.from_numpy(read_regressor(path, len(template.vertices))).float()
    if len(rows) != len(H36M17):
        raise ValueError(f"{path}: wanted {len(H36M17)} joints, came {len(rows)}")
    regressed = (rows @ template.vertices)[indices(_LIMBS, H36M17)]
    kinematic = (template.joint_regressor @ template.vertices)[indices(_LIMBS, SMPL24)]
    distance = (regressed - kinematic).norm(dim=-1)
    worst = int(distance.argmax())
    if not distance[worst] < FARTHEST:
        raise ValueError(
            f"{path}: wanted joints within {FARTHEST * 100:.0f} cm of the body's own at rest, came "
            f"{_LIMBS[worst]} {distance[worst] * 100:.0f} cm away: the file and the body, "
            f"{template.topology}, are of different meshes; do: use this file with SMPL"
        )
    return rows


def check_face(template: BodyTemplate) -> None:
    """Refuses a body that has other vertices where SMPL's mesh has nose, eyes and ears."""
    names = COCO17[:5]
    places = [LANDMARKS[name] for name in names]
    if max(places) < len(template.vertices):
        on_head = template.skinning_weights[places, SMPL24.index("head")] > 0.5
        nose, left_eye, right_eye, left_ear, right_ear = template.vertices[places]
        left_to_right = left_ear[0] > left_eye[0] > 0 > right_eye[0] > right_ear[0]
        front_to_back = nose[2] > max(left_eye[2], right_eye[2])
        front_to_back &= min(left_eye[2], right_eye[2]) > max(left_ear[2], right_ear[2])
        if on_head.all() and left_to_right and front_to_back:
            return
    raise ValueError(
        f"body: wanted SMPL's mesh, with nose, eyes and ears at its vertices "
        f"{', '.join(map(str, places))}, came the mesh {template.topology}, of "
        f"{len(template.vertices)} vertices, whose face is elsewhere; "
        f"do: set sources.body to SMPL's file as published, or to open"
    )
