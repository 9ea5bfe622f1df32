"""What a front end says of painted people, kept on disk so that several regressors can be measured.

Pictures are not kept, as they are large and soon painted again; masks are kept, and used, in steps
of 1/255.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody import __version__
from plausibody.assets.contents import read_arrays
from plausibody.evaluate.metrics import silhouette_iou
from plausibody.evaluate.rendered_people import RenderedPeople, Renders
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.files import cache_folder, encode_arrays, write_file
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.predict.front_ends.front_end import FrontEnd, Person
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.front_ends.witness import LEAST_OVERLAP

BLOCK = 16
"""People who are painted and looked at together, and kept in one file."""
SUREST = 16.0
"""Logit of a pixel that a mask is sure of."""
PICTURED = ("clothed", "naked", "covered", "keypoints")
"""What is true of people in the picture, by its names in `RenderedPeople`."""

Watch = Callable[[int, int], None]
"""Is told how many people are done, and of how many."""


@dataclass(frozen=True)
class Evidence:
    """What a front end says of people, one in each picture: of several found, of the one whose mask
    overlaps most with what is truly seen of the person, clothes and all."""

    found: Bool[Tensor, " batch"]
    """Whether anybody was found whose mask has an overlap of more than 0.1; else the rest is 0."""
    score: Float[Tensor, " batch"]
    box: Float[Tensor, "batch 4"]
    """Left, top, right, bottom [px]."""
    keypoints: Float[Tensor, "batch 17 3"]
    """COCO-17: x, y [px] and confidence."""
    mask: UInt8[Tensor, "batch size size"]
    """Probabilities, 255 for 1."""

    def person(self, number: int) -> Person:
        """Gives one of the people as front ends do, without flags."""
        size = self.mask.shape[-1]
        share = self.mask[number].float() / 255
        return Person(
            score=float(self.score[number]),
            box=self.box[number],
            keypoints=self.keypoints[number],
            soft_mask=SoftMask(
                logits=torch.logit(share).clamp(-SUREST, SUREST),
                to_picture=torch.eye(3)[:2],
                height=size,
                width=size,
            ),
        )


@dataclass(frozen=True)
class Sight:
    """Some people and what was seen of them."""

    people: RenderedPeople
    evidence: Evidence


def see(
    renders: Renders,
    front_end: FrontEnd,
    name: str,
    watch: Watch = lambda done, total: None,
    cache: Path | None = None,
) -> list[Sight]:
    """Shows all people to a front end, those excepted whom it has seen already.

    Args:
        name: What tells the front end from others, such as `embedded_digest()`.
        watch: Is told the progress.
        cache: Where what was seen is kept; the user's cache folder if None.

    Returns:
        Blocks of people in their order; the last may be smaller.

    Raises:
        ValueError: If a file of an earlier run is damaged.
    """
    key = hashlib.sha256(repr((renders.cast, name, __version__)).encode()).hexdigest()[:16]
    folder = (cache or cache_folder() / "renders") / key
    folder.mkdir(parents=True, exist_ok=True)
    count = renders.settings.count
    sights = []
    for first in range(0, count, BLOCK):
        path = folder / f"{first:05d}.npz"
        if path.exists():
            block = _read(path)
        else:
            block = look(renders, front_end, range(first, first + BLOCK))
            _write(path, block)
        sights.append(take(block, slice(count - first)))
        watch(min(first + BLOCK, count), count)
    return sights


def look(renders: Renders, front_end: FrontEnd, numbers: Sequence[int]) -> Sight:
    """Paints people and shows them to a front end."""
    these = torch.tensor(list(numbers))
    people, pictures = renders.both(these)
    count, size = len(people), pictures.shape[1]
    found, score = torch.zeros(count, dtype=torch.bool), torch.zeros(count)
    box, keypoints = torch.zeros(count, 4), torch.zeros(count, 17, 3)
    mask = torch.zeros(count, size, size, dtype=torch.uint8)
    for n, result in enumerate(front_end(list(pictures))):
        masks = [person.mask() for person in result.people]
        overlaps = [float(silhouette_iou(seen, people.visible[n])) for seen in masks]
        if not overlaps or max(overlaps) <= LEAST_OVERLAP:
            continue
        best = overlaps.index(max(overlaps))
        person = result.people[best]
        found[n], score[n] = True, person.score
        box[n], keypoints[n] = person.box, person.keypoints
        mask[n] = (masks[best] * 255).round().byte()
    return Sight(people, Evidence(found, score, box, keypoints, mask))


def _write(path: Path, sight: Sight) -> None:
    people, evidence = sight.people, sight.evidence
    arrays = {
        **vars(people.body),
        **vars(people.camera),
        **{name: getattr(people, name) for name in PICTURED},
        **{f"seen_{name}": value for name, value in vars(evidence).items()},
    }
    content = encode_arrays({name: value.numpy() for name, value in arrays.items()})
    write_file(path, content, contested=True)


def _read(path: Path) -> Sight:
    arrays = {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
    try:
        people = RenderedPeople(
            body=BodyParameters(arrays["shape"], arrays["rotations"]),
            camera=PerspectiveCamera(arrays["focal"], arrays["principal"], arrays["translation"]),
            **{name: arrays[name] for name in PICTURED},
        )
        names = ("found", "score", "box", "keypoints", "mask")
        return Sight(people, Evidence(**{name: arrays[f"seen_{name}"] for name in names}))
    except KeyError as error:
        raise ValueError(
            f"{path}: wanted the array {error}, found none; do: delete the file, to look again"
        ) from error
