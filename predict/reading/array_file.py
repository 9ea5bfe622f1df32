"""Reads arrays that somebody else wrote, `.npy` or `.npz`, and says what is wrong with them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plausibody.assets.contents import DAMAGED

LARGEST = 2 * 10**9
"""Bytes of an array; more is a damaged file or a trap."""


def read_arrays(path: Path, wanted: str) -> dict[str, NDArray[Any]]:
    """Reads all arrays of numbers; the one of a `.npy` file has the empty name. Never a pickle.

    Args:
        wanted: What the file should hold, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, too large, or holds something else.
    """
    try:
        _check_size(path)
        with path.open("rb") as raw:
            found = np.load(raw, allow_pickle=False)
            if isinstance(found, np.ndarray):
                arrays = {"": found}
            else:
                with found:
                    arrays = {name: np.asarray(found[name]) for name in found.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: wanted {wanted}, found no file; do: check the path"
        ) from error
    except DAMAGED as error:
        raise ValueError(
            f"{path}: wanted {wanted}, came a file that is damaged or of another kind "
            f"({type(error).__name__}: {str(error)[:200]}); do: write it again with numpy"
        ) from error
    strange = [name for name, array in arrays.items() if array.dtype.kind not in "buif"]
    if strange:
        kind = arrays[strange[0]].dtype
        raise ValueError(
            f"{path}: wanted {wanted}, came {strange[0] or 'an array'} of type {kind}; "
            "do: save numbers"
        )
    return arrays


def _check_size(path: Path) -> None:
    """Refuses what would fill the memory."""
    sizes = {path.name: path.stat().st_size}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
    for name, size in sizes.items():
        if size > LARGEST:
            raise ValueError(f"{name} has {size / 1e9:.1f} GB, which is too much")
