"""Image joints from pooled points: the same as from the vertices, in value and gradient."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.joint_markers import joint_markers
from plausibody.models.markers import JointRegressors, Markers
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.synth.stores import SynthAssets

NONE = torch.arange(0)


def seeded(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def answers(markers: Markers, body: BodyParameters) -> list[Tensor]:
    """COCO's joints, Human3.6M's, and gradients of some function of all of them."""
    rotations = body.rotations.clone().requires_grad_()
    shape = body.shape.clone().requires_grad_()
    points = markers(BodyParameters(shape=shape, rotations=rotations))
    both = torch.cat([points.coco, points.h36m], -2)
    weights = seeded(34, 3).to(both.dtype)
    found = torch.autograd.grad((both * weights).square().sum(), (rotations, shape))
    return [points.coco.detach(), points.h36m.detach(), points.joints.detach(), *found]


def test_joints_and_gradients_are_those_of_the_vertices_whatever_the_signs(
    doll: BodyTemplate,
) -> None:
    """Of negative weights too, and of weights whose sum is zero."""
    wanted = seeded(34, len(doll.vertices))
    wanted[wanted.abs() < 1] = 0
    wanted[3], wanted[4] = 0, 0
    wanted[4, 5], wanted[4, 6] = 1, -1
    regressors = JointRegressors(coco17=wanted[:17], h36m17=wanted[17:])
    body = BodyParameters(
        shape=seeded(2, 3, doll.shape_directions.shape[-1]),
        rotations=rotvec_to_rotmat(seeded(2, 3, len(doll.parents), 3)),
    )
    expected = answers(Markers.of(doll, regressors, NONE), body)
    for found, reference in zip(
        answers(joint_markers(doll, regressors), body), expected, strict=True
    ):
        torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-12)


def test_a_real_body_needs_few_points(assets: SynthAssets) -> None:
    """Measured: 55 points instead of 231 vertices; joints differ by 4e-7 m."""
    regressors = assets.regressors
    coco = replace(regressors, h36m17=torch.zeros_like(regressors.h36m17))
    fast, slow = (make(assets.template, coco) for make in (joint_markers, _of_vertices))
    assert len(fast.skin.vertices) < len(slow.skin.vertices) / 2
    assert fast.chosen == 0 and fast.regressor.dtype == torch.float32
    body = BodyParameters(
        shape=seeded(4, 10).float(),
        rotations=rotvec_to_rotmat(seeded(4, len(assets.template.parents), 3)).float(),
    )
    for found, reference in zip(answers(fast, body), answers(slow, body), strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast(body).coco, slow(body).coco, rtol=0, atol=3e-6)


def _of_vertices(template: BodyTemplate, regressors: JointRegressors) -> Markers:
    return Markers.of(template, regressors, NONE)
