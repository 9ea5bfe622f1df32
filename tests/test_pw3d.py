"""3DPW is read as it was published, and known predictions get the figures of the definitions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metric_twins as twins
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from known_answers import Knowing
from scipy.spatial.transform import Rotation

from plausibody.cli import main
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.measuring import Options, evaluate_dataset
from plausibody.evaluate.datasets.people import Dataset
from plausibody.evaluate.datasets.pw3d import HRNET, People3DPW, open_3dpw
from plausibody.evaluate.datasets.pw3d_sequences import Sequence3DPW
from plausibody.evaluate.datasets.registry import open_dataset
from plausibody.evaluate.result import Result
from plausibody.models.body import pose_body, rest_vertices
from plausibody.models.camera import world_to_camera
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import ProxySettings
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import COCO17
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor

Staged = tuple[Path, list[Sequence3DPW]]
TABLE = "3dpw_test.npz"


def arrays_of(staged: Staged) -> dict[str, np.ndarray]:
    with np.load(staged[0] / "test" / TABLE) as table:
        return dict(table)


@pytest.fixture
def written(staged_3dpw: Staged, tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder with some rows of the labels, changed, and with the crops."""

    def write(rows: Any = slice(None), crops: bool = True, **changed: Any) -> Path:
        arrays = {key: array[rows] for key, array in arrays_of(staged_3dpw).items()} | changed
        np.savez(tmp_path / TABLE, **{k: v for k, v in arrays.items() if v is not None})
        if crops and not (tmp_path / "cropped_frames").exists():
            os.symlink(staged_3dpw[0] / "test" / "cropped_frames", tmp_path / "cropped_frames")
        return tmp_path

    return write


def hrnet(people: int, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    places = chance.uniform(40, 470, (people, 17, 2))
    return np.concatenate([places, chance.uniform(0.3, 1, (people, 17, 1))], -1)


def test_an_import_opens_as_a_data_set(staged_3dpw: Staged) -> None:
    folder = staged_3dpw[0] / "test"
    dataset = open_dataset("3dpw", folder)
    assert isinstance(dataset, Dataset) and len(dataset) == 7
    people = dataset.batch([6, 2])
    assert people.names == tuple(arrays_of(staged_3dpw)["imgname"][[6, 2]])
    assert people.sequences == ("courtyard_staged_01", "courtyard_staged_00")
    assert people.genders == ("female", "female")
    assert people.pictures == tuple(folder / "cropped_frames" / name for name in people.names)
    assert people.box.centre.tolist() == [[256.0, 256.0]] * 2
    assert people.box.side.tolist() == [512.0] * 2
    assert people.keypoints is None and people.masks is None
    assert people.attributes == {"truncated": ("no", "no")}
    assert any("7 people" in line for line in dataset.about.protocol)


def test_bodies_are_in_the_world_as_the_camera_saw_them(staged_3dpw: Staged) -> None:
    people = open_3dpw(staged_3dpw[0] / "test").batch([4])  # the second person, frame 2
    sequence = staged_3dpw[1][0]
    actor, camera = sequence.actors[1], sequence.cameras[2]
    template = load_template("open", "female")
    rotations = torch.from_numpy(Rotation.from_rotvec(actor.poses[2].reshape(24, 3)).as_matrix())
    shape = torch.from_numpy(actor.shape).float()
    truth = pose_body(template, shape, rotations.float()).vertices.double().numpy()
    seen = truth @ camera[:3, :3].T  # in the camera's frame but for where it stands
    assert people.body is not None
    ours = world_to_camera(people.body.posed(template).vertices[0]).double().numpy()
    gap = (ours - ours.mean(0)) - (seen - seen.mean(0))
    assert np.abs(gap).max() < 1e-5


def test_hrnets_key_points_are_shown_by_the_published_rule(
    written: Callable[..., Path], staged_3dpw: Staged
) -> None:
    folder = written(crops=False)
    points = hrnet(7)
    np.save(folder / HRNET, points)
    people = open_3dpw(folder).batch(range(7))
    assert people.pictures == (None,) * 7
    assert people.keypoints is not None
    # Its pixels have their centres at whole numbers, ours at +0.5.
    assert np.allclose(people.keypoints[..., :2], points[..., :2] + 0.5, atol=1e-4)
    for joint, name in enumerate(COCO17):
        shown, sure = people.keypoints[:, joint, 2].numpy(), points[:, joint, 2]
        if re.search("elbow|wrist|knee|ankle", name):
            sure = np.where(sure > 0.6, sure, 0)  # left out
        assert np.allclose(shown, sure, atol=1e-6)


def test_labels_in_spins_layout_open_over_whole_frames(staged_3dpw: Staged, tmp_path: Path) -> None:
    raw, arrays = staged_3dpw[0] / "raw", arrays_of(staged_3dpw)
    parts = [re.fullmatch(r"(.+)_(image_\d+)_person_\d+.png", name) for name in arrays["imgname"]]
    names = [f"imageFiles/{part[1]}/{part[2]}.jpg" for part in parts if part]
    os.symlink(raw / "imageFiles", tmp_path / "imageFiles")
    (tmp_path / "dataset_extras").mkdir()
    np.savez(
        tmp_path / "dataset_extras" / "3dpw_test_with_mmpose.npz",
        imgname=names,
        scale=1.2 * arrays["wh"] / 200,
        **{key: arrays[key] for key in ("center", "pose", "shape", "gender")},
    )
    ours, spin = open_3dpw(staged_3dpw[0] / "test"), open_3dpw(tmp_path)
    people = spin.batch(range(7))
    assert len(set(people.names)) == 7  # two people share a frame
    assert people.names[2] == names[2] + "#1"
    assert people.pictures[0] == tmp_path / names[0]
    assert people.sequences == ours.batch(range(7)).sequences
    assert np.allclose(people.box.side, 1.2 * arrays["wh"], rtol=1e-6)
    assert people.body is not None
    assert torch.equal(people.body.rotations, ours.body.rotations)
    assert people.genders == ours.genders


def test_missing_crops_are_named_and_counted(
    written: Callable[..., Path], staged_3dpw: Staged, tmp_path: Path
) -> None:
    names = np.array([f"street_00_image_{n:05d}_person_000.png" for n in range(12)])
    folder = written([0] * 12, imgname=names)
    with pytest.raises(FileNotFoundError, match=r"street_00_image_00000.*\(12 in all\)"):
        open_3dpw(folder)
    (tmp_path / "cropped_frames").unlink()
    with pytest.raises(FileNotFoundError, match=f"cropped_frames/, or at least {HRNET}"):
        open_3dpw(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pose": None}, "found no pose"),
        ({"shape": np.full((7, 10), np.nan)}, "shape: wanted finite numbers, got others in row 0"),
        ({"shape": np.zeros((7, 300))}, r"shape: wanted numbers of the shape \(7, 10\)"),
        ({"gender": np.array(["m"] * 6 + ["?"])}, "gender: wanted m or f"),
        ({"imgname": np.array(["../out.png"] * 7)}, "the same for several"),
        ({"imgname": np.array([f"../{n}.png" for n in range(7)])}, "wanted names of files below"),
        ({"gender": np.array(["m"] * 7, dtype=object)}, "pickled objects, which are never opened"),
    ],
)
def test_labels_that_are_not_as_published_are_refused(
    written: Callable[..., Path], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_3dpw(written(**changed))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (hrnet(6), "of the 7 people"),
        (np.where(np.arange(51).reshape(17, 3) == 5, np.nan, hrnet(7)), "wanted finite numbers"),
        (np.array(["a"] * 7), "save numbers"),
    ],
    ids=["of others", "not finite", "text"],
)
def test_key_points_of_others_are_refused(
    written: Callable[..., Path], points: np.ndarray, message: str
) -> None:
    folder = written()
    np.save(folder / HRNET, points)
    with pytest.raises(ValueError, match=message):
        open_3dpw(folder)


def test_which_labels_are_meant_must_be_clear(written: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="plausibody assets import 3dpw"):
        open_3dpw(tmp_path)
    folder = written()
    (folder / "3dpw_train.npz").write_bytes((folder / TABLE).read_bytes())
    with pytest.raises(ValueError, match="found 3dpw_test.npz, 3dpw_train.npz"):
        open_3dpw(folder)
    assert len(open_3dpw(folder / TABLE)) == 7
    # Figures of other splits must not be taken for those of the test split.
    assert open_3dpw(folder / TABLE).about.name == "3dpw"
    assert open_3dpw(folder / "3dpw_train.npz").about.name == "3dpw-train"


# Figures.


def evaluated(dataset: People3DPW, network: Knowing, gender: str) -> Result:
    settings = ProxySettings(size=32, channel="edges")
    options = Options(samples=3, mirrored=False, labels_body="open")
    return evaluate_dataset(dataset, TrainedRegressor(network, settings, gender, {}), options)


def bent(body: BodyParameters, angle: float, stouter: float) -> BodyParameters:
    """Moves elbows and the root, and changes the shape."""
    rotations = body.rotations.clone()
    rotations[:, 18] = axis_rotation(1, torch.tensor(angle)) @ rotations[:, 18]
    rotations[:, 0] = axis_rotation(1, torch.tensor(angle / 4)) @ rotations[:, 0]
    return BodyParameters(body.shape + stouter * torch.linspace(1, -1, 10), rotations)


def stacked(*bodies: BodyParameters) -> BodyParameters:
    return BodyParameters(
        torch.stack([body.shape for body in bodies]),
        torch.stack([body.rotations for body in bodies]),
    )


def test_the_truth_has_no_errors(written: Callable[..., Path], staged_3dpw: Staged) -> None:
    women = np.flatnonzero(arrays_of(staged_3dpw)["gender"] == "f")
    folder = written(women)
    np.save(folder / HRNET, hrnet(len(women)))
    dataset = open_3dpw(folder)
    wrong = stacked(*[bent(dataset.body, 0.3, 1.0)] * 3)
    network = Knowing(dataset.body, wrong, channel="edges")
    result = evaluated(dataset, network, "female")
    assert result.values is not None
    exact = [
        *("mpjpe", "mpjpe_smplorigin", "mpjpe_sc", "pa_mpjpe", "pve", "pve_pelvis", "pve_sc"),
        *("pve_pa", "pve_t_sc[neutral]", "pve_t_sc[gendered]", "mpjpe[min3+mode]"),
    ]
    for metric in exact:
        assert float(result.values.errors[metric].max()) < 2e-2, metric
    # Without the mode among them, samples are as wrong as they were made.
    assert float(result.values.errors["mpjpe[min3]"].min()) > 5


def mean_distance(prediction: np.ndarray, target: np.ndarray) -> float:
    """In millimetres; as `twins.loop_error`, which takes long over thousands of vertices."""
    return float(1000 * np.linalg.norm(prediction - target, axis=1).mean())


@pytest.fixture(scope="module")
def bodies() -> LabelBodies:
    return LabelBodies.load("open", ("male", "female", "neutral"))


def twin_errors(
    arrays: dict[str, np.ndarray], guess: BodyParameters, bodies: LabelBodies
) -> list[dict[str, float]]:
    """All published errors of each person, from the labels as they are in the file."""
    neutral = bodies.templates["neutral"]
    regressor = bodies.regressors.h36m17.double().numpy()
    posed = guess.posed(neutral).vertices.double().numpy()
    at_rest = rest_vertices(neutral, guess.shape).double().numpy()
    rows = []
    for n, letter in enumerate(arrays["gender"]):
        template = bodies.templates[{"m": "male", "f": "female"}[str(letter)]]
        shape = torch.from_numpy(arrays["shape"][n]).float()
        matrices = Rotation.from_rotvec(arrays["pose"][n].reshape(24, 3)).as_matrix()
        matrices[0] = np.diag([1.0, -1.0, -1.0]) @ matrices[0]  # HierProb3D turns labels so
        rotations = torch.from_numpy(matrices).float()
        true = pose_body(template, shape, rotations).vertices.double().numpy()
        rest = rest_vertices(template, shape).double().numpy()
        gendered = rest_vertices(template, guess.shape[n]).double().numpy()
        joints, true_joints = regressor @ posed[n], regressor @ true
        rows.append(
            {
                "mpjpe": twins.mpjpe(joints, true_joints),
                "mpjpe_smplorigin": twins.mpjpe_smplorigin(joints, true_joints),
                "mpjpe_sc": twins.mpjpe_sc(joints, true_joints),
                "pa_mpjpe": twins.pa_mpjpe(joints, true_joints),
                "pve": mean_distance(posed[n], true),
                "pve_pelvis": mean_distance(posed[n] - joints[0], true - true_joints[0]),
                "pve_sc": mean_distance(twins.scaled(posed[n], true), true),
                "pve_pa": mean_distance(twins.procrustes(posed[n], true), true),
                "pve_t[neutral]": mean_distance(at_rest[n], rest),
                "pve_t_sc[neutral]": mean_distance(twins.scaled(at_rest[n], rest), rest),
                "pve_t_sc[gendered]": mean_distance(twins.scaled(gendered, rest), rest),
            }
        )
    return rows


def test_known_errors_equal_the_published_definitions(
    written: Callable[..., Path], staged_3dpw: Staged, bodies: LabelBodies
) -> None:
    folder = written()
    np.save(folder / HRNET, hrnet(7))
    dataset = open_3dpw(folder)
    mode = bent(dataset.body, 0.5, 0.6)
    much = ((0.1, 0.1), (0.7, 0.2), (0.3, 2.0))
    samples = [bent(dataset.body, angle, stouter) for angle, stouter in much]
    result = evaluated(dataset, Knowing(mode, stacked(*samples), channel="edges"), "neutral")
    assert result.values is not None and result.values.names == dataset.names
    arrays = arrays_of(staged_3dpw)
    of_mode = twin_errors(arrays, mode, bodies)
    of_samples = [twin_errors(arrays, sample, bodies) for sample in samples]
    for metric in of_mode[0]:
        errors = result.values.errors
        for n in range(7):
            each = [rows[n][metric] for rows in of_samples]
            assert float(errors[metric][n]) == pytest.approx(of_mode[n][metric], abs=2e-2), metric
            least = replace_tag(metric, "min3")
            assert float(errors[least][n]) == pytest.approx(min(each), abs=2e-2), least
            # As released, the mode takes the place of the first sample.
            released = replace_tag(metric, "min3+mode")
            wanted = min(of_mode[n][metric], *each[1:])
            assert float(errors[released][n]) == pytest.approx(wanted, abs=2e-2), released
    figures = {(figure.metric, figure.subset): figure.value for figure in result.figures}
    every = np.array([row["mpjpe"] for row in of_mode])
    second = np.array(["staged_01" in name for name in dataset.names])
    assert figures["mpjpe", "all"] == pytest.approx(every.mean(), abs=2e-2)
    of_second = figures["mpjpe", "courtyard_staged_01"]
    assert of_second == pytest.approx(every[second].mean(), abs=2e-2)


def replace_tag(metric: str, tag: str) -> str:
    return f"{metric[:-1]},{tag}]" if metric.endswith("]") else f"{metric}[{tag}]"


def test_the_command_shows_crops_to_the_front_end_and_names_the_worst(
    staged_3dpw: Staged, tmp_path: Path
) -> None:
    out, data = tmp_path / "out", staged_3dpw[0] / "test"
    options = ["--labels-body", "open", "--people", "2", "--samples", "2", "--quiet"]
    arguments = ["evaluate", "3dpw", "--data", data, "--out", out, *options]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    found = json.loads((out / "results.json").read_text("utf-8"))
    assert found["front_end"].startswith("embedded") and found["people"] == 2
    assert {"mpjpe", "mpjpe_smplorigin", "pve_t_sc[gendered]", "pa_mpjpe[min2+mode]"} <= set(
        found["metrics"]
    )
    assert [case["name"] for case in found["worst"]]
