"""Human3.6M, MPI-INF-3DHP, COCO and LSP on staged data, where every figure is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plausibody.evaluate.datasets import measuring
from plausibody.evaluate.datasets.asking import Shown
from plausibody.evaluate.datasets.coco import STATISTICS, open_coco
from plausibody.evaluate.datasets.coco_labels import read_coco
from plausibody.evaluate.datasets.coco_similarity import SIGMAS
from plausibody.evaluate.datasets.h36m import open_h36m_p1, open_h36m_p2, take_names
from plausibody.evaluate.datasets.measuring import Options, evaluate_dataset
from plausibody.evaluate.datasets.mpi_inf import open_mpi_inf_3dhp
from plausibody.evaluate.datasets.overlaps import nearest_photo
from plausibody.evaluate.datasets.part_maps import (
    PARTS,
    UNSURE,
    class_means,
    compare_photo,
    face_parts,
    read_parts,
)
from plausibody.evaluate.datasets.people import Dataset, LabelledPeople, WholeSet
from plausibody.evaluate.datasets.registry import open_dataset
from plausibody.evaluate.datasets.spin import SPIN24, read_spin
from plausibody.evaluate.result import Result
from plausibody.evaluate.staged.coco import places, stage_coco
from plausibody.evaluate.staged.scenes import SceneSettings, StagedPeople
from plausibody.evaluate.staged.spin import (
    stage_h36m,
    stage_lsp,
    stage_mpi_inf_3dhp,
    stage_spin_training,
)
from plausibody.models.body import BodyTemplate, pose_body, regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.crop import nearest_square
from plausibody.models.markers import JointRegressors
from plausibody.models.prediction import BodyParameters, BodyPrediction, PointPrediction
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.records import take
from plausibody.models.regressor import PointRegressor
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import H36M17, LSP14, SMPL24, indices
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.reading.mask_files import encode_mask, encode_numbers
from plausibody.synth.stores import load_regressors
from tests import metric_twins

SETTINGS = SceneSettings(size=160)
PEOPLE = 7


@pytest.fixture(scope="module")
def h36m(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StagedPeople]:
    folder = tmp_path_factory.mktemp("h36m")
    return folder, stage_h36m(folder, PEOPLE, settings=SETTINGS)


@pytest.fixture(scope="module")
def mpi(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StagedPeople]:
    folder = tmp_path_factory.mktemp("mpi")
    return folder, stage_mpi_inf_3dhp(folder, 4, SETTINGS)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StagedPeople]:
    folder = tmp_path_factory.mktemp("coco")
    return folder, stage_coco(folder, 5, settings=SETTINGS)


@pytest.fixture(scope="module")
def lsp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StagedPeople]:
    folder = tmp_path_factory.mktemp("lsp")
    return folder, stage_lsp(folder, 3, SETTINGS)


@pytest.fixture(scope="module")
def regressors(template: BodyTemplate) -> JointRegressors:
    return load_regressors(template)


class PublishedBox:
    """Shows nothing but the published box."""

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        count = len(people)
        proxy = Proxy(torch.zeros(count, 8, 8), torch.zeros(count, 17, 3), people.box)
        return Shown(proxy, torch.zeros(count, dtype=torch.bool))

    def describe(self) -> dict[str, Any]:
        return {"name": "published box"}


@dataclass(frozen=True)
class Oracle(TrainedRegressor):
    """Gives bodies in the order of the data set, under the camera that fits their key points."""

    bodies: BodyParameters
    coco: Tensor
    """Key points of the bodies [m]."""
    marks: Tensor
    """Where the camera should see them [px of the picture]."""
    given: list[int] = field(default_factory=list)
    """How many at a time."""

    def predict(self, proxy: Proxy) -> BodyPrediction:
        some = slice(sum(self.given), sum(self.given) + len(proxy.keypoints))
        self.given.append(len(proxy.keypoints))
        target = proxy.box.to_square(self.marks[some])
        camera = fit_weak_perspective(self.coco[some], target, torch.ones(len(target), 17))
        return PointPrediction(camera=camera, parameters=take(self.bodies, some))


Ask = Callable[..., Result]


@pytest.fixture
def ask(
    template: BodyTemplate, regressors: JointRegressors, monkeypatch: pytest.MonkeyPatch
) -> Ask:
    """Evaluates these bodies as predictions for a data set."""
    monkeypatch.setattr(measuring, "open_showing", lambda *told: PublishedBox())

    def evaluate(
        dataset: Dataset, bodies: BodyParameters, marks: Tensor, people: int | None = None
    ) -> Result:
        proxy = ProxySettings(size=8)
        network = PointRegressor(nn.Identity(), torch.eye(3).repeat(24, 1, 1), 10, proxy.channel)
        coco = regress(regressors.coco17, bodies.posed(template).vertices)
        oracle = Oracle(network, proxy, "neutral", {}, bodies, coco, marks)
        return evaluate_dataset(dataset, oracle, Options(mirrored=True, people=people))

    return evaluate


def perturbed(body: BodyParameters) -> BodyParameters:
    """Another shape, the whole body turned, an arm bent: by other amounts for each."""
    size = torch.linspace(0.2, 1, len(body.shape))
    rotations = body.rotations.clone()
    elbow = SMPL24.index("left_elbow")
    rotations[:, 0] = axis_rotation(1, 0.3 * size) @ rotations[:, 0]
    rotations[:, elbow] = axis_rotation(2, 0.5 * size) @ rotations[:, elbow]
    return BodyParameters(shape=body.shape + 0.5 * size[:, None], rotations=rotations)


def h36m_joints(
    body: BodyParameters, template: BodyTemplate, regressors: JointRegressors
) -> np.ndarray:
    vertices = pose_body(template, body.shape, body.rotations).vertices.double().numpy()
    return np.einsum("jv,nvd->njd", regressors.h36m17.double().numpy(), vertices)


def test_the_truth_has_no_error(h36m: tuple[Path, StagedPeople], ask: Ask) -> None:
    folder, people = h36m
    result = ask(open_dataset("h36m-p1", folder), people.body, people.keypoints)
    assert result.people == PEOPLE
    assert result.benchmark == "h36m-p1"
    for metric in ("mpjpe", "pa_mpjpe", "mpjpe[h36m17]", "pa_mpjpe[h36m17]"):
        assert result.of(metric).value < 1e-3  # mm


def test_known_errors_equal_the_published_definition(
    h36m: tuple[Path, StagedPeople],
    ask: Ask,
    template: BodyTemplate,
    regressors: JointRegressors,
) -> None:
    folder, people = h36m
    wrong = perturbed(people.body)
    result = ask(open_dataset("h36m-p1", folder), wrong, people.keypoints)
    assert result.values is not None
    found, true = (h36m_joints(body, template, regressors) for body in (wrong, people.body))
    pairs = list(zip(found, true, strict=True))
    for metric in ("mpjpe", "pa_mpjpe"):
        wanted = [metric_twins.METRICS[metric](*pair) for pair in pairs]
        np.testing.assert_allclose(result.values.errors[metric], wanted, atol=1e-2)
        assert result.of(metric).value == pytest.approx(np.mean(wanted), abs=1e-2)
        assert min(wanted) > 2


def test_each_action_has_its_own_row(
    h36m: tuple[Path, StagedPeople],
    ask: Ask,
    template: BodyTemplate,
    regressors: JointRegressors,
) -> None:
    folder, people = h36m
    wrong = perturbed(people.body)
    result = ask(open_dataset("h36m-p1", folder), wrong, people.keypoints)
    found, true = (h36m_joints(body, template, regressors) for body in (wrong, people.body))
    names = [path.name for path in open_h36m_p1(folder).batch(range(PEOPLE)).pictures if path]
    # As published: what stands between the first two "_" of what stands before the first ".".
    actions = [name.split(".")[0].split("_")[1] for name in names]
    assert actions[0] == actions[6] == "Directions"
    assert actions[3] == "SittingDown"
    for action in set(actions):
        pairs = [pair for pair, own in zip(zip(found, true, strict=True), actions, strict=True)
                 if own == action]  # fmt: skip
        figure = result.of("pa_mpjpe", f"action: {action}")
        assert figure.people == len(pairs)
        wanted = np.mean([metric_twins.pa_mpjpe(*pair) for pair in pairs])
        assert figure.value == pytest.approx(wanted, abs=1e-2)
    assert {"camera: 54138969", "camera: 55011271", "subject: S9"} <= set(result.subsets())


def test_all_cameras_of_a_take_are_one_sequence() -> None:
    """Intervals draw whole takes: their frames, and their cameras, are not independent."""
    names = ["images/S9_Directions_1.54138969_000001.jpg", "images/S9_Directions_1.60457274_6.jpg"]
    assert take_names([*names, "S11_Directions.54138969_000001.jpg"]) == (
        *("S9_Directions_1", "S9_Directions_1", "S11_Directions"),
    )


def test_protocol_2_has_the_frontal_camera_alone(tmp_path: Path) -> None:
    stage_h36m(tmp_path, 2, 2, SETTINGS)
    dataset = open_h36m_p2(tmp_path)
    assert dataset.batch([0, 1]).attributes["camera"] == ("60457274", "60457274")
    assert dataset.about.headline == ("pa_mpjpe",)
    labels = tmp_path / "h36m_valid_protocol2.npz"
    content = dict(np.load(labels))
    content["imgname"] = np.array([name.replace("60457274", "1") for name in content["imgname"]])
    np.savez(labels, **content)
    with pytest.raises(ValueError, match=r"camera 60457274 alone.*got those of others: images/S9"):
        open_h36m_p2(tmp_path)


def test_mpi_compares_all_17_joints(
    mpi: tuple[Path, StagedPeople],
    ask: Ask,
    template: BodyTemplate,
    regressors: JointRegressors,
) -> None:
    folder, people = mpi
    dataset = open_dataset("mpi-inf-3dhp", folder)
    assert dataset.batch([3]).sequences == ("TS4",)
    truth = ask(dataset, people.body, people.keypoints)
    assert truth.of("mpjpe[h36m17]").value < 1e-3
    wrong = perturbed(people.body)
    result = ask(dataset, wrong, people.keypoints)
    assert result.values is not None
    found, true = (h36m_joints(body, template, regressors) for body in (wrong, people.body))
    for metric in ("mpjpe", "pa_mpjpe"):
        wanted = [
            metric_twins.METRICS[metric](p, t, metric_twins.H36M_TO_J17)
            for p, t in zip(found, true, strict=True)
        ]
        np.testing.assert_allclose(result.values.errors[f"{metric}[h36m17]"], wanted, atol=1e-2)
    assert result.figures[0].metric == "mpjpe[h36m17]"  # what papers print comes first
    assert result.of("pa_mpjpe[h36m17]", "TS2").people == 1


def test_marked_joints_of_mpi_are_where_the_camera_sees_them(
    mpi: tuple[Path, StagedPeople], regressors: JointRegressors
) -> None:
    folder, people = mpi
    marks = open_mpi_inf_3dhp(folder).batch(range(4)).true_keypoints
    assert marks is not None
    knee, names = SPIN24.index("left_knee"), indices(["left_knee"], H36M17)
    seen = people.camera.project(regress(regressors.h36m17, people.vertices))[:, names[0], :2]
    torch.testing.assert_close(marks[:, 13, :2], seen, atol=1e-3, rtol=0)
    part = np.load(folder / "mpi_inf_3dhp_valid.npz")["part"][:, knee]
    np.testing.assert_allclose(part[:, :2], seen - 0.5, atol=1e-3)
    assert marks[:, :5, 2].sum() == 0  # no faces


def test_joints_need_no_picture_to_be_read_in_the_camera(h36m: tuple[Path, StagedPeople]) -> None:
    folder, people = h36m
    joints = open_h36m_p1(folder).batch([2]).joints
    assert joints is not None
    head, ankle = (joints.names.index(name) for name in ("head_top", "left_ankle"))
    true = people.vertices[2]
    upright = joints.places[0, head, 1] - joints.places[0, ankle, 1]
    assert upright > 0.5 * (true[:, 1].max() - true[:, 1].min())  # y is up
    raw = np.load(folder / "h36m_valid_protocol1.npz")["S"][2]
    np.testing.assert_allclose(raw[SPIN24.index("head_top"), 1], -joints.places[0, head, 1], 1e-5)
    assert set(LSP14) <= set(joints.names)


def rewritten(source: Path, folder: Path, **changes: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Copies a data set and changes some of its labels."""
    for part in source.iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
        else:
            content = dict(np.load(part))
            for key, change in changes.items():
                content[key] = change(content[key])
            np.savez(folder / part.name, **content)
    return folder


def with_value(place: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (
            with_value((0, 14, 0), 0.01),
            "wanted joints from the pelvis.*beside the origin, in row 0",
        ),
        (lambda joints: joints * 1000, "wanted joints in metres, got some farther than 3 m"),
        (with_value((1, 0, 3), 0), r"wanted the joints right_ankle.*some without, in row 1 \(from"),
        (with_value((1, 7, 2), np.nan), "wanted finite numbers, got others in row 1"),
    ],
)
def test_joints_that_evaluators_would_not_understand_are_refused(
    h36m: tuple[Path, StagedPeople],
    tmp_path: Path,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    rewritten(h36m[0], tmp_path, S=change)
    with pytest.raises(ValueError, match=message):
        open_h36m_p1(tmp_path)


def test_joints_that_no_protocol_compares_may_be_missing(
    h36m: tuple[Path, StagedPeople], tmp_path: Path
) -> None:
    spine = (0, SPIN24.index("spine"), 3)
    rewritten(h36m[0], tmp_path, S=with_value(spine, 0))
    joints = open_h36m_p1(tmp_path).batch([0, 1]).joints
    assert joints is not None
    assert joints.counted.sum(1).tolist() == [16, 17]


def test_missing_pictures_are_named_and_counted(
    h36m: tuple[Path, StagedPeople], tmp_path: Path
) -> None:
    def often(array: np.ndarray) -> np.ndarray:
        return np.repeat(array[:1], 12, 0)

    others = {key: often for key in ("center", "scale", "S")}
    frames = np.array([f"images/S9_Eating.54138969_{n:06d}.jpg" for n in range(100, 112)])
    rewritten(h36m[0], tmp_path, imgname=lambda _: frames, **others)
    with pytest.raises(FileNotFoundError, match=r"54138969_000100.*_000109\.jpg, .*\(12 in all\)"):
        open_h36m_p1(tmp_path)


def test_two_people_in_a_picture_are_refused(
    h36m: tuple[Path, StagedPeople], tmp_path: Path
) -> None:
    rewritten(h36m[0], tmp_path, imgname=lambda names: names[[0, 0, *range(2, PEOPLE)]])
    with pytest.raises(ValueError, match=r"wanted one person in each picture, got more in images/"):
        open_h36m_p1(tmp_path)


@pytest.mark.parametrize("name", ["images/frame.jpg", "images/S9.54138969_000001.jpg", "S9_A.jpg"])
def test_pictures_that_do_not_tell_their_action_are_refused(
    h36m: tuple[Path, StagedPeople], tmp_path: Path, name: str
) -> None:
    rewritten(h36m[0], tmp_path, imgname=lambda names: np.array([name, *names[1:]]))
    with pytest.raises(ValueError, match=rf"which tell their action, got {re.escape(name)}"):
        open_h36m_p1(tmp_path)


def test_pictures_of_no_sequence_are_refused(
    mpi: tuple[Path, StagedPeople], tmp_path: Path
) -> None:
    rewritten(mpi[0], tmp_path, imgname=lambda names: np.array(["a/img_000001.jpg", *names[1:]]))
    with pytest.raises(ValueError, match=r"below TS1 to TS6.*got a/img_000001"):
        open_mpi_inf_3dhp(tmp_path)


def test_labels_may_lie_in_spins_folder(h36m: tuple[Path, StagedPeople], tmp_path: Path) -> None:
    folder, _ = h36m
    (tmp_path / "images").symlink_to(folder / "images")
    with pytest.raises(FileNotFoundError, match=r"wanted the labels of Human3\.6M in SPIN's"):
        open_h36m_p1(tmp_path)
    (tmp_path / "dataset_extras").mkdir()
    labels = tmp_path / "dataset_extras" / "h36m_valid_protocol1.npz"
    labels.write_bytes((folder / labels.name).read_bytes())
    assert len(open_h36m_p1(tmp_path)) == len(open_h36m_p1(labels)) == PEOPLE


def test_training_files_say_again_what_was_staged(
    tmp_path: Path, regressors: JointRegressors
) -> None:
    people = stage_spin_training(tmp_path, 3, settings=SETTINGS, fitted=lambda n: n != 1)
    file = read_spin(tmp_path / "coco_2014_train.npz", ("pose", "shape", "part", "openpose", "S"))
    assert file.fitted is not None and file.fitted.tolist() == [True, False, True]
    assert file.genders == people.genders == ("female", "male", "female")
    body = file.bodies([0, 2])
    torch.testing.assert_close(body.shape, people.body.shape[[0, 2]], atol=1e-6, rtol=0)
    torch.testing.assert_close(body.rotations, people.body.rotations[[0, 2]], atol=1e-5, rtol=0)
    marks = file.coco17(range(3))
    torch.testing.assert_close(marks[..., :2], people.keypoints, atol=1e-4, rtol=0)
    joints = file.world_joints([1])[:, indices(H36M17, SPIN24), :3]
    true = regress(regressors.h36m17, people.vertices[1:2])
    torch.testing.assert_close(joints, true - true[:, :1], atol=1e-5, rtol=0)
    assert all(path.is_file() for path in file.pictures(tmp_path, range(3)))


def in_pictures(people: StagedPeople) -> Tensor:
    """Where the pictures show the key points [px]."""
    return people.keypoints + places(len(people), SETTINGS)[:, None]


def test_true_bodies_have_a_precision_of_1(coco: tuple[Path, StagedPeople], ask: Ask) -> None:
    folder, people = coco
    result = ask(open_dataset("coco", folder), people.body, in_pictures(people))
    assert [figure.metric for figure in result.figures[:3]] == list(STATISTICS[:3])
    for metric in ("oks/ap", "oks/ap50", "oks/ap75", "oks/ap_medium", "oks/ar"):
        assert result.of(metric).value == pytest.approx(1)


def test_a_shifted_camera_has_the_precision_that_its_similarity_says(
    coco: tuple[Path, StagedPeople], ask: Ask
) -> None:
    folder, people = coco
    shift = torch.tensor([2.4, -3.2])
    dataset = open_coco(folder)
    result = ask(dataset, people.body, in_pictures(people) + shift)
    similarity = []
    for area in dataset.crops.people.area.tolist():  # by the definition, of a shift by 4 px
        widths = 2 * np.array(SIGMAS) * np.sqrt(area)
        similarity.append(np.exp(-(4**2) / (2 * widths**2)).mean())
    thresholds = np.linspace(0.5, 0.95, 10)
    wanted = np.mean([(thresholds <= one).mean() for one in similarity])
    assert 0.2 < wanted < 0.4
    # Annotations are whole pixels and the true camera is no orthographic one: that may tip one of
    # the five people over one of the ten thresholds.
    assert result.of("oks/ar").value == pytest.approx(wanted, abs=0.021)
    assert result.values is not None
    np.testing.assert_allclose(result.values.errors["oks"], similarity, atol=0.03)
    assert result.worst_by == "oks"
    assert result.worst[0].value == pytest.approx(min(similarity), abs=0.03)


def test_a_look_at_some_people_gives_no_precision(
    coco: tuple[Path, StagedPeople], ask: Ask
) -> None:
    folder, people = coco
    result = ask(open_coco(folder), people.body, in_pictures(people), people=2)
    assert result.benchmark == "not coco"
    assert not [figure for figure in result.figures if figure.metric.startswith("oks/")]
    assert result.of("oks").value > 0.97


def test_staged_annotations_are_of_the_silhouettes(coco: tuple[Path, StagedPeople]) -> None:
    folder, people = coco
    labels = read_coco(folder / "annotations" / "person_keypoints_val2014.json")
    assert len(labels.people) == 5 + 2 * 3  # a crowd and somebody without key points in each
    assert labels.people.area[labels.people.counted].tolist() == people.masks.sum((1, 2)).tolist()
    content = json.loads(labels.path.read_text())
    assert content["images"][0] | {"id": 42, "width": 320, "height": 160} == content["images"][0]


def test_danets_list_of_staged_people_gives_the_same_crops(
    coco: tuple[Path, StagedPeople], tmp_path: Path
) -> None:
    stage_coco(tmp_path, 3, settings=SETTINGS, listed=True)
    listed = open_coco(tmp_path)
    (tmp_path / "coco_2014_val.npz").unlink()
    annotated = open_coco(tmp_path)
    for one, other in (
        (listed.crops.box.centre, annotated.crops.box.centre),
        (listed.crops.box.side, annotated.crops.box.side),
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert listed.crops.files == annotated.crops.files
    assert isinstance(listed, WholeSet)


# LSP


def test_true_bodies_fill_the_marked_masks_and_parts(
    lsp: tuple[Path, StagedPeople], ask: Ask
) -> None:
    folder, people = lsp
    truth = ask(open_dataset("lsp", folder), people.body, people.keypoints)
    assert truth.benchmark == "lsp" and truth.figures[0].metric == "mask_f1"
    for metric, least in (("mask_accuracy", 0.99), ("mask_f1", 0.98), ("part_accuracy", 0.99),
                          ("part_f1", 0.95), ("silhouette_iou", 0.9)):  # fmt: skip
        assert least < truth.of(metric).value <= 1, metric
    for part in PARTS:
        assert truth.of(f"part_f1/{part}").value > 0.9
    wrong = ask(open_dataset("lsp", folder), perturbed(people.body), people.keypoints)
    for metric in ("mask_f1", "part_f1", "part_f1/left_arm"):
        assert wrong.of(metric).value < truth.of(metric).value - 0.01
    assert truth.of("keypoint_error[visible]").value < 4  # other joints than COCO's


def test_masks_and_parts_are_counted_as_published(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    sums, drawn, masks, parts = [], [], [], []
    for n in range(3):
        found, marked = np.zeros((12, 16), np.uint8), chance.integers(0, 7, (12, 16), np.uint8)
        found[:, :12] = chance.integers(0, 6, (12, 12))  # nobody has a left leg
        mask = marked > 0
        marked[chance.random((12, 16)) < 0.2] = UNSURE
        files = tmp_path / f"{n}_mask.png", tmp_path / f"{n}_parts.png"
        files[0].write_bytes(encode_mask(torch.from_numpy(mask), inside=1 + 254 * (n % 2)))
        files[1].write_bytes(encode_numbers(torch.from_numpy(marked)))
        crop = torch.from_numpy(found[:, :12].copy())
        box = Box(centre=torch.tensor([6.0, 6.0]), side=torch.tensor(12.0))
        sums.append(compare_photo(crop, box, *files))
        drawn.append(found)
        masks.append(mask)
        parts.append(marked)
    columns = [
        {name: torch.tensor([one[name][place] for one in sums]).double() for name in sums[0]}
        for place in (0, 1)
    ]
    means = class_means(*columns)
    persons = [(one > 0).astype(np.uint8) for one in drawn], [m.astype(np.uint8) for m in masks]
    for name, classes, found, true in (("mask", 2, *persons), ("part", 7, drawn, parts)):
        accuracy, f1 = metric_twins.published_classes(found, true, classes)
        value, weight = (column[f"{name}_accuracy"] for column in columns)
        assert float((value * weight).sum() / weight.sum()) == pytest.approx(accuracy)
        assert means[f"{name}_f1"] == pytest.approx(f1)
    alone = compare_photo(crop, box, files[0], None)
    assert {name: pair for name, pair in sums[-1].items() if name.startswith("mask")} == alone


def test_a_crop_lies_where_it_was_cut() -> None:
    photo = torch.rand(40, 50, generator=torch.Generator().manual_seed(1)) > 0.5
    box = Box(centre=torch.tensor([30.0, 12.0]), side=torch.tensor(32.0))
    crop = nearest_square(photo[None], box, 64)[0].to(torch.uint8)
    back = nearest_photo(crop, box, 40, 50)
    expected = torch.zeros(40, 50, dtype=torch.uint8)
    expected[:28, 14:46] = photo[:28, 14:46]
    assert torch.equal(back, expected)


def test_faces_belong_to_the_parts_that_people_would_mark(template: BodyTemplate) -> None:
    labels = face_parts(template).long()
    middle = template.vertices[template.faces.long()].mean(1)
    assert labels.unique().tolist() == [1, 2, 3, 4, 5, 6]
    for name, side in (("left_arm", 1), ("right_arm", -1), ("left_leg", 1), ("right_leg", -1)):
        assert bool((side * middle[labels == PARTS.index(name), 0] > -0.02).all()), name
    at = {name: middle[labels == n, 1].mean() for n, name in enumerate(PARTS) if n}
    assert at["head"] > at["torso"] > at["left_leg"]
    assert at["left_leg"] == pytest.approx(float(at["right_leg"]), abs=0.01)


def test_marks_of_lsp_that_are_missing_or_wrong_are_named(
    tmp_path: Path, lsp: tuple[Path, StagedPeople]
) -> None:
    folder = tmp_path / "lsp"
    stage_lsp(folder, 1, SceneSettings(size=48))
    (folder / "upi-s1h").mkdir()
    (folder / "data").rename(folder / "upi-s1h" / "data")
    (mask,), (parts,) = (getattr(open_dataset("lsp", folder).batch([0]), name)
                         for name in ("masks", "parts"))  # fmt: skip
    assert mask.parent == folder / "upi-s1h" / "data" / "lsp"
    box = Box(centre=torch.tensor([24.0, 24.0]), side=torch.tensor(48.0))
    nobody = torch.zeros(48, 48, dtype=torch.uint8)
    parts.write_bytes(encode_numbers(torch.full((48, 40), 3, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="wanted a label map of the size of im1001_segmentation"):
        compare_photo(nobody, box, mask, parts)
    parts.write_bytes(encode_numbers(torch.full((48, 48), 9, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="wanted numbers 0 to 6 of body parts, or 255"):
        read_parts(parts)
    parts.unlink()
    with pytest.raises(FileNotFoundError, match="names in partname"):
        open_dataset("lsp", folder)
