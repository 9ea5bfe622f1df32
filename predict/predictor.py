"""Photos in, bodies out: front end, proxy, network, and how well the result fits the evidence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from plausibody.models.batches import in_batches
from plausibody.models.calibration import Calibration, calibration_path, load_calibration
from plausibody.models.genders import gender_sign
from plausibody.models.prediction import BodyPrediction, FisherPrediction
from plausibody.models.records import concatenate, map_tensors, take, to_device
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.templates import load_template
from plausibody.models.weights import (
    DEFAULT_WEIGHTS,
    TrainedRegressor,
    find_weights,
    load_regressor,
)
from plausibody.predict.answers import rows_of, troubles_of
from plausibody.predict.case import Case
from plausibody.predict.describing import Describer
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd, ImageResult, Picture
from plausibody.predict.front_ends.opening import check_channel
from plausibody.predict.gendered import GenderedBody, gendered_body
from plausibody.predict.looking import look_at, open_picture
from plausibody.predict.placement import DIAGONAL_VIEW
from plausibody.predict.placing import Placer
from plausibody.predict.refine.refiner import STEPS, Refiner, RefineSettings
from plausibody.predict.result import ImagePrediction, PersonPrediction, Status
from plausibody.predict.told import Told, check_told, fuse_shapes, tell
from plausibody.synth.stores import load_coco17

log = logging.getLogger(__name__)


CHUNK = 64
"""People whom the network looks at, and whose bodies are posed, at a time."""


@dataclass(frozen=True)
class FirstLook:
    """What a picture says of the shape of the one person whom all pictures show."""

    failed: bool
    """Whether something went wrong that may go better another time."""
    shape: ShapeGaussian | None
    """On the CPU; None if that person was not found."""


class Predictor:
    """Predicts bodies in pictures, in batches across pictures."""

    def __init__(
        self,
        weights: TrainedRegressor | Path | str,
        front_end: FrontEnd,
        device: torch.device | str = "cpu",
        *,
        person: Literal["all", "main"] | int = "all",
        flip: bool = True,
        diagonal_view: float = DIAGONAL_VIEW,
        samples: int = 0,
        seed: int = 0,
        height: float | None = None,
        gender: str | None = None,
        same_person: bool = False,
        calibration: Calibration | None = None,
        refine: bool | int = False,
        limb_confidence: float | None = None,
    ):
        """What is told by height, gender and same_person is of one person: the main one of each
        picture, or the one chosen by number. Others are predicted as if nothing were known.

        Args:
            weights: A network; or the file of one; or the name of one that ships, such as "lite".
            person: Who is predicted: all, the main person, or the one with this number, from 0.
            flip: Whether to average with what the network says of the mirror image; twice the time.
            diagonal_view: Angle of view of the pinhole camera over the picture's diagonal [rad].
            samples: Bodies drawn from each person's distribution; 0 for the most probable only.
            seed: Of those draws. They also follow from the name of the picture and the number of
                the person, but not from what else is predicted.
            height: Of the person, barefoot [m].
            gender: Of the person, female or male.
            same_person: Whether it is the same person in all pictures, who then has one shape.
            calibration: Of the intervals of a network in memory. Weights from a file have theirs
                in the file beside them, if there is one; it is fitted to the mean with the mirror
                image and counts only with `flip`.
            refine: Whether to move bodies towards key points and mask, see `predict.refine`; or
                in how many steps, 0 for not. The shape, and so what is measured, stays.
            limb_confidence: Elbows, wrists, knees and ankles below it count as not seen, from 0 to
                1; None for what the weights learnt with (`ProxySettings.least_limb_confidence`).

        Raises:
            ValueError: If an option makes no sense, or none with these weights.
        """
        if isinstance(person, int) and person < 0:
            raise ValueError(f"person: wanted all, main or a number from 0, got {person}")
        if samples < 0:
            raise ValueError(f"--samples: wanted 0 or more, got {samples}")
        told = Told(height, gender, same_person)
        if isinstance(weights, TrainedRegressor):
            self.regressor, self.weights_name = weights, "in memory"
        else:
            path = find_weights(weights)
            self.regressor, self.weights_name = load_regressor(path, device), path.stem
            if flip and calibration is None:
                calibration = _calibration_beside(path, self.regressor)
        if limb_confidence is not None:
            self.regressor = _doubting(self.regressor, limb_confidence)
        check_told(told, samples, self.regressor, self.weights_name)
        check_channel(front_end, self.regressor.proxy.channel)
        if not self.regressor.network.gendered:  # weights made for a gender know it already
            told = replace(told, gender=None)
        self.told = told
        self.template = load_template(self.regressor.body, self.regressor.gender)
        self.gendered: GenderedBody | None = None
        """What the parameters of a person are written for whose gender is told."""
        if gender is not None and gender != self.template.gender:
            self.gendered = gendered_body(self.template, self.regressor.body, gender)
        self.weights_sha256 = str(self.regressor.card.get("sha256", ""))
        self.front_end = front_end
        self.device = torch.device(device)
        self.person = person
        self.flip = flip
        self.diagonal_view = diagonal_view
        self.samples = samples
        self.seed = seed
        self.refine = STEPS if refine is True else int(refine)
        """Steps by which bodies are moved towards what was seen; 0 if they are not."""
        coco17 = load_coco17(self.template).to(self.device)
        template, refiner = self.template.to(self.device), None
        if self.refine:
            refiner = Refiner.of(template, coco17, RefineSettings(steps=self.refine))
        self.describer = Describer(
            placer=Placer(template, coco17, refiner),
            calibration=calibration,
            samples=samples,
            seed=seed,
            diagonal_view=diagonal_view,
        )

    @property
    def calibration_digest(self) -> str:
        """Tells one calibration from another; empty if there is none."""
        calibration = self.describer.calibration
        if calibration is None:
            return ""
        factors = sorted(calibration.factors.items())
        content = b"".join(name.encode() + table.numpy().tobytes() for name, table in factors)
        return hashlib.sha256(content + repr(calibration.edges).encode()).hexdigest()[:16]

    def __call__(self, images: Sequence[Picture]) -> list[ImagePrediction]:
        """Gives one result per picture, in the same order."""
        return list(self.stream(images, max(1, len(images))))

    def stream(self, images: Iterable[Picture], batch_size: int = 8) -> Iterator[ImagePrediction]:
        """Gives one result per picture in the same order, holding one batch in memory at a time.

        With `same_person` it goes through all pictures twice, the first time for the shape.
        """
        shape = None
        if self.told.same_person:
            images = list(images)
            shape = fuse_shapes(look.shape for look in self.first_looks(images, batch_size))
        yield from self.stream_given(images, shape, batch_size)

    def stream_given(
        self, images: Iterable[Picture], shape: ShapeGaussian | None, batch_size: int = 8
    ) -> Iterator[ImagePrediction]:
        """Does the same for pictures of a person whose shape is known.

        Args:
            shape: Without batch axes: `fuse_shapes` of what `first_looks` gave. None if nothing is.
        """
        for batch in in_batches(images, batch_size):
            yield from self._batch(batch, shape)

    def first_looks(self, images: Iterable[Picture], batch_size: int = 8) -> Iterator[FirstLook]:
        """Gives for each picture what it says of the shape of the person who is in all of them."""
        for batch in in_batches(images, batch_size):
            yield from self._first_looks(batch)

    def _batch(self, pictures: list[Picture], shape: ShapeGaussian | None) -> list[ImagePrediction]:
        """Predicts pictures together; if that fails, one by one, so that only the cause is lost."""
        try:
            return self._predict(pictures, shape)
        except Exception as error:  # whatever it is, it must not cost the other pictures
            if len(pictures) > 1:
                return [self._batch([picture], shape)[0] for picture in pictures]
            log.debug("a picture could not be predicted", exc_info=error)
            path = None if isinstance(pictures[0], Tensor) else str(pictures[0])
            message = (
                f"{path or 'picture'}: wanted a prediction, got {type(error).__name__}: {error}"
            )
            return [ImagePrediction(path, 0, 0, "failed", message)]

    @torch.no_grad()
    def _predict(
        self, pictures: list[Picture], shape: ShapeGaussian | None
    ) -> list[ImagePrediction]:
        seen, cases = self._see(pictures)
        bodies: list[list[PersonPrediction | str]] = [[] for _ in seen]
        for some in in_batches(cases, CHUNK):
            for case, body in zip(some, self._bodies(some, shape), strict=True):
                bodies[case.picture].append(body)
        return [self._image(result, found) for result, found in zip(seen, bodies, strict=True)]

    def _bodies(
        self, cases: Sequence[Case], shape: ShapeGaussian | None
    ) -> list[PersonPrediction | str]:
        """Predicts people together; if that fails, one by one, so that only the cause is lost.

        Returns:
            For each person a body, or why there is none.
        """
        try:
            answer, troubles = self._answer(cases)
            fine = [n for n, trouble in enumerate(troubles) if not trouble]
            people = iter(self._describe([cases[n] for n in fine], rows_of(answer, fine), shape))
            return [
                f"person {case.index}: wanted a body, the network gave {trouble}"
                if trouble
                else next(people)
                for case, trouble in zip(cases, troubles, strict=True)
            ]
        except (ValueError, RuntimeError) as error:  # such as a distribution that is none
            if len(cases) > 1:
                return [self._bodies([case], shape)[0] for case in cases]
            log.debug("a person could not be predicted", exc_info=error)
            (case,) = cases
            return [f"person {case.index}: wanted a body, got {type(error).__name__}: {error}"]

    @torch.no_grad()
    def _first_looks(self, pictures: list[Picture]) -> list[FirstLook]:
        """Looks at pictures together; if that fails, one by one."""
        try:
            _, cases = self._see(pictures)
            shapes: list[ShapeGaussian | None] = [None] * len(pictures)
            for some in in_batches([case for case in cases if case.told], CHUNK):
                answer, troubles = self._answer(some)
                for n, (case, trouble) in enumerate(zip(some, troubles, strict=True)):
                    if not trouble and isinstance(answer, FisherPrediction):
                        shapes[case.picture] = to_device(take(answer.shape, torch.tensor(n)), "cpu")
            return [FirstLook(failed=False, shape=shape) for shape in shapes]
        except Exception as error:  # as above
            if len(pictures) > 1:
                return [self._first_looks([picture])[0] for picture in pictures]
            log.debug("a picture could not be looked at", exc_info=error)
            return [FirstLook(failed=True, shape=None)]

    def _see(self, pictures: list[Picture]) -> tuple[list[ImageResult], list[Case]]:
        """Finds people, and makes what the network looks at."""
        most = None if self.person == "all" else self._told_of + 1
        seen = self.front_end(pictures, most)
        cases = []
        for n, (picture, result) in enumerate(zip(pictures, seen, strict=True)):
            found = result.numbered
            if self.person != "all":
                found = {n: one for n, one in found.items() if n == self._told_of}
            reads = self.regressor.proxy.reads_pictures
            pixels = open_picture(picture) if found and reads else None
            for index, person in found.items():
                told = self.told if index == self._told_of else Told()
                proxy = look_at(person, self.regressor.proxy, pixels)
                if self.told.gender and self.regressor.network.gendered:
                    sign = gender_sign(told.gender or "neutral")
                    proxy = replace(proxy, gender=torch.tensor(sign))
                cases.append(
                    Case(
                        picture=n,
                        name="" if isinstance(picture, Tensor) else Path(picture).name,
                        size=(result.height, result.width),
                        index=index,
                        person=person,
                        proxy=proxy,
                        told=told,
                    )
                )
        return seen, cases

    @property
    def _told_of(self) -> int:
        """Number of the person of whom something is told."""
        return self.person if isinstance(self.person, int) else 0

    def _answer(self, cases: Sequence[Case]) -> tuple[BodyPrediction, list[str]]:
        """Runs the network; says for each person what is wrong with its numbers, if anything."""
        batch = concatenate([map_tensors(case.proxy, lambda t: t[None]) for case in cases])
        batch = to_device(batch, self.device)
        regressor = self.regressor
        answer = regressor.predict(batch) if self.flip else regressor.network.predict(batch)
        return answer, troubles_of(answer)

    def _describe(
        self, cases: Sequence[Case], answer: BodyPrediction, shape: ShapeGaussian | None
    ) -> list[PersonPrediction]:
        """Conditions predictions on what is told, and describes them."""
        if not cases:
            return []
        doubts = [""] * len(cases)
        told = [n for n, case in enumerate(cases) if case.told]
        if told and isinstance(answer, FisherPrediction):
            others = [n for n in range(len(cases)) if n not in told]
            known, found = tell(rows_of(answer, told), self.describer.template, self.told, shape)
            order = torch.tensor([*told, *others]).argsort()
            answer = take(concatenate([known, rows_of(answer, others)]), order.to(self.device))
            doubts = [dict(zip(told, found, strict=True)).get(n, "") for n in range(len(cases))]
        return self.describer(cases, answer, doubts)

    def _image(
        self, seen: ImageResult, bodies: Sequence[PersonPrediction | str]
    ) -> ImagePrediction:
        people = tuple(body for body in bodies if isinstance(body, PersonPrediction))
        messages = [body for body in bodies if isinstance(body, str)]
        status: Status = seen.status
        if seen.status == "ok" and not people:
            status = "failed" if messages else "no_person"
            messages = messages or [
                f"wanted person {self._told_of} (counted from 0), found {_found(seen)}"
            ]
        if self.person == "all" and self.told and seen.people and 0 not in seen.numbered:
            messages.append(
                f"what is told ({', '.join(_names(self.told))}) is of person 0, who was not found: "
                "it counts for nobody in this picture"
            )
        message = "; ".join([seen.message] * bool(seen.message) + messages)
        if message and seen.path and not message.startswith(seen.path):
            message = f"{seen.path}: {message}"
        return ImagePrediction(seen.path, seen.width, seen.height, status, message, people)


def _found(seen: ImageResult) -> str:
    """Says how many people there are, and their numbers if some are missing."""
    numbers = list(seen.numbered)
    if numbers == list(range(len(numbers))):
        return str(len(numbers))
    return f"number {', '.join(map(str, numbers))}"


def _names(told: Told) -> list[str]:
    """Names what is told."""
    given = {"height": told.height, "gender": told.gender, "same person": told.same_person}
    return [name for name, value in given.items() if value]


def load_predictor(
    weights: Path | str = DEFAULT_WEIGHTS, device: torch.device | str = "cpu"
) -> Predictor:
    """Opens the weights and the front end that ship."""
    return Predictor(weights, load_embedded(device=device), device)


def _doubting(regressor: TrainedRegressor, least: float) -> TrainedRegressor:
    """Gives a network other limits of what counts as seen."""
    if not 0 <= least <= 1:
        raise ValueError(f"--limb-confidence: wanted 0 to 1, got {least:g}")
    if not regressor.reads_keypoints:
        raise ValueError(
            "--limb-confidence: wanted weights that read key points, got some that read "
            f"{regressor.proxy.channel} alone; do: leave it out"
        )
    return replace(regressor, proxy=replace(regressor.proxy, least_limb_confidence=least))


def _calibration_beside(path: Path, regressor: TrainedRegressor) -> Calibration | None:
    """Reads the calibration of weights, if they have one; it must be theirs."""
    beside = calibration_path(path)
    if not beside.is_file():
        return None
    return load_calibration(beside, str(regressor.card.get("sha256", "")))
