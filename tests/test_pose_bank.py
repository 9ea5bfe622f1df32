"""Pose stores are written whole or not at all, read back equal, and kept small where large."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.synth import memory
from plausibody.synth.chance import Chance
from plausibody.synth.memory import free_memory, require_memory
from plausibody.synth.poses import (
    LONGEST_NAME,
    UNIT,
    PoseBank,
    PoseWriter,
    load_poses,
    read_blocks,
    splits_of,
)
from plausibody.synth.scene import JointLimits, PoseSettings, draw_pose
from plausibody.synth.stores import SourceSettings, load_assets


def random_poses(count: int, seed: int = 0) -> Tensor:
    return 0.6 * torch.randn(count, 24, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of more than one block in training, and a few poses to validate."""
    path = tmp_path / "mine.h5"
    with PoseWriter(path, rate=2.0) as writer:
        for start in (0, 3000, 6000):
            names = [f"a/{start + place}" for place in range(3000)]
            writer.append("train", random_poses(9000)[start : start + 3000], names)
        writer.append("val", random_poses(7, 1), [f"é/{place}" for place in range(7)])
    return path


def test_poses_come_back_as_written(store: Path) -> None:
    assert splits_of(store) == {"train": 9000, "val": 7}
    bank = load_poses(store, "train")
    torch.testing.assert_close(bank.rotvecs, random_poses(9000), atol=UNIT / 2 + 1e-7, rtol=0)
    blocks = list(read_blocks(store, "train"))
    assert torch.equal(torch.cat([rotvecs for rotvecs, _ in blocks]), bank.rotvecs)
    assert [name for _, names in blocks for name in names] == [f"a/{n}" for n in range(9000)]
    assert list(read_blocks(store, "val"))[0][1] == [f"é/{n}" for n in range(7)]
    with h5py.File(store) as file:
        assert dict(file.attrs) == {"frame": "body", "rate": 2.0}


def test_large_banks_draw_the_same_from_half_the_memory(store: Path) -> None:
    small, large = load_poses(store, "train"), load_poses(store, "train", few=100)
    assert small.stored.dtype == torch.float32 and large.stored.dtype == torch.int16
    assert torch.equal(small.rotvecs, large.rotvecs)
    index = torch.tensor([[5, 8999], [0, 5]])
    assert torch.equal(small.pick(index), large.pick(index))
    assert torch.equal(small.pick(index), small.rotvecs[index])
    chance = Chance(3, torch.arange(50))
    limits = JointLimits.of(small)
    assert torch.equal(limits.low, JointLimits.of(large).low)
    drawn = [draw_pose(chance, bank, limits, PoseSettings()) for bank in (small, large)]
    assert torch.equal(*drawn)
    assert large.to("cpu").unit == large.unit


def test_half_precision_stores_stay_as_they_are() -> None:
    from plausibody.assets.catalog import find_asset

    path = find_asset("poses/cmu.h5")
    small, large = load_poses(path, "val"), load_poses(path, "val", few=0)
    assert large.stored.dtype == torch.float16
    assert torch.equal(small.rotvecs, large.rotvecs)


def test_a_spread_keeps_even_distances() -> None:
    bank = PoseBank(torch.arange(10.0)[:, None, None].expand(10, 24, 3))
    assert bank.spread(5)[:, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert bank.spread(3)[:, 0, 0].tolist() == [0, 3, 6]
    assert torch.equal(bank.spread(10), bank.rotvecs)


def test_nothing_is_left_of_a_store_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    path.write_text("as before")
    with pytest.raises(KeyError), PoseWriter(path) as writer:
        writer.append("train", random_poses(5000), [str(n) for n in range(5000)])
        raise KeyError("the source broke")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.h5"]
    assert path.read_text() == "as before"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 4.1])
def test_the_writer_takes_rotations_only(tmp_path: Path, wrong: float) -> None:
    poses = random_poses(3)
    poses[1, 5, 2] = wrong
    with pytest.raises(ValueError, match="wanted finite rotations"):
        with PoseWriter(tmp_path / "mine.h5") as writer:
            writer.append("train", poses, ["a", "b", "c"])
    assert not list(tmp_path.iterdir())


def test_long_names_keep_their_end(tmp_path: Path) -> None:
    with PoseWriter(tmp_path / "mine.h5") as writer:
        writer.append("train", random_poses(1), ["x" * 500 + "end"])
    ((_, names),) = read_blocks(tmp_path / "mine.h5", "train")
    assert len(names[0]) == LONGEST_NAME and names[0].endswith("xend")


def test_a_store_without_names_gets_some(store: Path) -> None:
    with h5py.File(store, "a") as file:
        del file["val/names"]
    ((_, names),) = read_blocks(store, "val")
    assert names == [f"mine_val_{place}" for place in range(7)]


def test_stores_that_cannot_be_used(store: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        load_poses(tmp_path / "none.h5", "train")
    with pytest.raises(ValueError, match=r"wanted the split 'test', the file has \['train', 'val'"):
        load_poses(store, "test")

    cut = tmp_path / "cut.h5"
    cut.write_bytes(store.read_bytes()[:-20_000])
    with pytest.raises(ValueError, match="wanted an HDF5 pose store, but it cannot be read"):
        load_poses(cut, "train")

    with h5py.File(store, "a") as file:
        file["none/names"] = np.array([b"a"])
        file["flat/poses"] = np.zeros((5, 72))
        file["empty/poses"] = np.zeros((0, 24, 3))
        file["text/poses"] = np.full((1, 24, 3), b"a")
        file["nan/poses"] = np.full((1, 24, 3), np.nan)
    with pytest.raises(ValueError, match="wanted the array 'poses' in the split 'none'"):
        load_poses(store, "none")
    for split, came in (("flat", r"\(5, 72\)"), ("empty", r"\(0, 24, 3\)"), ("text", r"\|S1")):
        with pytest.raises(ValueError, match=f"wanted poses of shape .*{came}"):
            load_poses(store, split)
    with pytest.raises(ValueError, match="wanted finite poses.*do: import them again"):
        load_poses(store, "nan")

    with h5py.File(store, "a") as file:
        file.attrs["frame"] = "camera"
    with pytest.raises(ValueError, match="wanted a pose store with the attribute frame='body'"):
        load_poses(store, "train")


def test_a_cache_beyond_the_memory_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    2000 kB\n")
    assert free_memory() == 2_048_000
    with pytest.raises(ValueError, match="9,000 poses: wanted 0.00 GB of memory.*--rate"):
        load_poses(store, "train")  # 2.6 MB
    assert len(load_poses(store, "train", few=0)) == 9000  # 1.3 MB

    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    assert free_memory() == 1000
    with pytest.raises(ValueError, match="do: buy more"):
        require_memory(950, "pictures", "buy more")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == 2_048_000
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable: many kB")
    assert free_memory() is None
    require_memory(10**18, "pictures", "nothing is known, nothing refused")


def test_a_store_whose_people_do_not_stand_is_refused(tmp_path: Path) -> None:
    """Written by hand, its frame is only said to be ours."""
    poses = 0.1 * random_poses(50)
    for name, turn in (("upright", 0.0), ("lying", -1.57), ("upside_down", 3.1)):
        poses[:, 0] = torch.tensor([turn, 0.0, 0.0])
        poses[:, 0, 0] += torch.linspace(-0.3, 0.3, 50)  # they lean this way and that
        with PoseWriter(tmp_path / f"{name}.h5") as writer:
            writer.append("train", poses, ["a"] * 50)
    assert len(load_assets(sources=SourceSettings(poses=str(tmp_path / "upright.h5"))).bank) == 50
    for name in ("lying", "upside_down"):
        with pytest.raises(ValueError, match=rf"{name}\.h5: poses in another frame than said: "):
            load_assets(sources=SourceSettings(poses=str(tmp_path / f"{name}.h5")))
