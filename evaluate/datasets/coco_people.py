"""Who of COCO is predicted, and in which crop: as annotated, or as DaNet's list says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.coco_labels import CocoLabels, CocoPeople
from plausibody.evaluate.datasets.labels import file_below, require_files
from plausibody.evaluate.datasets.spin import SPIN24, read_spin
from plausibody.evaluate.datasets.spin_joints import EXTRAS
from plausibody.models.naming import first_named
from plausibody.models.proxy import Box
from plausibody.models.records import take
from plausibody.models.skeleton import COCO17, indices

SPLITS = ("val2014", "val2017")
"""Whose annotations are looked for, in this order."""
PUBLISHED = "coco_2014_val.npz"
"""People and boxes in SPIN's layout, which DaNet evaluates."""
FACTOR = 1.2
"""Side of the crop over the longer side of the annotated box."""
NUMBER = re.compile(r"(\d{12})\.\w+$")
"""Of a picture, at the end of its file's name."""


@dataclass(frozen=True)
class CocoCrops:
    """Who is predicted."""

    people: CocoPeople
    files: tuple[Path, ...]
    """Of each one's picture."""
    box: Box
    """The square crop of each [px]."""


def find_annotations(folder: Path) -> tuple[Path, Path]:
    """Finds the annotations, and the folder of the data set.

    Args:
        folder: Of the data set; or the file itself, which may lie in it or in `annotations`.

    Raises:
        FileNotFoundError: If there are none.
    """
    if folder.is_file():
        home = folder.parent
        return folder, home.parent if home.name == "annotations" else home
    for split in SPLITS:
        path = folder / "annotations" / f"person_keypoints_{split}.json"
        if path.is_file():
            return path, folder
    raise FileNotFoundError(
        f"{folder}: wanted annotations/person_keypoints_val2014.json (or val2017), found neither; "
        "do: unpack annotations_trainval2014.zip there"
    )


def find_people(labels: CocoLabels, home: Path) -> CocoCrops:
    """Takes people from `coco_2014_val.npz` if it is there, else from the annotations.

    Args:
        home: Folder of the data set.

    Raises:
        FileNotFoundError: If pictures are missing; it names the first ten and counts them.
        ValueError: If there is nobody, or the list and the annotations do not belong together.
    """
    places = [home / PUBLISHED, home / EXTRAS / PUBLISHED]
    listed = next((file for file in places if file.is_file()), None)
    folder = _picture_folder(labels, home)
    if listed is not None and labels.split == "val2014":
        crops = _listed(labels, listed, folder)
    else:
        crops = _annotated(labels, folder)
    require_files(
        dict.fromkeys(crops.files),
        f"the pictures of {labels.path.name}, in {folder}",
        f"unpack {labels.split}.zip there",
    )
    return crops


def _annotated(labels: CocoLabels, folder: Path) -> CocoCrops:
    """Takes people and boxes from the annotations."""
    people = take(labels.people, labels.people.counted & (labels.people.box[:, 2:].amax(1) > 0))
    if not len(people):
        raise ValueError(f"{labels.path}: wanted people with marked key points, found none")
    corner, size = people.box.float().split(2, 1)
    box = Box(centre=corner + size / 2, side=FACTOR * size.amax(1))
    return CocoCrops(people, _files(labels, people, folder), box)


def _listed(labels: CocoLabels, path: Path, folder: Path) -> CocoCrops:
    """Takes people and boxes from a file in SPIN's layout, as published."""
    file = read_spin(path, ("part",))
    assert file.part is not None
    annotated: dict[int, list[int]] = {}
    for n, image in enumerate(labels.people.image.tolist()):
        annotated.setdefault(image, []).append(n)
    chosen: list[int] = []
    unknown = []
    parts = file.part[:, indices(COCO17, SPIN24)]
    for row, name in enumerate(file.names):
        match = NUMBER.search(name)
        others = annotated.get(int(match[1]) if match else -1, [])
        same = [n for n in others if _agree(labels.people.keypoints[n], parts[row])]
        chosen += same[:1]
        unknown += [] if same else [f"{name} (row {row}, from 0)"]
    if unknown:
        raise ValueError(
            f"{path}: wanted people of {labels.path.name}, in pictures named like "
            "COCO_val2014_000000000042.jpg and with the key points that it tells, got others: "
            f"{first_named(unknown)}; do: take files that belong together"
        )
    people = take(labels.people, torch.tensor(chosen))
    return CocoCrops(people, _files(labels, people, folder), file.box)


def _files(labels: CocoLabels, people: CocoPeople, folder: Path) -> tuple[Path, ...]:
    told = f"{labels.path}, images"
    return tuple(
        file_below(folder, labels.pictures[image], told) for image in people.image.tolist()
    )


def _agree(annotated: Float[Tensor, "17 3"], listed: Float[Tensor, "17 3"]) -> bool:
    """Whether the same key points are marked, at the same pixels."""
    marked = annotated[:, 2] > 0
    gap = (annotated - listed)[marked, :2]
    return bool((marked == (listed[:, 2] > 0)).all()) and not bool((gap.abs() > 0.01).any())


def _picture_folder(labels: CocoLabels, home: Path) -> Path:
    """Chooses where the pictures are: the first of the usual places that exists."""
    places = (home / labels.split, home / "images" / labels.split, home / "images", home)
    return next(place for place in places if place.is_dir())
