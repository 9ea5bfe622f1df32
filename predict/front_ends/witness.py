"""Shows staged people to a front end and keeps, on disk, what it says of them.

Looking is slow: what was seen is kept in blocks, one file each, written whole or not at all, so
that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.models.files import encode_arrays, write_file
from plausibody.models.proxy import Box, Observation, resample_square
from plausibody.models.records import concatenate
from plausibody.predict.front_ends.front_end import FrontEnd, Person
from plausibody.synth.chance import Chance
from plausibody.synth.measured import Truth
from plausibody.synth.measured_sightings import Sightings
from plausibody.synth.measured_stage import Stage, StagedPeople, StageSettings, stage_people

BLOCK = 16
"""People who are painted and looked at together, and kept in one file."""
LEAST_OVERLAP = 0.1
"""Of a found person's mask with the true one, to be taken for the same person."""
NETS = ("front_end/movenet_multipose.npz", "front_end/blazepose_full.npz")

Progress = Callable[[int, int], None]
"""Called with how many people were looked at and how many there are."""


@dataclass(frozen=True)
class Session:
    """Which people a front end is shown."""

    count: int
    """Rounded up to whole blocks."""
    seed: int
    settings: StageSettings
    front_end: str
    """What tells it from others, such as `embedded_digest()`."""
    cast: str
    """What tells the stage from others: poses, textures, backgrounds."""

    @property
    def folder(self) -> str:
        """Names the files' folder by all that decides what is in them, but their number."""
        told = repr((self.seed, self.settings, self.front_end, self.cast))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def embedded_digest() -> str:
    """Tells the weights of the embedded front end from others."""
    digest = hashlib.sha256()
    for name in NETS:
        digest.update(find_asset(name).read_bytes())
    return digest.hexdigest()[:16]


def show(
    front_end: FrontEnd, stage: Stage, session: Session, folder: Path, progress: Progress
) -> Sightings:
    """Shows a session's people to a front end, those excepted whom it has seen already.

    Args:
        folder: Where what was seen is kept, in a folder of the session's own.

    Raises:
        ValueError: If a file of an earlier run is damaged.
    """
    own = folder / session.folder
    own.mkdir(parents=True, exist_ok=True)
    blocks = -(-session.count // BLOCK)
    seen = []
    for number in range(blocks):
        path = own / f"{number:05d}.npz"
        if path.exists():
            seen.append(_read(path))
        else:
            numbers = torch.arange(number * BLOCK, (number + 1) * BLOCK)
            people = stage_people(Chance(session.seed, numbers), stage, session.settings)
            seen.append(witness(front_end, people))
            _write(path, seen[-1])
        progress((number + 1) * BLOCK, blocks * BLOCK)
    return concatenate(seen)


def witness(front_end: FrontEnd, people: StagedPeople) -> Sightings:
    """Lets a front end look at pictures, and takes what it says of their people into the frames."""
    count, size = len(people.pictures), people.truth.labels.shape[-1]
    pictures = (people.pictures * 255).round().byte().permute(0, 2, 3, 1).contiguous()
    keypoints, masks = torch.zeros(count, 17, 3), torch.zeros(count, size, size)
    found = torch.zeros(count, dtype=torch.bool)
    for number, result in enumerate(front_end(list(pictures))):
        true = people.truth.labels[number] > 0
        seen = [_in_frame(person, people, number, size) for person in result.people]
        overlaps = [_overlap(one.mask, true) for one in seen]
        if overlaps and max(overlaps) > LEAST_OVERLAP:
            best = seen[overlaps.index(max(overlaps))]
            keypoints[number], masks[number], found[number] = best.keypoints, best.mask, True
    return Sightings(people.truth, Observation(keypoints, masks), found)


def _in_frame(person: Person, people: StagedPeople, number: int, size: int) -> Observation:
    corner, zoom = people.corner[number], people.zoom[number]
    box = Box(centre=corner + size / zoom / 2, side=size / zoom)
    places = (person.keypoints[:, :2] - corner) * zoom
    return Observation(
        keypoints=torch.cat([places, person.keypoints[:, 2:]], 1),
        mask=resample_square(person.mask(), box, size),
    )


def _overlap(mask: Float[Tensor, "size size"], true: Tensor) -> float:
    hard = mask > 0.5
    return int((hard & true).sum()) / max(int((hard | true).sum()), 1)


def _write(path: Path, sightings: Sightings) -> None:
    arrays = {f.name: getattr(sightings.truth, f.name).numpy() for f in fields(Truth)}
    mask = (sightings.seen.mask * 255).round().byte().numpy()
    arrays |= {"seen_keypoints": sightings.seen.keypoints.numpy(), "seen_mask": mask}
    arrays["found"] = sightings.found.numpy()
    write_file(path, encode_arrays(arrays), contested=True)


def _read(path: Path) -> Sightings:
    arrays = {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
    try:
        seen = Observation(arrays["seen_keypoints"], arrays["seen_mask"].float() / 255)
        truth = Truth(**{f.name: arrays[f.name] for f in fields(Truth)})
        return Sightings(truth, seen, arrays["found"])
    except KeyError as error:
        raise ValueError(
            f"{path}: wanted the array {error}, found none; do: delete the file, to look again"
        ) from error
