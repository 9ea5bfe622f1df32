"""Two results of the same people beside each other: differences, how sure, and for how many."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.evaluate.bootstrap import (
    LEVEL,
    RESAMPLES,
    clusters_of,
    paired_differences,
    share_better,
)
from plausibody.evaluate.figures import EVERYONE
from plausibody.evaluate.markdown import markdown_table
from plausibody.evaluate.protocols import Protocol
from plausibody.evaluate.result import Result
from plausibody.evaluate.result_text import Rows, main_metrics, title
from plausibody.evaluate.saving import read_with_values
from plausibody.evaluate.values import SEQUENCE, Values
from plausibody.models.files import write_file
from plausibody.models.naming import first_named

VERSION = 1
FEW = 10
"""People or sequences, of which fewer make intervals too narrow."""


@dataclass(frozen=True)
class Compared:
    """One figure in both results."""

    metric: str
    subset: str
    group: str
    """What the subset is one of: all, sequence, view, ..."""
    people: int
    """Who have it in both."""
    first: float
    second: float
    difference: float
    """Second less first."""
    low: float | None
    """Of the interval of the difference; None if it cannot be told."""
    high: float | None
    better: float | None
    """Share of the people for whom the second is better, ties count half; None where no value is
    better than another."""
    protocol: Protocol

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Comparison:
    """What sets the second result apart from the first."""

    title: str
    """Of what both were measured on."""
    first: Mapping[str, Any]
    """What the card of its regressor says, the front end, and the path of the result."""
    second: Mapping[str, Any]
    drawn: str
    """What the bootstrap draws: people, or sequences."""
    level: float
    resamples: int
    seed: int
    rows: tuple[Compared, ...]
    notes: tuple[str, ...]
    """What a reader must know."""


def compare_results(
    first: Path, second: Path, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Comparison:
    """Compares two results of `plausibody evaluate` person by person.

    Args:
        first: A results.json, with the people.npz beside it.
        second: Another, of the same people.
        resamples: How often the bootstrap draws people.
        level: The probability that intervals should hold the true difference.
        seed: Of the draws.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is something else, or the results are not of the same people.
    """
    results = read_with_values(first), read_with_values(second)
    return compare(*results, (str(first), str(second)), resamples, level, seed)


def compare(
    first: Result,
    second: Result,
    names: tuple[str, str] = ("first", "second"),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Compares two results that have the numbers of each person; as `compare_results`.

    Args:
        names: Of the results.
    """
    one, two = first.values, second.values
    if one is None or two is None:
        raise ValueError("wanted results with the numbers of each person, got one without")
    _check_people(one, two, names)
    if first.digest != second.digest:
        raise ValueError(
            f"--compare: wanted two results of one benchmark or data set, got {title(first)} and "
            f"{title(second)}: their people have the same names, but not the same truth or "
            "settings; do: evaluate both with the same version and files"
        )
    bodies = [result.settings.get("labels_body") for result in (first, second)]
    if bodies[0] != bodies[1]:
        raise ValueError(
            f"--compare: wanted results of one labelled body, got {bodies[0]} and {bodies[1]}; "
            "do: evaluate both with the same --labels-body"
        )
    two = two.over(one.names)
    protocols = {figure.metric: figure.protocol for figure in first.figures}
    theirs = {figure.metric: figure.protocol for figure in second.figures}
    if odd := [m for m, p in protocols.items() if m in theirs and theirs[m] != p]:
        raise ValueError(
            f"--compare: wanted figures of the same protocol, those of {', '.join(odd)} differ; "
            "do: evaluate both with the same version and options"
        )
    metrics = [m for m in protocols if m in one.errors and m in two.errors]
    rows = []
    for group, subset, members in one.subsets():
        who = members.numpy()
        found = paired_differences(one, two, metrics, who, resamples, level, seed)
        for metric, gap in found.items():
            protocol = protocols[metric]
            row = Compared(
                metric=metric, subset=subset, group=group, people=gap.people,
                first=gap.first, second=gap.second, difference=gap.difference,
                low=gap.low, high=gap.high, protocol=protocol,
                better=share_better(one, two, metric, protocol.best, who),
            )  # fmt: skip
            rows.append(row)
    return Comparison(
        title=title(first),
        first=_described(first, names[0]),
        second=_described(second, names[1]),
        drawn=_drawn(one),
        level=level,
        resamples=resamples,
        seed=seed,
        rows=tuple(rows),
        notes=_notes(first, second, metrics, one),
    )


def _check_people(first: Values, second: Values, names: tuple[str, str]) -> None:
    theirs = Counter(first.names), Counter(second.names)
    faults = []
    for own, other, name in ((*theirs, names[0]), (*theirs[::-1], names[1])):
        if only := list(own - other):
            faults.append(f"only {name} has {first_named(only)}")
    if faults:
        raise ValueError(
            f"--compare: wanted two results of the same people, got {len(first)} and "
            f"{len(second)}: {'; '.join(faults)}; do: evaluate both on the same people"
        )


def _described(result: Result, name: str) -> dict[str, Any]:
    return {
        "result": name,
        **result.regressor,
        "gender": result.gender,
        "front_end": result.front_end,
        "missed": len(result.missed),
        "evaluated by": f"plausibody {result.plausibody}",
    }


def _notes(first: Result, second: Result, metrics: list[str], values: Values) -> tuple[str, ...]:
    notes = [note for note in dict.fromkeys((first.note, second.note)) if note]
    have = [dict.fromkeys(figure.metric for figure in each.figures) for each in (first, second)]
    for own, which in zip(have, ("first", "second"), strict=True):
        if alone := [metric for metric in own if metric not in metrics]:
            notes.append(f"Not compared, the {which} alone has them: {', '.join(alone)}.")
    if changed := _changed(first.settings, second.settings):
        notes.append(f"They were evaluated otherwise (first, second): {', '.join(changed)}.")
    if (drawn := len(set(clusters_of(values).tolist()))) < FEW:
        notes.append(f"There are only {drawn} {_drawn(values)} to draw: intervals are too narrow.")
    return tuple(notes)


def _changed(first: Mapping[str, Any], second: Mapping[str, Any], within: str = "") -> list[str]:
    """Names the settings in which two evaluations differ, with both values."""
    found = []
    for key in dict.fromkeys((*first, *second)):
        one, two = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            found += _changed(one, two, f"{within}{key}.")
        elif one != two:
            found.append(f"{within}{key} ({one}, {two})")
    return found


def _drawn(values: Values) -> str:
    return "sequences" if SEQUENCE in values.attributes else "people"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Gives a comparison as tables; every figure carries its protocol."""
    return {"version": VERSION, **dataclasses.asdict(comparison)}


def save_comparison(comparison: Comparison, folder: Path) -> Path:
    """Writes comparison.json and comparison.md, each whole or as before; gives the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "comparison.md", to_markdown(comparison))
    path = folder / "comparison.json"
    write_file(path, json.dumps(to_json(comparison), indent=2) + "\n")
    return path


def all_rows(comparison: Comparison) -> Rows:
    """Headings and rows of the table over everyone."""
    heads = ["metric", "N", "unit", "first", "second", "difference"]
    heads += [f"{100 * comparison.level:.0f} % interval", "second better"]
    rows = [
        [row.metric, str(row.people), row.protocol.unit, *_numbers(row)]
        for row in comparison.rows
        if row.group == EVERYONE
    ]
    return heads, rows


def subset_rows(comparison: Comparison, shown: list[str]) -> Rows:
    """Headings and rows of the table of subsets but sequences: differences and intervals.

    Args:
        shown: Metrics, a column each.
    """
    rows: dict[tuple[str, str], dict[str, Compared]] = {}
    for row in comparison.rows:
        if row.group not in (EVERYONE, SEQUENCE):
            rows.setdefault((row.group, row.subset), {})[row.metric] = row
    lines = []
    for (group, subset), found in rows.items():
        people = max(row.people for row in found.values())
        cells = [_gap(found[metric]) if metric in found else "-" for metric in shown]
        lines.append([f"{group}: {subset}", str(people), *cells])
    return ["people", "N", *shown], lines


def shown_metrics(comparison: Comparison) -> list[str]:
    """Names the metrics that the table of subsets has room for."""
    return main_metrics([row.metric for row in comparison.rows if row.group == EVERYONE])


def _numbers(row: Compared) -> list[str]:
    digits = row.protocol.digits
    values = [f"{value:.{digits}f}" for value in (row.first, row.second)]
    gap = f"{row.difference:+.{digits}f}"
    if row.first > 0 and row.protocol.best in ("less", "more"):
        gap += f" ({100 * row.difference / row.first:+.1f} %)"
    better = "-" if row.better is None else f"{100 * row.better:.0f} %"
    return [*values, gap, _interval(row), better]


def _interval(row: Compared) -> str:
    if row.low is None or row.high is None:
        return "-"
    digits = row.protocol.digits
    return f"{row.low:+.{digits}f} .. {row.high:+.{digits}f}{' *' if row.clear else ''}"


def _gap(row: Compared) -> str:
    gap = f"{row.difference:+.{row.protocol.digits}f}"
    return gap if row.low is None else f"{gap} ({_interval(row)})"


def lines(comparison: Comparison) -> list[str]:
    """What holds for all figures, and what was compared."""
    told = []
    for name, own in (("First", comparison.first), ("Second", comparison.second)):
        parts = [f"{key} {value}" for key, value in own.items() if value not in ("", 0, None)]
        told.append(f"{name}: {', '.join(parts)}.")
    told.append(
        f"Difference: second less first. Intervals hold {100 * comparison.level:.0f} % of "
        f"{comparison.resamples:,} draws of {comparison.drawn} with replacement, both numbers of a "
        "person together; * leaves zero out, which some of many figures do by chance. Second "
        "better: share of people, ties count half."
    )
    return [*comparison.notes, *told]


def to_markdown(comparison: Comparison) -> str:
    parts = [f"# {comparison.title}: two results", *lines(comparison)]
    parts.append(markdown_table(*all_rows(comparison)))
    heads, rows = subset_rows(comparison, shown_metrics(comparison))
    if rows:
        parts += ["Differences by subset:", markdown_table(heads, rows)]
    return "\n\n".join(parts) + "\n"
