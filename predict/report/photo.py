"""One photo on the page of a run: its picture, its people, what was measured, what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from plausibody.models.skeleton import BONES, COCO17
from plausibody.predict.fit import CONFIDENT
from plausibody.predict.report.bars import bars_of_person, render_bars
from plausibody.predict.report.files import BODIES, MOST_PEOPLE, PHOTO, SEEN, THUMB
from plausibody.predict.report.folder import PhotoFiles, Record
from plausibody.predict.report.person import (
    colour_of,
    render_evidence,
    render_links,
    render_viewer,
    text,
)

STYLE = """
.numbers b { position: absolute; transform: translate(-50%, -100%); padding: 0 .4rem;
  border-radius: 5px; color: #141414; border: 1px solid #141414;
  font-size: .8rem; line-height: 1.15rem }
.numbers { position: absolute; inset: 0; pointer-events: none }
"""
"""Of the people's numbers over a photo."""
HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
ABOVE = 0.05
"""How far above a face its number stands, as a share of the person's height in the picture."""


def is_warned(record: Record) -> bool:
    """Tells whether there is a reason to look twice."""
    return any(person["warnings"] for person in record["people"]) or bool(record["message"])


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
        inner = render_evidence(person, files, card)
        yield _part(person, inner, "evidence")
    yield '</div>\n<div class="column">\n'
    for person in people:
        yield from render_viewer(person, files, cards.get(person["index"]), with_samples)
    yield '</div>\n<div class="column">\n'
    many = len(record["people"]) > 1
    for person in people:
        title = f"Measurements of person {person['index']}" if many else "Measurements"
        bars = render_bars(bars_of_person(person["measurements"], title))
        links = render_links(record["folder"], person, prefix, files.folder)
        yield _part(person, bars + links, "measured card")
    yield "</div>\n</div>\n</article>\n"


def _part(person: Record, inner: str, kind: str) -> str:
    return f'<section class="{kind}" data-person="{person["index"]}">\n{inner}\n</section>\n'


def _header(record: Record, files: PhotoFiles) -> str:
    path = Path(record["path"])
    people = record["people"]
    tabs = "".join(
        f'<button type="button" data-choose="{person["index"]}" aria-pressed="false">'
        f'<i style="background:{colour_of(person["index"])}"></i>Person {person["index"]}</button>'
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
    if len(record["people"]) > 1:
        yield f'<div class="numbers" aria-hidden="true">{_numbers(cards)}</div>\n'
    yield (
        '<span class="handle"></span><input type="range" min="0" max="100" value="50" '
        'aria-label="How much of the photo shows what was predicted"></figure>\n'
        '<div class="tools"><div class="seg" role="group" aria-label="Over the photo">'
        '<button type="button" data-over="bodies" aria-pressed="true">Body</button>'
        '<button type="button" data-over="seen" aria-pressed="false">What was seen</button>'
        "</div></div>\n"
    )


def _numbers(cards: Mapping[int, Record]) -> str:
    """Writes people's numbers above their heads, in the colours of their bodies."""
    drawn = []
    for index, card in cards.items():
        body = [place for place in card["body"] if None not in place]
        head = [card["body"][COCO17.index(name)] for name in HEAD]
        head = [place for place in head if None not in place]
        if not head:
            continue
        tall = max(y for _, y in body) - min(y for _, y in body)
        x = sum(x for x, _ in head) / len(head)
        y = min(y for _, y in head) - ABOVE * tall
        x, y = min(max(x, 0.02), 0.98), min(max(y, 0.05), 1.0)
        drawn.append(
            f'<b style="left:{100 * x:.1f}%;top:{100 * y:.1f}%;background:{colour_of(index)}">'
            f"{index}</b>"
        )
    return "".join(drawn)


def _skeleton(card: Record, width: int, height: int) -> str:
    """Draws the key points that were seen surely, and the bones between them."""
    places = [
        (x * width, y * height) if None not in (x, y, sure) and sure > CONFIDENT else None
        for (x, y), sure in zip(card["seen"], card["confidence"], strict=True)
    ]
    thick = max(width, height) / 220
    colour = colour_of(card["index"])
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
