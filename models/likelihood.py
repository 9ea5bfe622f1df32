"""Losses of distributions: how likely they find the truth, and what their samples look like.

The likelihood of rotations is over-regularised as published: the normalising constant counts 1.005
times, which bounds how sure a joint can become (singular values near 100). That surplus is told
apart from the likelihood, which stays comparable with other work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.fisher_normalizer import moments
from plausibody.models.losses import (
    LEAST,
    KnownMean,
    LiteLoss,
    Moment,
    Target,
    near_box,
    true_points,
)
from plausibody.models.markers import Markers
from plausibody.models.prediction import FisherPrediction
from plausibody.models.skeleton import H36M17, LSP14, indices

OVERREGULARISATION = 1.005
"""Weight of the normalising constant (HierProb3D, released configuration)."""

Parts = dict[str, Tensor]


def pose_likelihood(
    prediction: FisherPrediction,
    target: Target,
    overregularisation: float = OVERREGULARISATION,
    moment: Moment | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Gives the mean negative log-likelihood of a joint's rotation [nats], and what is added to it.

    Means are over the people whose bodies are known.

    Args:
        overregularisation: Weight of the normalising constant.
        moment: Of the training, if processes share a batch.
    """
    mean = KnownMean.of(target, moment)
    joints = prediction.joints
    log_c, _ = moments(joints.singular_values)  # which are proper: no need to sort them
    inner = (joints.parameter * target.parameters.rotations[:, 1:]).sum((-2, -1))
    surplus = (overregularisation - 1) * mean(log_c)
    return mean(log_c - inner).float(), surplus.float()


def shape_likelihood(
    prediction: FisherPrediction, target: Target, moment: Moment | None = None
) -> Float[Tensor, ""]:
    """Gives the mean negative log-likelihood of the whole shape [nats], as `pose_likelihood`."""
    mean = KnownMean.of(target, moment)
    return -mean(prediction.shape.log_prob(target.parameters.shape))


def sampled_keypoints(
    prediction: FisherPrediction, markers: Markers, count: int, moment: Moment
) -> Float[Tensor, "count batch 17 2"]:
    """Draws bodies and projects their COCO-17 joints [half-squares]; gradients pass."""
    bodies = prediction.sample(count, moment.generator, reparameterized=True)
    return prediction.camera.project(markers(bodies).coco)


@dataclass(frozen=True)
class LikelihoodWeights:
    """What distributions add to the `lite` objective."""

    pose: float = 0.2
    """Of the mean negative log-likelihood of a joint."""
    shape: float = 0.05
    """Of that of the shape."""
    sampled_keypoints: float = 2.0
    """Of the absolute error of the samples' key points, in the second stage."""
    samples: int = 4
    overregularisation: float = OVERREGULARISATION
    """Weight of the normalising constant within the likelihood of a joint."""


class LikelihoodLoss(nn.Module):
    """The `lite` objective for the mode, the likelihood, and in the second stage the samples."""

    def __init__(
        self, lite: LiteLoss, seen: Markers, weights: LikelihoodWeights, second_stage: int
    ):
        """Args:
        lite: For the mode.
        seen: Poses what the COCO joints need.
        weights: Of what comes on top.
        second_stage: Its first step.
        """
        super().__init__()
        self.lite, self.seen, self.weights, self.second_stage = lite, seen, weights, second_stage
        self.markers = lite.markers

    def forward(
        self, prediction: FisherPrediction, target: Target, moment: Moment
    ) -> tuple[Float[Tensor, ""], Parts]:
        weights = self.weights
        loss, parts = self.lite(prediction, target, moment)
        pose, surplus = pose_likelihood(prediction, target, weights.overregularisation, moment)
        shape = shape_likelihood(prediction, target, moment)
        loss = loss + weights.pose * (pose + surplus) + weights.shape * shape
        parts |= {"pose_nll": pose, "pose_overregularised": surplus, "shape_nll": shape}
        if moment.step >= self.second_stage and weights.samples:
            flat = sampled_keypoints(prediction, self.seen, weights.samples, moment)
            near = near_box(target.keypoints)
            if target.annotated is not None:
                near = near * target.annotated[..., None]
            missed = ((flat - target.keypoints).abs() * near).mean()
            parts["sampled_keypoints"] = weights.sampled_keypoints * missed
            loss = loss + parts["sampled_keypoints"]
        return loss, parts


@dataclass(frozen=True)
class StageWeights:
    """Weights of the parts of HierProb3D's objective in one stage."""

    pose: float
    shape: float
    keypoints: float
    root: float
    vertices: float
    joints: float


@dataclass(frozen=True)
class HierprobWeights:
    """HierProb3D's two stages: means alone, then means and samples (released configuration)."""

    first: StageWeights = field(
        default_factory=lambda: StageWeights(
            pose=80.0, shape=50.0, keypoints=5e3, root=5e3, vertices=0.0, joints=0.0
        )
    )
    second: StageWeights = field(
        default_factory=lambda: StageWeights(
            pose=10.0, shape=80.0, keypoints=3e4, root=5e3, vertices=5e3, joints=5e3
        )
    )
    samples: int = 8
    """Bodies drawn in the second stage, beside the mode."""
    overregularisation: float = OVERREGULARISATION


class HierprobLoss(nn.Module):
    """HierProb3D's objective as published: likelihoods and mean squared errors.

    Key points that the proxy does not have are not learnt, and bodies are compared where they are.

    Source: Sengupta et al., 2021, section 3.4, and the released code.
    """

    def __init__(self, markers: Markers, seen: Markers, weights: HierprobWeights, second: int):
        """Args:
        markers: With all vertices chosen.
        seen: Poses what the COCO joints need.
        weights: Of both stages.
        second: First step of the second stage.
        """
        super().__init__()
        self.markers, self.seen, self.weights, self.second_stage = markers, seen, weights, second
        self.joints = tuple(indices(LSP14, H36M17))

    def forward(
        self, prediction: FisherPrediction, target: Target, moment: Moment
    ) -> tuple[Float[Tensor, ""], Parts]:
        late = moment.step >= self.second_stage
        weights = self.weights.second if late else self.weights.first
        pose, surplus = pose_likelihood(prediction, target, self.weights.overregularisation, moment)
        shape = shape_likelihood(prediction, target, moment)
        mean = KnownMean.of(target, moment)
        root = mean((prediction.root - target.parameters.rotations[:, 0]).square())
        parts = {"pose_nll": pose, "pose_overregularised": surplus, "shape_nll": shape}
        loss = weights.pose * (pose + surplus) + weights.shape * shape + weights.root * root
        mode = prediction.mode()
        if late:
            points, true = self.markers(mode), true_points(self.markers, target)
            joints = list(self.joints)
            parts["vertices"] = mean((points.vertices - true.vertices).square())
            parts["joints"] = mean((points.h36m - true.h36m)[:, joints].square())
            loss = loss + weights.vertices * parts["vertices"] + weights.joints * parts["joints"]
            drawn = sampled_keypoints(prediction, self.seen, self.weights.samples, moment)
            flat = torch.cat([drawn, prediction.camera.project(points.coco)[None]])
        else:
            flat = prediction.camera.project(self.seen(mode).coco)[None]
        there = torch.ones_like(flat[0, ..., 0])
        for known in (target.reported, target.annotated):
            there = there if known is None else there * known
        missed = (flat - target.keypoints).square().sum(-1) * there
        count = moment.mean(there.sum())
        parts["keypoints"] = missed.sum() / (2 * len(flat) * count).clamp(min=LEAST)
        parts["root"] = root
        return loss + weights.keypoints * parts["keypoints"], parts
