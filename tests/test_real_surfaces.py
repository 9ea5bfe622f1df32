"""DensePose-COCO's annotations in training, and photos beside drawn people with IUV pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.config import override
from plausibody.models.danet_losses import DanetLoss, known_class_error
from plausibody.models.iuv import UNKNOWN, DenseTarget
from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.presets import preset
from plausibody.real_coco import read_coco_people, surface_of
from plausibody.real_labels import read_real_labels
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.iuv import DenseSettings
from plausibody.synth.real_images import MixedRecipe, RealImages, RealSettings
from plausibody.synth.real_people import RealLabels
from plausibody.synth.real_surfaces import GRID, MOST, mirror_surface, read_runs
from plausibody.synth.stores import SourceSettings, SynthAssets
from plausibody.training.trainer import Trainer

RGB, SIDE = ProxySettings(size=64, channel="rgb"), 32
STILL = RealSettings(share=0.5, mirrored=0.0, scale=(1.0, 1.0), turned=0.0, gain=0.0)
BOX = [20.0, 10.0, 40.0, 80.0]
"""Left, top, width and height of everybody [px]."""


def runs_of(mask: np.ndarray) -> str:
    """Compresses a mask as COCO does."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    runs = np.diff([0, *edges, len(flat)]).tolist()
    text = ""
    for n, run in enumerate(runs):
        value = run - runs[n - 2] if n > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(bits + 32 * more + 48)
    return text


def person(number: int, picture: int, **surface: Any) -> dict[str, Any]:
    marks = np.zeros((17, 3))
    marks[COCO17.index("left_knee")] = [29.5, 69.5, 2]
    marks[COCO17.index("nose")] = [39.5, 19.5, 1]
    return {
        **{"id": number, "image_id": picture, "category_id": 1, "iscrowd": 0},
        **{"bbox": BOX, "area": 900.0, "keypoints": marks.flatten().tolist(), "num_keypoints": 2},
        **surface,
    }


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    """Three points, and the torso (class 1) as the upper half of the rectangle."""
    upper = np.zeros((GRID, GRID), dtype=np.uint8)
    upper[: GRID // 2] = 1
    masks: list[Any] = [{"size": [GRID, GRID], "counts": runs_of(upper)}, *[[]] * 13]
    return {
        "dp_I": [2.0, 10.0, 23.0],
        **{"dp_U": [0.25, 0.5, 1.0], "dp_V": [0.75, 0.0, 0.5]},
        **{"dp_x": [128.0, 0.0, 64.0], "dp_y": [64.0, 192.0, 0.0]},
        "dp_masks": masks,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, surface: dict[str, Any]) -> Path:
    """Two photos and annotations of four people; of one the surface too, of one no photo."""
    root = tmp_path_factory.mktemp("densepose")
    for n in range(2):
        Image.fromarray(np.full((100, 80, 3), 90 + n, dtype=np.uint8)).save(root / f"{n}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
        "annotations": [
            *(person(5, 0, **surface), person(6, 1), person(7, 2)),
            {**person(8, 1), "keypoints": [0] * 51, "num_keypoints": 0},
        ],
    }
    (root / "densepose.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def labels(folder: Path) -> RealLabels:
    return read_coco_people(folder / "densepose.json", folder)


def test_run_lengths_are_those_of_coco() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(0)
    for shape in ((7, 5), (GRID, GRID)):
        mask = (generator.random(shape) < 0.3).astype(np.uint8)
        mask[2:, 1:4] = 1
        told = coco.encode(np.asfortranarray(mask))["counts"]
        assert torch.equal(read_runs(told, *shape), torch.from_numpy(mask) > 0)
        assert runs_of(mask).encode() == told
    with pytest.raises(ValueError, match="wanted run lengths of 8 x 5 pixels"):
        read_runs(runs_of(np.ones((7, 5), dtype=np.uint8)).encode(), 8, 5)
    with pytest.raises(ValueError, match="as COCO compresses them"):
        read_runs(b"", 7, 5)


def test_annotations_are_read_with_what_they_say_of_surfaces(
    folder: Path, labels: RealLabels
) -> None:
    assert [path.name for path in labels.pictures] == ["0.png", "1.png"]
    assert [path.name for path in labels.missing] == ["2.png"]
    assert labels.box.centre.tolist() == [[40, 50]] * 2
    assert labels.box.side.tolist() == pytest.approx([96.0] * 2) and not labels.fitted.any()
    assert labels.keypoints[0, COCO17.index("left_knee")].tolist() == [30, 70, 1]
    told, nothing = labels.surfaces
    assert told is not None and nothing is None
    assert told.places.tolist() == [[40, 30], [20, 70], [30, 10]]
    assert told.part.tolist() == [2, 10, 23]
    classes = told.classes()
    assert bool((classes[: GRID // 2] == 1).all()) and not bool(classes[GRID // 2 :].any())
    assert "of 1 people points of the surface" in labels.told()[1]
    sources = SourceSettings(
        real_labels=(str(folder / "densepose.json"),), real_pictures=(str(folder),)
    )
    assert len(read_real_labels(sources)) == 2


def save_danets(folder: Path, points: list[Any]) -> Path:
    """Writes `points` as DaNet's dp_coco_2014_train.npz has them: pickled, beside SPIN's arrays."""
    count, path = len(points), folder / "dp_coco_2014_train.npz"
    objects = np.empty(count, dtype=object)
    objects[:] = points
    named = np.array([f"{n}.png" for n in range(count)])
    square = {"center": np.full((count, 2), [40.0, 50.0]), "scale": np.full(count, 0.48)}
    np.savez(path, allow_pickle=True, imgname=named, dp_annot=objects, **square)
    return path


def test_danets_files_tell_the_same_of_surfaces(
    folder: Path, labels: RealLabels, surface: dict[str, Any], tmp_path: Path
) -> None:
    as_arrays = {key: np.array(value) for key, value in surface.items() if key != "dp_masks"}
    told = {"bbox": np.array(BOX), **as_arrays, "dp_masks": surface["dp_masks"]}
    path = save_danets(tmp_path, [{}, told, None])  # of the last there is no photo
    sources = SourceSettings(body="smpl", real_labels=(str(path),), real_pictures=(str(folder),))
    found = read_real_labels(sources)
    nothing, same = found.surfaces
    assert nothing is None and same is not None and labels.surfaces[0] is not None
    assert torch.equal(same.places, labels.surfaces[0].places)
    assert torch.equal(same.place_on_part, labels.surfaces[0].place_on_part)
    assert torch.equal(same.classes(), labels.surfaces[0].classes())


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([{"dp_I": [1.0]}, None], "dp_annot 0, dp_U: wanted numbers"),
        ([{}, [1, 2]], "dp_annot 1: wanted a table of dp_I and others"),
        ([{}, Path("/")], "came one that calls for pathlib.*nothing in it was run"),
    ],
    ids=["half", "no table", "code"],
)
def test_danets_files_that_say_something_else_are_refused(
    folder: Path, tmp_path: Path, points: list[Any], complaint: str
) -> None:
    path = save_danets(tmp_path, points)
    sources = SourceSettings(real_labels=(str(path),), real_pictures=(str(folder),))
    with pytest.raises(ValueError, match=f"dp_coco_2014_train.npz.*{complaint}"):
        read_real_labels(sources)


def test_places_on_densepose_charts_mean_nothing_to_a_body_with_another(folder: Path) -> None:
    sources = SourceSettings(
        real_labels=(str(folder / "densepose.json"),), real_pictures=(str(folder),)
    )
    people = read_real_labels(sources)
    told = people.surfaces[0]
    assert (
        told is not None and told.place_on_part.isnan().all() and told.part.tolist() == [2, 10, 23]
    )
    assert any("parts count, and not u and v" in line for line in people.told())
    smpl = read_real_labels(replace(sources, body="smpl"))
    assert smpl.surfaces[0] is not None and not smpl.surfaces[0].place_on_part.isnan().any()
    assert not any("and not u and v" in line for line in smpl.told())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dp_U": [0.5]}, "dp_y of one length, 196 at most, got 1, 3"),
        ({"dp_I": [1.0, 2.0, 25.0]}, "dp_I: wanted parts 1 to 24"),
        ({"dp_V": [0.0, 0.5, 1.5]}, "dp_U and dp_V: wanted 0 to 1"),
        ({"dp_x": None}, "dp_x: wanted numbers"),
        ({"dp_masks": [[]] * 3}, "dp_masks: wanted 14 masks or none"),
        ({"dp_masks": [{"size": [9, 9], "counts": "0"}, *[[]] * 13]}, "wanted counts, compressed"),
        ({"dp_masks": [{"size": [GRID] * 2, "counts": "0"}, *[[]] * 13]}, "wanted run lengths"),
    ],
)
def test_other_annotations_of_surfaces_are_refused(
    surface: dict[str, Any], change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"a.json, annotation 3.*{complaint}"):
        surface_of({**person(1, 0, **surface), **change}, "a.json, annotation 3")


def photos(labels: RealLabels, settings: RealSettings = STILL) -> RealImages:
    return RealImages(labels, RGB, 3, settings, dense=DenseSettings(size=SIDE))


def surface_in(batch: Batch) -> DenseTarget:
    assert batch.target.dense is not None
    return batch.target.dense


def test_photos_hand_over_joints_and_points_and_no_picture(labels: RealLabels) -> None:
    batch = photos(labels)(torch.arange(16))
    dense = surface_in(batch)
    assert dense.drawn is not None and not dense.drawn.any() and dense.points is not None
    knee = SMPL24.index("left_knee")
    torch.testing.assert_close(dense.joints[0, knee], torch.tensor([-10 / 48, 20 / 48]))
    inside = (dense.joints.abs() <= 1).all(-1)
    assert inside.sum(1).tolist() == [1] * 16, "the nose is no joint, others are not marked"
    asked = (dense.points.part > 0).any(1)
    assert 0 < int(asked.sum()) < 16
    who = int(asked.nonzero()[0, 0])
    assert dense.points.part[who, :4].tolist() == [2, 10, 23, 0]
    assert dense.points.part.shape == (16, MOST)
    assert dense.points.places[who, 0].tolist() == pytest.approx([0, -20 / 48])
    classes = dense.points.classes
    assert bool((classes[~asked] == UNKNOWN).all())
    # The rectangle is 40/96 of the box wide and its upper half ends in the middle of the box.
    middle, quarter = SIDE // 2, SIDE // 4
    assert classes[who, quarter, middle] == 1 and classes[who, 3 * quarter, middle] == 0
    assert classes[who, quarter, 2] == 0


def test_people_with_annotated_surfaces_are_not_mirrored(labels: RealLabels) -> None:
    always = replace(STILL, mirrored=1.0)
    dense = surface_in(photos(labels, always)(torch.arange(16)))
    assert dense.points is not None
    asked = (dense.points.part > 0).any(1)
    left, right = SMPL24.index("left_knee"), SMPL24.index("right_knee")
    x = dense.joints[:, [left, right], 0]
    assert bool((x[asked, 0] < 0).all() & (x[asked, 1] == 10).all())
    assert bool((x[~asked, 1] > 0).all() & (x[~asked, 0] == -10).all())
    with pytest.raises(TypeError, match="its mirror image is not known"):
        mirror_surface(dense)


def test_people_of_whom_nothing_is_known_weigh_nothing() -> None:
    scores = torch.randn(2, 15, 4, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.full((2, 4, 4), UNKNOWN)
    assert float(known_class_error(scores, classes)) == 0
    classes[0] = 3
    wanted = torch.nn.functional.cross_entropy(scores[:1], classes[:1])
    torch.testing.assert_close(known_class_error(scores, classes), wanted)


def test_networks_of_iuv_learn_from_photos_what_is_known_of_them(
    labels: RealLabels, assets: SynthAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IUV pictures of photos are zeros that nobody sees: others change nothing."""
    monkeypatch.setattr("plausibody.synth.generator.BLOCK", 8)
    iuv = override(preset("danet-lite-iuv"), {"proxy.size": 64, "stream.lite.frame": 64})
    recipe = BatchGenerator.of(iuv.stream, iuv.proxy, assets, 8)

    def drawn(numbers: Tensor) -> Batch:
        made = recipe.samples(0, len(numbers))
        colours = torch.zeros(len(numbers), 3, RGB.size, RGB.size)
        return replace(made, proxy=replace(made.proxy, iuv=None, rgb=colours))

    batch = MixedRecipe(drawn, photos(labels), 3)(torch.arange(8))
    dense = surface_in(batch)
    assert dense.drawn is not None and 0 < int(dense.drawn.sum()) < 8
    small = {
        **{"train.batch_size": 8, "train.threads": 1, "train.precision": "32-true"},
        **{"danet.width": 8, "danet.features": 8, "danet.estimator_steps": 0},
    }
    trainer = Trainer(override(preset("danet-lite"), small), assets, "cpu")
    assert isinstance(trainer.objective, DanetLoss)
    noise = torch.where(dense.drawn[:, None, None, None], dense.iuv, 5.0)
    other = replace(batch, target=replace(batch.target, dense=replace(dense, iuv=noise)))
    torch.manual_seed(0)
    loss, parts = trainer.loss(trainer.prepare(batch))
    torch.manual_seed(0)
    same, _ = trainer.loss(trainer.prepare(other))
    assert torch.equal(loss, same) and float(parts["point_index"].detach()) > 0
    assert dense.points is not None
    unplaced = replace(dense.points, place_on_part=dense.points.place_on_part * torch.nan)
    other = replace(batch, target=replace(batch.target, dense=replace(dense, points=unplaced)))
    loss, parts = trainer.loss(trainer.prepare(other))
    assert bool(loss.isfinite()) and float(parts["point_u"].detach()) == 0
    trainer.train_step(trainer.prepare(batch))
    assert trainer.step == 1
