"""Turns a database or a folder of pictures into a store, once, so that nothing is decoded later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from plausibody.synth.background_lsun import LsunPictures
from plausibody.synth.background_pictures import PictureReader
from plausibody.synth.backgrounds import open_reader
from plausibody.synth.picture_file import PictureError
from plausibody.synth.picture_store import PictureWriter

TOGETHER = 256
"""Pictures between two points from which an import can continue."""


@dataclass(frozen=True)
class ImportReport:
    """What came of an import."""

    path: Path
    pictures: int
    skipped: dict[str, str]
    """The unreadable pictures, and what is wrong with each; the text names it too."""
    continued: int
    """Pictures that an earlier attempt had written."""


def import_lsun(
    source: Path,
    out: Path,
    count: int | None = None,
    side: int = 256,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Writes pictures of an LSUN database, or of a folder of databases, into a store.

    Run again after it broke off, it continues. Unreadable pictures are left out.

    Args:
        out: The store, `.h5`; must not exist.
        count: Of the pictures, evenly spread over all; by default all.
        side: Of each [px]: the square in the middle of the picture, scaled.
        threads: Which decode.
        progress: Called with how many pictures are done and how many there are to do.

    Raises:
        FileNotFoundError: If there is no database.
        ValueError: If a database is cut short or empty, or no picture is readable.
        OSError: If the disk has no room, or `out` exists.
    """
    reader = LsunPictures(source, side)
    return _import(reader, source, out, count, threads, progress)


def import_backgrounds(
    source: Path,
    out: Path,
    count: int | None = None,
    side: int = 256,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Writes the pictures below a folder, or of a database, into a store; as `import_lsun`."""
    return _import(open_reader(source, side), source, out, count, threads, progress)


def _import(
    reader: PictureReader,
    source: Path,
    out: Path,
    count: int | None,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> ImportReport:
    for name, value in (("count", count), ("size", reader.side)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: wanted at least 1, came {value}")
    chosen = _spread(len(reader), count)
    facts = {"source": str(source.resolve()), "of": len(reader), "colours": "RGB"}
    writer = PictureWriter(out, len(chosen), (reader.side, reader.side), facts)
    seen, continued = int(writer.state.get("seen", 0)), writer.written
    skipped: dict[str, str] = dict(writer.state.get("skipped", {}))
    with ThreadPoolExecutor(threads, thread_name_prefix="import") as pool:
        while seen < len(chosen):
            numbers = chosen[seen : seen + TOGETHER].tolist()
            good = []
            for number, read in zip(numbers, _read_all(pool, reader, numbers), strict=True):
                if isinstance(read, PictureError):
                    skipped[reader.name(number)] = str(read)
                else:
                    good.append(read)
            if good:
                writer.append(np.stack(good))
            seen += len(numbers)
            writer.state.update(seen=seen, skipped=skipped)
            writer.save()
            if progress:
                progress(seen, len(chosen))
    if not writer.written:
        writer.discard()  # who mends the pictures wants them read again
        reason = next(iter(skipped.values()))
        raise ValueError(f"{source}: wanted pictures, none of {len(chosen)} is readable; {reason}")
    writer.finish()
    return ImportReport(out, writer.written, skipped, continued)


def _read_all(
    pool: ThreadPoolExecutor, reader: PictureReader, numbers: list[int]
) -> Iterator[UInt8[ndarray, "side side 3"] | PictureError]:
    def read(number: int) -> UInt8[ndarray, "side side 3"] | PictureError:
        try:
            return reader.read(number)
        except PictureError as error:
            return error

    return pool.map(read, numbers)


def _spread(available: int, count: int | None) -> ndarray:
    """Picks numbers at even distances: keys and paths are sorted, and neighbours are alike."""
    if count is None or count >= available:
        return np.arange(available)
    return np.arange(count) * available // count
