"""The shape of one person from all pictures: a first pass, which goes on where it was stopped.

What each picture says is kept in the folder of results, some hundred numbers a picture. When a
picture is added, only that one is looked at; then all results are made anew, as the shape is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from plausibody.models.files import explained, write_file
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.photo import file_stamp
from plausibody.predict.predictor import Predictor
from plausibody.predict.told import fuse_shapes

NAME = ".shapes.jsonl"


def common_shape(
    out: Path,
    photos: Sequence[Path],
    predictor: Predictor,
    settings: str,
    batch_size: int = 8,
    watch: Callable[[int], None] | None = None,
) -> ShapeGaussian | None:
    """Fuses what all photos say of the shape of their main person.

    Args:
        out: Folder in which the first pass is kept.
        settings: Says everything that the shapes depend on besides the photos; what was kept under
            other settings does not count.
        watch: Is told how many photos are done, after each.

    Returns:
        None if no photo shows a person.
    """
    file = out / NAME
    stamps = {str(path): file_stamp(path) for path in photos}
    known = {
        line["path"]: line
        for line in read_lines(file)
        if line["settings"] == settings and line["file"] == stamps.get(line["path"])
    }
    write_file(file, "".join(json.dumps(line) + "\n" for line in known.values()))
    todo = [path for path in photos if str(path) not in known]
    shapes = {key: _read_shape(line["shape"]) for key, line in known.items()}
    with explained(file), file.open("a", encoding="utf-8") as lines:
        looks = predictor.first_looks(todo, batch_size)
        for path, look in zip(todo, looks, strict=True):
            key = str(path)
            shapes[key] = look.shape
            if not look.failed:
                line = {"path": key, "file": stamps[key], "settings": settings}
                lines.write(json.dumps(line | {"shape": _write_shape(look.shape)}) + "\n")
                lines.flush()
            if watch:
                watch(len(shapes))
    return fuse_shapes(shapes[str(path)] for path in photos)


def digest(shape: ShapeGaussian | None) -> str:
    """Tells one shape from another."""
    return hashlib.sha256(json.dumps(_write_shape(shape)).encode()).hexdigest()[:16]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the objects of a log, a line each; the last may be cut off."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def _write_shape(shape: ShapeGaussian | None) -> dict[str, Any] | None:
    """Single precision goes through decimal numbers unchanged."""
    if shape is None:
        return None
    return {"mean": shape.mean.tolist(), "factor": shape.factor.tolist()}


def _read_shape(values: dict[str, Any] | None) -> ShapeGaussian | None:
    if values is None:
        return None
    mean, factor = (torch.tensor(values[name]) for name in ("mean", "factor"))
    return ShapeGaussian(mean=mean, factor=factor)
