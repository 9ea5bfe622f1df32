"""What distributions are worth: how likely they find the truth, and the best of N samples.

A likelihood means something only beside another one. The least that a distribution has to beat is
one that is as wide for everybody: single bodies with the spread that their errors have on average.

Sources: Mohlin et al., "Probabilistic Orientation Estimation with Matrix Fisher Distributions",
2020 (likelihoods of rotations); Sengupta et al., "Hierarchical Kinematic Probability Distributions
for 3D Human Shape and Pose Estimation from Images in the Wild", 2021, and its released evaluation
(the best of N samples, of which the mode is one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.models.body import BodyTemplate, rest_vertices
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.fisher_normalizer import moments
from plausibody.models.markers import JointRegressors, Markers
from plausibody.models.prediction import BodyParameters, FisherPrediction
from plausibody.models.shapes import ShapeGaussian

STEEPEST = 1e6
"""Largest concentration that is fitted: deviations of 0.04 degrees about each axis."""
STILL = 1e-3
"""Entries of rotations that differ by less are the same [about rad]."""
HALVINGS = 80
"""Of the range in which a concentration is sought: to the last bit of a double."""
CHUNK = 256
"""Bodies that are measured at a time."""


@dataclass(frozen=True)
class Surprise:
    """Negative log-likelihoods of true bodies [nats]; less is better."""

    pose: Float[Tensor, "*batch joints"]
    """Of the rotation of each joint but the root; 0 for a uniform distribution. It has no lower
    bound for joints that never move in the data, so leave such out of means."""
    shape: Float[Tensor, "*batch"]
    """Of all coefficients together."""


def surprise(prediction: FisherPrediction, truth: BodyParameters) -> Surprise:
    """Tells how unlikely a prediction finds the truth; where the root faces is not judged."""
    return Surprise(
        pose=-prediction.joints.log_prob(truth.rotations[..., 1:, :, :]),
        shape=-prediction.shape.log_prob(truth.shape),
    )


@dataclass(frozen=True)
class FixedSpread:
    """How far truths are from guesses, the same for everybody: what a distribution has to beat."""

    concentration: Float[Tensor, " joints"]
    """Of each joint but the root: the singular values of F, all three alike."""
    factor: Float[Tensor, "S S"]
    """Cholesky factor of the covariance of the coefficients' errors."""

    @classmethod
    def fit(
        cls, guess: BodyParameters, truth: BodyParameters, whole_covariance: bool = False
    ) -> FixedSpread:
        """Finds the spread under which the truths are likeliest.

        Args:
            guess: Of people along the first axis.
            truth: Of the same people.
            whole_covariance: Whether coefficients err together; a deviation for each if not.
        """
        turn = guess.rotations[:, 1:].double().mT @ truth.rotations[:, 1:].double()
        trace = turn.diagonal(dim1=-2, dim2=-1).sum(-1).mean(0)
        gap = (truth.shape - guess.shape).double()
        covariance = gap.mT @ gap / len(gap)
        if not whole_covariance:
            covariance = torch.diag(covariance.diagonal())
        factor = torch.linalg.cholesky(covariance)
        return cls(fit_concentration(trace).to(guess.rotations), factor.to(guess.shape))

    def around(self, guess: BodyParameters, camera: WeakPerspectiveCamera) -> FisherPrediction:
        """Gives the distributions that have guesses as their modes."""
        joints = self.concentration[:, None, None] * guess.rotations[..., 1:, :, :]
        factor = self.factor.expand(*guess.shape.shape, guess.shape.shape[-1])
        return FisherPrediction(
            camera=camera,
            root=guess.rotations[..., 0, :, :],
            joints=MatrixFisher(joints),
            shape=ShapeGaussian(mean=guess.shape, factor=factor),
        )


def moving_joints(truth: BodyParameters) -> Bool[Tensor, " joints"]:
    """Tells which joints but the root have different rotations among people.

    Args:
        truth: Of people along the first axis.
    """
    rotations = truth.rotations[:, 1:]
    return (rotations - rotations[:1]).abs().amax((0, 2, 3)) > STILL


def fit_concentration(trace: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Finds the likeliest k of matrix-Fisher distributions with F = k R, between 0 and `STEEPEST`.

    At the maximum the distribution's own mean of tr(R^T X), the derivative of its log-constant by
    k, is the mean over the data.

    Args:
        trace: Mean over data of tr(R^T X), 1 + 2 cos(angle) of each rotation X; 3 if all agree.
    """
    low, high = torch.zeros_like(trace).double(), torch.full_like(trace, STEEPEST).double()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        _, gradient = moments(middle[..., None].expand(*trace.shape, 3))
        wider = gradient.sum(-1) > trace
        low, high = torch.where(wider, low, middle), torch.where(wider, middle, high)
    return (low + high) / 2


@dataclass(frozen=True)
class SampleErrors:
    """Errors of many bodies of each person [mm]."""

    pa_mpjpe: Float[Tensor, " N *batch"]
    pve_t_sc: Float[Tensor, " N *batch"]


@torch.no_grad()
def sample_errors(
    samples: BodyParameters,
    truth: BodyParameters,
    template: BodyTemplate,
    regressors: JointRegressors,
) -> SampleErrors:
    """Measures samples of people, with the definitions of `metrics`.

    Args:
        samples: Stacked along the first axis, then people along the second.
        truth: Of the same people, along the first.
        template: Of both.
        regressors: Of the template's topology.
    """
    markers = Markers.of(template, regressors, torch.arange(0, device=template.faces.device))
    joints, rest = markers(truth).h36m, rest_vertices(template, truth.shape)
    people = max(CHUNK // len(samples.shape), 1)
    poses, shapes = [], []
    for first in range(0, len(rest), people):
        some = slice(first, first + people)
        body = BodyParameters(samples.shape[:, some], samples.rotations[:, some])
        found = markers(body).h36m
        poses.append(metrics.pa_mpjpe(found, joints[some].expand_as(found)))
        still = rest_vertices(template, body.shape)
        shapes.append(metrics.pve_t_sc(still, rest[some].expand_as(still)))
    return SampleErrors(pa_mpjpe=torch.cat(poses, 1), pve_t_sc=torch.cat(shapes, 1))


def least_errors(
    errors: Float[Tensor, " N *batch"],
    counts: Sequence[int],
    mode: Float[Tensor, "*batch"] | None = None,
) -> dict[int, Float[Tensor, "*batch"]]:
    """Takes the least error among the first samples of each person, for several numbers of them.

    It falls with the number whatever the samples are worth: name the number beside it.

    Args:
        errors: Of samples along the first axis.
        counts: How many samples, each from 1 to N.
        mode: Error of the mode, which takes the place of the first sample if given, as published.

    Raises:
        ValueError: If a count is out of range.
    """
    if odd := [count for count in counts if not 1 <= count <= len(errors)]:
        raise ValueError(
            f"counts: wanted numbers of samples from 1 to the {len(errors)} there are, came {odd}"
        )
    if mode is not None:
        errors = torch.cat([mode[None], errors[1:]])
    least = errors.cummin(0).values
    return {count: least[count - 1] for count in counts}
