"""COCO's key points: who is predicted, what similarity and precision come out, what is refused."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.evaluate.datasets.coco import STATISTICS, CocoKeypoints, danet_keypoints, open_coco
from plausibody.evaluate.datasets.coco_labels import read_coco
from plausibody.evaluate.datasets.coco_similarity import SIGMAS, object_keypoint_similarity
from plausibody.evaluate.datasets.people import Dataset, WholeSet
from plausibody.evaluate.datasets.registry import open_dataset
from plausibody.evaluate.datasets.spin import SPIN24
from plausibody.models.skeleton import COCO17, SMPL24, indices
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.reading.coco import PERSON

LARGE, MEDIUM = 200.0**2, 60.0**2
"""Areas of people [px], on either side of COCO's border of 96 x 96."""


def person(number: int, image: int, area: float = LARGE, **changes: Any) -> dict[str, Any]:
    """An annotation; key points at whole pixels, the last of them not marked."""
    points = np.random.default_rng(number).integers(20, 180, (17, 3))
    points[:, 2] = 2
    points[3, 2] = 1
    points[16] = 0
    told = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [10.0, 20.0, 150.0, 100.0],
        "area": area,
        "iscrowd": 0,
        "num_keypoints": 16,
        "keypoints": points.flatten().tolist(),
    }
    return told | changes


def annotations() -> dict[str, Any]:
    """Three pictures: two people, one person, and a crowd beside one without key points."""
    nothing = {"keypoints": [0] * 51, "num_keypoints": 0}
    return {
        "images": [
            {"id": n, "file_name": f"COCO_val2014_{n:012d}.jpg", "width": 200, "height": 200}
            for n in (42, 7, 9)
        ],
        "annotations": [
            person(0, 42),
            person(1, 42, MEDIUM),
            person(2, 7),
            person(3, 9, iscrowd=1, **nothing),
            person(4, 9, **nothing),
            person(5, 9, category_id=18),
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


Stage = Callable[..., Path]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Writes annotations and pictures as published."""

    def write(content: Any = None, split: str = "val2014") -> Path:
        content = annotations() if content is None else content
        (tmp_path / "annotations").mkdir(exist_ok=True)
        told = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "annotations" / f"person_keypoints_{split}.json").write_text(told)
        (tmp_path / split).mkdir(exist_ok=True)
        for n in (42, 7, 9):
            picture = encode_picture(torch.zeros(3, 40, 40), ".jpg")
            (tmp_path / split / f"COCO_val2014_{n:012d}.jpg").write_bytes(picture)
        return tmp_path

    return write


def opened(folder: Path) -> CocoKeypoints:
    dataset = open_dataset("coco", folder)
    assert isinstance(dataset, CocoKeypoints)
    return dataset


def truth(dataset: CocoKeypoints) -> Tensor:
    """What a perfect prediction would be."""
    marks = dataset.batch(range(len(dataset))).true_keypoints
    assert marks is not None
    return marks[..., :2]


def test_who_has_key_points_is_predicted_in_the_published_crop(stage: Stage) -> None:
    dataset = opened(stage())
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, WholeSet)
    assert len(dataset) == 3
    people = dataset.batch([2, 0])
    assert [path.name for path in people.pictures if path] == [
        "COCO_val2014_000000000007.jpg",
        "COCO_val2014_000000000042.jpg",
    ]
    assert people.box.centre.tolist() == [[85, 70], [85, 70]]
    np.testing.assert_allclose(people.box.side, 1.2 * 150)
    assert people.true_keypoints is not None
    marked = torch.tensor(annotations()["annotations"][2]["keypoints"]).view(17, 3)
    torch.testing.assert_close(people.true_keypoints[0, :16, :2], marked[:16, :2] + 0.5)
    assert people.true_keypoints[0, :, 2].tolist() == [1.0] * 16 + [0.0]
    assert len(set(dataset.batch(range(3)).names)) == 3


def test_the_truth_has_a_precision_of_1(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = opened(stage())
    figures = dataset.whole_set(truth(dataset))
    assert figures == dict.fromkeys(STATISTICS, pytest.approx(1, abs=1e-12))
    np.testing.assert_allclose(dataset.of_each(truth(dataset))["oks"], 1, atol=1e-12)
    assert capfd.readouterr() == ("", "")  # the evaluator says nothing


def by_hand(shift: Sequence[float], area: float, marked: Sequence[int]) -> float:
    """OKS of key points that are all off by as much: COCO's formula, spelt out."""
    gap = shift[0] ** 2 + shift[1] ** 2
    widths = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
    alike = [np.exp(-gap / (2 * area * (2 * widths[joint] / 1000) ** 2)) for joint in marked]
    return float(np.mean(alike))


@pytest.mark.parametrize("shift", [(3.0, 4.0), (-6.0, 8.0), (30.0, 0.0)])
def test_a_shift_has_the_precision_that_its_similarity_says(
    stage: Stage, shift: tuple[float, float]
) -> None:
    dataset = opened(stage())
    moved = truth(dataset) + torch.tensor(shift)
    wanted = [by_hand(shift, area, range(16)) for area in (LARGE, MEDIUM, LARGE)]
    np.testing.assert_allclose(dataset.of_each(moved)["oks"], wanted, atol=1e-6)
    figures = dataset.whole_set(moved)
    thresholds = np.linspace(0.5, 0.95, 10)
    large, medium = wanted[0], wanted[1]
    assert figures["oks/ap_large"] == pytest.approx((thresholds <= large).mean())
    assert figures["oks/ap_medium"] == pytest.approx((thresholds <= medium).mean())
    assert figures["oks/ar_medium"] == pytest.approx((thresholds <= medium).mean())
    everybody = np.mean([(thresholds <= one).mean() for one in wanted])
    assert figures["oks/ar"] == pytest.approx(everybody)


def test_similarity_equals_the_evaluators(stage: Stage) -> None:
    from pycocotools.cocoeval import Params

    np.testing.assert_allclose(SIGMAS, Params("keypoints").kpt_oks_sigmas)
    dataset = opened(stage())
    chance = torch.Generator().manual_seed(0)
    found = truth(dataset) + 8 * torch.randn(3, 17, 2, generator=chance)
    similarity = dataset.of_each(found)["oks"]
    figures = dataset.whole_set(found)
    recall = [(similarity >= one).double().mean() for one in np.linspace(0.5, 0.95, 10)]
    assert figures["oks/ar"] == pytest.approx(float(np.mean(recall)))


def test_nobody_with_no_marked_key_point_has_a_similarity() -> None:
    points = torch.zeros(2, 17, 2)
    marked = torch.zeros(2, 17, dtype=torch.bool)
    marked[1, 0] = True
    alike = object_keypoint_similarity(points, points, marked, torch.full((2,), 100.0))
    assert alike.isnan().tolist() == [True, False]


def test_scores_decide_the_order_and_with_it_the_precision(stage: Stage) -> None:
    dataset = opened(stage())
    found = truth(dataset)
    found[0] += 500
    right = dataset.whole_set(found, sure=torch.tensor([0.1, 0.9, 0.8]))
    wrong = dataset.whole_set(found, sure=torch.tensor([0.9, 0.1, 0.2]))
    published = right["oks/ap"]
    assert wrong["oks/ap"] == published == dataset.whole_set(found)["oks/ap"]
    assert wrong["oks/scored_ap"] < published < right["oks/scored_ap"]
    assert right["oks/scored_ar"] == wrong["oks/scored_ar"] == pytest.approx(2 / 3)


def test_results_are_as_coco_takes_them(stage: Stage) -> None:
    dataset = opened(stage())
    results = json.loads(json.dumps(dataset.results(truth(dataset))))
    assert [one["image_id"] for one in results] == [42, 42, 7]
    assert all(one["category_id"] == PERSON and one["score"] == 1 for one in results)
    told = np.array(annotations()["annotations"][0]["keypoints"]).reshape(17, 3)
    found = np.array(results[0]["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(found[:16, :2], told[:16, :2], atol=1e-3)  # numbers of pixels
    assert (found[:, 2] == 1).all()


def test_figures_of_nobody_are_left_out(stage: Stage) -> None:
    content = annotations()
    content["annotations"] = [one for one in content["annotations"] if one["area"] == LARGE]
    dataset = opened(stage(content))
    assert set(STATISTICS) - set(dataset.whole_set(truth(dataset))) == {
        "oks/ap_medium",
        "oks/ar_medium",
    }


def test_limbs_are_kinematic_joints_as_danet_takes_them() -> None:
    coco = torch.arange(17 * 3.0).view(1, 17, 3)
    joints = -torch.arange(24 * 3.0).view(1, 24, 3)
    found = danet_keypoints(coco, joints)
    for place, name in enumerate(COCO17):
        limb = name in SMPL24 and "hip" not in name
        wanted = joints[0, SMPL24.index(name)] if limb else coco[0, place]
        assert torch.equal(found[0, place], wanted)


def test_danets_key_points_have_figures_of_their_own(stage: Stage) -> None:
    dataset = opened(stage())
    true = truth(dataset)
    joints = torch.zeros(3, 24, 2)
    shared = [name for name in COCO17 if name in SMPL24]
    joints[:, indices(shared, SMPL24)] = true[:, indices(shared, COCO17)]
    same = dataset.whole_set(true, joints)
    assert {same[name] for name in STATISTICS} == {same[f"oks/danet_{n[4:]}"] for n in STATISTICS}
    moved = dataset.whole_set(true, joints + 500)
    assert moved["oks/ap"] == same["oks/ap"]
    assert moved["oks/danet_ap"] == 0  # ten of the sixteen marked key points are limbs'


def test_results_may_be_saved_under_the_name_that_coco_asks_for(stage: Stage) -> None:
    dataset = opened(stage())
    ((name, content),) = dataset.saved(truth(dataset)).items()
    assert name == "person_keypoints_val2014_plausibody_results.json"
    assert json.loads(content) == dataset.results(truth(dataset))


def listed(folder: Path, rows: Sequence[int], **changes: Any) -> None:
    """Writes DaNet's list of people, in SPIN's layout, of these annotations."""
    told = [annotations()["annotations"][row] for row in rows]
    part = np.zeros((len(rows), 24, 3))
    part[:, indices(COCO17, SPIN24)] = np.array([one["keypoints"] for one in told]).reshape(
        -1, 17, 3
    )
    part[..., 2] = part[..., 2] > 0
    arrays = {
        "imgname": np.array([f"val2014/COCO_val2014_{one['image_id']:012d}.jpg" for one in told]),
        "center": np.full((len(rows), 2), 60.0),
        "scale": np.full(len(rows), 0.9),
        "part": part,
    }
    np.savez(folder / "coco_2014_val.npz", **(arrays | changes))


def test_a_published_list_says_who_is_predicted(stage: Stage) -> None:
    folder = stage()
    listed(folder, [2, 1])
    dataset = opened(folder)
    people = dataset.batch([0, 1])
    np.testing.assert_allclose(people.box.side, 180)
    assert people.box.centre.tolist() == [[60, 60], [60, 60]]
    figures = dataset.whole_set(truth(dataset))
    assert figures["oks/ap_medium"] == pytest.approx(1)
    assert figures["oks/ar"] == pytest.approx(2 / 3)  # one of three is not on the list


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"imgname": np.array(["val2014/COCO_val2014_000000000011.jpg"])},
            "COCO_val2014_000000000011",
        ),
        ({"imgname": np.array(["val2014/somebody.jpg"])}, r"somebody.jpg \(row 0"),
        ({"part": np.ones((1, 24, 3))}, "with the key points that it tells"),
        ({"part": np.full((1, 24, 3), np.nan)}, "part: wanted finite numbers"),
    ],
)
def test_a_list_of_other_annotations_is_refused(
    stage: Stage, changes: dict[str, Any], message: str
) -> None:
    folder = stage()
    listed(folder, [2], **changes)
    with pytest.raises(ValueError, match=message):
        open_coco(folder)


def test_the_annotation_file_itself_and_val2017_will_do(stage: Stage) -> None:
    folder = stage(split="val2017")
    assert len(opened(folder)) == 3
    dataset = open_coco(folder / "annotations" / "person_keypoints_val2017.json")
    assert dataset.labels.split == "val2017"


def test_missing_annotations_and_pictures_are_named(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"wanted annotations/person_keypoints_val2014\.j"):
        open_coco(tmp_path)
    folder = stage()
    (folder / "val2014" / "COCO_val2014_000000000007.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"COCO_val2014_000000000007.*val2014\.zip"):
        open_coco(folder)


def altered(number: int, **changes: Any) -> dict[str, Any]:
    content = annotations()
    content["annotations"][number] |= changes
    return content


def renamed(name: Any) -> dict[str, Any]:
    content = annotations()
    content["images"][0]["file_name"] = name
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "is no JSON"),
        ("[1, 2]", "an object with images and annotations"),
        ('{"images": [], "annotations": [NaN]}', "NaN is no number"),
        ({"annotations": []}, "images: wanted a list of objects"),
        (altered(2, image_id=11), "wanted image_id of one of the images, got 11"),
        (altered(2, image_id=True), "wanted image_id of one of the images, got true"),
        (altered(2, id=1), "wanted ids once each, got more of 1"),
        (altered(2, keypoints=[1, 2, 3]), "annotation 2, keypoints: .*came 3 numbers"),
        (altered(2, keypoints=[3] * 51), "wanted a visibility of 0, 1.*annotation 2"),
        (altered(2, bbox="wide"), 'annotation 2, bbox: wanted x, y.*came "wide"'),
        (
            altered(2, bbox=[0, 0, -5, 5]),
            "no negative size, got others in annotation 2",
        ),
        (altered(2, area=None), "annotation 2, area"),
        (
            altered(2, num_keypoints=3),
            "as many num_keypoints as are marked.*annotation 2",
        ),
        (renamed("../../outside.jpg"), "wanted names of files below"),
        (renamed(5), "images: wanted id, a number, and file_name"),
        ({**annotations(), "annotations": []}, "wanted people with marked key points, found none"),
    ],
)
def test_annotations_that_make_no_sense_are_refused(
    stage: Stage, content: Any, message: str
) -> None:
    folder = stage(content)
    with pytest.raises(ValueError, match=message):
        open_coco(folder)


def test_unknown_pictures_are_named_and_counted(stage: Stage) -> None:
    content = annotations()
    content["annotations"] += [person(100 + n, 1000 + n) for n in range(12)]
    path = stage(content) / "annotations" / "person_keypoints_val2014.json"
    with pytest.raises(ValueError, match=r"got 1000, 1001, .*1009, \.\.\. \(12 in all\)"):
        read_coco(path)


def test_predictions_of_others_are_refused(stage: Stage) -> None:
    dataset = opened(stage())
    with pytest.raises(ValueError, match="wanted key points of 3 people, got 2"):
        dataset.whole_set(truth(dataset)[:2])
    lost = truth(dataset)
    lost[1, 4] = torch.nan
    with pytest.raises(ValueError, match="wanted finite key points, got others of person 1"):
        dataset.results(lost)


def test_a_missing_evaluator_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = stage(), builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'plausibody\[coco\]'"):
        open_coco(folder)
