"""One person on the page of a run: how the body fits, the place where it is turned, its files."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from plausibody.predict.describing import POOR_OVERLAP, POOR_REPROJECTION
from plausibody.predict.drawing.bodies import PEOPLE
from plausibody.predict.drawing.uncertainty import LARGEST
from plausibody.predict.report.folder import PhotoFiles, Record

FARTHEST_OFF = 10.0
"""Right end of the bar for key points [% of the person's diagonal]."""


def text(words: object) -> str:
    """Makes words safe to stand in a page."""
    return html.escape(str(words))


def colour_of(person: int) -> str:
    """Gives the colour in which a person's body is drawn, as pages write it."""
    red, green, blue = (round(255 * part) for part in PEOPLE[person % len(PEOPLE)])
    return f"#{red:02x}{green:02x}{blue:02x}"


def render_evidence(person: Record, files: PhotoFiles, card: Record) -> str:
    """Tells how a body fits what was seen, what was told, what was done to it, and shows samples.

    Args:
        person: In the summary.
        card: The same person in `report.json`; empty if it is missing.
    """
    refinement = card.get("refinement") or {}
    before = refinement.get("before") or {}
    kept = bool(refinement.get("kept"))
    overlap, off = person["silhouette_iou"], person["reprojection_percent"]
    rows = [
        _meter(
            "Overlap with the outline seen", f"{100 * overlap:.0f} %", overlap,
            before.get("silhouette_iou") if kept else None, overlap < POOR_OVERLAP,
        )
    ]  # fmt: skip
    if off is not None:
        was = before.get("reprojection_percent") if kept else None
        rows.append(
            _meter(
                "Key points off, of the diagonal", f"{off:.1f} %", off / FARTHEST_OFF,
                None if was is None else was / FARTHEST_OFF, off > POOR_REPROJECTION,
            )
        )  # fmt: skip
    facts = [f"{person['confident_keypoints']} of 17 key points seen surely"]
    if card.get("samples"):
        spread = card.get("uncertainty_cm")
        facts.append(
            f"{card['samples']} samples"
            + (f", on average {spread:.1f} cm from their mean" if spread is not None else "")
        )
    facts += _told(card.get("told") or {})
    if refinement:
        facts.append(
            "refined; marks show the fit before"
            if kept
            else f"refinement not taken: {refinement.get('reason', '')}"
        )
    items = "".join(f"<li>{text(fact)}</li>" for fact in facts)
    told = f'<div class="fit">{"".join(rows)}</div><ul class="facts">{items}</ul>'
    return told + _strip(person["index"], files, card)


def _strip(index: int, files: PhotoFiles, card: Record) -> str:
    name = f"report_{index}_samples.webp"
    if not card.get("samples") or not files.has(name):
        return ""
    words = f"{card['turnable']} samples, those that fit best what was seen, from front and side"
    return (
        f'<figure class="strip"><img alt="{words}" src="{files.picture(name)}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _told(told: Record) -> list[str]:
    facts = []
    if told.get("height_cm") is not None:
        facts.append(f"told: height {told['height_cm']:g} cm")
    if told.get("gender"):
        facts.append(f"told: {told['gender']}")
    if told.get("same_person"):
        facts.append("told: the same person in all photos")
    return facts


def _meter(name: str, value: str, share: float, before: float | None, is_poor: bool) -> str:
    """Draws a share, 0..1, as a bar; a mark shows what it was before."""

    def place(part: float) -> str:
        return f"{100 * min(max(part, 0.0), 1.0):.1f}%"

    mark = "" if before is None else f'<b style="left:{place(before)}"></b>'
    return (
        f'<div class="meter{" poor" if is_poor else ""}">'
        f"<span>{text(name)}</span><strong>{text(value)}</strong>"
        f'<div><i style="width:{place(share)}"></i>{mark}</div></div>'
    )


def render_viewer(
    person: Record, files: PhotoFiles, card: Record | None, with_samples: bool
) -> Iterator[str]:
    """Gives the place where a body is turned about, with its files."""
    index = person["index"]
    stem = f"report_{index}"
    start = f'<section class="viewer card" data-person="{index}" data-colour="{colour_of(index)}">'
    yield f'{start}\n<div class="space">'
    if files.has(f"{stem}.webp") and card:
        picture = files.picture(f"{stem}.webp")
        yield f'<img class="still" alt="the body from the front" src="{picture}">'
    yield '</div>\n<p class="no3d dim"></p>\n'
    if not card:
        yield '<p class="dim">There is no body to turn about.</p></section>\n'
        return
    if files.has(f"{stem}.glb"):
        yield f'<script type="text/plain" class="glb">{files.text(f"{stem}.glb")}</script>\n'
    coloured = card["uncertainty_cm"] is not None
    turnable = card["samples"] > 0 and with_samples and files.has(f"{stem}_samples.glb")
    if turnable:
        data = files.text(f"{stem}_samples.glb")
        yield f'<script type="text/plain" class="samples-glb">{data}</script>\n'
    yield _tools(coloured, card["turnable"] if turnable else 0)
    yield "</section>\n"


def _tools(coloured: bool, samples: int) -> str:
    def button(data: str, words: str, pressed: bool | None = None, more: str = "") -> str:
        state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
        return f'<button type="button" {data}{state}{more}>{words}</button>'

    views = "".join(
        button(f'data-turn="{turn}"', words)
        for words, turn in (("Front", "0"), ("Side", "1.5708"), ("Back", "3.1416"))
    )
    parts = [f'<div class="seg" role="group" aria-label="View">{views}</div>']
    if coloured:
        tints = button('data-tint="on"', "Uncertainty", True)
        tints += button('data-tint="off"', "Plain", False)
        parts.append(f'<div class="seg" role="group" aria-label="Colour">{tints}</div>')
    if samples:
        tries = button('data-sample="0"', "Best", True, ' title="the most probable body"')
        for n in range(1, samples + 1):
            tries += button(f'data-sample="{n}"', str(n), False, f' title="sample {n}"')
        tries += button("data-play", "&#9654;", False, ' aria-label="play the samples"')
        parts.append(
            f'<div class="seg" role="group" aria-label="Samples"><span>Samples</span>{tries}</div>'
        )
    most = f"{100 * LARGEST:.0f} cm"
    legend = f'<div class="legend"><span>0</span><i></i><span>{most}</span></div>'
    return f'<div class="tools">{"".join(parts)}{legend if coloured else ""}</div>\n'


def render_links(folder: str, person: Record, prefix: str, path: Path) -> str:
    """Leads to the files of a person that exist."""
    # A name may hold bytes that are no UTF-8; in an address each is its own number.
    files: Sequence[str] = [name for name in person.get("files", []) if (path / name).is_file()]
    links = "".join(
        f'<a href="{prefix}{quote(f"{folder}/{name}", errors="surrogateescape")}">{text(name)}</a>'
        for name in files
    )
    whole = f'<a href="{prefix}{quote(folder, errors="surrogateescape")}/">all files</a>'
    return f'<p class="links">{links}{whole}</p>'
