"""A result on a page: figures with their protocols, by subset, distributions, the worst cases.

The page is one file without references to others, for light and dark screens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate import markup
from plausibody.evaluate.figures import EVERYONE, Figure
from plausibody.evaluate.protocols import Protocol, part_of
from plausibody.evaluate.result import Case, Result
from plausibody.evaluate.result_text import (
    case_figures,
    groups,
    main_metrics,
    metrics_of,
    named,
    part_rows,
    protocol_lines,
    subset_rows,
)
from plausibody.evaluate.svg_charts import Chart, Line, draw_chart
from plausibody.evaluate.values import Values
from plausibody.predict.drawing.bodies import encode_picture

CURVE = 120
"""Points of a line at most."""
KINDS = 6
"""Lines of a chart at most: attributes of more kinds have none."""
MANY_ROWS = 12
"""Of a table, beyond which it is folded."""
STYLE = """<style>
table.figures td { white-space: nowrap; vertical-align: top } table.figures small {
  display: block; color: var(--dim); white-space: normal; max-width: 40rem }
table.rows th { white-space: normal }
table.figures code { font: .95em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
table.figures tr.main td { font-weight: 600 } table.figures tr.main small { font-weight: 400 }
.cases { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem }
.cases figure { margin: 0; background: var(--paper); border: 1px solid var(--line);
  border-radius: 10px; padding: .8rem; min-width: 0 } .cases img { display: block; width: 100%;
  border-radius: 4px } figcaption { font-size: .9rem; margin-top: .5rem; overflow-wrap: anywhere }
figcaption b { color: var(--ink) }
@media (max-width: 500px) { .cases { grid-template-columns: 1fr } }
</style>"""

Pictures = Mapping[str, Float[Tensor, "3 height width"]]
"""Of people, by name."""


def render_result(result: Result, pictures: Pictures | None = None) -> str:
    """Gives the page of a result as HTML.

    Args:
        result: With the numbers of each person, or there are no distributions.
        pictures: Of the worst cases, by name; see `sheet.draw_sight`.
    """
    return markup.document(
        f"{result.benchmark}: evaluation",
        [
            STYLE,
            *_head(result),
            *_everyone(result),
            *_subsets(result),
            *_distributions(result),
            *_cases(result, pictures or {}),
            *_record(result),
        ],
    )


def _head(result: Result) -> list[str]:
    regressor = result.regressor
    words = [f"{result.people:,} people", f"weights {_weights(regressor)}"]
    words += [f"plausibody {result.plausibody}", f"truth {result.digest[:12]}"]
    kind, state = ("good", "complete") if result.sealed else ("bad", "not comparable")
    found = [_tile(result.of(metric)) for metric in main_metrics(metrics_of(result))]
    return [
        f'<h1>{markup.text(result.benchmark)} <span class="pill {kind}">{state}</span></h1>',
        f'<p class="dim">{markup.text(" · ".join(words))}</p>',
        *([f'<p class="warn">{markup.text(result.note)}</p>'] if result.note else []),
        markup.tiles(found),
    ]


def _weights(regressor: Mapping[str, Any]) -> str:
    method, digest = regressor.get("method") or "unknown", str(regressor.get("sha256", ""))
    return f"{method} {digest[:12]}".strip()


def _tile(figure: Figure) -> tuple[str, str, str]:
    beside = f"mean body {figure.mean_body:.{figure.digits}f}"
    remark = figure.protocol.alignment if math.isnan(figure.mean_body) else beside
    return named(figure.metric), f"{figure.value:.{figure.digits}f}", remark


def _everyone(result: Result) -> list[str]:
    figures = [f for f in result.figures if f.subset == EVERYONE and not part_of(f.metric)]
    lines = [line for line in protocol_lines(result) if line != result.note]
    single = [figure for figure in figures if not figure.protocol.samples]
    sampled = [figure for figure in figures if figure.protocol.samples]
    heads, rows = part_rows(result)
    main = main_metrics(metrics_of(result))
    return [
        "<h2>Everyone</h2>",
        *(f"<p>{markup.text(line)}</p>" for line in lines),
        *(["<br>", _table(single, main)] if single else []),
        *(["<h2>Samples of the predictions</h2>", _table(sampled, main)] if sampled else []),
        *(["<h2>Part by part</h2>", markup.table(heads, rows)] if rows else []),
    ]


def _table(figures: Sequence[Figure], main: Sequence[str]) -> str:
    """Lays out figures, each with its protocol.

    Args:
        main: The metrics that stand out.
    """
    baselines = list(dict.fromkeys(name for figure in figures for name in figure.baselines))
    heads = ["metric", "value", "unit", "N", *baselines, *["ratio"] * bool(baselines)]
    head = "".join(f"<th>{markup.text(column)}</th>" for column in heads)
    body = "\n".join(_row(figure, baselines, figure.metric in main) for figure in figures)
    return (
        f'<section class="card"><table class="figures"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></section>"
    )


def _row(figure: Figure, baselines: Sequence[str], main: bool) -> str:
    digits = figure.digits
    cells = [f"{figure.value:.{digits}f}", figure.protocol.unit, f"{figure.people:,}"]
    for name in baselines:
        value = figure.baselines.get(name)
        cells.append("–" if value is None else f"{value:.{digits}f}")
    if baselines:
        cells.append("–" if math.isnan(figure.ratio) else f"{figure.ratio:.2f}")
    metric = markup.text(figure.metric)
    first = f"<code>{metric}</code><small>{markup.text(described(figure.protocol))}</small>"
    rest = "".join(f"<td>{markup.text(cell)}</td>" for cell in cells)
    style = ' class="main"' if main else ""
    return f"<tr{style}><td>{first}</td>{rest}</tr>"


def described(protocol: Protocol) -> str:
    """Puts a protocol into a line."""
    aligned = "" if protocol.alignment == "none" else f"aligned: {protocol.alignment}"
    pooled = f"pooled by {protocol.pooled}" if protocol.pooled else ""
    estimate = "" if protocol.estimate == "mode" else protocol.estimate
    return " · ".join(
        word for word in (protocol.points, aligned, estimate, protocol.bodies, pooled) if word
    )


def _subsets(result: Result) -> list[str]:
    parts = []
    beside = any(figure.baselines for figure in result.figures)
    for group in groups(result):
        heads, rows = subset_rows(result, group)
        table = markup.table([*heads[:2], *map(named, heads[2:])], rows)
        parts.append(f"<h2>By {markup.text(group)}</h2>")
        if beside:
            parts.append('<p class="dim">The mean body in brackets.</p>')
        if len(rows) > MANY_ROWS:
            table = f"<details><summary>All {len(rows)} rows</summary>{table}</details>"
        parts.append(table)
    return parts


def _distributions(result: Result) -> list[str]:
    values = result.values
    if values is None:
        return []
    main = [metric for metric in main_metrics(metrics_of(result)) if metric in values.errors]
    protocols = {f.metric: f.protocol for f in result.figures}
    whole = [
        _chart(named(metric), protocols[metric], [("", _known(values, metric))])
        for metric in main
        if not protocols[metric].pooled
    ]
    lead = result.worst_by if result.worst_by in values.errors else next(iter(main), "")
    split = [
        _chart(f"{named(lead)}, by {group}", protocols[lead], lines)
        for group, lines in _by_attribute(values, lead)
    ]
    return [
        "<h2>Distributions</h2>",
        '<p class="dim">Share of the people who have at most a value [%].</p><br>',
        markup.charts(whole),
        "<br>",
        markup.charts(split),
    ]


def _known(values: Values, metric: str) -> Float[Tensor, " known"]:
    error = values.errors[metric].double()
    return error[~error.isnan()]


def _by_attribute(
    values: Values, metric: str
) -> Iterable[tuple[str, list[tuple[str, Float[Tensor, " known"]]]]]:
    """Yields the attributes of few kinds, with the numbers of the people of each."""
    if not metric:
        return
    error = values.errors[metric].double()
    for group, attribute in values.attributes.items():
        lines = [
            (kind, error[(attribute.of == number) & ~error.isnan()])
            for number, kind in enumerate(attribute.kinds)
        ]
        lines = [(kind, numbers) for kind, numbers in lines if len(numbers)]
        if 1 < len(lines) <= KINDS:
            yield group, lines


def _chart(title: str, protocol: Protocol, lines: Sequence[tuple[str, Tensor]]) -> str:
    drawn = [Line(name, cumulative(numbers)) for name, numbers in lines]
    return draw_chart(Chart(title, protocol.unit, drawn, size=(5.2, 2.8), from_zero=True))


def cumulative(numbers: Float[Tensor, " known"]) -> list[tuple[float, float]]:
    """Gives values and the share of people who have at most each [%], from 0 to 100."""
    ordered = numbers.sort().values
    if not len(ordered):
        return []
    places = torch.linspace(0, len(ordered) - 1, min(CURVE, len(ordered))).round().long()
    points = [(float(ordered[n]), 100 * (int(n) + 1) / len(ordered)) for n in places]
    return [(points[0][0], 0.0), *points]


def _cases(result: Result, pictures: Pictures) -> list[str]:
    if not result.worst:
        return []
    parts = [f"<h2>Worst by {markup.text(named(result.worst_by))}</h2>"]
    if pictures:
        parts.append(
            '<p class="dim">The picture; what the regressor was shown; the predicted body, with '
            "the true outline in yellow where it is known.</p><br>"
        )
    told = [_case(case, result, pictures) for case in result.worst]
    return [*parts, f'<div class="cases">{"".join(told)}</div>']


def _case(case: Case, result: Result, pictures: Pictures) -> str:
    picture = ""
    if (drawn := pictures.get(case.name)) is not None:
        picture = markup.picture(encode_picture(drawn, ".jpg"), f"{case.name} and its prediction")
    missed = "; not found by the front end" if case.name in result.missed else ""
    words = markup.text(f"{', '.join(case_figures(case, result))}{missed}")
    caption = f"<b>{markup.text(case.name)}</b><br>{words}"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _record(result: Result) -> list[str]:
    rows = {
        "measured on": f"{result.benchmark}, {result.digest}",
        "bodies": result.gender,
        "seen by": result.front_end,
        "not found": f"{len(result.missed)} of {result.people}" if result.front_end else "",
        "without a body": f"{len(result.failed)} of {result.people}" if result.failed else "",
        **{f"regressor: {name}": value for name, value in result.regressor.items()},
        "plausibody": result.plausibody,
    }
    settings = json.dumps(result.settings, indent=2, default=str)
    return [
        "<h2>Record</h2>",
        markup.facts(rows),
        f"<details><summary>Settings</summary><pre>{markup.text(settings)}</pre></details>",
    ]
