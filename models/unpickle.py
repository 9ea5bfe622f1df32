"""Reads the data of a pickle without running anything that the pickle names.

A pickle is a program that may call any function it names, and body models are published as
pickles: from python 2, with `scipy.sparse` and `chumpy` objects inside. Here every name on a short
list is answered by an inert stand-in that only keeps what it is given, any other name refuses the
file, and arrays are put together afterwards from checked parts. Neither chumpy nor scipy is
imported, and not even numpy's own unpickling code is reached.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

INERT = {
    *(
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    ),
    *("numpy.ndarray", "numpy.dtype"),
    *("_codecs.encode", "copy_reg._reconstructor", "copyreg._reconstructor"),
    *(
        f"{module}.{name}"
        for module in ("__builtin__", "builtins")
        for name in ("object", "set", "bytes")
    ),
}
"""Names that get a stand-in; so do all names in the packages below."""
INERT_PACKAGES = ("scipy.sparse.", "chumpy.")
LARGEST_DENSE = 10**8
"""Entries of the largest sparse matrix to make dense; a joint regressor of SMPL has 165,360."""

DAMAGED = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError),
    *(ValueError, OverflowError, MemoryError, RecursionError, struct.error),
)
"""What the standard library raises on files that are cut short, altered or no pickles."""


class UnsafePickle(ValueError):
    """A pickle names something that is not on the list."""


class Inert:
    """An object of a pickle, kept as its name, its arguments and its state; it can do nothing."""

    name = "object"
    arguments: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *arguments: Any) -> Inert:
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __init__(self, *arguments: Any) -> None:
        """Takes the arguments that `__new__` has kept."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<unread object of a pickle: {self.made}>"

    @property
    def made(self) -> str:
        """Name of the class that the pickle would have made this object of."""
        first = self.arguments[0] if self.arguments else None
        if self.name.endswith("_reconstructor") and isinstance(first, type):
            return str(getattr(first, "name", first))
        return self.name


def read_pickle(path: Path) -> Any:
    """Reads dicts, lists, strings, numbers and arrays from a pickle of any protocol.

    Sparse matrices come dense. Of chumpy, plain arrays and rearrangements of them come as arrays;
    what cannot be turned into data stays an `Inert` object, so that it harms only who needs it.
    Byte strings of python 2 come as text in Latin-1.

    Raises:
        UnsafePickle: If the file names anything that is not on the list.
        ValueError: If it is damaged or no pickle.
    """
    with path.open("rb") as file, _explained(path):
        return _Reader().read(_Unpickler(file).load())


def read_pickled_array(path: Path, name: str) -> list[Any]:
    """Reads an array of objects with one axis out of an `.npz` file, as `read_pickle` does.

    Args:
        name: Of the array, which is there.

    Raises:
        UnsafePickle: If it names anything that is not on the list.
        ValueError: If the file is damaged, or the array none of objects or with other axes.
    """
    with _explained(path), ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) == (1, 0):
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, kind = np.lib.format.read_array_header_2_0(file)
        if not kind.hasobject or len(shape) != 1:
            raise ValueError(f"{name}: wanted objects along one axis, got {kind} of {shape}")
        found: list[Any] = _Reader().read(_Unpickler(file).load()).tolist()
        return found


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Says of which file an error is, and what to do."""
    try:
        yield
    except UnsafePickle as refused:
        raise UnsafePickle(
            f"{path}: wanted a pickle of numbers, arrays and names, came one that calls for "
            f"{refused}. It was refused and nothing in it was run; do: take the file from its "
            f"publisher, and treat this one as hostile"
        ) from None
    except (*DAMAGED, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: wanted a pickle, came a file that is cut short, altered or something "
            f"else, such as a saved web page ({type(error).__name__}: {error}); "
            f"do: download it again and compare its size"
        ) from error


class _Whole:
    """A file of which what is asked for is there, or it has ended."""

    def __init__(self, file: IO[bytes] | BufferedIOBase) -> None:
        self._file = file

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise EOFError("ran out of input")
        return data

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("ran out of input")
        return line


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc, unused-ignore]
    """The standard library's reader in Python: the one in C takes as much memory as bytes say.

    One altered byte may ask it to remember an object under a number of ten digits, for which it
    makes and clears a list of that length: the system then kills the program.
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined, unused-ignore]

    def _load_bytearray(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined, unused-ignore]
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined, unused-ignore]

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray  # type: ignore[assignment, unused-ignore]

    def __init__(self, file: IO[bytes] | BufferedIOBase) -> None:
        super().__init__(_Whole(file), fix_imports=False, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if full in INERT or full.startswith(INERT_PACKAGES):
            # A class for each name and file, so that nothing carries over to the next file.
            return type("Inert", (Inert,), {"name": full})
        raise UnsafePickle(full)


class _Reader:
    """Turns stand-ins into data, each once, as a pickle may hold an object in many places."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}

    def read(self, value: Any) -> Any:
        if not isinstance(value, dict | list | tuple | Inert):
            return value
        if id(value) not in self.done:
            self.done[id(value)] = value  # something that contains itself ends here
            self.done[id(value)] = self._read(value)
        return self.done[id(value)]

    def _read(self, value: dict[Any, Any] | list[Any] | tuple[Any, ...] | Inert) -> Any:
        if isinstance(value, dict):
            return {self.read(key): self.read(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.read(item) for item in value)
        package, _, kind = value.made.rpartition(".")
        if package.startswith("scipy.sparse"):
            return self._sparse(value, layout=kind[:3])
        if package.startswith("chumpy"):
            return self._chumpy(value, kind)
        match kind:
            case "bytes" if not value.arguments:
                return b""
            case "encode":  # how python 3 writes bytes for python 2
                return self._bytes(value.arguments[0])
            case "_reconstruct" if value.state is not None:
                *_, shape, dtype, fortran, data = value.state  # a version number may come first
                return self._array(value, data, dtype, shape, "F" if fortran else "C")
            case "_frombuffer":
                data, dtype, shape, order = value.arguments
                return self._array(value, data, dtype, shape, order)
            case "scalar":
                dtype, data = value.arguments
                array = self._array(value, data, dtype, (), "C")
                return array[()] if isinstance(array, np.ndarray) else array
        return value

    def _array(self, inert: Inert, data: Any, dtype: Any, shape: Any, order: str) -> Any:
        kind = _dtype(dtype)
        if kind is None:
            return inert
        count = math.prod(shape)
        if kind.hasobject:
            items = [self.read(item) for item in data]
            if len(items) != count:
                raise ValueError(f"{len(items)} objects for an array of shape {shape}")
            array = np.empty(count, dtype=object)
            array[:] = items
            return array.reshape(shape, order="F" if order == "F" else "C")
        raw = self._bytes(data)
        if any(length < 0 for length in shape) or len(raw) != count * kind.itemsize:
            raise ValueError(f"{len(raw)} bytes for an array of {kind} and shape {shape}")
        array = np.frombuffer(raw, dtype=kind).reshape(shape, order="F" if order == "F" else "C")
        return array.astype(kind.newbyteorder("="))

    def _bytes(self, data: Any) -> bytes:
        data = self.read(data)
        return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))

    def _sparse(self, inert: Inert, layout: str) -> Any:
        """Adds up the entries of a compressed or coordinate matrix; duplicates count twice."""
        if layout not in ("csc", "csr", "coo") or not isinstance(inert.state, dict):
            return inert
        state = self.read(inert.state)
        if math.prod(state["_shape"]) > LARGEST_DENSE:
            return inert
        if layout == "coo":
            row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
        else:
            starts, column = state["indptr"], state["indices"]
            counts = np.diff(starts)
            if starts[0] != 0 or starts[-1] != len(column) or counts.min(initial=0) < 0:
                raise ValueError("rows of a sparse matrix that overlap or do not end")
            row = np.repeat(np.arange(len(counts)), counts)
            if layout == "csc":
                row, column = column, row
        dense = np.zeros(state["_shape"])
        for index, length in zip((row, column), dense.shape, strict=True):
            if len(index) and not 0 <= index.min() <= index.max() < length:
                raise ValueError(f"entries outside a sparse matrix of shape {dense.shape}")
        np.add.at(dense, (row, column), state["data"])
        return dense

    def _chumpy(self, inert: Inert, kind: str) -> Any:
        """Evaluates what only holds or rearranges an array, as chumpy's `compute_r` does."""
        state = self.read(inert.state)
        if not isinstance(state, dict):
            return inert
        inner = state.get("x" if kind == "Ch" else "a")
        if not isinstance(inner, np.ndarray):
            return inert
        match kind:
            case "Ch":
                return inner
            case "Select":
                chosen = inner.ravel()[state["idxs"]]
                return chosen.reshape(state.get("preferred_shape", chosen.shape))
            case "Reshape":
                return inner.reshape(state["newshape"])
            case "transpose":
                return inner.transpose(state.get("axes"))
        return inert


def _dtype(inert: Any) -> np.dtype[Any] | None:
    """Gives a plain type of numbers, text or objects; None for records, dates and the like."""
    code = inert.arguments[0]
    _, order, subtype, names, fields, *_ = inert.state
    if subtype or names or fields or not re.fullmatch(r"[biufcSUO]\d+", code):
        return None
    return np.dtype((order if order in ("<", ">") else "") + code)
