"""Poses that no body can take are told from those that some body took."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.models.rotations import axis_rotation, rotmat_to_rotvec, rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24
from plausibody.synth.joint_limits import LIMITS, _swing, count_by_joint, find_impossible
from plausibody.synth.poses import load_poses
from plausibody.synth.scene import mirror_pose


def bent(name: str, *degrees: float) -> Tensor:
    """A pose with one joint turned by a rotation vector."""
    pose = torch.zeros(1, 24, 3)
    pose[0, SMPL24.index(name)] = torch.tensor(degrees).deg2rad()
    return pose


@pytest.mark.parametrize(
    ("name", "possible", "impossible"),
    [
        ("left_knee", (150, 0, 0), (-25, 0, 0)),
        ("left_knee", (40, 30, 20), (40, 45, 30)),
        ("right_knee", (-15, 0, 0), (170, 0, 0)),
        ("left_elbow", (0, -140, 0), (0, 30, 0)),
        ("right_elbow", (0, 140, 0), (0, -30, 0)),
        ("right_elbow", (100, 0, 0), (0, 0, 70)),
        ("spine2", (50, 0, 0), (40, 40, 40)),
        ("neck", (0, 70, 0), (0, 80, 0)),
        ("head", (0, 0, 55), (65, 0, 0)),
        ("left_collar", (0, 0, 45), (0, 0, -55)),
        ("right_wrist", (90, 0, 0), (0, 0, 110)),
        ("left_ankle", (80, 0, 0), (90, 0, 0)),
        ("right_hip", (-140, 0, 0), (-155, 0, 0)),
        ("left_shoulder", (0, 0, 170), None),
        ("pelvis", (180, 0, 0), None),
    ],
)
def test_bounds_of_single_joints(
    name: str, possible: tuple[float, ...], impossible: tuple[float, ...] | None
) -> None:
    assert not find_impossible(bent(name, *possible)).any()
    if impossible is not None:
        found = find_impossible(bent(name, *impossible))
        assert count_by_joint(found) == {name: 1}


def test_left_and_right_have_the_same_bounds() -> None:
    poses = torch.randn(500, 24, 3, generator=torch.Generator().manual_seed(0))
    found = find_impossible(poses)
    assert found.any(0).sum() > 10 and not found.all(1).any()
    assert torch.equal(find_impossible(mirror_pose(poses)).sum(1), found.sum(1))


def test_a_twisted_forearm_is_not_bent_sideways() -> None:
    right = torch.tensor(math.pi / 2)
    turned = axis_rotation(1, right) @ axis_rotation(0, right)
    pose = torch.zeros(1, 24, 3)
    pose[0, SMPL24.index("right_elbow")] = rotmat_to_rotvec(turned)
    assert math.degrees(pose.abs()[0, SMPL24.index("right_elbow"), 2]) > LIMITS.elbow_off_axis
    assert not find_impossible(pose).any()


def test_swing_and_twist_make_the_rotation() -> None:
    rotvecs = 1.5 * torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).double()
    rotvecs = torch.cat([rotvecs, torch.tensor([[0, math.pi, 0], [0.0, 0, 0]]).double()])
    swing = torch.cat([torch.zeros(len(rotvecs), 1), _swing(rotvecs)], 1)
    twist = rotvec_to_rotmat(swing).mT @ rotvec_to_rotmat(rotvecs)
    unmoved = torch.tensor([1.0, 0, 0]).double().expand(len(rotvecs), 3)
    torch.testing.assert_close(twist[..., 0], unmoved, atol=1e-6, rtol=0)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_nearly_all_shipped_poses_are_possible(split: str) -> None:
    poses = load_poses(find_asset("poses/cmu.h5"), split).rotvecs
    found = find_impossible(poses)
    assert found.any(1).sum() <= 5, count_by_joint(found)  # 3 of 38,839 sit on a bound
