"""Fits the key-point regressors: from the vertices of a posed body to named joints.

They are fitted on bent bodies. Fitted on the rest pose alone, where vertices of an arm predict its
elbow from far away, they drift by 2 to 3 cm as soon as the body moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.body_mesh import BodyMesh
from plausibody.models.skeleton import COCO17, H36M17, SMPL24
from plausibody.synth.joint_regressor import errors, fit_point, nearest_vertices

COCOPLUS19 = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist neck head_top nose left_eye right_eye "
    "left_ear right_ear"
).split()
"""The rows of `cocoplus_regressor.npy` (HMR): LSP's 14 joints, then the face."""

SPIN9 = ("right_hip left_hip neck head_top pelvis thorax spine jaw head").split()
"""The rows of `J_regressor_extra.npy` (SPIN); its hips are where annotators click."""

_FACE = ("nose", "left_eye", "left_ear")
_LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_FACE_CANDIDATES, _LIMB_CANDIDATES = 60, 420
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class PosedSamples:
    """Bent bodies with the truth about their points, n of them [m]."""

    vertices: Float[ndarray, "n V 3"]
    """Of the open body."""
    joints: Float[ndarray, "n 24 3"]
    """The kinematic joints."""
    keypoints: dict[str, Float[ndarray, "n 3"]]
    """What annotators of COCO click, on the finer teacher."""


@dataclass(frozen=True)
class Regressors:
    """The regressors by name, and each fitted point's held-out error."""

    rows: dict[str, Float[ndarray, "n V"]]
    errors: dict[str, Float[ndarray, " n"]]
    """[m]"""


def fit_regressors(
    train: PosedSamples, test: PosedSamples, rest: PosedSamples, mesh: BodyMesh
) -> Regressors:
    """Fits each point on the bent bodies of `train` and tries it on `test`.

    Args:
        rest: Bodies in the rest pose; tells which vertices are near a point.
    """
    fitted: dict[str, ndarray] = {}
    found_errors: dict[str, ndarray] = {}

    def fit(name: str, pick: Callable[[PosedSamples], ndarray], count: int, middle: bool) -> None:
        candidates = nearest_vertices(rest.vertices, pick(rest), count)
        row = fit_point(train.vertices, pick(train), candidates, _LEAST_WEIGHT)
        if middle:
            row = (row + row[mesh.mirror]) / 2
        else:
            fitted[name.replace("left_", "right_")] = row[mesh.mirror]
        fitted[name] = row
        found_errors[name] = errors(row, test.vertices, pick(test))

    for name in _FACE:
        fit(f"coco/{name}", _keypoint(name), _FACE_CANDIDATES, name == "nose")
    for name in _LIMBS:
        fit(f"coco/left_{name}", _keypoint(f"left_{name}"), _LIMB_CANDIDATES, False)
        fit(f"joint/left_{name}", _mix({f"left_{name}": 1.0}), _LIMB_CANDIDATES, False)
    for name, mix in _MIDDLE_JOINTS.items():
        fit(f"joint/{name}", _mix(mix), _LIMB_CANDIDATES, True)

    points = {name.partition("/")[2]: row for name, row in fitted.items() if "joint/" in name}
    clicked = {name.partition("/")[2]: row for name, row in fitted.items() if "coco/" in name}
    face = {name: clicked[name] for name in COCO17[:5]}
    points |= face | {
        "pelvis": (points["left_hip"] + points["right_hip"]) / 2,
        "jaw": 0.55 * clicked["nose"] + 0.45 * points["skull"],
        "head_top": _crown(rest.vertices.mean(axis=0), mesh),
        "head": (clicked["left_ear"] + clicked["right_ear"]) / 2,
    }
    extra = points | {side: clicked[side] for side in ("left_hip", "right_hip")}
    return Regressors(
        {
            "coco17": np.stack([clicked[name] for name in COCO17]),
            "h36m17": np.stack([points[name] for name in H36M17]),
            "cocoplus19": np.stack([points[name] for name in COCOPLUS19]),
            "spin9": np.stack([extra[name] for name in SPIN9]),
        },
        found_errors,
    )


_MIDDLE_JOINTS = {
    "spine": {"spine1": 0.5, "spine2": 0.5},
    "thorax": {"spine3": 0.4, "neck": 0.6},
    "neck": {"neck": 1.0},
    "skull": {"head": 1.0},
}
"""Points on the midline as mixtures of kinematic joints."""


def _keypoint(name: str) -> Callable[[PosedSamples], ndarray]:
    return lambda samples: samples.keypoints[name]


def _mix(shares: dict[str, float]) -> Callable[[PosedSamples], ndarray]:
    columns, values = [SMPL24.index(name) for name in shares], list(shares.values())
    return lambda samples: np.tensordot(values, samples.joints[:, columns], axes=(0, 1))


def _crown(vertices: Float[ndarray, "V 3"], mesh: BodyMesh) -> Float[ndarray, " V"]:
    top = int(np.argmax(vertices[:, 1] - 5 * np.abs(vertices[:, 0])))
    row = np.zeros(len(vertices))
    row[top] += 0.5
    row[mesh.mirror[top]] += 0.5
    return row
