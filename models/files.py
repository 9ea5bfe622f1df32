"""Where what can be made again is kept, and how files are written: whole, or as they were before.

A full disk is explained.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FULL = {
    errno.ENOSPC: ("the disk is full", "make space"),
    errno.EDQUOT: ("your share of the disk is used up", "make space"),
    errno.EFBIG: ("no file may be that large here", "raise the limit ('ulimit -f' tells it)"),
}
"""By the system's number: what is the matter, and what to do."""


class DiskFullError(OSError):
    """There is no space left, of the disk or of what one user or one file may have."""

    def __init__(self, path: Path, size: int = 0, number: int = errno.ENOSPC):
        what = f"{size / 1e6:.1f} MB" if size else "files"
        why, do = _FULL[number]
        super().__init__(
            number,
            f"{path}: wanted to write {what}, {why}; do: {do}, then give the same command again, "
            "of a training with --resume; what was finished is kept",
        )

    def __str__(self) -> str:
        return str(self.strerror)


@contextlib.contextmanager
def explained(path: Path, size: int = 0) -> Iterator[None]:
    """Says of a full disk what was being written.

    Args:
        path: Of what is written.
        size: Of all of it [bytes]; 0 if unknown.

    Raises:
        DiskFullError: In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(path, size, error.errno) from error


def unfinished(path: Path) -> Path:
    """Names the draft of a file or folder: beside it, and hidden."""
    return path.with_name(f".{path.name[:200]}.unfinished")


@contextlib.contextmanager
def draft_file(path: Path, size: int = 0, contested: bool = False) -> Iterator[Path]:
    """Gives another name to write a file under; it takes its own once it is whole, on the disk.

    Args:
        path: Of the file, in a folder that exists.
        size: Of its content [bytes], for the message; 0 if unknown.
        contested: Whether several processes may write this file at a time. Drafts have names of
            their own then, and pile up where processes are killed.

    Raises:
        DiskFullError: If there is no space; the draft is removed.
    """
    draft = unfinished(path)
    if contested:
        draft = path.with_name(f".{path.name[:160]}.{uuid.uuid4().hex}.unfinished")
    with explained(path, size):
        try:
            yield draft
            with draft.open("r+b") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def write_file(path: Path, content: bytes | str, contested: bool = False) -> None:
    """Writes a file, text as UTF-8, so that it is whole or as before, also if the power fails.

    Bytes of a file's name that are no UTF-8, as old archives have, are written as JSON writes them:
    \\udcfc for the byte fc. Arguments and errors as of `draft_file`.
    """
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with draft_file(path, len(content), contested) as draft:
        draft.write_bytes(content)


def encode_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Gives the content of a compressed `.npz` file."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **dict(arrays))
    return file.getvalue()


def cache_folder() -> Path:
    """Gives the user's folder for what can be made again: `$XDG_CACHE_HOME/plausibody`, or the
    platform's usual place."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "plausibody"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "plausibody"
    if sys.platform == "win32" and (base := os.environ.get("LOCALAPPDATA")):
        return Path(base) / "plausibody" / "Cache"
    return Path.home() / ".cache" / "plausibody"


def file_sha256(path: Path | str) -> str:
    """Gives the hash of a file's content, however large it is."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
