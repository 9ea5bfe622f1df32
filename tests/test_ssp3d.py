"""SSP-3D is read as it was published, and known predictions get the figures of the definitions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import metric_twins as twins
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from known_answers import Knowing, best_camera, shifted
from PIL import Image
from scipy.spatial.transform import Rotation

from plausibody.cli import main
from plausibody.evaluate.datasets.asking import (
    FromFrontEnd,
    FromLabels,
    PublishedBoxes,
    open_showing,
    read_mask,
)
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.measuring import evaluate_dataset
from plausibody.evaluate.datasets.options import Options
from plausibody.evaluate.datasets.people import Dataset, LabelledPeople, camera_over_world
from plausibody.evaluate.datasets.registry import open_dataset
from plausibody.evaluate.datasets.ssp3d import open_ssp3d
from plausibody.evaluate.datasets.survey import survey
from plausibody.evaluate.datasets.variants import diversity
from plausibody.evaluate.protocols import protocol_of
from plausibody.evaluate.result import Result
from plausibody.evaluate.saving import read_with_values, save_result
from plausibody.evaluate.staged.scenes import GENDERS, SceneSettings, StagedPeople
from plausibody.evaluate.staged.ssp3d import stage_ssp3d
from plausibody.models.body import pose_body, regress, rest_vertices
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box, Observation, ProxySettings, make_proxy
from plausibody.models.rotations import axis_rotation
from plausibody.models.templates import load_template, locate_body
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.synth.raster import rasterize_outlines

PEOPLE, WOMEN = 4, 3
QUICK = SceneSettings(smoothing=1)

Staged = tuple[Path, StagedPeople]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    """Two women and two men."""
    folder = tmp_path_factory.mktemp("ssp3d")
    return folder, stage_ssp3d(folder, PEOPLE, QUICK)


@pytest.fixture(scope="module")
def women(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    folder = tmp_path_factory.mktemp("women")
    return folder, stage_ssp3d(folder, WOMEN, QUICK, genders=["female"] * WOMEN)


@pytest.fixture(scope="module")
def bodies() -> LabelBodies:
    return LabelBodies.load("open", GENDERS)


def trained(network: Knowing, gender: str = "neutral", **card: Any) -> TrainedRegressor:
    return TrainedRegressor(network, ProxySettings(channel=network.channel), gender, card)


def evaluated(folder: Path, network: Knowing, gender: str = "neutral", **options: Any) -> Result:
    given = {"labels_body": "open", "samples": 0} | options
    return evaluate_dataset(open_ssp3d(folder), trained(network, gender), Options(**given))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def of(result: Result, metric: str) -> float:
    return result.of(metric).value


# Reading.


def test_a_staged_folder_has_the_published_layout(staged: Staged) -> None:
    folder, people = staged
    with np.load(folder / "labels.npz", allow_pickle=False) as labels:
        shapes = {key: labels[key].shape[1:] for key in labels.files}
        names = labels["fnames"].tolist()
        assert labels["genders"].tolist() == ["f", "m", "f", "m"]
        whole = labels["bbox_whs"][0]
    assert shapes == {
        **{"fnames": (), "poses": (72,), "shapes": (10,), "genders": (), "joints2D": (17, 3)},
        **{"cam_trans": (3,), "bbox_centres": (2,), "bbox_whs": ()},
    }
    for number, name in enumerate(names):
        with Image.open(folder / "images" / name) as picture:
            assert picture.size == (512, 512) and picture.mode == "RGB"
        mask = pixels_of(folder / "silhouettes" / name)
        assert mask.shape == (512, 512) and mask.dtype == np.uint8
        assert set(np.unique(mask).tolist()) == {0, 1}
        assert np.array_equal(mask > 0, people.masks[number].numpy())
    rows, columns = people.masks[0].nonzero().amin(0), people.masks[0].nonzero().amax(0)
    assert whole == float((columns - rows + 1).max())


def test_labels_are_turned_into_our_frames(staged: Staged, bodies: LabelBodies) -> None:
    folder, truth = staged
    dataset = open_dataset("ssp3d", folder)
    assert isinstance(dataset, Dataset) and len(dataset) == PEOPLE
    people = dataset.batch([3, 1])
    assert people.names == ("athlete_003.png", "athlete_001.png")
    assert people.genders == ("male", "male")
    assert people.body is not None and people.camera is not None and people.keypoints is not None
    assert torch.allclose(people.body.rotations, truth.body.rotations[[3, 1]], atol=1e-5)
    assert torch.equal(people.body.shape, truth.body.shape[[3, 1]])
    assert torch.allclose(people.keypoints[..., :2], truth.keypoints[[3, 1]], atol=1e-3)
    assert torch.equal(people.keypoints[..., 2] > 0.5, truth.visible[[3, 1]])
    # The published centre is (vertical, horizontal); the crop goes beyond the tight box by 1.2.
    there = truth.masks[3].nonzero()
    low, high = there.amin(0), there.amax(0) + 1
    assert people.box.centre[0].tolist() == ((low + high) / 2).flip(0).tolist()
    assert float(people.box.side[0]) == pytest.approx(1.2 * float((high - low).max()))
    # The published translation is of bodies that are posed in the camera's frame.
    pelvis = bodies.pelvis(people.body.shape, people.genders)
    camera = camera_over_world(people.camera, pelvis)
    assert torch.allclose(camera.translation, truth.camera.translation[[3, 1]], atol=1e-4)


def test_published_translations_place_bodies_that_are_posed_in_the_cameras_frame(
    staged: Staged,
) -> None:
    folder, truth = staged
    with np.load(folder / "labels.npz") as labels:
        poses, shapes, places = (labels[key][1] for key in ("poses", "shapes", "cam_trans"))
    rotations = torch.from_numpy(Rotation.from_rotvec(poses.reshape(24, 3)).as_matrix()).float()
    template = load_template("open", "male")
    posed = pose_body(template, torch.from_numpy(shapes).float(), rotations).vertices
    seen = posed.double().numpy() + places
    flat = 5000 * seen[:, :2] / seen[:, 2:] + 256
    wanted = truth.camera.project(truth.vertices)[1, :, :2]
    assert np.abs(flat - wanted.numpy()).max() < 0.02


def test_the_labels_themselves_fit_their_pictures(staged: Staged) -> None:
    folder, people = staged
    result = evaluated(folder, Knowing(people.body))
    (line,) = [line for line in result.remarks if line.startswith("The labelled bodies")]
    fit = dict(
        part.strip().rsplit(" ", 1) for part in line.split("by ")[1].split(":")[0].split(",")
    )
    assert float(fit["keypoint_error"]) < 1e-3
    assert float(fit["silhouette_iou"]) > 0.97


# Figures.


def test_the_truth_has_no_errors(women: Staged) -> None:
    folder, people = women
    dataset = open_ssp3d(folder)
    network = Knowing(people.body, camera=best_camera(people, dataset))
    result = evaluated(folder, network, "female")
    for figure in result.figures:
        if figure.protocol.unit == "mm":
            assert figure.value < 2e-3, figure.metric
    assert of(result, "root_angle") < 0.05
    # What is left is the perspective, and that masks of 512 px are compared at 256 px.
    assert of(result, "keypoint_error") < 1
    assert of(result, "silhouette_iou") > 0.97
    assert result.people == WOMEN and result.sealed and result.benchmark == "ssp3d"


def test_both_genders_of_the_predicted_body_are_measured(staged: Staged) -> None:
    folder, people = staged
    result = evaluated(folder, Knowing(people.body))
    # True coefficients on the true gender's body are the truth; on the neutral one they are not.
    assert of(result, "pve_t_sc[gendered]") < 1e-3
    errors = []
    for gender, shape in zip(people.genders, people.body.shape.double().numpy(), strict=True):
        neutral, own = (arrays_of(which) for which in ("neutral", gender))
        rests = [a["v_template"] + a["shapedirs"][..., :10] @ shape for a in (neutral, own)]
        errors.append(twins.pve_sc(*rests))
    assert of(result, "pve_t_sc[neutral]") == pytest.approx(np.mean(errors), abs=1e-3)
    assert np.mean(errors) > 5
    assert "neutral (predicted), female 2, male 2 (true)" in result.gender


def arrays_of(gender: str) -> dict[str, np.ndarray]:
    with np.load(locate_body("open", gender)) as arrays:
        return {key: arrays[key].astype(np.float64) for key in ("v_template", "shapedirs")}


def bent(body: BodyParameters, angle: float) -> BodyParameters:
    """Turns the left knee and the whole body a little."""
    rotations = body.rotations.clone()
    rotations[..., 4, :, :] = rotations[..., 4, :, :] @ axis_rotation(0, torch.tensor(angle))
    rotations[..., 0, :, :] = axis_rotation(1, torch.tensor(angle / 4)) @ rotations[..., 0, :, :]
    return replace(body, rotations=rotations)


def test_known_errors_equal_the_published_definitions(women: Staged, bodies: LabelBodies) -> None:
    folder, people = women
    guess = shifted(bent(people.body, 0.4), 0.8, -0.5)
    result = evaluated(folder, Knowing(guess), "female")
    template = bodies.templates["female"]
    regressor = bodies.regressors.h36m17.double().numpy()
    found: dict[str, list[float]] = {}
    for n in range(WOMEN):
        pair = []
        for body in (guess, people.body):
            one = BodyParameters(body.shape[n], body.rotations[n])
            pair.append((one.posed(template).vertices, rest_vertices(template, one.shape)))
        (mine, my_rest), (true, true_rest) = (
            [part.double().numpy() for part in one] for one in pair
        )
        joints = regressor @ mine, regressor @ true
        for name in ("mpjpe", "mpjpe_smplorigin", "mpjpe_sc", "pa_mpjpe"):
            found.setdefault(name, []).append(twins.METRICS[name](*joints))
        for name in ("mpjpe", "pa_mpjpe"):
            error = twins.METRICS[name](*joints, twins.H36M_TO_J17)
            found.setdefault(f"{name}[h36m17]", []).append(error)
        for name in ("pve", "pve_sc", "pve_pa"):
            found.setdefault(name, []).append(twins.METRICS[name](mine, true))
        for tag in ("neutral", "gendered"):
            found.setdefault(f"pve_t[{tag}]", []).append(twins.pve(my_rest, true_rest))
            found.setdefault(f"pve_t_sc[{tag}]", []).append(twins.pve_sc(my_rest, true_rest))
        pelvis = [joint[0] for joint in joints]
        found.setdefault("pve_pelvis", []).append(twins.pve_pelvis(mine, true, *pelvis))
    for name, errors in found.items():
        assert of(result, name) == pytest.approx(np.mean(errors), abs=2e-3), name
        assert result.values is not None
        assert result.values.errors[name].numpy() == pytest.approx(errors, abs=2e-3)
    # Both conventions at the root are there, and differ.
    assert abs(of(result, "mpjpe") - of(result, "mpjpe_smplorigin")) > 0.1
    assert of(result, "root_angle") == pytest.approx(np.degrees(0.1), abs=1e-2)


def test_the_best_of_samples_stands_with_and_without_the_mode(women: Staged) -> None:
    folder, people = women
    offsets = (2.5, 0.1, 0.6)  # the mode would take the place of the first
    samples = [shifted(people.body, 1.0 + offset) for offset in offsets]
    drawn = BodyParameters(
        shape=torch.stack([one.shape for one in samples]),
        rotations=torch.stack([one.rotations for one in samples]),
    )
    result = evaluated(folder, Knowing(shifted(people.body, 1.0), drawn), "female", samples=3)
    each = [of(evaluated(folder, Knowing(one), "female"), "pve_t_sc[neutral]") for one in samples]
    mode = of(evaluated(folder, Knowing(shifted(people.body, 1.0)), "female"), "pve_t_sc[neutral]")
    assert of(result, "pve_t_sc[neutral]") == pytest.approx(mode, rel=1e-4)
    assert of(result, "pve_t_sc[neutral,min3]") == pytest.approx(min(each), rel=1e-4)
    with_mode = min(mode, *each[1:])
    assert of(result, "pve_t_sc[neutral,min3+mode]") == pytest.approx(with_mode, rel=1e-4)
    assert with_mode < min(each)
    protocol = result.of("pve_t_sc[neutral,min3+mode]").protocol
    assert protocol.samples == 3 and protocol.mode_among_samples
    # Rotations are the mode's, so likelihoods are those of the modes themselves.
    assert of(result, "nll_shape") == pytest.approx(0.5 * (10 * np.log(2 * np.pi) + 1), abs=1e-3)
    assert of(result, "diversity[visible,samples3]") > 1
    assert of(result, "diversity[hidden,samples3]") > 1


def test_overlaps_are_pooled_and_averaged_in_the_published_crop(
    staged: Staged, bodies: LabelBodies
) -> None:
    folder, people = staged
    dataset = open_ssp3d(folder)
    camera = best_camera(people, dataset)
    # Two people are drawn too large, so that the mean and the pooled overlap differ.
    camera = replace(camera, scale=camera.scale * torch.tensor([1.0, 1.3, 1.0, 0.8]))
    result = evaluated(folder, Knowing(people.body, camera=camera))
    box = dataset.batch(range(PEOPLE)).box
    vertices = people.body.posed(load_template("open")).vertices  # the network's own, neutral body
    flat = (camera.project(vertices) + 1) * 128
    drawn = rasterize_outlines(flat, load_template("open").faces, (256, 256)).numpy()
    true = []
    for number in range(PEOPLE):
        mask = pixels_of(folder / "silhouettes" / f"athlete_{number:03d}.png")
        left, top = (box.centre[number] - box.side[number] / 2).tolist()
        step = float(box.side[number]) / 256
        crop = np.zeros((256, 256), dtype=bool)
        for row in range(256):
            for column in range(256):
                y, x = (
                    int(np.floor(top + (row + 0.5) * step)),
                    int(np.floor(left + (column + 0.5) * step)),
                )
                if 0 <= y < 512 and 0 <= x < 512:
                    crop[row, column] = mask[y, x] > 0
        true.append(crop)
    assert of(result, "silhouette_iou") == pytest.approx(twins.mean_iou(drawn, true), abs=1e-6)
    pooled = twins.pooled_iou(drawn, true)
    assert of(result, "silhouette_iou_pooled") == pytest.approx(pooled, abs=1e-6)
    assert abs(pooled - of(result, "silhouette_iou")) > 1e-3
    marks = box.to_square(people.keypoints)
    guess = camera.project(
        regress(LabelBodies.load("open", ["neutral"]).regressors.coco17, vertices)
    )
    every = np.ones(17, dtype=bool)
    flat_errors = [twins.flat_error(*(p.numpy() * 128 for p in pair), every)
                   for pair in zip(guess, marks, strict=True)]  # fmt: skip
    assert of(result, "keypoint_error") == pytest.approx(np.mean(flat_errors), abs=1e-3)


def test_a_camera_over_another_box_shows_the_same(staged: Staged) -> None:
    """What a front end boxes otherwise is compared in the published crop all the same."""
    folder, people = staged
    dataset = open_ssp3d(folder)
    ours = evaluated(folder, Knowing(people.body, camera=best_camera(people, dataset)))
    box = dataset.batch(range(PEOPLE)).box
    other = Box(box.centre + torch.tensor([7.0, -4.0]), box.side * 1.3)

    class Elsewhere(FromLabels):
        def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Any:
            return super().__call__(replace(people, box=other), settings)

    scale = best_camera(people, dataset).scale / 1.3
    middle = (box.centre - other.centre) / (other.side[:, None] / 2)
    shift = best_camera(people, dataset).shift + middle / scale[:, None]
    camera = replace(best_camera(people, dataset), scale=scale, shift=shift)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plausibody.evaluate.datasets.measuring.open_showing", lambda *_: Elsewhere())
        theirs = evaluated(folder, Knowing(people.body, camera=camera))
    for metric in ("keypoint_error", "silhouette_iou", "silhouette_iou_pooled"):
        assert of(theirs, metric) == pytest.approx(of(ours, metric), abs=2e-3)


def test_a_picture_twice_is_refused(staged: Staged, tmp_path: Path) -> None:
    shutil.copytree(staged[0], tmp_path, dirs_exist_ok=True)
    content = dict(np.load(tmp_path / "labels.npz"))
    content["fnames"][1] = content["fnames"][0]
    np.savez(tmp_path / "labels.npz", **content)
    with pytest.raises(ValueError, match="fnames: wanted each picture once, got more of athlete_0"):
        open_ssp3d(tmp_path)


def test_diversity_is_pooled_too() -> None:
    """HuManiFlow's evaluation takes the mean over the joints of all frames."""
    coco = torch.randn(5, 3, 17, 3, generator=torch.Generator().manual_seed(1))
    seen = torch.arange(17) < torch.tensor([[3], [17], [9]])
    values, weights = diversity(coco, seen, 5)
    name = "diversity[visible,pooled,samples5]"
    gaps = (coco - coco.mean(0)).norm(dim=-1).mean(0)[seen].mean() * 1000
    found = (values[name] * weights[name]).sum() / weights[name].sum()
    assert float(found) == pytest.approx(float(gaps), rel=1e-5)
    assert protocol_of(name).pooled == "points"


def test_results_of_other_labels_have_another_digest(staged: Staged, tmp_path: Path) -> None:
    shutil.copytree(staged[0], tmp_path, dirs_exist_ok=True)
    labels, masks = tmp_path / "labels.npz", sorted((tmp_path / "silhouettes").iterdir())
    content = dict(np.load(labels))
    usual = survey(open_ssp3d(tmp_path), 4).digest
    found = [usual]
    for key in ("poses", "shapes", "joints2D", "cam_trans", "bbox_whs"):
        np.savez(labels, **(content | {key: content[key] + 0.01}))
        found.append(survey(open_ssp3d(tmp_path), 4).digest)
    np.savez(labels, **content)
    assert survey(open_ssp3d(tmp_path), 4).digest == usual
    masks[0].write_bytes(masks[1].read_bytes())
    found.append(survey(open_ssp3d(tmp_path), 4).digest)
    assert len(set(found)) == len(found)


def test_part_of_the_people_is_no_figure_of_a_paper(staged: Staged) -> None:
    folder, people = staged
    result = evaluated(folder, Knowing(people.body), people=2)
    assert result.benchmark == "not ssp3d" and not result.sealed and result.people == 2
    assert "2 of 4 people" in result.note
    every = evaluated(folder, Knowing(people.body))
    assert every.digest != result.digest
    assert every == evaluated(folder, Knowing(people.body))
    assert {figure.group for figure in every.figures} == {"all", "gender", "view", "build"}
    names = {case.name for case in every.worst}
    assert every.worst_by == "pve_t_sc[neutral]" and len(names) == PEOPLE


# How people are shown.


def test_labels_are_shown_in_the_published_crop(staged: Staged) -> None:
    folder, people = staged
    network = Knowing(people.body)
    evaluated(folder, network)
    (proxy,) = network.shown
    labelled = open_ssp3d(folder).batch(range(PEOPLE))
    assert labelled.keypoints is not None
    for n in range(PEOPLE):
        # The published protocol takes no notice of confidences: none is left out for its own.
        sure = labelled.keypoints[n, :, 2:].clamp(min=ProxySettings().least_confidence)
        points = torch.cat([labelled.keypoints[n, :, :2], sure], -1)
        seen = Observation(points, people.masks[n].float())
        box = Box(labelled.box.centre[n], labelled.box.side[n])
        wanted = make_proxy(seen, ProxySettings(), box)
        assert torch.allclose(proxy.silhouette[n], wanted.silhouette, atol=1e-6)
        assert torch.allclose(proxy.keypoints[n], wanted.keypoints)
        assert (proxy.keypoints[n, :, 2] > 0).all()
    assert (labelled.keypoints[..., 2] < ProxySettings().least_confidence).any()


def test_networks_that_read_pictures_get_them(staged: Staged) -> None:
    folder, people = staged
    for channel in ("edges", "rgb"):
        network = Knowing(people.body, channel=channel)
        evaluated(folder, network)
        (proxy,) = network.shown
        image = proxy.edges if channel == "edges" else proxy.rgb
        assert image is not None and float(image.std()) > 0.01


class Sees:
    """A front end that finds everybody in the boxes that it is told, but not in one picture."""

    def __init__(self, boxes: PublishedBoxes, blind: str):
        self.boxes, self.blind = boxes, blind

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        return [self._look(Path(str(picture))) for picture in pictures]

    def _look(self, path: Path) -> ImageResult:
        if path.name == self.blind:
            return ImageResult(str(path), 512, 512, "no_person", "nobody")
        mask = read_mask(path.parents[1] / "silhouettes" / path.name)
        logits = torch.where(mask, 9.0, -9.0)
        (box,) = self.boxes(path, 512, 512)
        person = Person(1.0, box, torch.zeros(17, 3), SoftMask(logits, torch.eye(3)[:2], 512, 512))
        return ImageResult(str(path), 512, 512, "ok", people=(person,))

    def describe(self) -> dict[str, Any]:
        return {"name": "a seer"}


def test_whom_a_front_end_misses_is_counted_and_predicted_from_nothing(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, people = staged
    boxes = PublishedBoxes.of(open_ssp3d(folder))
    there = people.masks[0].nonzero()
    told = boxes(folder / "images" / "athlete_000.png", 512, 512)[0]
    extent = (there.amax(0) + 1 - there.amin(0)).max()
    assert float((told[2:] - told[:2]).max()) == pytest.approx(float(extent))
    monkeypatch.setattr(
        "plausibody.evaluate.datasets.asking.open_front_end",
        lambda name, device, settings: Sees(settings.boxes, "athlete_002.png"),
    )
    network = Knowing(people.body)
    result = evaluated(folder, network, shown="embedded")
    assert result.missed == ("athlete_002.png",)
    assert result.front_end == "a seer, told the published boxes"
    assert result.of("pve").people == PEOPLE
    (proxy,) = network.shown
    assert (proxy.silhouette.amax((1, 2)) > 0.9).tolist() == [True, True, False, True]
    assert not proxy.silhouette[2].any() and not proxy.keypoints[2].any()
    published = open_ssp3d(folder).batch([2]).box
    assert torch.equal(proxy.box.centre[2], published.centre[0])


def test_the_front_end_that_ships_finds_staged_people(staged: Staged) -> None:
    folder, _ = staged
    dataset = open_ssp3d(folder)
    showing = open_showing(dataset, ProxySettings(), "embedded")
    assert isinstance(showing, FromFrontEnd)
    shown = showing(dataset.batch([0, 1]), ProxySettings())
    assert not shown.missed.any()
    labelled = FromLabels()(dataset.batch([0, 1]), ProxySettings())
    gap = shown.proxy.box.centre - labelled.proxy.box.centre
    assert float((gap.norm(dim=1) / labelled.proxy.box.side).max()) < 0.15


# Other bodies.


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bodies: LabelBodies) -> Path:
    """The neutral open body as one of another mesh: its faces come in another order."""
    with np.load(locate_body("open", "neutral")) as arrays:
        body = {key: arrays[key] for key in arrays.files if key not in ("topology", "gender")}
    body["f"] = body["f"][::-1]
    np.savez(tmp_path / "other_neutral.npz", **body)
    np.save(tmp_path / "J_regressor_h36m.npy", bodies.regressors.h36m17.numpy())
    monkeypatch.setenv("PLAUSIBODY_ASSETS", str(tmp_path))
    return tmp_path / "other_neutral.npz"


def test_a_network_of_another_body_is_refused_or_compared_by_joints(
    staged: Staged, foreign: Path
) -> None:
    folder, people = staged
    card = {"config": {"sources": {"body": str(foreign)}}}
    dataset, given = open_ssp3d(folder), Options(labels_body="open")
    with pytest.raises(ValueError, match="(?s)wanted a network of the body.*--across-bodies"):
        evaluate_dataset(dataset, trained(Knowing(people.body), **card), given)
    across = replace(given, across_bodies=True)
    result = evaluate_dataset(dataset, trained(Knowing(people.body), **card), across)
    measured = {figure.metric for figure in result.figures}
    assert measured == {
        *("mpjpe", "mpjpe_sc", "pa_mpjpe", "keypoint_error"),
        *("mpjpe[h36m17]", "mpjpe_sc[h36m17]", "pa_mpjpe[h36m17]"),
        *("silhouette_iou", "silhouette_iou_pooled"),
    }
    assert "another body" in result.note
    same = evaluated(folder, Knowing(people.body))
    assert of(result, "mpjpe") == pytest.approx(of(same, "mpjpe"), abs=1e-3)


def test_missing_bodies_of_labels_say_where_they_come_from(staged: Staged) -> None:
    folder, people = staged
    with pytest.raises(FileNotFoundError, match=r"(?s)female body.*smpl\.is\.tue\.mpg\.de"):
        evaluated(folder, Knowing(people.body), labels_body="nowhere/smpl")


# Bad input.


@dataclass(frozen=True)
class Broken:
    folder: Path

    def write(self, **changed: Any) -> Path:
        with np.load(self.folder / "labels.npz") as labels:
            arrays = {key: labels[key] for key in labels.files} | changed
        kept = {key: value for key, value in arrays.items() if value is not None}
        np.savez(self.folder / "labels.npz", **kept)
        return self.folder


@pytest.fixture
def broken(staged: Staged, tmp_path: Path) -> Broken:
    """A copy to be spoilt."""
    shutil.copytree(staged[0], tmp_path / "ssp3d")
    return Broken(tmp_path / "ssp3d")


def test_missing_files_are_named_and_counted(broken: Broken) -> None:
    (broken.folder / "silhouettes" / "athlete_002.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"silhouettes.*athlete_002\.png; do: unpack"):
        open_ssp3d(broken.folder)
    shutil.rmtree(broken.folder / "images")
    with pytest.raises(FileNotFoundError, match=r"images.*athlete_000\.png.*athlete_003\.png"):
        open_ssp3d(broken.folder)
    (broken.folder / "labels.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.npz; do: get SSP-3D, https://github"):
        open_ssp3d(broken.folder)


class Trap:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_labels_that_are_not_as_published_are_refused(broken: Broken, tmp_path: Path) -> None:
    nan = np.zeros((PEOPLE, 72))
    nan[[1, 3], 5] = np.nan
    trap = np.array([Trap(tmp_path / "sprung")] * PEOPLE, dtype=object)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"shapes": None, "genders": None}, "found no shapes, genders among"),
        ({"poses": nan}, r"poses: wanted finite numbers, got others in row 1, row 3 \(from 0\)"),
        ({"poses": np.zeros((PEOPLE, 24, 3))}, r"poses: wanted numbers of the shape \(4, 72\)"),
        ({"joints2D": np.zeros((3, 17, 3))}, r"joints2D: wanted numbers of the shape \(4, 17, 3\)"),
        ({"fnames": trap}, "pickled objects, which are never opened"),
        ({"fnames": np.array(["../../etc/passwd"] * PEOPLE)}, "names of files below"),
        ({"fnames": np.array(["/etc/passwd"] * PEOPLE)}, "names of files below"),
        ({"genders": np.array(["f", "m", "x", "m"])}, "wanted m or f of each person, got 'x'"),
        ({"bbox_whs": np.array([1.0, 0.0, 5.0, 5.0])}, "bbox_whs: wanted sides above 0.*row 1"),
    ]
    original = (broken.folder / "labels.npz").read_bytes()
    for changed, message in cases:
        (broken.folder / "labels.npz").write_bytes(original)
        with pytest.raises(ValueError, match=message):
            open_ssp3d(broken.write(**changed))
    assert not (tmp_path / "sprung").exists()
    (broken.folder / "labels.npz").write_bytes(original[:2000])
    with pytest.raises(ValueError, match="labels.npz"):
        open_ssp3d(broken.folder)


def test_damaged_pictures_stop_with_a_name_and_so_do_networks_that_give_nobody_a_body(
    broken: Broken, staged: Staged
) -> None:
    (broken.folder / "silhouettes" / "athlete_001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"athlete_001\.png: wanted a mask"):
        evaluated(broken.folder, Knowing(staged[1].body))
    lost = replace(staged[1].body, shape=staged[1].body.shape * torch.nan)
    with pytest.raises(ValueError, match=r"none of 4 people: athlete_000\.png \(.*not finite"):
        evaluated(staged[0], Knowing(lost))


def test_who_gets_no_body_is_named_and_in_no_figure(staged: Staged, tmp_path: Path) -> None:
    folder, people = staged
    shape = people.body.shape.clone()
    shape[1] = torch.nan
    whole = evaluated(folder, Knowing(people.body))
    found = evaluated(folder, Knowing(replace(people.body, shape=shape)))
    assert (found.people, found.failed, found.sealed) == (PEOPLE, ("athlete_001.png",), False)
    assert found.benchmark == "not ssp3d" and found.note.startswith(
        "1 of 4 people got no body, and are in no figure: athlete_001.png (numbers that are not"
    )
    assert found.of("pve_t_sc[gendered]").people == PEOPLE - 1
    assert found.values is not None and whole.values is not None
    kept = torch.tensor([0, 2, 3])
    for name, column in found.values.errors.items():
        assert bool(column[1].isnan()), name
        before = whole.values.errors[name][kept]
        torch.testing.assert_close(column[kept], before, rtol=1e-4, atol=1e-2, msg=name)
    again = read_with_values(save_result(found, tmp_path))
    assert again == found and "athlete_001.png" not in [case.name for case in again.worst]


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="--samples: wanted 0 or more"):
        Options(samples=-1)
    with pytest.raises(ValueError, match="--people: wanted at least 1"):
        Options(people=0)


# The command.


def test_the_command_prints_both_variants_and_writes_what_it_found(
    staged: Staged, tmp_path: Path
) -> None:
    command = [
        *("evaluate", "ssp3d", "--data", str(staged[0]), "--labels-body", "open"),
        *(
            "--weights",
            "hierprob-lite",
            "--samples",
            "2",
            "--quiet",
            "--out",
            str(tmp_path / "out"),
        ),
    ]
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 0, found.output
    tables = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    for metric in (
        *("pve_t_sc[neutral]", "pve_t_sc[gendered]", "mpjpe", "mpjpe_smplorigin"),
        *("silhouette_iou", "silhouette_iou_pooled", "pve_pa[min2+mode]", "pve_pa[min2]"),
        *("keypoint_error[samples2]", "silhouette_iou_pooled[samples2]", "nll_pose"),
    ):
        assert np.isfinite(tables["metrics"][metric]["figures"]["all"]["value"]), metric
    text = (tmp_path / "out" / "results.md").read_text("utf-8")
    assert "pve_t_sc[neutral]" in text and "pve_t_sc[gendered]" in text
    missing = CliRunner().invoke(main, ["evaluate", "ssp3d", "--data", str(staged[0])])
    assert missing.exit_code == 1 and "--labels-body smpl" in missing.output
