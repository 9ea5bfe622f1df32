"""From what a network says of some people to their bodies, measurements and samples."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, regress
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.proxy import Observation, Proxy
from plausibody.models.records import map_tensors, take, to_device
from plausibody.predict.fit import Fit, measure_fit
from plausibody.predict.front_end import Person
from plausibody.predict.measurements import PersonMeasurements, measure_people
from plausibody.predict.placement import PictureCamera, to_perspective
from plausibody.predict.result import PersonPrediction, Samples
from plausibody.predict.told import Told

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
class Case:
    """One person on the way through the network."""

    picture: int
    """Place of the picture in its batch."""
    name: str
    """Of the picture's file; empty if there is none."""
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    index: int
    """Place among the picture's people."""
    person: Person
    proxy: Proxy
    told: Told

    @property
    def seed(self) -> int:
        """Follows from the picture's name and the person's number, and nothing else."""
        return zlib.crc32(f"{self.name}/{self.index}".encode())


@dataclass(frozen=True)
class Describer:
    """What all descriptions have in common."""

    template: BodyTemplate
    """On the device of the predictions."""
    coco17: Float[Tensor, "17 V"]
    samples: int
    seed: int
    diagonal_view: float
    """[rad]."""

    def __call__(
        self, cases: Sequence[Case], answer: BodyPrediction, doubts: Sequence[str]
    ) -> list[PersonPrediction]:
        """Describes some people.

        Args:
            cases: One for each person of the answer.
            doubts: Warnings for each person, or empty.
        """
        measurements = measure_people(answer, self.template)
        bodies = to_device(answer.posed(self.template), "cpu")
        samples = self._samples(cases, answer)
        answer = to_device(answer, "cpu")
        found = []
        for n, case in enumerate(cases):
            one = torch.tensor(n)
            found.append(
                self._person(
                    case, take(answer, one), take(bodies, one), measurements[n], samples[n],
                    doubts[n],
                )
            )  # fmt: skip
        return found

    def _person(
        self,
        case: Case,
        answer: BodyPrediction,
        body: PosedBody,
        measurements: PersonMeasurements,
        samples: Samples | None,
        doubt: str,
    ) -> PersonPrediction:
        """Places a body in the picture and compares it with what was seen there."""
        person, box = case.person, case.proxy.box
        camera = PictureCamera.of(answer.camera, box)
        observation = person.observation()
        keypoints = camera.project(regress(self.coco17, body.vertices))[:, :2]
        faces = self.template.faces.cpu()
        fit = measure_fit(observation, box, camera, body.vertices, faces, keypoints)
        return PersonPrediction(
            index=case.index,
            evidence=person,
            box=box,
            prediction=answer,
            camera=camera,
            perspective=to_perspective(camera, body.joints, case.size, self.diagonal_view),
            body=body,
            keypoints=keypoints,
            fit=fit,
            measurements=measurements,
            warnings=(*_warnings(person, observation, fit), *([doubt] if doubt else [])),
            told=case.told,
            samples=samples,
        )

    def _samples(self, cases: Sequence[Case], answer: BodyPrediction) -> list[Samples | None]:
        """Draws and poses bodies, of as many people at a time as memory allows."""
        if not self.samples:
            return [None] * len(cases)
        found: list[Samples | None] = []
        step = max(1, BODIES // self.samples)
        for start in range(0, len(cases), step):
            rows = range(start, min(start + step, len(cases)))
            drawn = [
                take(answer, slice(n, n + 1)).sample(self.samples, self._generator(cases[n]))
                for n in rows
            ]
            parameters = BodyParameters(
                shape=torch.cat([one.shape for one in drawn], 1),
                rotations=torch.cat([one.rotations for one in drawn], 1),
            )
            found += self._described(parameters)
        return found

    def _described(self, parameters: BodyParameters) -> list[Samples]:
        """Args:
        parameters: With an axis of samples and one of people.
        """
        posed = parameters.posed(self.template)
        mean = posed.vertices.mean(0)
        spread = torch.linalg.vector_norm(posed.vertices - mean, dim=-1).mean(0).cpu()
        parameters, joints = to_device(parameters, "cpu"), posed.joints.cpu()
        return [
            Samples(
                parameters=map_tensors(parameters, lambda tensor: tensor[:, n]),  # noqa: B023
                joints=joints[:, n],
                vertex_uncertainty=spread[n],
            )
            for n in range(len(spread))
        ]

    def _generator(self, case: Case) -> torch.Generator:
        device = self.template.vertices.device
        return torch.Generator(device).manual_seed(case.seed + self.seed)


def _warnings(person: Person, observation: Observation, fit: Fit) -> tuple[str, ...]:
    found = [FLAG_WORDS[flag] for flag in sorted(person.flags)]
    if fit.confident == 0:
        found.append("no key point is seen surely")
    if not (observation.mask > 0.5).any():
        found.append("there is no mask")
    elif fit.silhouette_iou < POOR_OVERLAP:
        found.append(f"the body covers the mask badly ({fit.silhouette_iou:.2f})")
    if fit.reprojection > POOR_REPROJECTION:
        found.append(f"key points are {fit.reprojection:.0f} % of the diagonal off")
    return tuple(found)
