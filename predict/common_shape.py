"""The shape of one person from all pictures: a first pass, which goes on where it was stopped.

What each picture says is kept in the folder of results, some hundred numbers a picture. When a
picture is added, only that one is looked at; then all results are made anew, as the shape is.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import torch

from plausibody.models.conditioning import fuse
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.ahead import ReadAhead
from plausibody.predict.inputs import Inputs
from plausibody.predict.journal import Entry, Journal, read_journal
from plausibody.predict.photo import opened_by
from plausibody.predict.predictor import Predictor

NAME = ".shapes.jsonl"


def common_shape(
    out: Path,
    inputs: Inputs,
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
        watch: Is told how many photos are done, after each; may raise, to stop.

    Returns:
        None if no photo shows a person.
    """

    def still_holds(entry: Entry) -> bool:
        return bool(entry["settings"] == settings and entry["file"] == inputs.stamp(entry["path"]))

    file = out / NAME
    journal = Journal(file, inputs.names)
    journal.begin(lambda: read_journal(file), still_holds)
    with journal, ReadAhead(inputs.open) as ahead, opened_by(ahead):
        done = journal.count()
        for batch in ahead.batches(journal.batches(batch_size), inputs.names.__getitem__):
            names = [inputs.names[number] for number in batch]
            stamps = [inputs.stamp(name) for name in names]
            looks = predictor.first_looks(names, len(names))
            for number, name, stamp, look in zip(batch, names, stamps, looks, strict=True):
                if journal.is_done(number):
                    continue
                if not look.failed:
                    entry = {"path": name, "file": stamp, "settings": settings}
                    journal.add(number, entry | {"shape": _write_shape(look.shape)})
                done += 1
                if watch:
                    watch(done)
        journal.end()
        shapes = _Shapes(journal, range(len(inputs.names)))
        return fuse(shapes) if shapes else None


class _Shapes(Sequence[ShapeGaussian]):
    """The shapes of a journal, of photos that show a person, read when they are asked for."""

    def __init__(self, journal: Journal, photos: Iterable[int]):
        self._journal = journal
        self._photos = array("q")
        for number in photos:
            if journal.is_done(number) and journal.read(number)["shape"] is not None:
                self._photos.append(number)

    def __len__(self) -> int:
        return len(self._photos)

    @overload
    def __getitem__(self, index: int) -> ShapeGaussian: ...
    @overload
    def __getitem__(self, index: slice) -> _Shapes: ...
    def __getitem__(self, index: int | slice) -> ShapeGaussian | _Shapes:
        chosen = self._photos[index]
        if not isinstance(chosen, int):
            return _Shapes(self._journal, chosen)
        values = self._journal.read(chosen)["shape"]
        mean, factor = (torch.tensor(values[name]) for name in ("mean", "factor"))
        return ShapeGaussian(mean=mean, factor=factor)


def digest(shape: ShapeGaussian | None) -> str:
    """Tells one shape from another."""
    return hashlib.sha256(json.dumps(_write_shape(shape)).encode()).hexdigest()[:16]


def _write_shape(shape: ShapeGaussian | None) -> dict[str, Any] | None:
    """Single precision goes through decimal numbers unchanged."""
    if shape is None:
        return None
    return {"mean": shape.mean.tolist(), "factor": shape.factor.tolist()}
