"""Walks through COCO's annotations and results: which object belongs to which photo.

Source: https://cocodataset.org/#format-data and #format-results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plausibody.predict.reading.json_file import numbers, shown

PHOTO = ("file_name", "image_name", "image", "image_id")
"""How results name their photo, the first that is there."""
PERSON = 1
"""Category of people."""

Told = dict[str, Any]


def annotated(
    content: Told, name: str, rows: dict[str, list[Any]]
) -> Iterator[tuple[str, str, Told]]:
    """Gives each annotation of a person: a name for messages, the photo's name, what is told.

    Crowds do not count.

    Args:
        content: Of the file.
        name: Of the file, for messages.
        rows: Gets an empty list for each photo that the file mentions.

    Raises:
        ValueError: If it is not COCO's layout.
    """
    names: dict[Any, str] = {}
    for image in objects(content.get("images"), f"{name}, images"):
        if not isinstance(image.get("file_name"), str) or not _is_key(image.get("id")):
            raise ValueError(
                f"{name}, images: wanted id and file_name of each, came {shown(image)}; "
                "do: give COCO annotations"
            )
        names[image["id"]] = image["file_name"]
    rows.update({photo: [] for photo in names.values()})
    for n, told in enumerate(objects(content["annotations"], f"{name}, annotations")):
        where = f"{name}, annotation {n}"
        owner = told.get("image_id")
        if not _is_key(owner) or owner not in names:
            raise ValueError(
                f"{where}: wanted image_id of one of the images, came {shown(owner)}; "
                "do: give COCO annotations whole"
            )
        if told.get("category_id", PERSON) == PERSON and not told.get("iscrowd", 0):
            yield where, names[owner], told


def detected(
    content: list[Any], name: str, rows: dict[str, list[Any]], least_score: float
) -> Iterator[tuple[str, str, Told]]:
    """Gives each detected person, the surest first: a name for messages, the photo, what is told.

    A photo's number becomes the name that COCO gives its file, of twelve digits.

    Args:
        rows: Gets an empty list for each photo that the file mentions.
        least_score: Detections below it do not count.

    Raises:
        ValueError: If it is not COCO's layout.
    """
    found = []
    for n, told in enumerate(objects(content, name)):
        where = f"{name}, detection {n}"
        photo = next((told[key] for key in PHOTO if key in told), None)
        if isinstance(photo, int) and not isinstance(photo, bool) and 0 <= photo < 10**12:
            photo = f"{photo:012d}"
        if not isinstance(photo, str) or not photo:
            raise ValueError(
                f"{where}: wanted file_name or image_id of the photo, came {shown(told)}; "
                "do: give a list of objects with file_name"
            )
        score = float(numbers([told.get("score", 1.0)], 1, where, "a score")[0])
        rows.setdefault(photo, [])
        if told.get("category_id", PERSON) == PERSON and score >= least_score:
            found.append((score, (where, photo, told)))
    yield from (one for _, one in sorted(found, key=lambda pair: -pair[0]))


def objects(value: Any, name: str) -> list[Told]:
    """Checks that something is a list of JSON objects."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(
            f"{name}: wanted a list of objects, came {shown(value)}; do: give COCO's layout"
        )
    return value


def _is_key(value: Any) -> bool:
    return isinstance(value, str | int)
