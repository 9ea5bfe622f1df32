"""Reads label files (`.npz`) of data sets: every key, shape and number is checked before use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plausibody.assets.contents import ArrayHeader, read_arrays, read_headers
from plausibody.models.naming import first_named

Wanted = Mapping[str, tuple[int | None, ...] | str]
"""By key: the lengths of the axes behind the people's, None for any; or "text"."""
TEXT = "text"
LARGEST = 2**31
"""Bytes of the largest array that is read; SPIN's files of Human3.6M stay far below it."""
GENDERS = {"m": "male", "f": "female", "n": "neutral"}
"""As labels write them; the whole words will do too."""


def read_labels(path: Path, wanted: Wanted, optional: Wanted | None = None) -> dict[str, Any]:
    """Reads arrays whose first axis runs over the same people; pickled ones are refused.

    Args:
        wanted: What must be there.
        optional: What is read where it is there.

    Returns:
        Numbers as finite doubles, text as lists of strings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If keys are missing, or arrays have other shapes or types, or numbers are NaN.
    """
    headers = read_headers(path)
    missing = [key for key in wanted if key not in headers]
    if missing:
        raise ValueError(
            f"{path}: wanted the arrays {', '.join(wanted)}, found no {', '.join(missing)} among "
            f"{', '.join(sorted(headers)) or 'none'}; do: take the file as it is published"
        )
    every = {**wanted, **{key: kind for key, kind in (optional or {}).items() if key in headers}}
    people = (headers[next(iter(wanted))].shape or (0,))[0]
    if not people:
        raise ValueError(f"{path}: wanted labels of people, got none")
    for key, kind in every.items():
        _check(f"{path}, {key}", headers[key], kind, people)
    arrays = read_arrays(path, tuple(every))
    return {key: _read(f"{path}, {key}", arrays[key], kind) for key, kind in every.items()}


def read_genders(written: Iterable[str], name: str) -> tuple[str, ...]:
    """Gives genders in whole words.

    Raises:
        ValueError: If one is neither m, f, n nor such a word.
    """
    written = list(written)
    found = [GENDERS.get(word.strip().lower()[:1], "") for word in written]
    odd = [n for n, gender in enumerate(found) if not gender]
    if odd:
        raise ValueError(
            f"{name}: wanted m or f of each person, got {written[odd[0]]!r} in "
            f"{first_named(odd, 'row')}"
        )
    return tuple(found)


def file_below(folder: Path, name: str, labels: str) -> Path:
    """Joins a folder and a file's name that labels give.

    Args:
        labels: What names the file, for messages.

    Raises:
        ValueError: If the name leads out of the folder.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or not parts.parts:
        raise ValueError(
            f"{labels}: wanted names of files below {folder}, got {name!r}; do: take the labels as "
            "they are published"
        )
    return folder / parts


def require_files(files: Iterable[Path], what: str, do: str) -> None:
    """Looks whether files are there, before a long run needs them.

    Args:
        what: They are, for the message.
        do: What helps.

    Raises:
        FileNotFoundError: If some are not; it names the first ten and counts them.
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"wanted {what}, found no {first_named(missing)}; do: {do}")


def require_once(each: Iterable[Hashable], wanted: str, came: str, do: str) -> None:
    """Looks whether some things are all different, such as names of people.

    Args:
        wanted: What is wanted of them, and where: the beginning of the message.
        came: What there is instead, before their names.
        do: What helps.

    Raises:
        ValueError: If some are not; it names the first ten and counts them.
    """
    if twice := [one for one, count in Counter(each).items() if count > 1]:
        raise ValueError(f"{wanted}, got {came} {first_named(twice)}; do: {do}")


def _check(name: str, header: ArrayHeader, kind: tuple[int | None, ...] | str, people: int) -> None:
    if header.pickled:
        raise ValueError(
            f"{name}: wanted plain numbers or text, got pickled objects, which are never opened; "
            "do: take the file as it is published, or save the array with a plain dtype"
        )
    text = isinstance(kind, str)
    tail = () if isinstance(kind, str) else kind
    fits = len(header.shape) == 1 + len(tail) and all(
        one is None or one == other for one, other in zip(tail, header.shape[1:], strict=True)
    )
    if not fits or header.shape[0] != people or header.dtype.kind not in ("US" if text else "fiub"):
        lengths = ", ".join("any" if one is None else str(one) for one in (people, *tail))
        raise ValueError(
            f"{name}: wanted {'text' if text else 'numbers'} of the shape ({lengths}), got "
            f"{header.dtype} of {header.shape}; do: take the file as it is published"
        )
    size = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if size > LARGEST:
        raise ValueError(f"{name}: wanted less than {LARGEST / 1e9:.1f} GB, got {size / 1e9:.1f}")


def _read(name: str, array: NDArray[Any], kind: tuple[int | None, ...] | str) -> Any:
    if isinstance(kind, str):
        decode = array.dtype.kind == "S"
        return [one.decode("utf-8") if decode else str(one) for one in array.tolist()]
    numbers = array.astype(np.float64)
    wrong = ~np.isfinite(numbers.reshape(len(numbers), -1))
    odd = np.flatnonzero(wrong.any(1)).tolist()
    if odd:
        raise ValueError(
            f"{name}: wanted finite numbers, got others in {first_named(odd, 'row')} (from 0); do: "
            "take the file as it is published, or leave these people out of it"
        )
    return numbers
