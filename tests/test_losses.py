"""Losses: zero at the truth, equal to explicit vertices, weights as published."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.hmr_loss import HmrLoss
from plausibody.models.losses import (
    STRAPS_WEIGHTS,
    LiteLoss,
    LiteWeights,
    ShapeError,
    StrapsLoss,
    Target,
)
from plausibody.models.markers import (
    JointRegressors,
    Markers,
    area_shares,
    supervised_vertices,
)
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat
from plausibody.synth.stores import load_assets


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def person(count: int = 4, seed: int = 0) -> PointPrediction:
    return PointPrediction(
        camera=WeakPerspectiveCamera(
            scale=0.8 + 0.1 * draw(count, seed=seed).abs(), shift=0.1 * draw(count, 2, seed=seed)
        ),
        parameters=BodyParameters(
            shape=draw(count, 5, seed=seed),
            rotations=rotvec_to_rotmat(0.5 * draw(count, 6, 3, seed=seed + 1)),
        ),
    )


def truth_of(prediction: PointPrediction, markers: Markers) -> Target:
    flat = prediction.camera.project(markers(prediction.mode()).coco)
    return Target(parameters=prediction.mode(), keypoints=flat)


def rest_vertices(template: BodyTemplate, shape: Tensor) -> Tensor:
    vertices = template.vertices + torch.einsum("vds,bs->bvd", template.shape_directions, shape)
    return vertices - vertices.mean(1, keepdim=True)


def test_shape_error_is_that_of_explicit_vertices(doll: BodyTemplate) -> None:
    first, second = draw(7, 5), draw(7, 5, seed=1)
    a, b = rest_vertices(doll, first), rest_vertices(doll, second)
    error = ShapeError(doll, 5)
    plain = (a - b).square().sum(-1).mean(1).sqrt()
    torch.testing.assert_close(error.plain(first, second), plain)
    scale = (a * b).sum((1, 2)) / (a * a).sum((1, 2))
    corrected = (scale[:, None, None] * a - b).square().sum(-1).mean(1).sqrt()
    torch.testing.assert_close(error.scale_corrected(first, second), corrected)


def test_shape_error_of_fewer_coefficients(doll: BodyTemplate) -> None:
    first, second = draw(7, 3), draw(7, 3, seed=1)
    pad = torch.zeros(7, 2).double()
    few, all_ = ShapeError(doll, 3), ShapeError(doll, 5)
    full = all_.plain(torch.cat([first, pad], 1), torch.cat([second, pad], 1))
    torch.testing.assert_close(few.plain(first, second), full)


def test_equal_shapes_have_no_error_and_finite_gradients(doll: BodyTemplate) -> None:
    shape = draw(3, 5).requires_grad_()
    error = ShapeError(doll, 5)
    total = error.plain(shape, shape.detach()) + error.scale_corrected(shape, shape.detach())
    assert (total < 1e-4).all()
    total.sum().backward()
    assert shape.grad is not None and shape.grad.isfinite().all()


def test_lite_loss_is_zero_at_the_truth(doll: BodyTemplate, markers: Markers) -> None:
    prediction = person()
    total, parts = LiteLoss(markers, doll, 5)(prediction, truth_of(prediction, markers))
    assert set(parts) == set(vars(LiteWeights()))
    assert total.item() < 2e-3, "the floor under the square roots: 30 * 3.2e-5 + 6 * 1e-6"
    exact = {name: part for name, part in parts.items() if "shape" not in name}
    assert all(part.item() < 1e-12 for part in exact.values())


def test_lite_loss_grows_with_every_kind_of_error(doll: BodyTemplate, markers: Markers) -> None:
    criterion, other = LiteLoss(markers, doll, 5), person(seed=9)
    total, parts = criterion(other, truth_of(person(), markers))
    assert all(part.item() > 1e-3 for part in parts.values())
    torch.testing.assert_close(total, torch.stack(list(parts.values())).sum())


def test_each_weight_scales_its_part(doll: BodyTemplate, markers: Markers) -> None:
    target, wrong = truth_of(person(), markers), person(seed=9)
    _, parts = LiteLoss(markers, doll, 5)(wrong, target)
    ones = LiteWeights(**{name: 1.0 for name in vars(LiteWeights())})
    _, plain = LiteLoss(markers, doll, 5, ones)(wrong, target)
    for name, weight in vars(LiteWeights()).items():
        torch.testing.assert_close(parts[name], weight * plain[name])


def test_fingers_are_learnt_and_the_mean_over_joints_is_that_without_them(
    doll: BodyTemplate, markers: Markers
) -> None:
    target = truth_of(person(), markers)
    criterion = LiteLoss(markers, doll, 5)
    true = target.parameters.rotations
    found = []
    for joints in (slice(-2, None), slice(1, -2)):
        turned = true.clone()
        turned[:, joints] = turned[:, joints] @ axis_rotation(0, torch.tensor(0.5).double())
        moved = PointPrediction(person().camera, BodyParameters(target.parameters.shape, turned))
        found.append(criterion(moved, target)[1]["rotations"].item())
    fingers, others = found
    joints = true.shape[1] - 1
    assert fingers == pytest.approx(others * 2 / (joints - 2)) and fingers > 0


def test_far_key_points_do_not_count(doll: BodyTemplate, markers: Markers) -> None:
    target = truth_of(person(), markers)
    criterion = LiteLoss(markers, doll, 5)
    target.keypoints[:] = 4.0
    assert criterion(person(), target)[1]["keypoints"].item() == 0


def test_where_the_body_stands_does_not_count(doll: BodyTemplate, markers: Markers) -> None:
    # A turn of the root about another point is a shift as well, which the pelvis takes out.
    _, parts = LiteLoss(markers, doll, 5)(person(seed=9), truth_of(person(), markers))
    placed, true = markers(person(seed=9).mode()), markers(person().mode())
    gap = (placed.vertices - placed.h36m[:, :1]) - (true.vertices - true.h36m[:, :1])
    torch.testing.assert_close(parts["vertices"], 10 * gap.abs().mean())


def test_straps_weights_start_as_published(markers: Markers) -> None:
    criterion = StrapsLoss(markers).double()
    published = {"vertices": 1, "joints": 1, "keypoints": 0.1, "rotations": 0.1, "shape": 0.1}
    assert published == STRAPS_WEIGHTS
    for name, weight in published.items():
        start = criterion.log_variances[name].item()
        assert start == pytest.approx(-math.log(weight + 1e-6), abs=1e-6)
    total, errors = criterion(person(seed=9), truth_of(person(), markers))
    expected = sum(
        published[name] * error.item() - math.log(published[name]) for name, error in errors.items()
    )
    assert total.item() == pytest.approx(expected, rel=1e-4)


def test_straps_errors_are_zero_at_the_truth_and_explicit_elsewhere(markers: Markers) -> None:
    criterion, prediction, wrong = StrapsLoss(markers).double(), person(), person(seed=9)
    target = truth_of(prediction, markers)
    assert all(error.item() < 1e-20 for error in criterion(prediction, target)[1].values())
    errors = criterion(wrong, target)[1]
    gap = markers(wrong.mode()).vertices - markers(prediction.mode()).vertices
    torch.testing.assert_close(errors["vertices"], gap.square().mean())
    gap = wrong.mode().shape - prediction.mode().shape
    torch.testing.assert_close(errors["shape"], gap.square().mean())


def test_straps_ignores_key_points_outside_the_box(markers: Markers) -> None:
    criterion, target = StrapsLoss(markers).double(), truth_of(person(), markers)
    target.keypoints[:, 3:] = 1.5
    inside = (target.keypoints.abs() <= 1).all(-1)
    flat = person(seed=9).camera.project(markers(person(seed=9).mode()).coco)
    expected = (flat - target.keypoints)[inside].square().mean()
    errors = criterion(person(seed=9), target)[1]
    torch.testing.assert_close(errors["keypoints"], expected)
    target.keypoints[:] = 1.5
    assert criterion(person(seed=9), target)[1]["keypoints"].item() == 0


def test_learned_weights_settle_at_the_errors(markers: Markers) -> None:
    criterion = StrapsLoss(markers).double()
    target, wrong = truth_of(person(), markers), person(seed=9)
    errors = criterion(wrong, target)[1]
    with torch.no_grad():
        for name, error in errors.items():
            criterion.log_variances[name].copy_(error.log())
    criterion(wrong, target)[0].backward()
    assert all(abs(value.grad.item()) < 1e-9 for value in criterion.log_variances.values())


def test_markers_are_the_chosen_vertices_and_joints(doll: BodyTemplate) -> None:
    coco, h36m = torch.zeros(17, 40).double(), torch.zeros(17, 40).double()
    coco[:, 3], h36m[:, 5] = 1, 1
    chosen = torch.tensor([30, 2, 3])
    markers = Markers.of(doll, JointRegressors(coco, h36m), chosen)
    assert len(markers.skin.vertices) == 4, "nothing else is posed"
    body = person().mode()
    points, whole = markers(body), body.posed(doll)
    torch.testing.assert_close(points.vertices, whole.vertices[:, chosen])
    torch.testing.assert_close(points.coco[:, 0], whole.vertices[:, 3])
    torch.testing.assert_close(points.h36m[:, 16], whole.vertices[:, 5])
    torch.testing.assert_close(points.joints, whole.joints)


def test_areas_make_a_mean_over_vertices_one_over_the_surface() -> None:
    """A wavy field over the body has the same mean whether its vertices are many or clustered."""
    assets = load_assets("val")
    vertices = supervised_vertices(assets.regressors, assets.supervised, 700)
    shares = area_shares(assets.template, vertices)
    assert len(vertices.unique()) == 700 and shares.sum().item() == pytest.approx(1)

    def field(points: Tensor) -> Tensor:
        return (points @ torch.tensor([[3.0, 1.0], [1.0, 2.0], [2.0, 1.0]])).sin()

    rest, faces = assets.template.vertices, assets.template.faces
    corners = rest[faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = areas.norm(dim=-1)[:, None]
    true = (field(corners.mean(1)) * areas).sum(0) / areas.sum()
    some = field(rest[vertices])
    weighted, plain = (some * shares[:, None]).sum(0), some.mean(0)
    assert (weighted - true).abs().max() < 0.02 < 0.1 < (plain - true).abs().max()


def test_the_joints_need_no_more_vertices_than_are_learnt() -> None:
    assets = load_assets("val")
    vertices = supervised_vertices(assets.regressors, assets.supervised, 700)
    markers = Markers.of(assets.template, assets.regressors, vertices)
    assert markers.chosen == len(markers.skin.vertices) == 700


def test_joints_in_space_are_learnt_where_bodies_are_not_known(
    doll: BodyTemplate, markers: Markers
) -> None:
    found = person()
    target = truth_of(person(seed=7), markers)
    mine, true = markers(found.mode()).h36m, markers(target.parameters).h36m
    told = torch.cat([true, torch.ones(4, 17, 1).double()], -1)
    told[1, :, :3] = mine[1] + 3.0  # right, from another root
    told[2, :, 3] = 0  # of whom nothing is known
    told[3, 5:, 3] = 0
    told[3, 5:, :3] = 9.0
    labelled = torch.tensor([True, False, False, False])
    pelvis, hips = 0, [1, 4]
    body = (mine - mine[:, [pelvis]]) - (true - true[:, [pelvis]])
    middle = (mine[3, hips] - true[3, hips]).mean(0)
    for loss, error in ((LiteLoss(markers, doll, 5), torch.abs), (HmrLoss(markers), torch.square)):
        known = dataclasses.replace(target, labelled=labelled)
        _, parts = loss(found, dataclasses.replace(known, joints=told))
        few = error(mine[3] - true[3] - middle)[:5].sum() / (17 * 3)
        expected = (error(body[0]).mean() + 0 + few) / 3
        _, plain = loss(found, known)
        change = (parts["joints"] - plain["joints"]) / loss.weights.joints
        assert change.item() == pytest.approx((expected - error(body[0]).mean()).item())
        for name in plain.keys() - {"joints"}:
            assert torch.equal(parts[name], plain[name]), name
        without_hips = told.clone()
        without_hips[:, 1, 3] = 0
        _, none = loss(found, dataclasses.replace(known, joints=without_hips))
        assert none["joints"].item() == pytest.approx(plain["joints"].item())
