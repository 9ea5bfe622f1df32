"""Reads COCO's key-point annotations (`person_keypoints_*.json`): every number is checked.

COCO numbers pixels, so that key points lie half a pixel farther from the picture's outer corner,
from which this package counts; boxes count from the corner already.

Source: https://cocodataset.org/#format-data, and `pycocotools.cocoeval`, whose needs these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.evaluate.datasets.labels import require_once
from plausibody.models.naming import first_named
from plausibody.models.skeleton import COCO17
from plausibody.predict.reading.coco import PERSON, Told, objects
from plausibody.predict.reading.json_file import LARGEST, numbers, read_json, shown

WHAT = "COCO's annotations of key points"
HALF = 0.5
"""From a pixel's outer corner to its centre [px]."""


@dataclass(frozen=True)
class CocoPeople:
    """Annotated people, and crowds; the first axis of every tensor runs over them."""

    image: Int[Tensor, " people"]
    """The number of the picture."""
    box: Float[Tensor, "people 4"]
    """x and y of the left upper corner, width, height [px]."""
    keypoints: Float[Tensor, "people 17 3"]
    """x, y [px, of the pixel's number] and 0 (not annotated), 1 (hidden) or 2 (visible)."""
    area: Float[Tensor, " people"]
    """Of the silhouette [px]."""
    crowd: Bool[Tensor, " people"]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def marked(self) -> Int[Tensor, " people"]:
        """How many key points are annotated."""
        return (self.keypoints[..., 2] > 0).sum(1)

    @property
    def counted(self) -> Bool[Tensor, " people"]:
        """Whom COCO's figures count: whoever has key points, and is no crowd."""
        return (self.marked > 0) & (self.area > 0) & ~self.crowd

    @property
    def marks(self) -> Float[Tensor, "people 17 3"]:
        """The key points [px, from the picture's outer corner], and 1 where one is annotated."""
        marked = (self.keypoints[..., 2:] > 0).double()
        return torch.cat([(self.keypoints[..., :2] + HALF) * marked, marked], -1)


@dataclass(frozen=True)
class CocoLabels:
    """All people of an annotation file."""

    path: Path
    pictures: dict[int, str]
    """Names of the files by number, all pictures, also those without people."""
    people: CocoPeople
    """In the order of the file, with crowds."""

    @property
    def split(self) -> str:
        """Of the file's name, such as val2014; it names the folder of the pictures too."""
        return self.path.stem.rpartition("_")[2]

    def ground_truth(self) -> dict[str, Any]:
        """Gives the annotations as `pycocotools` takes them, and no more than it needs.

        People are numbered anew from 1: it takes a person of number 0 for one who was not found.
        """
        people = self.people
        columns = {
            "image_id": people.image.tolist(),
            "bbox": people.box.tolist(),
            "area": people.area.tolist(),
            "iscrowd": people.crowd.int().tolist(),
            "keypoints": people.keypoints.flatten(1).tolist(),
            "num_keypoints": people.marked.tolist(),
        }
        return {
            "images": [{"id": number} for number in self.pictures],
            "categories": [{"id": PERSON, "name": "person"}],
            "annotations": [
                {"id": n, "category_id": PERSON, **dict(zip(columns, row, strict=True))}
                for n, row in enumerate(zip(*columns.values(), strict=True), start=1)
            ],
        }


def read_coco(path: Path) -> CocoLabels:
    """Reads an annotation file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, not in COCO's layout, or numbers in it make no sense.
    """
    pictures, told = read_annotations(path)
    return CocoLabels(path=path, pictures=pictures, people=people_of(path, told))


def read_annotations(path: Path) -> tuple[dict[int, str], list[Told]]:
    """Reads pictures by number, and annotations of people as they are written.

    Errors as above; numbers of people are looked at by `people_of`.
    """
    content = read_json(path, WHAT)
    if not isinstance(content, dict) or "annotations" not in content:
        raise ValueError(
            f"{path}: wanted {WHAT}, an object with images and annotations, got {shown(content)}; "
            "do: take person_keypoints_val2014.json or its like as published"
        )
    pictures = _pictures(path, content)
    annotations = objects(content["annotations"], f"{path}, annotations")
    told = [one for one in annotations if one.get("category_id", PERSON) == PERSON]
    unknown = [one.get("image_id") for one in told if not _is_known(one.get("image_id"), pictures)]
    if unknown:
        raise ValueError(
            f"{path}, annotations: wanted image_id of one of the images, got "
            f"{first_named([shown(one) for one in unknown])}; do: give the annotations whole"
        )
    _once(path, "annotations", [one["id"] for one in told if isinstance(one.get("id"), int)])
    return pictures, told


def _pictures(path: Path, content: Told) -> dict[int, str]:
    images = objects(content.get("images"), f"{path}, images")
    for image in images:
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str):
            raise ValueError(
                f"{path}, images: wanted id, a number, and file_name of each, got {shown(image)}; "
                "do: take the annotations as published"
            )
    _once(path, "images", [image["id"] for image in images])
    return {image["id"]: image["file_name"] for image in images}


def people_of(path: Path, told: list[Told]) -> CocoPeople:
    """Makes people of annotations.

    Raises:
        ValueError: If numbers make no sense.
    """
    box = _table(path, told, "bbox", 4, "x, y, width and height [px]")
    area = _table(path, [{"area": [one.get("area")]} for one in told], "area", 1, "its size [px]")
    flat = _table(path, told, "keypoints", 51, "x, y and visibility of 17 key points")
    people = CocoPeople(
        image=torch.tensor([one["image_id"] for one in told], dtype=torch.long),
        box=box,
        keypoints=flat.unflatten(1, (len(COCO17), 3)),
        area=area[:, 0],
        crowd=torch.tensor([bool(one.get("iscrowd", 0)) for one in told], dtype=torch.bool),
    )
    visibility = people.keypoints[..., 2]
    known = torch.isin(visibility, torch.tensor([0.0, 1.0, 2.0]).double()).all(1)
    _require(path, known, "a visibility of 0, 1 or 2 of each key point")
    _require(
        path, (box[:, 2:] >= 0).all(1) & (area[:, 0] >= 0), "boxes and areas of no negative size"
    )
    counts = [
        one.get("num_keypoints", count)
        for one, count in zip(told, people.marked.tolist(), strict=True)
    ]
    same = [count == marked for count, marked in zip(counts, people.marked.tolist(), strict=True)]
    _require(path, torch.tensor(same, dtype=torch.bool), "as many num_keypoints as are marked")
    return people


def _table(
    path: Path, told: list[Told], key: str, count: int, wanted: str
) -> Float[Tensor, "people {count}"]:
    """Reads lists of numbers of all annotations, as many of each."""
    rows = [one.get(key) for one in told]
    try:
        table = np.array(rows) if rows else np.zeros((0, count))
    except ValueError:  # lists of different lengths
        table = np.array(None)
    if (
        table.dtype.kind not in "if"
        or table.shape != (len(rows), count)
        or not (np.abs(table) <= LARGEST).all()
    ):
        for n, row in enumerate(rows):  # says which of them it is
            numbers(row, count, f"{path}, annotation {n}, {key}", wanted)
    return torch.from_numpy(table.astype(np.float64))


def _require(path: Path, fine: Bool[Tensor, " people"], wanted: str) -> None:
    if not bool(fine.all()):
        wrong = (~fine).nonzero()[:, 0].tolist()
        raise ValueError(
            f"{path}: wanted {wanted}, got others in {first_named(wrong, 'annotation')} (of "
            "people, from 0); do: take the annotations as published"
        )


def _once(path: Path, what: str, ids: list[int]) -> None:
    wanted = f"{path}, {what}: wanted ids once each"
    require_once(ids, wanted, "more of", "take the annotations as published")


def _is_known(number: Any, pictures: dict[int, str]) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number in pictures
