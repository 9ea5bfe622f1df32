"""People in photos, as annotations of COCO and DensePose-COCO tell of them, for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plausibody.assets.contents import read_headers
from plausibody.evaluate.datasets.coco_labels import people_of, read_annotations
from plausibody.evaluate.datasets.coco_people import FACTOR
from plausibody.evaluate.datasets.labels import file_below
from plausibody.models.crop import Box
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.models.skeleton import SMPL24
from plausibody.models.unpickle import read_pickled_array
from plausibody.predict.reading.json_file import numbers, shown
from plausibody.synth.real_people import RealLabels
from plausibody.synth.real_surfaces import GRID, MOST, SurfaceLabels, read_runs

SHAPES = 10
DRAWN = 14
"""Joined parts that annotators outlined."""
ANNOTATED = "dp_annot"
"""Annotations of DensePose-COCO in DaNet's files."""


def read_coco_people(path: Path, pictures: Path, maps: Path | None = None) -> RealLabels:
    """Reads everybody with marked key points who is no crowd: key points, and what is annotated of
    the surface (`dp_I`, `dp_U`, `dp_V`, `dp_x`, `dp_y`, `dp_masks`).

    Args:
        path: Such as person_keypoints_train2014.json or densepose_coco_2014_train.json.
        pictures: Folder of the photos; people whose photo is not there are left out and counted.
        maps: Folder of label maps; a photo without one has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as published.
    """
    named, told = read_annotations(path)
    people = people_of(path, told)
    where = f"{path}, images"
    wanted = (people.counted & (people.box[:, 2:].amax(1) > 0)).nonzero()[:, 0].tolist()
    files = {n: file_below(pictures, named[int(people.image[n])], where) for n in wanted}
    there = {file: file.is_file() for file in dict.fromkeys(files.values())}
    kept = [n for n in wanted if there[files[n]]]
    chosen = take(people, torch.tensor(kept, dtype=torch.long))
    corner, size = chosen.box.float().split(2, 1)
    surfaces = [surface_of(told[n], f"{path}, annotation {n}") for n in kept]
    parsed: list[Path | None] = []
    if maps is not None:
        parsed = [map_of(maps, named[int(people.image[n])], path) for n in kept]
    return RealLabels(
        pictures=tuple(files[n] for n in kept),
        box=Box(centre=corner + size / 2, side=FACTOR * size.amax(1)),
        keypoints=chosen.marks.float(),
        body=BodyParameters(
            shape=torch.zeros(len(kept), SHAPES),
            rotations=torch.eye(3).repeat(len(kept), len(SMPL24), 1, 1),
        ),
        fitted=torch.zeros(len(kept), dtype=torch.bool),
        label_maps=tuple(parsed),
        missing=tuple(file for file, found in there.items() if not found),
        surfaces=tuple(surfaces) if any(surfaces) else (),
    )


def read_surfaces(path: Path, people: int) -> list[SurfaceLabels | None]:
    """Reads what a file in SPIN's layout has of DensePose-COCO's annotations, as DaNet's
    dp_coco_2014_train.npz: pickled, in `dp_annot`, a table for each person, or nothing.

    Args:
        people: How many are in the file.

    Returns:
        Nothing if the file has no such array.

    Raises:
        ValueError: If the array calls for code, or is not as published.
    """
    if ANNOTATED not in read_headers(path):
        return []
    found = read_pickled_array(path, ANNOTATED)
    where = f"{path}, {ANNOTATED}"
    if len(found) != people:
        raise ValueError(
            f"{where}: wanted an entry for each of the {people:,} people, got {len(found):,}; do: "
            "take the file as it is published"
        )
    surfaces: list[SurfaceLabels | None] = []
    for row, told in enumerate(found):
        if told is not None and not isinstance(told, dict):
            raise ValueError(f"{where} {row}: wanted a table of dp_I and others, got {shown(told)}")
        plain = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in (told or {}).items()
        }
        surfaces.append(surface_of(plain, f"{where} {row}"))
    return surfaces


def surface_of(told: dict[str, Any], where: str) -> SurfaceLabels | None:
    """Takes from an annotation what it says of the surface; None if that is nothing.

    Points come in 256ths of the sides of the person's rectangle.

    Args:
        where: The annotation, for messages.

    Raises:
        ValueError: If lists are of different lengths, parts or places do not exist, or masks are
            not as published.
    """
    if "dp_I" not in told:
        return None
    part, u, v, x, y = (_list(told, f"dp_{key}", where) for key in ("I", "U", "V", "x", "y"))
    lengths = {len(part), len(u), len(v), len(x), len(y)}
    if len(lengths) > 1 or len(part) > MOST:
        raise ValueError(
            f"{where}: wanted dp_I, dp_U, dp_V, dp_x and dp_y of one length, {MOST} at most, got "
            f"{', '.join(map(str, sorted(lengths)))}; do: take the annotations as published"
        )
    kinds = torch.tensor(part, dtype=torch.float64)
    flat = torch.tensor([u, v]).T.reshape(-1, 2)
    if not bool(((kinds >= 1) & (kinds <= 24) & (kinds == kinds.round())).all()):
        raise ValueError(f"{where}, dp_I: wanted parts 1 to 24, got {shown(part)}")
    if not bool(((flat >= 0) & (flat <= 1)).all()):
        raise ValueError(f"{where}, dp_U and dp_V: wanted 0 to 1, got others")
    box = numbers(told["bbox"], 4, f"{where}, bbox", "x, y, width and height [px]")
    corner, size = box.float().split(2)
    places = torch.tensor([x, y]).T.reshape(-1, 2) / GRID
    return SurfaceLabels(
        places=corner + places * size,
        part=kinds.long(),
        place_on_part=flat,
        corner=corner,
        size=size,
        masks=_masks(told.get("dp_masks", []), f"{where}, dp_masks"),
    )


def map_of(folder: Path, name: str, labels: Path) -> Path | None:
    """Finds the label map of a photo: its name with .png behind, as DSR has it, or instead."""
    path = file_below(folder, name, f"{labels}, imgname")
    for candidate in (path.with_name(path.name + ".png"), path.with_suffix(".png")):
        if candidate.is_file():
            return candidate
    return None


def _list(told: dict[str, Any], key: str, where: str) -> list[float]:
    found = told.get(key)
    count = len(found) if isinstance(found, list) else 0
    return [float(one) for one in numbers(found, count, f"{where}, {key}", "numbers")]


def _masks(told: Any, where: str) -> tuple[bytes | None, ...]:
    """Checks masks, which stay compressed: 39,000 people of 14 masks would fill the memory."""
    if told == []:
        return ()
    if not isinstance(told, Sequence) or len(told) != DRAWN:
        raise ValueError(f"{where}: wanted {DRAWN} masks or none, got {shown(told)}")
    found: list[bytes | None] = []
    for mask in told:
        if not mask:
            found.append(None)
            continue
        counts = mask.get("counts") if isinstance(mask, dict) else None
        if not isinstance(counts, str) or mask.get("size") != [GRID, GRID]:
            raise ValueError(
                f"{where}: wanted counts, compressed, and size [{GRID}, {GRID}] of each, got "
                f"{shown(mask)}; do: take the annotations as published"
            )
        try:
            read_runs(counts.encode(), GRID, GRID)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        found.append(counts.encode())
    return tuple(found)
