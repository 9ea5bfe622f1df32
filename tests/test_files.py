"""Files are whole or as before, and a full disk is explained."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plausibody.models.files import DiskFullError, draft_file, encode_arrays, write_file


def failing(number: int) -> Callable[[int], None]:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("contested", [False, True])
def test_a_file_is_whole_or_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contested: bool
) -> None:
    path = tmp_path / "file"
    write_file(path, "before: \N{SNOWMAN}", contested)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(DiskFullError, match="file: wanted to write 2.0 MB, the disk is full; do"):
        write_file(path, bytes(2_000_000), contested)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_file(path, "after", contested)
    assert path.read_text("utf-8") == "before: \N{SNOWMAN}"
    assert os.listdir(tmp_path) == ["file"]


def test_a_limit_on_files_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, told in ((errno.EFBIG, "no file may be that large"), (errno.EDQUOT, "your share")):
        monkeypatch.setattr(os, "fsync", failing(number))
        with pytest.raises(DiskFullError, match=f"{told}.*do: .*of a training with --resume"):
            write_file(tmp_path / "file", b"content")


def test_writers_of_one_file_do_not_share_a_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with draft_file(path, contested=True) as first, draft_file(path, contested=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last to take the name
    assert os.listdir(tmp_path) == ["file"]


def test_arrays_come_back(tmp_path: Path) -> None:
    write_file(tmp_path / "arrays.npz", encode_arrays({"a": np.arange(5), "b": np.array("text")}))
    with np.load(tmp_path / "arrays.npz") as found:
        assert found["a"].tolist() == [0, 1, 2, 3, 4] and str(found["b"]) == "text"
