"""Reads the pictures of a folder and of all folders below it, such as `lsun_backgrounds/train`."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from plausibody.synth.picture_file import SUFFIXES, decode_square, read_bytes


class FolderPictures:
    """The pictures below a folder, in the order of their paths, as squares."""

    def __init__(self, folder: Path, side: int = 256):
        """Args:
        side: Of the squares [px].

        Raises:
            FileNotFoundError: If there is no such folder, or no picture in it.
        """
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: wanted a folder of pictures, found none; do: check the path"
            )
        self._folder, self._side = folder, side
        self._paths = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not self._paths:
            raise FileNotFoundError(
                f"{folder}: wanted pictures ({', '.join(sorted(SUFFIXES))}) in it or below, found "
                "none; do: name the folder that holds them, or 'panoramas'"
            )

    @property
    def side(self) -> int:
        return self._side

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, number: int) -> str:
        return str(self._folder / self._paths[number])

    def read(self, number: int) -> UInt8[ndarray, "side side 3"]:
        path = self._folder / self._paths[number]
        return decode_square(read_bytes(path), str(path), self._side)
