"""Figures for a terminal."""

from __future__ import annotations

from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from plausibody.evaluate import calibration_result, comparing, renders_result
from plausibody.evaluate.calibration_result import CalibrationResult
from plausibody.evaluate.comparing import Comparison
from plausibody.evaluate.renders_result import RendersResult
from plausibody.evaluate.result import Result
from plausibody.evaluate.result_text import (
    Rows,
    all_rows,
    groups,
    part_rows,
    protocol_lines,
    subset_rows,
    title,
)

TEXTUAL = {
    *("metric", "points", "alignment", "estimate", "bodies", "compared", "over people", "unit"),
    *("people", "sequence"),
}


def result_table(result: Result) -> RenderableType:
    """Lays out a result: everyone, then the subsets, then what holds for all of it."""
    everyone = _table(title(result), *narrow_rows(result))
    beside = any(figure.baselines for figure in result.figures)
    name = "the mean body in brackets" if beside else ""
    subsets = [_table(name, *subset_rows(result, group)) for group in groups(result)]
    heads, rows = part_rows(result)
    parts = [_table("part by part", heads, rows)] if rows else []
    style = "" if result.sealed else "bold red"
    lines = [Text(line, style=style if line == result.note else "dim")
             for line in protocol_lines(result)]  # fmt: skip
    return Group(everyone, *parts, *subsets, *lines)


def narrow_rows(result: Result) -> Rows:
    """Headings and rows over everyone as they fit a terminal: what tags say is not said again.

    results.md says of each figure which guess and which bodies it is of.
    """
    heads, rows = all_rows(result)
    column = {head: place for place, head in enumerate(heads)}
    numbers = heads[column["unit"] + 1 :]
    fewer = ["N"] if "N" in column else []
    narrow = []
    for row in rows:
        points, alignment = row[column["points"]], row[column["alignment"]]
        compared = points if alignment == "none" else f"{points}; aligned: {alignment}"
        kept = [row[column[head]] for head in (*fewer, "unit", *numbers)]
        narrow.append([row[column["metric"]], compared, *kept])
    return ["metric", "compared", *fewer, "unit", *numbers], narrow


def calibration_table(result: CalibrationResult) -> RenderableType:
    """Lays out coverage and widths, then what knowing more gives, subsets and shifts."""
    tables = {
        "coverage of intervals [%], nothing known": calibration_result.coverage_rows(result),
        "what is known": calibration_result.condition_rows(result),
        "coverage by subset [%]": calibration_result.subset_rows(result),
        "coverage of people drawn otherwise [%]": calibration_result.shift_rows(result),
    }
    lines = [Text(line, style="dim") for line in calibration_result.notes(result)]
    return Group(*(_table(name, *table) for name, table in tables.items()), *lines)


def renders_table(result: RendersResult) -> RenderableType:
    """Lays out a result on painted people: everyone, thirds by build, then what holds for all."""
    everyone = _table(renders_result.title(result), *renders_result.all_rows(result))
    rows = renders_result.subset_rows(result)
    subsets = _table("by true body mass index, the truth in brackets", *rows)
    lines = [Text(line, style="dim") for line in renders_result.protocol_lines(result)]
    return Group(everyone, subsets, *lines)


def comparison_table(comparison: Comparison) -> RenderableType:
    """Lays out two results side by side: everyone, then differences by subset, then what holds."""
    everyone = _table(comparison.title, *comparing.all_rows(comparison))
    heads, rows = comparing.subset_rows(comparison, comparing.shown_metrics(comparison))
    subsets = [_table("differences", heads, rows)] if rows else []
    lines = [Text(line, style="dim") for line in comparing.lines(comparison)]
    return Group(everyone, *subsets, *lines)


def _table(name: str, heads: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=escape(name), title_justify="left")
    for head in heads:
        first = not table.columns
        justify: JustifyMethod = "left" if first or head in TEXTUAL else "right"
        # Names of metrics have brackets, which rich would take for markup.
        table.add_column(escape(head), justify=justify, no_wrap=first, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
