"""Reads COCO-17 key points from the files that others write.

Of one photo: what OpenPose writes (BODY_25 or COCO), or arrays (`.npy`, or `keypoints` in `.npz`)
of 17 rows, or people times 17, of x, y and confidence. Of many photos: COCO annotations, or COCO
results (a list of objects with `keypoints` and `image_id` or `file_name`).

Pixels count from the outer corner of the picture. COCO's annotations number pixels instead, so that
half a pixel is added to theirs.

Source: https://cocodataset.org/#format-data and #format-results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.predict.reading.array_file import read_arrays
from plausibody.predict.reading.boxes import LEAST_SCORE, find_name, index_names
from plausibody.predict.reading.coco import annotated, detected
from plausibody.predict.reading.companions import KEYPOINTS, Companions
from plausibody.predict.reading.json_file import numbers, read_json, shown
from plausibody.predict.reading.openpose import check_confidence, is_openpose, read_people

WANTED = "COCO key points of people, x, y and confidence of 17"
NAME = "keypoints.json"
"""Of a file that tells of many photos, in the folder of all files."""
HIDDEN = 0.5
"""Confidence of a point that a person marked though it cannot be seen."""
FARTHEST = 1e6
"""[px]"""


@dataclass(frozen=True)
class KeypointFiles:
    """Key points by photo."""

    root: Path
    """Folder of the files, or one file that tells of many photos."""
    named: Mapping[str, Float[Tensor, "_ 17 3"]] | None = None
    """What that one file says; None where each photo has a file."""

    @cached_property
    def _index(self) -> dict[tuple[str, ...], str]:
        return index_names(self.named or {})

    def of(self, photo: Path) -> tuple[str, Float[Tensor, "N 17 3"]]:
        """Gives the name of the file that tells of a photo, and each person's key points.

        x, y [px of the upright photo] and confidence 0..1, which is 0 where nothing was seen.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If a file is wrong, or says nothing of this photo.
        """
        if self.named is not None:
            key = find_name(self._index, photo)
            if key is None:
                raise ValueError(
                    f"{self.root}: wanted {WANTED}, of {photo.name}, found it not mentioned; "
                    "do: add it"
                )
            return str(self.root), self.named[key]
        companions = Companions(self.root, KEYPOINTS)
        files = companions.of(photo)
        if not files:
            raise FileNotFoundError(
                f"{self.root}: wanted {companions.missing(photo)}, found none; do: write them "
                "there, or choose another front end"
            )
        return str(files[0]), torch.cat([read_keypoints(path) for path in files])

    def knows(self, photo: Path) -> bool:
        """Whether anything is said of a photo."""
        if self.named is not None:
            return find_name(self._index, photo) is not None
        return bool(Companions(self.root, KEYPOINTS).of(photo))

    def digest(self) -> str:
        """Tells these files from others."""
        if self.named is not None:
            return hashlib.sha256(self.root.read_bytes()).hexdigest()[:16]
        return Companions(self.root, KEYPOINTS).digest()


def open_keypoints(root: Path) -> KeypointFiles:
    """Opens a folder of key points, or a file with those of many photos.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If the file holds something else.
    """
    whole = root if root.is_file() else root / NAME
    if whole.is_file():
        content = read_json(whole, WANTED)
        return KeypointFiles(whole, _many(content, str(whole)))
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: wanted a folder with {WANTED}, found nothing; do: check the path, or choose "
            "--front-end embedded, which needs no files"
        )
    return KeypointFiles(root)


def read_keypoints(path: Path) -> Float[Tensor, "N 17 3"]:
    """Reads the key points of one photo.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else.
    """
    name = str(path)
    if path.suffix.lower() == ".json":
        content = read_json(path, WANTED)
        if not is_openpose(content):
            raise ValueError(
                f"{name}: wanted {WANTED}, as OpenPose writes them, came {shown(content)}; do: run "
                f"OpenPose with --write_json, or call COCO annotations of all photos {NAME}"
            )
        people = [points for points in read_people(content, name) if (points[:, 2] > 0).any()]
        return torch.stack(people) if people else torch.zeros(0, 17, 3)
    arrays = read_arrays(path, WANTED)
    given = arrays.get("", arrays.get("keypoints"))
    if given is None:
        raise ValueError(
            f"{name}: wanted {WANTED}, in an array called keypoints, found "
            f"{', '.join(arrays) or 'none'}; do: save it under that name"
        )
    if given.ndim not in (2, 3) or given.shape[-2:] != (17, 3):
        raise ValueError(
            f"{name}: wanted {WANTED}, shape (17, 3) or (people, 17, 3), came {given.shape}; "
            "do: save x, y and confidence of each"
        )
    points = torch.from_numpy(given.astype(np.float64).reshape(-1, 17, 3)).float()
    return _checked(points, name)


def _checked(points: Float[Tensor, "N 17 3"], name: str) -> Float[Tensor, "N 17 3"]:
    """Refuses what is no place in a picture; what is not seen becomes zeros."""
    check_confidence(points, name)
    places = torch.where(points[..., 2:] > 0, points, torch.zeros(3))  # the others may be NaN
    if not bool((places[..., :2].abs() <= FARTHEST).all()):
        raise ValueError(
            f"{name}: wanted places in pixels, came numbers that are not finite or beyond "
            f"{FARTHEST:.0e}; do: give points that were not seen confidence 0"
        )
    return torch.cat([places[..., :2], places[..., 2:].clamp(max=1)], -1)


def _many(content: Any, name: str) -> dict[str, Tensor]:
    """Reads COCO annotations or results."""
    people: dict[str, list[Tensor]] = {}
    if isinstance(content, dict) and "annotations" in content:
        for where, photo, told in annotated(content, name, people):
            if "keypoints" in told:
                points = _triples(told["keypoints"], where)
                marked = torch.tensor([0.0, HIDDEN, 1.0])[points[:, 2].clamp(0, 2).long()]
                points = torch.cat([points[:, :2] + 0.5, marked[:, None]], 1)
                if (marked > 0).any():
                    people[photo].append(points)
    elif isinstance(content, list):
        for where, photo, told in detected(content, name, people, LEAST_SCORE):
            if "keypoints" not in told:
                raise ValueError(
                    f"{where}: wanted {WANTED}, came {shown(told)}; do: give COCO results of key "
                    "points"
                )
            people[photo].append(_triples(told["keypoints"], where))
    else:
        raise ValueError(
            f"{name}: wanted {WANTED} of many photos, as COCO annotations or results, came "
            f"{shown(content)}; do: give one of those, or a file for each photo"
        )
    return {
        photo: _checked(torch.stack(some), name) if some else torch.zeros(0, 17, 3)
        for photo, some in people.items()
    }


def _triples(value: Any, name: str) -> Float[Tensor, "17 3"]:
    return numbers(value, 51, name, WANTED).view(17, 3)
