"""Lines over an axis, drawn as SVG in the colours of the page that they stand in."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullLocator

LINE_COLOURS = ("#3f86d0", "#e07b39", "#3fa66a", "#b565c8", "#d1495b", "#8a8f3a", "#2fa6a6",
                "#8c7a6b")  # fmt: skip
"""Of lines in a chart, to be told apart on white and on black; after the last, the first again."""
MARGINS = (0.62, 0.12, 0.5, 0.32)
"""Left, right, below and above a chart [inch]."""
INK, RULE = "#0a0b0c", "#0d0e0f"
"""Stand in a chart for the page's colours of text and of fine lines."""


@dataclass(frozen=True)
class Line:
    """A line of a chart."""

    name: str
    """In the legend; without one if empty."""
    points: Sequence[tuple[float, float]]
    """Across and up. Those that are no numbers are left out."""
    level: bool = False
    """Whether it is a level to compare with, drawn fine and without colour."""


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis."""

    title: str
    across: str
    """What the axis is, with its unit."""
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]] = ()
    """Places on the axis with what happened there."""
    dot: tuple[float, float] | None = None
    """A point to show, such as the best."""
    size: tuple[float, float] = (7.2, 3.2)
    """Width and height [inch of 72 px]."""
    from_zero: bool = False
    """Whether the upright axis begins at zero."""


def draw_chart(chart: Chart) -> str:
    """Draws a chart as SVG to stand in a page, which gives it the colours of text and rules.

    Values that are all positive and span more than a factor of five are drawn over their logarithm.
    """
    # Names of clips and markers must differ between the charts of one page.
    salt = hashlib.sha256(repr(chart).encode()).hexdigest()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 9.5}):
        figure = Figure(figsize=chart.size)
        FigureCanvasAgg(figure)
        width, height = chart.size
        left, right, bottom, top = MARGINS
        place = (left, bottom, width - left - right, height - bottom - top)
        axes = figure.add_axes((place[0] / width, place[1] / height,
                                place[2] / width, place[3] / height))  # fmt: skip
        _lines(axes, chart)
        _style(axes, chart)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return _for_page(file.getvalue(), chart.title)


def _lines(axes: Axes, chart: Chart) -> None:
    numbered = 0
    for line in chart.lines:
        points = [(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if line.level:
            axes.plot(
                xs, ys, color=INK, alpha=0.6, linewidth=1, linestyle=(0, (4, 3)), label=line.name
            )
            continue
        colour, numbered = LINE_COLOURS[numbered % len(LINE_COLOURS)], numbered + 1
        few = "o" if len(points) <= 40 else ""
        axes.plot(xs, ys, few + "-", color=colour, linewidth=1.6, markersize=3.5, label=line.name)
    for place, what in chart.marks:
        axes.axvline(place, color=INK, alpha=0.45, linewidth=0.9, linestyle=":")
        axes.annotate(
            what, (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), fontsize=7.5,
            textcoords="offset points", va="top", color=INK, alpha=0.75, rotation=90,
        )  # fmt: skip
    if chart.dot is not None:
        axes.plot(*chart.dot, "o", color=INK, markersize=8, markerfacecolor="none")


def _style(axes: Axes, chart: Chart) -> None:
    values = [y for line in chart.lines for _, y in line.points if math.isfinite(y)]
    if values and min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    elif chart.from_zero:
        axes.set_ylim(bottom=0)
    elif settled := [y for line in chart.lines for _, y in _settled(line) if math.isfinite(y)]:
        low, high = min(settled), max(settled)
        room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
    if any(x >= 1e4 for line in chart.lines for x, _ in line.points):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(chart.title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel(chart.across, color=INK)
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.margins(x=0.02)
    if sum(bool(line.name) for line in chart.lines) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)


def _settled(line: Line) -> Sequence[tuple[float, float]]:
    """Leaves out the first fiftieth of a long line: a wild start would flatten all that follows."""
    return line.points[len(line.points) // 50 :]


def _for_page(svg: str, title: str) -> str:
    """Takes from an SVG file what stands in a page: no addresses, and the page's own colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = svg.replace(INK, "currentColor").replace(RULE, "var(--line)")
    words = title.replace("&", "and").replace("<", "").replace('"', "")
    return svg.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)
