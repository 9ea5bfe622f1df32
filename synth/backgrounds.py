"""Where backgrounds come from, behind one interface.

`load_backgrounds("panoramas")` needs nothing but what ships; pictures of the user's own are read
where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.synth.background_folder import FolderPictures
from plausibody.synth.background_lsun import LsunPictures, find_databases
from plausibody.synth.background_panoramas import load_panoramas
from plausibody.synth.background_pictures import (
    CropSettings,
    DecodedPictures,
    PictureReader,
    Pictures,
    StoredPictures,
)
from plausibody.synth.background_procedural import Procedural
from plausibody.synth.chance import Chance
from plausibody.synth.picture_store import open_pictures

PANORAMAS = "backgrounds"
"""Folder of the panoramas that ship, among the assets."""
STORES = frozenset((".h5", ".hdf5"))
PUBLISHED = {"train": 397_582, "val": 3_000}
"""Pictures of LSUN that HierProb's authors trained and validated with."""


@runtime_checkable
class BackgroundBank(Protocol):
    """Backgrounds by chance."""

    def __len__(self) -> int:
        """Gives the number of pictures that it draws from."""
        ...

    def to(self, device: torch.device | str) -> BackgroundBank:
        """Moves what it draws from to a device, if that is of use."""
        ...

    @property
    def skipped(self) -> Mapping[str, str]:
        """The unreadable pictures met so far, and what is wrong with each."""
        ...

    def expect(self, chance: Chance) -> None:
        """Begins to fetch, in the background, what `draw` will want for these samples."""
        ...

    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        """Draws a background for each sample, on the device of the chance.

        Args:
            size: Height and width [px].
        """
        ...


def load_backgrounds(
    source: str | Path | None = None,
    *,
    directories: Sequence[Path] | None = None,
    side: int = 256,
    crop: CropSettings | None = None,
    memory: int | None = None,
    threads: int = 2,
) -> BackgroundBank:
    """Opens backgrounds.

    Args:
        source: "panoramas", those that ship (the default); "procedural", without pictures; or the
            path of an LSUN database or a folder of them, of a picture store (.h5), or of a folder
            of pictures. A path may also be below one of the folders of the search order.
        directories: Where assets are looked for, instead of the usual places.
        side: To which pictures are decoded [px]; a store has its own.
        crop: Which part of a picture becomes the background.
        memory: For decoded pictures [bytes]; by default a quarter of what is free.
        threads: Which decode.

    Raises:
        FileNotFoundError: If there is no such source, or nothing in it.
        ValueError: If it is cut short or damaged, or does not fit into the memory.
    """
    if source is None or str(source) == "panoramas":
        return load_panoramas(find_asset(PANORAMAS, directories))
    if str(source) == "procedural":
        return Procedural()
    path = _find(Path(source), directories)
    crop = crop or CropSettings()
    if path.suffix.lower() in STORES and path.is_file():
        return Pictures(StoredPictures(_squares(path)), crop)
    return Pictures(DecodedPictures(open_reader(path, side), memory, threads), crop)


def open_reader(path: Path, side: int) -> PictureReader:
    """Opens an LSUN database, a folder of them, or a folder of pictures."""
    if path.is_file():
        raise ValueError(
            f"{path}: wanted a folder of pictures, an LMDB database (a folder) or a picture store "
            f"({', '.join(sorted(STORES))}), came another file; do: name its folder"
        )
    return LsunPictures(path, side) if find_databases(path) else FolderPictures(path, side)


def _find(path: Path, directories: Sequence[Path] | None) -> Path:
    if path.exists():
        return path
    try:
        return find_asset(path.as_posix(), directories)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"backgrounds: {error}; 'panoramas' and 'procedural' need no file"
        ) from error


def _squares(path: Path) -> UInt8[ndarray, "N side side 3"]:
    pictures = open_pictures(path)
    if pictures.shape[1] != pictures.shape[2]:
        raise ValueError(
            f"{path}: wanted square pictures, came {pictures.shape[1]} x {pictures.shape[2]}; "
            "do: import their source again"
        )
    return pictures
