"""The objective of HMR as SPIN, EFT and DSR learn it: key points, joints, rotations and shape.

Source: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the
Loop", 2019, and the released code of SPIN and DSR. Where the release has 24 joints of its data
sets, ours are the 17 of COCO in the picture and the 17 of Human3.6M in space, from the pelvis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.losses import (
    KnownMean,
    Moment,
    Target,
    joint_error,
    near_box,
    relative_to_pelvis,
    true_points,
)
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyPrediction


@dataclass(frozen=True)
class HmrWeights:
    """As released: 60 times 5, 5, 1, 0.001 and 1. Metres, half-squares and rotation matrices."""

    keypoints: float = 300.0
    joints: float = 300.0
    rotations: float = 60.0
    shape: float = 0.06
    camera: float = 60.0
    """Of exp(-10 s)^2, which keeps the camera's scale s positive."""


class HmrLoss(nn.Module):
    """Squared errors; those in space are of people whose parameters are known, or joints."""

    def __init__(self, markers: Markers, weights: HmrWeights | None = None):
        """Args:
        markers: Of the body that is learnt.
        weights: Those of SPIN if None.
        """
        super().__init__()
        self.markers, self.weights = markers, weights or HmrWeights()

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment | None = None
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        mode, truth, weights = prediction.mode(), target.parameters, self.weights
        mean = KnownMean.of(target, moment)
        placed = self.markers(mode)
        points = relative_to_pelvis(placed)
        true = relative_to_pelvis(true_points(self.markers, target))
        near = near_box(target.keypoints)
        if target.annotated is not None:
            near = near * target.annotated[..., None]
        gap = prediction.camera.project(placed.coco) - target.keypoints
        scale = prediction.camera.scale
        parts = {
            "keypoints": weights.keypoints * (gap.square() * near).mean(),
            "joints": weights.joints * joint_error(points, true, target, moment, torch.square),
            "rotations": weights.rotations * mean((mode.rotations - truth.rotations).square()),
            "shape": weights.shape * mean((mode.shape - truth.shape).square()),
            "camera": weights.camera * torch.exp(-10 * scale).square().mean(),
        }
        return torch.stack(list(parts.values())).sum(), parts
