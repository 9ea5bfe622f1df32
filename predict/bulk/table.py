"""All measurements of a run in one table that spreadsheets open."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plausibody.models.files import draft_file
from plausibody.models.intervals import QUANTITIES, UNITS
from plausibody.predict.measurements import PersonMeasurements

NAME = "measurements.csv"
LEVEL = 0.9
"""Of the intervals in the table."""
PERSONAL = {"m": ("cm", 100.0), "kg": ("kg", 1.0)}
"""The unit that people use for a unit, and how many of it that is."""


def measurement_record(found: PersonMeasurements) -> dict[str, Any]:
    """Gives a person's measurements for `summary.json`, in the units that people use.

    Intervals are those of `LEVEL`; there are none for a single body.
    """
    record: dict[str, Any] = {"intervals": intervals_of(found), "told": found.condition}
    for name, column in zip(QUANTITIES, COLUMNS, strict=True):
        factor = _factor(name)
        ends = found.interval(name, LEVEL)
        numbers = [found.of(name), *(ends or ())]
        record[column] = [round(factor * number, 2) for number in numbers]
    return record


def intervals_of(found: PersonMeasurements) -> str:
    """Tells what intervals there are: none, raw or calibrated."""
    if found.low is None:
        return "none"
    return "calibrated" if found.calibrated else "raw"


def write_table(path: Path, inputs: Iterable[Mapping[str, Any]]) -> None:
    """Writes the table from the records of a run: one row for each person.

    The text is UTF-8 without a mark at its beginning, which most readers would take for a part of
    the first column's name. Only the column `image` may have letters beyond ASCII.

    Args:
        inputs: Those of `summary.json`; one is in memory at a time.

    Raises:
        DiskFullError: If there is no space; the file is as before.
    """
    header = ["image", "person", "intervals", "told"]
    percent = f"{100 * LEVEL:.0f}"
    for column in COLUMNS:
        header += [column, f"{column}_low{percent}", f"{column}_high{percent}"]
    with (
        draft_file(path) as draft,
        draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for record in inputs:
            for person in record["people"]:
                found = person["measurements"]
                row = [
                    no_formula(record["path"]),
                    person["index"],
                    found["intervals"],
                    found["told"],
                ]
                for column in COLUMNS:
                    row += [*found[column], "", ""][:3]
                writer.writerow(row)


def no_formula(path: str) -> str:
    """Gives a path that spreadsheets do not run as a formula: `./=1+1.jpg` for `=1+1.jpg`.

    It leads to the same file. Source: OWASP, "CSV Injection", for the signs.
    """
    return f"./{path}" if path.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else path


def _unit(name: str) -> str:
    return PERSONAL[UNITS[QUANTITIES.index(name)]][0]


def _factor(name: str) -> float:
    return PERSONAL[UNITS[QUANTITIES.index(name)]][1]


COLUMNS = tuple(f"{name}_{_unit(name)}" for name in QUANTITIES)
"""Such as waist_cm and mass_kg."""
