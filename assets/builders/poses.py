"""Builds the pose store from the captures: retargeted, freed of slips, thinned, split by person.

python -m plausibody.assets.builders.poses
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Float, Float16
from numpy import ndarray

from plausibody.assets.builders.captures import Clip, read_captures
from plausibody.assets.builders.pose_blend import joint_transforms
from plausibody.assets.builders.retarget import Rest, Retargeted, rest_directions, retarget
from plausibody.assets.builders.turning import from_rotvec
from plausibody.models.skeleton import SMPL24

log = logging.getLogger(__name__)

ASSETS = Path(__file__).resolve().parents[1]
VALIDATION_SUBJECTS = (3, 11, 49, 139)
TEST_SUBJECTS = (7, 9, 12, 16, 43, 90)
LEAST_MOVE = 0.025
"""How far some joint must have moved since the last frame kept [m]."""
_UPRIGHT_WEIGHT = 0.3
"""Metres that a full turn of the gravity direction counts for in the same comparison."""
_STEP = 1 / 1024
"""Stored rotation vectors are multiples of this [rad]."""

_FURTHEST = {
    "spine1": 60,
    "spine2": 60,
    "spine3": 60,
    "neck": 75,
    "head": 60,
    "left_collar": 50,
    "right_collar": 50,
    "left_wrist": 100,
    "right_wrist": 100,
    "left_ankle": 85,
    "right_ankle": 85,
    "left_hip": 150,
    "right_hip": 150,
}
"""Angles beyond which a joint has slipped rather than moved [degrees]."""
_KNEE, _KNEE_OFF_AXIS = (-20, 165), 50
_ELBOW, _ELBOW_OFF_AXIS = (-25, 165), 60
_ELBOW_TWIST = 110
_T_POSE = 12
"""A frame whose arms and legs are all within this of the rest pose is a calibration pose."""


def build(out: Path, body: Path) -> None:
    """Writes the pose store for the limb directions of a body."""
    with np.load(body) as neutral:
        joints = neutral["J_regressor"].astype(np.float64) @ neutral["v_template"]
    rest = rest_directions(joints)
    parts: dict[str, list[ndarray]] = {"train": [], "val": [], "test": []}
    names: dict[str, list[str]] = {split: [] for split in parts}
    for clip in read_captures():
        kept = pick_poses(clip, rest, joints)
        parts[split_of(clip.subject)].append(kept.poses)
        names[split_of(clip.subject)] += kept.names
    with h5py.File(out, "w") as store:
        store.attrs["frame"] = "body"
        store.attrs["fps"] = 30
        for split, poses in parts.items():
            rows = np.concatenate(poses)
            log.info("%s: %d poses", split, len(rows))
            group = store.create_group(split)
            squeeze = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
            chunks = (min(4096, len(rows)), 1, 3)
            group.create_dataset("poses", data=rows, chunks=chunks, **squeeze)
            group.create_dataset("names", data=np.array(names[split], "S"), **squeeze)


@dataclass(frozen=True)
class Kept:
    """What a clip gives to the store."""

    poses: Float16[ndarray, "n 24 3"]
    names: list[str]


def pick_poses(clip: Clip, rest: Rest, joints: Float[ndarray, "24 3"]) -> Kept:
    """Retargets a clip and drops its slips and its repetitions."""
    found = retarget(clip, rest)
    kept = np.flatnonzero(is_sound(found))
    kept = kept[_moving(found.poses[kept], joints)]
    poses = np.round(found.poses[kept] / _STEP) * _STEP
    return Kept(poses.astype(np.float16), [_name(clip, int(frame)) for frame in kept])


def split_of(subject: int) -> str:
    """People never appear in two splits."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "val" if subject in VALIDATION_SUBJECTS else "train"


def is_sound(found: Retargeted) -> Bool[ndarray, " n"]:
    """Tells poses of people from slips of the tracker and from calibration poses."""
    poses = dict(zip(SMPL24, np.degrees(found.poses).swapaxes(0, 1), strict=True))
    sizes = {name: np.linalg.norm(vectors, axis=1) for name, vectors in poses.items()}
    sound = np.all(np.abs(np.degrees(found.elbow_twists)) < _ELBOW_TWIST, axis=1)
    for name, most in _FURTHEST.items():
        sound &= sizes[name] < most
    for side, sign in (("left", -1), ("right", 1)):
        knee, elbow = poses[f"{side}_knee"], poses[f"{side}_elbow"]
        sound &= (knee[:, 0] > _KNEE[0]) & (knee[:, 0] < _KNEE[1])
        sound &= np.linalg.norm(knee[:, 1:], axis=1) < _KNEE_OFF_AXIS
        sound &= (sign * elbow[:, 1] > _ELBOW[0]) & (sign * elbow[:, 1] < _ELBOW[1])
        sound &= np.abs(elbow[:, 2]) < _ELBOW_OFF_AXIS
    limbs = [
        f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "shoulder", "elbow")
    ]
    return sound & (np.max([sizes[name] for name in limbs], axis=0) >= _T_POSE)


def _moving(poses: Float[ndarray, "n 24 3"], joints: Float[ndarray, "24 3"]) -> list[int]:
    """Lists the frames in which some joint has moved away from the last listed one."""
    if len(poses) == 0:
        return []
    turns, places = joint_transforms(joints, from_rotvec(poses))
    root = turns[:, 0]
    seen = np.einsum("nba,njb->nja", root, places - places[:, :1])
    up = _UPRIGHT_WEIGHT * root[:, 1:2, :]
    features = np.concatenate([seen, up], axis=1)
    listed = [0]
    for frame in range(1, len(poses)):
        moves = np.linalg.norm(features[frame] - features[listed[-1]], axis=1)
        if moves.max() > LEAST_MOVE:
            listed.append(frame)
    return listed


def _name(clip: Clip, frame: int) -> str:
    """Names a pose by subject, trial, kind of source and frame at 30 a second.

    A trial may be there from two sources, whose frames do not start together.
    """
    subject = f"{clip.subject:02d}"
    return f"CMU/{subject}/{subject}_{clip.trial:02d}_{clip.origin}_f{frame:05d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ASSETS / "poses" / "cmu.h5")
    parser.add_argument("--body", type=Path, default=ASSETS / "body" / "open_neutral.npz")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(arguments.out, arguments.body)


if __name__ == "__main__":
    main()
