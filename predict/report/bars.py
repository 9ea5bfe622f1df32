"""Measurements and their intervals as rows of an HTML page, without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plausibody.predict.bulk.table import COLUMNS, LEVEL

REACHES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""What a track may show on both sides of the value, as a share of it: of all tracks of a person the
first that has room for every interval, or the last. Bars that go beyond it end in an arrow."""
KINDS = {
    "calibrated": f"Bars are {100 * LEVEL:.0f} % intervals, calibrated: of synthetic people like "
    "those in training, they hold the truth that often.",
    "raw": f"Bars are {100 * LEVEL:.0f} % intervals as the network gives them, not calibrated.",
    "none": "The network gives a single body, and so no intervals.",
}

STYLE = """
table.bars { width: auto; min-width: 60% } table.bars td { padding: .1rem .7rem }
table.bars td.track { min-width: 14rem; width: 50% }
.track div { position: relative; height: .7rem; background: var(--line); border-radius: 4px }
.track i { position: absolute; top: 0; bottom: 0; background: var(--mark); opacity: .55;
  border-radius: 4px } .track .beyond { background: none; opacity: 1; color: var(--ink);
  font: .6rem/.7rem sans-serif }
.track b { position: absolute; top: -2px; bottom: -2px; left: 50%; width: 2px;
  background: var(--ink) }
summary { cursor: pointer; margin: .6rem 0 .3rem; font-weight: 600 }
"""


@dataclass(frozen=True)
class Bars:
    """What is measured of one person."""

    title: str
    rows: Sequence[tuple[str, str, Sequence[float]]]
    """Name, unit, and value with, if known, the lower and upper end of its interval."""
    kind: str
    """Of intervals, one of `KINDS`."""
    is_open: bool = True
    """Whether the rows show before somebody asks for them."""


def bars_of_person(record: Mapping[str, Any], title: str, is_open: bool = True) -> Bars:
    """Args:
    record: As `table.measurement_record` makes it.
    """
    rows = []
    for column in COLUMNS:
        name, _, unit = column.rpartition("_")
        rows.append((name.replace("_", " "), unit, record[column]))
    if record["told"] != "plain":
        title += f" ({record['told'].replace('_', ' ').replace('+', ', ')} told)"
    return Bars(title, rows, record["intervals"], is_open)


def render_bars(bars: Bars) -> str:
    reach = _reach(bars)
    rows = "\n".join(_row(*row, reach) for row in bars.rows)
    note = KINDS[bars.kind]
    if bars.kind != "none":
        note += f" A track goes {100 * reach:.0f} % up and down from the value."
    return (
        f"<details{' open' if bars.is_open else ''}><summary>{html.escape(bars.title)}</summary>\n"
        f'<table class="bars"><caption>{note}</caption><tbody>\n{rows}\n'
        "</tbody></table></details>"
    )


def _reach(bars: Bars) -> float:
    """Gives what all tracks show on both sides, as a share of the value."""
    shares = [
        abs(end / value - 1) for _, _, (value, *ends) in bars.rows for end in ends if value > 0
    ]
    most = max(shares, default=0.0)
    return next((reach for reach in REACHES if most <= reach), REACHES[-1])


def _row(name: str, unit: str, numbers: Sequence[float], reach: float) -> str:
    value, *ends = numbers
    cells = [html.escape(name), f"{value:.1f} {html.escape(unit)}"]
    if ends:
        low, high = ends
        cells.append(f"{low:.1f}–{high:.1f}")
    line = "".join(f"<td>{cell}</td>" for cell in cells)
    if ends:
        low, high = (_place(end, value, reach) for end in ends)
        left, right = max(low, 0.0), min(high, 100.0)
        arrows = [
            f'<i class="beyond" style="{side}:2px" title="goes on beyond the track">{sign}</i>'
            for side, sign, goes_on in (
                ("left", "&#9664;", low < 0),
                ("right", "&#9654;", high > 100),
            )
            if goes_on
        ]
        line += (
            f'<td class="track"><div><i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
            f"<b></b>{''.join(arrows)}</div></td>"
        )
    return f'<tr data-measure="{html.escape(name)}">{line}</tr>'


def _place(end: float, value: float, reach: float) -> float:
    """Gives where an end lies along the track, which goes from 0 to 100."""
    return 50 * (1 + (end / value - 1) / reach) if value > 0 else 50.0
