"""What is inside an asset file, in names and numbers, without knowing what it is for."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from plausibody.assets.topology import topology_hash

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each array of a file, by its name."""

DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, SyntaxError),
    *(ArithmeticError, MemoryError, RuntimeError, tokenize.TokenError),  # and what derives of them
    *(zipfile.BadZipFile, zlib.error),
)
"""What the readers raise on files that are cut short, altered or of another kind."""


def read_arrays(path: Path, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Reads arrays of an `.npz` file, all or those of these names that it has; never a pickle."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if names is None or name in names}
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(_damaged(path, error)) from error


@dataclass(frozen=True)
class ArrayHeader:
    """What an array of a file is, before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def pickled(self) -> bool:
        """Whether its entries are objects of python, which are never read."""
        return bool(self.dtype.hasobject)


def read_headers(path: Path) -> dict[str, ArrayHeader]:
    """Reads of what shape and type the arrays of an `.npz` file are, without reading them."""
    headers: dict[str, ArrayHeader] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    headers[member.removesuffix(".npy")] = _header(archive, member)
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(_damaged(path, error)) from error
    return headers


def _header(archive: zipfile.ZipFile, member: str) -> ArrayHeader:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read:
            raise ValueError(f"{member} in version {version} of numpy's format")
        shape, _, dtype = read[version](file)
        return ArrayHeader(shape, dtype)


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path}: wanted an .npz file of plain arrays, came a file that is cut short, altered "
        f"or something else ({type(error).__name__}: {error}); do: make or download it again"
    )


def read_shapes(path: Path) -> Shapes:
    """Reads the shapes of the arrays of an .npz, .h5 or .safetensors file; of others, nothing."""
    try:
        match path.suffix:
            case ".npz":
                return {name: array.shape for name, array in read_arrays(path).items()}
            case ".h5":
                shapes: dict[str, tuple[int, ...]] = {}
                with h5py.File(path, "r") as file:
                    file.visititems(
                        lambda name, item: (
                            shapes.update({name: item.shape})
                            if isinstance(item, h5py.Dataset)
                            else None
                        )
                    )
                return shapes
            case ".safetensors":
                with path.open("rb") as raw:
                    header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
                return {
                    name: tuple(entry["shape"])
                    for name, entry in header.items()
                    if name != "__metadata__"
                }
    except DAMAGED as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    return {}


def read_topology(path: Path) -> str | None:
    """Gives the topology that an .npz file carries; none if it carries none."""
    arrays = read_arrays(path, ("topology",)) if path.suffix == ".npz" else {}
    return str(arrays["topology"]) if "topology" in arrays else None


def topology_of_body(path: Path) -> str:
    """Computes the topology of a body from its faces."""
    arrays = read_arrays(path, ("f",))
    if "f" not in arrays:
        raise ValueError(f"{path}: wanted a body with faces under 'f', came none")
    return topology_hash(arrays["f"])
