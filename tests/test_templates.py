"""Bodies load from what ships and from files in SMPL's format, or say why not."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from plausibody.assets.topology import topology_hash
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template

Arrays = dict[str, np.ndarray]


def assert_holds(template: BodyTemplate, arrays: Arrays) -> None:
    """The template has the numbers of the file, in single precision."""
    pairs = {
        "vertices": "v_template",
        "shape_directions": "shapedirs",
        "pose_directions": "posedirs",
        "joint_regressor": "J_regressor",
        "skinning_weights": "weights",
    }
    for field, key in pairs.items():
        assert np.array_equal(getattr(template, field), arrays[key].astype(np.float32)), key
    assert np.array_equal(template.faces, arrays["f"]) and template.faces.dtype == torch.int64
    assert template.parents == (-1, 0, *range(22))
    assert template.topology == topology_hash(arrays["f"])


@pytest.mark.parametrize("gender", ["neutral", "male", "female"])
def test_the_open_body_stands_upright_and_faces_us(gender: str) -> None:
    body = load_template(gender=gender)
    assert body.gender == gender
    assert body.vertices.shape == (6890, 3) and body.faces.shape == (13776, 3)
    assert body.shape_directions.shape == (6890, 3, 16)
    joints = dict(zip(SMPL24, body.joint_regressor @ body.vertices, strict=True))
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_ankle"][1]  # y up
    assert joints["left_hip"][0] > 0 > joints["right_hip"][0]  # its left is +x
    assert joints["left_foot"][2] > joints["left_ankle"][2]  # faces +z
    height = body.vertices[:, 1].max() - body.vertices[:, 1].min()
    assert 1.4 < height < 2.0


def test_faces_of_the_open_body_look_outwards() -> None:
    body = load_template()
    a, b, c = (body.vertices[body.faces[:, k]].double() for k in range(3))
    volume = (a * torch.linalg.cross(b, c)).sum() / 6
    assert 0.04 < volume < 0.12  # in cubic metres, positive if outwards


@pytest.mark.parametrize("shapes", [10, 16, 300])
def test_npz_files_with_any_number_of_shapes(
    tmp_path: Path, smpl_arrays: Arrays, shapes: int
) -> None:
    smpl_arrays["shapedirs"] = np.random.default_rng(3).normal(size=(30, 3, shapes))
    np.savez(tmp_path / "body.npz", **smpl_arrays)
    template = load_template(tmp_path / "body.npz")
    assert_holds(template, smpl_arrays)
    posed = pose_body(template, torch.zeros(10), torch.eye(3).expand(24, 3, 3))
    torch.testing.assert_close(posed.vertices, template.vertices, atol=1e-5, rtol=0)


@pytest.mark.parametrize("protocol", [0, 2])
def test_pickles_as_published_with_chumpy_and_scipy_inside(
    tmp_path: Path,
    smpl_arrays: Arrays,
    chumpy: Callable[..., Any],
    python2_pickle: Callable[..., bytes],
    protocol: int,
) -> None:
    full = np.random.default_rng(4).normal(size=(30, 3, 12))
    full[..., :10] = smpl_arrays["shapedirs"]
    chosen = np.arange(full.size).reshape(full.shape)[..., :10]
    directions = chumpy("ch.Ch", x=full)
    vertices = chumpy("ch.Ch", x=smpl_arrays["v_template"])
    published = {
        **smpl_arrays,
        "shapedirs": chumpy(
            "reordering.Select", a=directions, idxs=chosen.ravel(), preferred_shape=chosen.shape
        ),
        "posedirs": chumpy("ch.Ch", x=smpl_arrays["posedirs"]),
        "v_template": vertices,
        "weights": chumpy("ch.Ch", x=smpl_arrays["weights"]),
        "J_regressor": scipy.sparse.csc_matrix(smpl_arrays["J_regressor"]),
        "J": chumpy("ch_ops.add", a=vertices, b=directions),
        "bs_style": "lbs",
        "pose_training_info": {"seed": 1},
    }
    path = tmp_path / "basicModel_f_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(python2_pickle(published, protocol))
    template = load_template(path)
    assert_holds(template, smpl_arrays)
    assert template.gender == "female"


def test_a_needed_key_that_cannot_be_evaluated(
    tmp_path: Path,
    smpl_arrays: Arrays,
    chumpy: Callable[..., Any],
    python2_pickle: Callable[..., bytes],
) -> None:
    body = {**smpl_arrays, "v_template": chumpy("ch_ops.multiply", a=1.0, b=2.0)}
    path = tmp_path / "body.pkl"
    path.write_bytes(python2_pickle(body, 2))
    with pytest.raises(ValueError, match="numbers under 'v_template', came .*ch_ops.multiply"):
        load_template(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("v_template", np.zeros((30, 2)), r"v_template \(30, 3\), not \(30, 2\)"),
        ("shapedirs", np.zeros((30, 10, 3)), r"shapedirs \(30, 3, 3\), not \(30, 10, 3\)"),
        ("posedirs", np.zeros((207, 90)), r"posedirs \(30, 3, 207\), not \(207, 90\)"),
        ("posedirs", np.zeros((30, 3, 459)), "hands or faces"),
        ("J_regressor", np.zeros((30, 24)), r"J_regressor \(24, 30\), not \(30, 24\)"),
        ("J_regressor", np.zeros((24, 30)), "rows that sum to one, came 1 off"),
        ("weights", np.full((30, 24), np.nan), "weights: wanted finite numbers"),
        ("weights", np.float64(0), r"weights \(30, 24\), not \(\)"),
        ("f", np.full((10, 3), 30), "f: wanted indices of 30 vertices"),
        ("f", np.full((10, 3), -1), "f: wanted indices of 30 vertices"),
        ("f", np.zeros((10, 3)), "numbers under 'f', came an array of float64"),
        ("kintree_table", np.zeros((2, 24), int), "kintree_table: wanted a root without parent"),
        ("topology", "0123456789abcdef", "topology 0123456789abcdef that the file names"),
    ],
)
def test_files_with_wrong_parts_are_refused(
    tmp_path: Path, smpl_arrays: Arrays, key: str, value: Any, message: str
) -> None:
    np.savez(tmp_path / "body.npz", **{**smpl_arrays, key: value})
    with pytest.raises(ValueError, match=rf"body\.npz: .*{message}"):
        load_template(tmp_path / "body.npz")


@pytest.mark.parametrize("key", ["v_template", "kintree_table", "f"])
def test_files_without_a_part_are_refused(tmp_path: Path, smpl_arrays: Arrays, key: str) -> None:
    del smpl_arrays[key]
    np.savez(tmp_path / "body.npz", **smpl_arrays)
    (tmp_path / "body.pkl").write_bytes(pickle.dumps(smpl_arrays))
    for name in ("body.npz", "body.pkl"):
        with pytest.raises(ValueError, match=f"SMPL's format, with .*{key}.*, came "):
            load_template(tmp_path / name)


def test_other_files_are_refused(tmp_path: Path, smpl_arrays: Arrays) -> None:
    np.savez(tmp_path / "whole.npz", **smpl_arrays)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:2000])
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "page.npz").write_text("<!DOCTYPE html>")
    (tmp_path / "body.obj").write_text("v 0 0 0")
    np.savez(tmp_path / "objects.npz", **{**smpl_arrays, "weights": np.array([None])})
    for name, message in {
        "cut.npz": "cut short, altered",
        "list.pkl": "SMPL's format, .* came list",
        "page.npz": "an .npz file of plain arrays",
        "objects.npz": "an .npz file of plain arrays",
        "body.obj": "as .npz or .pkl, came .obj",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_template(tmp_path / name)


def test_a_folder_gives_the_file_of_each_gender(tmp_path: Path, smpl_arrays: Arrays) -> None:
    unpacked, converted = tmp_path / "SMPL_python_v.1.1.0", tmp_path / "body_models"
    (unpacked / "smpl" / "models").mkdir(parents=True)
    (converted / "smpl").mkdir(parents=True)
    data = pickle.dumps(smpl_arrays, 2)
    for letter in ("f", "m", "neutral"):
        name = f"basicmodel_{letter}_lbs_10_207_0_v1.1.0.pkl"
        (unpacked / "smpl" / "models" / name).write_bytes(data)
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        (converted / "smpl" / f"SMPL_{gender}.pkl").write_bytes(data)
    for gender in ("neutral", "male", "female"):
        for folder in (unpacked, converted, converted / "smpl"):
            assert load_template(folder, gender).gender == gender
    with pytest.raises(FileNotFoundError, match="a folder with a male body, such as SMPL_MALE.pkl"):
        load_template(tmp_path, "male")


def test_the_newest_file_of_a_folder_is_taken(tmp_path: Path, smpl_arrays: Arrays) -> None:
    for version, shapes in ((0, 10), (1, 300)):
        smpl_arrays["shapedirs"] = np.zeros((30, 3, shapes))
        name = f"basicmodel_m_lbs_10_207_0_v1.{version}.0.pkl"
        (tmp_path / name).write_bytes(pickle.dumps(smpl_arrays))
    assert load_template(tmp_path, "male").shape_directions.shape[-1] == 300


def test_names_are_looked_for_in_the_search_order(tmp_path: Path, smpl_arrays: Arrays) -> None:
    (tmp_path / "mine").mkdir()
    np.savez(tmp_path / "mine" / "SMPL_NEUTRAL.npz", **smpl_arrays)
    places = [tmp_path / "absent", tmp_path]
    assert_holds(load_template("mine", directories=places), smpl_arrays)
    with pytest.raises(FileNotFoundError, match=r"absent[/\\]theirs(.|\n)*theirs\n"):
        load_template("theirs", directories=places)


def test_an_unknown_gender_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted one of neutral, male, female, came 'other'"):
        load_template(gender="other")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 4e-6)])
def test_posing_agrees_with_smplx(dtype: torch.dtype, tolerance: float) -> None:
    """Vertices and joints [m] of 32 random bodies, against the package of SMPL's authors.

    It gets rotation matrices: it adds 1e-8 to rotation vectors, which alone makes 3e-8 m. Measured
    with smplx 0.1.28 on 1024 bodies of each gender: 1.4e-15 m, in single precision 7.2e-7 m.
    """
    smplx = pytest.importorskip("smplx", reason="compares with smplx, which is not installed")
    body = load_template()
    body = replace(
        body,
        **{
            field.name: value.to(dtype)
            for field in fields(body)
            if isinstance(value := getattr(body, field.name), Tensor) and value.is_floating_point()
        },
    )
    # smplx reads fewer than 300 shapes as ten.
    padded = torch.nn.functional.pad(body.shape_directions, (0, 300 - 16))
    tree = np.array([body.parents, range(24)])
    model = smplx.SMPL(
        "",
        data_struct=SimpleNamespace(
            v_template=body.vertices.numpy(),
            shapedirs=padded.numpy(),
            posedirs=body.pose_directions.numpy(),
            J_regressor=body.joint_regressor.numpy(),
            weights=body.skinning_weights.numpy(),
            kintree_table=tree,
            f=body.faces.numpy(),
        ),
        num_betas=16,
        dtype=dtype,
    )
    generator = torch.Generator().manual_seed(0)
    shape = 2 * torch.randn(32, 16, generator=generator, dtype=dtype)
    rotations = rotvec_to_rotmat(torch.randn(32, 24, 3, generator=generator, dtype=dtype))
    translation = torch.randn(32, 3, generator=generator, dtype=dtype)
    with torch.no_grad():
        theirs = model(
            betas=shape,
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            transl=translation,
            pose2rot=False,
        )
    ours = pose_body(body, shape, rotations, translation)
    assert (ours.vertices - theirs.vertices).abs().max() < tolerance
    assert (ours.joints - theirs.joints[:, :24]).abs().max() < tolerance
