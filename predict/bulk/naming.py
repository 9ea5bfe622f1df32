"""One folder name for each photo, so that no two photos overwrite each other's results."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

RESERVED = frozenset({"summary.json", "report.html", "measurements.csv", "photo"})
"""Names that mean something else in the folder of a run, and the one for photos without a name."""
LONGEST = 150
"""Bytes of a name; file systems allow 255, and drafts and numbers need some."""
UNWANTED = str.maketrans(dict.fromkeys([*map(chr, range(32)), "\x7f", *'<>:"/\\|?*'], "_"))
"""What some system does not allow in names, or what breaks lines."""


def folder_names(
    paths: Sequence[str],
    taken: Mapping[int, str] | None = None,
    is_others: Callable[[str, str], bool] | None = None,
) -> list[str]:
    """Names a folder for each photo: its name without suffix, if no other photo has the same.

    Else with the suffix (`a_jpg`, `a_png`); else with the folder above (`left_a_jpg`); at last with
    a number. Capitals count for nothing, as on many file systems, nor do the two ways of writing
    an accent. If some of the names that it gives come back as `taken`, the others stay the same.

    Args:
        taken: Names that photos have from an earlier run, and keep; by place in `paths`.
        is_others: Whether a name, the first argument, has been given to another photo than the
            second one by an earlier run.
    """
    names = [""] * len(paths)
    for number, name in (taken or {}).items():
        names[number] = name
    used = {_same(name) for name in names if name} | RESERVED
    for form in (_short, _with_suffix, _with_folder):
        waiting = [number for number, name in enumerate(names) if not name]
        if not waiting:
            break
        counts = Counter(_same(form(path)) for path in paths)
        for number in waiting:
            name = form(paths[number])
            same = _same(name)
            if counts[same] > 1 or same in used or (is_others and is_others(name, paths[number])):
                continue
            names[number] = name
            used.add(same)
    next_number: dict[str, int] = {}
    for number, path in enumerate(paths):
        if names[number]:
            continue
        stem = _with_suffix(path)
        count = next_number.get(_same(stem), 2)
        while _same(f"{stem}_{count}") in used or (
            is_others and is_others(f"{stem}_{count}", path)
        ):
            count += 1
        next_number[_same(stem)] = count + 1
        names[number] = f"{stem}_{count}"
        used.add(_same(names[number]))
    return names


def _short(path: str) -> str:
    return _clean(os.path.splitext(os.path.basename(path))[0])


def _with_suffix(path: str) -> str:
    suffix = os.path.splitext(path)[1].lstrip(".") or "file"
    return _clean(f"{_short(path)}_{suffix}")


def _with_folder(path: str) -> str:
    above = os.path.basename(os.path.dirname(os.path.abspath(path)))
    return _clean(f"{_clean(above)[: LONGEST // 2]}_{_with_suffix(path)}")


def _clean(name: str) -> str:
    """Leaves what all systems allow in a name."""
    name = name.translate(UNWANTED).lstrip(".")
    whole = name.encode("utf-8", "surrogateescape")
    if len(whole) > LONGEST:
        # A letter cut in two is dropped, while bytes that never were letters stay.
        name = name[:LONGEST]
        while len(name.encode("utf-8", "surrogateescape")) > LONGEST:
            name = name[:-1]
    return name.rstrip(" .") or "photo"


def _same(name: str) -> str:
    """Gives what names share that some file systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()
