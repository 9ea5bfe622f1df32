"""Scenes: left and right, who looks where, and how often things happen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.models.body import pose_body
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.poses import PoseBank
from plausibody.synth.scene import (
    UPPER_BODY,
    JointLimits,
    PoseSettings,
    ShapeSettings,
    ViewSettings,
    draw_body,
    draw_place,
    draw_pose,
    draw_shape,
    draw_view,
    mirror_pose,
)
from plausibody.synth.stores import SynthAssets

COUNT = 4000
PLAIN = PoseSettings(mirrored=0.0, recombined=0.0, jittered=0.0)


class Fixed(Chance):
    """Draws what it is told to; everything else as if nothing were random."""

    def __init__(self, count: int = 1, **values: float):
        super().__init__(0, torch.arange(count))
        self.values = {f"view/{name}": value for name, value in values.items()}

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.full((len(self.numbers), *shape), self.values.get(name, (low + high) / 2))

    def normal(self, name: str, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        return torch.full((len(self.numbers), *shape), self.values.get(name, mean))


@pytest.fixture(scope="module")
def bank() -> PoseBank:
    generator = torch.Generator().manual_seed(0)
    return PoseBank(0.4 * torch.randn(500, 24, 3, generator=generator))


@pytest.fixture(scope="module")
def limits(bank: PoseBank) -> JointLimits:
    return JointLimits.of(bank)


def draw(bank: PoseBank, limits: JointLimits, **settings: float) -> Tensor:
    everything = PoseSettings(**{**vars(PLAIN), **settings})
    return draw_pose(Chance(3, torch.arange(COUNT)), bank, limits, everything)


def within(hits: Tensor, probability: float) -> bool:
    spread = math.sqrt(probability * (1 - probability) / len(hits))
    return abs(hits.double().mean().item() - probability) < 5 * spread


def test_mirroring_swaps_sides_and_undoes_itself() -> None:
    pose = torch.zeros(24, 3)
    pose[SMPL24.index("left_elbow")] = torch.tensor([0.1, -1.2, 0.3])
    pose[0] = torch.tensor([0.0, 0.5, 0.0])
    mirrored = mirror_pose(pose)
    assert mirrored[SMPL24.index("right_elbow")].tolist() == pytest.approx([0.1, 1.2, -0.3])
    assert mirrored[SMPL24.index("left_elbow")].tolist() == [0, 0, 0]
    assert mirrored[0, 1] == -0.5
    assert torch.equal(mirror_pose(mirrored), pose)


def test_a_mirrored_pose_is_the_mirror_image_of_the_body(assets: SynthAssets) -> None:
    """The joints of the mirrored pose lie where a mirror shows those of the other side."""
    poses = assets.bank.rotvecs[:: len(assets.bank) // 20]
    zeros = torch.zeros(len(poses), 10)
    body = pose_body(assets.coarse.skin, zeros, rotvec_to_rotmat(poses))
    mirrored = pose_body(assets.coarse.skin, zeros, rotvec_to_rotmat(mirror_pose(poses)))
    expected = body.joints[:, mirror(SMPL24)] * torch.tensor([-1.0, 1, 1])
    # As far as the body itself is symmetric.
    assert (mirrored.joints - expected).norm(dim=-1).max() < 0.02


def test_without_changes_poses_are_those_of_the_bank(bank: PoseBank, limits: JointLimits) -> None:
    everywhere = JointLimits(low=limits.low - 9, high=limits.high + 9)
    chosen = Chance(3, torch.arange(COUNT)).integer("pose", len(bank))
    assert torch.equal(draw(bank, everywhere), bank.rotvecs[chosen])


def test_share_of_mirrored_poses(bank: PoseBank, limits: JointLimits) -> None:
    plain = draw(bank, limits)
    some = draw(bank, limits, mirrored=0.3)
    changed = (some != plain).flatten(1).any(1)
    assert within(changed, 0.3)
    assert torch.equal(some[changed], mirror_pose(plain[changed]))


def test_share_of_recombined_poses(bank: PoseBank, limits: JointLimits) -> None:
    plain, some = draw(bank, limits), draw(bank, limits, recombined=0.4)
    changed = (some != plain).flatten(1).any(1)
    # One in 500 recombines with itself.
    assert within(changed, 0.4 * (1 - 1 / len(bank)))
    lower = [joint for joint in range(24) if joint not in UPPER_BODY]
    assert torch.equal(some[:, lower], plain[:, lower])
    names = {SMPL24[joint] for joint in lower}
    assert names == {"pelvis"} | {
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in ("hip", "knee", "ankle", "foot")
    }


def test_noise_moves_joints_within_limits_but_not_the_root(
    bank: PoseBank, limits: JointLimits
) -> None:
    plain, some = draw(bank, limits), draw(bank, limits, jittered=0.6, jitter=0.1)
    changed = (some != plain).flatten(1).any(1)
    assert within(changed, 0.6)
    assert torch.equal(some[:, 0], plain[:, 0])
    moved = (some - plain)[changed][:, 1:]
    assert moved.std().item() == pytest.approx(0.1, rel=0.1)
    assert (some[:, 1:] >= limits.low[1:]).all() and (some[:, 1:] <= limits.high[1:]).all()


def test_limits_hold_nearly_all_of_the_bank_and_its_mirror_image(bank: PoseBank) -> None:
    limits = JointLimits.of(bank)
    both = torch.cat([bank.rotvecs, mirror_pose(bank.rotvecs)])
    outside = (both < limits.low) | (both > limits.high)
    assert outside.double().mean() < 0.0025
    assert torch.equal(mirror_pose(limits.low)[:, 0], limits.low[:, 0])


def test_at_yaw_zero_people_face_the_camera_upright() -> None:
    settings = ViewSettings(elevation_mean=0.0)
    turn = draw_view(Fixed(yaw=0.0), settings)[0]
    torch.testing.assert_close(turn, torch.eye(3))


def test_a_quarter_turn_shows_the_side() -> None:
    turn = draw_view(Fixed(yaw=math.pi / 2), ViewSettings(elevation_mean=0.0))[0]
    chest, left = turn @ torch.tensor([0.0, 0, 1]), turn @ torch.tensor([1.0, 0, 0])
    torch.testing.assert_close(chest, torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(left, torch.tensor([0.0, 0, -1]))


def test_elevation_looks_down_on_the_head() -> None:
    turn = draw_view(Fixed(yaw=1.0, elevation=0.3), ViewSettings())[0]
    up = turn @ torch.tensor([0.0, 1, 0])
    assert up[2].item() == pytest.approx(math.sin(0.3)), "the crown leans to the camera"
    assert up[1] > 0 and abs(up[0]) < 1e-6


def test_elevations_stop_at_their_limit() -> None:
    for drawn, kept in ((1.0, 0.5), (-1.0, -0.5), (0.2, 0.2)):
        turn = draw_view(Fixed(elevation=drawn), ViewSettings(elevation_limit=0.5))[0]
        assert (turn @ torch.tensor([0.0, 1, 0]))[2].item() == pytest.approx(math.sin(kept))


def test_yaw_has_no_preference_and_tilt_is_as_set() -> None:
    turn = draw_view(Chance(1, torch.arange(COUNT)), ViewSettings(roll_std=0.0))
    chest, up = turn[:, :, 2], turn[:, :, 1]
    yaw = torch.atan2(turn[:, 0, 2], turn[:, 0, 0])
    counts = torch.histc(yaw, 16, -math.pi, math.pi)
    assert (counts - COUNT / 16).abs().max() < 5 * math.sqrt(COUNT / 16)
    elevation = torch.asin(up[:, 2].clamp(-1, 1))
    assert math.degrees(elevation.mean()) == pytest.approx(5, abs=1)
    assert math.degrees(elevation.std()) == pytest.approx(12, abs=1)
    assert math.degrees(elevation.abs().max()) < 30.01
    assert chest.norm(dim=-1).allclose(torch.ones(COUNT))


def test_the_view_is_in_the_root_alone(bank: PoseBank, limits: JointLimits) -> None:
    chance = Chance(3, torch.arange(50))
    body = draw_body(chance, bank, limits, PLAIN, ViewSettings(), ShapeSettings())
    pose = rotvec_to_rotmat(draw_pose(chance, bank, limits, PLAIN))
    torch.testing.assert_close(body.rotations[:, 1:], pose[:, 1:])
    view = draw_view(chance, ViewSettings())
    assert geodesic_angle(body.rotations[:, 0], view @ pose[:, 0]).max() < 1e-2


def test_shapes_have_the_spread_of_their_mixture() -> None:
    settings = ShapeSettings(count=6, std=1.25, wide_std=2.0, wide=0.3)
    shape = draw_shape(Chance(0, torch.arange(COUNT)), settings)
    assert shape.shape == (COUNT, 6)
    assert shape.mean().abs() < 0.05
    assert shape.var().item() == pytest.approx(0.7 * 1.25**2 + 0.3 * 2**2, rel=0.05)


def test_uniform_shapes_replace_the_mixture() -> None:
    shape = draw_shape(Chance(0, torch.arange(COUNT)), ShapeSettings(count=2, uniform=2.5))
    assert shape.abs().max() <= 2.5
    assert shape.std().item() == pytest.approx(5 / math.sqrt(12), rel=0.05)


def test_people_stand_before_the_camera_at_log_uniform_depths() -> None:
    place = draw_place(Chance(0, torch.arange(COUNT)), ViewSettings())
    depth = place[:, 2]
    assert depth.min() >= 1.8 - 1e-6 and depth.max() <= 12 + 1e-5
    share = (depth.log() - math.log(1.8)) / math.log(12 / 1.8)
    counts = torch.histc(share, 10, 0, 1)
    assert (counts - COUNT / 10).abs().max() < 5 * math.sqrt(COUNT / 10)
    across = place[:, :2] / depth[:, None]
    assert across.std().item() == pytest.approx(0.1, rel=0.05)
