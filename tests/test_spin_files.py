"""Label files in SPIN's layout: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plausibody.evaluate.datasets.spin import SPIN24, SpinFile, read_spin
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import COCO17, H36M17, LSP14, indices, mirror
from plausibody.predict.reading.openpose import BODY25

PEOPLE = 3


def arrays(**changes: Any) -> dict[str, Any]:
    """All arrays of a file of three people; None leaves one out."""
    chance = np.random.default_rng(0)
    part = chance.uniform(0, 200, (PEOPLE, 24, 3))
    part[..., 2] = 1
    found = chance.uniform(0, 200, (PEOPLE, 25, 3))
    found[..., 2] = 0.7
    joints = chance.normal(0, 0.3, (PEOPLE, 24, 4))
    joints[..., 3] = 1
    everything = {
        "imgname": np.array([f"images/{n}.jpg" for n in range(PEOPLE)]),
        "center": chance.uniform(50, 100, (PEOPLE, 2)),
        "scale": np.array([0.5, 1.0, 1.5]),
        "part": part,
        "openpose": found,
        "S": joints,
        "pose": chance.normal(0, 0.3, (PEOPLE, 72)),
        "shape": chance.normal(0, 1, (PEOPLE, 10)),
        "has_smpl": np.array([1, 0, 1]),
        "gender": np.array(["m", "f", "m"]),
        "maskname": np.array([f"masks/{n}.png" for n in range(PEOPLE)]),
    }
    everything |= changes
    return {key: value for key, value in everything.items() if value is not None}


def saved(folder: Path, **changes: Any) -> Path:
    path = folder / "people.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_all_arrays_are_read(tmp_path: Path) -> None:
    file = read_spin(saved(tmp_path))
    assert len(file) == PEOPLE
    assert file.names[1] == "images/1.jpg"
    assert file.box.side.tolist() == [100, 200, 300]  # 200 times the scale
    assert file.genders == ("male", "female", "male")
    assert file.fitted is not None and file.fitted.tolist() == [True, False, True]
    assert file.masks == ("masks/0.png", "masks/1.png", "masks/2.png")
    assert file.part_masks is None
    assert file.pictures(tmp_path, [2]) == (tmp_path / "images/2.jpg",)
    np.testing.assert_allclose(file.box.centre, arrays()["center"], rtol=1e-6)


def test_the_order_of_joints_is_that_of_the_published_selectors() -> None:
    # H36M_TO_J17, J24_TO_J17 and the order of COCO's key points in `part`, as SPIN writes them.
    h36m_to_j17 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9]
    j24_to_j17 = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 14, 16, 17]
    names = [H36M17[joint] for joint in h36m_to_j17]
    assert indices(names, SPIN24) == j24_to_j17
    assert names[:14] == LSP14
    assert indices(COCO17, SPIN24) == [19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0]
    flips = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, *range(12, 20), 21, 20, 23, 22]
    assert mirror(SPIN24) == flips


def test_marked_key_points_come_before_found_ones_and_lie_in_the_middle_of_pixels(
    tmp_path: Path,
) -> None:
    content = arrays()
    content["part"][0, SPIN24.index("left_wrist"), 2] = 0
    content["openpose"][0, BODY25.index("nose"), 2] = 0
    content["part"][0, SPIN24.index("nose"), 2] = 0
    points = read_spin(saved(tmp_path, **content)).coco17([0, 2])
    assert points.shape == (2, 17, 3)
    elbow, wrist, nose = (COCO17.index(name) for name in ("left_elbow", "left_wrist", "nose"))
    marked = content["part"][0, SPIN24.index("left_elbow"), :2] + 0.5
    np.testing.assert_allclose(points[0, elbow, :2], marked, rtol=1e-6)
    assert points[0, elbow, 2] == 1
    found = content["openpose"][0, BODY25.index("left_wrist")]
    np.testing.assert_allclose(points[0, wrist], found, rtol=1e-6)
    assert points[0, nose].tolist() == [0, 0, 0]


def test_joints_and_bodies_come_into_the_world(tmp_path: Path) -> None:
    content = arrays()
    file = read_spin(saved(tmp_path))
    joints = file.world_joints([1])
    wanted = content["S"][1:2] * [1, -1, -1, 1]
    np.testing.assert_allclose(joints, wanted, rtol=1e-6)
    body = file.bodies([2, 0])
    np.testing.assert_allclose(body.shape, content["shape"][[2, 0]], rtol=1e-6)
    rotations = rotvec_to_rotmat(torch.from_numpy(content["pose"]).float().unflatten(1, (24, 3)))
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(body.rotations[:, 0], half_turn @ rotations[[2, 0], 0])
    torch.testing.assert_close(body.rotations[:, 1:], rotations[[2, 0], 1:])


def test_a_file_of_crops_alone_is_read_and_says_what_it_has_not(tmp_path: Path) -> None:
    path = tmp_path / "crops.npz"
    np.savez(path, **{key: arrays()[key] for key in ("imgname", "center", "scale")})
    file = read_spin(path)
    assert (file.fitted, file.genders, file.joints) == (None, None, None)
    assert not file.coco17([0]).any()
    with pytest.raises(ValueError, match="wanted an array S, found none"):
        file.world_joints([0])
    with pytest.raises(ValueError, match="wanted an array pose, found none"):
        file.bodies([0])


def test_everybody_is_fitted_where_the_file_does_not_say(tmp_path: Path) -> None:
    file = read_spin(saved(tmp_path, has_smpl=None))
    assert file.fitted is not None and bool(file.fitted.all())


def test_names_of_python_2_and_other_arrays_are_no_matter(tmp_path: Path) -> None:
    names = np.array([b"a.jpg", b"b.jpg", b"c.jpg"])
    file = read_spin(saved(tmp_path, imgname=names, dp_annot=np.array([{}, {}, {}])))
    assert file.names == ("a.jpg", "b.jpg", "c.jpg")


def changed(key: str, place: Any, value: float) -> dict[str, Any]:
    array = arrays()[key].astype(float)
    array[place] = value
    return {key: array}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"center": None, "S": None}, r"found no center, S among"),
        (changed("S", (1, 2, 0), np.nan), r"S: wanted finite numbers.*row 1 \(from 0\)"),
        (changed("center", (2, 0), np.inf), r"center: wanted finite numbers.*row 2"),
        (changed("scale", 1, 0.0), r"scale: wanted positive numbers.*row 1"),
        (changed("part", (0, 3, 2), -1.0), r"part: wanted confidences.*row 0"),
        (changed("has_smpl", 0, 2.0), r"has_smpl: wanted 0 or 1.*row 0"),
        ({"S": np.zeros((PEOPLE, 17, 3))}, r"S: wanted numbers of the shape \(3, 24, 4\)"),
        ({"pose": np.zeros((PEOPLE - 1, 72))}, r"pose: wanted numbers of the shape \(3, 72\)"),
        ({"shape": None}, "wanted both pose and shape"),
        ({"gender": np.array(["m", "x", "x"])}, "gender: wanted m or f.*'x' in row 1, row 2"),
        ({"imgname": np.array(["a", " ", "c"])}, "imgname: wanted names of pictures.*row 1"),
        ({"imgname": np.arange(PEOPLE)}, "imgname: wanted text"),
        ({"S": np.array([{}, 1, None])}, "S: wanted plain numbers.*pickled objects, which are nev"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_spin(saved(tmp_path, **changes), ("S",))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "C:\\b.jpg"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    file: SpinFile = read_spin(saved(tmp_path, imgname=np.array(["a.jpg", name, "c.jpg"])))
    assert file.pictures(tmp_path, [0]) == (tmp_path / "a.jpg",)
    with pytest.raises(ValueError, match="wanted names of files below"):
        file.pictures(tmp_path, [1])


def test_a_missing_and_a_damaged_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="wanted labels in SPIN's layout"):
        read_spin(tmp_path / "none.npz")
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="cut short"):
        read_spin(path)


def test_archives_that_no_program_writes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    method = whole.rindex(b"PK\x01\x02") + 10  # of compression, of the last array
    path.write_bytes(whole[:method] + b"\x63" + whole[method + 1 :])
    with pytest.raises(ValueError, match="cut short, altered or something else"):
        read_spin(path)
    header = whole.index(b"{'descr'")
    path.write_bytes(whole[:header] + b"{(" + whole[header + 2 :])
    with pytest.raises(ValueError, match="cut short, altered or something else"):
        read_spin(path)
