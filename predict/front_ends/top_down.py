"""People first, then their key points: joins a front end that finds people and a network that
looks at one person at a time.

Such networks give better key points than those that search a whole picture, and say nothing of
boxes and masks: these are as the front end gives them that found the people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.batches import in_batches
from plausibody.predict.front_ends.embedded import LEAST_AGREEMENT, NEAR
from plausibody.predict.front_ends.files import person_from
from plausibody.predict.front_ends.front_end import (
    FrontEnd,
    ImageResult,
    Person,
    Picture,
    describe_front_end,
)
from plausibody.predict.front_ends.heatmaps import MARGIN, crop_affine, cut
from plausibody.predict.front_ends.mask import SURELY_NOT, SoftMask
from plausibody.predict.front_ends.silhouettes import Silhouette
from plausibody.predict.looking import boxes_or_explain, open_or_explain
from plausibody.predict.reading.boxes import Boxes

SURE = 0.2
"""Least confidence of a key point to count as seen. Source: HRNet's evaluation on COCO."""


@runtime_checkable
class KeypointNetwork(Protocol):
    """Finds the key points of a person in an upright crop."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the crops [px]."""
        ...

    def __call__(self, crops: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 17 3"]:
        """Gives COCO-17: x, y in pixels of the crop, and confidence 0..1, on the CPU.

        Args:
            crops: RGB, normalised by ImageNet's mean and deviation.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Gives what the answers depend on; JSON can hold it."""
        ...


@dataclass(frozen=True)
class TopDownFrontEnd:
    """People as one front end finds and outlines them, with key points by a network.

    Key points outside the picture get confidence 0. `agreement` is that of the network with the
    key points of the other front end, where it has any.
    """

    name: str
    people: FrontEnd
    """Finds the people. Their boxes are looked into, their masks are kept."""
    keypoints: KeypointNetwork
    batch: int = 8
    """Crops looked at together."""
    margin: float = MARGIN
    """Sides of a crop over those of the person's box."""

    def __post_init__(self) -> None:
        if self.margin <= 0 or self.batch < 1:
            raise ValueError(
                f"{self.name}: wanted a margin above 0 and a batch of 1 or more, got {self.margin} "
                f"and {self.batch}"
            )

    @property
    def boxes(self) -> Boxes | None:
        """Where the people are looked for, if that is told."""
        boxes: Boxes | None = getattr(self.people, "boxes", None)
        return boxes

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        results = self.people(pictures, max_people)
        looked: list[list[Person]] = [[] for _ in results]
        for some in in_batches(self._cut(pictures, results), self.batch):
            found = self.keypoints(torch.stack([one.crop for one in some]))
            for one, points in zip(some, found, strict=True):
                linear, shift = one.to_picture[:, :2], one.to_picture[:, 2]
                there = torch.cat([points[:, :2] @ linear.mT + shift, points[:, 2:]], 1)
                looked[one.picture].append(with_keypoints(one.person, there))
        return [
            replace(result, people=tuple(people)) if people or not result.people else _lost(result)
            for result, people in zip(results, looked, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        return {
            "name": self.name,
            "keypoints": self.keypoints.describe(),
            "margin": self.margin,
            "people": describe_front_end(self.people),
        }

    def _cut(self, pictures: Sequence[Picture], results: Sequence[ImageResult]) -> Iterator[_Cut]:
        """Cuts people out, one at a time; skips pictures that have become unreadable."""
        width, height = self.keypoints.size
        for n, (source, result) in enumerate(zip(pictures, results, strict=True)):
            picture = open_or_explain(source) if result.people else None
            if not isinstance(picture, Tensor):
                continue
            for person in result.people:
                affine = crop_affine(person.box, width, height, self.margin)
                yield _Cut(n, person, cut(picture, affine, width, height), affine)


@dataclass(frozen=True)
class _Cut:
    """A person, cut out."""

    picture: int
    person: Person
    crop: Float[Tensor, "3 H W"]
    to_picture: Float[Tensor, "2 3"]


@dataclass(frozen=True)
class BoxedPeople:
    """A front end that is told where people are and knows nothing else of them.

    They have no key points and no mask: good for regressors that read edges, such as HierProb3D,
    not for those that read silhouettes. `load_embedded(boxes=...)` outlines people in boxes.
    """

    boxes: Boxes

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        return [self._look(picture, max_people) for picture in pictures]

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        return {"name": "boxes"} | self.boxes.describe()

    def _look(self, picture: Picture, max_people: int | None) -> ImageResult:
        image = open_or_explain(picture)
        if isinstance(image, ImageResult):
            return image
        told = boxes_or_explain(self.boxes, picture, image)
        if isinstance(told, ImageResult):
            return told
        height, width = image.shape[:2]
        whole = torch.tensor([[float(width), 0.0, 0.0], [0.0, float(height), 0.0]])
        nothing = SoftMask(torch.full((1, 1), SURELY_NOT), whole, height, width)
        people = tuple(
            Person(
                score=1.0,
                box=box,
                keypoints=torch.zeros(17, 3),
                soft_mask=nothing,
                flags=frozenset({"mask_unreliable"}),
            )
            for box in told[:max_people]
        )
        path = None if isinstance(picture, Tensor) else str(picture)
        message = "" if people else "no box is given for this picture; do: add one"
        status: Literal["ok", "no_person"] = "ok" if people else "no_person"
        return ImageResult(path, width, height, status, message, people)


def with_keypoints(person: Person, keypoints: Float[Tensor, "17 3"]) -> Person:
    """Puts other key points into a person, and looks anew at what depends on them.

    Whether the mask is to be trusted is judged by the new key points, and so is the agreement.
    """
    mask = person.soft_mask
    size = keypoints.new_tensor([mask.width, mask.height])
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= size)).all(-1)
    seen = torch.cat([keypoints[:, :2], keypoints[:, 2:] * inside[:, None]], 1)
    flags = person_from(seen, Silhouette(mask)).flags | (person.flags - {"mask_unreliable"})
    if (keypoints[~inside, 2] > SURE).any():
        flags |= {"truncated"}
    agreement = _agreement(seen, person)
    if agreement < LEAST_AGREEMENT:
        flags |= {"low_agreement"}
    return replace(person, keypoints=seen, agreement=agreement, flags=frozenset(flags))


def _agreement(keypoints: Float[Tensor, "17 3"], person: Person) -> float:
    """Gives the share of the person's sure key points that others confirm; 1 if there are none."""
    before = person.keypoints
    sure = before[:, 2] > SURE
    if not sure.any():
        return 1.0
    extent = (person.box[2:] - person.box[:2]).max().clamp(min=1.0)
    apart = torch.linalg.vector_norm(keypoints[:, :2] - before[:, :2], dim=-1)
    near = (apart < NEAR * extent) & (keypoints[:, 2] > SURE)
    return float((near & sure).sum() / sure.sum())


def _lost(result: ImageResult) -> ImageResult:
    message = f"{result.path}: wanted to read it a second time, for key points, but could not"
    return replace(result, status="unreadable", message=message, people=())
