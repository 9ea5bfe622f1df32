"""What a body may move away from when it is refined: the predicted distribution, as a prior.

A body near the most probable one is written as a few numbers, each in standard deviations of the
prediction: turns of the joints and of the whole body, and the camera. All are 0 at the most
probable body. Where the network is sure a long way in these numbers is a small turn, so that
descent moves first what is uncertain, and what the picture cannot tell stays where it was.

With M the mode of a matrix-Fisher distribution of parameter F, and R = exp(w) M a rotation near it,
the log-density is tr(A exp(w)) + const with A = F M^T, which is symmetric: about w = 0 that is
-w^T (tr(A) I - A) w / 2. The inverse of this matrix is the covariance of the turns w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian

POINT_TURN = 0.12
"""Standard deviation of every joint's turns about each axis for weights that give single bodies
[rad]. It is narrow, as nothing tells limbs that are seen from those that are guessed: of 160
painted people, 0.25 gains a point of overlap more and raises PA-MPJPE by 0.4 +- 0.4 mm."""
ROOT_TURN = 0.04
"""Standard deviation of the whole body's turn about each axis [rad]. Networks give none."""
WIDEST_TURN = 0.6
"""Standard deviation of a joint's turn at most [rad]: what a network knows nothing of is still a
body's joint."""
CAMERA = 0.1
"""Standard deviation of the camera: of the logarithm of its scale, and of the person's place in the
box [half-squares]."""


def as_distribution(prediction: BodyPrediction) -> FisherPrediction:
    """Gives a prediction as a distribution: a single body gets a fixed one round it.

    Its joints turn by `POINT_TURN` about every axis; its shape, which is not moved, hardly varies.

    Raises:
        TypeError: If it is of another kind.
    """
    if isinstance(prediction, FisherPrediction):
        return prediction
    if not isinstance(prediction, PointPrediction):
        raise TypeError(
            "refine: wanted a prediction of a body or of a distribution over bodies, got "
            f"{type(prediction).__name__}"
        )
    body = prediction.parameters
    # Of F = k R, turns about each axis have the variance 1 / 2k.
    return FisherPrediction(
        camera=prediction.camera,
        root=body.rotations[..., 0, :, :],
        joints=MatrixFisher(body.rotations[..., 1:, :, :] / (2 * POINT_TURN**2)),
        shape=ShapeGaussian.independent(body.shape, torch.full_like(body.shape, 1e-3)),
    )


@dataclass(frozen=True)
class Body:
    """Bodies on the way, and the cameras that see them."""

    parameters: BodyParameters
    camera: WeakPerspectiveCamera


@dataclass(frozen=True)
class Prior:
    """Bodies near those that were predicted, by numbers in standard deviations.

    Of each person these are: 3 turns of the root, 3 of every other joint, and 3 of the camera.
    """

    predicted: FisherPrediction
    mode: BodyParameters
    reach: Float[Tensor, "batch J 3 3"]
    """From 3 such numbers to a joint's turn as a rotation vector [rad]; the root first."""

    @classmethod
    def of(cls, predicted: FisherPrediction) -> Prior:
        mode = predicted.mode()
        # In float64, as sums of nearly equal numbers of any size must stay positive.
        inner = predicted.joints.parameter.double() @ mode.rotations[:, 1:].mT.double()
        inner = (inner + inner.mT) / 2
        unit = torch.eye(3, dtype=inner.dtype, device=inner.device)
        trace = inner.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        factor = torch.linalg.cholesky(trace * unit - inner + unit / WIDEST_TURN**2)
        joints = torch.linalg.solve_triangular(factor.mT, unit.expand_as(factor), upper=True)
        root = (unit * ROOT_TURN).expand(len(inner), 1, 3, 3)
        reach = torch.cat([root, joints], 1).to(mode.rotations.dtype)
        return cls(predicted=predicted, mode=mode, reach=reach)

    @property
    def start(self) -> Float[Tensor, "batch P"]:
        """The numbers of the most probable bodies: zeros."""
        batch, joints = self.reach.shape[:2]
        return self.reach.new_zeros(batch, 3 * joints + 3)

    def body(self, numbers: Float[Tensor, "batch P"]) -> Body:
        """Gives the bodies that numbers stand for."""
        turns, camera = self._parts(numbers)
        seen = self.predicted.camera
        scale = seen.scale * (CAMERA * camera[:, 0]).exp()
        # The same place in the box, whatever the scale, unless the shift says otherwise.
        shift = (seen.scale[:, None] * seen.shift + CAMERA * camera[:, 1:]) / scale[:, None]
        return Body(
            parameters=BodyParameters(
                shape=self.mode.shape, rotations=self._turns(turns) @ self.mode.rotations
            ),
            camera=WeakPerspectiveCamera(scale, shift),
        )

    def improbability(
        self, body: Body, numbers: Float[Tensor, "batch P"], pose: float
    ) -> Float[Tensor, " batch"]:
        """Gives by how much less probable bodies are than the mode [nats].

        Args:
            body: What `body` gives for the numbers.
            pose: Weight of the joints' log-density.
        """
        turns, camera = self._parts(numbers)
        rotations, joints = body.parameters.rotations, self.predicted.joints.parameter
        lost = (joints * (self.mode.rotations - rotations)[:, 1:]).sum((-3, -2, -1))
        free = turns[:, 0].square().sum(-1) + camera.square().sum(-1)
        return pose * lost + free / 2

    def recentred(self, numbers: Float[Tensor, "batch P"]) -> FisherPrediction:
        """Gives the prediction with other bodies as its most probable ones, as wide as before."""
        turns, _ = self._parts(numbers)
        body, rotation = self.body(numbers), self._turns(turns)
        predicted = self.predicted
        return replace(
            predicted,
            camera=body.camera,
            root=body.parameters.rotations[:, 0],
            joints=MatrixFisher(rotation[:, 1:] @ predicted.joints.parameter),
        )

    def _parts(
        self, numbers: Float[Tensor, "batch P"]
    ) -> tuple[Float[Tensor, "batch J 3"], Float[Tensor, "batch 3"]]:
        turns, camera = numbers.split((3 * self.reach.shape[1], 3), -1)
        return turns.unflatten(-1, (-1, 3)), camera

    def _turns(self, turns: Float[Tensor, "batch J 3"]) -> Float[Tensor, "batch J 3 3"]:
        return rotvec_to_rotmat((self.reach @ turns[..., None])[..., 0])
