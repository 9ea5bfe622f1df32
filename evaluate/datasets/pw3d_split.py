"""All labels of a split of 3DPW: what the published preprocessing computes of its sequences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.evaluate.datasets.bodies import WHERE_SMPL_IS
from plausibody.evaluate.datasets.pw3d_labels import label_actor
from plausibody.evaluate.datasets.pw3d_sequences import find_sequences, read_sequence
from plausibody.models.body import Skin
from plausibody.models.files import file_sha256
from plausibody.models.naming import first_named
from plausibody.models.templates import load_template, locate_body

LETTERS = {"male": "m", "female": "f", "neutral": "n"}
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class SplitLabels:
    """A split's people in the published order: by sequence, person and frame."""

    source: Path
    split: str
    pictures: tuple[Path, ...]
    """Of each person, the frame they are cut from."""
    names: tuple[str, ...]
    """Of the crops."""
    low: Float[ndarray, "people 2"]
    high: Float[ndarray, "people 2"]
    poses: Float[ndarray, "people 72"]
    """As of `ActorLabels`, with `low` and `high`."""
    shapes: Float[ndarray, "people 10"]
    genders: tuple[str, ...]
    bodies: dict[str, str]
    """By gender, the hash of the file of the body that the labels are of."""
    unusable: dict[str, str]
    """By name of the crop, why a label cannot be used."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def centre(self) -> Float[ndarray, "people 2"]:
        """Of the bodies' boxes, x and y [px], of pixels whose centres have whole numbers."""
        return (self.low + self.high) / 2

    @cached_property
    def side(self) -> Float[ndarray, " people"]:
        """The longer side of each box [px]."""
        return (self.high - self.low).max(1, initial=0)

    def digest(self) -> str:
        """Tells these labels from others."""
        mark = hashlib.sha256(json.dumps([self.names, self.genders, self.bodies]).encode())
        for array in (self.low, self.high, self.poses, self.shapes):
            mark.update(np.ascontiguousarray(array).tobytes())
        return mark.hexdigest()

    def arrays(self, kept: Sequence[int]) -> dict[str, ndarray]:
        """Gives the published arrays of some people."""
        return {
            "imgname": np.array([self.names[n] for n in kept]),
            "center": self.centre[kept],
            "wh": self.side[kept],
            "pose": self.poses[kept],
            "shape": self.shapes[kept],
            "gender": np.array([LETTERS[self.genders[n]] for n in kept]),
        }


def read_split(
    source: Path,
    split: str = "test",
    labels_body: str | Path = "smpl",
    watch: Watch = lambda done, total: None,
) -> SplitLabels:
    """Reads all sequences of a split and computes what the published preprocessing does.

    Args:
        source: The folder that holds `sequenceFiles` and `imageFiles`.
        labels_body: Of which the labels are, as of `load_template`; the real ones are of SMPL.
        watch: Is told how many of the sequences are done.

    Raises:
        FileNotFoundError: If there are no sequences, or no body.
        ValueError: If a sequence is damaged, unsafe or something else, or no label is usable.
    """
    bodies, rows, seen = _Bodies(labels_body), _Rows(), set[str]()
    files = find_sequences(source, split)
    for done, file in enumerate(files, start=1):
        sequence = read_sequence(file)
        if sequence.name in seen:
            raise ValueError(f"{file}: wanted a sequence of its own, came {sequence.name} again")
        seen.add(sequence.name)
        for number, actor in enumerate(sequence.actors):
            bodies.want(actor.gender)
            found = label_actor(sequence, actor, bodies.skins)
            folder = source / "imageFiles" / sequence.name
            frames = found.frames.tolist()
            rows.names += [crop_name(sequence.name, frame, number) for frame in frames]
            rows.pictures += [folder / f"image_{frame:05d}.jpg" for frame in frames]
            rows.genders += [actor.gender] * len(frames)
            rows.low.append(found.low)
            rows.high.append(found.high)
            rows.poses.append(found.poses)
            rows.shapes.append(np.tile(actor.shape, (len(frames), 1)))
            for frame, why in found.unusable.items():
                rows.unusable[crop_name(sequence.name, frame, number)] = why
        watch(done, len(files))
    return rows.labels(source, split, bodies.hashes)


def crop_name(sequence: str, frame: int, person: int) -> str:
    """Gives the published name of a crop."""
    return f"{sequence}_image_{frame:05d}_person_{person:03d}.png"


@dataclass
class _Rows:
    """People as they are found."""

    names: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    genders: list[str] = field(default_factory=list)
    low: list[ndarray] = field(default_factory=list)
    high: list[ndarray] = field(default_factory=list)
    poses: list[ndarray] = field(default_factory=list)
    shapes: list[ndarray] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)

    def labels(self, source: Path, split: str, bodies: dict[str, str]) -> SplitLabels:
        if not self.names:
            raise ValueError(
                f"{source}, {split}: wanted people, no frame of any sequence can be used: "
                f"{first_named(list(self.unusable.items())[:3]) or 'no camera is valid'}"
            )
        return SplitLabels(
            source=source,
            split=split,
            pictures=tuple(self.pictures),
            names=tuple(self.names),
            low=np.concatenate(self.low),
            high=np.concatenate(self.high),
            poses=np.concatenate(self.poses),
            shapes=np.concatenate(self.shapes),
            genders=tuple(self.genders),
            bodies=bodies,
            unusable=self.unusable,
        )


class _Bodies:
    """The bodies of the labels, each loaded when the first person of its gender comes."""

    def __init__(self, spec: str | Path):
        self._spec = spec
        self.skins: dict[str, Skin] = {}
        self.hashes: dict[str, str] = {}

    def want(self, gender: str) -> None:
        if gender in self.skins:
            return
        try:
            template = load_template(self._spec, gender)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"--labels-body {self._spec}: wanted the {gender} body that the labels are of; do: "
                f"{WHERE_SMPL_IS}\n{error}"
            ) from error
        if template.gender != gender:
            raise ValueError(
                f"{self._spec}: wanted the {gender} body of these labels, came a {template.gender} "
                "one; do: name the folder that holds the bodies of all genders"
            )
        self.skins[gender] = template.skin
        self.hashes[gender] = file_sha256(locate_body(str(self._spec), gender))
