"""What the folder of a photo has for the page of a run: looked at, checked, and read in letters."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.predict.report.files import BODIES, CARD, PHOTO, SCHEMA, SEEN, THUMB

Record = Mapping[str, Any]
"""What `summary.json` says of a photo, or of a person in it."""

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
