"""From what a network says of some people to their bodies, measurements and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, Skin, pose_body, regress
from plausibody.models.calibration import Calibration
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.records import Record, concatenate, map_tensors, take, to_device
from plausibody.models.uncertainty import uncertainty_of_samples
from plausibody.predict.case import Case
from plausibody.predict.fit import CONFIDENT, Fit
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.measurements import PersonMeasurements, measure_people
from plausibody.predict.placement import NEAREST, to_perspective
from plausibody.predict.placing import Placed, Placer
from plausibody.predict.ranking import photo_part, rank_samples
from plausibody.predict.result import PersonPrediction, Samples

BODIES = 64
"""Posed at a time."""
POOR_REPROJECTION = 6.0
"""[% of the person's diagonal]. Worse fits are named in the warnings."""
POOR_OVERLAP = 0.5
WORSE_PINHOLE = 2.0
"""[% of the diagonal] by which a poor fit of the pinhole camera exceeds that of the other one."""

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
    def _used(self) -> Int[Tensor, " U"]:
        """The vertices of which key points are made."""
        return self.placer.coco17.any(0).nonzero()[:, 0]

    @cached_property
    def skeleton(self) -> Skin:
        """The body with these vertices alone: posing it gives joints and key points."""
        return self.template.subset(self._used)

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
        camera, body = placed.camera, placed.body
        seen = case.person.keypoints
        perspective = to_perspective(
            camera, placed.coco17, case.size, self.diagonal_view, seen[:, 2]
        )
        near = perspective.project(placed.coco17)
        sure = seen[:, 2] > CONFIDENT
        # The mean of none is not a number.
        gap = float(torch.linalg.vector_norm((near[:, :2] - seen[:, :2])[sure], dim=-1).mean())
        misfit = 100 * gap / placed.diagonal
        doubts = _warnings(case.person, placed) + _lens_warnings(
            placed.fit, misfit, float(near[:, 2].min())
        )
        doubts += (doubt,) if doubt else ()
        return PersonPrediction(
            index=case.index,
            evidence=case.person,
            box=case.proxy.box,
            prediction=answer,
            camera=camera,
            perspective=perspective,
            body=body,
            keypoints=placed.keypoints,
            fit=placed.fit,
            pinhole_reprojection=misfit,
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
        posed = pose_body(self.skeleton, bodies.shape, bodies.rotations)
        points = regress(self.placer.coco17[:, self._used], posed.vertices).cpu()
        joints = posed.joints.cpu()
        bodies, scores = to_device(bodies, "cpu"), ranked.score.cpu()
        return [
            Samples(
                parameters=BodyParameters(bodies.shape[:, n], bodies.rotations[:, n]),
                joints=joints[:, n],
                points=points[:, n],
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


def _lens_warnings(fit: Fit, misfit: float, depth: float) -> tuple[str, ...]:
    """Says where the pinhole camera cannot be trusted.

    Args:
        misfit: Of its key points [% of the diagonal].
        depth: Of the nearest key point [m].
    """
    found = []
    if misfit > max(POOR_REPROJECTION, fit.reprojection + WORSE_PINHOLE):
        found.append(
            f"the pinhole camera puts key points {misfit:.0f} % of the diagonal off, the "
            f"weak-perspective camera {fit.reprojection:.0f} %"
        )
    if depth < 1.001 * NEAREST:
        found.append(
            f"a lens this wide would stand within {100 * NEAREST:.0f} cm of the body; "
            "do: a smaller --fov"
        )
    return tuple(found)


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
