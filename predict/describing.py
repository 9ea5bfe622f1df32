"""From what a network says of some people to their bodies, measurements and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from plausibody.models.body import BodyTemplate, Skin, pose_body
from plausibody.models.calibration import Calibration
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.records import Record, concatenate, map_tensors, take, to_device
from plausibody.models.uncertainty import uncertainty_of_samples
from plausibody.predict.case import Case
from plausibody.predict.front_end import Person
from plausibody.predict.measurements import PersonMeasurements, measure_people
from plausibody.predict.placement import to_perspective
from plausibody.predict.placing import Placed, Placer
from plausibody.predict.ranking import photo_part, rank_samples
from plausibody.predict.result import PersonPrediction, Samples

BODIES = 64
"""Posed at a time."""
POOR_REPROJECTION = 6.0
"""[% of the person's diagonal]. Worse fits are named in the warnings."""
POOR_OVERLAP = 0.5

FLAG_WORDS = {
    "truncated": "the picture's border cuts the person off",
    "small": "the person is small in the picture",
    "overlap": "another person hides or touches this one",
    "mask_unreliable": "the mask misses parts of the person",
    "low_agreement": "two detectors disagree where the person is",
}


@dataclass(frozen=True)
class Describer:
    """What all descriptions have in common."""

    placer: Placer
    calibration: Calibration | None
    """Of intervals; None if the weights have none."""
    samples: int
    """How many are drawn."""
    seed: int
    diagonal_view: float
    """Of the pinhole camera [rad]."""

    @property
    def template(self) -> BodyTemplate:
        """On the device of the predictions."""
        return self.placer.template

    @cached_property
    def skeleton(self) -> Skin:
        """The body without its vertices: posing it gives the joints."""
        return self.template.subset(torch.arange(0, device=self.template.vertices.device))

    def __call__(
        self, cases: Sequence[Case], answer: BodyPrediction, doubts: Sequence[str]
    ) -> list[PersonPrediction]:
        """Describes some people.

        Args:
            cases: One for each person of the answer.
            doubts: Warnings for each person, or empty.
        """
        measurements = measure_people(
            answer, self.template, [case.told.condition for case in cases], self.calibration
        )
        answer, placed = self.placer(cases, answer)
        samples = self._samples(cases, answer)
        answer = to_device(answer, "cpu")
        return [
            self._person(case, _one(answer, n), placed[n], measurements[n], samples[n], doubts[n])
            for n, case in enumerate(cases)
        ]

    def _person(
        self,
        case: Case,
        answer: BodyPrediction,
        placed: Placed,
        measurements: PersonMeasurements,
        samples: Samples | None,
        doubt: str,
    ) -> PersonPrediction:
        """Puts together what is known of one person."""
        doubts = _warnings(case.person, placed) + ((doubt,) if doubt else ())
        camera, body = placed.camera, placed.body
        return PersonPrediction(
            index=case.index,
            evidence=case.person,
            box=case.proxy.box,
            prediction=answer,
            camera=camera,
            perspective=to_perspective(camera, body.joints, case.size, self.diagonal_view),
            body=body,
            keypoints=placed.keypoints,
            fit=placed.fit,
            measurements=measurements,
            warnings=doubts,
            told=case.told,
            samples=samples,
            refinement=placed.refinement,
        )

    def _samples(self, cases: Sequence[Case], answer: BodyPrediction) -> list[Samples | None]:
        """Draws and poses bodies, of as many people at a time as memory allows."""
        if not self.samples:
            return [None] * len(cases)
        found: list[Samples | None] = []
        step = max(1, BODIES // self.samples)
        for start in range(0, len(cases), step):
            some = cases[start : start + step]
            found += self._draw(some, take(answer, slice(start, start + step)))
        return found

    def _draw(self, cases: Sequence[Case], answer: BodyPrediction) -> list[Samples]:
        """Draws bodies of some people, each with a generator of their own, and ranks them."""
        drawn = [
            take(answer, slice(n, n + 1)).sample(self.samples, self._generator(case))
            for n, case in enumerate(cases)
        ]
        proxy = concatenate([map_tensors(case.proxy, lambda t: t[None]) for case in cases])
        side = proxy.silhouette.shape[-1]
        inside = [photo_part(case.proxy.box, case.size, side) for case in cases]
        ranked = rank_samples(
            BodyParameters(
                shape=torch.cat([one.shape for one in drawn], 1),
                rotations=torch.cat([one.rotations for one in drawn], 1),
            ),
            answer.camera,
            to_device(proxy, self.template.vertices.device),
            self.template,
            self.placer.coco17,
            inside=torch.stack(inside).to(self.template.vertices.device),
        )
        bodies = ranked.samples
        spread = uncertainty_of_samples(bodies, self.template) if self.samples > 1 else None
        joints = pose_body(self.skeleton, bodies.shape, bodies.rotations).joints.cpu()
        bodies, scores = to_device(bodies, "cpu"), ranked.score.cpu()
        return [
            Samples(
                parameters=BodyParameters(bodies.shape[:, n], bodies.rotations[:, n]),
                joints=joints[:, n],
                score=scores[:, n],
                uncertainty=None if spread is None else to_device(_one(spread, n), "cpu"),
            )
            for n in range(len(cases))
        ]

    def _generator(self, case: Case) -> torch.Generator:
        device = self.template.vertices.device
        return torch.Generator(device).manual_seed(case.seed + self.seed)


def _one(record: Record, person: int) -> Record:
    """Takes one person out of a batch."""
    return take(record, torch.tensor(person))


def _warnings(person: Person, placed: Placed) -> tuple[str, ...]:
    found = [FLAG_WORDS[flag] for flag in sorted(person.flags)]
    fit, refinement = placed.fit, placed.refinement
    if fit.confident == 0:
        found.append("no key point is seen surely")
    if not fit.masked:
        found.append("there is no mask")
    elif fit.silhouette_iou < POOR_OVERLAP:
        found.append(f"the body covers the mask badly ({fit.silhouette_iou:.2f})")
    if fit.reprojection > POOR_REPROJECTION:
        found.append(f"key points are {fit.reprojection:.0f} % of the diagonal off")
    if refinement is not None and not refinement.kept:
        found.append(f"not refined: {refinement.reason}")
    return tuple(found)
