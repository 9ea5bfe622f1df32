"""The folder of a run: one process at a time, and nothing deleted that is not a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from plausibody.models.locks import LockedError, locked
from plausibody.presets import preset
from plausibody.training.folder import claimed, prepare_folder

LITE = preset("lite")


def test_a_second_run_is_told_who_trains_there(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with claimed(out, LITE):
        prepare_folder(out, LITE, False, False)
        (out / "curves.jsonl").touch()
        for resume, force in ((False, False), (True, False), (False, True), (True, True)):
            wanted = ValueError if not (resume or force) else LockedError
            with pytest.raises(wanted) as caught, claimed(out, LITE, resume, force):
                pass
            if wanted is LockedError:
                assert f"process {os.getpid()} on" in str(caught.value)
                assert "do: wait for it, stop it, or give another --out" in str(caught.value)
        assert (out / "curves.jsonl").exists(), "--force deletes nothing while somebody trains"
    with claimed(out, LITE, resume=True):
        pass
    with claimed(out, LITE, force=True):
        assert (out / "curves.jsonl").exists(), "what is new has not been found to work yet"
        prepare_folder(out, LITE, False, True)
        assert {path.name for path in out.iterdir()} == {"config.json", "lock", "holder.txt"}
    assert not (out / "holder.txt").exists()


def test_a_lock_does_not_fill_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path):  # and a process that ends here
        pass
    (tmp_path / ".config.json.unfinished").touch()
    with claimed(tmp_path, LITE):
        prepare_folder(tmp_path, LITE, False, False)
    assert (tmp_path / "config.json").exists()


def test_a_folder_that_is_not_ours_gets_no_lock(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for resume, force in ((False, False), (True, False), (False, True)):
        with pytest.raises(ValueError), claimed(tmp_path, LITE, resume, force):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_process_left_is_deleted_too(tmp_path: Path) -> None:
    prepare_folder(tmp_path, LITE, False, False)
    (tmp_path / ".best.safetensors.unfinished").touch()
    (tmp_path / "checkpoints" / ".step_8.unfinished").mkdir(parents=True)
    prepare_folder(tmp_path, LITE, False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    for out in (tmp_path / "run", tmp_path / "run" / "inner"):
        with pytest.raises(NotADirectoryError, match="wanted a folder.*found a file.*do:"):
            with claimed(out, LITE):
                pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_no_permission_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PermissionError, match="run: wanted a folder to write into.*do: another"):
        with claimed(tmp_path / "run", LITE):
            pass
