"""Keeps two processes from writing into one folder at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from plausibody.models.files import write_file

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class LockedError(ValueError):
    """Another process works in the same folder."""


@contextlib.contextmanager
def locked(
    out: Path, doing: str = "working", lock: str = "lock", holder: str = "holder.txt"
) -> Iterator[None]:
    """Keeps other processes out of a folder; the system lets go when this one ends.

    Args:
        out: The folder, which need not exist.
        doing: What the other one is said to be doing there, such as "training".
        lock: Name of the file that is locked, and stays.
        holder: Name of the file that tells who holds the lock while it is held.

    Raises:
        LockedError: If another process is there already.
        PermissionError: If nothing can be written there.
        NotADirectoryError: If it is a file.
    """
    who = out / holder
    file = FileLock(out / lock)
    try:
        out.mkdir(parents=True, exist_ok=True)
        file.acquire(timeout=0)
        write_file(who, f"process {os.getpid()} on {socket.gethostname()}\n")
    except Timeout:
        other = who.read_text("utf-8").strip() if who.exists() else "another process"
        raise LockedError(
            f"{out}: {other} is {doing} there; do: wait for it, stop it, or give another --out"
        ) from None
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"{out}: wanted a folder, or none yet, found a file on the way; do: another --out"
        ) from error
    except OSError as error:
        file.release()
        if error.errno not in _DENIED:
            raise
        raise PermissionError(
            f"{out}: wanted a folder to write into, got no permission ({error.strerror}); "
            "do: another --out"
        ) from error
    try:
        yield
    finally:
        who.unlink(missing_ok=True)
        file.release()
