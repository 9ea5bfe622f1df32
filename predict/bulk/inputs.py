"""Finds the pictures that files, folders, patterns and lists of files name."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from jaxtyping import UInt8
from torch import Tensor

from plausibody.predict.reading.photo import SUFFIXES, decode_photo

MARKER = "result.json"
"""A folder that has this file is a result of ours, in which no photos are searched."""


def file_stamp(path: Path | str) -> list[int]:
    """Tells a file from an altered one: size [bytes] and time of change [ns]; zeros for none."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return [0, 0]
    return [state.st_size, state.st_mtime_ns]


@dataclass(frozen=True)
class Inputs:
    """The pictures of a run. They are text, not `Path`s, which take ten times the memory."""

    names: Sequence[str]
    """Each once: paths, or what else `open` understands. Those of a folder in alphabetical
    order."""
    ignored: int = 0
    """Files in folders that are hidden, not named like pictures, or no files."""
    not_searched: int = 0
    """Folders in folders, unless these were searched too; hidden ones are not."""
    unreadable: Sequence[str] = ()
    """Folders in folders that could not be listed."""
    open: Callable[[Path], UInt8[Tensor, "H W 3"]] = decode_photo
    """Gives a picture by its name; is called from two threads. Frames of a video come so."""
    stamp: Callable[[str], list[int]] = file_stamp
    """Two numbers that change when the picture of a name does."""

    @property
    def paths(self) -> Sequence[Path]:
        """The names as paths, made when they are asked for."""
        return _Paths(self.names)


class _Paths(Sequence[Path]):
    def __init__(self, names: Sequence[str]):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> _Paths: ...
    def __getitem__(self, index: int | slice) -> Path | _Paths:
        chosen = self._names[index]
        return Path(chosen) if isinstance(chosen, str) else _Paths(chosen)


@dataclass
class _Found:
    names: dict[str, None] = field(default_factory=dict)
    ignored: int = 0
    not_searched: int = 0
    unreadable: list[str] = field(default_factory=list)
    left_out: tuple[int, int] | None = None


def find_inputs(
    paths: Iterable[Path | str], recursive: bool = False, leave_out: Path | None = None
) -> Inputs:
    """Lists the pictures that some arguments name.

    * A file is taken whatever its name.
    * A folder gives its files that are named like pictures; with `recursive` those of the folders
      in it too, each real folder once, whatever links lead to it. Hidden folders are not searched.
    * A pattern such as `holiday/**/*.jpg` gives what it matches, if the shell left it as it is.
    * `@list.txt` gives the files and folders that a list names, one in a line, or with zero bytes
      between, as `find -print0` writes them; `@-` reads the list from standard input. Paths in it
      are relative to the current folder. What a list names and is not there is an input that cannot
      be read, and stops nothing.

    Args:
        leave_out: A folder in which nothing is searched: that of the results.

    Raises:
        FileNotFoundError: If an argument names nothing, or a folder has no picture.
        PermissionError: If a folder that is named may not be listed.
    """
    found = _Found(left_out=None if leave_out is None else _identity_or_none(leave_out))
    for argument in map(str, paths):
        if os.path.lexists(argument):
            if not _add(found, argument, recursive, must_open=True):
                raise _nothing_in(argument, recursive, found.unreadable)
        elif argument.startswith("@"):
            for entry in _listed(argument[1:]):
                _add(found, entry, recursive)
        elif glob.has_magic(argument):
            matches = sorted(glob.iglob(argument, recursive=True))
            if not matches:
                raise FileNotFoundError(
                    f"{argument}: wanted files that match this pattern, found none; "
                    "do: check it, and where you are"
                )
            for match in matches:
                _add(found, match, recursive)
        else:
            raise FileNotFoundError(
                f"{argument}: wanted a picture or a folder of pictures, found nothing; "
                "do: check the path"
            )
    return Inputs(list(found.names), found.ignored, found.not_searched, found.unreadable)


def find_photos(paths: Iterable[Path | str]) -> list[Path]:
    """Lists the pictures of some files and folders. Arguments and errors as of `find_inputs`."""
    return [Path(name) for name in find_inputs(paths).names]


def _add(found: _Found, path: str, recursive: bool, must_open: bool = False) -> int:
    """Adds a file, or the pictures of a folder; gives how many there are."""
    path = str(Path(path))
    if not os.path.isdir(path):
        found.names[path] = None
        return 1
    count = 0
    for name in _pictures(found, path, recursive, must_open):
        found.names[name] = None
        count += 1
    return count


def _nothing_in(folder: str, recursive: bool, unreadable: Sequence[str]) -> FileNotFoundError:
    with os.scandir(folder) as listing:
        inner = [_is_folder(entry) for entry in listing]
    looked = "" if recursive else f" (folders inside, not searched: {sum(inner)})"
    if unreadable:
        looked = f" (folders that could not be listed: {', '.join(unreadable)})"
    return FileNotFoundError(
        f"{folder}: wanted a folder with pictures ({', '.join(sorted(SUFFIXES))}), "
        f"found none among {len(inner) - sum(inner)} files{looked}; "
        "do: name the folder that holds them"
    )


def _pictures(found: _Found, top: str, recursive: bool, must_open: bool) -> Iterator[str]:
    """Gives the pictures of a folder in alphabetical order, and counts the rest."""
    waiting, seen = [top], set[tuple[int, int] | None]()
    while waiting:
        folder = waiting.pop()
        try:
            identity = _identity(folder)
            if identity in seen or (seen and identity == found.left_out):
                continue
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if must_open and not seen:
                raise PermissionError(
                    f"{top}: wanted to list a folder of pictures, the system says: "
                    f"{error.strerror}; do: change its permissions"
                ) from error
            found.unreadable.append(folder)
            continue
        seen.add(identity)
        inner = []
        for entry in entries:
            path = entry.name if folder == "." else os.path.join(folder, entry.name)
            if _is_folder(entry):
                inner.append(path)
            elif _is_picture(entry):
                yield path
            else:
                found.ignored += 1
        if recursive:
            shown = [path for path in inner if not os.path.basename(path).startswith(".")]
            found.not_searched += len(inner) - len(shown)
            waiting += [path for path in reversed(shown) if not _is_result(path)]
        else:
            found.not_searched += len(inner)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads round to itself is none, and no error."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    """Whether something that is no folder is named like a picture, and a file or a dead link."""
    if entry.name.startswith(".") or os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
        return False
    if entry.is_symlink():
        return os.path.isfile(entry.path) or not os.path.exists(entry.path)
    return entry.is_file(follow_symlinks=False)


def _is_result(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, MARKER))


def _identity(folder: Path | str) -> tuple[int, int] | None:
    """Tells a folder from others, whatever links lead to it; None if there is none."""
    try:
        state = os.stat(folder)
    except FileNotFoundError:
        return None
    return (state.st_dev, state.st_ino)


def _identity_or_none(folder: Path | str) -> tuple[int, int] | None:
    """Does the same, and gives None too if there can be none, or the system does not tell."""
    try:
        return _identity(folder)
    except (OSError, ValueError):
        return None


def _listed(name: str) -> list[str]:
    """Reads a list of paths."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise FileNotFoundError(
            f"@{name}: wanted a list of pictures, {name} cannot be read ({error.strerror}); "
            "do: check the path"
        ) from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    entries = [os.fsdecode(line) for line in lines if line.strip()]
    if not entries:
        raise FileNotFoundError(
            f"@{name}: wanted a list of pictures, one in a line, came an empty one; "
            "do: check the path"
        )
    return entries
