"""Pickles are read as data: published ones whole, hostile ones not at all."""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from plausibody.models.unpickle import Inert, UnsafePickle, read_pickle

ARRAYS = {
    "double": np.linspace(-3, 7, 24).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(5, dtype=">i4"),
    "half": np.arange(4, dtype=np.float16),
    "bytes": np.arange(256, dtype=np.uint8),
    "flags": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "empty": np.zeros((0, 3)),
    "scalar": np.float64(0.1),
    "objects": np.array(["a", None, 3], dtype=object),
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return path

    return write


def assert_same(read: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert list(read) == list(wanted)
    for name, array in wanted.items():
        assert read[name].shape == array.shape
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert (read[name] == array).all(), name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_arrays_of_python_3(written: Callable[[bytes], Path], protocol: int) -> None:
    assert_same(read_pickle(written(pickle.dumps(ARRAYS, protocol))), ARRAYS)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_reads_arrays_of_python_2(
    written: Callable[[bytes], Path], python2_pickle: Callable[..., bytes], protocol: int
) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name != "text"}
    data = python2_pickle(arrays, protocol)
    assert b"numpy._core" not in data and b"_codecs" not in data
    assert_same(read_pickle(written(data)), arrays)


@pytest.mark.parametrize("protocol", [0, 2])
def test_reads_containers_and_latin_1_text(
    written: Callable[[bytes], Path], python2_pickle: Callable[..., bytes], protocol: int
) -> None:
    shared = [np.arange(2)]
    value = {
        "name": "caf\xe9 'quoted'\n",
        "list": shared,
        "again": shared,
        "pair": (1, 2.5, None, True),
        "ordered": OrderedDict(b=1, a=2),
    }
    read = read_pickle(written(python2_pickle(value, protocol)))
    assert read["name"] == value["name"] and read["pair"] == value["pair"]
    assert read["list"] is read["again"] and read["list"][0].tolist() == [0, 1]
    assert list(read["ordered"].items()) == [("b", 1), ("a", 2)]


def test_reads_arrays_that_own_their_memory(written: Callable[[bytes], Path]) -> None:
    array = read_pickle(written(pickle.dumps(np.arange(3))))
    array[0] = 7  # a view of the file's bytes would refuse
    assert array.tolist() == [7, 1, 2]


def test_survives_what_contains_itself(written: Callable[[bytes], Path]) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert read_pickle(written(pickle.dumps(loop)))[0] == 1


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
def test_sparse_matrices_come_dense(
    written: Callable[[bytes], Path],
    python2_pickle: Callable[..., bytes],
    layout: str,
    protocol: int,
) -> None:
    generator = np.random.default_rng(1)
    dense = generator.normal(size=(5, 8)) * (generator.random((5, 8)) < 0.3)
    data = python2_pickle(scipy.sparse.coo_matrix(dense).asformat(layout), protocol)
    assert f"scipy.sparse.{layout}\n".encode() in data
    assert (read_pickle(written(data)) == dense).all()


def test_entries_outside_a_sparse_matrix_are_refused(written: Callable[[bytes], Path]) -> None:
    matrix = scipy.sparse.coo_matrix(np.eye(3))
    matrix.coords[0][0] = -1
    with pytest.raises(ValueError, match="entries outside a sparse matrix"):
        read_pickle(written(pickle.dumps(matrix)))


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_and_their_rearrangements_come_as_arrays(
    written: Callable[[bytes], Path],
    python2_pickle: Callable[..., bytes],
    chumpy: Callable[..., Any],
    protocol: int,
) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    array = chumpy("ch.Ch", x=x)
    chosen = np.arange(24).reshape(2, 3, 4)[..., :2]
    value = {
        "array": array,
        "select": chumpy(
            "reordering.Select", a=array, idxs=chosen.ravel(), preferred_shape=chosen.shape
        ),
        "reshape": chumpy("reordering.Reshape", a=array, newshape=(6, 4)),
        "transpose": chumpy("reordering.transpose", a=array, axes=None),
        "sum": chumpy("ch_ops.add", a=array, b=array),
    }
    read = read_pickle(written(python2_pickle(value, protocol)))
    assert (read["array"] == x).all()
    assert (read["select"] == x[..., :2]).all()
    assert (read["reshape"] == x.reshape(6, 4)).all()
    assert (read["transpose"] == x.T).all()
    assert isinstance(read["sum"], Inert)
    assert repr(read["sum"]) == "<unread object of a pickle: chumpy.ch_ops.add>"


class Attack:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["eval", "exec", "open", "getattr", "__import__"])
def test_builtins_that_act_are_refused(
    written: Callable[[bytes], Path], tmp_path: Path, name: str, protocol: int
) -> None:
    trace = tmp_path / "trace"
    function = getattr(__import__("builtins"), name)
    attack = Attack(function, f"__import__('pathlib').Path({str(trace)!r}).touch()")
    path = written(pickle.dumps({"v_template": np.zeros(3), "f": attack}, protocol))
    with pytest.raises(UnsafePickle, match=rf"\.{name}\. It was refused and nothing in it was run"):
        read_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "names",
    [
        b"cos\nsystem\n",
        b"cposix\nsystem\n",
        b"csubprocess\nPopen\n",
        b"cnumpy\nload\n",
        b"cnumpy.core.multiarray\nfromfile\n",
        b"cscipy.io\nloadmat\n",
        b"cchumpyx.ch\nCh\n",
        b"cplausibody.models.unpickle\nread_pickle\n",
        b"ccollections\nOrderedDict.fromkeys\n",
    ],
)
def test_everything_off_the_list_is_refused(
    written: Callable[[bytes], Path], tmp_path: Path, names: bytes
) -> None:
    trace = tmp_path / "trace"
    command = f"touch {trace}".encode()
    path = written(b"(" + names + b"S'" + command + b"'\ntR.")
    with pytest.raises(UnsafePickle, match=names.decode()[1:-1].replace("\n", ".")):
        read_pickle(path)
    assert not trace.exists()


def test_a_listed_name_can_do_nothing(written: Callable[[bytes], Path], tmp_path: Path) -> None:
    """Whatever a file does with a stand-in: call it, give it a state, set its attributes."""
    for body in (
        b"cchumpy.ch\nCh\n(S'x'\ntR.",
        b"cscipy.sparse\nload_npz\n(S'/etc/passwd'\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"cchumpy.ch\nCh\n(dS'arguments'\nI1\nsb.",
    ):
        try:
            assert not isinstance(read_pickle(written(body)), np.ndarray)
        except ValueError as error:
            assert "wanted a pickle" in str(error)
    assert Inert.__dict__["name"] == "object"


def test_the_message_names_the_file(written: Callable[[bytes], Path]) -> None:
    path = written(pickle.dumps(Attack(eval, "1")))
    with pytest.raises(UnsafePickle, match="file.pkl: wanted a pickle of numbers, .*builtins.eval"):
        read_pickle(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damaged_files_are_refused_wherever_they_end(
    written: Callable[[bytes], Path], protocol: int
) -> None:
    value = {"a": np.arange(4.0), "b": ["text", 1.5, {"c": (1, None)}]}
    data = pickletools.optimize(pickle.dumps(value, protocol))
    for length in range(len(data)):
        with pytest.raises(ValueError, match="wanted a pickle, came a file that is cut short"):
            read_pickle(written(data[:length]))


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html><html>Sign in</html>", b"PK\x03\x04", b"."])
def test_other_files_are_refused(written: Callable[[bytes], Path], data: bytes) -> None:
    with pytest.raises(ValueError, match="wanted a pickle, came a file that is cut short"):
        read_pickle(written(data))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(I4\n", b"(I5\n"),
        (b"(I4\n", b"(I-4\n"),
        (b"Vf8\n", b"Vf4\n"),
        (b"Vf8\n", b"V;8\n"),
    ],
)
def test_arrays_whose_parts_disagree_are_refused(
    written: Callable[[bytes], Path], old: bytes, new: bytes
) -> None:
    data = pickle.dumps(np.arange(4.0), 0)
    assert old in data
    path = written(data.replace(old, new))
    try:
        assert isinstance(read_pickle(path), Inert)
    except ValueError as error:
        assert "wanted a pickle" in str(error)


def test_numbers_of_remembered_objects_take_no_memory(written: Callable[[bytes], Path]) -> None:
    """C's reader would make a list of 32 GB here."""
    assert read_pickle(written(b"]r\xff\xff\xff\x7f.")) == []
    assert read_pickle(written(b"]p2147483647\n.")) == []
    with pytest.raises(ValueError, match="wanted a pickle"):
        read_pickle(written(pickle.BYTEARRAY8 + (2**62).to_bytes(8, "little") + b"."))


def test_damaged_bytes_never_crash(written: Callable[[bytes], Path]) -> None:
    """Any single altered byte gives a value or a ValueError, and nothing else."""
    data = bytearray(pickle.dumps({"a": np.arange(3.0), "b": scipy.sparse.eye(2).tocsc()}, 2))
    generator = np.random.default_rng(2)
    for place in range(len(data)):
        altered = data.copy()
        altered[place] = generator.integers(256)
        try:
            read_pickle(written(bytes(altered)))
        except ValueError as error:
            assert "wanted a pickle" in str(error)
