"""How much memory a cache may take."""

from __future__ import annotations

import os
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
"""Of Linux: the machine's memory, and the bounds of the container that we may be in."""


def free_memory() -> int | None:
    """Gives the bytes that can still be had without swapping; none where nobody says."""
    bounds = [bound for bound in (_free_of_system(), _free_of_group()) if bound is not None]
    return min(bounds, default=None)


def require_memory(wanted: int, what: str, remedy: str) -> None:
    """Refuses a cache that would leave less than a tenth of the free memory.

    Args:
        wanted: Size of the cache [bytes].
        what: Whose it is, for the message.
        remedy: What to do instead, for the message.
    """
    free = free_memory()
    if free is not None and wanted > 0.9 * free:
        raise ValueError(
            f"{what}: wanted {wanted / 1e9:.2f} GB of memory for its cache, {free / 1e9:.2f} GB "
            f"are free; do: {remedy}"
        )


def _free_of_system() -> int | None:
    try:
        for line in _SYSTEM.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not Linux
        return None


def _free_of_group() -> int | None:
    try:
        bound = (_GROUP / "memory.max").read_text("ascii").strip()
        used = int((_GROUP / "memory.current").read_text("ascii"))
        return None if bound == "max" else max(0, int(bound) - used)
    except (OSError, ValueError):  # no such group, or of the first version
        return None
