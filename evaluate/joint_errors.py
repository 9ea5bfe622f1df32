"""Errors joint by joint: how far each is turned wrongly, and how far it lies from its place.

Means over all joints hide who gains: limbs' ends hang on everything before them. Left and right are
taken together, since streams mirror people.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import Skin, pose_body
from plausibody.models.constants import constant
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import geodesic_angle
from plausibody.models.skeleton import SMPL24


def _without_side(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


JOINTS = tuple(dict.fromkeys(_without_side(joint) for joint in SMPL24))
"""The kinematic joints, both sides by one name, from the root outwards."""
ROTATION = tuple(f"rotation/{joint}" for joint in JOINTS if joint != "hand")
"""By joint: the angle between its rotation, relative to its parent, and the true one [degrees]; of
the pelvis relative to the world. How fingers are bent no motion capture of ours knows."""
POSITION = tuple(f"position/{joint}" for joint in JOINTS[1:])
"""By joint: its distance from the true place after moving the pelvis onto the pelvis [mm]."""
JOINT_METRICS = (*ROTATION, *POSITION)


def joint_errors(
    prediction: BodyParameters, truth: BodyParameters, skin: Skin
) -> dict[str, Float[Tensor, " batch"]]:
    """Takes `JOINT_METRICS`; of a joint with two sides, the mean of both.

    Args:
        prediction: Bodies.
        truth: The true ones.
        skin: With the joints of both, such as that of the coarse mesh.
    """
    turned = geodesic_angle(prediction.rotations, truth.rotations) * (180 / math.pi)
    there, true = (
        pose_body(skin, body.shape, body.rotations).joints for body in (prediction, truth)
    )
    away = 1000 * ((there - there[:, :1]) - (true - true[:, :1])).norm(dim=-1)
    errors = {metric: _sides(turned, metric.removeprefix("rotation/")) for metric in ROTATION}
    return errors | {metric: _sides(away, metric.removeprefix("position/")) for metric in POSITION}


def _sides(each: Float[Tensor, "batch J"], joint: str) -> Float[Tensor, " batch"]:
    """Averages over the joints of one name."""
    sides = tuple(n for n, name in enumerate(SMPL24) if _without_side(name) == joint)
    return each[:, constant(sides, torch.long, each.device)].mean(1)
