"""Reads COCO's key-point annotations (`person_keypoints_*.json`): every number is checked.

COCO numbers pixels, so that key points lie half a pixel farther from the picture's outer corner,
from which this package counts; boxes count from the corner already.

Source: https://cocodataset.org/#format-data, and `pycocotools.cocoeval`, whose needs these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.labels import some
from plausibody.models.skeleton import COCO17
from plausibody.predict.coco import PERSON, Told, objects
from plausibody.predict.json_file import numbers, read_json, shown

WHAT = "COCO's annotations of key points"
HALF = 0.5
"""From a pixel's outer corner to its centre [px]."""


@dataclass(frozen=True)
class CocoPerson:
    """One annotated person, or a crowd."""

    image: int
    """The number of the picture."""
    box: Float[Tensor, " 4"]
    """x and y of the left upper corner, width, height [px]."""
    keypoints: Float[Tensor, "17 3"]
    """x, y [px, of the pixel's number] and 0 (not annotated), 1 (hidden) or 2 (visible)."""
    area: float
    """Of the silhouette [px]."""
    crowd: bool

    @property
    def marked(self) -> int:
        """How many key points are annotated."""
        return int((self.keypoints[:, 2] > 0).sum())

    @property
    def counted(self) -> bool:
        """Whether COCO's figures count this person: whoever has key points, and is no crowd."""
        return self.marked > 0 and self.area > 0 and not self.crowd

    @property
    def marks(self) -> Float[Tensor, "17 3"]:
        """The key points [px, from the picture's outer corner], and 1 where one is annotated."""
        marked = (self.keypoints[:, 2:] > 0).float()
        return torch.cat([(self.keypoints[:, :2] + HALF) * marked, marked], -1)


@dataclass(frozen=True)
class CocoLabels:
    """All people of an annotation file."""

    path: Path
    pictures: dict[int, str]
    """Names of the files by number, all pictures, also those without people."""
    people: tuple[CocoPerson, ...]
    """In the order of the file, with crowds."""

    @property
    def split(self) -> str:
        """Of the file's name, such as val2014; it names the folder of the pictures too."""
        return self.path.stem.rpartition("_")[2]

    def ground_truth(self) -> dict[str, Any]:
        """Gives the annotations as `pycocotools` takes them, and no more than it needs.

        People are numbered anew from 1: it takes a person of number 0 for one who was not found.
        """
        return {
            "images": [{"id": number} for number in self.pictures],
            "categories": [{"id": PERSON, "name": "person"}],
            "annotations": [
                {
                    "id": n,
                    "image_id": person.image,
                    "category_id": PERSON,
                    "bbox": person.box.tolist(),
                    "area": person.area,
                    "iscrowd": int(person.crowd),
                    "keypoints": person.keypoints.flatten().tolist(),
                    "num_keypoints": person.marked,
                }
                for n, person in enumerate(self.people, start=1)
            ],
        }


def read_coco(path: Path) -> CocoLabels:
    """Reads an annotation file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, not in COCO's layout, or numbers in it make no sense.
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
            f"{some([shown(one) for one in unknown], '')}; do: give the annotations whole"
        )
    twice = _twice(one["id"] for one in told if isinstance(one.get("id"), int))
    if twice:
        raise ValueError(
            f"{path}, annotations: wanted ids once each, got more of {some(twice, '')}"
        )
    people = tuple(_person(one, f"{path}, annotation {n}") for n, one in enumerate(told))
    return CocoLabels(path=path, pictures=pictures, people=people)


def _pictures(path: Path, content: Told) -> dict[int, str]:
    images = objects(content.get("images"), f"{path}, images")
    for image in images:
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(name, str):
            raise ValueError(
                f"{path}, images: wanted id, a number, and file_name of each, got {shown(image)}; "
                "do: take the annotations as published"
            )
    twice = _twice(image["id"] for image in images)
    if twice:
        raise ValueError(
            f"{path}, images: wanted ids once each, got more of {some(twice, '')}; do: take the "
            "annotations as published"
        )
    return {image["id"]: image["file_name"] for image in images}


def _person(told: Told, name: str) -> CocoPerson:
    box = numbers(told.get("bbox"), 4, f"{name}, bbox", "x, y, width and height [px]")
    numbers([told.get("area")], 1, f"{name}, area", "the silhouette's area [px]")
    area = float(told["area"])
    keypoints = numbers(
        told.get("keypoints"), 51, f"{name}, keypoints", "x, y and visibility of 17 key points"
    ).view(len(COCO17), 3)
    visibility = keypoints[:, 2]
    if not bool(torch.isin(visibility, torch.tensor([0.0, 1.0, 2.0])).all()):
        raise ValueError(
            f"{name}, keypoints: wanted a visibility of 0, 1 or 2 of each, got "
            f"{visibility.tolist()}; do: take the annotations as published"
        )
    if float(box[2:].min()) < 0 or area < 0:
        raise ValueError(
            f"{name}: wanted a box and an area of no negative size, got {box.tolist()} and "
            f"{area}; do: take the annotations as published"
        )
    counted = told.get("num_keypoints", int((visibility > 0).sum()))
    if counted != int((visibility > 0).sum()):
        raise ValueError(
            f"{name}, num_keypoints: wanted as many as are marked, {int((visibility > 0).sum())}, "
            f"got {shown(counted)}; do: take the annotations as published"
        )
    return CocoPerson(
        image=told["image_id"],
        box=box,
        keypoints=keypoints,
        area=area,
        crowd=bool(told.get("iscrowd", 0)),
    )


def _is_known(number: Any, pictures: dict[int, str]) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number in pictures


def _twice(numbers: Iterable[int]) -> list[int]:
    return [number for number, count in Counter(numbers).items() if count > 1]
