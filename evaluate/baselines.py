"""What a figure is worth is seen beside these two, which have learnt nothing.

The mean body ignores the picture; the nearest pose is a look-up in a small table. A regressor that
does not beat both by far has learnt nothing either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import (
    WeakPerspectiveCamera,
    fit_weak_perspective,
    world_to_camera,
)
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.records import take
from plausibody.models.rotations import axis_rotation, mean_rotation, rotvec_to_rotmat
from plausibody.synth.chance import Chance
from plausibody.synth.poses import PoseBank
from plausibody.synth.stores import SynthAssets

SHAPE_COUNT = 10
POSES = 500
"""How many poses the table of the nearest has."""
YAWS = 12
"""From how many sides each is seen, level."""
TABLE_SEED = 500
SPREAD = 200_000
"""Poses from which the mean body of a larger bank is taken."""
USUAL_SCALE = 0.9
"""Of a camera that nothing seen can fit [half-squares per metre]."""


@dataclass(frozen=True)
class MeanBody:
    """The chordal mean rotation of each joint over the training poses, and the mean shape.

    It stands upright and faces the camera: the root's mean over a store whose yaw is free says
    nothing. Its camera is fitted to the key points that were seen.
    """

    body: BodyParameters
    """One body, without batch axis."""
    joints: Float[Tensor, "17 3"]
    """Its COCO key points in the world [m]."""

    @classmethod
    def of(cls, bank: PoseBank, assets: SynthAssets) -> MeanBody:
        """Args:
        bank: Training poses.
        assets: The body; its own bank is not used.
        """
        rotations = mean_rotation(rotvec_to_rotmat(bank.spread(SPREAD)))
        rotations[0] = torch.eye(3, device=rotations.device)
        body = BodyParameters(shape=rotations.new_zeros(SHAPE_COUNT), rotations=rotations)
        return cls(body=body, joints=_coco_joints(body, assets))

    def predict(self, proxy: Proxy) -> PointPrediction:
        count = len(proxy.keypoints)
        joints = self.joints.expand(count, -1, -1)
        parameters = BodyParameters(
            shape=self.body.shape.expand(count, -1),
            rotations=self.body.rotations.expand(count, -1, -1, -1),
        )
        return PointPrediction(camera=fit_camera(joints, proxy), parameters=parameters)


@dataclass(frozen=True)
class NearestPose:
    """The pose, of a few training poses seen from all round, whose key points fit best.

    Each candidate is fitted to the reported key points by scale and shift, weighted with their
    confidence; the smallest weighted squared error wins. Its shape is the mean.
    """

    bodies: BodyParameters
    """The candidates; their roots contain the yaw."""
    joints: Float[Tensor, "C 17 3"]
    """Their COCO key points in the world [m]."""

    @classmethod
    def of(cls, bank: PoseBank, assets: SynthAssets) -> NearestPose:
        """Draws the poses at random, always the same.

        Args:
            bank: Training poses.
            assets: The body; its own bank is not used.
        """
        zero = torch.zeros(1, dtype=torch.int64)
        chosen = Chance(TABLE_SEED, zero).bits("table", len(bank))[0].argsort()[:POSES]
        rotations = rotvec_to_rotmat(bank.pick(chosen.to(bank.stored.device)))
        yaw = torch.arange(YAWS, device=rotations.device) * (2 * math.pi / YAWS)
        roots = axis_rotation(1, yaw)[:, None] @ rotations[:, 0]
        seen = rotations.repeat(YAWS, 1, 1, 1)
        seen[:, 0] = roots.flatten(0, 1)
        bodies = BodyParameters(shape=seen.new_zeros(len(seen), SHAPE_COUNT), rotations=seen)
        parts = [take(bodies, slice(at, at + 500)) for at in range(0, len(seen), 500)]
        return cls(bodies=bodies, joints=torch.cat([_coco_joints(part, assets) for part in parts]))

    def predict(self, proxy: Proxy) -> PointPrediction:
        flat = world_to_camera(self.joints)[..., :2]
        best = nearest(flat, proxy.keypoints[..., :2], proxy.keypoints[..., 2])
        camera = fit_camera(self.joints[best], proxy)
        return PointPrediction(camera=camera, parameters=take(self.bodies, best))


def nearest(
    candidates: Float[Tensor, "C K 2"],
    points: Float[Tensor, "batch K 2"],
    weight: Float[Tensor, "batch K"],
) -> Tensor:
    """Finds, for each set of points, the candidate that fits it best by scale and shift.

    With the weighted variances of points and candidate and their covariance, the best fit leaves
    var(points) - cov^2 / var(candidate); only the last term depends on the candidate. A scale may
    not be negative: such candidates fit not at all.

    Args:
        candidates: Flat key points.
        points: To be matched, in any unit.
        weight: Of each point, not negative. With none positive the first candidate is given.

    Returns:
        The number of the best candidate for each set of points.
    """
    candidates, points, weight = candidates.double(), points.double(), weight.double()
    share = weight / weight.sum(-1, keepdim=True).clamp(min=1e-9)
    weighted = share[..., None] * points
    mean = weighted.sum(1)
    x, y = candidates.unbind(-1)
    candidate_mean = torch.stack([share @ x.T, share @ y.T], -1)
    variance = share @ candidates.square().sum(-1).T - candidate_mean.square().sum(-1)
    covariance = weighted.flatten(1) @ candidates.flatten(1).T
    covariance = covariance - (candidate_mean * mean[:, None]).sum(-1)
    # A limb seen from its end has no extent to speak of, and would fit anything: 1 cm at least.
    return (covariance.clamp(min=0).square() / variance.clamp(min=1e-4)).argmax(-1)


def fit_camera(joints: Float[Tensor, "batch 17 3"], proxy: Proxy) -> WeakPerspectiveCamera:
    """Fits a camera to the reported key points; a usual one in the middle where fewer than two are.

    Args:
        joints: COCO key points in the world [m].
    """
    weight = proxy.keypoints[..., 2]
    fitted = fit_weak_perspective(joints, proxy.keypoints[..., :2], weight)
    few = (weight > 0).sum(-1) < 2
    centre = world_to_camera(joints)[..., :2].mean(1)
    return WeakPerspectiveCamera(
        scale=torch.where(few, USUAL_SCALE, fitted.scale),
        shift=torch.where(few[:, None], -centre, fitted.shift),
    )


def _coco_joints(body: BodyParameters, assets: SynthAssets) -> Float[Tensor, "*batch 17 3"]:
    # The coarse body has every vertex that the joints need, and few others.
    skin = assets.coarse.skin
    return regress(assets.coarse.coco17, pose_body(skin, body.shape, body.rotations).vertices)
