"""A front end without nets: key points and silhouettes are read from files.

For regressors that were trained on what OpenPose, HRNet, Mask R-CNN or DensePose say, and for
everybody who has such files already. `predict.reading.companions` tells how they are called,
`keypoint_files` and `mask_files` what may be in them. Nothing that is missing is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import scipy.optimize
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.predict.front_ends.crop import apply
from plausibody.predict.front_ends.embedded import SMALL, TOUCHES
from plausibody.predict.front_ends.front_end import (
    Flag,
    FrontEnd,
    ImageResult,
    Person,
    Picture,
    below,
    describe_front_end,
)
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.front_ends.silhouettes import Silhouette, Silhouettes, share_in
from plausibody.predict.looking import boxes_or_explain, open_or_explain
from plausibody.predict.reading.boxes import Boxes, WholePicture, overlaps
from plausibody.predict.reading.companions import KEYPOINTS, Companions
from plausibody.predict.reading.keypoint_files import KeypointFiles

LEAST_OVERLAP = 0.3
"""Common over joint area of a told box and a person's for the person to be meant."""
LEAST_HELD = 0.75
"""Share of the sure key points that a silhouette must hold to be trusted."""
SHARED = 0.02
"""Share of a silhouette that another person's must cover to be flagged."""


@dataclass(frozen=True)
class FilesFrontEnd:
    """Reads what others have found."""

    keypoints: KeypointFiles
    silhouettes: Silhouettes
    boxes: Boxes | None = None
    """Who is meant of several people; None for all of them."""

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others.

        Pictures must be files, as the files that belong to them are found by their names.
        """
        return [self._look(picture, max_people) for picture in pictures]

    def _look(self, picture: Picture, max_people: int | None) -> ImageResult:
        image = open_or_explain(picture)
        if isinstance(image, ImageResult):
            return image
        height, width = image.shape[:2]
        told: Tensor | None = None
        if self.boxes is not None:
            answer = boxes_or_explain(self.boxes, picture, image)
            if isinstance(answer, ImageResult):
                return answer
            told = answer
        if isinstance(picture, Tensor):
            message = "wanted a photo in a file, to find key points by its name, came only pixels"
            return ImageResult(None, width, height, "unreadable", message)
        try:
            name, points = self.keypoints.of(Path(picture))
            outlines = self.silhouettes(picture, width, height, points)
        except (ValueError, OSError) as error:
            return ImageResult(str(picture), width, height, "unreadable", str(error))
        people, message = self._people(points, outlines, name)
        if told is not None:
            people, missing = _chosen(people, told, isinstance(self.boxes, WholePicture))
            message = "; ".join(filter(None, (message, missing)))
        else:
            people.sort(key=lambda person: -person.soft_mask.area() * person.score)
        return ImageResult(
            path=str(picture),
            width=width,
            height=height,
            status="ok" if people else "no_person",
            message=message,
            people=below(people, max_people),
        )

    def _people(
        self,
        keypoints: Float[Tensor, "N 17 3"],
        outlines: Sequence[Silhouette | None],
        name: str,
    ) -> tuple[list[Person], str]:
        """Puts people together; says of whom there is no silhouette."""
        people = [
            person_from(points, outline)
            for points, outline in zip(keypoints, outlines, strict=True)
            if outline is not None
        ]
        missing = [n for n, outline in enumerate(outlines) if outline is None]
        message = ""
        if not len(keypoints):
            message = f"{name}: no person in it; do: nothing, or look with another front end"
        elif missing:
            message = (
                f"{name}: no silhouette shows the key points of person "
                f"{', '.join(map(str, missing))} of {len(keypoints)} (from 0); do: add a mask, or "
                "take silhouettes from elsewhere (--silhouette-from)"
            )
        return with_overlaps(people), message

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        told = self.boxes.describe() if self.boxes else {}
        return {
            "name": "files",
            "keypoints": self.keypoints.digest(),
            **self.silhouettes.describe(),
            **told,
        }

    def check(self, photos: Sequence[Path]) -> None:
        """Looks whether the files can be meant for these photos.

        Raises:
            ValueError: If none of them has key points, or two have the same.
        """
        if photos and not any(self.keypoints.knows(photo) for photo in photos):
            raise ValueError(
                f"{self.keypoints.root}: wanted key points of {photos[0].name} or another of the "
                f"{len(photos)} photos, found none; do: call them like the photos, such as "
                f"{photos[0].stem}_keypoints.json"
            )
        if self.keypoints.named is None:
            check_owners(Companions(self.keypoints.root, KEYPOINTS), photos)


@dataclass(frozen=True)
class OtherSilhouettes:
    """Another front end's people, with silhouettes from elsewhere."""

    front_end: FrontEnd
    silhouettes: Silhouettes

    @property
    def boxes(self) -> Boxes | None:
        """Where the people are looked for, if that is told."""
        boxes: Boxes | None = getattr(self.front_end, "boxes", None)
        return boxes

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        seen = self.front_end(pictures, max_people)
        return [
            self._replace(picture, result) if result.people else result
            for picture, result in zip(pictures, seen, strict=True)
        ]

    def _replace(self, picture: Picture, result: ImageResult) -> ImageResult:
        numbered = result.numbered
        keypoints = torch.stack([person.keypoints for person in numbered.values()])
        try:
            found = self.silhouettes(picture, result.width, result.height, keypoints)
        except (ValueError, OSError) as error:
            return replace(result, status="unreadable", message=str(error), people=())
        people, missing = [], []
        for (n, person), outline in zip(numbered.items(), found, strict=True):
            if outline is None:
                missing.append(n)
                continue
            other = person_from(person.keypoints, outline)
            kept = person.flags & {"truncated", "small", "low_agreement"}
            people.append(
                replace(
                    person,
                    soft_mask=outline.mask,
                    flags=other.flags | kept,
                    number=n,  # also where somebody before has no mask
                    extras={**person.extras, **outline.extras},
                )
            )
        message = result.message
        if missing:
            note = (
                f"no mask shows person {', '.join(map(str, missing))} of {len(result.people)} "
                "(from 0) whom the front end found; do: add one"
            )
            message = "; ".join(filter(None, (message, note)))
        return replace(
            result,
            status="ok" if people else "no_person",
            message=message,
            people=tuple(with_overlaps(people)),
        )

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        return {**describe_front_end(self.front_end), **self.silhouettes.describe()}


def person_from(keypoints: Float[Tensor, "17 3"], outline: Silhouette) -> Person:
    """Puts a person together of key points and a silhouette."""
    mask = outline.mask
    size = keypoints.new_tensor([mask.width, mask.height])
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= size)).all(-1)
    seen = torch.cat([keypoints[:, :2], keypoints[:, 2:] * inside[:, None]], 1)
    box = _box(seen, mask)
    extent = max(1.0, float((box[2:] - box[:2]).max()))
    flags: set[Flag] = set()
    beyond = bool(((keypoints[:, 2] > 0) & ~inside).any())
    if beyond or mask.along_border() > TOUCHES * extent:
        flags.add("truncated")
    if extent < SMALL * max(mask.width, mask.height):
        flags.add("small")
    if share_in(seen, mask) < LEAST_HELD:
        flags.add("mask_unreliable")
    known = seen[seen[:, 2] > 0, 2]
    return Person(
        score=float(known.mean()) if len(known) else 0.0,
        box=box,
        keypoints=seen,
        soft_mask=mask,
        flags=frozenset(flags),
        extras=outline.extras,
    )


def with_overlaps(people: list[Person]) -> list[Person]:
    """Flags people of whose silhouettes another's covers a part."""
    flagged = []
    for person in people:
        low, high = person.box[:2], person.box[2:]
        near = [
            other
            for other in people
            if other is not person and (other.box[:2] < high).all() and (low < other.box[2:]).all()
        ]
        if near:
            mine = person.mask() > 0.5
            theirs = torch.stack([other.mask() > 0.5 for other in near]).any(0)
            if (mine & theirs).sum() > SHARED * mine.sum():
                person = replace(person, flags=person.flags | {"overlap"})
        flagged.append(person)
    return flagged


def check_owners(companions: Companions, photos: Sequence[Path]) -> None:
    """Looks whether each file belongs to one photo.

    Raises:
        ValueError: If two photos share one.
    """
    owners: dict[str, int] = {}
    for number, photo in enumerate(photos):
        for path in companions.of(photo):
            first = photos[owners.setdefault(str(path), number)]
            if first != photo:
                raise ValueError(
                    f"{path}: wanted {companions.kind.what} of one photo, found {first} and "
                    f"{photo}, both called so; do: put them into folders called "
                    f"{first.parent.name} and {photo.parent.name}, or name them "
                    f"{first.name}{path.suffix} and so on"
                )


def _box(keypoints: Float[Tensor, "17 3"], mask: SoftMask) -> Float[Tensor, " 4"]:
    """Gives left, top, right, bottom of silhouette and key points in the picture [px]."""
    places = keypoints[keypoints[:, 2] > 0, :2]
    inside = mask.logits > 0
    rows = inside.any(1).nonzero()[:, 0].float()
    if len(rows):
        part = inside[inside.any(1)].to(torch.uint8)
        first, last = part.argmax(1).float(), part.shape[1] - part.flip(1).argmax(1).float()
        # The ends of each row hold all corners of the hull, however the grid is turned.
        ends = [torch.stack([x, y], -1) for x in (first, last) for y in (rows, rows + 1)]
        places = torch.cat([places, apply(mask.to_picture, torch.cat(ends))])
    if not len(places):
        return torch.tensor([0.0, 0.0, mask.width, mask.height])
    limit = places.new_tensor([mask.width, mask.height])
    places = places.clamp(min=0).minimum(limit)
    return torch.cat([places.amin(0), places.amax(0)])


def _chosen(
    people: Sequence[Person], told: Float[Tensor, "N 4"], whole: bool
) -> tuple[list[Person], str]:
    """Takes the people whom boxes mean, in the order of the boxes.

    Args:
        whole: Whether the only box is the whole picture, which nobody fills exactly.
    """
    if not people or not len(told):
        return [], "" if len(told) else "no person told of; do: add a box if there is one"
    common = torch.stack([overlaps(told, person.box) for person in people], 1)
    rows, columns = scipy.optimize.linear_sum_assignment(-common.numpy())
    pairs = {
        row: column
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if whole or common[row, column] >= LEAST_OVERLAP
    }
    missing = [row for row in range(len(told)) if row not in pairs]
    message = ""
    if missing:
        message = (
            f"no person of the files is in box {', '.join(map(str, missing))} of {len(told)} (from "
            "0); do: check the boxes"
        )
    return [replace(people[pairs[row]], number=row) for row in sorted(pairs)], message
