"""Which poses no body can take: joints bent beyond what they allow, or a tracker that slipped.

The bounds are wide: they keep gymnasts and drop knees that bend forwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.models.skeleton import SMPL24


@dataclass(frozen=True)
class AnatomicalLimits:
    """Bounds of single joints [degrees]."""

    knee: tuple[float, float] = (-20.0, 165.0)
    """Flexion; negative bends forwards."""
    knee_off_axis: float = 50.0
    """Everything else that a knee does."""
    elbow: tuple[float, float] = (-25.0, 165.0)
    """Flexion of the forearm against the upper arm, whichever way it is twisted."""
    elbow_off_axis: float = 60.0
    """Bending of the forearm up or down, with the palm down."""
    spine: float = 60.0
    """Of each of the three joints; this and what follows bound the angle of the whole rotation."""
    neck: float = 75.0
    head: float = 60.0
    collar: float = 50.0
    wrist: float = 100.0
    ankle: float = 85.0
    hip: float = 150.0


LIMITS = AnatomicalLimits()


def find_impossible(
    rotvecs: Float[Tensor, "N 24 3"], limits: AnatomicalLimits = LIMITS
) -> Bool[Tensor, "N 24"]:
    """Tells which joints of each pose are bent as no body bends them; the root never is.

    Shoulders, feet and hands are free.

    Args:
        rotvecs: Of each joint of SMPL relative to its parent [rad], in a rest pose with stretched
            arms, palms down.
    """
    angles = rotvecs.norm(dim=-1).rad2deg()
    beyond = torch.zeros(rotvecs.shape[:2], dtype=torch.bool, device=rotvecs.device)
    for joint, name in enumerate(SMPL24):
        part = name.rpartition("_")[2]
        bent = rotvecs[:, joint].rad2deg()
        if part == "knee":
            beyond[:, joint] = _outside(bent[:, 0], limits.knee)
            beyond[:, joint] |= bent[:, 1:].norm(dim=-1) > limits.knee_off_axis
        elif part == "elbow":
            forwards, upwards = _swing(rotvecs[:, joint]).rad2deg().unbind(-1)
            # Both forearms bend forwards, the left one about -y.
            beyond[:, joint] = _outside(forwards * (-1 if "left" in name else 1), limits.elbow)
            beyond[:, joint] |= upwards.abs() > limits.elbow_off_axis
        elif (most := getattr(limits, part.rstrip("123"), None)) is not None:
            beyond[:, joint] = angles[:, joint] > most
    return beyond


def count_by_joint(impossible: Bool[Tensor, "N 24"]) -> dict[str, int]:
    """Counts the poses in which each joint is beyond its limits; joints without any are left out.

    A pose with two such joints counts for both.
    """
    counts = impossible.sum(0).tolist()
    return {name: count for name, count in zip(SMPL24, counts, strict=True) if count}


def impossible_text(poses: int, by_joint: Mapping[str, int]) -> str:
    """Says how many poses are impossible, and because of which joints, the worst first."""
    worst = sorted(by_joint.items(), key=lambda entry: -entry[1])
    return f"{poses:,} impossible" + (
        f" ({', '.join(f'{name} {count:,}' for name, count in worst)})" if worst else ""
    )


def _outside(angle: Float[Tensor, " N"], bounds: tuple[float, float]) -> Bool[Tensor, " N"]:
    return (angle < bounds[0]) | (angle > bounds[1])


def _swing(rotvec: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
    """Frees rotations of the twist about the x axis, along which the arms of the rest pose lie.

    Twist and flexion together would otherwise look like bending sideways: a forearm bent and
    twisted by a right angle each has 70 degrees about z in its rotation vector, and none in truth.

    Returns:
        y and z of the rotation vector of what is left [rad]; its x is zero.
    """
    angle = rotvec.norm(dim=-1, keepdim=True)
    w = (angle / 2).cos()
    x, y, z = (rotvec * torch.sinc(angle / (2 * math.pi)) / 2).split(1, -1)
    twist = torch.cat([w, x], -1)
    size = twist.norm(dim=-1, keepdim=True)
    # A half turn about an axis across the arm has no twist; any will do.
    cos, sin = torch.where(size > 1e-6, twist / size, twist.new_tensor([1.0, 0.0])).split(1, -1)
    across = torch.cat([y * cos - z * sin, y * sin + z * cos], -1)
    length = across.norm(dim=-1, keepdim=True)
    return across * 2 * torch.atan2(length, size) / length.clamp(min=1e-9)
