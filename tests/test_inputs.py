"""Which pictures files, folders, patterns and lists name."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from plausibody.predict.bulk.inputs import find_inputs, find_photos


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def below(root: Path, names: Any) -> list[str]:
    return [os.path.relpath(name, root) for name in names]


def test_files_are_taken_as_named_and_folders_by_suffix(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a.png", ".hidden.jpg", "notes.txt", "inner/deep.jpg", "scan")
    found = find_inputs([tmp_path / "scan", f"{tmp_path}//", tmp_path / "a.png"])
    assert below(tmp_path, found.names) == ["scan", "a.png", "b.JPG"]
    assert (found.ignored, found.not_searched) == (3, 1)
    assert find_photos([tmp_path / "a.png"]) == [tmp_path / "a.png"]


def test_names_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "a b.jpg",
        "a\nb.jpg",
        "caf\u00e9.jpg",
        "[x]*.jpg",
        "@.jpg",
    ]
    make(tmp_path, *names)
    monkeypatch.chdir(tmp_path)
    assert sorted(find_inputs(["."]).names) == sorted(names)
    assert list(find_inputs(names).names) == names  # what is there is no pattern, and no list


def test_nothing_is_said(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "inner/notes.txt")
    with pytest.raises(FileNotFoundError, match="none among 1 files .*not searched: 1.*do:"):
        find_inputs([tmp_path])
    with pytest.raises(FileNotFoundError, match="none among 1 files; do:"):
        find_inputs([tmp_path], recursive=True)
    with pytest.raises(FileNotFoundError, match="found nothing; do:"):
        find_inputs([tmp_path / "gone"])
    with pytest.raises(FileNotFoundError, match="match this pattern, found none"):
        find_inputs([tmp_path / "*.jpg"])
    with pytest.raises(FileNotFoundError, match="wanted a list of pictures, .* cannot be read"):
        find_inputs(["@" + str(tmp_path / "gone.txt")])
    with pytest.raises(FileNotFoundError, match="came an empty one"):
        find_inputs([f"@{tmp_path / 'notes.txt'}"])


def test_folders_in_folders_are_searched_once_whatever_links_say(tmp_path: Path) -> None:
    make(tmp_path, "z.jpg", "one/a.jpg", "one/two/a.jpg", "shaped.jpg/inner.png")
    (tmp_path / "one" / "round").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "one")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "gone")
    found = find_inputs([tmp_path], recursive=True)
    assert sorted(below(tmp_path, found.names)) == [
        "again/a.jpg", "again/two/a.jpg", "dead.jpg", "self.jpg", "shaped.jpg/inner.png", "z.jpg"
    ]  # fmt: skip
    assert found.not_searched == 0


def test_results_are_no_photos(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "out/a/result.json", "out/a/overlay.png", "out/b.png")
    for out in (tmp_path / "out", None):
        found = find_inputs([tmp_path], recursive=True, leave_out=out)
        assert below(tmp_path, found.names) == ["a.jpg"] + ["out/b.png"] * (out is None)
    inside = find_inputs([tmp_path], recursive=True, leave_out=tmp_path)
    assert below(tmp_path, inside.names) == ["a.jpg", "out/b.png"]


def test_folders_that_cannot_be_listed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jpg", "secret/b.jpg")
    scandir = os.scandir

    def scan(path: str) -> Any:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = find_inputs([tmp_path], recursive=True)
    assert below(tmp_path, found.names) == ["a.jpg"]
    assert below(tmp_path, found.unreadable) == ["secret"]
    with pytest.raises(PermissionError, match="wanted to list a folder .*change its permissions"):
        find_inputs([tmp_path / "secret"])


def test_patterns_that_the_shell_left_alone(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.jpg", "c.txt", "deep/er/d.jpg", "e.gif/f.gif")
    pattern = find_inputs([tmp_path / "*.jpg"])
    assert below(tmp_path, pattern.names) == ["a.jpg", "b.jpg"]
    deep = find_inputs([f"{tmp_path}/**/*.jpg"])
    assert below(tmp_path, deep.names) == ["a.jpg", "b.jpg", "deep/er/d.jpg"]
    assert below(tmp_path, find_inputs([tmp_path / "*.gif"]).names) == ["e.gif/f.gif"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\0"])
def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    make(tmp_path, "a b.jpg", "folder/c.jpg", "folder/notes.txt", "empty/notes.txt")
    names = ["a b.jpg", "", "folder", "gone.jpg", "empty", "*.jpg"]
    if ending == "\0":
        make(tmp_path, "new\nline.jpg")
        names.append("new\nline.jpg")
    content = b"\xef\xbb\xbf" + "".join(name + ending for name in names).encode()
    (tmp_path / "list.txt").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    expected = ["a b.jpg", "folder/c.jpg", "gone.jpg", "*.jpg", *names[6:]]
    found = find_inputs(["@list.txt"])
    assert list(found.names) == expected and found.ignored == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert list(find_inputs(["@-"]).names) == expected


def test_lists_keep_bytes_that_are_no_letters(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"f\xfcr.jpg\n")
    assert list(find_inputs([f"@{tmp_path / 'list.txt'}"]).names) == [os.fsdecode(b"f\xfcr.jpg")]
