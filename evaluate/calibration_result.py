"""What an evaluation of intervals found: coverage, widths and errors; as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.models.calibration import LEVELS
from plausibody.models.files import write_file

VERSION = 1
SHOWN = LEVELS.index(0.9)
"""The level of widths, subsets and shifts."""


@dataclass(frozen=True)
class Coverage:
    """Of one quantity under one condition: in how many intervals the truth lies, of what width."""

    quantity: str
    """A measurement, "coefficient 1" and so on, or "all measurements", "all coefficients"."""
    condition: str
    """What was known besides the picture."""
    people: int
    unit: str
    raw: tuple[float, ...]
    """Shares of people at each of `LEVELS`, of intervals as predicted."""
    conformal: tuple[float, ...]
    """The same of the corrected ones."""
    width: float | None
    """Mean, of corrected intervals at 90 % [unit]; None for pooled rows."""
    ratio: float
    """To the width of conformal intervals round the mean body; of pooled rows the mean ratio."""
    error: float | None
    """Mean absolute error of the predicted mean [unit]; None for pooled rows."""


@dataclass(frozen=True)
class Subset:
    """Coverage at 90 % of some people alone, over all measurements."""

    name: str
    condition: str
    people: int
    raw: float
    conformal: float
    lowest: float
    """Of the measurement that is covered least, corrected."""
    which: str
    """That measurement."""


@dataclass(frozen=True)
class Shift:
    """Coverage of other people than the correction was fitted to, over all measurements."""

    name: str
    people: int
    raw: tuple[float, ...]
    conformal: tuple[float, ...]


@dataclass(frozen=True)
class MeanErrors:
    """Mean errors of the predicted mean body at rest [mm]."""

    condition: str
    people: int
    pve_t: float
    """As it is."""
    pve_t_sc: float
    """After scale and shift."""


@dataclass(frozen=True)
class CalibrationResult:
    """What an evaluation of intervals found."""

    regressor: dict[str, Any]
    """What its card says of its making."""
    plausibody: str
    """Version."""
    fitted: int
    """People to whom the correction was fitted; other subjects than those of the figures."""
    groups: int
    """Of people that were corrected each by itself."""
    coverage: tuple[Coverage, ...]
    subsets: tuple[Subset, ...]
    shifts: tuple[Shift, ...]
    errors: tuple[MeanErrors, ...]

    def of(self, quantity: str, condition: str = "plain") -> Coverage:
        for row in self.coverage:
            if (row.quantity, row.condition) == (quantity, condition):
                return row
        raise KeyError(f"wanted {quantity} under {condition}, the result has no such row")


def to_json(result: CalibrationResult) -> dict[str, Any]:
    """Gives a result as tables."""
    return {"version": VERSION, "levels": list(LEVELS), **dataclasses.asdict(result)}


def read_calibration_result(path: Path) -> CalibrationResult:
    """Reads a calibration.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no result of this version.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"wanted a calibration.json of 'plausibody evaluate calibration', found no {path}"
        )
    kinds = {"coverage": Coverage, "subsets": Subset, "shifts": Shift, "errors": MeanErrors}
    try:
        table = json.loads(path.read_text("utf-8"))
        if (table.pop("version"), table.pop("levels")) != (VERSION, list(LEVELS)):
            raise ValueError(f"a version other than {VERSION}, or other levels")
        for name, kind in kinds.items():
            table[name] = tuple(kind(**_with_tuples(row)) for row in table[name])
        return CalibrationResult(**table)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: wanted a result of plausibody evaluate calibration, got {error!r}"
        ) from error


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {key: tuple(x) if isinstance(x, list) else x for key, x in row.items()}


def save_calibration_result(result: CalibrationResult, folder: Path) -> Path:
    """Writes calibration.json and calibration.md, each whole or as before; gives the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "calibration.md", to_markdown(result))
    path = folder / "calibration.json"
    write_file(path, json.dumps(to_json(result), indent=2) + "\n")
    return path


Table = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def coverage_rows(result: CalibrationResult, condition: str = "plain") -> Table:
    levels = [f"{100 * level:.0f} %" for level in LEVELS]
    heads = ["quantity", *(f"raw {x}" for x in levels), *(f"conformal {x}" for x in levels)]
    heads += ["width at 90 %", "of mean body's", "mean error", "unit"]
    rows = []
    for row in result.coverage:
        if row.condition == condition:
            shares = [f"{100 * x:.1f}" for x in (*row.raw, *row.conformal)]
            scale, unit = (1000.0, "mm") if row.unit == "m" else (1.0, row.unit)
            sizes = [
                _number(row.width, scale), f"{row.ratio:.2f}", _number(row.error, scale),
            ]  # fmt: skip
            rows.append([row.quantity, *shares, *sizes, unit])
    return heads, rows


def _number(value: float | None, scale: float) -> str:
    if value is None:
        return "-"
    value = scale * value
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def condition_rows(result: CalibrationResult) -> Table:
    """What knowing more is worth."""
    heads = ["known", "N", "raw 90 %", "conformal 90 %", "width of mean body's"]
    heads += ["height", "chest", "waist", "hips", "inseam", "mass", "PVE-T", "PVE-T-SC"]
    rows = []
    for error in result.errors:
        row = result.of("all measurements", error.condition)
        shares = [f"{100 * x[SHOWN]:.1f}" for x in (row.raw, row.conformal)]
        named = [result.of(name, error.condition) for name in heads[5:-2]]
        shown = [_number(x.error, 1000.0 if x.unit == "m" else 1.0) for x in named]
        known = "nothing" if error.condition == "plain" else error.condition
        ends = [f"{error.pve_t:.1f}", f"{error.pve_t_sc:.1f}"]
        rows.append([known, str(error.people), *shares, f"{row.ratio:.2f}", *shown, *ends])
    return heads, rows


def subset_rows(result: CalibrationResult) -> Table:
    heads = ["people", "known", "N", "raw", "conformal", "least covered", "measurement"]
    rows = []
    for subset in result.subsets:
        shares = [f"{100 * x:.1f}" for x in (subset.raw, subset.conformal, subset.lowest)]
        known = "nothing" if subset.condition == "plain" else subset.condition
        rows.append([subset.name, known, str(subset.people), *shares, subset.which])
    return heads, rows


def shift_rows(result: CalibrationResult) -> Table:
    levels = [f"{100 * level:.0f} %" for level in LEVELS]
    heads = ["people", "N", *(f"raw {x}" for x in levels), *(f"conformal {x}" for x in levels)]
    rows = [
        [shift.name, str(shift.people), *(f"{100 * x:.1f}" for x in (*shift.raw, *shift.conformal))]
        for shift in result.shifts
    ]
    return heads, rows


def notes(result: CalibrationResult) -> list[str]:
    """What holds for every figure."""
    groups = (
        f", in {result.groups} groups by predicted body mass index" if result.groups > 1 else ""
    )
    return [
        f"Corrected by {result.fitted} held-out people{groups}; measured on other subjects, drawn "
        "as the training draws. Synthetic people: of real pictures it says what the synthesis is "
        "worth.",
        "Coverage: share of people whose truth lies in the interval [%]. Width: of corrected 90 % "
        "intervals, and over that of conformal intervals round the mean body.",
    ]


def to_markdown(result: CalibrationResult) -> str:
    parts = ["# Coverage of predicted intervals", *notes(result)]
    parts.append("## Nothing known but the picture\n\n" + _markdown(coverage_rows(result)))
    parts.append(
        "## What knowing more is worth\n\nMean absolute errors in mm, of mass in kg.\n\n"
        + _markdown(condition_rows(result))
    )
    parts.append("## By subset, 90 % intervals\n\n" + _markdown(subset_rows(result)))
    if result.shifts:
        parts.append(
            "## Other people than the correction was fitted to\n\nNothing is corrected for the "
            "change.\n\n" + _markdown(shift_rows(result))
        )
    for error in result.errors[1:]:
        table = coverage_rows(result, error.condition)
        parts.append(f"## Known: {error.condition}\n\n" + _markdown(table))
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    heads, rows = table
    ruled = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)
