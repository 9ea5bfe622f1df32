"""Rotations: round trips, orthonormality, handedness, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.models.rotations import (
    axis_rotation,
    geodesic_angle,
    mean_rotation,
    rot6d_to_rotmat,
    rotmat_to_rot6d,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_rotation_vectors_come_back() -> None:
    rotvec = vectors(4, 50, 3)
    rotvec = rotvec / rotvec.norm(dim=-1, keepdim=True) * torch.linspace(0, 3.14, 50)[:, None]
    torch.testing.assert_close(rotmat_to_rotvec(rotvec_to_rotmat(rotvec)), rotvec)


def test_six_numbers_are_two_columns_row_by_row() -> None:
    rotmat = rotvec_to_rotmat(vectors(3))
    r = rotmat.tolist()
    expected = [r[0][0], r[0][1], r[1][0], r[1][1], r[2][0], r[2][1]]
    assert rotmat_to_rot6d(rotmat).tolist() == expected
    torch.testing.assert_close(rot6d_to_rotmat(rotmat_to_rot6d(rotmat)), rotmat)


def test_any_six_numbers_make_a_rotation() -> None:
    rotmat = rot6d_to_rotmat(10 * vectors(5, 20, 6))
    identity = torch.eye(3).double().expand(5, 20, 3, 3)
    torch.testing.assert_close(rotmat @ rotmat.mT, identity)
    torch.testing.assert_close(torch.linalg.det(rotmat), torch.ones(5, 20).double())


def test_the_first_column_keeps_its_direction() -> None:
    rot6d = vectors(7, 6)
    first = rot6d.unflatten(-1, (3, 2))[..., 0]
    first = first / first.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(rot6d_to_rotmat(rot6d)[..., 0], first)


@pytest.mark.parametrize("convert", [rot6d_to_rotmat, rotvec_to_rotmat])
def test_gradients(convert: object) -> None:
    count = 6 if convert is rot6d_to_rotmat else 3
    assert torch.autograd.gradcheck(convert, (vectors(4, count).requires_grad_(),))


def test_the_gradient_is_finite_where_nothing_turns() -> None:
    rotvec = torch.zeros(2, 3, requires_grad=True)
    rotvec_to_rotmat(rotvec)[..., 1, 0].sum().backward()
    torch.testing.assert_close(rotvec.grad, torch.tensor([[0.0, 0.0, 1.0]] * 2))


@pytest.mark.parametrize(("axis", "source", "goal"), [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_a_quarter_turn_is_right_handed(axis: int, source: int, goal: int) -> None:
    turned = axis_rotation(axis, torch.tensor(math.pi / 2)) @ torch.eye(3)[source]
    torch.testing.assert_close(turned, torch.eye(3)[goal])


def test_turns_about_one_axis_add_up() -> None:
    a, b = vectors(2, 5), vectors(2, 5, seed=1)
    both = axis_rotation(1, a) @ axis_rotation(1, b)
    torch.testing.assert_close(both, axis_rotation(1, a + b))


def test_the_mean_of_turns_to_both_sides_is_in_the_middle() -> None:
    middle, swing = rotvec_to_rotmat(vectors(2, 3)), 0.5 * vectors(2, 3, seed=1)
    sides = torch.stack([middle @ rotvec_to_rotmat(swing), middle @ rotvec_to_rotmat(-swing)])
    torch.testing.assert_close(mean_rotation(sides), middle)


def test_the_mean_turns_with_its_members() -> None:
    members, turn = rotvec_to_rotmat(0.7 * vectors(9, 4, 3)), rotvec_to_rotmat(vectors(3))
    torch.testing.assert_close(mean_rotation(turn @ members), turn @ mean_rotation(members))


def test_angles_between_rotations() -> None:
    axis = vectors(3)
    axis = axis / axis.norm()
    start = rotvec_to_rotmat(vectors(3, seed=2))
    for angle in (0.0, 0.3, 3.0):
        end = start @ rotvec_to_rotmat(axis * angle)
        assert geodesic_angle(start, end).item() == pytest.approx(angle, abs=1e-6)
        assert geodesic_angle(end, start).item() == pytest.approx(angle, abs=1e-6)
