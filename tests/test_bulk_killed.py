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
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from plausibody.assets.catalog import SHIPPED
from plausibody.predict.drawing.bodies import save_picture, shrink
from plausibody.predict.reading.photo import read_photo

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


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

MODES = {
    "plain": {"same_person": False, "save": ["params", "mesh"]},
    "one": {"same_person": True, "save": ["params"]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, photos: Path, known_person: Any) -> Path:
    """Runs that are killed and go on, each in a process of its own; all begun by one."""
    root = tmp_path_factory.mktemp("runs")
    specs: list[dict[str, Any]] = []
    for mode, common in MODES.items():
        common = common | {"photos": str(photos)}
        whole, broken = str(root / f"whole_{mode}"), str(root / f"broken_{mode}")
        specs += [
            common | {"out": whole},
            common | {"out": broken, "die_looking": 3},
            common | {"out": broken, "end_writing": 8},
            common | {"out": broken},
        ]
    command = command_on_three(root)
    specs += [
        {"command": command, "end_writing": 1, "by": signal.SIGTERM},
        {"command": command, "end_writing": 4},
        {"command": command},
    ]
    (root / "person.pickle").write_bytes(pickle.dumps(known_person))
    (root / "runs.json").write_text(json.dumps(specs))
    script = Path(__file__).parent / "bulk_run.py"
    done = subprocess.run(
        [sys.executable, str(script), str(root / "person.pickle"), str(root / "runs.json")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    (root / "codes.json").write_text(json.dumps([int(line) for line in done.stdout.split()]))
    return root


def command_on_three(root: Path) -> list[str]:
    """Makes three small photos of somebody and a list with more, and gives a command for it."""
    photos = root / "three"
    photos.mkdir()
    astronaut = shrink(read_photo(SHIPPED / "photos" / "astronaut.png"), 200)
    for name in ("a.png", "b.png", "c.png"):
        save_picture(astronaut, photos / name)
    (photos / "list.jpg").write_text("no picture")
    (root / "list.txt").write_text(f"{photos}\n{photos / 'gone.jpg'}\n")
    paths = [f"@{root / 'list.txt'}", "--out", str(root / "command")]
    return ["predict", *paths, "--person", "main", "--save", "params", "--batch-size", "2"]


def codes(root: Path, first: int, count: int) -> list[int]:
    """Exit codes of some of the processes."""
    found: list[int] = json.loads((root / "codes.json").read_text())
    return found[first : first + count]


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


def test_killed_runs_end_as_unbroken_ones(photos: Path, root: Path) -> None:
    """All in one, so that the processes are not started by several workers of pytest."""
    for mode in MODES:
        check_files(photos, root, mode)
    check_command(root)


def check_files(photos: Path, root: Path, mode: str) -> None:
    """Compares the files of a run that was killed twice with those of an unbroken one."""
    whole, broken = root / f"whole_{mode}", root / f"broken_{mode}"
    assert codes(root, 4 * list(MODES).index(mode), 4) == [0, -signal.SIGKILL, -signal.SIGKILL, 0]
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
    assert len(status["crowd.png"]["people"]) == {"plain": 3, "one": 1}[mode]
    assert content["files_ignored"] == len(IGNORED)
    drafts = [path.name for path in broken.rglob(".*") if path.name.endswith(".unfinished")]
    assert drafts == []


def check_command(root: Path) -> None:
    """Looks what the command made, by three processes of which two were sent signals."""
    assert codes(root, 8, 3) == [128 + signal.SIGTERM, -signal.SIGKILL, 0]
    summary = json.loads((root / "command" / "summary.json").read_text())
    assert summary["counts"] == {"ok": 3, "unreadable": 2}
    assert summary["timing"]["photos"] == 3  # each of the others finished one
