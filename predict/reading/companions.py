"""Finds the files that belong to a photo: its key points, its masks, its part maps.

They lie in a folder for each kind, named like the photo, or in one folder with an ending that tells
the kind. For `a.jpg`, masks are

    masks/a.png, masks/a.jpg.png, masks/a_mask.png, or a_mask.png without a folder of their own;

several people have several files, numbered from 0 or 1: `masks/a_0.png`, `masks/a_1.png`. Where
photos of different folders have the same names, so have their files: `masks/left/a.png` belongs to
`left/a.jpg`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plausibody.predict.reading.boxes import digest

MOST_PEOPLE = 1000
"""Files of one photo and kind."""


@dataclass(frozen=True)
class Kind:
    """What files of one kind are called."""

    what: str
    """For messages."""
    folder: str
    """Name of their own folder."""
    endings: tuple[str, ...]
    """Between the name of the photo and the suffix."""
    suffixes: tuple[str, ...]


PICTURES = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
KEYPOINTS = Kind("key points", "keypoints", ("_keypoints",), (".json", ".npz", ".npy"))
MASKS = Kind("masks", "masks", ("_mask",), (*PICTURES, ".npz", ".npy"))
IUV = Kind("DensePose IUV maps", "iuv", ("_IUV", "_iuv"), (".png", ".npz", ".npy"))
INSTANCES = Kind("DensePose instance maps", "iuv", ("_INDS",), (".png",))
PARTS = Kind("part maps", "parts", ("_parts",), (".png", ".npz", ".npy"))
LABEL_MAPS = Kind("label maps", "labels", ("_labels",), (".png",))


@dataclass(frozen=True)
class Companions:
    """The files of one kind that belong to photos."""

    root: Path
    kind: Kind
    own: bool = False
    """Whether the root is the folder of this kind, rather than the one that holds it."""

    def of(self, photo: Path) -> list[Path]:
        """Lists the files of a photo, in the order of their numbers; none if it has none.

        Raises:
            ValueError: If it is unclear which files are meant.
        """
        for base in self._bases(photo):
            for suffix in self.kind.suffixes:
                one = base.with_name(base.name + suffix)
                if one.is_file() and not _same(one, photo):
                    return [one]
        for base in self._bases(photo):
            for suffix in self.kind.suffixes:
                if several := self._numbered(base, suffix, photo):
                    return several
        return []

    def missing(self, photo: Path) -> str:
        """Says which file was looked for, for a message."""
        base = list(self._bases(photo))[-1]
        return f"{self.kind.what} of {photo.name}, such as {base}{self.kind.suffixes[0]}"

    def digest(self) -> str:
        """Tells these files from others, by their names, sizes and times of change.

        Only where files of this kind are looked for: results may be written beside them.
        """
        inner = self.root if self.own else self.root / self.kind.folder
        found = {file for place in (inner, *_folders(inner)) for file in self._files(place)}
        if not self.own:
            for place in (self.root, *_folders(self.root)):
                for file in self._files(place):
                    if any(ending in file.stem for ending in self.kind.endings):
                        found.add(file)
        return digest(found)

    def _files(self, place: Path) -> list[Path]:
        """Lists what may be of this kind in a folder, if there is one."""
        if not place.is_dir():
            return []
        return [file for file in place.iterdir() if file.suffix.lower() in self.kind.suffixes]

    def _bases(self, photo: Path) -> Iterator[Path]:
        """Gives the names without suffix that a photo's file may have, the most telling first."""
        places = []
        inner = self.root if self.own else self.root / self.kind.folder
        if photo.parent.name:
            places += [(inner / photo.parent.name, True), (self.root / photo.parent.name, False)]
        places += [(inner, True), (self.root, False)]
        for place, is_own in places:
            if not place.is_dir():
                continue
            for name in (photo.name, photo.stem):
                for ending in self.kind.endings:
                    yield place / f"{name}{ending}"
                if is_own and self.kind is not INSTANCES:
                    yield place / name
        # What messages propose, if there is no folder at all.
        yield inner / photo.stem

    def _numbered(self, base: Path, suffix: str, photo: Path) -> list[Path]:
        def file(number: int) -> Path:
            return base.with_name(f"{base.name}_{number}{suffix}")

        first = 0 if file(0).is_file() else 1
        found: list[Path] = []
        while len(found) < MOST_PEOPLE and file(first + len(found)).is_file():
            found.append(file(first + len(found)))
        if not found:
            return []
        if file(first + len(found) + 1).is_file():
            raise ValueError(
                f"{file(first + len(found))}: wanted {self.kind.what} without a gap in their "
                f"numbers, found the next one only; do: number those of {photo.name} in a row"
            )
        for path in found:
            other = photo.with_name(path.stem + photo.suffix)
            if other.is_file():
                raise ValueError(
                    f"{path}: wanted to know whose it is, found {photo.name} and {other.name}; "
                    f"do: call it {photo.name}_0{suffix} or {other.name}{suffix}"
                )
        return found


def _folders(place: Path) -> list[Path]:
    return [inner for inner in place.iterdir() if inner.is_dir()] if place.is_dir() else []


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute()
