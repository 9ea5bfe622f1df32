"""`summary.json`: what became of each photo of a run, in a file that may be larger than memory.

It is ordinary JSON. Each photo has a line of its own, so that one can be read without the others.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.models.files import draft_file
from plausibody.predict import report_page, table
from plausibody.predict.journal import Entry, Lines, read_journal

SCHEMA = 3
"""Version of `summary.json` and `result.json`; 2 had no `timing` and no `folders`."""
SUMMARY, LOG = "summary.json", ".progress.jsonl"
INPUTS = '"inputs": ['


@dataclass(frozen=True)
class Summary:
    """What became of a run."""

    path: Path
    """Of `summary.json`."""
    content: dict[str, Any]
    """What that file holds. `inputs` is a sequence of which each entry is read when asked for."""
    skipped: int
    """Photos that an earlier run of the same command had finished."""

    @property
    def counts(self) -> dict[str, int]:
        """Photos by status."""
        counts: dict[str, int] = self.content["counts"]
        return counts

    @property
    def usable(self) -> bool:
        """Whether there is any body at all."""
        return self.counts.get("ok", 0) > 0


def write_summary(
    path: Path, head: Mapping[str, Any], entries: Callable[[], Iterator[Entry]]
) -> dict[str, Any]:
    """Writes `summary.json`, and `measurements.csv` beside it.

    Args:
        head: All but `counts` and `inputs`.
        entries: Gives those of the photos in order; is gone through twice.

    Returns:
        The content of the file, `inputs` as a sequence that reads from it.

    Raises:
        DiskFullError: If there is no space; both files are as before or new.
    """
    counts: Counter[str] = Counter()

    def counting() -> Iterator[Entry]:
        for entry in entries():
            counts[entry["status"]] += 1
            yield entry

    table.write_table(path.with_name(table.NAME), counting())
    content = {"schema_version": SCHEMA, **head, "counts": dict(counts)}
    places = array("q")
    with draft_file(path) as draft, draft.open("wb") as file:
        file.write(b"{\n")
        for name, value in content.items():
            file.write(f" {json.dumps(name)}: {_encode(value)},\n".encode("ascii"))
        file.write(f" {INPUTS}".encode("ascii"))
        for number, entry in enumerate(entries()):
            file.write(b",\n" if number else b"\n")
            places.append(file.tell())
            file.write(_encode(entry).encode("ascii"))
        file.write(b"\n ]\n}\n")
    return content | {"inputs": Lines(path, places)}


def read_summary(path: Path) -> Iterator[Entry]:
    """Gives the entries of a summary, if there is one, and it is of this version.

    Raises:
        ValueError: If the file is something else.
    """
    if not path.exists():
        return
    try:
        if (places := _lines(path)) is not None:
            yield from Lines(path, places)
            return
        content = json.loads(path.read_bytes())  # somebody has formatted it anew
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: wanted the summary of an earlier run, got {error}; do: choose another --out, "
            "or remove the file"
        ) from error
    _check(path, content)
    if content["schema_version"] == SCHEMA:
        yield from content["inputs"]


def read_timing(path: Path) -> dict[str, Any]:
    """Gives `timing` of a summary; nothing if there is none."""
    if not path.exists():
        return {}
    head = b""
    with path.open("rb") as file:
        for line in file:
            head += line
            if line.strip() == INPUTS.encode("ascii"):
                timing: dict[str, Any] = json.loads(head + b"]}").get("timing", {})
                return timing
    return {}


def _lines(path: Path) -> Sequence[int] | None:
    """Finds where the entries begin, in a file as we write it; None if it is written otherwise."""
    places = array("q")
    head = b""
    with path.open("rb") as file:
        for line in file:
            head += line
            if line.strip() == INPUTS.encode("ascii"):
                break
        else:
            return None
        content = json.loads(head + b"]}")
        _check(path, content)
        if content["schema_version"] != SCHEMA:
            return places
        place = file.tell()
        for line in file:
            if line.strip() == b"]":
                return places if file.read().strip() == b"}" else None
            if not line.startswith(b'{"path"'):
                return None
            places.append(place)
            place += len(line)
    return None


def _check(path: Path, content: object) -> None:
    if not (isinstance(content, dict) and {"schema_version", "inputs"} <= content.keys()):
        raise ValueError(
            f"{path}: wanted the summary of an earlier run, came another file of this name; "
            "do: choose another --out"
        )


def check_out(out: Path) -> None:
    """Looks whether results can be written into a folder, and changes nothing.

    Raises:
        FileExistsError: If a file has one of our names that no run of ours wrote.
        ValueError: If there is another `summary.json`.
    """
    for _ in read_summary(out / SUMMARY):
        break
    if (out / SUMMARY).exists() or (out / LOG).exists():
        return
    for name in (table.NAME, report_page.NAME):
        if (out / name).exists():
            raise FileExistsError(
                f"{out / name}: wanted to write a result there, found a file that plausibody did "
                "not write; do: choose another --out"
            )


def earlier_entries(out: Path) -> Iterator[tuple[Entry, bool]]:
    """Gives what earlier runs have noted of photos, the newest last.

    Yields:
        An entry, and whether it is older than the run that goes on now, if one does.
    """
    for entry in read_summary(out / SUMMARY):
        yield entry, True
    yield from read_journal(out / LOG)


def _encode(value: object) -> str:
    return json.dumps(value, allow_nan=False)
