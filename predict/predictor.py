"""Photos in, bodies out: front end, proxy, network, and how well the result fits the evidence."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import PosedBody, regress
from plausibody.models.camera import PerspectiveCamera, WeakPerspectiveCamera
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.proxy import Box, Observation, Proxy, make_proxy
from plausibody.models.records import concatenate, map_tensors, take, to_device
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.embedded import load_embedded
from plausibody.predict.fit import Fit, measure_fit
from plausibody.predict.front_end import FrontEnd, ImageResult, Person, Picture
from plausibody.predict.placement import DIAGONAL_VIEW, PictureCamera, to_perspective
from plausibody.synth.stores import load_regressors

log = logging.getLogger(__name__)

Status = Literal["ok", "no_person", "unreadable", "too_small", "failed"]

CHUNK = 64
"""People whom the network looks at, and whose bodies are posed, at a time."""
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
class PersonPrediction:
    """The body of one person. Its tensors have no batch axis and are on the CPU."""

    index: int
    """Place among the picture's people; 0 is the main one."""
    evidence: Person
    """What the front end saw."""
    box: Box
    """The square that the regressor looked at."""
    prediction: BodyPrediction
    """Parameters, and the camera over the box."""
    camera: PictureCamera
    """The same camera over the whole picture; overlays use it."""
    perspective: PerspectiveCamera
    """The nearest pinhole camera, of an assumed focal length."""
    body: PosedBody
    """The most probable body, in the world: y up, facing +z if it faces the camera [m]."""
    keypoints: Float[Tensor, "17 2"]
    """COCO-17 of that body, in the picture [px]."""
    fit: Fit
    warnings: tuple[str, ...]
    """Reasons to look twice; empty if there are none."""


@dataclass(frozen=True)
class ImagePrediction:
    """What became of one picture."""

    path: str | None
    """None if the picture did not come from a file."""
    width: int
    """Of the upright picture [px]; 0 if it could not be read."""
    height: int
    status: Status
    """ok as soon as there is one body."""
    message: str = ""
    """Why there is no body, or why there are fewer than people."""
    people: tuple[PersonPrediction, ...] = ()
    """The main person first."""


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
    ):
        """Args:
        weights: A network; or the file of one; or the name of one that ships, such as "lite".
        person: Who is predicted: all, the main person, or the one with this number, from 0.
        flip: Whether to average with what the network says of the mirror image; twice the time.
        diagonal_view: Angle of view of the pinhole camera over the picture's diagonal [rad].
        """
        if isinstance(person, int) and person < 0:
            raise ValueError(f"person: wanted all, main or a number from 0, got {person}")
        if isinstance(weights, TrainedRegressor):
            self.regressor, self.weights_name = weights, "in memory"
        else:
            path = find_weights(weights)
            self.regressor, self.weights_name = load_regressor(path, device), path.stem
        self.weights_sha256 = str(self.regressor.card.get("sha256", ""))
        self.front_end = front_end
        self.device = torch.device(device)
        self.template = load_template(self.regressor.body, self.regressor.gender)
        self.coco17 = load_regressors(self.template).coco17
        self.person = person
        self.flip = flip
        self.diagonal_view = diagonal_view

    def __call__(self, images: Sequence[Picture]) -> list[ImagePrediction]:
        """Gives one result per picture, in the same order."""
        return self._batch(list(images))

    def stream(self, images: Iterable[Picture], batch_size: int = 8) -> Iterator[ImagePrediction]:
        """Gives one result per picture in the same order, holding one batch in memory at a time."""
        if batch_size < 1:
            raise ValueError(f"batch size: wanted at least 1, got {batch_size}")
        images = iter(images)
        while batch := list(itertools.islice(images, batch_size)):
            yield from self._batch(batch)

    def _batch(self, pictures: list[Picture]) -> list[ImagePrediction]:
        """Predicts pictures together; if that fails, one by one, so that only the cause is lost."""
        try:
            return self._predict(pictures)
        except Exception as error:  # whatever it is, it must not cost the other pictures
            if len(pictures) > 1:
                return [self._batch([picture])[0] for picture in pictures]
            log.debug("a picture could not be predicted", exc_info=error)
            path = None if isinstance(pictures[0], Tensor) else str(pictures[0])
            message = (
                f"{path or 'picture'}: wanted a prediction, got {type(error).__name__}: {error}"
            )
            return [ImagePrediction(path, 0, 0, "failed", message)]

    @torch.no_grad()
    def _predict(self, pictures: list[Picture]) -> list[ImagePrediction]:
        seen = self.front_end(pictures, self._most())
        chosen = [
            (picture, index)
            for picture, result in enumerate(seen)
            for index in range(len(result.people))
            if not isinstance(self.person, int) or index == self.person
        ]
        people = [seen[picture].people[index] for picture, index in chosen]
        looked = [make_proxy(person.observation(), self.regressor.proxy) for person in people]
        answers = self._look(looked)
        bodies: dict[int, list[PersonPrediction | str]] = {picture: [] for picture, _ in chosen}
        for (picture, index), person, proxy, answer in zip(
            chosen, people, looked, answers, strict=True
        ):
            size = (seen[picture].height, seen[picture].width)
            bodies[picture].append(self._person(index, person, proxy, answer, size))
        return [self._image(result, bodies.get(n, [])) for n, result in enumerate(seen)]

    def _most(self) -> int | None:
        """How many people per picture the front end must find."""
        if isinstance(self.person, int):
            return self.person + 1
        return 1 if self.person == "main" else None

    def _look(self, proxies: list[Proxy]) -> list[BodyPrediction]:
        """Runs the network over the people of all pictures."""
        answers: list[BodyPrediction] = []
        for start in range(0, len(proxies), CHUNK):
            some = proxies[start : start + CHUNK]
            batch = concatenate([map_tensors(proxy, lambda t: t[None]) for proxy in some])
            answer = to_device(self._answer(to_device(batch, self.device)), "cpu")
            answers += [take(answer, torch.tensor(n)) for n in range(len(some))]
        return answers

    def _answer(self, batch: Proxy) -> BodyPrediction:
        regressor = self.regressor
        return regressor.predict(batch) if self.flip else regressor.network.predict(batch)

    def _person(
        self,
        index: int,
        person: Person,
        proxy: Proxy,
        answer: BodyPrediction,
        size: tuple[int, int],
    ) -> PersonPrediction | str:
        """Places a body in the picture; gives a message if the network's numbers are no body."""
        mode = answer.mode()
        if trouble := _trouble(mode, answer.camera):
            return f"person {index}: wanted a body, the network gave {trouble}"
        body = mode.posed(self.template)
        camera = PictureCamera.of(answer.camera, proxy.box)
        observation = person.observation()
        keypoints = camera.project(regress(self.coco17, body.vertices))[:, :2]
        fit = measure_fit(
            observation, proxy.box, camera, body.vertices, self.template.faces, keypoints
        )
        return PersonPrediction(
            index=index,
            evidence=person,
            box=proxy.box,
            prediction=answer,
            camera=camera,
            perspective=to_perspective(camera, body.joints, size, self.diagonal_view),
            body=body,
            keypoints=keypoints,
            fit=fit,
            warnings=_warnings(person, observation, fit),
        )

    def _image(
        self, seen: ImageResult, bodies: Sequence[PersonPrediction | str]
    ) -> ImagePrediction:
        people = tuple(body for body in bodies if isinstance(body, PersonPrediction))
        messages = [body for body in bodies if isinstance(body, str)]
        status: Status = seen.status
        if seen.status == "ok" and not people:
            status = "failed" if messages else "no_person"
            messages = messages or [
                f"wanted person {self.person} (counted from 0), found {len(seen.people)}"
            ]
        message = "; ".join([seen.message] * bool(seen.message) + messages)
        if message and seen.path and not message.startswith(seen.path):
            message = f"{seen.path}: {message}"
        return ImagePrediction(seen.path, seen.width, seen.height, status, message, people)


def load_predictor(weights: Path | str = "lite", device: torch.device | str = "cpu") -> Predictor:
    """Opens the weights and the front end that ship."""
    return Predictor(weights, load_embedded(device=device), device)


def _trouble(mode: BodyParameters, camera: WeakPerspectiveCamera) -> str:
    """Says what is wrong with a network's numbers; nothing if they are a body."""
    numbers = [mode.shape, mode.rotations, camera.scale, camera.shift]
    if not all(torch.isfinite(number).all() for number in numbers):
        return "numbers that are not finite"
    if camera.scale <= 0:
        return f"a camera of scale {float(camera.scale):.3g}, wanted more than 0"
    return ""


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
