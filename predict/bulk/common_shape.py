"""The shape of one person from all pictures: a first pass, which goes on where it was stopped.

What each picture says is kept in the folder of results, some hundred numbers a picture. When a
picture is added, only that one is looked at; then all results are made anew, as the shape is.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import torch

from plausibody.models.conditioning import fuse
from plausibody.models.files import file_sha256
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.bulk.ahead import ReadAhead
from plausibody.predict.bulk.inputs import Inputs, file_stamp
from plausibody.predict.bulk.journal import Entry, Journal, read_journal
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.photo import opened_by

NAME = ".shapes.jsonl"
LEAST_PROBABLE = 0.001
"""That a person's shape is as far from the common one as it is; if less, photos contradict."""


@dataclass(frozen=True)
class CommonShape:
    """What all photos say of the shape of one person."""

    shape: ShapeGaussian | None
    """None if no photo shows a person."""
    doubts: Mapping[int, str] = field(default_factory=dict)
    """By the number of a photo, what to warn of: it is a copy, or contradicts the others."""

    @property
    def digest(self) -> str:
        """Tells one from another."""
        content = json.dumps([_write_shape(self.shape), sorted(self.doubts.items())])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def common_shape(
    out: Path,
    inputs: Inputs,
    predictor: Predictor,
    settings: str,
    batch_size: int = 8,
    watch: Callable[[int], None] | None = None,
) -> CommonShape:
    """Fuses what all photos say of the shape of their main person.

    Of photos that are the same file, or have the same bytes, one counts.

    Args:
        out: Folder in which the first pass is kept.
        settings: Says everything that the shapes depend on besides the photos; what was kept under
            other settings does not count.
        watch: Is told how many photos are done, after each; may raise, to stop.
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
        twins = copies(inputs.names, shapes.photos)
        shapes = _Shapes(journal, (number for number in shapes.photos if number not in twins))
        shape = fuse(shapes) if shapes else None
        doubts = {
            number: f"--same-person: the same picture as {inputs.names[first]}; it counts once "
            "for the common shape"
            for number, first in twins.items()
        }
        if shape is not None:
            doubts |= contradictions(shapes, shape)
        return CommonShape(shape, doubts)


def copies(names: Sequence[str], among: Iterable[int]) -> dict[int, int]:
    """Finds files that have the same bytes as an earlier one; links to it have.

    Args:
        among: Numbers of the photos to compare.

    Returns:
        By the number of each, that of the first of its kind. What is no file is none, such as the
        frame of a video.
    """
    sizes: dict[int, list[int]] = {}
    for number in among:
        if os.path.isfile(names[number]):
            sizes.setdefault(file_stamp(names[number])[0], []).append(number)
    found: dict[int, int] = {}
    for alike in sizes.values():
        first: dict[str, int] = {}
        for number in alike if len(alike) > 1 else ():
            try:
                content = file_sha256(names[number])
            except OSError:  # it has gone in the meantime
                continue
            if (earlier := first.setdefault(content, number)) != number:
                found[number] = earlier
    return found


def contradictions(shapes: _Shapes, common: ShapeGaussian) -> dict[int, str]:
    """Finds photos whose own shape is farther from the common one than chance allows.

    The squared Mahalanobis distance between the two means, by the photo's own covariance, follows
    a chi-squared distribution with as many degrees of freedom as there are coefficients, at most.

    Returns:
        By the number of the photo, what to warn of.
    """
    half = torch.tensor(common.mean.shape[-1] / 2, dtype=torch.float64)
    found = {}
    for number, shape in zip(shapes.photos, shapes, strict=True):
        gap = (common.mean - shape.mean).double()[:, None]
        score = torch.linalg.solve_triangular(shape.factor.double(), gap, upper=False)
        probability = float(torch.special.gammaincc(half, score.square().sum() / 2))
        if probability < LEAST_PROBABLE:
            found[number] = (
                "--same-person: what this picture says of the shape contradicts what all say "
                f"together (by chance in {100 * probability:.2g} % of cases); is it this person?"
            )
    return found


class _Shapes(Sequence[ShapeGaussian]):
    """The shapes of a journal, of photos that show a person, read when they are asked for."""

    def __init__(self, journal: Journal, photos: Iterable[int]):
        self._journal = journal
        self.photos = array("q")
        """Their numbers."""
        for number in photos:
            if journal.is_done(number) and journal.read(number)["shape"] is not None:
                self.photos.append(number)

    def __len__(self) -> int:
        return len(self.photos)

    @overload
    def __getitem__(self, index: int) -> ShapeGaussian: ...
    @overload
    def __getitem__(self, index: slice) -> _Shapes: ...
    def __getitem__(self, index: int | slice) -> ShapeGaussian | _Shapes:
        chosen = self.photos[index]
        if not isinstance(chosen, int):
            return _Shapes(self._journal, chosen)
        values = self._journal.read(chosen)["shape"]
        mean, factor = (torch.tensor(values[name]) for name in ("mean", "factor"))
        return ShapeGaussian(mean=mean, factor=factor)


def _write_shape(shape: ShapeGaussian | None) -> dict[str, Any] | None:
    """Single precision goes through decimal numbers unchanged."""
    if shape is None:
        return None
    return {"mean": shape.mean.tolist(), "factor": shape.factor.tolist()}
