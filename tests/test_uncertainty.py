"""Uncertainty of places on the body: known cases and laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import BodyParameters, FisherPrediction, PointPrediction
from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.skeleton import SMPL24
from plausibody.models.uncertainty import (
    VertexUncertainty,
    keypoint_consistency,
    uncertainty_of_samples,
    vertex_uncertainty,
)

CERTAIN = 1e8


def prediction(
    unsure: tuple[str, ...] = (),
    sureness: float = 5.0,
    shape_std: float = 1e-6,
    count: int = 1,
    root: Tensor | None = None,
) -> FisherPrediction:
    """People who stand with their arms out; certain but for the named joints."""
    strength = torch.full((23, 1, 1), CERTAIN)
    for name in unsure:
        strength[SMPL24.index(name) - 1] = sureness
    return FisherPrediction(
        camera=WeakPerspectiveCamera(scale=torch.ones(count), shift=torch.zeros(count, 2)),
        root=torch.eye(3).expand(count, 3, 3) if root is None else root.expand(count, 3, 3),
        joints=MatrixFisher(strength * torch.eye(3).expand(count, 23, 3, 3)),
        shape=ShapeGaussian.independent(torch.zeros(count, 10), torch.full((count, 10), shape_std)),
    )


def measured(
    given: FisherPrediction, template: BodyTemplate, **options: object
) -> VertexUncertainty:
    generator = torch.Generator().manual_seed(0)
    return vertex_uncertainty(given, template, 50, generator, **options)  # type: ignore[arg-type]


def moved_by(joint: str, template: BodyTemplate) -> tuple[Tensor, Tensor]:
    """Which vertices follow a joint or what hangs on it wholly, and which not at all."""
    number = SMPL24.index(joint)
    below = {number}
    for child, parent in enumerate(template.parents):
        if parent in below:
            below.add(child)
    weight = template.skinning_weights[:, sorted(below)].sum(-1)
    return weight > 0.999, weight == 0


def test_a_certain_prediction_is_certain_everywhere(template: BodyTemplate) -> None:
    found = measured(prediction(), template, shape=True)
    assert found.distance.shape == (1, len(template.vertices))
    assert found.covariance.shape == (1, len(template.vertices), 3, 3)
    assert found.distance.max() < 1e-3


def test_a_single_body_has_no_uncertainty(template: BodyTemplate) -> None:
    mode = prediction().mode()
    point = PointPrediction(camera=prediction().camera, parameters=mode)
    found = vertex_uncertainty(point, template, 5)
    assert found.distance.max() < 1e-6 and found.std.max() < 1e-6


def test_an_unsure_elbow_makes_forearm_and_hand_unsure_and_nothing_else(
    template: BodyTemplate,
) -> None:
    found = measured(prediction(("left_elbow",)), template)
    follows, apart = moved_by("left_elbow", template)
    assert 500 < int(follows.sum()) < 1500
    # Measured: at least 11 mm below the joint; elsewhere the pose blend shapes, 2.3 mm at most.
    assert found.distance[0, follows].min() > 0.008
    assert found.distance[0, apart].max() < 0.003
    elbow = template.joint_regressor[SMPL24.index("left_elbow")] @ template.vertices
    reach = (template.vertices - elbow).norm(dim=-1)
    outer = found.distance[0, follows & (reach > 0.25)]
    assert outer.min() > 0.05  # 0.45 rad of a lever of 0.25 m
    assert outer.mean() > 2 * found.distance[0, follows & (reach < 0.12)].mean()


def test_a_hinge_is_unsure_along_its_circle_only(template: BodyTemplate) -> None:
    """A turn about z moves an arm that is held out along x up and down, not in depth."""
    stretch = torch.diag(torch.tensor([30.0, 30.0, 5000.0]))  # x and y turn together
    certain = prediction()
    parameter = certain.joints.parameter.clone()
    parameter[:, SMPL24.index("left_elbow") - 1] = stretch
    found = measured(replace(certain, joints=MatrixFisher(parameter)), template)
    follows, _ = moved_by("left_wrist", template)
    x, y, z = found.std[0, follows].mean(0).tolist()
    assert y > 3 * z and y > 2 * x
    torch.testing.assert_close(found.depth, found.std[..., 2])
    assert (found.depth <= found.across)[0, follows].all()


def test_directions_add_up_to_the_trace(template: BodyTemplate) -> None:
    found = measured(prediction(("left_elbow", "right_knee", "spine1"), shape_std=1.0), template)
    trace = found.covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(found.std.square().sum(-1), trace)
    torch.testing.assert_close(found.depth.square() + found.across.square(), trace)
    turn = rotvec_to_rotmat(torch.tensor([0.3, -0.5, 1.1]))
    along = torch.stack([found.along(7.0 * column) for column in turn.mT])
    torch.testing.assert_close(along.square().sum(0), trace, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(found.along(torch.tensor([0.0, 2.0, 0.0])), found.std[..., 1])
    # The mean distance is at most the root mean square one, and not much below it.
    assert (found.distance <= trace.sqrt() + 1e-6).all()
    assert found.distance.mean() > 0.8 * trace.sqrt().mean()
    with pytest.raises(ValueError, match="direction: wanted a length above 0"):
        found.along(torch.zeros(3))


def test_moments_are_those_of_the_posed_samples(template: BodyTemplate) -> None:
    """Against numpy, in double precision, of whole bodies moved to their pelvis."""
    given = prediction(("left_hip", "neck"), shape_std=0.7, count=2)
    samples = given.sample(9, torch.Generator().manual_seed(1))
    found = uncertainty_of_samples(samples, template)
    body = samples.posed(template)
    place = (body.vertices - body.joints[..., :1, :]).double()
    gap = place - place.mean(0)
    torch.testing.assert_close(found.distance.double(), gap.norm(dim=-1).mean(0), atol=1e-6, rtol=0)
    covariance = torch.einsum("nbvi,nbvj->bvij", gap, gap) / 9
    torch.testing.assert_close(found.covariance.double(), covariance, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 40_000])
def test_the_size_of_the_parts_does_not_matter(chunk: int, template: BodyTemplate) -> None:
    given = prediction(("left_elbow", "right_hip"), count=2)
    whole, parts = measured(given, template), measured(given, template, chunk=chunk)
    torch.testing.assert_close(parts.distance, whole.distance, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(parts.covariance, whole.covariance, atol=1e-7, rtol=1e-4)


def test_shape_is_left_out_unless_asked_for(template: BodyTemplate) -> None:
    given = prediction(shape_std=1.0)
    assert measured(given, template).distance.max() < 1e-3
    with_shape = measured(given, template, shape=True).distance
    head = template.vertices[:, 1].argmax()
    pelvis = (template.vertices - template.joint_regressor[0] @ template.vertices).norm(dim=-1)
    assert with_shape[0, head] > 0.02  # height varies by centimetres
    assert with_shape[0, head] > 1.5 * with_shape[0, pelvis.argmin()]


def test_where_the_body_faces_turns_the_directions(template: BodyTemplate) -> None:
    """A body seen from its left shows in depth what it showed across, and the other way round."""
    turn = axis_rotation(1, torch.tensor(math.pi / 2))
    front = measured(prediction(("left_elbow",)), template)
    side = measured(prediction(("left_elbow",), root=turn), template)
    torch.testing.assert_close(side.distance, front.distance, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(side.std[..., 2], front.std[..., 0], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(side.std[..., 0], front.std[..., 2], atol=1e-5, rtol=1e-3)


def test_the_same_generator_gives_the_same_answer(template: BodyTemplate) -> None:
    given = prediction(("left_elbow",))
    first, again = measured(given, template), measured(given, template)
    assert torch.equal(first.distance, again.distance)
    other = vertex_uncertainty(given, template, 50, torch.Generator().manual_seed(1))
    assert not torch.equal(first.distance, other.distance)


def test_one_sample_is_too_few(template: BodyTemplate) -> None:
    with pytest.raises(ValueError, match="samples: wanted two or more"):
        uncertainty_of_samples(prediction().sample(1), template)


def test_key_points_are_compared_where_they_were_seen() -> None:
    """Two samples of one person: the joints are 0.1 and 0.3 m too far right, one of them 0.5 m."""
    joints = torch.randn(17, 3, generator=torch.Generator().manual_seed(0))
    camera = WeakPerspectiveCamera(scale=torch.tensor([0.8]), shift=torch.tensor([[0.1, -0.2]]))
    seen = torch.cat([camera.project(joints[None]), torch.ones(1, 17, 1)], -1)
    shifts = torch.tensor([0.1, 0.3])[:, None, None, None] * torch.tensor([1.0, 0, 0])
    samples = joints.expand(2, 1, 17, 3) + shifts
    samples[0, 0, 4, 0] += 0.4
    found = keypoint_consistency(samples, camera, seen)
    torch.testing.assert_close(found.worst, 0.8 * torch.tensor([[0.5], [0.3]]))
    mean = 0.8 * torch.tensor([[(16 * 0.1 + 0.5) / 17], [0.3]])
    torch.testing.assert_close(found.mean, mean)

    # With less confidence the odd one weighs less; unseen, it has no say.
    seen[0, 4, 2] = 0.5
    found = keypoint_consistency(samples, camera, seen)
    torch.testing.assert_close(found.mean[0, 0], torch.tensor(0.8 * (16 * 0.1 + 0.25) / 16.5))
    assert found.worst[0, 0].item() == pytest.approx(0.4)
    seen[0, 4] = 0
    found = keypoint_consistency(samples, camera, seen)
    torch.testing.assert_close(found.worst, 0.8 * torch.tensor([[0.1], [0.3]]))

    nothing = keypoint_consistency(samples, camera, torch.zeros(1, 17, 3))
    assert nothing.mean.isnan().all() and nothing.worst.isnan().all()


def test_samples_of_a_point_are_all_as_consistent(template: BodyTemplate) -> None:
    parameters = BodyParameters(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3))
    point = PointPrediction(camera=prediction().camera, parameters=parameters)
    joints = point.sample(3).posed(template).joints[..., :17, :]  # any will do
    seen = torch.cat([point.camera.project(joints[0]), torch.ones(1, 17, 1)], -1)
    found = keypoint_consistency(joints, point.camera, seen)
    assert found.worst.max() < 1e-6
