"""Where people are, as told by files: a box each, in the layouts that detectors and demos use.

- one file for many photos: `{"a.jpg": [x, y, w, h], "b.jpg": [[x, y, w, h], ...]}`, COCO
  annotations (`images` and `annotations`), or COCO results (a list of objects with `bbox` and
  `image_id` or `file_name`);
- one file for one photo: `[x, y, w, h]`, a list of such, `{"bbox": [x, y, w, h]}` as the demos of
  SPIN and DSR read it, or what OpenPose writes;
- a folder with such a file for each photo, named like it: `a.json`, `a.jpg.json`, `a_bbox.json` or
  `a_keypoints.json`. It may be the folder of the photos.

x and y are of the left upper corner, from the outer corner of the picture, all in pixels.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.predict.bulk.naming import RESERVED
from plausibody.predict.front_ends.front_end import Picture
from plausibody.predict.reading.coco import annotated, detected
from plausibody.predict.reading.json_file import numbers, read_json, shown
from plausibody.predict.reading.openpose import is_openpose, read_people

WANTED = "boxes of people, [x, y, w, h] in pixels"
ENDINGS = (".json", "_bbox.json", "_keypoints.json")
"""Of the files of a folder, after the name of the photo."""
LEAST_SIDE = 4.0
"""Of a box in the picture [px]."""
LEAST_INSIDE = 0.5
"""Share of a box that must lie in the picture."""
LEAST_SCORE = 0.3
"""Detections with a score below it do not count."""
LEAST_CONFIDENCE = 0.2
"""Of an OpenPose key point to count in a box. Source: the demos of SPIN and DSR."""
LEAST_POINTS = 3
MARGIN = 0.1
"""By which a box goes beyond key points, in longer sides. Source: those demos, in all 1.2."""


class NotListedError(ValueError):
    """Nothing is said of a photo."""


@runtime_checkable
class Boxes(Protocol):
    """Says where the people of a picture are."""

    def __call__(self, picture: Picture, width: int, height: int) -> Float[Tensor, "N 4"]:
        """Gives left, top, right, bottom of each person [px], within the picture.

        Args:
            width: Of the upright picture [px].

        Raises:
            ValueError: If what is said of this picture makes no sense, or nothing is said of it.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Gives what the answers depend on; JSON can hold it."""
        ...


@dataclass(frozen=True)
class WholePicture:
    """Says that each picture is cut to one person."""

    def __call__(self, picture: Picture, width: int, height: int) -> Float[Tensor, "1 4"]:
        """Gives the whole picture as the box."""
        return torch.tensor([[0.0, 0.0, width, height]])

    def describe(self) -> dict[str, Any]:
        return {"cropped": True}


@dataclass(frozen=True)
class BoxFile:
    """What a file says, or a folder of files."""

    path: Path
    named: Mapping[str, Float[Tensor, "_ 4"]] = field(default_factory=dict)
    """By photo, as the file names it; corners [px], not yet compared with the photo's size."""
    alone: Float[Tensor, "_ 4"] | None = None
    """Of the only photo, whatever its name."""

    @cached_property
    def _index(self) -> dict[tuple[str, ...], str]:
        return index_names(self.named)

    def __call__(self, picture: Picture, width: int, height: int) -> Float[Tensor, "N 4"]:
        """Gives the boxes of a photo in the order of the file, cut at the border of the photo.

        Raises:
            NotListedError: If nothing is said of the photo.
            FileNotFoundError: If the photo has no file in the folder.
            ValueError: If its file is wrong, or a box lies outside the photo.
        """
        path, found = self.find(picture)
        return within(found, width, height, str(path))

    def find(self, picture: Picture) -> tuple[Path, Float[Tensor, "N 4"]]:
        """Gives the file that tells of a photo, and what it says, uncut."""
        if self.path.is_dir():
            if isinstance(picture, Tensor):
                raise NotListedError(f"{self.path}: wanted the name of a photo, came only pixels")
            return _of_photo(self.path, Path(picture))
        if self.alone is not None:
            return self.path, self.alone
        if isinstance(picture, Tensor):
            raise NotListedError(f"{self.path}: wanted the name of a photo, came only pixels")
        key = find_name(self._index, Path(picture))
        if key is None:
            raise NotListedError(
                f"{self.path}: wanted {WANTED}, of {Path(picture).name}, found "
                f"{_some(self.named)}; do: add it, or [] if nobody is to be looked at"
            )
        return self.path, self.named[key]

    def check(self, photos: Sequence[Path]) -> None:
        """Looks whether the boxes can be meant for these photos.

        Raises:
            ValueError: If no photo is named, or boxes of one photo are given for several.
        """
        if self.path.is_dir():
            if photos and not any(_files_of(self.path, photo) for photo in photos):
                raise ValueError(
                    f"{self.path}: wanted files with {WANTED}, named like the photos, such as "
                    f"{photos[0].stem}.json, found none; do: name the folder that holds them"
                )
        elif self.alone is not None:
            if len(photos) > 1:
                raise ValueError(
                    f"{self.path}: wanted the names of the photos, as there are {len(photos)}, "
                    'came boxes without; do: write {"' + photos[0].name + '": [x, y, w, h], ...}'
                )
        elif photos and all(find_name(self._index, photo) is None for photo in photos):
            raise ValueError(
                f"{self.path}: wanted {WANTED}, of {photos[0].name} or another of the "
                f"{len(photos)} photos, found {_some(self.named)}; do: choose the right file"
            )

    def describe(self) -> dict[str, Any]:
        """Gives a mark of the file's content; of a folder's files, their names, sizes and times."""
        if self.path.is_dir():
            files = (file for file in self.path.glob("*.json") if file.name not in RESERVED)
            return {"boxes": digest(file for file in files if file.is_file())}
        return {"boxes": hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]}


def read_boxes(path: Path | str) -> BoxFile:
    """Reads a file with boxes, or takes a folder whose files are read when they are needed.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it holds something else than boxes.
    """
    path = Path(path)
    if path.is_dir():
        return BoxFile(path)
    return _parse(path, read_json(path, WANTED))


def within(boxes: Float[Tensor, "N 4"], width: int, height: int, name: str) -> Float[Tensor, "N 4"]:
    """Cuts boxes (left, top, right, bottom) [px] at the border of a picture.

    Args:
        name: Of their file, for messages.

    Raises:
        ValueError: If less than half of a box lies in the picture, or less than 4 pixels of it.
    """
    limit = boxes.new_tensor([width, height])
    low = boxes[:, :2].clamp(min=0).minimum(limit)
    high = boxes[:, 2:].clamp(min=0).minimum(limit)
    inside = (high - low).double().prod(-1) / (boxes[:, 2:] - boxes[:, :2]).double().prod(-1)
    small = (high - low).amin(-1) < LEAST_SIDE
    for box in boxes[(inside < LEAST_INSIDE) | small].tolist():
        left, top, right, bottom = box
        raise ValueError(
            f"{name}: wanted boxes within the picture of {width} x {height} pixels, came x, y, w, "
            f"h = {left:g}, {top:g}, {right - left:g}, {bottom - top:g}; do: give left, top, width "
            "and height in pixels of the upright picture, not corners nor shares"
        )
    return torch.cat([low, high], -1)


def overlaps(boxes: Float[Tensor, "N 4"], box: Float[Tensor, " 4"]) -> Float[Tensor, " N"]:
    """Gives the common over the joint area of each box and another."""
    low, high = boxes[:, :2].maximum(box[:2]), boxes[:, 2:].minimum(box[2:])
    common = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod()
    return common / (area - common).clamp(min=1e-6)


def in_common(boxes: Float[Tensor, "N 4"], box: Float[Tensor, " 4"]) -> Float[Tensor, " N"]:
    """Gives the common over the smaller area of each box and another."""
    low, high = boxes[:, :2].maximum(box[:2]), boxes[:, 2:].minimum(box[2:])
    common = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1).minimum((box[2:] - box[:2]).prod())
    return common / area.clamp(min=1e-6)


def box_of_points(points: Float[Tensor, "17 3"]) -> Float[Tensor, "N 4"]:
    """Gives the box round the sure key points and a margin [px]; without a row if too few are."""
    sure = points[points[:, 2] > LEAST_CONFIDENCE, :2]
    if len(sure) < LEAST_POINTS:
        return points.new_zeros(0, 4)
    low, high = sure.amin(0), sure.amax(0)
    margin = MARGIN * (high - low).max().clamp(min=1.0)
    return torch.cat([low - margin, high + margin])[None]


def index_names(names: Iterable[str]) -> dict[tuple[str, ...], str]:
    """Prepares names of photos, as a file gives them, for `find_name`."""
    return {_parts(name): name for name in names}


def find_name(index: Mapping[tuple[str, ...], str], photo: Path) -> str | None:
    """Finds how a file names a photo: by its path or the end of it, else without its suffix.

    Of several names, the one that tells most of the path.
    """
    parts = _parts(str(photo))
    for known in range(len(parts), 0, -1):
        end = parts[-known:]
        for wanted in (end, (*end[:-1], PurePosixPath(end[-1]).stem)):
            if wanted in index:
                return index[wanted]
    return None


def digest(files: Iterable[Path]) -> str:
    """Tells some files from others, by their names, sizes and times of change."""
    mark = hashlib.sha256()
    for file in sorted(files):
        state = file.stat()
        mark.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode(errors="replace"))
    return mark.hexdigest()[:16]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/"))).parts


def _of_photo(folder: Path, photo: Path) -> tuple[Path, Float[Tensor, "N 4"]]:
    """Reads the file of one photo in a folder."""
    files = _files_of(folder, photo)
    if not files:
        raise FileNotFoundError(
            f"{folder}: wanted {WANTED}, in {photo.stem}.json, found no such file; do: write it, "
            "with [] if nobody is to be looked at"
        )
    path = files[0]
    content = _parse(path, read_json(path, WANTED))
    if content.alone is not None:
        return path, content.alone
    key = find_name(index_names(content.named), photo)
    if key is None:
        raise NotListedError(
            f"{path}: wanted {WANTED}, of {photo.name}, found {_some(content.named)}; "
            "do: put the right file there"
        )
    return path, content.named[key]


def _files_of(folder: Path, photo: Path) -> list[Path]:
    names = [photo.name + ".json", *(photo.stem + ending for ending in ENDINGS)]
    return [folder / name for name in names if (folder / name).is_file()]


def _some(names: Mapping[str, Any]) -> str:
    if not names:
        return "no photo named"
    return f"{', '.join(list(names)[:3])}{', ...' * (len(names) > 3)}"


def _parse(path: Path, content: Any) -> BoxFile:
    """Recognises the layout."""
    name = str(path)
    if is_openpose(content):
        people = [box_of_points(points) for points in read_people(content, name)]
        return BoxFile(path, alone=torch.cat([torch.zeros(0, 4), *people]))
    if isinstance(content, dict) and "annotations" in content:
        return BoxFile(path, named=_coco(content, name))
    if isinstance(content, dict) and "bbox" in content:
        return BoxFile(path, alone=_boxes(content["bbox"], name))
    if isinstance(content, dict):
        return BoxFile(
            path, named={photo: _boxes(told, f"{name}, {photo}") for photo, told in content.items()}
        )
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return BoxFile(path, named=_coco(content, name))
    return BoxFile(path, alone=_boxes(content, name))


def _boxes(told: Any, name: str) -> Float[Tensor, "_ 4"]:
    """Reads one box, or a list of them, or an object with them."""
    if isinstance(told, dict) and "bbox" in told:
        told = told["bbox"]
    if not isinstance(told, list):
        raise ValueError(f"{name}: wanted {WANTED}, came {shown(told)}; do: write it so")
    several = told if not told or isinstance(told[0], list | dict) else [told]
    rows = [_box(box, f"{name}, box {n}") for n, box in enumerate(several)]
    return torch.stack(rows) if rows else torch.zeros(0, 4)


def _box(told: Any, name: str) -> Float[Tensor, " 4"]:
    if isinstance(told, dict):
        told = told.get("bbox")
    x, y, w, h = numbers(told, 4, name, "[x, y, w, h] in pixels").double().tolist()
    if w <= 0 or h <= 0:
        raise ValueError(
            f"{name}: wanted [x, y, w, h] with w and h above 0, came w = {w:g}, h = {h:g}; "
            "do: give the left upper corner, width and height"
        )
    return torch.tensor([x, y, x + w, y + h])


def _coco(content: Any, name: str) -> dict[str, Tensor]:
    """Reads COCO's annotations, or its results, of which only sure ones count."""
    rows: dict[str, list[Tensor]] = {}
    if isinstance(content, dict):
        found = annotated(content, name, rows)
    else:
        found = detected(content, name, rows, LEAST_SCORE)
    for where, photo, told in found:
        rows[photo].append(_box(told, where))
    return _stacked(rows)


def _stacked(rows: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(some) if some else torch.zeros(0, 4) for name, some in rows.items()}
