"""Charts of runs: one run with what happened to it, or several together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from plausibody.evaluate.markup import metric_name
from plausibody.evaluate.svg_charts import Chart, Line
from plausibody.training.history import LEADING, History, Moment

MOST_POINTS = 300
"""Of a line; of longer ones, means of neighbours are drawn."""
SMALL, LARGE = (4.6, 2.5), (6.6, 3.2)
"""Sizes of charts [inch]."""
Axis = Literal["samples", "hours"]
RATE = "samples_per_second"
OVER_MEAN_BODY = "val/pa_mpjpe_over_mean_body"


def charts_of_run(history: History) -> tuple[list[Chart], list[Chart]]:
    """Gives the charts of a run: large ones, of the loss and the leading figure, and the rest."""
    marks = _marks(history)

    def chart(name: str, size: tuple[float, float] = SMALL) -> Chart:
        line = Line("", _thin([(float(at.step), at.value) for at in history.curves[name]]))
        # Words would fill a small chart; the large ones above have them.
        told = marks if size == LARGE else [(place, "") for place, _ in marks]
        return Chart(metric_name(name), "step", [line], told, size=size, from_zero=name == RATE)

    large, small = [], []
    for name in ordered(history.curves):
        if name == "train/loss":
            large.append(chart(name, LARGE))
        elif name == LEADING:
            large.append(_leading(history, marks))
        else:
            small.append(chart(name))
    return large, small


def _leading(history: History, marks: Sequence[tuple[float, str]]) -> Chart:
    """Draws the leading figure with its best value and, where it is known, the mean body's."""
    moments = history.curves[LEADING]
    lines = [Line("validation", _thin([(float(at.step), at.value) for at in moments]))]
    ratio = history.last(OVER_MEAN_BODY)
    if ratio:
        level = moments[-1].value / ratio
        ends = [(float(at.step), level) for at in (moments[0], moments[-1])]
        lines.append(Line("the mean body's", ends, level=True))
    best = history.best
    dot = None if best is None else (float(best.step), best.value)
    return Chart(metric_name(LEADING), "step", lines, marks, dot, LARGE)


def _marks(history: History) -> list[tuple[float, str]]:
    """Lists what happened to a run, and when."""
    found: list[tuple[int, str]] = []
    if (second := history.second_stage) is not None and second <= history.step:
        found.append((second, "stage 2"))
    found += [(leg["step"], "resumed") for leg in history.record.get("legs", [])[1:]]
    found += [(change["step"], "settings") for change in history.record.get("changes", [])]
    found += [(step, "skipped") for step in history.skipped]
    together: dict[float, list[str]] = {}
    for step, what in found:
        together.setdefault(float(step), []).append(what)
    return [(step, ", ".join(words)) for step, words in together.items()]


def chart_of_runs(runs: Mapping[str, History], name: str, axis: Axis) -> Chart | None:
    """Draws a curve of several runs together.

    Args:
        runs: By their names in the legend.
        name: Of the curve.
        axis: Samples seen, or hours of training.

    Returns:
        None if no run has such values.
    """
    across: dict[Axis, Callable[[History, Moment], float]] = {
        "samples": lambda run, at: float(at.step * run.config.train.batch_size),
        "hours": lambda run, at: at.seconds / 3600,
    }
    lines = [
        Line(label, _thin([(across[axis](run, at), at.value) for at in run.curves.get(name, ())]))
        for label, run in runs.items()
    ]
    if not any(math.isfinite(x) for line in lines for x, _ in line.points):
        return None
    words = {"samples": "samples seen", "hours": "hours of training"}
    return Chart(metric_name(name), words[axis], lines, size=LARGE)


def ordered(curves: Mapping[str, object]) -> list[str]:
    """Puts the loss and the leading figure first, then validations, then parts of the loss."""

    def place(name: str) -> int:
        first = ("train/loss", LEADING)
        if name in first:
            return first.index(name)
        return 2 if name.startswith("val/") else 4 if name == RATE else 3

    return sorted(curves, key=place)


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Replaces neighbours by their means where there are too many points to see."""
    group = -(-len(points) // MOST_POINTS)
    if group <= 1:
        return list(points)
    parts = [points[n : n + group] for n in range(0, len(points), group)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]
