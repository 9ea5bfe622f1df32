"""Makes of 3DPW, as its authors publish it, what HierProb3D's evaluation reads: crops and labels.

`cropped_frames/<sequence>_image_<frame>_person_<number>.png` and `3dpw_test.npz` with imgname,
center, wh, pose, shape and gender; and, which is not published, whether each person is truncated.
An import that was stopped goes on where it was; the labels appear when all crops are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from plausibody import __version__
from plausibody.evaluate.datasets.pw3d_labels import CROP, SCALE, cut_crop
from plausibody.evaluate.datasets.pw3d_split import SplitLabels, Watch
from plausibody.models.batches import in_batches
from plausibody.models.files import encode_arrays, write_file
from plausibody.models.locks import locked
from plausibody.models.naming import first_named
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.reading.json_file import read_json
from plausibody.synth.picture_file import PictureError, picture_size, read_picture

CROPS = "cropped_frames"
TRUNCATED = "truncated"
"""The one array that is not among the published: whose body goes on beyond the frame's border."""
RECORD = "import.json"
"""What the folder holds and what could not be used; it also says that the folder is ours."""
TOGETHER = 64
"""Frames that are given to the threads at a time."""


@dataclass(frozen=True)
class ImportReport:
    """What came of an import."""

    path: Path
    """The labels."""
    people: int
    """With a crop and a label."""
    continued: int
    """Crops that an earlier attempt had written."""
    missing: tuple[str, ...] = ()
    """Frames that are not there."""
    broken: dict[str, str] = field(default_factory=dict)
    """Frames that cannot be read, and why."""
    unusable: dict[str, str] = field(default_factory=dict)
    """People whose labels cannot be used, by crop, and why."""
    left_out: int = 0
    """People of missing and broken frames."""

    def lines(self) -> list[str]:
        """Tells what happened; of what is wrong, the first ten are named."""
        told = [f"{self.path}: {self.people:,} people, {self.continued:,} of them from before"]
        if self.missing:
            told.append(f"missing frames: {first_named(list(self.missing))}")
        if self.broken:
            told.append(f"broken frames: {len(self.broken):,}, such as:")
            told += [f"  {why}" for why in list(self.broken.values())[:3]]
        if self.left_out:
            told.append(f"left out: {self.left_out:,} people of these frames; the labels are not "
                        "the published ones without them")  # fmt: skip
        if self.unusable:
            reasons = [f"{name} ({why})" for name, why in self.unusable.items()]
            told.append(f"unusable labels: {first_named(reasons)}")
        return told


def import_3dpw(
    labels: SplitLabels,
    out: Path,
    force: bool = False,
    threads: int = 2,
    watch: Watch = lambda done, total: None,
) -> ImportReport:
    """Cuts the crops and writes the labels of those that could be cut.

    Frames that are missing or broken are left out and named. Stopped at any time, the same call
    goes on with the crops that are not there yet.

    Args:
        labels: From `read_split`.
        out: The folder to write; one for each split.
        force: Whether what an earlier import wrote there is replaced, not continued.
        threads: Which decode and encode pictures.
        watch: Is told how many of the frames are done.

    Raises:
        FileExistsError: If the folder holds something else.
        LockedError: If another process imports into it.
        ValueError: If no frame can be read.
        DiskFullError: If there is no space.
    """
    with locked(out, "importing 3DPW"):
        _claim(labels, out, force)
        crops = out / CROPS
        crops.mkdir(exist_ok=True)
        there = {path.name for path in crops.iterdir()}
        done = [name in there for name in labels.names]
        frames = _by_frame(labels, done)
        missing = [picture for picture in frames if not picture.is_file()]
        jobs = [(picture, frames[picture]) for picture in frames.keys() - set(missing)]
        broken: dict[Path, str] = {}
        cut = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="import") as pool:
            for batch in in_batches(sorted(jobs), TOGETHER):
                for fault in pool.map(lambda job: _cut(labels, crops, *job), batch):
                    broken |= fault
                cut += len(batch)
                watch(cut, len(jobs))
        return _finish(labels, out, missing, broken, sum(done))


def _claim(labels: SplitLabels, out: Path, force: bool) -> None:
    """Makes the folder ours, or refuses if it holds other labels."""
    record, table = out / RECORD, out / f"3dpw_{labels.split}.npz"
    if record.is_file():
        was = read_json(record, "what an earlier import wrote")
        same = isinstance(was, dict) and was.get("labels") == labels.digest()
        if same and not force:
            return
        if not force:
            raise FileExistsError(
                f"{out}: wanted to import 3DPW there, found an import of other labels or of "
                "another body; do: name another --out, or --force to replace it"
            )
        _remove_import(out)
    elif table.exists() or (out / CROPS).exists():
        raise FileExistsError(
            f"{out}: wanted to import 3DPW there, found {table.name} or {CROPS} that plausibody "
            "did not write; do: name another --out"
        )
    _write_record(labels, out, {})


def _remove_import(out: Path) -> None:
    """Removes labels and crops of an earlier import, and nothing else; the record last."""
    for table in out.glob("3dpw_*.npz"):
        table.unlink()
    for crop in (out / CROPS).glob("*_person_*.png"):
        if re.fullmatch(r".+_image_\d+_person_\d+\.png(\.unfinished)?", crop.name):
            crop.unlink()
    (out / RECORD).unlink()


def _write_record(labels: SplitLabels, out: Path, found: Mapping[str, Any]) -> None:
    record = {
        "import": "3dpw",
        "split": labels.split,
        "labels": labels.digest(),
        "bodies": labels.bodies,
        "crop": CROP,
        "scale": SCALE,
        "plausibody": __version__,
        **found,
    }
    write_file(out / RECORD, json.dumps(record, indent=2) + "\n")


def _by_frame(labels: SplitLabels, done: Sequence[bool]) -> dict[Path, list[int]]:
    """Gathers the people who are to be cut from each frame, so that it is decoded once."""
    frames: dict[Path, list[int]] = {}
    for number, picture in enumerate(labels.pictures):
        if not done[number]:
            frames.setdefault(picture, []).append(number)
    return frames


def _cut(labels: SplitLabels, crops: Path, picture: Path, people: Sequence[int]) -> dict[Path, str]:
    """Writes the crops of a frame; says why not if it cannot be read."""
    try:
        pixels = torch.from_numpy(read_picture(picture).copy())
    except PictureError as error:
        return {picture: str(error)}
    for number in people:
        crop = cut_crop(pixels, labels.centre[number], float(labels.side[number]))
        write_file(crops / labels.names[number], encode_picture(crop))
    return {}


def _finish(
    labels: SplitLabels, out: Path, missing: list[Path], broken: dict[Path, str], continued: int
) -> ImportReport:
    bad = {*missing, *broken}
    kept = [n for n, picture in enumerate(labels.pictures) if picture not in bad]

    def below(picture: Path) -> str:
        return picture.relative_to(labels.source).as_posix()

    report = ImportReport(
        path=out / f"3dpw_{labels.split}.npz",
        people=len(kept),
        continued=continued,
        missing=tuple(sorted(map(below, missing))),
        broken={below(picture): why for picture, why in sorted(broken.items())},
        unusable=labels.unusable,
        left_out=len(labels) - len(kept),
    )
    if not kept:
        raise ValueError(
            f"{labels.source}: wanted frames, came none that can be read; "
            + "; ".join(report.lines()[1:])
        )
    truncated = _truncated(labels, kept)
    found = {"people": len(kept), "missing": report.missing, "broken": report.broken}
    _write_record(labels, out, {**found, "unusable": labels.unusable})
    arrays = {**labels.arrays(kept), TRUNCATED: truncated}
    write_file(report.path, encode_arrays(arrays))
    return report


def _truncated(labels: SplitLabels, kept: Sequence[int]) -> Bool[ndarray, " people"]:
    """Tells whose bodies go on beyond the border of their frames."""
    pictures = {labels.pictures[n] for n in kept}
    sizes = {picture: picture_size(picture) for picture in pictures}
    size = np.array([sizes[labels.pictures[n]] for n in kept])
    inside = (labels.low[kept] > -0.5) & (labels.high[kept] < size - 0.5)
    return np.logical_not(inside.all(axis=1))
