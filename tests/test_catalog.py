"""Assets are found in a stated order, and checked against what shipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from plausibody.assets import catalog
from plausibody.assets.catalog import (
    MANIFEST,
    SHIPPED,
    check_assets,
    find_asset,
    list_assets,
    search_directories,
)
from plausibody.assets.contents import read_shapes
from plausibody.assets.topology import topology_hash

FACES = np.array([[0, 1, 2], [2, 1, 3]])


def test_folders_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAUSIBODY_ASSETS", str(tmp_path / "named"))
    places = search_directories(tmp_path / "outright")
    assert places[:3] == (tmp_path / "outright", tmp_path / "named", Path("train_files"))
    assert places[-1] == SHIPPED
    monkeypatch.delenv("PLAUSIBODY_ASSETS")
    assert search_directories()[0] == Path("train_files")


def test_the_checkout_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train_files").mkdir()
    monkeypatch.delenv("PLAUSIBODY_ASSETS", raising=False)
    monkeypatch.setattr(catalog, "SHIPPED", tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    assert search_directories() == (Path("train_files"), tmp_path / "assets")
    monkeypatch.chdir(tmp_path / "train_files")
    assert search_directories()[:2] == (Path("train_files"), tmp_path / "train_files")


def test_the_folders_of_published_checkouts_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkout = tmp_path / "HierarchicalProbabilistic3DHuman"
    (checkout / "model_files" / "smpl").mkdir(parents=True)
    (checkout / "train_files").mkdir()
    monkeypatch.setenv("PLAUSIBODY_ASSETS", str(checkout))
    inside = (checkout / "train_files", checkout / "model_files")
    assert search_directories()[:4] == (checkout, *inside, Path("train_files"))
    assert find_asset("smpl") == checkout / "model_files" / "smpl"


def test_the_first_file_found_wins(tmp_path: Path) -> None:
    for folder in ("second", "third"):
        (tmp_path / folder / "body").mkdir(parents=True)
        (tmp_path / folder / "body" / "mine.npz").touch()
    places = [tmp_path / name for name in ("first", "second", "third")]
    assert find_asset("body/mine.npz", places) == tmp_path / "second" / "body" / "mine.npz"
    assert find_asset("body", places) == tmp_path / "second" / "body"


def test_an_absent_file_names_every_place(tmp_path: Path) -> None:
    places = [tmp_path / "first", tmp_path / "second"]
    with pytest.raises(FileNotFoundError) as error:
        find_asset("poses/none.h5", places)
    message = str(error.value)
    assert all(str(place / "poses/none.h5") in message for place in places)
    assert "$PLAUSIBODY_ASSETS" in message


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A folder as it ships: a body, a file indexed by its vertices, poses, a note, a manifest."""
    folder = tmp_path / "shipped"
    for name in ("body", "poses"):
        (folder / name).mkdir(parents=True)
    topology = topology_hash(FACES)
    np.savez(folder / "body/open_neutral.npz", f=FACES, topology=topology)
    np.savez(folder / "body/regressors.npz", coco17=np.zeros((17, 4)), topology=topology)
    with h5py.File(folder / "poses/cmu.h5", "w") as file:
        file["train/poses"] = np.zeros((5, 24, 3))
    (folder / "note.json").write_text("{}")
    entries = [
        {
            "path": path.relative_to(folder).as_posix(),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "source": "made by a test",
            "licence": "Apache-2.0",
            "attribution": "plausibody",
        }
        for path in sorted(folder.rglob("*.*"))
    ]
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture
def check(shipped: Path) -> Callable[..., dict[str, Any]]:
    """Checks the folder behind others, and gives what it found by path."""

    def run(*before: Path) -> dict[str, Any]:
        findings = check_assets([*before, shipped], shipped / "manifest.json")
        return {finding.asset.path: finding for finding in findings}

    return run


def test_a_whole_set_is_found_whole(check: Callable[..., dict[str, Any]], shipped: Path) -> None:
    found = check()
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["body/regressors.npz"].shapes == {"coco17": (17, 4), "topology": ()}
    assert found["poses/cmu.h5"].shapes == {"train/poses": (5, 24, 3)}
    assert found["poses/cmu.h5"].found == shipped / "poses/cmu.h5"
    assert found["note.json"].asset.licence == "Apache-2.0" and not found["note.json"].shapes


def test_missing_and_altered_files(check: Callable[..., dict[str, Any]], shipped: Path) -> None:
    (shipped / "note.json").unlink()
    (shipped / "poses/cmu.h5").write_bytes(b"cut")
    data = bytearray((shipped / "body/regressors.npz").read_bytes())
    data[-1] ^= 1
    (shipped / "body/regressors.npz").write_bytes(data)
    found = check()
    assert {path: finding.state for path, finding in found.items()} == {
        "body/open_neutral.npz": "ok",
        "body/regressors.npz": "altered",
        "note.json": "missing",
        "poses/cmu.h5": "altered",
    }
    assert found["note.json"].found is None and str(shipped) in found["note.json"].detail
    assert "bytes, came 3" in found["poses/cmu.h5"].detail
    assert "wanted sha256" in found["body/regressors.npz"].detail


def test_a_missing_body_leaves_the_others(
    check: Callable[..., dict[str, Any]], shipped: Path
) -> None:
    (shipped / "body/open_neutral.npz").unlink()
    found = check()
    assert found["body/open_neutral.npz"].state == "missing"
    assert found["body/regressors.npz"].state == "ok"


def test_files_of_the_user_come_first(check: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "body").mkdir(parents=True)
    (mine / "poses").mkdir()
    np.savez(mine / "body/regressors.npz", coco17=np.ones((17, 4)), topology=topology_hash(FACES))
    (mine / "poses/cmu.h5").write_bytes(b"no store")
    found = check(tmp_path / "absent", mine)
    assert found["body/regressors.npz"].state == "replaced"
    assert found["body/regressors.npz"].found == mine / "body/regressors.npz"
    assert found["poses/cmu.h5"].state == "unreadable"
    assert found["note.json"].state == "ok"


def test_another_topology_is_not_let_in(
    check: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / "body").mkdir(parents=True)
    np.savez(mine / "body/regressors.npz", coco17=np.ones((17, 4)), topology="0123456789abcdef")
    finding = check(mine)["body/regressors.npz"]
    assert finding.state == "wrong topology"
    assert finding.detail.endswith("came 0123456789abcdef")


def test_a_new_body_makes_the_old_regressors_wrong(
    check: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / "body").mkdir(parents=True)
    np.savez(mine / "body/open_neutral.npz", f=FACES[::-1])
    assert check(mine)["body/regressors.npz"].state == "wrong topology"


@pytest.mark.parametrize("text", ["", "{}x", '[{"path": "a"}]', "[1]"])
def test_a_manifest_of_another_kind(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json: wanted a list of assets with path, sha"):
        list_assets(tmp_path / "manifest.json")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="wanted the list of what ships"):
        list_assets(tmp_path / "manifest.json")


def test_shapes_of_weights(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(())}
    save_file(tensors, tmp_path / "net.safetensors", metadata={"card": "x"})
    assert read_shapes(tmp_path / "net.safetensors") == {"a": (2, 3), "b": ()}


@pytest.mark.skipif(not MANIFEST.exists(), reason="the manifest is not built yet")
def test_what_ships_is_whole_and_listed() -> None:
    findings = check_assets([SHIPPED])
    assert [
        (finding.asset.path, finding.state) for finding in findings if finding.state != "ok"
    ] == []
    assets = [finding.asset for finding in findings]
    assert all(asset.source and asset.licence and asset.attribution for asset in assets)
    folders = ("body", "poses", "photos", "front_end", "weights", "textures", "backgrounds")
    files = {
        path.relative_to(SHIPPED).as_posix()
        for folder in folders
        for path in (SHIPPED / folder).rglob("*")
        if path.is_file()
    }
    assert files - {asset.path for asset in assets} == set()
    assert sum(asset.bytes for asset in assets) < 50e6
