"""Data sets of which only joints are known: Human3.6M and MPI-INF-3DHP in SPIN's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plausibody.evaluate.datasets.labels import require_files, require_once
from plausibody.evaluate.datasets.people import About, LabelledJoints, LabelledPeople
from plausibody.evaluate.datasets.spin import SPIN24, SpinFile
from plausibody.models.naming import first_named
from plausibody.models.proxy import Box
from plausibody.models.skeleton import H36M17, indices

CENTRED = 1e-3
"""How far the pelvis may lie from the origin [m]: rounding, and no more."""
EXTRAS = "dataset_extras"
"""Folder in which SPIN keeps label files."""
LARGEST = 3.0
"""Farthest a joint may lie from the pelvis [m]; more is another unit."""


@dataclass(frozen=True)
class SpinJoints:
    """A data set whose truth is the array `S`: joints from the pelvis, in metres."""

    about: About
    folder: Path
    """Below which the pictures are."""
    file: SpinFile
    sequences: tuple[str, ...] | None
    attributes: Mapping[str, tuple[str, ...]]

    @classmethod
    def open(
        cls,
        about: About,
        file: SpinFile,
        folder: Path,
        needed: Sequence[str],
        sequences: tuple[str, ...] | None = None,
        attributes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> SpinJoints:
        """Looks whether all is there that the evaluation will need.

        Args:
            file: Of the labels, with `S`.
            folder: Below which the pictures are.
            needed: Names of the joints that the protocol compares.
            sequences: Of each person; none if None.
            attributes: What else is known of each.

        Raises:
            FileNotFoundError: If pictures are missing; it names the first ten and counts them.
            ValueError: If joints are missing, not from the pelvis, or not in metres, or a picture
                is there twice.
        """
        check_joints(file, needed)
        require_once(
            file.names,
            f"{file.path}, imgname: wanted one person in each picture",
            "more in",
            "make the file with SPIN's preprocessing",
        )
        require_files(
            file.pictures(folder, range(len(file))),
            f"the pictures that {file.path.name} names, below {folder}",
            "unpack them there as they are published",
        )
        return cls(about, folder, file, sequences, attributes or {})

    def __len__(self) -> int:
        return len(self.file)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen = list(numbers)
        joints = self.file.world_joints(chosen)[:, indices(H36M17, SPIN24)]
        return LabelledPeople(
            names=tuple(self.file.names[n] for n in chosen),
            pictures=self.file.pictures(self.folder, chosen),
            genders=("neutral",) * len(chosen),
            box=Box(centre=self.file.box.centre[chosen], side=self.file.box.side[chosen]),
            joints=LabelledJoints(
                names=tuple(H36M17), places=joints[..., :3], counted=joints[..., 3] > 0
            ),
            true_keypoints=None if self.file.part is None else self.file.coco17(chosen),
            sequences=None if self.sequences is None else tuple(self.sequences[n] for n in chosen),
            attributes={
                name: tuple(values[n] for n in chosen) for name, values in self.attributes.items()
            },
        )


def find_labels(folder: Path, names: Sequence[str], about: str) -> tuple[Path, Path]:
    """Finds a file of labels, in a folder or in its `dataset_extras`, or takes the file itself.

    Args:
        folder: Of the data set; or the file of labels, which may lie in either place.
        names: That the file may have, the first that is there.
        about: The data set, for the message.

    Returns:
        The file, and the folder of the data set.

    Raises:
        FileNotFoundError: If there is none.
    """
    if folder.is_file():
        home = folder.parent
        return folder, home.parent if home.name == EXTRAS else home
    for name in names:
        for path in (folder / name, folder / EXTRAS / name):
            if path.is_file():
                return path, folder
    raise FileNotFoundError(
        f"{folder}: wanted the labels of {about} in SPIN's layout, {' or '.join(names)}, here or "
        f"in {EXTRAS}/, found none; do: make them with SPIN's preprocessing from your copy of the "
        "data"
    )


def check_joints(file: SpinFile, needed: Sequence[str]) -> None:
    """Checks that joints are known, in metres, and from the pelvis.

    The published evaluators move the pelvis of the prediction to the origin and leave the labels as
    they are: a file whose labels are not from the pelvis would give figures that mean nothing.

    Raises:
        ValueError: If not; it names the first ten rows and counts them.
    """
    joints = file.world_joints(range(len(file)))
    places = joints[..., :3].norm(dim=-1)
    known = joints[:, indices(list(needed), SPIN24), 3] > 0
    faults = (
        (~known.all(1), f"the joints {', '.join(needed)} of everybody", "some without"),
        (
            places[:, SPIN24.index("pelvis")] > CENTRED,
            "joints from the pelvis, as evaluators take them",
            "a pelvis beside the origin",
        ),
        (places.amax(1) > LARGEST, "joints in metres", "some farther than 3 m from the pelvis"),
    )
    for wrong, wanted, came in faults:
        refuse_joints(file, wrong.nonzero()[:, 0].tolist(), wanted, came)


def refuse_joints(file: SpinFile, rows: list[int], wanted: str, came: str) -> None:
    """Says what is wrong with the joints of a file.

    Args:
        rows: Of the people with whom it is; nothing is said if there are none.

    Raises:
        ValueError: If there are; it names the first ten and counts them.
    """
    if rows:
        raise ValueError(
            f"{file.path}, S: wanted {wanted}, got {came}, in {first_named(rows, 'row')} (from 0); "
            "do: make the file with SPIN's preprocessing"
        )
