"""Pieces of pages about runs and evaluations: HTML that stands alone, in light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

from plausibody.evaluate.protocols import METRICS
from plausibody.predict.report.page_parts import STYLE as HOUSE

STYLE = (
    HOUSE
    + """
.pill { display: inline-block; border-radius: 99px; padding: .05rem .7rem; font-size: .9rem;
  border: 1px solid var(--line); vertical-align: middle; margin-left: .6rem }
.pill.good { color: #2d8a57; border-color: #2d8a57 } .pill.bad { color: #c6533c;
  border-color: #c6533c }
.bar { height: 8px; border-radius: 4px; background: var(--line); margin: .8rem 0 }
.bar div { height: 8px; border-radius: 4px; background: var(--mark) }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: .6rem 1rem; flex: 1 1 9rem } .tile b { display: block; font-size: 1.35rem;
  font-variant-numeric: tabular-nums } .tile span { color: var(--dim); font-size: .85rem }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1rem }
.charts.wide { grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)) }
.charts section.card { margin: 0; color: var(--ink) }
table.facts td { text-align: left; overflow-wrap: anywhere } table.facts td:first-child {
  color: var(--dim); white-space: nowrap; width: 1% }
table.rows td, table.rows th { white-space: nowrap } .scroll { overflow-x: auto }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem 1rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .9rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.moments { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1rem;
  align-items: center } .moments img { display: block; max-width: 100%; border-radius: 4px }
.moments div { text-align: right; font-variant-numeric: tabular-nums } .moments small {
  display: block; color: var(--dim) }
details { margin: .8rem 0 } summary { cursor: pointer; color: var(--mark) }
@media (max-width: 500px) { .charts, .charts.wide { grid-template-columns: 1fr } }
"""
)


def document(title: str, parts: Iterable[str]) -> str:
    """Gives a whole page."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def text(words: object) -> str:
    """Makes words safe to stand in a page."""
    return html.escape(str(words))


def facts(rows: Mapping[str, object]) -> str:
    """Gives a table of names and what they are; those without a value are left out."""
    lines = [
        f"<tr><td>{text(name)}</td><td>{text(value)}</td></tr>"
        for name, value in rows.items()
        if value not in (None, "")
    ]
    return f'<section class="card"><table class="facts">{"".join(lines)}</table></section>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Gives a table with a head."""
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<section class="card"><table class="rows">{inner}</table></section>'


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Gives figures in large type: what it is, its value, and a remark."""
    drawn = [
        f'<div class="tile"><span>{text(what)}</span><b>{text(value)}</b>'
        f"<span>{text(remark)}</span></div>"
        for what, value, remark in values
    ]
    return f'<div class="tiles">{"".join(drawn)}</div>' if drawn else ""


def charts(drawn: Iterable[str], wide: bool = False) -> str:
    """Lays charts, SVG each, out side by side."""
    cards = [f'<section class="card">{each}</section>' for each in drawn]
    return f'<div class="charts{" wide" if wide else ""}">{"".join(cards)}</div>' if cards else ""


def picture(content: bytes, words: str) -> str:
    """Puts a JPEG into the page.

    Args:
        words: What it shows, for those who cannot see it.
    """
    data = base64.b64encode(content).decode()
    return f'<img alt="{text(words)}" src="data:image/jpeg;base64,{data}">'


def metric_name(curve: str) -> str:
    """Names a curve as people do, with its unit: val/pa_mpjpe is PA-MPJPE [mm]."""
    name = curve.removeprefix("val/").removeprefix("train/")
    if name == "pa_mpjpe_over_mean_body":
        return "PA-MPJPE over the mean body's"
    words = name.replace("_", " ").replace("iou", "IoU")
    if "mpjpe" in name or name.startswith("pve"):
        words = name.replace("_", "-").upper()
    protocol = METRICS.get(name)
    return f"{words} [{protocol.unit}]" if protocol and protocol.unit != "0..1" else words


def number(value: float | None) -> str:
    """Writes a figure with four digits; a dash if there is none."""
    if value is None or value != value:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
