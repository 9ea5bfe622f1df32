"""Predictions: the most probable body, samples, and bodies by their numbers."""

from __future__ import annotations

import torch

from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.rotations import rotvec_to_rotmat


def people(count: int = 3) -> PointPrediction:
    generator = torch.Generator().manual_seed(0)
    return PointPrediction(
        camera=WeakPerspectiveCamera(scale=torch.ones(count), shift=torch.zeros(count, 2)),
        parameters=BodyParameters(
            shape=torch.randn(count, 10, generator=generator),
            rotations=rotvec_to_rotmat(torch.randn(count, 24, 3, generator=generator)),
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
