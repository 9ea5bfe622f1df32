"""The front end that ships: MoveNet finds people, BlazePose outlines them, both place the joints.

15 MB of weights, torch alone, about a tenth of a second per person on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.skeleton import COCO17
from plausibody.predict.blazepose import (
    SIZE,
    BlazePose,
    Sight,
    crop_from_keypoints,
    load_blazepose,
)
from plausibody.predict.crop import apply, inverse, sample
from plausibody.predict.front_end import Flag, ImageResult, Person, Picture
from plausibody.predict.mask import SoftMask, separate, without_islands
from plausibody.predict.movenet import (
    COARSE,
    MoveNet,
    Poses,
    crop_round,
    load_movenet,
    similarity,
)
from plausibody.predict.photo import LEAST_SIDE, PhotoError, read_photo

MOST_PEOPLE = 16
"""Looked at closely in one picture, unless more are asked for."""
AGREE, PART = 0.04, 0.08
"""Shares of the person's box: nearer than the first, the nets' key points are averaged; farther
apart than the second, one is chosen; blended between. A hard switch would make points jump."""
NEAR = 0.06
"""Share of the person's box within which two key points count as agreeing."""
LEAST_AGREEMENT = 0.5
LEAST_PRESENCE = 0.5
HIP_WEIGHT = 0.4
"""Weight of BlazePose's hips. They lie elsewhere than COCO's, of which MoveNet's are closer."""
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

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others."""
        opened = [_open(picture) for picture in pictures]
        images = {
            index: image.permute(2, 0, 1)
            for index, image in enumerate(opened)
            if isinstance(image, Tensor)
        }
        most = MOST_PEOPLE if max_people is None else max(MOST_PEOPLE, max_people)
        candidates = self._candidates(images, most)
        results = []
        for index, image in enumerate(opened):
            if isinstance(image, ImageResult):
                results.append(image)
                continue
            height, width = image.shape[:2]
            mine = [candidate for candidate in candidates if candidate.picture == index]
            people = self._people(mine, height, width)[:max_people]
            source = pictures[index]
            results.append(
                ImageResult(
                    path=None if isinstance(source, Tensor) else str(source),
                    width=width,
                    height=height,
                    status="ok" if people else "no_person",
                    message="" if people else _nobody(mine),
                    people=tuple(people),
                )
            )
        return results

    def _candidates(self, images: dict[int, Tensor], most: int) -> list[_Candidate]:
        """Runs the nets over all people of all pictures."""
        owners: list[int] = []
        found: list[Poses] = []
        for index, image in images.items():
            poses = self.movenet.find(image)
            owners += [index] * min(most, len(poses))
            found.append(poses[torch.arange(len(poses))[:most]])
        if not owners:
            return []
        score = torch.cat([poses.score for poses in found])
        box = torch.cat([poses.box for poses in found])
        coarse = torch.cat([poses.keypoints for poses in found])
        theirs = [images[index] for index in owners]
        fine = self._second_look(theirs, box, coarse)
        sights = self._sights(theirs, coarse)
        return [
            _Candidate(owner, *of_person)
            for owner, *of_person in zip(owners, score.tolist(), box, fine, sights, strict=True)
        ]

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

    def _second_look(
        self, images: list[Tensor], box: Float[Tensor, "N 4"], keypoints: Float[Tensor, "N 17 3"]
    ) -> list[Float[Tensor, "17 3"]]:
        """Looks again with MoveNet at a crop of each person; keeps what it saw first if lost."""
        refined = []
        crops = [
            crop_round(*person).to_picture(COARSE) for person in zip(box, keypoints, strict=True)
        ]
        for image, affine, outer, first in zip(images, crops, box, keypoints, strict=True):
            square = sample(image, affine, COARSE, COARSE)
            (poses,) = self.movenet.find_in_crops(square[None].to(self.movenet.graph.device))
            there = torch.cat(
                [apply(affine, poses.keypoints[..., :2]), poses.keypoints[..., 2:]], -1
            )
            area = (outer[2:] - outer[:2]).prod().expand(len(there))
            alike = similarity(there, first.expand_as(there), area)
            found = len(there) > 0 and float(alike.max()) > 0.3
            refined.append(there[alike.argmax()] if found else first)
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
        return sorted(people, key=_rank)


def load_embedded(
    group_pass: bool = False, keep_doubtful: bool = False, device: torch.device | str = "cpu"
) -> EmbeddedFrontEnd:
    """Loads both nets from the assets.

    Args:
        group_pass: Whether to search a second time at twice the resolution, for groups and people
            smaller than 12 % of the picture; doubles the time.
        keep_doubtful: Whether to report people in whom the two nets disagree.
    """
    return EmbeddedFrontEnd(load_movenet(group_pass, device), load_blazepose(device), keep_doubtful)


def _open(picture: Picture) -> UInt8[Tensor, "H W 3"] | ImageResult:
    if isinstance(picture, Tensor):
        height, width = picture.shape[:2]
        if min(height, width) >= LEAST_SIDE:
            return picture
        message = f"wanted at least {LEAST_SIDE} pixels on each side, came {width} x {height}"
        return ImageResult(None, width, height, "too_small", message)
    try:
        return read_photo(Path(picture))
    except PhotoError as error:
        return ImageResult(str(picture), 0, 0, error.status, str(error))
    except OSError as error:
        return ImageResult(str(picture), 0, 0, "unreadable", str(error))


def _nobody(candidates: list[_Candidate]) -> str:
    if not candidates:
        return "no person found; do: use a picture in which a person fills 12 % of it or more"
    return (
        f"{len(candidates)} possible person(s) dismissed, because two nets disagree about where "
        "they are; do: crop the picture to the person"
    )


def _is_accepted(candidate: _Candidate) -> bool:
    return candidate.sight.presence >= LEAST_PRESENCE and agreement(candidate) >= LEAST_AGREEMENT


def agreement(candidate: _Candidate) -> float:
    """Gives the share of MoveNet's sure key points that BlazePose confirms."""
    sure = candidate.keypoints[:, 2] > 0.2
    apart = candidate.sight.keypoints[:, :2] - candidate.keypoints[:, :2]
    near = torch.linalg.vector_norm(apart, dim=-1) < NEAR * candidate.extent
    return float((near & sure).sum() / sure.sum().clamp(min=1))


def fuse(
    blazepose: Float[Tensor, "*batch 17 3"],
    movenet: Float[Tensor, "*batch 17 3"],
    extent: float,
) -> Float[Tensor, "*batch 17 3"]:
    """Joins the key points of both nets.

    Where they agree, the mean weighted by confidence, and more confidence than either gives. Where
    they don't, the surer one's with half its confidence. In between, a blend of both answers.

    Args:
        extent: Longer side of the person's box [px].
    """
    place_b, sure_b = blazepose[..., :2], blazepose[..., 2:]
    place_m, sure_m = movenet[..., :2], movenet[..., 2:]
    apart = torch.linalg.vector_norm(place_b - place_m, dim=-1, keepdim=True) / extent
    agreeing = 1 - _smooth_step((apart - AGREE) / (PART - AGREE))

    hip = torch.tensor([HIP_WEIGHT if name.endswith("hip") else 1.0 for name in COCO17])[:, None]
    weight_b, weight_m = hip * (sure_b + 1e-3), sure_m + 1e-3
    mean = (weight_b * place_b + weight_m * place_m) / (weight_b + weight_m)
    sure_mean = torch.maximum((1.15 * sure_m).clamp(max=1), (sure_b + sure_m) / 2)

    # MoveNet is the better judge of itself: BlazePose also claims joints that it only imagines.
    choice = ((0.8 * sure_b - sure_m) / 0.05).sigmoid()
    chosen = choice * place_b + (1 - choice) * place_m
    sure_chosen = (choice * sure_b + (1 - choice) * sure_m) / 2

    confidence = agreeing * sure_mean + (1 - agreeing) * sure_chosen
    # What BlazePose says is hidden or outside counts no more than half of MoveNet's belief.
    denied = 1 - _smooth_step((sure_b - 0.05) / 0.1)
    confidence = torch.lerp(confidence, confidence.minimum(sure_m / 2), denied)
    return torch.cat([agreeing * mean + (1 - agreeing) * chosen, confidence], -1)


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


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
        box=candidate.box,
        keypoints=keypoints,
        soft_mask=mask,
        agreement=agreement(candidate),
        flags=frozenset(flags),
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
