"""What pages about runs share: how they look, curves and tables, as HTML that stands alone."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """
:root { --ink: #1d2733; --dim: #66727f; --line: #dde3ea; --paper: #fff; --back: #f3f5f8;
  --mark: #2f6fbf; --warn: #9a5b00; --warn-back: #fff3dc }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --dim: #97a3b0; --line: #323c47;
  --paper: #1c232b; --back: #12171d; --mark: #7db2f0; --warn: #ffcf80; --warn-back: #3a2c10 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 1100px; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { font-size: 1.9rem; margin: 0 0 .3rem } h2 { font-size: 1.25rem; margin: 2.4rem 0 .8rem }
p { margin: .3rem 0; max-width: 46rem } .dim, figcaption, caption { color: var(--dim) }
section.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem; margin: 0 0 1rem; overflow-x: auto }
section.card img { display: block; width: 100%; height: auto; border-radius: 6px }
.warn { background: var(--warn-back); color: var(--warn); border-radius: 6px; padding: .3rem .6rem;
  margin: .5rem 0 0; max-width: none }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
caption { text-align: left; caption-side: bottom; padding-top: .6rem; font-size: .9rem }
th, td { text-align: right; padding: .35rem .7rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } th { font-weight: 600 }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--dim); font-size: 13px }
svg .axis { stroke: var(--line) } svg .curve { stroke: var(--mark); stroke-width: 2; fill: none }
"""


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of a training run."""

    title: str
    unit: str
    """What is on the upright axis, such as "loss" or "PVE [mm]"."""
    points: Sequence[tuple[float, float]]
    """Step and value; values that are not finite are left out."""


@dataclass(frozen=True)
class Table:
    """Figures in rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What a page says of a run besides its photos."""

    title: str
    introduction: Sequence[str] = ()
    """Paragraphs."""
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()


def render_parts(report: Report) -> list[str]:
    """Gives the curves and tables of a page."""
    return [
        *(_curve(curve) for curve in report.curves),
        *(_table(table) for table in report.tables),
    ]


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_text(_figure(cell))}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    note = f"<caption>{_text(table.note)}</caption>" if table.note else ""
    inner = f"<table>{note}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f"<h2>{_text(table.title)}</h2>\n" + _section([inner])


def _curve(curve: Curve, width: int = 900, height: int = 300) -> str:
    """Draws a curve with its range on both axes."""
    points = [(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)]
    title = f"<h2>{_text(curve.title)}</h2>\n"
    if len(points) < 2:
        return title + _section(['<p class="dim">Too few values for a curve.</p>'])
    left, right, top, bottom = 70, width - 15, 15, height - 40
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    across, up = (right - left) / ((x1 - x0) or 1), (bottom - top) / ((y1 - y0) or 1)
    line = " ".join(
        f"{left + (x - x0) * across:.1f},{bottom - (y - y0) * up:.1f}" for x, y in points
    )
    marks = "".join(
        f'<line class="axis" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_figure(value)}</text>'
        for n in range(5)
        for value in [y0 + n / 4 * (y1 - y0)]
        for y in [bottom - (value - y0) * up]
    )
    ends = (
        f'<text x="{left}" y="{height - 15}">{x0:,.0f}</text>'
        f'<text x="{right}" y="{height - 15}" text-anchor="end">{x1:,.0f}</text>'
        f'<text x="{(left + right) / 2}" y="{height - 15}" text-anchor="middle">step</text>'
    )
    drawing = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_text(curve.title)}">'
        f'{marks}{ends}<polyline class="curve" points="{line}"/></svg>'
    )
    return title + _section([drawing, f'<p class="dim">{_text(curve.unit)}</p>'])


def _section(lines: Sequence[str]) -> str:
    return '<section class="card">\n' + "\n".join(lines) + "\n</section>"


def _figure(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(value: str) -> str:
    return html.escape(value)
