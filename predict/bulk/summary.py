"""`summary.json`: what became of each photo of a run, in a file that may be larger than memory.

It is ordinary JSON. Each photo has a line of its own, so that one can be read without the others.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

from plausibody.models.files import draft_file
from plausibody.predict.bulk import table
from plausibody.predict.bulk.journal import Entry, Lines, read_journal
from plausibody.predict.report import page as report_page
from plausibody.predict.result import Status

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
    count = 0
    with path.open("rb") as file:
        if (head := _read_head(file)) is not None:
            _check(path, head)
            if head["schema_version"] != SCHEMA:
                return
            for line in file:
                if line.strip() == b"]":
                    return
                try:
                    entry = json.loads(line.rstrip(b",\n"))
                except (ValueError, RecursionError):
                    break
                yield entry
                count += 1
    try:  # perhaps somebody has formatted it anew
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: wanted the summary of an earlier run, got {error}; do: choose another --out, "
            "or remove the file"
        ) from error
    _check(path, content)
    if content["schema_version"] == SCHEMA:
        yield from content["inputs"][count:]


def read_timing(path: Path) -> dict[str, Any]:
    """Gives `timing` of a summary; nothing if there is none."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        timing: dict[str, Any] = (_read_head(file) or {}).get("timing", {})
        return timing


def wrote_report(out: Path) -> bool:
    """Whether the last run in a folder that came to its end wrote `report.html`."""
    if not (out / SUMMARY).exists():
        return False
    with (out / SUMMARY).open("rb") as file:
        settings = (_read_head(file) or {}).get("settings")
    return isinstance(settings, dict) and "report" in settings.get("save", ())


def _read_head(file: BinaryIO) -> dict[str, Any] | None:
    """Reads all of a summary but its entries; None if it is not written as we write it."""
    head = b""
    for line in file:
        head += line
        if line.strip() == INPUTS.encode("ascii"):
            try:
                content: dict[str, Any] = json.loads(head + b"]}")
            except (ValueError, RecursionError):
                return None
            return content
    return None


def _check(path: Path, content: object) -> None:
    if not (
        isinstance(content, dict)
        and {"schema_version", "inputs"} <= content.keys()
        and isinstance(content["inputs"], list)
    ):
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

    What is damaged is left out, so that its photo is done again.

    Yields:
        An entry, and whether it is older than the run that goes on now, if one does.
    """
    for entry in read_summary(out / SUMMARY):
        if is_whole(entry):
            yield entry, True
    for entry, before in read_journal(out / LOG):
        if is_whole(entry):
            yield entry, before


def is_whole(entry: object) -> bool:
    """Whether something read from a file is an entry as we write it, as far as we read it."""
    if not isinstance(entry, dict):
        return False
    texts = ("path", "settings", "status", "message", "folder")
    if not all(isinstance(entry.get(name), str) for name in texts):
        return False
    if entry["status"] not in get_args(Status):
        return False
    try:
        _encode(entry)
    except ValueError:  # numbers that are none
        return False
    people, folder = entry.get("people"), entry["folder"]
    return (
        isinstance(entry.get("file"), list)
        and isinstance(people, list)
        and all(isinstance(person, dict) and _is_measured(person) for person in people)
        # A folder's name leads nowhere else.
        and folder == Path(folder).name
        and "\0" not in entry["path"] + folder
    )


def _is_measured(person: dict[str, Any]) -> bool:
    found = person.get("measurements")
    return (
        isinstance(person.get("index"), int)
        and isinstance(found, dict)
        and {"intervals", "told"} <= found.keys()
        and all(isinstance(found.get(column), list) for column in table.COLUMNS)
    )


def _encode(value: object) -> str:
    return json.dumps(value, allow_nan=False)
