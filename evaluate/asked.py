"""Predictions of painted people as `predict` makes them, once a front end has spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from plausibody.evaluate.rendered_people import Renders
from plausibody.evaluate.rendered_sight import Evidence
from plausibody.evaluate.run import Estimator
from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import Calibration
from plausibody.models.prediction import BodyPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.records import to_device
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.predictor import Predictor
from plausibody.predict.result import PersonPrediction


class Recall:
    """A front end that says again what it said of some pictures."""

    def __init__(self) -> None:
        self.said: dict[int, Person] = {}
        """By the identity of the picture."""

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        return [self._result(picture) for picture in pictures]

    def _result(self, picture: Picture) -> ImageResult:
        if not isinstance(picture, Tensor):
            raise TypeError(f"picture: wanted one that was shown, got the file {picture}")
        height, width = picture.shape[:2]
        return ImageResult(None, width, height, "ok", people=(self.said[id(picture)],))


@dataclass(frozen=True)
class Asked:
    """Somebody who predicts people as `predict` does, once the front end has spoken."""

    predictor: Predictor
    recall: Recall

    @classmethod
    def of(
        cls,
        regressor: TrainedRegressor,
        device: torch.device | str,
        calibration: Calibration | None = None,
    ) -> Asked:
        recall = Recall()
        return cls(Predictor(regressor, recall, device, calibration=calibration), recall)

    @property
    def template(self) -> BodyTemplate:
        """Of the bodies, on the CPU."""
        return to_device(self.predictor.template, "cpu")

    def __call__(
        self, evidence: Evidence, pictures: Sequence[UInt8[Tensor, "size size 3"]]
    ) -> list[PersonPrediction | None]:
        """Gives a body for each person, or None where there is none."""
        self.recall.said = {id(one): evidence.person(n) for n, one in enumerate(pictures)}
        answers = self.predictor(pictures)
        return [answer.people[0] if answer.people else None for answer in answers]


@dataclass(frozen=True)
class Unlearnt(TrainedRegressor):
    """A baseline in place of a network, reading the same proxies."""

    estimator: Estimator

    @classmethod
    def beside(cls, regressor: TrainedRegressor, estimator: Estimator) -> Unlearnt:
        return cls(
            network=regressor.network,  # not asked
            proxy=regressor.proxy,
            gender="neutral",
            card={},
            estimator=estimator,
        )

    def predict(self, proxy: Proxy) -> BodyPrediction:
        return self.estimator.predict(proxy)


def require_evidence(benchmark: str, regressor: TrainedRegressor) -> None:
    """Refuses, before the front end looks at hundreds of pictures, whom it cannot tell enough.

    Raises:
        ValueError: If the regressor reads IUV pictures, which the embedded front end does not make.
    """
    if regressor.proxy.channel == "iuv":
        raise ValueError(
            f"{benchmark}: wanted a regressor of colours, edges or silhouettes, got one of iuv: "
            "people are seen by the embedded front end, which makes no IUV pictures; do: evaluate "
            "open-v0 or validation, which draw them"
        )


def pictures_for(
    renders: Renders, numbers: Int[Tensor, " people"], regressor: TrainedRegressor
) -> list[UInt8[Tensor, "size size 3"]]:
    """Paints the pictures again for those who read them or their edges; nobody else opens them."""
    if regressor.proxy.reads_pictures:
        return list(renders.pictures(numbers))
    size = renders.settings.picture
    return list(torch.zeros(len(numbers), size, size, 3, dtype=torch.uint8))
