"""Stores of body poses: one HDF5 file with splits, whose frame is written inside.

The file attribute `frame` is mandatory and has one value, "body": y up, +z forward at yaw zero,
yaw free. Which way a person is seen from is drawn by the recipe, never read from the store.

A split is a group with `poses` (N, 24, 3), floats or whole numbers whose attribute `unit` is the
radians of one, and `names` (N,), where each pose comes from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from plausibody.synth.memory import require_memory

FRAME = "body"
UNIT = 2.0**-13
"""Radians of a stored 1: 16 bits reach to four, beyond half a turn, in steps of 0.007 degrees."""
LONGEST_NAME = 160
"""Bytes; longer names lose their beginning."""
FEW = 500_000
"""Up to so many poses are kept as float32 (144 MB), more of them as they are stored (half that)."""
_RESERVE = 64_000_000
"""Bytes of disk that a writer leaves free: HDF5 ends the process where the disk is full."""
_BLOCK = 4096
"""Poses that are read or written at once, and that share a chunk of the file."""


@dataclass(frozen=True)
class PoseBank:
    """Poses held in memory."""

    stored: Shaped[Tensor, "N 24 3"]
    """Rotation of each joint relative to its parent, in `unit`; the root's relative to the world.
    float32, or int16 or float16 where there are many."""
    unit: float = 1.0
    """[rad]"""

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def rotvecs(self) -> Float[Tensor, "N 24 3"]:
        """All poses [rad]; of a large bank a copy of twice its size: `pick` or `spread` then."""
        return self._floats(self.stored)

    def pick(self, index: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 24 3"]:
        """Gives poses by their places in the bank [rad]; the same whichever way they are kept."""
        return self._floats(self.stored[index])

    def spread(self, most: int) -> Float[Tensor, "n 24 3"]:
        """Gives all poses, or `most` at even distances if there are more [rad]."""
        if len(self) <= most:
            return self.rotvecs
        return self.pick(torch.arange(most, device=self.stored.device) * len(self) // most)

    def to(self, device: torch.device | str) -> PoseBank:
        return PoseBank(self.stored.to(device), self.unit)

    def _floats(self, stored: Shaped[Tensor, "*batch 24 3"]) -> Float[Tensor, "*batch 24 3"]:
        floats = stored.float()
        return floats if self.unit == 1 else floats * self.unit


def load_poses(path: Path, split: str, few: int = FEW) -> PoseBank:
    """Reads one split ("train", "val", "test") of a pose store.

    Args:
        few: Up to so many poses are turned into float32 at once; more are when they are picked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, no pose store, in another frame, or too large for the
            memory that is free.
    """
    with _opened(path) as file:
        data = _poses_of(path, file, split)
        kept = _kept(data) if len(data) > few else torch.float32
        require_memory(
            data.size * kept.itemsize,
            f"{path}, split {split!r}, {len(data):,} poses",
            "import fewer poses a second (--rate), or use a machine with more memory",
        )
        unit = float(data.attrs.get("unit", 1.0))
        stored = torch.empty(data.shape, dtype=kept)
        for start in range(0, len(data), _BLOCK):
            block = _read(data, start)
            if not torch.isfinite(block).all():
                raise ValueError(
                    f"{path}: wanted finite poses, got others in the split {split!r} behind place "
                    f"{start}; do: import them again, which leaves such poses out"
                )
            floats = kept == torch.float32
            stored[start : start + _BLOCK] = block.float() * unit if floats else block
        return PoseBank(stored, 1.0 if kept == torch.float32 else unit)


def splits_of(path: Path) -> dict[str, int]:
    """Counts the poses of each split of a store."""
    with _opened(path) as file:
        return {split: len(_poses_of(path, file, split)) for split in file}


def read_blocks(path: Path, split: str) -> Iterator[tuple[Float[Tensor, "n 24 3"], list[str]]]:
    """Gives the poses [rad] and names of a split, some thousands at a time."""
    with _opened(path) as file:
        data = _poses_of(path, file, split)
        names = file[split].get("names")
        unit = float(data.attrs.get("unit", 1.0))
        for start in range(0, len(data), _BLOCK):
            block = _read(data, start).float() * unit
            if names is None:
                yield block, [f"{path.stem}_{split}_{start + place}" for place in range(len(block))]
            else:
                texts = names.asstr("utf-8", "replace")[start : start + _BLOCK]
                yield block, [str(text) for text in texts]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.exists():
        raise FileNotFoundError(f"pose store: no file {path}")
    try:
        with h5py.File(path, "r") as file:
            frame = file.attrs.get("frame")
            if frame != FRAME:
                raise ValueError(
                    f"{path}: wanted a pose store with the attribute frame={FRAME!r}, got "
                    f"{frame!r}; do: turn its poses so that y is up and +z ahead, then name that "
                    f"frame in the file; the module synth/poses.py describes the format"
                )
            yield file
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: wanted an HDF5 pose store, but it cannot be read ({error}); "
            "if it was copied or downloaded, get it again"
        ) from error


def _poses_of(path: Path, file: h5py.File, split: str) -> h5py.Dataset:
    if split not in file:
        raise ValueError(
            f"{path}: wanted the split {split!r}, the file has {list(file)}; do: import the files "
            "of all splits together (plausibody assets import poses)"
        )
    data = file[split].get("poses") if isinstance(file[split], h5py.Group) else None
    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"{path}: wanted the array 'poses' in the split {split!r}, came none")
    if data.ndim != 3 or data.shape[1:] != (24, 3) or data.dtype.kind not in "fi" or not len(data):
        raise ValueError(
            f"{path}: wanted poses of shape (N, 24, 3), at least one, as numbers, "
            f"got {data.shape} of {data.dtype}"
        )
    return data


def _read(data: h5py.Dataset, start: int) -> Shaped[Tensor, "n 24 3"]:
    rows = data[start : start + _BLOCK]
    return torch.from_numpy(rows.astype(rows.dtype.newbyteorder("="), copy=False))


def _kept(data: h5py.Dataset) -> torch.dtype:
    """The type in which many poses are kept: as they are stored if that is small."""
    return {"f2": torch.float16, "i2": torch.int16}.get(data.dtype.str[1:], torch.float32)


class PoseWriter:
    """Writes a pose store piece by piece; the file appears when it is whole, or not at all.

    To be used in a `with` statement. Poses go to a draft beside the file, which takes the file's
    name at the end, and goes away if anything fails.
    """

    def __init__(self, path: Path, **attributes: str | float):
        self.path = path
        self._draft = path.with_name(f".{path.name}.unfinished")
        self._attributes = attributes
        self._waiting: dict[str, list[tuple[np.ndarray, bytes]]] = {}
        self.counts: dict[str, int] = {}
        """Poses of each split so far."""

    def __enter__(self) -> PoseWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self._draft, "w")
        self._file.attrs.update(self._attributes | {"frame": FRAME})
        return self

    def append(self, split: str, rotvecs: Float[Tensor, "n 24 3"], names: Sequence[str]) -> None:
        """Adds poses [rad], each rotation at most half a turn, in the body's frame."""
        if not torch.isfinite(rotvecs).all() or rotvecs.abs().amax() > 4:
            raise ValueError("poses to store: wanted finite rotations of at most half a turn")
        rows = (rotvecs / UNIT).round().to(torch.int16).cpu().numpy()
        texts = [name.encode()[-LONGEST_NAME:] for name in names]
        waiting = self._waiting.setdefault(split, [])
        waiting += zip(rows, texts, strict=True)
        self.counts[split] = self.counts.get(split, 0) + len(rows)
        while len(waiting) >= _BLOCK:
            self._write(split, waiting[:_BLOCK])
            del waiting[:_BLOCK]

    def _write(self, split: str, entries: list[tuple[np.ndarray, bytes]]) -> None:
        """Appends a block; whole ones, since each chunk is then compressed only once."""
        free = shutil.disk_usage(self.path.parent).free
        if free < _RESERVE:
            raise OSError(
                f"wanted {_RESERVE / 1e6:.0f} MB of free disk, came {free / 1e6:.0f} MB after "
                f"{sum(self.counts.values()):,} poses"
            )
        rows, texts = zip(*entries, strict=True)
        if split not in self._file:
            group = self._file.create_group(split)
            kinds = (("poses", "i2", (24, 3), (1, 3)), ("names", f"S{LONGEST_NAME}", (), ()))
            for name, kind, row, piece in kinds:
                group.create_dataset(
                    name,
                    shape=(0, *row),
                    maxshape=(None, *row),
                    chunks=(_BLOCK, *piece),
                    dtype=kind,
                    compression="gzip",
                    compression_opts=4,
                    shuffle=True,
                )
            group["poses"].attrs["unit"] = UNIT
        for name, values in (("poses", np.stack(rows)), ("names", np.array(texts))):
            data = self._file[split][name]
            data.resize(len(data) + len(values), axis=0)
            data[-len(values) :] = values

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for split, entries in self._waiting.items():
                    if entries:
                        self._write(split, entries)
            self._file.close()
            if kind is None:
                with self._draft.open("rb") as file:
                    os.fsync(file.fileno())
                self._draft.replace(self.path)
        finally:
            self._draft.unlink(missing_ok=True)
