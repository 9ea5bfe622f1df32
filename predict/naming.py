"""One folder name for each photo, so that no two photos overwrite each other's results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

RESERVED = frozenset({"summary.json", "report.html", "measurements.csv", "photo"})
"""Names that mean something else in the folder of a run, and the one for photos without a name."""
LONGEST = 150
"""Characters of a name; file systems allow 255 bytes."""


def folder_names(paths: Sequence[Path], taken: Mapping[str, str]) -> dict[str, str]:
    """Names a folder for each photo: its name without suffix, if no other photo has the same.

    Else with the suffix (`a_jpg`, `a_png`); else with the folder above (`left_a_jpg`); at last with
    a number. Capitals count for nothing, as on many file systems.

    Args:
        taken: Names by path that photos have from an earlier run, and keep.
    """
    names = dict(taken)
    used = {name.lower() for name in taken.values()} | RESERVED
    waiting = [path for path in paths if str(path) not in taken]
    for form in (_short, _with_suffix, _with_folder):
        proposed = {path: form(path) for path in waiting}
        counts = Counter(name.lower() for name in proposed.values())
        free = [
            path
            for path, name in proposed.items()
            if counts[name.lower()] == 1 and name.lower() not in used
        ]
        for path in free:
            names[str(path)] = proposed[path]
            used.add(proposed[path].lower())
        waiting = [path for path in waiting if str(path) not in names]
    for path in waiting:
        name, number = _with_suffix(path), 2
        while f"{name}_{number}".lower() in used:
            number += 1
        names[str(path)] = f"{name}_{number}"
        used.add(names[str(path)].lower())
    return names


def _short(path: Path) -> str:
    return _clean(path.stem)


def _with_suffix(path: Path) -> str:
    return f"{_short(path)}_{path.suffix.lstrip('.') or 'file'}"


def _with_folder(path: Path) -> str:
    return f"{_clean(path.absolute().parent.name)}_{_with_suffix(path)}"


def _clean(name: str) -> str:
    return name.lstrip(".")[:LONGEST].rstrip(" .") or "photo"
