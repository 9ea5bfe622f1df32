"""Cameras: where up, left and near go, and a fit that finds the camera again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.models.camera import (
    PerspectiveCamera,
    WeakPerspectiveCamera,
    fit_weak_perspective,
    rotmat_to_camera,
    world_to_camera,
)
from plausibody.models.rotations import rotvec_to_rotmat


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def pinhole(depth: float = 5.0, focal: float = 500.0) -> PerspectiveCamera:
    return PerspectiveCamera(
        focal=torch.tensor(focal).double(),
        principal=torch.tensor([320.0, 240.0]).double(),
        translation=torch.tensor([0.0, 0.0, depth]).double(),
    )


def test_the_half_turn_undoes_itself_and_is_a_rotation() -> None:
    cloud = points(4, 5, 3)
    torch.testing.assert_close(world_to_camera(world_to_camera(cloud)), cloud)
    turn = world_to_camera(torch.eye(3))
    assert torch.linalg.det(turn).item() == 1


def test_orientations_turn_as_points_do() -> None:
    rotmat, point = rotvec_to_rotmat(points(6, 3)), points(6, 3, seed=1)
    turned = world_to_camera((rotmat @ point[..., None])[..., 0])
    torch.testing.assert_close((rotmat_to_camera(rotmat) @ point[..., None])[..., 0], turned)
    torch.testing.assert_close(rotmat_to_camera(rotmat_to_camera(rotmat)), rotmat)


def test_up_left_and_front_in_the_picture() -> None:
    origin, up, left, front = pinhole().project(
        torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]).double()
    )
    assert origin.tolist() == [320, 240, 5]
    assert up.tolist() == [320, 140, 5]
    assert left.tolist() == [420, 240, 5], "the left of who faces the camera is on the right"
    assert front[2] == 4, "the chest is nearer than the back"


def test_points_near_or_behind_the_camera_stay_finite_and_keep_their_depth() -> None:
    cloud = torch.tensor([[0.3, 0.2, 5.0], [0.3, 0.2, 4.99], [0.3, 0.2, 7.0]]).double()
    seen = pinhole().project(cloud)
    assert seen.isfinite().all()
    assert seen[:, 2].tolist() == pytest.approx([0.0, 0.01, -2.0], abs=1e-6)


def test_cameras_have_batches_of_any_rank() -> None:
    cloud = points(2, 3, 7, 3)
    camera = PerspectiveCamera(
        focal=100 + points(2, 3).abs(),
        principal=points(2, 3, 2),
        translation=torch.tensor([0.0, 0.0, 9.0]).double() + points(2, 3, 3, seed=1) * 0.1,
    )
    one = PerspectiveCamera(camera.focal[1, 2], camera.principal[1, 2], camera.translation[1, 2])
    torch.testing.assert_close(camera.project(cloud)[1, 2], one.project(cloud[1, 2]))


def test_a_far_pinhole_is_a_weak_perspective_camera() -> None:
    cloud, depth = points(30, 3), 1e5
    camera = pinhole(depth, 100 * depth)
    weak = WeakPerspectiveCamera(scale=torch.tensor(100.0), shift=torch.zeros(2)).project(cloud)
    flat = camera.project(cloud)[:, :2] - camera.principal
    torch.testing.assert_close(weak, flat, rtol=1e-4, atol=1e-2)


def test_the_vector_is_scale_then_shift() -> None:
    camera = WeakPerspectiveCamera.from_vector(torch.tensor([[2.0, 0.1, -0.3]]))
    seen = camera.project(torch.tensor([[[0.4, 0.5, 9.0]]]))
    torch.testing.assert_close(seen, torch.tensor([[[1.0, -1.6]]]))


def test_the_fit_finds_the_camera_and_ignores_points_without_weight() -> None:
    cloud, camera = points(5, 17, 3), WeakPerspectiveCamera(0.5 + points(5).abs(), points(5, 2))
    target, weight = camera.project(cloud), points(5, 17).abs()
    target[:, :4], weight[:, :4] = 1e3, 0
    found = fit_weak_perspective(cloud, target, weight)
    torch.testing.assert_close(found.scale, camera.scale)
    torch.testing.assert_close(found.shift, camera.shift)


def test_no_other_camera_fits_better() -> None:
    cloud, target, weight = points(17, 3), points(17, 2, seed=1), points(17, seed=2).abs()
    found = fit_weak_perspective(cloud, target + 2 * cloud[:, :2] * torch.tensor([1, -1]), weight)

    def misfit(vector: Tensor) -> float:
        seen = WeakPerspectiveCamera.from_vector(vector).project(cloud)
        wanted = target + 2 * cloud[:, :2] * torch.tensor([1, -1])
        return float((weight[:, None] * (seen - wanted).square()).sum())

    best = torch.cat([found.scale[None], found.shift])
    for number in range(3):
        for step in (-1e-3, 1e-3):
            assert misfit(best + step * torch.eye(3)[number]) > misfit(best)


def test_a_fit_to_nothing_is_finite() -> None:
    found = fit_weak_perspective(points(2, 17, 3), points(2, 17, 2), torch.zeros(2, 17).double())
    assert found.scale.isfinite().all() and found.shift.isfinite().all()


def test_gradients() -> None:
    def project(cloud: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        weak = WeakPerspectiveCamera.from_vector(vector)
        return pinhole().project(cloud), weak.project(cloud)

    inputs = (points(4, 3).requires_grad_(), points(3).requires_grad_())
    assert torch.autograd.gradcheck(project, inputs)
