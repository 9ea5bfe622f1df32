"""What has become of each photo of a run: kept on disk, so that a run may be long, and be killed.

A line of text for each photo that is finished. In memory there is only where its line begins.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, overload

from plausibody.models.batches import in_batches
from plausibody.models.files import draft_file, explained

Entry = dict[str, Any]
"""Of a photo; `path` is the photo's name."""
Source = Callable[[], Iterator[tuple[Entry, bool]]]
"""Gives entries of earlier runs, and whether each is older than the run that goes on now."""

BEFORE, END = "before", "end"
NONE = -1


class Journal:
    """The entries of some photos, on disk while it is open as a context.

    Photos that were finished before a run began are told from those that it finished itself: after
    a stop, the rest is then done in the same batches as it would have been. The last digits of a
    result depend on the others in its batch.
    """

    def __init__(self, path: Path, names: Sequence[str]):
        """Args:
        path: Of the file.
        names: Of all photos, each once.
        """
        self.path = path
        self._number = {name: number for number, name in enumerate(names)}
        self._place = array("q", [NONE]) * len(names)
        self._before = bytearray(len(names))
        self._file: IO[bytes] | None = None

    def begin(self, source: Source, still_holds: Callable[[Entry], bool]) -> None:
        """Takes over what is finished, and writes the file anew with nothing else.

        Args:
            source: Is gone through twice. Of several entries of one photo the last counts.
            still_holds: Whether an entry is what this run would come to.

        Raises:
            DiskFullError: If there is no space; the file is as before.
        """
        last = array("q", [NONE]) * len(self._place)
        for count, (entry, _) in enumerate(source()):
            if (number := self._number.get(entry["path"])) is not None:
                last[number] = count
        with draft_file(self.path) as draft, draft.open("wb") as file:
            for count, (entry, before) in enumerate(source()):
                number = self._number.get(entry["path"])
                if number is not None and last[number] == count and still_holds(entry):
                    self._place[number], self._before[number] = file.tell(), before
                    file.write(_line(entry | {BEFORE: True} if before else entry))

    def __enter__(self) -> Journal:
        with explained(self.path):
            self._file = self.path.open("r+b")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __contains__(self, name: str) -> bool:
        """Tells whether a photo of this name is one of the run's."""
        return name in self._number

    def count(self) -> int:
        """Gives the number of photos that are finished."""
        return len(self._place) - self._place.count(NONE)

    def batches(self, size: int) -> Iterator[list[int]]:
        """Gives the numbers of photos to do, and of those that were done in the same batch."""
        new = (number for number, before in enumerate(self._before) if not before)
        for batch in in_batches(new, size):
            if not all(map(self.is_done, batch)):
                yield batch

    def is_done(self, number: int) -> bool:
        """Tells whether there is an entry of a photo."""
        return self._place[number] != NONE

    def add(self, number: int, entry: Entry) -> None:
        """Notes that a photo is finished; after that, it stays so if the process is killed.

        Raises:
            DiskFullError: If there is no space.
        """
        file = self._opened()
        with explained(self.path):
            place = file.seek(0, 2)
            file.write(_line(entry))
            file.flush()
        self._place[number] = place

    def end(self) -> None:
        """Notes that the run has come to its end: what is finished is old for the next one.

        The file is written anew, in the order of the photos, so that no stop can be told from it.

        Raises:
            DiskFullError: If there is no space; the file is as before.
        """
        places = array("q", self._place)
        with draft_file(self.path) as draft, draft.open("wb") as file:
            for number, place in enumerate(self._place):
                if place != NONE:
                    entry = self.read(number)
                    places[number] = file.tell()
                    file.write(_line(entry))
            file.write(_line({END: True}))
        self._opened().close()
        self._place, self._file = places, self.path.open("r+b")

    def read(self, number: int) -> Entry:
        """Gives the entry of a photo that is finished."""
        file = self._opened()
        file.seek(self._place[number])
        entry: Entry = json.loads(file.readline())
        entry.pop(BEFORE, None)
        return entry

    def __iter__(self) -> Iterator[Entry]:
        """Gives the entries there are, in the order of the photos."""
        for number, place in enumerate(self._place):
            if place != NONE:
                yield self.read(number)

    def _opened(self) -> IO[bytes]:
        assert self._file is not None, "the journal is not open"
        return self._file


def read_journal(path: Path) -> Iterator[tuple[Entry, bool]]:
    """Reads the entries of a file that may be missing, or cut off anywhere.

    Yields:
        An entry, and whether its photo was finished before the run that goes on now, if one does.
    """
    is_over = any(END in entry for entry in _objects(path))
    for entry in _objects(path):
        before = bool(entry.pop(BEFORE, False))
        if isinstance(entry.get("path"), str):
            yield entry, before or is_over


def _objects(path: Path) -> Iterator[Entry]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # the disk was full, or the power failed
                continue
            if isinstance(entry, dict):
                yield entry


class Lines(Sequence[Entry]):
    """Objects on lines of a file, read when they are asked for."""

    def __init__(self, path: Path, places: Sequence[int]):
        """Args:
        places: Where each line begins [bytes]. A comma may end it.
        """
        self._path, self._places = path, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        chosen = self._places[index]
        if isinstance(chosen, int):
            return next(self._read([chosen]))
        return list(self._read(chosen))

    def __iter__(self) -> Iterator[Entry]:
        return self._read(self._places)

    def _read(self, places: Sequence[int]) -> Iterator[Entry]:
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place)
                entry: Entry = json.loads(file.readline().rstrip(b",\n"))
                yield entry


def _line(entry: Entry) -> bytes:
    """JSON writes letters beyond ASCII, and what is no letter at all, as numbers."""
    return json.dumps(entry, allow_nan=False).encode("ascii") + b"\n"
