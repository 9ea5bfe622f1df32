"""Writes pickles as python 2 wrote them: 3DPW and the first body models are published so."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar

PYTHON2_NAMES = {
    b"cnumpy._core.": b"cnumpy.core.",
    b"cscipy.sparse._csc\n": b"cscipy.sparse.csc\n",
    b"cscipy.sparse._csr\n": b"cscipy.sparse.csr\n",
    b"cscipy.sparse._coo\n": b"cscipy.sparse.coo\n",
}
"""Where modules were then, by where they are now."""


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as python 2 did: both as byte strings."""

    bin: bool
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]
    dispatch: ClassVar[dict[Any, Any]] = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        if self.bin:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        else:
            self.write(pickle.STRING + repr(raw)[1:].encode("ascii") + b"\n")
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value: Any, protocol: int = 2) -> bytes:
    """Pickles an object under the opcodes and module names of python 2.

    Args:
        value: Of containers, text in Latin-1, numbers and arrays.
        protocol: 0, 1 or 2.
    """
    file = io.BytesIO()
    Python2Pickler(file, protocol).dump(value)
    data = file.getvalue()
    for ours, theirs in PYTHON2_NAMES.items():
        data = data.replace(ours, theirs)
    return data
