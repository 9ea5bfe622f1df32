"""Laws of the shipped pose store, and of the builder that makes it from the captures."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.captures import Clip, pack, read_captures, unpack
from plausibody.assets.builders.poses import pick_poses, split_of
from plausibody.assets.builders.retarget import Rest, rest_directions, retarget
from plausibody.assets.builders.turning import from_rotvec
from plausibody.assets.catalog import find_asset
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template

SPLITS = {"train": 30_000, "val": 3_000, "test": 3_000}
"""Least number of poses in each."""


@pytest.fixture(scope="module")
def template() -> BodyTemplate:
    return load_template("open")


@pytest.fixture(scope="module")
def joints(template: BodyTemplate) -> Float[ndarray, "24 3"]:
    return (template.joint_regressor.double() @ template.vertices.double()).numpy()


@pytest.fixture(scope="module")
def rest(joints: Float[ndarray, "24 3"]) -> Rest:
    return rest_directions(joints)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """One clip of each origin."""
    found: dict[str, Clip] = {}
    for clip in read_captures():
        found.setdefault(clip.origin, clip)
    return list(found.values())


def read_split(split: str) -> tuple[Float[ndarray, "n 24 3"], list[str]]:
    with h5py.File(find_asset("poses/cmu.h5")) as store:
        assert store.attrs["frame"] == "body"
        names = [name.decode() for name in store[split]["names"][:]]
        return store[split]["poses"][:].astype(np.float32), names


@pytest.mark.parametrize("split", SPLITS)
def test_poses_are_whole_and_named(split: str) -> None:
    poses, names = read_split(split)
    assert len(poses) == len(names) == len(set(names)) >= SPLITS[split]
    assert np.isfinite(poses).all()
    # Rotation vectors of at most half a turn; float16 rounds pi up by 0.001.
    assert np.linalg.norm(poses, axis=2).max() < np.pi + 0.01
    assert (poses[:, [SMPL24.index("left_hand"), SMPL24.index("right_hand")]] == 0).all()
    knees = poses[:, [SMPL24.index("left_knee"), SMPL24.index("right_knee")], 0]
    assert knees.min() > -0.4, "a knee bends forwards"


@pytest.mark.parametrize("split", SPLITS)
def test_most_people_are_upright(split: str, template: BodyTemplate) -> None:
    poses = read_split(split)[0][::50]
    rotations = torch.as_tensor(from_rotvec(poses), dtype=torch.float32)
    count = len(rotations)
    body = pose_body(template, torch.zeros(count, 10), rotations, torch.zeros(count, 3))
    up = body.joints[:, SMPL24.index("head")] - body.joints[:, SMPL24.index("pelvis")]
    assert (up[:, 1] > 0).float().mean() > 0.9


def test_nobody_is_in_two_splits() -> None:
    people = {split: {name.split("/")[1] for name in read_split(split)[1]} for split in SPLITS}
    assert not people["train"] & people["val"]
    assert not people["train"] & people["test"]
    assert not people["val"] & people["test"]
    for split, subjects in people.items():
        assert all(split_of(int(subject)) == split for subject in subjects)


def test_the_builder_makes_the_poses_that_ship(
    clips: list[Clip], rest: Rest, joints: Float[ndarray, "24 3"]
) -> None:
    for clip in clips:
        kept = pick_poses(clip, rest, joints)
        poses, names = read_split(split_of(clip.subject))
        places = [names.index(name) for name in kept.names]
        assert len(places) > 10
        np.testing.assert_allclose(kept.poses, poses[places], atol=2e-3)


def test_angles_survive_packing() -> None:
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.integers(-300, 300, (50, 4)), axis=0)
    assert (unpack(pack(values)) == values).all()


def test_limbs_point_where_the_captured_limbs_point(clips: list[Clip], rest: Rest) -> None:
    """The open body's thigh and forearm, turned as retargeted, lie along the captured bones."""
    bones = {
        "bvh": {"left_hip": ("lThigh", "lShin"), "right_elbow": ("rForeArm", "rHand")},
        "asf": {"left_hip": ("lfemur", "lfemur"), "right_elbow": ("rradius", "rradius")},
    }
    parents = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    for clip in clips:
        local = from_rotvec(retarget(clip, rest).poses)
        world = [local[:, 0]]
        for j in range(1, 24):
            world.append(world[parents[j]] @ local[:, j])
        for joint, (bone, along) in bones.get(clip.origin, {}).items():
            captured = clip.turns[bone] @ clip.directions[along]
            captured /= np.linalg.norm(captured, axis=1, keepdims=True)
            ours = world[SMPL24.index(joint)] @ rest[joint]
            np.testing.assert_allclose(ours, captured, atol=1e-6)
