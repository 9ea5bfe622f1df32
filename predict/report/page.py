"""The page of a run: a gallery, every photo with its bodies to turn about, and what went wrong.

It is put together from the folders of the photos, part by part into a file, so memory does not grow
with the run. What it shows needs no network: pictures, bodies, styles and scripts are inside.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plausibody.models.files import draft_file
from plausibody.predict.drawing.uncertainty import COLOURS
from plausibody.predict.report.bars import STYLE as BARS
from plausibody.predict.report.folder import PhotoFiles, Record, look_into
from plausibody.predict.report.page_parts import STYLE as HOUSE
from plausibody.predict.report.page_parts import Report, render_parts
from plausibody.predict.report.person import text
from plausibody.predict.report.photo import STYLE as NUMBERS
from plausibody.predict.report.photo import is_warned, render_photo, render_thumb

NAME = "report.html"
MOST_PHOTOS = 60
"""Shown; a page of thousands would not open. The others are listed, up to `MOST_ROWS`."""
MOST_BYTES = 24 * 10**6
"""Of what is shown. If it would be more, samples are not put in to be turned about; if it still is,
fewer photos are shown."""
MOST_ROWS = 1000
"""Of a table."""
LEAST_TIMED = 20
"""Photos whose number in a second is told."""
WORDS = {
    "ok": "with a body",
    "no_person": "without a person",
    "unreadable": "unreadable",
    "too_small": "too small",
    "failed": "failed",
}
"""What a status means."""

COLOUR_NOTE = (
    "The colour of a body says how far apart its samples put each place, relative to the pelvis, "
    "on average."
)
FIT_NOTE = (
    "Overlap is the common over the joint area of the body and the outline that was seen, clothes "
    "included. Key points are compared with those seen. Both tell how a body fits what was seen, "
    "not how true it is."
)

GUARD = """
addEventListener("error", (event) => failed(event.message));
addEventListener("unhandledrejection", (event) => failed(event.reason));
function failed(why) {
  document.documentElement.classList.remove("live");
  document.documentElement.dataset.errors = String(why);
}
"""
"""Shows everything below each other, as without scripts, if one of them fails."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but what is inside."""


def write_report_page(
    out: Path,
    summary: Mapping[str, Any],
    inputs: Iterable[Record] | None = None,
    page: Path | None = None,
    report: Report | None = None,
) -> Path:
    """Writes the page of a run from what `report_files` put into the folders of its photos.

    Args:
        out: Folder of the run.
        summary: Content of its `summary.json`.
        inputs: The records of the photos, one at a time; None for those of the summary.
        page: Where to write; None for `report.html` in the folder of the run.
        report: A title of its own, and what else stands on the page.

    Returns:
        Where it is.

    Raises:
        DiskFullError: If there is no space; the page of an earlier run stays then.
    """
    page = page or out / NAME
    page.parent.mkdir(parents=True, exist_ok=True)
    report = report or Report("Bodies from photos")
    prefix = os.path.relpath(out, page.parent).replace(os.sep, "/")
    prefix = "" if prefix == "." else quote(prefix, errors="surrogateescape") + "/"
    plan = choose_photos(out, summary["inputs"] if inputs is None else inputs)
    with draft_file(page) as draft:
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            for part in _page(summary, plan, report, prefix):
                file.write(part)
    return page


@dataclass
class Plan:
    """What the page shows of a run."""

    shown: list[tuple[Record, PhotoFiles]] = field(default_factory=list)
    with_samples: bool = True
    """Whether samples are put in to be turned about."""
    rest: list[Record] = field(default_factory=list)
    """Photos with bodies that are listed only, up to `MOST_ROWS`."""
    without: list[Record] = field(default_factory=list)
    """Photos without bodies, up to `MOST_ROWS`."""
    counts: Counter[str] = field(default_factory=Counter)
    """Photos by status."""
    people: int = 0
    warned: int = 0
    """Photos with a body that are to be looked at twice."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def choose_photos(out: Path, inputs: Iterable[Record]) -> Plan:
    """Goes through the records once and chooses what the page has room for.

    Args:
        out: Folder of the run.
    """
    plan = Plan()
    least = most = 0
    for record in inputs:
        plan.counts[record["status"]] += 1
        plan.people += len(record["people"])
        if not record["people"]:
            if len(plan.without) < MOST_ROWS:
                plan.without.append(record)
            continue
        plan.warned += is_warned(record)
        is_next = not plan.rest and len(plan.shown) < MOST_PHOTOS
        found = look_into(out / record["folder"]) if is_next else None
        if found and least + found.size - found.size_of_samples <= MOST_BYTES:
            least += found.size - found.size_of_samples
            most += found.size
            plan.shown.append((record, found))
        elif len(plan.rest) < MOST_ROWS:
            plan.rest.append(record)
    plan.with_samples = most <= MOST_BYTES
    return plan


def _page(summary: Mapping[str, Any], plan: Plan, report: Report, prefix: str) -> Iterator[str]:
    """Gives the page in parts."""
    title = text(report.title)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n'
        f"<style>{HOUSE}{BARS}{_read('report.css')}{NUMBERS}{_legend()}</style>\n"
        f'<script>{GUARD}</script>\n</head>\n<body>\n<main class="run">\n'
    )
    yield _head(summary, plan, title)
    for line in report.introduction:
        yield f"<p>{text(line)}</p>\n"
    if len(plan.shown) > 1:
        yield '<nav class="film" aria-label="Photos">\n'
        for number, (record, found) in enumerate(plan.shown):
            yield render_thumb(number, record, found) + "\n"
        yield "</nav>\n"
    for number, (record, found) in enumerate(plan.shown):
        yield from render_photo(number, record, found, prefix, plan.with_samples)
    yield from _tables(plan, prefix)
    yield from render_parts(report)
    yield _foot(summary, plan)
    yield f"</main>\n<script>{_read('viewer.js')}</script>\n"
    yield f"<script>{_read('report.js')}</script>\n</body>\n</html>\n"


def _read(name: str) -> str:
    return files("plausibody.predict.report").joinpath(name).read_text("utf-8")


def _legend() -> str:
    stops = ", ".join(
        f"rgb({' '.join(str(round(255 * part)) for part in colour)})" for colour in COLOURS
    )
    return f".legend i {{ background: linear-gradient(to right, {stops}) }}\n"


def _head(summary: Mapping[str, Any], plan: Plan, title: str) -> str:
    counts = [
        f"{plan.counts[status]:,} {words}"
        for status, words in WORDS.items()
        if plan.counts[status] and status != "ok"
    ]
    line = [_number(plan.total, "photo"), _number(plan.people, "body", "bodies"), *counts]
    if rate := throughput(summary):
        line.append(rate)
    if plan.rest:
        line.append(f"the first {len(plan.shown)} with bodies are shown, the others listed below")
    buttons = ""
    if warned := sum(is_warned(record) for record, _ in plan.shown):
        buttons = (
            '<div class="seg filters" role="group" aria-label="Which photos">'
            '<button type="button" data-filter="all" aria-pressed="true">'
            f"All {len(plan.shown)}</button>"
            '<button type="button" data-filter="warned" aria-pressed="false">'
            f"To look at twice {warned}</button></div>"
        )
    return (
        f'<header class="top"><div><h1>{title}</h1>'
        f'<p class="dim">{text(" · ".join(line))}</p></div>{buttons}</header>\n'
    )


def throughput(summary: Mapping[str, Any]) -> str:
    """Words how fast a run was, if its summary tells and the start does not count for much."""
    timing = summary.get("timing") or {}
    if timing.get("photos", 0) < LEAST_TIMED:
        return ""
    return f"{timing['photos_per_second']:.2g} photos/s"


def _tables(plan: Plan, prefix: str) -> Iterator[str]:
    if not plan.shown and not plan.rest:
        yield '<section class="card"><p>There is no body in any of these photos.</p></section>\n'
    if plan.without:
        count = plan.total - plan.counts["ok"]
        yield '<h2 id="without">Without a body</h2>\n'
        rows = (
            (text(record["path"]), text(WORDS.get(record["status"], record["status"])),
             text(record["message"].removeprefix(f"{record['path']}: ")))
            for record in plan.without
        )  # fmt: skip
        yield from _rows(("photo", "what", "why"), rows)
        yield from _more(count - len(plan.without))
    if plan.rest:
        yield "<h2>More photos</h2>\n"
        rows = (
            (_folder_link(record, prefix), str(len(record["people"])),
             "look twice" if is_warned(record) else "")
            for record in plan.rest
        )  # fmt: skip
        yield from _rows(("photo", "bodies", ""), rows)
        yield from _more(plan.counts["ok"] - len(plan.shown) - len(plan.rest))


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Gives a table.

    Args:
        rows: Cells as HTML.
    """
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    yield f'<section class="card"><table class="list"><thead><tr>{head}</tr></thead><tbody>\n'
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n"
    yield "</tbody></table></section>\n"


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f'<p class="dim">{count:,} more are in summary.json.</p>\n'


def _folder_link(record: Record, prefix: str) -> str:
    folder = quote(record["folder"], errors="surrogateescape")
    return f'<a href="{prefix}{folder}/">{text(record["path"])}</a>'


def _foot(summary: Mapping[str, Any], plan: Plan) -> str:
    settings, versions = summary["settings"], summary["versions"]
    front_end = settings["front_end"]
    notes = [COLOUR_NOTE, FIT_NOTE] if settings["samples"] > 1 else [FIT_NOTE]
    if plan.shown and not plan.with_samples:
        notes.append(
            "With so many photos, samples are drawn but cannot be turned about; reports of fewer "
            "photos have them."
        )
    notes.append(
        ", ".join(
            [
                *(f"{name} {version}" for name, version in versions.items()),
                f"weights {settings['weights']}",
                f"front end {front_end['name'] if isinstance(front_end, Mapping) else front_end}",
                *([f"{settings['samples']} samples"] if settings["samples"] else []),
            ]
        )
        + "."
    )
    lines = "".join(f'<p class="dim">{text(note)}</p>\n' for note in notes)
    return f"<footer>{lines}</footer>\n"


def _number(count: int, word: str, words: str = "") -> str:
    return f"{count:,} {word if count == 1 else words or word + 's'}"
