"""What several test files share."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from plausibody.models.body import BodyTemplate
from plausibody.models.templates import load_template
from plausibody.synth.stores import SynthAssets, load_assets

PYTHON2_NAMES = {
    b"cnumpy._core.": b"cnumpy.core.",
    b"cscipy.sparse._csc\n": b"cscipy.sparse.csc\n",
    b"cscipy.sparse._csr\n": b"cscipy.sparse.csr\n",
    b"cscipy.sparse._coo\n": b"cscipy.sparse.coo\n",
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The workers of pytest-xdist share the cores already."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def template() -> BodyTemplate:
    """The open body; do not change it."""
    return load_template("open")


@pytest.fixture(scope="session")
def assets() -> SynthAssets:
    """What the stream draws from in training; do not change it."""
    return load_assets("train")


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as python 2 did: both as byte strings."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        if self.bin:
            self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        else:
            self.write(pickle.STRING + repr(raw)[1:].encode("ascii") + b"\n")
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


@pytest.fixture
def python2_pickle() -> Callable[[Any, int], bytes]:
    """Pickles an object under the opcodes and module names of python 2."""

    def dump(value: Any, protocol: int) -> bytes:
        file = io.BytesIO()
        Python2Pickler(file, protocol).dump(value)
        data = file.getvalue()
        for ours, theirs in PYTHON2_NAMES.items():
            data = data.replace(ours, theirs)
        return data

    return dump


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes objects that pickle as chumpy's; the modules exist only while the test runs.

    `chumpy("reordering.Select", a=..., idxs=...)` has the state of chumpy's own: its terms, besides
    bookkeeping that real files carry too.
    """

    def make(name: str, **terms: Any) -> Any:
        module_name, _, kind = f"chumpy.{name}".rpartition(".")
        for parent in ("chumpy", module_name):
            module = sys.modules.get(parent) or types.ModuleType(parent)
            monkeypatch.setitem(sys.modules, parent, module)
        if not hasattr(module, kind):
            made = type(kind, (), {"__module__": module_name})
            monkeypatch.setattr(module, kind, made, raising=False)
        node = getattr(module, kind)()
        node.__dict__.update(
            _dirty_vars={"x"}, _itr=None, _depends_on_deps={}, _make_dense=False, **terms
        )
        return node

    return make


@pytest.fixture
def smpl_arrays() -> dict[str, np.ndarray]:
    """A body of 30 vertices and 24 joints in SMPL's format, in double precision."""
    generator = np.random.default_rng(0)
    vertices, joints = 30, 24
    weights = generator.dirichlet(np.ones(joints), vertices)
    tree = np.stack([np.maximum(np.arange(joints) - 2, 0), np.arange(joints)])
    tree[0, 0] = 2**32 - 1
    return {
        "v_template": generator.normal(size=(vertices, 3)),
        "shapedirs": generator.normal(size=(vertices, 3, 10)),
        "posedirs": generator.normal(size=(vertices, 3, 9 * (joints - 1))),
        "J_regressor": generator.dirichlet(np.ones(vertices), joints),
        "weights": weights,
        "kintree_table": tree.astype(np.uint32),
        "f": np.arange(vertices, dtype=np.uint32).reshape(-1, 3),
    }
