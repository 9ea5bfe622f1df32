"""One photo on the page of a run: its picture, its people, what was measured, what to doubt."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plausibody.models.skeleton import BONES, COCO17
from plausibody.predict.bars import bars_of_person, render_bars
from plausibody.predict.describing import POOR_OVERLAP, POOR_REPROJECTION
from plausibody.predict.drawing import PEOPLE
from plausibody.predict.drawing_uncertainty import LARGEST
from plausibody.predict.fit import CONFIDENT
from plausibody.predict.report_files import BODIES, CARD, MOST_PEOPLE, PHOTO, SCHEMA, SEEN, THUMB

Record = Mapping[str, Any]

FARTHEST_OFF = 10.0
"""Right end of the bar for key points [% of the person's diagonal]."""
ENDS = {".jpg": (b"\xff\xd8", b"\xff\xd9"), ".webp": (b"RIFF", b""), ".glb": (b"glTF", b"")}
"""How files begin and end."""
KINDS = {".jpg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class PhotoFiles:
    """What the folder of a photo has for the page."""

    folder: Path
    card: dict[str, Any]
    """Content of `report.json`; empty if it is missing or damaged."""
    broken: tuple[str, ...]
    """Names of files that are missing or damaged."""
    size: int
    """Of the files, as text in the page [bytes]."""
    size_of_samples: int
    """Of the bodies of samples among them [bytes]."""

    def has(self, name: str) -> bool:
        return bool(self.card) and name not in self.broken

    def text(self, name: str) -> str:
        """Gives a file in letters, as it stands in the page."""
        return base64.b64encode((self.folder / name).read_bytes()).decode()

    def picture(self, name: str) -> str:
        """Gives the address under which the page itself holds a picture."""
        return f"data:{KINDS[Path(name).suffix]};base64,{self.text(name)}"


def look_into(folder: Path) -> PhotoFiles:
    """Finds out what there is for the page without reading more than both ends of each file."""
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        wanted = [THUMB, PHOTO, BODIES, SEEN]
        for person in card["people"]:
            wanted += names_of_person(person)
        right = card["schema_version"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        right = False
    if not right:
        return PhotoFiles(folder, {}, (CARD,), 0, 0)
    sizes = {name: size_of_whole(folder / name) for name in wanted}
    in_page = {name: 4 * -(-size // 3) for name, size in sizes.items()}
    return PhotoFiles(
        folder,
        card,
        tuple(name for name, size in sizes.items() if not size),
        sum(in_page.values()),
        sum(size for name, size in in_page.items() if name.endswith("_samples.glb")),
    )


def names_of_person(person: Record) -> list[str]:
    """Lists the files of a person in a card."""
    stem = f"report_{person['index']}"
    names = [f"{stem}.glb", f"{stem}.webp"]
    return names + ([f"{stem}_samples.glb", f"{stem}_samples.webp"] if person["samples"] else [])


def size_of_whole(path: Path) -> int:
    """Gives the size of a file [bytes]; 0 if it is missing or does not begin and end as it must."""
    begin, end = ENDS[path.suffix]
    try:
        with path.open("rb") as file:
            head = file.read(12)
            size = file.seek(0, 2)
            file.seek(max(0, size - len(end)))
            tail = file.read()
    except OSError:
        return 0
    told = {".webp": int.from_bytes(head[4:8], "little") + 8,
            ".glb": int.from_bytes(head[8:12], "little")}.get(path.suffix, size)  # fmt: skip
    return size if head.startswith(begin) and tail.endswith(end) and told == size else 0


def is_warned(record: Record) -> bool:
    """Tells whether there is a reason to look twice."""
    return any(person["warnings"] for person in record["people"]) or bool(record["message"])


def text(words: object) -> str:
    """Makes words safe to stand in a page."""
    return html.escape(str(words))


def render_thumb(number: int, record: Record, files: PhotoFiles) -> str:
    """Gives the entry of a photo in the gallery."""
    name = text(Path(record["path"]).name)
    warned = " data-warned" if is_warned(record) else ""
    picture = f'<img alt="" src="{files.picture(THUMB)}">' if files.has(THUMB) else "<i></i>"
    people = len(record["people"])
    count = f'<b title="{people} people">{people}</b>' if people > 1 else ""
    sign = '<em title="look twice">!</em>' if warned else ""
    inner = f"{picture}{count}{sign}<span>{name}</span>"
    return f'<a href="#photo-{number}"{warned} title="{name}">{inner}</a>'


def render_photo(
    number: int, record: Record, files: PhotoFiles, prefix: str, with_samples: bool
) -> Iterator[str]:
    """Gives the article of a photo in parts, large ones one at a time.

    Args:
        number: Place on the page.
        prefix: Leads from the page to the folder of the run; empty, or ends with a slash.
        with_samples: Whether samples are put in to be turned about.
    """
    warned = " data-warned" if is_warned(record) else ""
    yield f'<article class="photo" id="photo-{number}"{warned}>\n'
    yield _header(record, files)
    people = record["people"][:MOST_PEOPLE]
    cards = {card["index"]: card for card in files.card.get("people", [])}
    yield '<div class="stage">\n<div class="column">\n'
    yield from _compare(record, files, cards)
    for person in people:
        card = cards.get(person["index"], {})
        inner = _evidence(person, card) + _strip(person["index"], files, card)
        yield _part(person, inner, "evidence")
    yield '</div>\n<div class="column">\n'
    for person in people:
        yield from _viewer(person, files, cards.get(person["index"]), with_samples)
    yield '</div>\n<div class="column">\n'
    many = len(record["people"]) > 1
    for person in people:
        title = f"Measurements of person {person['index']}" if many else "Measurements"
        bars = render_bars(bars_of_person(person["measurements"], title))
        links = _links(record["folder"], person, prefix, files.folder)
        yield _part(person, bars + links, "measured card")
    yield "</div>\n</div>\n</article>\n"


def _part(person: Record, inner: str, kind: str) -> str:
    return f'<section class="{kind}" data-person="{person["index"]}">\n{inner}\n</section>\n'


def _header(record: Record, files: PhotoFiles) -> str:
    path = Path(record["path"])
    people = record["people"]
    tabs = "".join(
        f'<button type="button" data-choose="{person["index"]}" aria-pressed="false">'
        f'<i style="background:{_colour(person["index"])}"></i>Person {person["index"]}</button>'
        for person in people[:MOST_PEOPLE]
    )
    notes = [record["message"]] if record["message"] else []
    if len(people) > MOST_PEOPLE:
        notes.append(f"{len(people) - MOST_PEOPLE} more people are in summary.json")
    if files.broken:
        missing = "what the page needs of it" if not files.card else ", ".join(files.broken)
        notes.append(
            f"{missing}: missing or damaged in the photo's folder; --force predicts it again"
        )
    lines = "".join(f'<p class="warn">{text(note)}</p>' for note in notes)
    for person in people[:MOST_PEOPLE]:
        named = "".join(f'<li class="warn">{text(warning)}</li>' for warning in person["warnings"])
        if named:
            lines += f'<ul class="warnings" data-person="{person["index"]}">{named}</ul>'
    switch = f'<div class="seg" role="group" aria-label="Person">{tabs}</div>'
    steps = (("-1", "photo before", "&#8592;"), ("1", "next photo", "&#8594;"))
    arrows = "".join(
        f'<button type="button" data-step="{step}" aria-label="{words}">{sign}</button>'
        for step, words, sign in steps
    )
    return (
        f'<header><div class="title"><h2>{text(path.name)}</h2>'
        f'<p class="dim">{text(path.parent)}</p></div>{switch if len(people) > 1 else ""}'
        f'<div class="steps">{arrows}</div>'
        f"</header>{lines}\n"
    )


def _compare(record: Record, files: PhotoFiles, cards: Mapping[int, Record]) -> Iterator[str]:
    """Gives the photo with what can be slid over it."""
    if not files.has(PHOTO):
        yield '<p class="card dim">There is no picture of this photo.</p>\n'
        return
    width, height = files.card["size"]
    name = text(Path(record["path"]).name)
    yield (
        f'<figure class="compare" style="--width:{width};--height:{height};--cut:50%">'
        f'<img class="photo" alt="{name}" width="{width}" height="{height}" '
        f'src="{files.picture(PHOTO)}">\n'
    )
    if files.has(BODIES):
        left, top, across, down = (f"{100 * share:.3f}%" for share in files.card["bodies"])
        yield (
            '<div class="over chosen" data-layer="bodies"><img alt="predicted bodies" '
            f'style="left:{left};top:{top};width:{across};height:{down}" '
            f'src="{files.picture(BODIES)}"></div>\n'
        )
    if files.has(SEEN):
        yield (
            '<div class="over" data-layer="seen"><img alt="what is not held to be a person, dark" '
            f'style="inset:0;width:100%;height:100%" src="{files.picture(SEEN)}">'
            + "".join(_skeleton(card, width, height) for card in cards.values())
            + "</div>\n"
        )
    yield (
        '<span class="handle"></span><input type="range" min="0" max="100" value="50" '
        'aria-label="How much of the photo shows what was predicted"></figure>\n'
        '<div class="tools"><div class="seg" role="group" aria-label="Over the photo">'
        '<button type="button" data-over="bodies" aria-pressed="true">Body</button>'
        '<button type="button" data-over="seen" aria-pressed="false">What was seen</button>'
        "</div></div>\n"
    )


def _skeleton(card: Record, width: int, height: int) -> str:
    """Draws the key points that were seen surely, and the bones between them."""
    places = [
        (x * width, y * height) if None not in (x, y, sure) and sure > CONFIDENT else None
        for (x, y), sure in zip(card["seen"], card["confidence"], strict=True)
    ]
    thick = max(width, height) / 220
    colour = _colour(card["index"])
    drawn = []
    for bone in BONES:
        ends = [places[COCO17.index(name)] for name in bone]
        if ends[0] and ends[1]:
            (x1, y1), (x2, y2) = ends[0], ends[1]
            drawn.append(f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>')
    drawn += [
        f'<circle cx="{place[0]:.0f}" cy="{place[1]:.0f}" r="{1.4 * thick:.1f}"/>'
        for place in places
        if place
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}" stroke="{colour}" fill="{colour}" '
        f'stroke-width="{thick:.1f}" stroke-linecap="round" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )


def _colour(person: int) -> str:
    red, green, blue = (round(255 * part) for part in PEOPLE[person % len(PEOPLE)])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _evidence(person: Record, card: Record) -> str:
    """Tells how a body fits what was seen, what was told, and what was done to it."""
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
    return f'<div class="fit">{"".join(rows)}</div><ul class="facts">{items}</ul>'


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


def _viewer(
    person: Record, files: PhotoFiles, card: Record | None, with_samples: bool
) -> Iterator[str]:
    """Gives the place where a body is turned about, with its files."""
    index = person["index"]
    stem = f"report_{index}"
    start = f'<section class="viewer card" data-person="{index}" data-colour="{_colour(index)}">'
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


def _links(folder: str, person: Record, prefix: str, path: Path) -> str:
    """Leads to the files of a person that exist."""
    # A name may hold bytes that are no UTF-8; in an address each is its own number.
    files: Sequence[str] = [name for name in person.get("files", []) if (path / name).is_file()]
    links = "".join(
        f'<a href="{prefix}{quote(f"{folder}/{name}", errors="surrogateescape")}">{text(name)}</a>'
        for name in files
    )
    whole = f'<a href="{prefix}{quote(folder, errors="surrogateescape")}/">all files</a>'
    return f'<p class="links">{links}{whole}</p>'
