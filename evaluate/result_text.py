"""Results in words and tables, for Markdown, terminals and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plausibody.evaluate.figures import EVERYONE, Figure, subset_table
from plausibody.evaluate.markdown import markdown_table
from plausibody.evaluate.markup import metric_name
from plausibody.evaluate.protocols import part_of, untagged
from plausibody.evaluate.result import Case, Result
from plausibody.evaluate.values import SEQUENCE
from plausibody.models.naming import first_named

MAIN = (
    *(("mpjpe",), ("pa_mpjpe",), ("pve",), ("pve_t_sc",)),
    ("silhouette_iou", "silhouette_iou_pooled"),
)
"""What the tables of subsets have room for: of each the first variant that a result has."""

Rows = tuple[list[str], list[list[str]]]
"""Headings and rows."""


def title(result: Result) -> str:
    return f"{result.benchmark} ({result.digest[:12]}), {result.people:,} people"


def main_metrics(metrics: Sequence[str]) -> list[str]:
    """Chooses the metrics that tables of subsets show."""
    chosen = (next((m for m in metrics if untagged(m) in main), None) for main in MAIN)
    return [metric for metric in chosen if metric is not None] or list(metrics[: len(MAIN)])


def metrics_of(result: Result) -> list[str]:
    """Names the metrics of everyone."""
    return [figure.metric for figure in result.figures if figure.subset == EVERYONE]


def all_rows(result: Result) -> Rows:
    """Headings and rows of the table over everyone; metrics of parts are in `part_rows`."""
    figures = [f for f in result.figures if f.subset == EVERYONE and not part_of(f.metric)]
    baselines = list(dict.fromkeys(name for figure in figures for name in figure.baselines))
    estimates = len({figure.protocol.estimate for figure in figures}) > 1
    bodies = any(figure.protocol.bodies for figure in figures)
    fewer = any(figure.people != result.people for figure in figures)
    heads = ["metric", "points", "alignment"]
    heads += ["estimate"] * estimates + ["bodies"] * bodies + ["N"] * fewer
    heads += ["unit", "value", *baselines, *["ratio"] * bool(baselines)]
    return heads, [_row(figure, baselines, estimates, bodies, fewer) for figure in figures]


def part_rows(result: Result) -> Rows:
    """Headings and rows of what has parts, such as measurements: a row each, a metric a column."""
    cells: dict[str, dict[str, str]] = {}
    for figure in result.figures:
        if figure.subset == EVERYONE and (part := part_of(figure.metric)):
            unit = "" if figure.protocol.unit == "0..1" else f" {figure.protocol.unit}"
            value = f"{figure.value:.{figure.digits}f}{unit}"
            cells.setdefault(part, {})[figure.metric.replace(f"/{part}", "")] = value
    heads = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [
        [part.replace("_", " "), *(row.get(name, "-") for name in heads)]
        for part, row in cells.items()
    ]
    return ["part", *heads], rows


def _row(
    figure: Figure, baselines: list[str], estimates: bool, bodies: bool, fewer: bool
) -> list[str]:
    protocol = figure.protocol
    pooled = f", pooled by {protocol.pooled}" if protocol.pooled else ""
    row = [figure.metric, protocol.points + pooled, protocol.alignment]
    row += [protocol.estimate] * estimates + [protocol.bodies or "-"] * bodies
    row += [str(figure.people)] * fewer
    values = [figure.value, *(figure.baselines.get(name) for name in baselines)]
    row += [protocol.unit, *("-" if v is None else f"{v:.{figure.digits}f}" for v in values)]
    if baselines:
        row.append("-" if math.isnan(figure.ratio) else f"{figure.ratio:.2f}")
    return row


def groups(result: Result) -> dict[str, list[str]]:
    """Names the groups of subsets, such as "view", with the subsets of each."""
    found: dict[str, list[str]] = {}
    for figure in result.figures:
        if figure.group != EVERYONE and figure.subset not in found.setdefault(figure.group, []):
            found[figure.group].append(figure.subset)
    return found


def subset_rows(result: Result, group: str) -> Rows:
    """Headings and rows of the table of one group's subsets: value (mean body's, if known).

    Below sequences stands their mean, in which each counts the same, as some papers count.
    """
    shown, subsets = main_metrics(metrics_of(result)), groups(result)[group]

    def beside(figure: Figure) -> float | None:
        return None if math.isnan(figure.mean_body) else figure.mean_body

    heads, rows = subset_table(result, shown, beside, subsets)
    heads[0] = group
    if group == SEQUENCE:
        rows.append([f"mean of {len(subsets)} sequences", "", *_means(result, shown, subsets)])
    return heads, rows


def _means(result: Result, shown: list[str], subsets: list[str]) -> list[str]:
    cells = []
    for metric in shown:
        found = [f for subset in subsets if (f := result.find(metric, subset)) is not None]
        mean = sum(f.value for f in found) / len(found) if found else math.nan
        cells.append(f"{mean:.{found[0].digits}f}" if found else "-")
    return cells


def protocol_lines(result: Result) -> list[str]:
    """What holds for every figure; first what must be known before comparing."""
    lines = [result.note] if result.note else []
    estimates = dict.fromkeys(figure.protocol.estimate for figure in result.figures)
    one = f"Estimate: {next(iter(estimates))}. " if len(estimates) == 1 else ""
    lines.append(
        f"{one}Bodies: {result.gender}. Every person counts the same, but in pooled figures."
    )
    if any(figure.baselines for figure in result.figures):
        lines.append(
            "Baselines: the mean body of the training poses, facing the camera; the nearest of 500 "
            "training poses from 12 sides by reported key points. Ratio: to the mean body."
        )
    if result.front_end:
        lines.append(f"People were seen by {result.front_end}.{_missed(result)}")
    return [*lines, *result.remarks]


def _missed(result: Result) -> str:
    if not result.missed:
        return ""
    return (
        f" It did not find {len(result.missed)} of {result.people}, who were predicted from an "
        f"empty input and count like the others: {first_named(result.missed)}."
    )


def named(metric: str) -> str:
    """Names a metric as people do: pve_t_sc[gendered] is PVE-T-SC [mm], gendered."""
    tags = metric.partition("[")[2].removesuffix("]").replace(",", ", ")
    part = part_of(metric).replace("_", " ")
    words = [metric_name(untagged(metric)), part, tags]
    return ", ".join(word for word in words if word)


def case_figures(case: Case, result: Result) -> list[str]:
    """Words the main figures of one person."""
    values = result.values
    if values is None or case.name not in values.names:
        return [f"{named(result.worst_by)} {case.value:.4g}"]
    place = values.names.index(case.name)
    metrics = dict.fromkeys([result.worst_by, *main_metrics(metrics_of(result))])
    told = []
    for metric in metrics:
        error = float(values.errors[metric][place]) if metric in values.errors else math.nan
        if not math.isnan(error):
            told.append(f"{named(metric)} {error:.{result.of(metric).digits}f}")
    return told


def to_markdown(result: Result) -> str:
    parts = [f"# {title(result)}", *protocol_lines(result), markdown_table(*all_rows(result))]
    heads, rows = part_rows(result)
    if rows:
        parts.append(markdown_table(heads, rows))
    beside = any(figure.baselines for figure in result.figures)
    for group in groups(result):
        parts.append(f"By {group}{', the mean body in brackets' if beside else ''}:")
        parts.append(markdown_table(*subset_rows(result, group)))
    if result.worst:
        worst = ", ".join(f"{case.name} ({case.value:.4g})" for case in result.worst)
        parts.append(f"Worst by {result.worst_by}: {worst}.")
    return "\n\n".join(parts) + "\n"
