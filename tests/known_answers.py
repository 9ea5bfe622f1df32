"""A network whose answers are known, for tests of what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from plausibody.evaluate.datasets.people import Dataset
from plausibody.evaluate.staged.scenes import StagedPeople
from plausibody.models.camera import WeakPerspectiveCamera, fit_weak_perspective
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.proxy import Proxy
from plausibody.models.records import take
from plausibody.models.regressor import Regressor
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.weights import TrainedRegressor

SURE = 80.0
"""Concentration of joints."""


@dataclass(frozen=True)
class Listed(FisherPrediction):
    """A distribution whose samples are known."""

    samples: BodyParameters

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        reparameterized: bool = False,
    ) -> BodyParameters:
        assert count == len(self.samples.shape)
        return self.samples


class Knowing(Regressor):
    """Says what it was told of people, who come in their order; keeps what it was shown."""

    def __init__(
        self,
        mode: BodyParameters,
        samples: BodyParameters | None = None,
        camera: WeakPerspectiveCamera | None = None,
        channel: str = "silhouette",
    ):
        """Args:
        mode: Of all people.
        samples: The same with an axis before it; None makes predictions single bodies.
        camera: Of all people; one that shows most of a body if None.
        channel: That it reads.
        """
        super().__init__(channel, 24)
        self.mode, self.samples = mode, samples
        count = len(mode.shape)
        self.camera = camera or WeakPerspectiveCamera(
            torch.full((count,), 0.9), torch.zeros(count, 2)
        )
        self.shown: list[Proxy] = []

    def predict(self, proxy: Proxy) -> BodyPrediction:
        asked = sum(len(one.keypoints) for one in self.shown)
        people = slice(asked, asked + len(proxy.keypoints))
        self.shown.append(proxy)
        mode, camera = take(self.mode, people), take(self.camera, people)
        count = len(mode.shape)
        assert count == len(proxy.keypoints)
        if self.samples is None:
            return PointPrediction(camera, mode)
        return Listed(
            camera=camera,
            root=mode.rotations[:, 0],
            joints=MatrixFisher(SURE * mode.rotations[:, 1:]),
            shape=ShapeGaussian(mean=mode.shape, factor=torch.eye(10).expand(count, 10, 10)),
            samples=BodyParameters(
                self.samples.shape[:, people], self.samples.rotations[:, people]
            ),
        )


def best_camera(people: StagedPeople, dataset: Dataset) -> WeakPerspectiveCamera:
    """Gives the orthographic cameras over the published crops that show the true bodies best."""
    box = dataset.batch(range(len(people))).box
    flat = box.to_square(people.camera.project(people.vertices)[..., :2])
    return fit_weak_perspective(people.vertices, flat, torch.ones_like(flat[..., 0]))


def shifted(body: BodyParameters, *offsets: float) -> BodyParameters:
    """Moves the first coefficients of shapes."""
    moved = body.shape.clone()
    moved[..., : len(offsets)] += torch.tensor(offsets)
    return replace(body, shape=moved)


@dataclass(frozen=True)
class Losing(TrainedRegressor):
    """A regressor that gives no body for some people of each batch."""

    lost: int | slice = 0
    """Their places."""

    def predict(self, proxy: Proxy) -> BodyPrediction:
        answer = super().predict(proxy)
        scale = answer.camera.scale.clone()
        scale[self.lost] = torch.nan
        camera = replace(answer.camera, scale=scale)
        return replace(answer, camera=camera)  # type: ignore[type-var]
