"""`plausibody assets import`: what others have becomes stores that the stream can open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from plausibody.assets.catalog import find_asset
from plausibody.cli import main
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.poses import load_poses
from plausibody.synth.texture_published import load_published


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["assets", "import", *map(str, arguments)])


@pytest.fixture
def pose_list(tmp_path: Path) -> Path:
    poses = load_poses(find_asset("poses/cmu.h5"), "test").rotvecs[:60].flatten(1)
    path = tmp_path / "list_train.npz"
    np.savez(path, poses=poses.numpy(), fnames=np.array([f"up3d/{n:03d}" for n in range(60)]))
    return path


def test_poses_become_a_store(pose_list: Path, tmp_path: Path) -> None:
    out = tmp_path / "poses.h5"
    result = run("poses", pose_list, "--frame", "body", "--out", out, "--no-limits")
    assert result.exit_code == 0, result.output
    assert len(load_poses(out, "train")) == 60
    assert "60 train" in result.output and f"sources.poses={out}" in result.output.replace("\n", "")


def test_poses_in_another_frame_than_said_are_refused(pose_list: Path, tmp_path: Path) -> None:
    result = run("poses", pose_list, "--frame", "straps", "--out", tmp_path / "poses.h5")
    assert result.exit_code == 1 and "upright" in result.output and "body" in result.output
    assert not (tmp_path / "poses.h5").exists()


def test_a_rate_below_zero_is_wrong_usage(pose_list: Path, tmp_path: Path) -> None:
    result = run("poses", pose_list, "--rate", "-1", "--out", tmp_path / "poses.h5")
    assert result.exit_code == 2 and "rate" in result.output


def test_a_folder_of_pictures_becomes_a_store(tmp_path: Path) -> None:
    folder, out = tmp_path / "rooms", tmp_path / "rooms.h5"
    folder.mkdir()
    for shade in (40, 120, 200):
        Image.new("RGB", (80, 64), (shade, 90, 60)).save(folder / f"{shade}.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    result = run("backgrounds", folder, "--out", out, "--size", 48)
    assert result.exit_code == 0, result.output
    assert "3 pictures, 1 skipped" in result.output
    assert result.output.count("broken.jpg") == 1
    assert len(load_backgrounds(out, side=48)) == 3


def test_an_empty_folder_says_what_was_wanted(tmp_path: Path) -> None:
    result = run("backgrounds", tmp_path, "--out", tmp_path / "rooms.h5")
    assert result.exit_code == 1 and "wanted" in result.output


def test_published_textures_become_a_store(tmp_path: Path) -> None:
    source, out = tmp_path / "smpl_train_textures.npz", tmp_path / "textures.h5"
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 255, (3, 1200, 800, 3), dtype=np.uint8)
    np.savez(source, grey=pictures[:1], nongrey=pictures[1:])
    result = run("textures", source, "--out", out, "--half")
    assert result.exit_code == 0, result.output
    bank = load_published(out)
    assert bank.images.shape == (3, 600, 400, 3) and bank.grey.tolist() == [False, False, True]
