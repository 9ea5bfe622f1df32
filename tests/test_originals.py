"""Published assets are found as downloaded, counted, and told from what is not them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from plausibody.assets.catalog import SHIPPED, find_asset
from plausibody.assets.contents import read_headers
from plausibody.models.rotations import axis_rotation, rotmat_to_rotvec, rotvec_to_rotmat
from plausibody.synth.originals import ORIGINALS, OriginalFinding, check_originals
from plausibody.synth.pose_check import check_store, find_stores
from plausibody.synth.poses import PoseWriter, load_poses


@pytest.fixture
def check(tmp_path: Path) -> Callable[[], dict[str, OriginalFinding]]:
    return lambda: {found.original.name: found for found in check_originals([tmp_path])}


def names_of(others: int, amass: int) -> np.ndarray:
    begins = ["h36m_", "up3d/", "3dpw_"]
    names = [f"{begins[place % 3]}{place}" for place in range(others)]
    return np.array(names + [f"CMU/{place}" for place in range(amass)])


def test_nothing_is_there_and_nothing_is_needed(check: Callable[[], dict]) -> None:
    found = check()
    assert {finding.state for finding in found.values()} == {"missing"}
    assert len(found) == len(ORIGINALS) and all(finding.detail for finding in found.values())
    assert found["UV_Processed.mat"].detail.startswith("from DensePose")


def test_lists_of_published_length(tmp_path: Path, check: Callable[[], dict]) -> None:
    rows = np.zeros((91_106 + 5, 1), np.float16)
    np.savez(tmp_path / "smpl_train_poses.npz", poses=rows, fnames=names_of(91_106, 5))
    np.savez(tmp_path / "smpl_val_poses.npz", poses=rows[:30], fnames=names_of(20, 10))
    found = check()
    train, val = found["smpl_train_poses.npz"], found["smpl_val_poses.npz"]
    assert train.state == "as published"
    assert train.counts == {"poses": 91_111, "not_amass": 91_106}
    assert "plausibody assets import poses" in train.detail
    assert val.state == "other counts" and val.counts == {"poses": 30, "not_amass": 20}
    name, came, wanted, state, _ = val.row()
    assert (name, came) == ("smpl_val_poses.npz", "30 poses, 20 not_amass")
    assert (wanted, state) == ("33,347 poses", "other counts")


def test_pictures_charts_and_regressors(tmp_path: Path, check: Callable[[], dict]) -> None:
    atlas = np.zeros((1, 1200, 800, 3), np.uint8)
    np.savez_compressed(tmp_path / "smpl_val_textures.npz", grey=atlas, nongrey=atlas[:0])
    (tmp_path / "lsun_backgrounds" / "val" / "kitchen").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (9, 8)).save(tmp_path / f"lsun_backgrounds/val/kitchen/{name}.jpg")
    chart = {
        "All_Faces": np.ones((13_774, 3), np.uint32),
        "All_FaceIndices": np.ones((13_774, 1), np.uint8),
        "All_vertices": np.ones((1, 7_829), np.uint32),
    }
    scipy.io.savemat(tmp_path / "UV_Processed.mat", chart)
    np.save(tmp_path / "J_regressor_h36m.npy", np.full((17, 6890), 1 / 6890))
    np.save(tmp_path / "J_regressor_extra.npy", np.zeros((9, 6890)))
    np.save(tmp_path / "cocoplus_regressor.npy", np.zeros((19, 24)))
    found = check()
    textures = found["smpl_val_textures.npz"]
    assert textures.state == "other counts" and textures.counts == {"grey": 1, "nongrey": 0}
    assert found["lsun_backgrounds/val"].counts == {"pictures": 2}
    assert found["lsun_backgrounds/train"].state == "missing"
    assert found["UV_Processed.mat"].state == "as published"
    assert found["J_regressor_h36m.npy"].state == "as published"
    assert "rows that sum to one, came 1 off" in found["J_regressor_extra.npy"].detail
    assert "wanted floats (K, 6890)" in found["cocoplus_regressor.npy"].detail


def test_bodies_are_opened(tmp_path: Path, check: Callable[[], dict]) -> None:
    folder = tmp_path / "smpl"
    folder.mkdir()
    (folder / "readme.txt").touch()
    assert "wanted SMPL_NEUTRAL.pkl or its like, came readme.txt" in check()["smpl"].detail
    body = find_asset("body/open_female.npz")
    (folder / "SMPL_FEMALE.npz").write_bytes(body.read_bytes())
    assert check()["smpl"].counts == {"bodies": 1} and check()["smpl"].state == "other counts"
    for gender in ("MALE", "NEUTRAL"):
        (folder / f"SMPL_{gender}.npz").write_bytes(body.read_bytes())
    assert check()["smpl"].state == "as published"
    (folder / "SMPL_MALE.npz").write_bytes(b"cut")
    assert check()["smpl"].state == "unusable"


def test_what_is_damaged_is_told(tmp_path: Path, check: Callable[[], dict]) -> None:
    np.savez(tmp_path / "whole.npz", poses=np.zeros((5, 72)), fnames=names_of(5, 0))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "smpl_train_poses.npz").write_bytes(whole[:-40])
    np.savez(tmp_path / "smpl_val_poses.npz", poses=np.zeros((5, 72)))
    objects = names_of(5, 0).astype(object)
    np.savez(tmp_path / "up3d_3dpw_val.npz", poses=np.zeros((5, 72)), fnames=objects)
    np.savez(tmp_path / "smpl_train_textures.npz", grey=np.zeros((2, 12, 8, 3)))
    (tmp_path / "UV_Processed.mat").write_bytes(b"no such file")
    (tmp_path / "J_regressor_h36m.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "lsun_backgrounds" / "train").mkdir(parents=True)
    np.save(tmp_path / "cocoplus_regressor.npy", objects)
    found = check()
    for name, said in {
        "smpl_train_poses.npz": "cut short",
        "smpl_val_poses.npz": "wanted poses and fnames, came poses",
        "up3d_3dpw_val.npz": "came pickled objects, which are never opened",
        "smpl_train_textures.npz": "wanted grey as uint8 (T, 1200, 800, 3), came float64",
        "UV_Processed.mat": "",
        "J_regressor_h36m.npy": "",
        "cocoplus_regressor.npy": "",
        "lsun_backgrounds/train": "wanted pictures",
    }.items():
        assert found[name].state == "unusable" and said in found[name].detail
        assert found[name].detail and not found[name].counts


def test_headers_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    objects = np.array([{}], object)
    np.savez(path, a=np.zeros((3, 4), np.float16), b=np.array("text"), c=objects)
    headers = read_headers(path)
    assert headers["a"].shape == (3, 4) and headers["a"].dtype == np.float16
    assert headers["b"].shape == ()
    assert [name for name, header in headers.items() if header.pickled] == ["c"]
    with pytest.raises(FileNotFoundError):
        read_headers(tmp_path / "none.npz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a\.npz: wanted an \.npz file of plain arrays"):
        read_headers(path)


def test_the_shipped_store_is_sound() -> None:
    path = find_asset("poses/cmu.h5")
    assert path in find_stores([SHIPPED])
    check = check_store(path)
    assert check.line().startswith("4,071 test, 38,839 train, 3,795 val poses, 98% upright, 3 ")
    assert not check.fault and check.counts.keys() == {"train", "val", "test"}
    assert check.looked_at == sum(check.counts.values()) and check.upright > 0.95
    assert check.impossible <= 5 and check.impossible_by_joint.keys() <= {"left_elbow"}
    few = check_store(path, most=1000)
    assert 900 < few.looked_at < 1200 and abs(few.upright - check.upright) < 0.02


def test_unsound_stores(tmp_path: Path) -> None:
    poses = load_poses(find_asset("poses/cmu.h5"), "val").rotvecs[::40].clone()
    poses[3, 4] = torch.tensor([-1.0, 0, 0])
    with PoseWriter(tmp_path / "mine.h5") as writer:
        writer.append("train", poses, ["a"] * len(poses))
    check = check_store(tmp_path / "mine.h5")
    assert check.impossible_by_joint == {"left_knee": 1} and not check.fault

    lying = axis_rotation(0, torch.tensor(2.5)) @ rotvec_to_rotmat(poses[:, 0])
    poses[:, 0] = rotmat_to_rotvec(lying)
    with PoseWriter(tmp_path / "lying.h5") as writer:
        writer.append("train", poses, ["a"] * len(poses))
    assert "it is in another frame" in check_store(tmp_path / "lying.h5").fault

    with h5py.File(tmp_path / "mine.h5", "a") as file:
        del file["train/poses"]
        poses[5, 5] = torch.nan
        file["train/poses"] = poses.numpy()
    check = check_store(tmp_path / "mine.h5")
    assert check.not_finite == 1 and "1 poses are not finite" in check.fault
    (tmp_path / "mine.h5").write_bytes(b"cut")
    assert "wanted an HDF5 pose store" in check_store(tmp_path / "mine.h5").fault
