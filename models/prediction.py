"""What a regressor says of a body: a distribution, of which a single guess is the extreme case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body
from plausibody.models.camera import WeakPerspectiveCamera


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
