"""Predictions: the most probable body, samples, and bodies by their numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import BodyParameters, FisherPrediction, PointPrediction
from plausibody.models.records import concatenate, map_tensors, take, to_device
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian


def people(count: int = 3) -> PointPrediction:
    generator = torch.Generator().manual_seed(0)
    return PointPrediction(
        camera=WeakPerspectiveCamera(scale=torch.ones(count), shift=torch.zeros(count, 2)),
        parameters=BodyParameters(
            shape=torch.randn(count, 10, generator=generator),
            rotations=rotvec_to_rotmat(torch.randn(count, 24, 3, generator=generator)),
        ),
    )


def distributions(count: int = 3, sureness: float = 50.0) -> FisherPrediction:
    """Round the same people, with joints that are as sure as said."""
    point = people(count)
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(count, 10, 10, generator=generator)
    return FisherPrediction(
        camera=point.camera,
        root=point.parameters.rotations[:, 0],
        joints=MatrixFisher(sureness * point.parameters.rotations[:, 1:]),
        shape=ShapeGaussian.of_covariance(
            point.parameters.shape, 0.05 * root @ root.mT + 0.1 * torch.eye(10)
        ),
    )


def test_all_samples_of_a_point_are_the_point() -> None:
    prediction = people()
    samples = prediction.sample(5)
    assert samples.shape.shape == (5, 3, 10) and samples.rotations.shape == (5, 3, 24, 3, 3)
    assert (samples.shape == prediction.mode().shape).all()
    assert (samples.rotations == prediction.mode().rotations).all()


def test_posed_bodies_are_those_of_the_mode(template: BodyTemplate) -> None:
    prediction = people(2)
    expected = pose_body(template, prediction.mode().shape, prediction.mode().rotations)
    assert torch.equal(prediction.posed(template).vertices, expected.vertices)
    assert torch.equal(prediction.mode().posed(template).joints, expected.joints)


def test_the_rest_body_has_the_shape_alone(template: BodyTemplate) -> None:
    parameters = people(2).mode()
    rest = parameters.rest(template).vertices
    shaped = template.vertices + template.shape_directions[..., :10] @ parameters.shape[1]
    torch.testing.assert_close(rest[1], shaped)


def test_a_point_has_no_density() -> None:
    prediction = people()
    with pytest.raises(TypeError, match="use weights of the method hierprob"):
        prediction.log_prob(prediction.mode())


def test_the_mode_is_the_likeliest_body(template: BodyTemplate) -> None:
    prediction = distributions()
    mode = prediction.mode()
    torch.testing.assert_close(mode.rotations, people().mode().rotations, atol=1e-5, rtol=0)
    assert torch.equal(mode.shape, prediction.shape.mean)
    assert torch.equal(prediction.posed(template).vertices, mode.posed(template).vertices)
    drawn = prediction.sample(20, torch.Generator().manual_seed(0))
    assert (prediction.log_prob(mode) > prediction.log_prob(drawn)).all()


def test_samples_spread_as_the_parts_do() -> None:
    """Angles to the mode fill the quantiles evenly, shapes have their moments, roots stay."""
    prediction = distributions(2)
    count = 2000
    drawn = prediction.sample(count, torch.Generator().manual_seed(0))
    assert drawn.rotations.shape == (count, 2, 24, 3, 3) and drawn.shape.shape == (count, 2, 10)
    assert (drawn.rotations[:, :, 0] == prediction.root).all()
    joints = drawn.rotations[:, :, 1:]
    angles = geodesic_angle(joints, prediction.joints.mode().expand_as(joints))
    level = prediction.joints.probability_within(angles)
    # Five standard errors of a share: for each of 46 joints, and over all of them.
    for share in (0.1, 0.5, 0.9):
        error = (share * (1 - share) / count) ** 0.5
        each = (level < share).double().mean(0)
        assert (each - share).abs().max() < 5 * error
        assert abs(float(each.mean()) - share) < 5 * error / 46**0.5
    gap = drawn.shape - prediction.shape.mean
    covariance = torch.einsum("nbi,nbj->bij", gap, gap) / count
    assert (covariance - prediction.shape.covariance).abs().max() < 0.15


def test_samples_follow_the_generator_and_carry_gradients_only_if_asked() -> None:
    parameter = distributions(1).joints.parameter.clone().requires_grad_()
    mean = distributions(1).shape.mean.clone().requires_grad_()
    prediction = distributions(1)
    prediction = replace(
        prediction,
        joints=MatrixFisher(parameter),
        shape=ShapeGaussian(mean=mean, factor=prediction.shape.factor),
    )

    def draw(reparameterized: bool) -> BodyParameters:
        return prediction.sample(4, torch.Generator().manual_seed(3), reparameterized)

    plain, moving = draw(False), draw(True)
    assert not plain.rotations.requires_grad and not plain.shape.requires_grad
    torch.testing.assert_close(plain.rotations, moving.rotations)
    assert torch.equal(plain.shape, moving.shape)
    (moving.rotations.square() * torch.arange(9.0).view(3, 3)).sum().backward(retain_graph=True)
    moving.shape.sum().backward()
    assert parameter.grad is not None and parameter.grad.abs().max() > 0
    assert mean.grad is not None and (mean.grad == 4).all()


def test_log_likelihoods_add_up_over_the_parts() -> None:
    prediction = distributions()
    drawn = prediction.sample(5, torch.Generator().manual_seed(0))
    found = prediction.log_prob(drawn)
    assert found.shape == (5, 3)
    parts = prediction.shape.log_prob(drawn.shape)
    for joint in range(23):
        one = MatrixFisher(prediction.joints.parameter[:, joint])
        parts = parts + one.log_prob(drawn.rotations[:, :, joint + 1])
    torch.testing.assert_close(found, parts, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(prediction.log_prob(take(drawn, torch.tensor(2))), found[2])
    turned = replace(drawn, rotations=drawn.rotations.clone())
    turned.rotations[:, :, 0] = torch.eye(3)
    assert torch.equal(prediction.log_prob(turned), found)  # the root is not judged


def test_predictions_are_moved_cut_and_joined_as_wholes() -> None:
    prediction = distributions(3)
    body = prediction.mode()
    radius = prediction.joints.credible_radius(0.9)  # what it remembers must not be cut wrongly
    parts = [take(prediction, slice(0, 1)), take(prediction, slice(1, 3))]
    together = concatenate(parts)
    assert torch.equal(together.joints.parameter, prediction.joints.parameter)
    torch.testing.assert_close(parts[1].joints.credible_radius(0.9), radius[1:])
    torch.testing.assert_close(together.log_prob(body), prediction.log_prob(body))
    one = take(prediction, torch.tensor(1))
    assert one.root.shape == (3, 3) and one.sample(4).rotations.shape == (4, 24, 3, 3)
    torch.testing.assert_close(
        one.log_prob(take(body, torch.tensor(1))), prediction.log_prob(body)[1]
    )
    double = map_tensors(to_device(prediction, "cpu"), Tensor.double)
    kinds = {double.root.dtype, double.camera.scale.dtype, double.joints.dtype}
    assert kinds | {double.shape.factor.dtype} == {torch.float64}
