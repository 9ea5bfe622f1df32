"""Which key points of a person a picture shows: by the part of the body at their place, by the turn
of the head, by the picture's borders."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.skeleton import COCO17

STATES = ("in_sight", "hidden", "outside")
"""What a key point can be: seen; in the picture but behind something, or turned away; beyond the
picture's border."""
IN_SIGHT, HIDDEN, OUTSIDE = range(3)

HIDDEN_BY = {
    "wrist": ("lower_arm", "hand"),
    "elbow": ("upper_arm", "lower_arm"),
    "shoulder": ("torso", "upper_arm"),
    "hip": ("torso", "upper_leg"),
    "knee": ("upper_leg", "lower_leg"),
    "ankle": ("lower_leg", "foot"),
}
"""A joint is in sight if its pixel shows one of these parts of its side (or the torso)."""

PARTS24: dict[str, dict[str, tuple[int, ...]]] = {
    "torso": {"left": (1, 2), "right": (1, 2)},
    "hand": {"right": (3,), "left": (4,)},
    "foot": {"left": (5,), "right": (6,)},
    "upper_leg": {"right": (7, 9), "left": (8, 10)},
    "lower_leg": {"right": (11, 13), "left": (12, 14)},
    "upper_arm": {"left": (15, 17), "right": (16, 18)},
    "lower_arm": {"left": (19, 21), "right": (20, 22)},
    "head": {"left": (24,), "right": (23,)},
}
"""Numbers of DensePose's parts."""


def joints_in_sight(
    labels: UInt8[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 2"]
) -> Bool[Tensor, "batch 17"]:
    """Looks whether the pixel of each joint shows a part of the body that the joint belongs to.

    Face key points count as in sight where the head is; whether the face looks away is judged
    elsewhere.
    """
    size = labels.shape[-1]
    pixel = keypoints.floor().long()
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    pixel = pixel.clamp(0, size - 1)
    found = labels.flatten(1).gather(1, pixel[..., 1] * size + pixel[..., 0]).int()
    bits = tuple(_allowed_bits(name) for name in COCO17)
    return inside & (((constant(bits, torch.int32, found.device) >> found) & 1) == 1)


def _allowed_bits(keypoint: str) -> int:
    side, _, kind = keypoint.partition("_")
    parts = [PARTS24[part][side] for part in HIDDEN_BY[kind]] if kind in HIDDEN_BY else [(23, 24)]
    numbers = {number for part in parts for number in part}
    return sum(1 << number for number in numbers)


def sight_states(
    in_sight: Bool[Tensor, "batch 17"], inside: Bool[Tensor, "batch 17"]
) -> Int[Tensor, "batch 17"]:
    """Numbers the states of key points, from being in sight and inside the picture."""
    states = torch.where(in_sight, IN_SIGHT, HIDDEN)
    return torch.where(inside, states, OUTSIDE)


def face_in_sight(marks: Float[Tensor, "batch 17 3"]) -> Bool[Tensor, "batch 17"]:
    """Tells which key points the head does not hide: nose and eyes of a face turned away, the far
    eye and ear of a profile. True for all that are no part of the face.

    Args:
        marks: Projected key points, with their depth [m].
    """
    depth = {name: marks[:, joint, 2] for joint, name in enumerate(COCO17)}
    turned = depth["nose"] - (depth["left_ear"] + depth["right_ear"]) / 2 > 0.03
    far_eye, far_ear = 0.05, 0.08  # [m] behind its twin: the head is turned by about 60 degrees
    seen = {name: torch.ones_like(turned) for name in COCO17}
    seen["nose"] = ~turned
    for side, other in (("left", "right"), ("right", "left")):
        behind = depth[f"{side}_eye"] - depth[f"{other}_eye"] > far_eye
        seen[f"{side}_eye"] = ~turned & ~behind
        seen[f"{side}_ear"] = ~(depth[f"{side}_ear"] - depth[f"{other}_ear"] > far_ear)
    return torch.stack([seen[name] for name in COCO17], 1)
