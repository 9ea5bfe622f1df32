"""A run on a page: what it is, how it goes, what its predictions look like, how to repeat it.

The page is one file without references to others, readable while the run goes on and after it was
killed: all of it is read from the run's folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from plausibody.config_file import to_json
from plausibody.evaluate import markup
from plausibody.evaluate.svg_charts import Chart, draw_chart
from plausibody.models.files import write_file
from plausibody.training.charting import charts_of_run
from plausibody.training.curves import left_out
from plausibody.training.history import History, read_history
from plausibody.training.quantities import duration
from plausibody.training.record import now, stamp
from plausibody.training.repeating import nearest_preset, repeat_command, written
from plausibody.training.spared import Spared

MOMENTS = 8
"""Moments of training whose pictures are on the page."""
LARGE_FIGURES = ("val/pa_mpjpe", "val/mpjpe", "val/pve_t_sc", "val/keypoint_error")
TRAINING = "training"
"""The state of a run that goes on."""
WATCH = """<script>
for (const pill of document.querySelectorAll("[data-until]")) {
  if (Date.now() > Date.parse(pill.dataset.until)) {
    pill.textContent = "training when this was written; it should have been written again since";
    pill.classList.add("bad");
  }
}
</script>"""
"""Tells, when the page is read, that the run must have been killed."""
_STEP = re.compile(r"step_(\d+)")


def write_run_page(
    out: Path, state: str = "", say: Callable[[str], None] = lambda message: None
) -> Path:
    """Writes the page of a run, whole or not at all.

    Args:
        out: Folder of the run.
        state: What the run is doing, such as "training" or "stopped by SIGTERM"; found out from the
            folder if empty.
        say: Is told if charts cannot be drawn; the page then says so too.

    Returns:
        The page, RUN/run.html.

    Raises:
        ValueError: If the folder is not that of a run.
        DiskFullError: If there is no space for the page.
    """
    page = out / "run.html"
    write_file(page, render_run(read_history(out), state, Spared(say)))
    return page


def render_run(history: History, state: str, spared: Spared) -> str:
    """Gives the page as HTML."""
    parts = [*_head(history, state), *_curves(history, spared), *_pictures(history)]
    parts += [*_record(history), *_repeat(history)]
    return markup.document(f"{history.name}: training", [*parts, WATCH])


def _head(history: History, state: str) -> list[str]:
    steps = history.config.train.steps
    state = state or ("finished" if history.finished else f"not finished, at step {history.step:,}")
    kind = {"finished": "good", TRAINING: ""}.get(state, "bad")
    spent = [f"step {history.step:,} of {steps:,}", f"{history.samples:,} samples"]
    spent += [duration(history.seconds)] if history.seconds >= 0 else []
    share = min(100.0, 100 * history.step / steps)
    figures = [
        (
            markup.metric_name(name),
            markup.number(history.last(name)),
            _best(history) if name == LARGE_FIGURES[0] else "",
        )
        for name in LARGE_FIGURES
        if history.last(name) is not None
    ]
    figures.append(("samples per second", markup.number(history.rate), "over the whole run"))
    until = f' data-until="{_due(history)}"' if state == TRAINING else ""
    pill = f'<span class="pill {kind}"{until}>{markup.text(state)}</span>'
    return [
        f"<h1>{markup.text(history.name)} {pill}</h1>",
        f'<p class="dim">{markup.text(" · ".join(spent))} · written {now()}</p>',
        f'<div class="bar"><div style="width:{share:.1f}%"></div></div>',
        markup.tiles(figures),
    ]


def _due(history: History) -> str:
    """Tells by when a run that goes on has written its page again, generously."""
    settings = history.config.train
    between = settings.validate_every * settings.batch_size / history.rate if history.rate else 0
    seconds = 2 * between + 600 if math.isfinite(between) else 24 * 3600
    return stamp(datetime.now(UTC) + timedelta(seconds=seconds))


def _best(history: History) -> str:
    best = history.best
    return "" if best is None else f"best {markup.number(best.value)} at step {best.step:,}"


def _curves(history: History, spared: Spared) -> list[str]:
    large, small = charts_of_run(history)
    if not large and not small:
        return ['<p class="dim">No curves yet: nothing has been logged.</p>']
    damage = f'<p class="warn">curves.jsonl: {left_out(history.damaged)}.</p>'
    return [
        "<h2>Curves</h2>",
        damage if history.damaged else "",
        markup.charts(draw_charts(large, spared), wide=True),
        "<br>",
        markup.charts(draw_charts(small, spared)),
    ]


def draw_charts(charts: Iterable[Chart], spared: Spared) -> list[str]:
    """Draws charts; in place of one that fails stands why."""
    drawn = []
    for chart in charts:
        found = spared("charts", lambda chart=chart: draw_chart(chart))  # type: ignore[misc]
        if found is None:
            fault = f"{chart.title} could not be drawn: {spared.faults['charts']}"
            found = f'<p class="warn">{markup.text(fault)}</p>'
        drawn.append(found)
    return drawn


def _pictures(history: History) -> list[str]:
    """Puts pictures of some moments below each other, so that the eye follows one person down."""
    folder, parts = history.out / "pictures", list[str]()
    headings = {
        "synthetic": "Held-out synthetic people, over what the network was shown",
        "photos": "Photos, and the same bodies from the side",
        "iuv": "IUV maps of held-out people",
    }
    for name, heading in headings.items():
        moments = spread_over(_moments(folder, name, history.step), MOMENTS)
        rows = [
            (f"{step:,}<small>{_figure_at(history, step)}</small>", path) for step, path in moments
        ]
        truth = folder / "truth.jpg"
        if rows and name == "synthetic" and truth.is_file():
            rows.append(("truth", truth))
        cells = "".join(
            f"<div>{label}</div>{markup.picture(path.read_bytes(), heading)}"
            for label, path in rows
        )
        if cells:
            parts += [f"<h2>{heading}</h2>", f'<section class="card"><div class="moments">{cells}',
                      "</div></section>"]  # fmt: skip
    return parts


def _figure_at(history: History, step: int) -> str:
    found = [at.value for at in history.curves.get(LARGE_FIGURES[0], ()) if at.step == step]
    return f"{markup.number(found[-1])} mm" if found else ""


def _moments(folder: Path, name: str, last: int) -> list[tuple[int, Path]]:
    """Lists a kind of picture by step. Later ones than the run are of a leg that was lost."""
    found = []
    for path in folder.glob(f"step_*/{name}.jpg"):
        match = _STEP.fullmatch(path.parent.name)
        if match and int(match[1]) <= last:
            found.append((int(match[1]), path))
    return sorted(found)


def spread_over(items: list[Any], most: int) -> list[Any]:
    """Takes some of a list, the first and the last among them, evenly."""
    if len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def _record(history: History) -> list[str]:
    told, config = history.record, history.config
    if not told:
        return ["<h2>Record</h2>", '<p class="dim">No checkpoint has been finished yet.</p>']
    packages = told.get("packages", {})
    rows = {
        "method": f"{config.method}, objective {config.objective}",
        "data": _joined(told.get("data", {})),
        "seed": _joined(told.get("seed", {})),
        "started": told.get("started"),
        "training time": duration(history.seconds),
        "device": told.get("device"),
        "processes": told.get("processes"),
        "threads": told.get("threads"),
        "machine": told.get("machine"),
        "precision": told.get("precision"),
        "plausibody": f"{told.get('plausibody')}, commit {told.get('commit')}",
        "python": told.get("python"),
        "versions": _joined(packages) or f"torch {told.get('torch')}",
        "cuda": told.get("cuda"),
        "stage": told.get("stage") if history.second_stage is not None else None,
        "skipped steps": ", ".join(map(str, history.skipped)) or "none",
        "best validation": _best(history).removeprefix("best "),
        "licence of the weights": history.card.get("licence"),
    }
    return ["<h2>Record</h2>", markup.facts(rows), *_legs(told), *_changes(told)]


def _joined(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _legs(told: Mapping[str, Any]) -> list[str]:
    """Tells where a run went on, if it was ever resumed."""
    legs = told.get("legs", [])
    if len(legs) < 2:
        return []
    columns = ["from step", "started", "device", "threads", "precision", "commit"]
    rows = [
        [f"{leg['step']:,}", *(str(leg.get(name, "–")) for name in columns[1:])] for leg in legs
    ]
    return ["<h2>Legs</h2>", markup.table(columns, rows)]


def _changes(told: Mapping[str, Any]) -> list[str]:
    """Tells which settings were changed when the run was resumed."""
    rows = [
        [f"{change['step']:,}", line]
        for change in told.get("changes", [])
        for line in change["settings"]
    ]
    if not rows:
        return []
    return ["<h2>Settings changed on the way</h2>", markup.table(["from step", "setting"], rows)]


def _repeat(history: History) -> list[str]:
    config = history.config
    name, changes = nearest_preset(config)
    rows = [[key, written(before), written(own)] for key, (before, own) in changes.items()]
    processes = int(history.record.get("processes", 1))
    bent = "<p>Settings were changed on the way: this trains with the last ones from the start, "
    bent += "which gives other weights.</p>"
    return [
        f"<h2>Settings that differ from the preset {markup.text(name)}</h2>",
        markup.table(["setting", name, "this run"], rows) if rows else "<p>None.</p>",
        "<h2>To repeat it</h2>",
        bent if history.record.get("changes") else "",
        f"<pre>{markup.text(repeat_command(config, processes))}</pre>",
        "<details><summary>The whole configuration</summary>",
        f"<pre>{markup.text(json.dumps(to_json(config), indent=2))}</pre></details>",
    ]
