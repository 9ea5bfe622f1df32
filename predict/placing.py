"""Bodies in their pictures: posed, seen by the camera, compared with what was seen of people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.prediction import BodyPrediction
from plausibody.models.proxy import Observation
from plausibody.models.records import concatenate, take, to_device
from plausibody.predict.case import Case
from plausibody.predict.fit import Fit, measure_fit, person_diagonal
from plausibody.predict.placement import PictureCamera
from plausibody.predict.refine.refiner import Refiner, judge
from plausibody.predict.result import Refinement


@dataclass(frozen=True)
class Placed:
    """A body in its picture; tensors are on the CPU."""

    body: PosedBody
    """In the world [m]."""
    camera: PictureCamera
    keypoints: Float[Tensor, "17 2"]
    """COCO-17 of the body, in the picture [px]."""
    fit: Fit
    coco17: Float[Tensor, "17 3"]
    """The same key points in the world [m]."""
    diagonal: float
    """Of the person as seen, see `fit.person_diagonal` [px]."""
    refinement: Refinement | None = None
    """None if it was not asked for."""


@dataclass(frozen=True)
class _Bodies:
    """The most probable bodies of some people, on the CPU."""

    posed: PosedBody
    coco17: Float[Tensor, "*batch 17 3"]
    camera: WeakPerspectiveCamera


@dataclass(frozen=True)
class Placer:
    """Poses bodies and puts them into their pictures."""

    template: BodyTemplate
    """On the device of the predictions."""
    coco17: Float[Tensor, "17 V"]
    """Regresses key points; on the same device."""
    refiner: Refiner | None
    """Moves bodies towards what was seen; None: they stay as predicted."""

    @cached_property
    def faces(self) -> Int[Tensor, "F 3"]:
        """On the CPU."""
        return self.template.faces.cpu()

    def __call__(
        self, cases: Sequence[Case], answer: BodyPrediction
    ) -> tuple[BodyPrediction, list[Placed]]:
        """Places bodies: those that the refiner has moved where they fit better.

        Returns:
            The prediction, which is round the bodies that were taken; and these.
        """
        predicted = self._pose(answer)
        moved = None if self.refiner is None else self.refiner(cases, answer)
        bodies = None if moved is None else self._pose(moved)
        placed = []
        for n, case in enumerate(cases):
            # Each mask lives as long as its person: in the picture's size it is large.
            seen = case.person.observation()
            one = self._place(case, seen, take(predicted, torch.tensor(n)))
            if bodies is not None:
                one = _choose(one, self._place(case, seen, take(bodies, torch.tensor(n))))
            placed.append(one)
        if moved is None:
            return answer, placed
        kept = torch.tensor([one.refinement is not None and one.refinement.kept for one in placed])
        rows = torch.arange(len(cases)) + len(cases) * kept
        return take(concatenate([answer, moved]), rows.to(self.template.vertices.device)), placed

    def _pose(self, answer: BodyPrediction) -> _Bodies:
        posed = answer.posed(self.template)
        bodies = _Bodies(posed, regress(self.coco17, posed.vertices), answer.camera)
        return to_device(bodies, "cpu")

    def _place(self, case: Case, seen: Observation, bodies: _Bodies) -> Placed:
        """Places one body.

        Args:
            seen: The person, in the picture.
            bodies: Of this person, without batch axis.
        """
        box = case.proxy.box
        camera = PictureCamera.of(bodies.camera, box)
        keypoints = camera.project(bodies.coco17)[:, :2]
        fit = measure_fit(seen, box, camera, bodies.posed.vertices, self.faces, keypoints)
        diagonal = person_diagonal(seen)
        return Placed(bodies.posed, camera, keypoints, fit, bodies.coco17, diagonal)


def _choose(predicted: Placed, moved: Placed) -> Placed:
    """Takes the moved body if it fits better, and says what was done."""
    refinement = judge(predicted.fit, moved.fit)
    chosen = moved if refinement.kept else predicted
    return dataclasses.replace(chosen, refinement=refinement)
