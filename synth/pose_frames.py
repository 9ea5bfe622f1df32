"""Frames in which poses are published, the way from each to ours, and how to tell them apart."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import Skin, pose_body
from plausibody.models.rotations import axis_rotation, rotmat_to_rotvec, rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24

Frame = Literal["amass", "straps", "hierprob", "world", "body"]
FRAMES: dict[Frame, str] = {
    "amass": "z up",
    "straps": "camera, y down",
    "hierprob": "camera, y down",
    "world": "y up",
    "body": "y up",
}
"""Which way is up in each.

The lists of STRAPS and of HierProb3D are in the camera's frame both. HierProb3D's code multiplies
the root by the half turn about x from the right, which mirrors yaw and roll; from the left, as
here, people keep their orientation.
"""
_TURNS: dict[Frame, float] = {
    "amass": -math.pi / 2,
    "straps": math.pi,
    "hierprob": math.pi,
    "world": 0.0,
    "body": 0.0,
}
"""Angle about x from the frame to ours [rad]."""
LEAST_UPRIGHT = 0.9
"""Share of people who must have their head above their pelvis for a frame to be believed."""


def turn_upright(rotvecs: Float[Tensor, "N 24 3"], frame: Frame) -> Float[Tensor, "N 24 3"]:
    """Turns whole bodies from a frame into ours: y up, yaw as it is. No angle exceeds half a turn.

    Args:
        rotvecs: Of each joint relative to its parent, of the root relative to the frame [rad].
    """
    root = _to_ours(rotvecs, frame) @ rotvec_to_rotmat(rotvecs[:, 0])
    return torch.cat([rotmat_to_rotvec(root)[:, None], _wrap(rotvecs[:, 1:])], 1)


def _wrap(rotvecs: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Gives the same rotations by angles of at most half a turn."""
    angle = rotvecs.norm(dim=-1, keepdim=True)
    turns = (angle / (2 * math.pi)).round()
    return torch.where(turns > 0, rotvecs * (1 - turns * 2 * math.pi / angle), rotvecs)


def _to_ours(like: Tensor, frame: Frame) -> Float[Tensor, "3 3"]:
    # Whole numbers, but for the rounding of a sine.
    return axis_rotation(0, like.new_tensor(_TURNS[frame])).round()


class Standing:
    """Counts people with their head above their pelvis, in the frame that is said and in others."""

    def __init__(self, frame: Frame, skin: Skin):
        self.frame: Frame = frame
        self._skin = skin
        self._seen = 0
        self._upright: dict[Frame, int] = dict.fromkeys(FRAMES, 0)

    def look(self, rotvecs: Float[Tensor, "N 24 3"]) -> None:
        """Looks at poses as they are in the file [rad]; there may be none."""
        if not len(rotvecs):
            return
        rotations = rotvec_to_rotmat(rotvecs.float())
        joints = pose_body(self._skin, rotations.new_zeros(1), rotations).joints
        heads = joints[:, SMPL24.index("head")] - joints[:, SMPL24.index("pelvis")]
        self._seen += len(rotvecs)
        for frame in FRAMES:
            self._upright[frame] += int((heads @ _to_ours(heads, frame)[1] > 0).sum())

    def share(self, frame: Frame | None = None) -> float:
        """Gives the share of people that are upright in the frame, the said one if none is named;
        1 before anybody was seen."""
        return self._upright[frame or self.frame] / self._seen if self._seen else 1.0

    def fitting(self) -> list[Frame]:
        """Names the frames in which nearly all are upright."""
        return [frame for frame in FRAMES if self.share(frame) >= LEAST_UPRIGHT]

    def refuse_wrong(self) -> None:
        """Raises ValueError, naming the frame that would fit, if too few are upright."""
        if self.share() >= LEAST_UPRIGHT:
            return
        fits = [
            f"--frame {frame} ({FRAMES[frame]}; {self.share(frame):.0%} are upright)"
            for frame in self.fitting()
        ]
        others = ", ".join(f"{frame} {self.share(frame):.0%}" for frame in FRAMES)
        raise ValueError(
            f"poses in another frame than said: wanted the head above the pelvis in at least "
            f"{LEAST_UPRIGHT:.0%} of them in the frame {self.frame} ({FRAMES[self.frame]}), came "
            f"{self.share():.1%} of {self._seen:,}; do: "
            + (" or ".join(fits) or f"turn them first, no frame fits ({others})")
        )
