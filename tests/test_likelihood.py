"""Losses of distributions: what they are of, what they add, when their stages begin."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher, log_normalizer
from plausibody.models.likelihood import (
    HierprobLoss,
    HierprobWeights,
    LikelihoodLoss,
    LikelihoodWeights,
    StageWeights,
    pose_likelihood,
    sampled_keypoints,
    shape_likelihood,
)
from plausibody.models.losses import LiteLoss, Moment, Target
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyParameters, FisherPrediction
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian

ALONE = StageWeights(pose=0.0, shape=0.0, keypoints=0.0, root=0.0, vertices=0.0, joints=0.0)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def prediction(count: int = 4, seed: int = 0, sure: float = 8.0) -> FisherPrediction:
    rotations = rotvec_to_rotmat(0.5 * draw(count, 6, 3, seed=seed + 1))
    return FisherPrediction(
        camera=WeakPerspectiveCamera(
            scale=0.8 + 0.1 * draw(count, seed=seed).abs(), shift=0.1 * draw(count, 2, seed=seed)
        ),
        root=rotations[:, 0],
        joints=MatrixFisher((sure * rotations[:, 1:]).requires_grad_()),
        shape=ShapeGaussian.independent(
            draw(count, 5, seed=seed).requires_grad_(), torch.full((count, 5), 0.5).double()
        ),
    )


def truth(markers: Markers, count: int = 4, seed: int = 5) -> Target:
    other = prediction(count, seed)
    flat = other.camera.project(markers(other.mode()).coco)
    return Target(
        parameters=BodyParameters(other.mode().shape.detach(), other.mode().rotations.detach()),
        keypoints=flat.detach(),
    )


def at(step: int) -> Moment:
    return Moment(step, torch.Generator().manual_seed(step))


def test_the_likelihood_is_that_of_the_distributions(markers: Markers) -> None:
    found, target = prediction(), truth(markers)
    with torch.no_grad():
        nll, surplus = pose_likelihood(found, target)
    expected = -found.joints.log_prob(target.parameters.rotations[:, 1:]).mean()
    assert nll.item() == pytest.approx(expected.item(), rel=1e-5)
    log_c = found.joints.log_prob(torch.zeros(3, 3).double()).mean().neg()
    assert surplus.item() == pytest.approx(0.005 * log_c.item(), rel=1e-4)
    assert pose_likelihood(found, target, overregularisation=1.0)[1] == 0
    shape = shape_likelihood(found, target)
    normal = torch.distributions.Normal(found.shape.mean, found.shape.std)
    by_hand = -normal.log_prob(target.parameters.shape).sum(-1).mean()
    assert shape.item() == pytest.approx(by_hand.item())


def test_overregularisation_bounds_how_sure_a_joint_becomes() -> None:
    """At the published weight a joint that is always right settles near singular values of 100."""
    size = torch.tensor(30.0).double().requires_grad_()
    optimiser = torch.optim.Adam([size], lr=1.0)
    for _ in range(400):
        optimiser.zero_grad()
        log_c = log_normalizer(size.expand(3))
        (1.005 * log_c - 3 * size).backward()
        optimiser.step()
    assert size.item() == pytest.approx(100.4, abs=0.5)


def test_lite_likelihood_adds_weighted_parts_and_samples_in_the_second_stage(
    doll: BodyTemplate, markers: Markers
) -> None:
    weights = LikelihoodWeights(pose=0.3, shape=0.1, sampled_keypoints=2.0, samples=3)
    lite = LiteLoss(markers, doll, 5)
    criterion = LikelihoodLoss(lite, markers, weights, second_stage=10)
    found, target = prediction(), truth(markers)
    plain, _ = lite(found, target)
    early, parts = criterion(found, target, at(9))
    pose = parts["pose_nll"] + parts["pose_overregularised"]
    assert early.item() == pytest.approx((plain + 0.3 * pose + 0.1 * parts["shape_nll"]).item())
    late, more = criterion(found, target, at(10))
    assert set(more) - set(parts) == {"sampled_keypoints"}
    assert late.item() == pytest.approx((early + more["sampled_keypoints"]).item())


def test_samples_of_a_loss_come_from_the_moment_and_carry_gradients(markers: Markers) -> None:
    found = prediction()
    first = sampled_keypoints(found, markers, 3, at(1))
    assert first.shape == (3, 4, 17, 2)
    assert torch.equal(first, sampled_keypoints(found, markers, 3, at(1)))
    assert not torch.equal(first, sampled_keypoints(found, markers, 3, at(2)))
    gradients = torch.autograd.grad(
        first.square().sum(), [found.joints.parameter, found.shape.mean]
    )
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


def published(markers: Markers, switch: int = 10, late: StageWeights = ALONE) -> HierprobLoss:
    weights = HierprobWeights(first=ALONE, second=late, samples=2)
    return HierprobLoss(markers, markers, weights, switch)


def test_published_weights_are_those_of_the_release() -> None:
    weights = HierprobWeights()
    assert dataclasses.astuple(weights.first) == (80, 50, 5000, 5000, 0, 0)
    assert dataclasses.astuple(weights.second) == (10, 80, 30000, 5000, 5000, 5000)
    assert (weights.samples, weights.overregularisation) == (8, 1.005)


def test_published_terms_are_mean_squares_where_bodies_are(markers: Markers) -> None:
    found, target = prediction(), truth(markers)
    every = StageWeights(pose=2.0, shape=3.0, keypoints=5.0, root=7.0, vertices=11.0, joints=13.0)
    loss, parts = published(markers, 0, every)(found, target, at(0))
    mine, true = markers(found.mode()), markers(target.parameters)
    vertices = (mine.vertices - true.vertices).square().mean()
    root = (found.root - target.parameters.rotations[:, 0]).square().mean()
    assert parts["vertices"].item() == pytest.approx(vertices.item())
    assert parts["root"].item() == pytest.approx(root.item())
    total = 2 * (parts["pose_nll"] + parts["pose_overregularised"]) + 3 * parts["shape_nll"]
    total = total + 5 * parts["keypoints"] + 7 * root + 11 * vertices + 13 * parts["joints"]
    assert loss.item() == pytest.approx(total.item())


def test_the_first_stage_projects_the_mode_alone(markers: Markers) -> None:
    found, target = prediction(), truth(markers)
    _, parts = published(markers)(found, target, at(9))
    flat = found.camera.project(markers(found.mode()).coco)
    expected = (flat - target.keypoints).square().mean()
    assert parts["keypoints"].item() == pytest.approx(expected.item())
    assert "vertices" not in parts
    _, late = published(markers)(found, target, at(10))
    assert "vertices" in late and late["keypoints"].item() != pytest.approx(expected.item())


def test_key_points_that_the_proxy_has_not_are_not_learnt(markers: Markers) -> None:
    found, target = prediction(), truth(markers)
    reported = torch.zeros(4, 17, dtype=torch.bool)
    reported[:, 3] = True
    _, parts = published(markers)(found, dataclasses.replace(target, reported=reported), at(0))
    flat = found.camera.project(markers(found.mode()).coco)
    expected = (flat - target.keypoints)[:, 3].square().mean()
    assert parts["keypoints"].item() == pytest.approx(expected.item())
    nobody = dataclasses.replace(target, reported=reported & False)
    assert published(markers)(found, nobody, at(0))[1]["keypoints"].item() == 0


@pytest.mark.parametrize("step", [0, 20])
def test_truths_that_nobody_knows_reach_no_loss(
    doll: BodyTemplate, markers: Markers, step: int
) -> None:
    found, target = prediction(), truth(markers)
    every = StageWeights(pose=2.0, shape=3.0, keypoints=5.0, root=7.0, vertices=11.0, joints=13.0)
    lite = LikelihoodLoss(LiteLoss(markers, doll, 5), markers, LikelihoodWeights(), 10)
    known = torch.tensor([True, False, True, False])
    annotated = torch.ones(4, 17, dtype=torch.bool)
    annotated[1:, :6] = False
    other = truth(markers, seed=9)
    rotations = target.parameters.rotations.clone()
    shape, keypoints = target.parameters.shape.clone(), target.keypoints.clone()
    rotations[~known], shape[~known] = other.parameters.rotations[~known], 7.0
    keypoints[~annotated] = 0.5
    weights = HierprobWeights(first=every, second=every, samples=2)
    for criterion in (lite, HierprobLoss(markers, markers, weights, 10)):
        told = dataclasses.replace(target, labelled=known, annotated=annotated)
        loss, _ = criterion(found, told, at(step))
        moved = BodyParameters(shape, rotations)
        else_ = dataclasses.replace(told, parameters=moved, keypoints=keypoints)
        assert torch.equal(loss, criterion(found, else_, at(step))[0])
        everybody = dataclasses.replace(target, labelled=known | True)
        torch.testing.assert_close(
            criterion(found, everybody, at(step))[0], criterion(found, target, at(step))[0]
        )
        assert loss != criterion(found, target, at(step))[0]


def test_one_joint_learns_the_parameter_of_its_rotations() -> None:
    """Maximum likelihood on draws from a known distribution gives its parameter back."""
    generator = torch.Generator().manual_seed(0)
    turns = rotvec_to_rotmat(draw(2, 3, seed=3))
    known = turns[0] @ torch.diag(torch.tensor([12.0, 7.0, 3.0]).double()) @ turns[1]
    rotations = MatrixFisher(known).sample(20_000, generator)
    guess = torch.eye(3).double().requires_grad_()
    optimiser = torch.optim.LBFGS([guess], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -MatrixFisher(guess).log_prob(rotations.mean(0))  # the mean is all that counts
        loss.backward()
        return loss

    optimiser.step(closure)
    error = (guess.detach() - known).norm() / known.norm()
    assert error.item() < 0.02
