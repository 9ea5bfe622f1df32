"""What a regressor says of a body: a distribution, of which a single guess is the extreme case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.shapes import ShapeGaussian


@dataclass(frozen=True)
class BodyParameters:
    """A body by its numbers."""

    shape: Float[Tensor, "*batch S"]
    """Coefficients, in standard deviations."""
    rotations: Float[Tensor, "*batch J 3 3"]
    """Of each joint relative to its parent; of the root relative to the world."""

    def posed(self, template: BodyTemplate) -> PosedBody:
        return pose_body(template, self.shape, self.rotations)

    def rest(self, template: BodyTemplate) -> PosedBody:
        """The body in the template's rest pose: its shape alone."""
        identity = torch.eye(3, dtype=self.rotations.dtype, device=self.rotations.device)
        return pose_body(template, self.shape, identity.expand_as(self.rotations))


@dataclass(frozen=True)
class BodyPrediction(ABC):
    """A distribution over bodies for each person of a batch, and a camera."""

    camera: WeakPerspectiveCamera
    """Over the square box of the proxy."""

    @abstractmethod
    def mode(self) -> BodyParameters:
        """The most probable body."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> BodyParameters:
        """Draws bodies; their parameters have a leading axis of length `count`."""

    @abstractmethod
    def log_prob(self, body: BodyParameters) -> Float[Tensor, ...]:
        """Gives the log-likelihood of bodies [nats].

        Args:
            body: The batch's axes come last: what `sample` gives will do.
        """

    def posed(self, template: BodyTemplate) -> PosedBody:
        """Poses the most probable body."""
        return self.mode().posed(template)


@dataclass(frozen=True)
class PointPrediction(BodyPrediction):
    """All probability in one body: the methods that claim no uncertainty (STRAPS, lite)."""

    parameters: BodyParameters

    def mode(self) -> BodyParameters:
        return self.parameters

    def sample(self, count: int, generator: torch.Generator | None = None) -> BodyParameters:
        """Repeats the one body, since nothing else has any probability."""
        shape, rotations = self.parameters.shape, self.parameters.rotations
        return BodyParameters(
            shape=shape.expand(count, *shape.shape),
            rotations=rotations.expand(count, *rotations.shape),
        )

    def log_prob(self, body: BodyParameters) -> Float[Tensor, ...]:
        """Refuses: a single body has no density.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "log_prob: wanted a prediction with a distribution, got a single body; "
            "do: use weights of the method hierprob"
        )


@dataclass(frozen=True)
class FisherPrediction(BodyPrediction):
    """Independent matrix-Fisher distributions of the joints, and a Gaussian over the shape.

    Where the whole body faces is a single guess, as is the camera.

    Source: Sengupta et al., "Hierarchical Kinematic Probability Distributions for 3D Human Shape
    and Pose Estimation from Images in the Wild", 2021, section 3.2.
    """

    root: Float[Tensor, "*batch 3 3"]
    """Rotation of the root relative to the world."""
    joints: MatrixFisher
    """Of all other joints relative to their parents; batch [*batch J-1]."""
    shape: ShapeGaussian

    def mode(self) -> BodyParameters:
        rotations = torch.cat([self.root[..., None, :, :], self.joints.mode()], -3)
        return BodyParameters(shape=self.shape.mean, rotations=rotations)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        reparameterized: bool = False,
    ) -> BodyParameters:
        """Draws independent bodies.

        Args:
            count: The first axis of the result.
            generator: On the prediction's device; torch's own where None.
            reparameterized: Lets gradients pass, see `MatrixFisher.sample`.
        """
        joints = self.joints.sample(count, generator, reparameterized)
        root = self.root.expand(count, *self.root.shape)[..., None, :, :]
        shape = self.shape.sample(count, generator)
        return BodyParameters(
            shape=shape if reparameterized else shape.detach(),
            rotations=torch.cat([root, joints], -3),
        )

    def log_prob(self, body: BodyParameters) -> Float[Tensor, ...]:
        """Gives the log-likelihood of joint rotations and shape; the root is not judged."""
        joints = self.joints.log_prob(body.rotations[..., 1:, :, :]).sum(-1)
        return joints + self.shape.log_prob(body.shape)
