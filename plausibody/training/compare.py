"""Runs beside each other: their curves, their figures, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plausibody.config import known_keys
from plausibody.evaluate import markup
from plausibody.models.files import write_file
from plausibody.training.charting import chart_of_runs, ordered
from plausibody.training.curves import left_out
from plausibody.training.history import History, read_history
from plausibody.training.page import draw_charts
from plausibody.training.quantities import duration
from plausibody.training.repeating import written
from plausibody.training.spared import Spared


@dataclass(frozen=True)
class Comparison:
    """What of several runs goes into a table."""

    columns: tuple[str, ...]
    """What each row tells."""
    rows: tuple[tuple[str, ...], ...]
    """One for each run."""
    settings: Mapping[str, tuple[str, ...]]
    """The settings that are not the same in all runs, by key, with each run's value."""


def compare_runs(
    runs: Sequence[Path], out: Path, say: Callable[[str], None] = lambda message: None
) -> Comparison:
    """Draws the curves of runs together on a page, and says how the runs differ.

    The runs may go on meanwhile, or have been killed: what they wrote down counts.

    Args:
        runs: Their folders, two or more.
        out: The page, an HTML file.
        say: Is told if charts cannot be drawn, or a run's figures are damaged.

    Returns:
        The page's tables.

    Raises:
        ValueError: If there are fewer than two, one is given twice, or one is no run or a damaged
            one.
        DiskFullError: If there is no space for the page.
    """
    if len(runs) < 2:
        raise ValueError(f"--compare: wanted two or more runs, got {len(runs)}")
    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("--compare: wanted runs that differ, got one of them twice")
    histories = name_runs([read_history(run) for run in runs])
    for run in histories.values():
        if run.damaged:
            say(f"{run.out / 'curves.jsonl'}: {left_out(run.damaged)}")
    comparison = Comparison(*_table(histories), settings=_settings(histories))
    page = markup.document("Runs compared", _page(histories, comparison, Spared(say)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, page)
    return comparison


def name_runs(histories: Sequence[History]) -> dict[str, History]:
    """Names runs as shortly as tells them apart: by their folders, or with the folders above."""
    places = [history.out.resolve().parts for history in histories]
    depth = 1
    while len({place[-depth:] for place in places}) < len(places):
        depth += 1
    named = ["/".join(place[-depth:]) for place in places]
    return dict(zip(named, histories, strict=True))


def _table(
    histories: Mapping[str, History],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Gives columns and rows of final figures."""
    every = ordered({name: None for run in histories.values() for name in run.curves})
    figures = [name for name in every if name.startswith("val/")]
    names = [markup.metric_name(figure) for figure in figures]
    columns = ["run", "method", "steps", "samples", "training time", "samples/s", *names]
    columns += ["best", "device", "commit"]
    rows = []
    for name, run in histories.items():
        best = run.best
        rows.append(
            (
                name,
                run.config.method,
                f"{run.step:,}" + ("" if run.finished else f" of {run.config.train.steps:,}"),
                f"{run.samples:,}",
                duration(run.seconds),
                markup.number(run.rate),
                *(markup.number(run.last(figure)) for figure in figures),
                "–" if best is None else f"{markup.number(best.value)} at {best.step:,}",
                str(run.record.get("device", "–")),
                str(run.record.get("commit", "–")),
            )
        )
    return tuple(columns), tuple(rows)


def _settings(histories: Mapping[str, History]) -> dict[str, tuple[str, ...]]:
    tables = [known_keys(run.config) for run in histories.values()]
    found = {key: tuple(written(table[key]) for table in tables) for key in tables[0]}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _page(histories: Mapping[str, History], comparison: Comparison, spared: Spared) -> list[str]:
    parts = [
        "<h1>Runs compared</h1>",
        f'<p class="dim">{markup.text(", ".join(histories))}</p>',
        "<h2>Where they are</h2>",
        markup.table(comparison.columns, comparison.rows),
        '<p class="dim">Figures are those of the last validation, best is the lowest PA-MPJPE. '
        "Runs of different streams or bodies may be measured on different people.</p>",
        "<h2>Settings that differ</h2>",
    ]
    rows = [[key, *values] for key, values in comparison.settings.items()]
    parts.append(markup.table(["setting", *histories], rows) if rows else "<p>None.</p>")
    parts.append("<h2>Curves</h2>")
    every = ordered({name: None for run in histories.values() for name in run.curves})
    charts = [
        chart
        for name in every
        for axis in ("samples", "hours")
        if (chart := chart_of_runs(histories, name, axis)) is not None
    ]
    untimed = [
        name
        for name, run in histories.items()
        if run.curves and not any(at.seconds >= 0 for curve in run.curves.values() for at in curve)
    ]
    if untimed:
        names = markup.text(", ".join(untimed))
        parts.append(f'<p class="warn">Not drawn over time, which they did not write: {names}.</p>')
    for name, run in histories.items():
        if run.damaged:
            parts.append(f'<p class="warn">{markup.text(f"{name}: {left_out(run.damaged)}")}.</p>')
    nothing = '<p class="dim">None of them has logged anything yet.</p>'
    return [*parts, markup.charts(draw_charts(charts, spared), wide=True) or nothing]
