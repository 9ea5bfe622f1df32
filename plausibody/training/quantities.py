"""Times and sizes as people say them."""

from __future__ import annotations

from datetime import timedelta


def duration(seconds: float) -> str:
    """Writes a time as people say it; a dash if it is unknown."""
    if not seconds >= 0:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{timedelta(seconds=seconds) / timedelta(days=1):.1f} days"


def size(count: int) -> str:
    """Tells bytes as people do."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
