"""The front end that ships: MoveNet finds people, BlazePose outlines them, both place the joints.

15 MB of weights, torch alone, about a tenth of a second per person on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from plausibody.predict.front_ends.blazepose import (
    SIZE,
    BlazePose,
    Sight,
    crop_from_keypoints,
    load_blazepose,
)
from plausibody.predict.front_ends.crop import Crop, apply, inverse
from plausibody.predict.front_ends.front_end import Flag, ImageResult, Person, Picture, below
from plausibody.predict.front_ends.fusing import fuse
from plausibody.predict.front_ends.mask import SoftMask, separate, without_islands
from plausibody.predict.front_ends.movenet import (
    MoveNet,
    Poses,
    crop_round,
    join,
    load_movenet,
    similarity,
)
from plausibody.predict.looking import boxes_or_explain, open_or_explain
from plausibody.predict.reading.boxes import Boxes, in_common, overlaps

MOST_PEOPLE, MOST_FAR_OFF = 16, 64
"""Looked at closely in one picture, and in one that is searched part by part. They do not depend on
how many are asked for, so that everybody keeps the same number."""
NEAR = 0.06
"""Share of the person's box within which two key points count as agreeing."""
LEAST_AGREEMENT = 0.5
LEAST_PRESENCE = 0.5
AROUND_BOX = 1.3
"""Side of the square looked at for a person in a box, over the longer side of the box."""
LEAST_IN_BOX = 0.05
"""How sure MoveNet must be of a person in a box; less than elsewhere, as somebody vouches."""
LEAST_IN_COMMON = 0.3
"""Of the smaller of a told box and a person's, for the person to be the one in the box."""
SAME = 0.6
"""Similarity of the key points from which people of two told boxes are one and the same."""
LISTED = 8
"""Numbers of boxes that a message lists at most."""
TOUCHES = 0.05
"""Share of the person's box along which a silhouette must run at the border to count as cut."""
SMALL = 0.12
"""Share of the picture's longer side below which finding people is luck."""


@dataclass(frozen=True)
class _Candidate:
    """A person on the way through the nets."""

    picture: int
    score: float
    box: Float[Tensor, " 4"]
    keypoints: Float[Tensor, "17 3"]
    """MoveNet's."""
    sight: Sight
    """BlazePose's."""
    told: tuple[int, Float[Tensor, " 4"]] | None = None
    """Number and place of the box in which the person was looked for, if boxes were given."""

    @property
    def number(self) -> int | None:
        """Of the told box; None if none was told."""
        return None if self.told is None else self.told[0]

    @property
    def fit(self) -> float:
        """How well the person fills the told box, 0..1."""
        return 0.0 if self.told is None else float(overlaps(self.box[None], self.told[1])[0])

    @property
    def extent(self) -> float:
        """Longer side of the box [px]."""
        return max(1.0, float((self.box[2:] - self.box[:2]).max()))


@dataclass(frozen=True)
class EmbeddedFrontEnd:
    """The nets and how they work together."""

    movenet: MoveNet
    blazepose: BlazePose
    keep_doubtful: bool = False
    """Whether to report, flagged and with an empty mask, people in whom the nets disagree."""
    boxes: Boxes | None = None
    """Where people are, if it is known: one is looked for in each box, and nowhere else. They then
    have the numbers of the boxes."""

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        opened: list[Tensor | ImageResult] = []
        told: dict[int, Tensor] = {}
        for index, picture in enumerate(pictures):
            image = open_or_explain(picture)
            if self.boxes is not None and isinstance(image, Tensor):
                found = boxes_or_explain(self.boxes, picture, image)
                if isinstance(found, Tensor):
                    told[index] = found
                else:
                    image = found
            opened.append(image)
        images = {
            index: image.permute(2, 0, 1)
            for index, image in enumerate(opened)
            if isinstance(image, Tensor)
        }
        most = MOST_FAR_OFF if self.movenet.tiled else MOST_PEOPLE
        candidates, counts = self._candidates(images, told, most)
        results = []
        for index, image in enumerate(opened):
            if isinstance(image, ImageResult):
                results.append(image)
                continue
            height, width = image.shape[:2]
            mine = [candidate for candidate in candidates if candidate.picture == index]
            if index in told:
                kept, twins = _without_twins(mine)
                people = below(self._people(kept, height, width), max_people)
                message = _missing(mine, told[index], self.keep_doubtful, twins, max_people)
            else:
                people = tuple(self._people(mine, height, width)[:max_people])
                notes = ["" if people else _nobody(mine)]
                if counts[index] > most:
                    notes.append(_too_many(counts[index], most, self.movenet.tiled))
                message = "; ".join(filter(None, notes))
            source = pictures[index]
            results.append(
                ImageResult(
                    path=None if isinstance(source, Tensor) else str(source),
                    width=width,
                    height=height,
                    status="ok" if people else "no_person",
                    message=message,
                    people=people,
                )
            )
        return results

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it."""
        return {
            "name": "embedded",
            "group_pass": self.movenet.group_pass,
            "tiled": self.movenet.tiled,
            "keep_doubtful": self.keep_doubtful,
        } | (self.boxes.describe() if self.boxes else {})

    def _candidates(
        self, images: dict[int, Tensor], told: dict[int, Tensor], most: int
    ) -> tuple[list[_Candidate], dict[int, int]]:
        """Runs the nets over all people of all pictures.

        Args:
            told: Boxes of people (left, top, right, bottom) [px] by picture.
            most: People in one picture at most, where no boxes are told.

        Returns:
            The people, and how many there may be in each picture.
        """
        counts: dict[int, int] = {}
        owners: list[int] = []
        boxes: list[tuple[int, Tensor] | None] = []
        found: list[Poses] = []
        for index, image in images.items():
            if index in told:
                poses, numbers = self._in_boxes(image, told[index])
                boxes += [(number, told[index][number]) for number in numbers]
            else:
                poses = self.movenet.find(image)
                counts[index] = len(poses)
                poses = poses[torch.arange(len(poses))[:most]]
                boxes += [None] * len(poses)
            owners += [index] * len(poses)
            found.append(poses)
        if not owners:
            return [], counts
        everybody = join(found)
        theirs = [images[index] for index in owners]
        fine = self._second_look(theirs, everybody)
        sights = self._sights(theirs, everybody.keypoints)
        candidates = [
            _Candidate(*of_person)
            for of_person in zip(
                owners, everybody.score.tolist(), everybody.box, fine, sights, boxes, strict=True
            )
        ]
        return candidates, counts

    def _in_boxes(self, image: Tensor, boxes: Float[Tensor, "N 4"]) -> tuple[Poses, list[int]]:
        """Gives whom MoveNet sees in each box, filling it best, and numbers of boxes not empty."""
        found, numbers = [], []
        for number, box in enumerate(boxes):
            side = AROUND_BOX * max(1.0, float((box[2:] - box[:2]).max()))
            x, y = ((box[:2] + box[2:]) / 2).tolist()
            poses = self.movenet.find_in_crop(image, Crop(x, y, side), LEAST_IN_BOX)
            inside = in_common(poses.box, box) >= LEAST_IN_COMMON
            poses = poses[inside.nonzero()[:, 0]]  # whoever stands beside the box is not meant
            if len(poses):
                best = (poses.score * overlaps(poses.box, box)).argmax()
                found.append(poses[best[None]])
                numbers.append(number)
        nobody = Poses(torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 17, 3))
        return join([nobody, *found]), numbers

    def _sights(self, images: list[Tensor], keypoints: Float[Tensor, "N 17 3"]) -> list[Sight]:
        """Looks twice with BlazePose, the second time where the first says the person is."""
        first = self.blazepose.look(images, [crop_from_keypoints(person) for person in keypoints])
        sure = [n for n, sight in enumerate(first) if sight.presence > LEAST_PRESENCE]
        second = self.blazepose.look([images[n] for n in sure], [first[n].next_crop for n in sure])
        better = {
            n: sight
            for n, sight in zip(sure, second, strict=True)
            if sight.presence > LEAST_PRESENCE
        }
        return [better.get(n, sight) for n, sight in enumerate(first)]

    def _second_look(self, images: list[Tensor], found: Poses) -> list[Float[Tensor, "17 3"]]:
        """Looks again with MoveNet at a crop of each person; keeps what it saw first if lost."""
        refined = []
        for image, outer, first in zip(images, found.box, found.keypoints, strict=True):
            poses = self.movenet.find_in_crop(image, crop_round(outer, first))
            area = (outer[2:] - outer[:2]).prod().expand(len(poses))
            alike = similarity(poses.keypoints, first.expand_as(poses.keypoints), area)
            again = len(poses) > 0 and float(alike.max()) > 0.3
            refined.append(poses.keypoints[alike.argmax()] if again else first)
        return refined

    def _people(self, candidates: list[_Candidate], height: int, width: int) -> list[Person]:
        """Accepts, outlines and orders the people of one picture."""
        accepted = [c for c in candidates if _is_accepted(c)]
        doubtful = [c for c in candidates if not _is_accepted(c)] if self.keep_doubtful else []
        raw = [_soft_mask(c.sight, height, width) for c in accepted]
        masks = [without_islands(mask) for mask in separate(raw)]
        people = [
            _person(candidate, mask, before)
            for candidate, mask, before in zip(accepted, masks, raw, strict=True)
        ]
        for candidate in doubtful:
            nothing = _soft_mask(candidate.sight, height, width).emptied()
            person = _person(candidate, nothing, nothing)
            people.append(replace(person, flags=person.flags | {"low_agreement"}))
        if self.boxes is not None:
            return sorted(people, key=lambda person: person.number or 0)
        return sorted(people, key=_rank)


def load_embedded(
    group_pass: bool = False,
    keep_doubtful: bool = False,
    device: torch.device | str = "cpu",
    *,
    tiled: bool = False,
    boxes: Boxes | None = None,
) -> EmbeddedFrontEnd:
    """Loads both nets from the assets.

    Args:
        group_pass: Whether to search a second time at twice the resolution, for groups and people
            smaller than 12 % of the picture; doubles the time.
        keep_doubtful: Whether to report people in whom the two nets disagree.
        tiled: Whether to search a third of the picture at a time as well, for people from 6 % of
            it, in about fifteen looks instead of one: half a second more on one core.
        boxes: Where to look for people instead of searching them.
    """
    movenet = load_movenet(group_pass, device, tiled)
    return EmbeddedFrontEnd(movenet, load_blazepose(device), keep_doubtful, boxes)


def _nobody(candidates: list[_Candidate]) -> str:
    if not candidates:
        return (
            "no person found; do: search it part by part (--distant), say where people are "
            "(--boxes), or use a picture in which they are larger: from an eighth of its longer "
            "side for one or a few, from a quarter in a crowd"
        )
    return (
        f"{len(candidates)} possible person(s) dismissed, because two nets disagree about where "
        "they are; do: crop the picture to the person"
    )


def _too_many(count: int, most: int, tiled: bool) -> str:
    further = "" if tiled else "search it part by part (--distant), "
    return (
        f"{count} possible people, of whom the {most} surest were looked at; do: {further}say "
        "where people are (--boxes), or crop the picture"
    )


def _without_twins(candidates: list[_Candidate]) -> tuple[list[_Candidate], dict[int, int]]:
    """Keeps everybody once, where several told boxes show the same person: in the one filled best.

    Returns:
        Whom to keep; and the numbers of the other boxes, each with that of the box kept.
    """
    kept: list[_Candidate] = []
    twins: dict[int, int] = {}
    # Of boxes that are as good as equal, the first.
    order = sorted(candidates, key=lambda c: (not _is_accepted(c), -round(c.fit, 2), c.number or 0))
    for candidate in order:
        twin = next((other for other in kept if _is_same(candidate, other)), None)
        if twin is None:
            kept.append(candidate)
        else:
            twins[candidate.number or 0] = twin.number or 0
    return kept, twins


def _is_same(one: _Candidate, other: _Candidate) -> bool:
    points = [fuse(c.sight.keypoints, c.keypoints, c.extent) for c in (one, other)]
    areas = [(c.box[2:] - c.box[:2]).prod() for c in (one, other)]
    return float(similarity(points[0], points[1], areas[0].maximum(areas[1]))) > SAME


def _missing(
    candidates: list[_Candidate],
    told: Float[Tensor, "N 4"],
    all_kept: bool,
    twins: dict[int, int],
    most: int | None,
) -> str:
    """Says in which boxes nobody was found, and which show somebody who is in another too.

    Args:
        most: Boxes from this number on are not asked about; None if all are.
    """
    if not len(told):
        return "no person told of; do: add a box if there is one"
    seen = {c.told[0] for c in candidates if c.told and (all_kept or _is_accepted(c))}
    asked = range(len(told) if most is None else min(most, len(told)))
    missing = [number for number in asked if number not in seen and number not in twins]
    notes = []
    if missing:
        notes.append(
            f"no person recognised in box {_listed(missing)} of {len(told)} (from 0); "
            "do: check the boxes, or give key points and masks as files (--front-end files)"
        )
    for kept in sorted(set(twins.values())):
        doubles = [number for number in asked if twins.get(number) == kept]
        if doubles:
            notes.append(
                f"box {_listed(doubles)} of {len(told)} (from 0) shows the same person as box "
                f"{kept}, who is kept only there; do: give one box for each person"
            )
    return "; ".join(notes)


def _listed(numbers: list[int]) -> str:
    rest = len(numbers) - LISTED
    return ", ".join(map(str, numbers[:LISTED])) + (f" and {rest} more" if rest > 0 else "")


def _is_accepted(candidate: _Candidate) -> bool:
    return candidate.sight.presence >= LEAST_PRESENCE and agreement(candidate) >= LEAST_AGREEMENT


def agreement(candidate: _Candidate) -> float:
    """Gives the share of MoveNet's sure key points that BlazePose confirms."""
    sure = candidate.keypoints[:, 2] > 0.2
    apart = candidate.sight.keypoints[:, :2] - candidate.keypoints[:, :2]
    near = torch.linalg.vector_norm(apart, dim=-1) < NEAR * candidate.extent
    return float((near & sure).sum() / sure.sum().clamp(min=1))


def _soft_mask(sight: Sight, height: int, width: int) -> SoftMask:
    return SoftMask(sight.mask, sight.crop.to_picture(SIZE), height, width)


def _person(candidate: _Candidate, mask: SoftMask, before: SoftMask) -> Person:
    """Puts a person together.

    Args:
        before: The mask before other people's claims and islands were removed.
    """
    keypoints = fuse(candidate.sight.keypoints, candidate.keypoints, candidate.extent)
    size = keypoints.new_tensor([mask.width, mask.height])
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= size)).all(-1)
    keypoints = torch.cat([keypoints[:, :2], keypoints[:, 2:] * inside[:, None]], 1)
    flags: set[Flag] = set()
    if not inside.all() or mask.along_border() > TOUCHES * candidate.extent:
        flags.add("truncated")
    if candidate.extent < SMALL * max(mask.width, mask.height):
        flags.add("small")
    if mask.area() < 0.98 * without_islands(before).area():
        flags.add("overlap")
    if _share_in_mask(keypoints, mask) < 0.75:
        flags.add("mask_unreliable")
    return Person(
        score=candidate.score,
        box=candidate.box if candidate.told is None else candidate.told[1],
        keypoints=keypoints,
        soft_mask=mask,
        agreement=agreement(candidate),
        flags=frozenset(flags),
        number=candidate.number,
        extras={"landmarks33": candidate.sight.landmarks, "world33": candidate.sight.world},
    )


def _share_in_mask(keypoints: Float[Tensor, "17 3"], mask: SoftMask) -> float:
    """Gives the share of the sure key points that lie in the silhouette or close to it."""
    sure = keypoints[:, 2] > 0.5
    if not sure.any():
        return 0.0
    places = apply(inverse(mask.to_picture), keypoints[sure, :2]).floor().long()
    column, row = places.clamp(min=0, max=SIZE - 1).unbind(-1)
    wider = F.max_pool2d(mask.logits[None, None], 9, 1, 4)[0, 0]
    return float((wider[row, column] > 0).float().mean())


def _rank(person: Person) -> tuple[bool, int, float]:
    """Orders people: first by area times score in steps of 10 %, then by nearness to the middle."""
    weight = person.soft_mask.area() * person.score
    middle = (person.box[:2] + person.box[2:]) / 2
    size = middle.new_tensor([person.soft_mask.width, person.soft_mask.height])
    off_centre = float(torch.linalg.vector_norm(middle - size / 2))
    step = round(math.log(max(weight, 1e-6)) / math.log(1.1))
    return "low_agreement" in person.flags, -step, off_centre
