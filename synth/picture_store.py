"""Stores of many pictures of one size: HDF5 files with a dataset of bytes, read through a map.

The dataset lies in one piece and uncompressed, so that a picture is a slice of the file: any thread
reads it without a lock, and the system's file cache keeps what is used. For the same reason a store
can be written piece by piece and continued after a crash: the file is whole, but for its pixels,
before the first of them is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from plausibody.models.files import write_file
from plausibody.synth.memory import require_memory

PICTURES = "pictures"
"""Name of the dataset, uint8 [N H W 3], RGB."""


class PictureWriter:
    """Writes a store from its first picture to its last, and continues one that broke off.

    Until it is complete the store is called `<name>.part`, beside `<name>.part.json`, which says
    what it is to hold and how far it has come.
    """

    def __init__(
        self, path: Path, count: int, shape: tuple[int, int], facts: Mapping[str, Any]
    ) -> None:
        """Args:
        path: Of the complete store.
        count: Of the pictures.
        shape: Height and width of each [px].
        facts: What else decides its contents; numbers and text. A store in the making is
            continued only if these, the count and the shape are the same.

        Raises:
            FileExistsError: If there is such a file already.
            OSError: If the disk has no room for it.
        """
        if path.exists():
            raise FileExistsError(
                f"{path}: wanted to write a picture store, found a file of that name; "
                "do: remove it or name another"
            )
        if count < 1:
            raise ValueError(f"{path}: wanted at least one picture, came none")
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        self._record = path.with_name(f"{path.name}.part.json")
        self._shape = (count, *shape, 3)
        self._facts = dict(facts)
        self.state: dict[str, Any] = {}
        """What the caller wants to find again; saved with the pictures."""
        self.written = 0
        if not self._continue():
            self._begin()
        self._pixels = _map(self._part, "r+")

    def append(self, pictures: UInt8[ndarray, "n H W 3"]) -> None:
        """Writes the next pictures; they count only once `save` has been called."""
        self._pixels[self.written : self.written + len(pictures)] = pictures
        self.written += len(pictures)

    def save(self) -> None:
        """Makes sure that what was written survives a crash."""
        self._pixels.flush()
        self._write_record()

    def finish(self) -> None:
        """Gives the store its name, cut to the pictures that were written."""
        if not self.written:
            raise ValueError(f"{self.path}: wanted at least one picture, none was written")
        self.save()
        if self.written < self._shape[0]:
            self._cut()
        os.replace(self._part, self.path)
        self._record.unlink()

    def discard(self) -> None:
        """Leaves nothing behind: the next attempt begins anew."""
        del self._pixels
        self._part.unlink()
        self._record.unlink()

    def _continue(self) -> bool:
        try:
            record = json.loads(self._record.read_text("utf-8"))
            same = record["shape"] == list(self._shape) and record["facts"] == self._facts
            if not same or _map(self._part, "r").shape != self._shape:
                return False
            self.written, self.state = int(record["written"]), dict(record["state"])
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return 0 <= self.written <= self._shape[0]

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part.unlink(missing_ok=True)
        wanted = int(np.prod(self._shape))
        free = shutil.disk_usage(self.path.parent).free
        if wanted > free:
            raise OSError(
                f"{self.path}: wanted {wanted / 1e9:.2f} GB of disk, {free / 1e9:.2f} GB are free; "
                "do: import fewer or smaller pictures, or write them to another disk"
            )
        self.written, self.state = 0, {}
        _allocate(self._part, self._shape, self._facts)
        self._write_record()

    def _write_record(self) -> None:
        record = {
            "shape": self._shape,
            "facts": self._facts,
            "written": self.written,
            "state": self.state,
        }
        write_file(self._record, json.dumps(record))

    def _cut(self) -> None:
        """Puts the head of a shorter store before the same pixels."""
        shape = (self.written, *self._shape[1:])
        head = self.path.with_name(f"{self.path.name}.head")
        begins = self._pixels.offset
        del self._pixels
        _allocate(head, shape, self._facts)
        pixels = _map(head, "r")
        if pixels.offset != begins:
            raise RuntimeError(f"{self._part}: pixels begin at {begins}, not {pixels.offset}")
        with self._part.open("r+b") as part, head.open("rb") as first:
            part.write(first.read(begins))
            part.truncate(head.stat().st_size)
        head.unlink()


def open_pictures(
    path: Path, name: str = PICTURES, private: bool = False
) -> UInt8[ndarray, "N H W 3"]:
    """Opens a store without reading it; the array reads from the file what is asked of it.

    The dataset may also be compressed or in pieces, as other programs write; it is read whole then.

    Args:
        private: Whether the array may be changed, which the file does not notice. Some systems
            want as much free memory then.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is cut short, or holds no such pictures.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: wanted a picture store, found no file; do: check the path"
        )
    return _map(path, "c" if private else "r", name)


def read_facts(path: Path) -> dict[str, Any]:
    """Gives what a store says about itself."""
    with h5py.File(path, "r") as file:
        return {name: value for name, value in file.attrs.items()}


def _allocate(path: Path, shape: tuple[int, ...], facts: Mapping[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)  # so that equal contents are equal files
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, PICTURES.encode(), h5py.h5t.STD_U8LE, space, plan)
        for name, value in facts.items():
            file.attrs[name] = value


def _map(path: Path, mode: str, name: str = PICTURES) -> Any:
    """Maps a dataset into memory; changes reach the file in mode "r+" only."""
    try:
        with h5py.File(path, "r") as file:
            data = file[name] if name in file else None
            if not isinstance(data, h5py.Dataset):
                raise ValueError(f"wanted the dataset {name!r}, the file has {list(file)}")
            if data.ndim != 4 or data.shape[-1] != 3 or data.dtype != np.uint8 or not data.size:
                raise ValueError(
                    f"wanted {name!r} to hold pictures, uint8 of shape (N, H, W, 3), "
                    f"came {data.dtype} of shape {data.shape}"
                )
            shape, offset = data.shape, data.id.get_offset()
            if offset is None:
                require_memory(data.size, str(path), "import it anew, which stores it in one piece")
                return data[:]
        return np.memmap(path, np.uint8, mode, offset, shape)  # type: ignore[call-overload]
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(
            f"{path}: wanted a picture store in HDF5, but {error}; "
            "do: copy it again, or import its source again"
        ) from error
