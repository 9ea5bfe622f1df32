"""One page that shows a run: figures, tables, pictures. Self-contained; works without a network."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.models.files import write_file
from plausibody.predict.bars import STYLE as BARS
from plausibody.predict.bars import Bars, bars_of_person, render_bars

MOST_CARDS = 60
"""Photos shown; a page of thousands would not open. The summary lists all."""

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
section.card h3 { margin: 0 0 .5rem; font-size: 1rem; overflow-wrap: anywhere }
section.card img { display: block; width: 100%; height: auto; border-radius: 6px }
ul.figures { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin: .6rem 0 0;
  padding: 0; font-variant-numeric: tabular-nums }
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
class Card:
    """One photo and what was made of it."""

    title: str
    picture: bytes | None
    """JPEG or PNG; none if nothing could be drawn."""
    figures: Sequence[str]
    warnings: Sequence[str] = ()
    bars: Sequence[Bars] = ()
    """Measurements, for each person."""


@dataclass(frozen=True)
class Report:
    """Everything on the page, in this order."""

    title: str
    introduction: Sequence[str]
    """Paragraphs."""
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()
    cards: Sequence[Card] = ()
    footnotes: Sequence[str] = ()


def write_report(report: Report, path: Path | str) -> None:
    """Writes the page as one HTML file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, render_report(report))


def render_report(report: Report) -> str:
    """Gives the page as HTML with all pictures inside."""
    parts = [f"<h1>{_text(report.title)}</h1>"]
    parts += [f"<p>{_text(line)}</p>" for line in report.introduction]
    parts += render_parts(report)
    if report.cards:
        parts.append("<h2>Photos</h2>")
    parts += [_card(card) for card in report.cards]
    parts += [f'<p class="dim">{_text(line)}</p>' for line in report.footnotes]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(report.title)}</title>\n<style>{STYLE}{BARS}</style>\n</head>\n<body>\n<main>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def render_parts(report: Report) -> list[str]:
    """Gives the curves and tables of a page."""
    return [
        *(_curve(curve) for curve in report.curves),
        *(_table(table) for table in report.tables),
    ]


def cards_of_run(
    folder: Path, summary: Mapping[str, Any], most: int = MOST_CARDS
) -> tuple[list[Card], list[str]]:
    """Makes cards from what `predict_folder` wrote, and says in lines what is not shown.

    Args:
        folder: The `out` of the run.
        summary: Content of its `summary.json`.
    """
    inputs = summary["inputs"]
    cards = [_card_of_input(folder, record) for record in inputs[:most]]
    left = len(inputs) - len(cards)
    return cards, [f"{left} more photos are listed in summary.json."] if left > 0 else []


def _card_of_input(folder: Path, record: Mapping[str, Any]) -> Card:
    picture = folder / record["folder"] / "card.jpg" if record["folder"] else None
    figures, warnings = [], [record["message"]] if record["message"] else []
    many = len(record["people"]) > 1
    bars: list[Bars] = []
    for person in record["people"]:
        name = f"person {person['index']}: " if many else ""
        figures.append(f"{name}overlap with the mask {person['silhouette_iou']:.2f}")
        if person["reprojection_percent"] is not None:
            figures.append(f"{name}key points {person['reprojection_percent']:.1f} % off")
        warnings += [name + warning for warning in person["warnings"]]
        title = f"Measurements of person {person['index']}" if many else "Measurements"
        bars.append(bars_of_person(person["measurements"], title, is_open=not bars))
    return Card(
        title=f"{record['path']}" + ("" if record["status"] == "ok" else f" ({record['status']})"),
        picture=picture.read_bytes() if picture and picture.exists() else None,
        figures=figures,
        warnings=warnings,
        bars=bars,
    )


def _card(card: Card) -> str:
    lines = [f"<h3>{_text(card.title)}</h3>"]
    if card.picture is not None:
        kind = "png" if card.picture.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(card.picture).decode()
        lines.append(f'<img alt="{_text(card.title)}" src="data:image/{kind};base64,{data}">')
    lines += _list(card.figures)
    lines += [f'<p class="warn">{_text(warning)}</p>' for warning in card.warnings]
    lines += [render_bars(bars) for bars in card.bars]
    return _section(lines)


def _list(figures: Iterable[str]) -> list[str]:
    items = "".join(f"<li>{_text(figure)}</li>" for figure in figures)
    return [f'<ul class="figures">{items}</ul>'] if items else []


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
