"""A folder of all that real folders hold, done at one go or by processes that are killed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plausibody.assets.catalog import SHIPPED
from plausibody.predict.drawing import save_picture, shrink
from plausibody.predict.photo import read_photo

GOOD = [
    "a.jpg", "a.png", "animated.gif", "b c.png", "caf\u00e9.png", "cmyk.jpg", "crowd.png",
    "deep.png", "folder.jpg/inner.png", "grey.png", "left/a.png", "new\nline.png", "right/a.png",
    "see-through.png", "turned.jpg", "wrong.png", "\u540d\u524d.webp",
]  # fmt: skip
"""Pictures in which somebody is found."""
BAD = {
    "corrupt.jpg": "unreadable", "dead.jpg": "unreadable", "empty.jpg": "unreadable",
    "float.tif": "unreadable", "huge.png": "unreadable", "nobody.png": "no_person",
    "round.jpg": "unreadable", "secret.png": "unreadable", "text.jpg": "unreadable",
    "thin.png": "too_small", "tiny.png": "too_small", "torn.png": "unreadable",
    "trap.png": "unreadable",
}  # fmt: skip
"""What becomes of the others."""
IGNORED = ("notes.txt", ".hidden.png")


def header_of(width: int, height: int) -> bytes:
    """A picture that claims a size and has hardly anything in it."""
    content = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", size), (b"IDAT", b"x\x9c")):
        check = zlib.crc32(name + data)
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
    return content


def fill(root: Path, size: tuple[int, int]) -> None:
    """Makes the folder.

    Args:
        size: Height and width of the good pictures [px].
    """
    for folder in ("left", "right", "folder.jpg"):
        (root / folder).mkdir(parents=True)
    height, width = size
    grey = Image.effect_noise((width, height), 30)
    plain = grey.convert("RGB")
    for name in GOOD:
        if not (root / name).exists():
            plain.save(root / name)
    grey.save(root / "grey.png")
    plain.convert("CMYK").save(root / "cmyk.jpg")
    plain.convert("RGBA").save(root / "see-through.png")
    plain.save(root / "wrong.png", "jpeg")
    plain.save(root / "animated.gif", save_all=True, append_images=[plain.rotate(9)])
    Image.fromarray(np.full(size, 999, np.uint16)).save(root / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    plain.save(root / "turned.jpg", exif=exif)

    plain.save(root / "nobody.png")
    plain.save(root / "secret.png")
    (root / "secret.png").chmod(0)
    (root / "corrupt.jpg").write_bytes((root / "a.jpg").read_bytes()[:900])
    (root / "empty.jpg").touch()
    (root / "text.jpg").write_text("Dear John, " * 99)
    Image.fromarray(np.zeros(size, np.float32)).save(root / "float.tif")
    (root / "torn.png").write_bytes(header_of(100, 100))
    (root / "huge.png").write_bytes(header_of(12_000, 10_000))
    (root / "trap.png").write_bytes(header_of(60_000, 60_000))
    plain.resize((20, 20)).save(root / "tiny.png")
    plain.resize((600, 8)).save(root / "thin.png")
    (root / "dead.jpg").symlink_to(root / "gone.jpg")
    (root / "round.jpg").symlink_to(root / "round.jpg")
    (root / "loop").symlink_to(root)
    for name in IGNORED:
        (root / name).touch()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, known_person: Any) -> Path:
    root = tmp_path_factory.mktemp("bulk") / "photos"
    fill(root, known_person.size)
    return root


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
Runner = Callable[[list[dict[str, Any]]], list[int]]


@pytest.fixture(scope="module")
def runner(photos: Path, known_person: Any) -> Runner:
    """Does runs over the folder, each in a process, and gives their exit codes."""
    person, runs = photos.parent / "person.pickle", photos.parent / "runs.json"
    person.write_bytes(pickle.dumps(known_person))
    here = Path(__file__).parent

    def run(specs: list[dict[str, Any]]) -> list[int]:
        specs = [{"photos": str(photos), "save": ["params"]} | spec for spec in specs]
        runs.write_text(json.dumps(specs))
        done = subprocess.run(
            [sys.executable, str(here / "bulk_run.py"), str(person), str(runs)],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return [int(line) for line in done.stdout.split()]

    return run


def files_of(out: Path) -> dict[str, bytes]:
    """Every file of a run, but for the times in its summary."""
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    summary = json.loads(found["summary.json"])
    assert summary.pop("timing")["photos"] > 0
    return found | {"summary.json": json.dumps(summary).encode()}


@needs_fork
@pytest.mark.parametrize("same_person", [False, True])
def test_a_killed_run_ends_as_an_unbroken_one(
    photos: Path, runner: Runner, same_person: bool
) -> None:
    whole, broken = photos.parent / f"whole_{same_person}", photos.parent / f"broken_{same_person}"
    common = {"same_person": same_person, "save": ["params"] if same_person else ["params", "mesh"]}
    codes = runner(
        [
            common | {"out": str(whole)},
            common | {"out": str(broken), "die_looking": 3},
            common | {"out": str(broken), "end_writing": 8},
            common | {"out": str(broken)},
        ]
    )
    assert codes == [0, -signal.SIGKILL, -signal.SIGKILL, 0]
    unbroken, finished = files_of(whole), files_of(broken)
    assert finished.keys() == unbroken.keys()
    assert [name for name in unbroken if finished[name] != unbroken[name]] == []

    content = json.loads((broken / "summary.json").read_text())
    status = {os.path.relpath(entry["path"], photos): entry for entry in content["inputs"]}
    assert len(status) == len(content["inputs"]) == 30 == len(GOOD) + len(BAD)
    assert {name: status[name]["status"] for name in BAD} == BAD
    assert all(status[name]["message"] for name in BAD)
    assert [name for name in GOOD if status[name]["status"] != "ok"] == []
    folders = [status[name]["folder"] for name in GOOD]
    assert len(set(folders)) == len(GOOD)
    assert all((broken / folder / "person_0.npz").is_file() for folder in folders)
    assert len(status["crowd.png"]["people"]) == (1 if same_person else 3)
    assert content["files_ignored"] == len(IGNORED)
    drafts = [path.name for path in broken.rglob(".*") if path.name.endswith(".unfinished")]
    assert drafts == []


@needs_fork
def test_the_command_goes_on_after_signals(runner: Runner, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    astronaut = read_photo(SHIPPED / "photos" / "astronaut.png")
    for name in ("a.png", "b.png", "c.png"):
        save_picture(shrink(astronaut, 200), photos / name)
    (photos / "list.jpg").write_text("no picture")
    (tmp_path / "list.txt").write_text(f"{photos}\n{photos / 'gone.jpg'}\n")

    paths = [f"@{tmp_path / 'list.txt'}", "--out", str(tmp_path / "out")]
    command = ["predict", *paths, "--person", "main", "--save", "params", "--batch-size", "2"]
    codes = runner(
        [
            {"command": command, "end_writing": 1, "by": signal.SIGTERM},
            {"command": command, "end_writing": 4},
            {"command": command},
        ]
    )
    assert codes == [128 + signal.SIGTERM, -signal.SIGKILL, 0]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["counts"] == {"ok": 3, "unreadable": 2}
    assert summary["timing"]["photos"] == 3  # each of the others finished one
