"""From pictures to bodies: a perfect front end and a perfect regressor must fit perfectly."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.assets.catalog import SHIPPED
from plausibody.models.camera import WeakPerspectiveCamera, world_to_camera
from plausibody.models.networks import build_regressor
from plausibody.models.proxy import Box, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.skeleton import SMPL24
from plausibody.models.weights import TrainedRegressor, find_weights
from plausibody.predict.fit import measure_fit, person_diagonal
from plausibody.predict.placement import NEAREST, PictureCamera, focal_length, to_perspective
from plausibody.predict.predictor import Predictor, load_predictor


def test_perfect_regressor_fits_the_evidence(known_person: Any) -> None:
    (image,) = known_person.predictor()([Path("photo.jpg")])
    (person,) = image.people
    assert (image.status, image.message, person.warnings) == ("ok", "", ())
    assert (image.height, image.width) == known_person.size
    # The comparison is made at another resolution than the mask's, so borders differ a little.
    assert person.fit.silhouette_iou > 0.96
    assert person.fit.reprojection < 1e-3
    assert person.fit.confident == 17
    torch.testing.assert_close(person.body.vertices, known_person.vertices, atol=1e-5, rtol=0)
    expected = known_person.person.keypoints[:, :2]
    torch.testing.assert_close(person.keypoints, expected, atol=1e-3, rtol=0)


def test_what_lies_outside_the_picture_is_not_held_against_the_body(known_person: Any) -> None:
    half = known_person.cut(150)
    (image,) = half.predictor()([Path("photo.jpg")])
    assert image.people[0].fit.silhouette_iou > 0.96
    assert image.people[0].fit.confident < 17


def test_wrong_bodies_fit_worse(known_person: Any) -> None:
    answer = known_person.answer()
    moved = answer.clone()
    moved[1] += 0.2
    (image,) = known_person.predictor(moved)([Path("photo.jpg")])
    (person,) = image.people
    assert person.fit.silhouette_iou < 0.7
    # 0.2 m at 120 px per metre, in per cent of the diagonal.
    diagonal = person_diagonal(known_person.person.observation())
    assert person.fit.reprojection == pytest.approx(100 * 24 / diagonal, rel=1e-3)
    assert any("diagonal" in warning for warning in person.warnings)


def test_no_mask_and_no_keypoints_are_warned_of(known_person: Any) -> None:
    person = known_person.person
    blind = replace(
        person,
        soft_mask=person.soft_mask.emptied(),
        keypoints=person.keypoints * torch.tensor([1.0, 1.0, 0.1]),
        flags=frozenset({"low_agreement"}),
    )
    (image,) = replace(known_person, person=blind).predictor(known_person.answer())(["photo.jpg"])
    (found,) = image.people
    assert math.isnan(found.fit.reprojection)
    assert found.fit.silhouette_iou == 0
    assert len(found.warnings) == 3


def test_camera_over_the_picture_agrees_with_that_over_the_box(known_person: Any) -> None:
    box = Box(centre=torch.tensor([70.0, 90.0]), side=torch.tensor(80.0))
    camera = WeakPerspectiveCamera(torch.tensor(0.7), torch.tensor([0.2, -0.1]))
    points = known_person.vertices
    flat = PictureCamera.of(camera, box).project(points)[:, :2]
    torch.testing.assert_close(flat, box.to_picture(camera.project(points)), atol=1e-3, rtol=0)


def test_pinhole_is_exact_for_a_flat_body_and_near_for_a_real_one(known_person: Any) -> None:
    camera, size = known_person.camera, known_person.size
    points = known_person.vertices[::50]
    flat = points * torch.tensor([1.0, 1.0, 0.0])
    exact = to_perspective(camera, flat, size)
    torch.testing.assert_close(
        exact.project(flat)[:, :2], camera.project(flat)[:, :2], atol=1e-2, rtol=0
    )
    assert float(exact.focal) == pytest.approx(math.hypot(*size))
    assert float(exact.translation[2]) == pytest.approx(math.hypot(*size) / 120, rel=1e-3)
    for view, most in ((0.9, 10.0), (0.01, 0.15)):
        near = to_perspective(camera, points, size, view)
        gap = (near.project(points) - camera.project(points))[:, :2]
        assert float(torch.linalg.vector_norm(gap, dim=-1).max()) < most


def test_pinhole_shows_what_was_seen_where_the_picture_has_it(known_person: Any) -> None:
    camera, size = known_person.camera, (130, 260)  # which ends at the waist
    points = known_person.vertices[::20]
    flat = camera.project(points)[:, :2]
    shown = ((flat >= 0) & (flat <= torch.tensor([260.0, 130.0]))).all(-1)
    seen = shown & (flat[:, 1] < 90)  # the head and what is near it
    assert 5 < int(seen.sum()) < int(shown.sum()) < 0.8 * len(points)

    def gap(weight: Tensor | None) -> float:
        near = to_perspective(camera, points, size, weight=weight).project(points)
        return float((near[:, :2] - flat)[seen].square().sum(-1).mean())

    best = to_perspective(camera, points[seen], size).project(points[seen])
    least = float((best[:, :2] - flat[seen]).square().sum(-1).mean())
    assert least <= gap(seen.float()) < 1.1 * least + 0.01
    assert gap(seen.float()) < gap(None)


def test_nothing_of_a_body_lies_behind_the_pinhole(known_person: Any) -> None:
    camera, size = known_person.camera, known_person.size
    points = known_person.vertices[::50]
    near = to_perspective(camera, points, size, 3.0).project(points)
    assert float(near[:, 2].min()) == pytest.approx(NEAREST, abs=1e-4)
    predictor = known_person.predictor()
    predictor.describer = replace(predictor.describer, diagonal_view=3.0)
    (image,) = predictor(["photo.jpg"])
    (person,) = image.people
    vertices = world_to_camera(person.body.vertices) + person.perspective.translation
    assert float(vertices[:, 2].min()) > 0
    assert person.pinhole_reprojection > person.fit.reprojection
    assert "do: a smaller --fov" in " ".join(person.warnings)
    assert "the pinhole camera puts key points" in " ".join(person.warnings)


def test_focal_length_refuses_impossible_lenses() -> None:
    assert focal_length((300, 400), math.pi / 2) == pytest.approx(250)
    with pytest.raises(ValueError, match="180 degrees"):
        focal_length((300, 400), math.pi)


def test_every_picture_gets_its_status(known_person: Any) -> None:
    names = ["a.jpg", "nobody.jpg", "broken.jpg", "explode.jpg", "two.jpg"]
    images = known_person.predictor()([Path(name) for name in names])
    assert [image.path for image in images] == names
    statuses = [image.status for image in images]
    assert statuses == ["ok", "no_person", "unreadable", "failed", "ok"]
    assert "a bug of a front end" in images[3].message
    assert [len(image.people) for image in images] == [1, 0, 0, 0, 2]
    assert all(image.message.startswith(image.path) for image in images[1:4])


def test_numbers_that_are_no_body_are_reported(known_person: Any) -> None:
    answer = known_person.answer()
    answer[20] = torch.nan
    (image,) = known_person.predictor(answer)(["a.jpg"])
    assert image.status == "failed"
    assert "not finite" in image.message
    answer = known_person.answer()
    answer[0] = -1
    (image,) = known_person.predictor(answer)(["a.jpg"])
    assert "scale -1" in image.message


def test_one_person_can_be_chosen(known_person: Any) -> None:
    paths = ["two.jpg", "a.jpg"]
    main = known_person.predictor(person="main")(paths)
    assert [len(image.people) for image in main] == [1, 1]
    second = known_person.predictor(person=1)(paths)
    assert [[person.index for person in image.people] for image in second] == [[1], []]
    assert second[1].status == "no_person"
    assert "wanted person 1" in second[1].message
    with pytest.raises(ValueError, match="person: wanted all, main or a number"):
        known_person.predictor(person=-1)


@pytest.mark.parametrize(("least", "seen"), [(None, 17), (0.8, 9)])
def test_limbs_count_as_seen_from_the_confidence_that_is_asked_for(
    known_person: Any, least: float | None, seen: int
) -> None:
    """Nose, eyes, ears, shoulders and hips count whatever is asked of the others."""
    unsure = known_person.person.keypoints * torch.tensor([1.0, 1.0, 0.7])
    person = replace(known_person, person=replace(known_person.person, keypoints=unsure))
    predictor = person.predictor(limb_confidence=least)
    shown: list[Tensor] = []
    predictor.regressor.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[1]))
    predictor([Path("photo.jpg")])
    assert int((shown[0][0, :, 2] > 0).sum()) == seen


def test_limits_of_confidence_are_asked_only_of_weights_that_read_key_points(
    known_person: Any,
) -> None:
    with pytest.raises(ValueError, match="wanted 0 to 1, got 75"):
        known_person.predictor(limb_confidence=75.0)
    blind = known_person.predictor().regressor
    blind = replace(blind, proxy=replace(blind.proxy, channel="rgb"))
    with pytest.raises(ValueError, match="wanted weights that read key points, got some that read"):
        Predictor(blind, known_person.front_end, limb_confidence=0.75)


@pytest.mark.parametrize("flip", [False, True])
def test_streams_do_not_depend_on_the_batch_size(known_person: Any, flip: bool) -> None:
    torch.manual_seed(0)
    settings = ProxySettings(size=32)
    small = RegressorSettings(features=32, width=8, blocks=1)
    network = build_regressor("lite", small, settings, torch.eye(3).repeat(24, 1, 1)).eval()
    trained = TrainedRegressor(network, settings, "neutral", {})
    predictor = Predictor(trained, known_person.front_end, flip=flip)
    paths = ["two.jpg", "nobody.jpg", "a.jpg"]
    together = predictor(paths)
    for one, other in zip(together, predictor.stream(iter(paths), batch_size=2), strict=True):
        assert one.path == other.path
        for first, second in zip(one.people, other.people, strict=True):
            torch.testing.assert_close(first.body.vertices, second.body.vertices)
    with pytest.raises(ValueError, match="batch size"):
        next(predictor.stream(paths, 0))


def test_fit_of_nothing_to_nothing_is_no_fit(known_person: Any) -> None:
    person = replace(known_person.person, soft_mask=known_person.person.soft_mask.emptied())
    far = PictureCamera(scale=torch.tensor(1.0), origin=torch.tensor([9e4, 9e4]))
    box = Box(centre=torch.tensor([50.0, 50.0]), side=torch.tensor(80.0))
    fit = measure_fit(
        person.observation(), box, far, known_person.vertices, known_person.template.faces,
        person.keypoints[:, :2],
    )  # fmt: skip
    assert fit.silhouette_iou == 0


def test_weights_are_named_or_given_as_files_or_runs(tmp_path: Path) -> None:
    assert find_weights(tmp_path / "mine.safetensors") == tmp_path / "mine.safetensors"
    (tmp_path / "weights.safetensors").touch()
    assert find_weights(tmp_path) == tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError, match="weights/unheard.safetensors"):
        find_weights("unheard")


def test_a_run_with_the_name_of_shipped_weights_is_ambiguous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite").mkdir()
    shipped = find_weights("lite")
    (tmp_path / "lite" / "weights.safetensors").touch()
    with pytest.raises(ValueError, match="found two of the name lite: .* do: --weights"):
        find_weights("lite")
    assert find_weights("lite/weights.safetensors") == Path("lite/weights.safetensors")
    assert find_weights(tmp_path / "lite") == tmp_path / "lite" / "weights.safetensors"
    assert find_weights(shipped) == shipped


def test_shipped_weights_fit_the_demo_photos() -> None:
    """Bounds that the project set itself; the figures of the shipped weights are in the README."""
    photos = sorted((SHIPPED / "photos").iterdir())
    for image in load_predictor()(photos):
        (person,) = image.people
        assert person.fit.silhouette_iou >= 0.65, image.path
        assert person.fit.reprojection <= 6, image.path
        joints = person.body.joints
        head, pelvis = (joints[SMPL24.index(name)] for name in ("head", "pelvis"))
        assert head[1] > pelvis[1] + 0.3
        # A person who faces the camera has the left shoulder at +x; the skier, too, comes at us.
        left, right = (joints[SMPL24.index(f"{side}_shoulder")] for side in ("left", "right"))
        assert left[0] > right[0]
