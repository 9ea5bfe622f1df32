"""Figures of an evaluation, each with its protocol and baselines; as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.evaluate.figures import Figures, subset_table
from plausibody.evaluate.markdown import markdown_table
from plausibody.models.files import write_file

VERSION = 1
SHOWN = ("mpjpe", "pa_mpjpe", "pve", "pve_t_sc", "silhouette_iou")
"""What the table of subsets has room for."""


@dataclass(frozen=True)
class Figure:
    """One number over some people."""

    metric: str
    subset: str
    """all, or the people with some attribute."""
    people: int
    value: float
    unit: str
    points: str
    """What is compared."""
    alignment: str
    """What is forgiven before."""
    estimate: str
    """Which guess of the prediction is measured."""
    mean_body: float
    """The same of the mean body."""
    nearest_pose: float
    """The same of the nearest of 500 training poses."""

    @property
    def ratio(self) -> float:
        """Of the value to the mean body's."""
        return self.value / self.mean_body if self.mean_body else float("nan")

    @property
    def digits(self) -> int:
        """Worth printing after the point."""
        return 3 if self.unit == "0..1" else 1


@dataclass(frozen=True)
class Result(Figures[Figure]):
    """What an evaluation found."""

    benchmark: str
    """Its name; begins with "not" if its seal was broken."""
    sealed: bool
    """Whether settings, files and code are those that the name stands for."""
    digest: str
    """Hash of what was measured on; the benchmark's own if sealed."""
    note: str
    """What a reader must know before comparing; empty if nothing."""
    gender: str
    """Of the predicted body and of the true one."""
    settings: dict[str, Any]
    """Of the benchmark."""
    regressor: dict[str, Any]
    """What its card says of its making."""
    plausibody: str
    """Version."""
    figures: tuple[Figure, ...]


def to_json(result: Result) -> dict[str, Any]:
    """Gives a result as tables; every figure carries its protocol."""
    tables = {"version": VERSION, **dataclasses.asdict(result)}
    tables["figures"] = [
        {**dataclasses.asdict(figure), "ratio_to_mean_body": figure.ratio}
        for figure in result.figures
    ]
    return tables


def read_result(path: Path) -> Result:
    """Reads a results.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no result of this version.
    """
    if not path.exists():
        raise FileNotFoundError(f"wanted a results.json of 'plausibody evaluate', found no {path}")
    try:
        tables = json.loads(path.read_text("utf-8"))
        if tables.pop("version") != VERSION:
            raise ValueError(f"a version other than {VERSION}")
        for table in tables["figures"]:
            table.pop("ratio_to_mean_body")
        tables["figures"] = tuple(Figure(**table) for table in tables["figures"])
        return Result(**tables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: wanted a result of plausibody evaluate, got {error!r}"
        ) from error


def save_result(result: Result, folder: Path) -> Path:
    """Writes results.json and results.md, each whole or as before; gives the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "results.md", to_markdown(result))
    path = folder / "results.json"
    write_file(path, json.dumps(to_json(result), indent=2) + "\n")
    return path


def title(result: Result) -> str:
    people = result.of(result.figures[0].metric).people
    return f"{result.benchmark} ({result.digest[:12]}), {people} people"


def all_rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table over everyone."""
    heads = ["metric", "points", "alignment", "unit", "value", "mean body", "nearest pose", "ratio"]
    rows = [
        [
            *(f.metric, f.points, f.alignment, f.unit),
            *(f"{v:.{f.digits}f}" for v in (f.value, f.mean_body, f.nearest_pose)),
            f"{f.ratio:.2f}",
        ]
        for f in result.figures
        if f.subset == "all"
    ]
    return heads, rows


def subset_rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table by subset: value (mean body's)."""
    return subset_table(result, SHOWN, lambda figure: figure.mean_body)


def protocol_lines(result: Result) -> list[str]:
    """What holds for every figure."""
    estimate = result.figures[0].estimate
    lines = [
        f"Estimate: {estimate}. Bodies: {result.gender}. Every person counts the same, but in "
        "pooled figures by area.",
        "Baselines: the mean body of the training poses, facing the camera; the nearest of 500 "
        "training poses from 12 sides by reported key points. Ratio: to the mean body.",
    ]
    return [result.note, *lines] if result.note else lines


def to_markdown(result: Result) -> str:
    parts = [f"# {title(result)}"]
    parts += protocol_lines(result)
    parts.append(markdown_table(*all_rows(result)))
    parts.append("By subset, the mean body in brackets:")
    parts.append(markdown_table(*subset_rows(result)))
    return "\n\n".join(parts) + "\n"
