"""Predicts a folder of photos: writes results, accounts for every input, goes on after a stop."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from plausibody.models.files import explained, write_file
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict import common_shape, table
from plausibody.predict.common_shape import read_lines
from plausibody.predict.keeping import RECORD, Record, keep
from plausibody.predict.naming import folder_names
from plausibody.predict.options import SAVE, RunOptions
from plausibody.predict.photo import file_stamp, find_photos
from plausibody.predict.predictor import Predictor
from plausibody.predict.report import Report, cards_of_run, write_report

__all__ = ["LOG", "SAVE", "SUMMARY", "Progress", "RunOptions", "Summary", "predict_folder"]

SCHEMA = 2
"""Version of `summary.json` and `result.json`; 1 had no measurements."""
SUMMARY, LOG = "summary.json", ".progress.jsonl"
SHAPE_SETTINGS = (
    "weights", "weights_sha256", "front_end", "topology", "gender", "person", "flip", "gender_told",
)  # fmt: skip
"""What the shape depends on that a picture says its main person has."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    """Photos, with those that were finished before; each counts twice if it is looked at twice."""
    total: int
    people: int
    """Found so far."""


@dataclass(frozen=True)
class Summary:
    """What became of a run."""

    path: Path
    """Of `summary.json`."""
    content: dict[str, Any]
    """What that file holds."""
    skipped: int
    """Photos that an earlier run of the same command had finished."""

    @property
    def counts(self) -> dict[str, int]:
        """Photos by status."""
        counts: dict[str, int] = self.content["counts"]
        return counts

    @property
    def usable(self) -> bool:
        """Whether there is any body at all."""
        return self.counts.get("ok", 0) > 0


def predict_folder(
    paths: Sequence[Path | str],
    out: Path,
    predictor: Predictor,
    options: RunOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Predicts photos and writes one folder for each, and one summary.

    A photo that cannot be used is listed with the reason and does not stop the rest. What is
    finished is not done again if neither the photo nor the settings have changed.

    Args:
        paths: Photos and folders of photos.
        progress: Called after each photo.

    Raises:
        ValueError: If samples are to be written and the predictor draws none.
        FileNotFoundError: If a path does not exist or a folder has no photo.
        DiskFullError: If there is no space left; what is finished stays.
    """
    options = options or RunOptions()
    if "samples" in options.save and not predictor.samples:
        raise ValueError("--save samples: wanted samples to write, got none; do: add --samples 25")
    photos = find_photos(paths)
    out.mkdir(parents=True, exist_ok=True)
    settings = _settings(predictor, options)
    looked, shape = 0, None
    if predictor.told.same_person:
        looked = len(photos.paths)
        shape = _common_shape(out, photos.paths, predictor, options, progress)
        settings["common_shape"] = common_shape.digest(shape)
    digest = _digest(settings)
    names = {str(path): path for path in photos.paths}
    before = {} if options.force else _finished(out, names, digest)
    folders = folder_names(
        photos.paths,
        {path: record["folder"] for path, record in before.items() if record["folder"]},
    )
    records = dict(before)
    log = out / LOG
    write_file(log, "".join(json.dumps(record) + "\n" for record in before.values()))

    todo = [path for path in photos.paths if str(path) not in before]
    stamps = {str(path): file_stamp(path) for path in todo}
    people = sum(len(record["people"]) for record in before.values())
    with explained(log), log.open("a", encoding="utf-8") as lines:
        stream = predictor.stream_given(todo, shape, options.batch_size)
        for path, image in zip(todo, stream, strict=True):
            key = str(path)
            blank = {"path": key, "file": stamps[key], "settings": digest}
            record = keep(image, blank, out / folders[key], predictor, options)
            records[key] = record
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            people += len(record["people"])
            if progress:
                progress(Progress(looked + len(records), looked + len(photos.paths), people))

    inputs = [records[str(path)] for path in photos.paths]
    content = {
        "schema_version": SCHEMA,
        "versions": {"plausibody": version("plausibody"), "torch": torch.__version__},
        "settings": settings,
        "counts": dict(Counter(record["status"] for record in records.values())),
        "files_ignored": photos.ignored,
        "inputs": inputs,
    }
    write_file(out / table.NAME, table.encode_table(inputs))
    write_file(out / SUMMARY, json.dumps(content, indent=1, allow_nan=False) + "\n")
    log.unlink()
    if "report" in options.save:
        write_report(_report(out, content), out / "report.html")
    return Summary(out / SUMMARY, content, skipped=len(before))


def _settings(predictor: Predictor, options: RunOptions) -> dict[str, Any]:
    """Everything that results depend on, besides the photos."""
    return {
        "weights": predictor.weights_name,
        "weights_sha256": predictor.weights_sha256,
        "front_end": type(predictor.front_end).__name__,
        "topology": predictor.template.topology,
        "gender": predictor.template.gender,
        "person": predictor.person,
        "flip": predictor.flip,
        "diagonal_view_degrees": round(math.degrees(predictor.diagonal_view), 6),
        "samples": predictor.samples,
        "seed": predictor.seed,
        "height_told": predictor.told.height,
        "gender_told": predictor.told.gender,
        "same_person": predictor.told.same_person,
        "calibration": predictor.calibration_digest,
        "save": sorted(options.save),
        "mesh_format": options.mesh_format,
        "vertices": options.vertices,
    }


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _common_shape(
    out: Path,
    photos: Sequence[Path],
    predictor: Predictor,
    options: RunOptions,
    progress: Callable[[Progress], None] | None,
) -> ShapeGaussian | None:
    """Makes the first pass over photos of one person."""
    if options.force:
        (out / common_shape.NAME).unlink(missing_ok=True)

    def watch(done: int) -> None:
        if progress:
            progress(Progress(done, 2 * len(photos), 0))

    network = _digest({key: _settings(predictor, options)[key] for key in SHAPE_SETTINGS})
    return common_shape.common_shape(out, photos, predictor, network, options.batch_size, watch)


def _finished(out: Path, wanted: dict[str, Path], digest: str) -> dict[str, Record]:
    """Reads what an earlier run of the same command has done."""
    found: dict[str, Record] = {}
    for record in [*_summary_records(out / SUMMARY), *read_lines(out / LOG)]:
        found[record["path"]] = record
    return {
        key: record
        for key, record in found.items()
        if key in wanted
        and record["settings"] == digest
        and record["file"] == file_stamp(wanted[key])
        and record["status"] != "failed"
        and (not record["folder"] or (out / record["folder"] / RECORD).is_file())
    }


def _summary_records(path: Path) -> list[Record]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(
            f"{path}: wanted the summary of an earlier run, got {error}; do: choose another --out, "
            "or remove the file"
        ) from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA:
        return []
    inputs: list[Record] = content.get("inputs", [])
    return inputs


def _report(out: Path, content: dict[str, Any]) -> Report:
    cards, notes = cards_of_run(out, content)
    counts = ", ".join(f"{count} {status}" for status, count in content["counts"].items())
    return Report(
        title="Bodies from photos",
        introduction=[f"{len(content['inputs'])} photos: {counts}."],
        cards=cards,
        footnotes=[
            *notes,
            "Overlap is the common over the joint area of the body and the outline that was seen, "
            "clothes included. Key points are compared with those seen, in per cent of the "
            "person's diagonal. Both tell how the body fits what was seen, not how true it is.",
            f"plausibody {content['versions']['plausibody']}, weights "
            f"{content['settings']['weights']}.",
        ],
    )
