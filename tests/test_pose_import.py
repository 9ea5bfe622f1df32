"""Poses as others publish them come back as the bodies that were put in, upright, and split."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.assets.builders import poses as builder
from plausibody.assets.catalog import find_asset
from plausibody.models.rotations import (
    axis_rotation,
    geodesic_angle,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)
from plausibody.models.skeleton import SMPL24
from plausibody.synth import pose_splits
from plausibody.synth.pose_frames import FRAMES, Frame, turn_upright
from plausibody.synth.pose_import import ImportOptions, ImportSummary, import_poses
from plausibody.synth.poses import UNIT, load_poses, read_blocks

Z_UP_FROM_Y_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]).double()
"""(x, y, z) becomes (x, -z, y): what was up, along y, is then along z."""
Y_DOWN_FROM_Y_UP = torch.diag(torch.tensor([1.0, -1, -1])).double()


@pytest.fixture(scope="module")
def ours() -> Tensor:
    """Sound poses of the shipped store, in our frame; hands at rest."""
    return load_poses(find_asset("poses/cmu.h5"), "val").rotvecs[::19].double()


def seen_as(poses: Tensor, change: Tensor) -> np.ndarray:
    """Turns whole bodies into another frame."""
    root = rotmat_to_rotvec(change @ rotvec_to_rotmat(poses[:, 0]))
    return torch.cat([root[:, None], poses[:, 1:]], 1).flatten(1).numpy()


def smplh(poses: Tensor, width: int = 156) -> np.ndarray:
    """Rows of AMASS: 22 joints, then fingers that are not at rest."""
    rows = np.full((len(poses), width), 0.3)
    rows[:, :66] = seen_as(poses, Z_UP_FROM_Y_UP)[:, :66]
    return rows


def write_amass(path: Path, motion: Tensor, rate: float = 100.0, **arrays: Any) -> Path:
    """Writes a motion as AMASS does, pickle of a gender and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    usual = {
        "poses": smplh(motion),
        "trans": np.zeros((len(motion), 3)),
        "mocap_framerate": np.array(rate),
        "gender": np.array(b"female"),
        "betas": np.zeros(16),
        "dmpls": np.zeros((len(motion), 8)),
    }
    np.savez(path, **{name: value for name, value in (usual | arrays).items() if value is not None})
    return path


def write_list(path: Path, poses: Tensor, names: list[str], **arrays: Any) -> Path:
    rows = seen_as(poses, Y_DOWN_FROM_Y_UP)
    np.savez(path, **({"fnames": np.array(names), "poses": rows} | arrays))
    return path


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., tuple[ImportSummary, Path]]:
    """Imports into one file."""

    def run(*paths: Path, **options: Any) -> tuple[ImportSummary, Path]:
        out = tmp_path / "out" / "store.h5"
        return import_poses(paths, out, ImportOptions(**options), overwrite=True), out

    return run


def same_bodies(stored: Tensor, wanted: Tensor) -> None:
    """Equal rotations, to the step of the store; half turns have two vectors."""
    angles = geodesic_angle(rotvec_to_rotmat(stored.double()), rotvec_to_rotmat(wanted.double()))
    assert angles.max() < 2 * UNIT


def test_amass_comes_back_in_our_frame(ours: Tensor, tmp_path: Path, take: Any) -> None:
    write_amass(tmp_path / "AMASS" / "ACCAD" / "s1" / "walk_poses.npz", ours)
    (tmp_path / "AMASS" / "ACCAD" / "s1" / "._walk_poses.npz").touch()
    summary, out = take(tmp_path / "AMASS", rate=None, split="train")
    bank = load_poses(out, "train")
    same_bodies(bank.rotvecs, ours)
    assert summary.written == {"train": len(ours)} and summary.files == 1
    assert summary.upright["amass"] > 0.9 and not summary.skipped
    hands = [SMPL24.index("left_hand"), SMPL24.index("right_hand")]
    assert (bank.rotvecs[:, hands] == 0).all()
    ((_, names),) = read_blocks(out, "train")
    assert names[:2] == ["ACCAD/s1/walk_poses_f00000", "ACCAD/s1/walk_poses_f00001"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"poses": "h", "mocap_framerate": None, "mocap_frame_rate": np.array([100])},
        {"poses": "x"},
        {"poses": "22"},
        {"poses": "smpl"},
        {"poses": "single"},
        {"poses": "parts"},
        {"gender": np.array({"an": "object"}, dtype=object)},
    ],
    ids=str,
)
def test_other_layouts_of_sequences(
    arrays: dict[str, Any], ours: Tensor, tmp_path: Path, take: Any
) -> None:
    rows = smplh(ours)
    kinds = {
        "h": {"poses": rows},
        "x": {"poses": smplh(ours, 165)},
        "22": {"poses": rows[:, :66].reshape(-1, 22, 3)},
        "smpl": {"poses": seen_as(ours, Z_UP_FROM_Y_UP)},
        "single": {"poses": rows.astype(np.float32)},
        "parts": {"poses": None, "root_orient": rows[:, :3], "pose_body": rows[:, 3:66]},
    }
    extra = arrays | kinds.get(arrays.get("poses", "h"), {})
    write_amass(tmp_path / "a" / "b" / "c.npz", ours, **extra)
    _, out = take(tmp_path / "a", rate=None, split="val")
    same_bodies(load_poses(out, "val").rotvecs, ours)


def test_every_frame_leads_to_ours(ours: Tensor) -> None:
    changes: dict[Frame, Tensor] = {
        "amass": Z_UP_FROM_Y_UP,
        "straps": Y_DOWN_FROM_Y_UP,
        "hierprob": Y_DOWN_FROM_Y_UP,
        "world": torch.eye(3).double(),
        "body": torch.eye(3).double(),
    }
    assert changes.keys() == FRAMES.keys()
    for frame, change in changes.items():
        there = torch.from_numpy(seen_as(ours, change)).unflatten(1, (24, 3))
        same_bodies(turn_upright(there, frame), ours)


def test_the_published_yaw_survives() -> None:
    """Who turns to their left in the camera's frame turns to their left in ours."""
    yaw = axis_rotation(1, torch.tensor([0.7]).double())
    pose = torch.zeros(1, 24, 3).double()
    pose[:, 0] = rotmat_to_rotvec(Y_DOWN_FROM_Y_UP @ yaw)
    root = rotvec_to_rotmat(turn_upright(pose, "hierprob")[:, 0])
    torch.testing.assert_close(root, yaw)


def test_rotations_beyond_half_a_turn_are_wrapped() -> None:
    axis = torch.nn.functional.normalize(torch.tensor([0.3, -1.0, 2.0]).double(), dim=0)
    angles = torch.tensor([0.0, 1.0, 3.0, 3.3, 6.0, 2 * math.pi, 9.0, -5.0]).double()
    pose = (angles[:, None, None] * axis).expand(-1, 24, 3)
    turned = turn_upright(pose, "amass")
    assert turned.norm(dim=-1).max() <= math.pi + 1e-9
    same_bodies(turned[:, 1:], pose[:, 1:])


def test_two_poses_a_second_are_taken(ours: Tensor, tmp_path: Path, take: Any) -> None:
    write_amass(tmp_path / "a" / "s" / "fast.npz", ours[:130], rate=120.0)
    write_amass(tmp_path / "a" / "s" / "slow.npz", ours[:7], rate=1.5)
    summary, out = take(tmp_path, split="train")
    same_bodies(load_poses(out, "train").rotvecs, torch.cat([ours[[0, 60, 120]], ours[:7]]))
    ((_, names),) = read_blocks(out, "train")
    assert names[:3] == [f"a/s/fast_f{place:05d}" for place in (0, 60, 120)]
    assert summary.left_out == 127
    assert take(tmp_path, split="train", rate=40.0)[0].written == {"train": 44 + 7}


def test_published_lists_are_filtered(ours: Tensor, tmp_path: Path, take: Any) -> None:
    poses = ours[:40]
    begins = ["h36m_S1", "up3d/001", "3dpw-walk", "CMU/07", "BMLmovi/x"]
    names = [f"{begins[place % 5]}_{place}" for place in range(40)]
    path = write_list(tmp_path / "smpl_train_poses.npz", poses, names)
    for rows, kept in (
        ("all", (0, 1, 2, 3, 4)), ("h36m", (0,)), ("up3d", (1,)), ("3dpw", (2,)),
        ("not_amass", (0, 1, 2)),
    ):  # fmt: skip
        summary, out = take(path, frame="hierprob", rows=rows)
        places = [place for place in range(40) if place % 5 in kept]
        same_bodies(load_poses(out, "train").rotvecs, poses[places])
        ((_, stored),) = read_blocks(out, "train")
        assert stored == [names[place] for place in places]
        assert summary.left_out == 40 - len(places)


def test_lists_go_where_their_name_says(ours: Tensor, tmp_path: Path, take: Any) -> None:
    for word in ("train", "val"):
        names = np.array([f"up3d/é{place}".encode() for place in range(10)])
        write_list(tmp_path / f"amass_up3d_3dpw_{word}.npz", ours[:10], [], fnames=names,
                   shapes=np.zeros((10, 10)))  # fmt: skip
    summary, out = take(tmp_path)
    assert summary.written == {"train": 10, "val": 10}
    assert list(read_blocks(out, "val"))[0][1][3] == "up3d/é3"
    path = write_list(tmp_path / "poses.npz", ours[:10], ["a"] * 10)
    with pytest.raises(ValueError, match="wanted one of the words train, val and test"):
        take(path)
    assert take(path, split="test")[0].written == {"test": 10}
    with pytest.raises(ValueError, match="a list does not tell who took its poses"):
        take(path, split="by-subject")


def test_stores_are_joined(ours: Tensor, tmp_path: Path, take: Any) -> None:
    write_amass(tmp_path / "AMASS" / "ACCAD" / "s1" / "walk.npz", ours)
    shipped = find_asset("poses/cmu.h5")
    summary, out = take(tmp_path / "AMASS", shipped, rate=None, frame="amass")
    counts = {split: len(load_poses(shipped, split)) for split in ("train", "val", "test")}
    counts["train"] -= 3  # impossible, by a hair
    counts["test"] += len(ours)  # where the hash of ACCAD/s1 puts it
    assert summary.written == counts and summary.impossible == 3
    same_bodies(load_poses(out, "test").rotvecs[: len(ours)], ours)
    same_bodies(load_poses(out, "val").rotvecs, load_poses(shipped, "val").rotvecs)


def test_people_stay_in_one_split(ours: Tensor, tmp_path: Path, take: Any) -> None:
    for subject in range(60):
        for motion in ("a", "b"):
            write_amass(tmp_path / "KIT" / str(subject) / f"{motion}.npz", ours[:2])
    for subject in ("07", "49", "01"):
        write_amass(tmp_path / "CMU" / subject / "a.npz", ours[:2])
    summary, out = take(tmp_path, rate=None)
    people = {
        split: {name.rpartition("/")[0] for _, names in read_blocks(out, split) for name in names}
        for split in summary.written
    }
    assert sum(map(len, people.values())) == 63
    assert len(people["train"]) > 45 and len(people["val"]) > 0 and len(people["test"]) > 0
    assert "CMU/07" in people["test"] and "CMU/49" in people["val"]


def test_data_sets_are_split_as_usual(ours: Tensor, tmp_path: Path, take: Any) -> None:
    for dataset in ("KIT", "HumanEva", "SSM_synced"):
        write_amass(tmp_path / dataset / "s" / "a.npz", ours[:2])
    summary, _ = take(tmp_path, split="by-dataset", rate=None)
    assert summary.written == {"train": 2, "val": 2, "test": 2}


def test_held_out_people_are_those_of_the_builder() -> None:
    held = {f"CMU/{subject}": builder.split_of(subject) for subject in range(1, 200)}
    assert pose_splits.HELD_OUT == {who: s for who, s in held.items() if s != "train"}


@pytest.mark.parametrize(
    ("said", "fits"), [("world", "--frame amass (z up"), ("straps", "--frame amass (z up")]
)
def test_another_frame_than_said(
    said: str, fits: str, ours: Tensor, tmp_path: Path, take: Any
) -> None:
    write_amass(tmp_path / "a" / "s" / "walk.npz", ours)
    with pytest.raises(ValueError) as error:
        take(tmp_path, frame=said, rate=None)
    assert "poses in another frame than said" in str(error.value) and fits in str(error.value)
    assert not list((tmp_path / "out").glob("*"))


def test_the_frame_of_lists_is_named(ours: Tensor, tmp_path: Path, take: Any) -> None:
    path = write_list(tmp_path / "train.npz", ours[:50], ["x"] * 50)
    with pytest.raises(ValueError, match=r"--frame straps .* or --frame hierprob"):
        take(path, frame="amass")


def test_people_on_the_floor_fit_no_frame(ours: Tensor, tmp_path: Path, take: Any) -> None:
    mixed = ours[:60].clone()
    mixed[::2, 0] = torch.tensor([0, 0, math.pi / 2 + 0.3]).double()
    write_amass(tmp_path / "a" / "s" / "walk.npz", mixed)
    with pytest.raises(ValueError, match="turn them first, no frame fits"):
        take(tmp_path, rate=None)


def test_impossible_poses_are_counted_and_dropped(ours: Tensor, tmp_path: Path, take: Any) -> None:
    poses = ours[:50].clone()
    poses[7, SMPL24.index("left_knee")] = torch.tensor([-0.6, 0, 0]).double()
    poses[9, SMPL24.index("left_knee")] = torch.tensor([-0.6, 0, 0]).double()
    poses[9, SMPL24.index("head")] = torch.tensor([1.5, 0, 0]).double()
    write_amass(tmp_path / "a" / "s" / "walk.npz", poses)
    summary, out = take(tmp_path, rate=None, split="train")
    assert summary.written == {"train": 48} and summary.impossible == 2
    assert summary.impossible_by_joint == {"left_knee": 2, "head": 1}
    ((_, names),) = read_blocks(out, "train")
    assert "a/s/walk_f00007" not in names and "a/s/walk_f00008" in names
    summary, _ = take(tmp_path, rate=None, split="train", limits=False)
    assert summary.written == {"train": 50} and summary.impossible == 2
    assert summary.lines()[2] == "kept: 2 impossible (left_knee 2, head 1)"


def test_what_cannot_be_used_is_named(ours: Tensor, tmp_path: Path, take: Any) -> None:
    folder = tmp_path / "a" / "s"
    rows = smplh(ours[:20])
    rows[3, 5] = np.nan
    rows[4, 0] = np.inf
    write_amass(folder / "nan.npz", ours[:20], poses=rows)
    whole = write_amass(folder / "cut.npz", ours).read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    altered = bytearray(whole)
    altered[len(whole) // 4] ^= 255
    (folder / "altered.npz").write_bytes(altered)
    (folder / "empty.npz").touch()
    np.savez(folder / "shape.npz", betas=np.zeros(10), gender="male")
    write_amass(folder / "rateless.npz", ours[:5], mocap_framerate=None)
    write_amass(folder / "still.npz", ours[:5], mocap_framerate=np.array(0))
    write_amass(folder / "pickled.npz", ours[:5], poses=rows.astype(object))
    write_amass(folder / "wide.npz", ours[:5], poses=np.zeros((5, 70)))
    write_amass(folder / "nobody.npz", ours[:5], poses=np.zeros((0, 156)))
    write_amass(folder / "parts.npz", ours[:5], poses=None, root_orient=np.zeros((5, 3)),
                pose_body=np.zeros((4, 63)))  # fmt: skip
    write_list(folder / "train_names.npz", ours[:5], ["a"] * 4)
    write_list(folder / "train_objects.npz", ours[:5], [], fnames=np.array(["a"] * 5, object))

    summary, _ = take(tmp_path, rate=10.0, split="train")
    assert summary.files == 1 and summary.written == {"train": 2}
    said = summary.lines(most=2)
    assert said[0].startswith("written: 2 train poses of 1 files; 100.0% upright as amass")
    assert said[1] == "left out: 18 not asked for, 0 not finite"
    assert len(said) == 6 and said[-1] == "skipped: 12 files in all"
    assert summary.not_finite == 0  # frames 3 and 4 are not among those taken
    reasons = {skipped.path.name: skipped.reason for skipped in summary.skipped}
    for name, said in {
        "cut.npz": "cut short",
        "altered.npz": "cut short, altered",
        "empty.npz": "cut short",
        "shape.npz": "wanted poses, came betas, gender",
        "rateless.npz": "wanted mocap_framerate or mocap_frame_rate",
        "still.npz": "wanted a frame rate above zero, came 0",
        "pickled.npz": "poses: wanted plain arrays, came pickled objects",
        "wide.npz": "wanted poses of 66, 72, 156, 165 numbers, came (5, 70)",
        "nobody.npz": "came (0, 156)",
        "parts.npz": "came (5, 3) and (4, 63)",
        "train_names.npz": "wanted fnames as one text for each of 5 poses",
        "train_objects.npz": "fnames: wanted plain arrays, came pickled objects",
    }.items():
        assert said in reasons.pop(name)
    assert not reasons
    assert take(tmp_path, rate=None, split="train")[0].not_finite == 2


def test_files_without_a_finite_pose_are_counted(ours: Tensor, tmp_path: Path, take: Any) -> None:
    folder = tmp_path / "a" / "s"
    write_amass(folder / "nan.npz", ours[:5], poses=np.full((5, 156), np.nan))
    with pytest.raises(ValueError, match="wanted poses, came none: .* 5 poses are not finite"):
        take(tmp_path, rate=None, split="train")
    write_amass(folder / "whole.npz", ours[:5])
    summary, _ = take(tmp_path, rate=None, split="train")
    assert summary.written == {"train": 5} and summary.not_finite == 5


def test_nothing_usable_is_an_error(ours: Tensor, tmp_path: Path, take: Any) -> None:
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        take(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="found none; do: unpack archives first"):
        take(tmp_path)
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "shape.npz", betas=np.zeros(10))
    with pytest.raises(ValueError, match=r"came none: 1 files cannot.*shape\.npz: wanted poses"):
        take(tmp_path / "a")
    path = write_list(tmp_path / "train.npz", ours[:5], ["CMU/1"] * 5)
    with pytest.raises(ValueError, match="wanted names that begin with h36m or up3d or 3dpw"):
        take(path, rows="not_amass")
    (tmp_path / "b.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ValueError, match="wanted an HDF5 pose store"):
        take(tmp_path / "b.h5")
    with pytest.raises(ValueError, match="wanted poses a second, above zero"):
        take(path, rate=0.0)
    assert not list((tmp_path / "out").glob("*"))


def test_a_store_is_replaced_only_when_told(ours: Tensor, tmp_path: Path) -> None:
    path = write_list(tmp_path / "train.npz", ours[:5], ["a"] * 5)
    out = tmp_path / "mine.h5"
    steps: list[tuple[int, int]] = []
    import_poses([path], out, watch=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
    with pytest.raises(FileExistsError, match="--force"):
        import_poses([path], out)
    # The store lies in the folder that is read, and is not its own source.
    assert import_poses([tmp_path], out, overwrite=True).written == {"train": 5}


def test_a_full_disk_is_told(ours: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_list(tmp_path / "train.npz", ours[:5], ["a"] * 5)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**7)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(OSError, match=r"mine\.h5: cannot be written \(wanted 64 MB of free"):
            import_poses([path], tmp_path / "mine.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["train.npz"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written .* do: free disk space"):
        import_poses([path], tmp_path / "file" / "mine.h5")
