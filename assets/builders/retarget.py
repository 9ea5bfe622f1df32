"""Carries captured motion over to the skeleton of the open body, as SMPL's 24 rotations.

Limbs take over the direction of the captured bones, trunk, head and feet how far they turned away
from the zero pose. Fingers stay straight. Two things no capture holds are added: the elbow's hinge
stays where elbows have it, and the collar bones follow the arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.captures import Clip
from plausibody.assets.builders.pose_blend import PARENTS
from plausibody.assets.builders.turning import about, as_rotvec, from_rotvec, power, shortest, unit
from plausibody.models.skeleton import SMPL24

_CHAIN = {"hip": "knee", "knee": "ankle", "ankle": "foot", "shoulder": "elbow", "elbow": "wrist"}
_STRAIGHT, _BENT = np.radians(12.0), np.radians(32.0)
"""Between these flexions the plane of the elbow becomes trustworthy."""
_COLLAR_LIFT, _COLLAR_SWING = 0.18, 0.12
"""Share of the arm's elevation and of its swing forwards that the collar bone takes."""

Rest = dict[str, Float[ndarray, "3"]]
"""Where the limbs of the open body point in the rest pose, by joint."""
Turns = dict[str, Float[ndarray, "n 3 3"]]
"""World rotations by joint of `SMPL24`."""


@dataclass(frozen=True)
class Retargeted:
    """A clip on the open body."""

    poses: Float[ndarray, "n 24 3"]
    """Each joint's rotation relative to its parent, as rotation vectors; the root's in the world
    (y up, yaw as captured)."""
    elbow_twists: Float[ndarray, "n 2"]
    """How far the upper arms had to turn about their axes to put the elbows right [rad]."""


def rest_directions(joints: Float[ndarray, "24 3"]) -> Rest:
    """Gives the directions of the limbs of a body in the rest pose."""
    places = dict(zip(SMPL24, joints, strict=True))
    return {
        f"{side}_{start}": unit(places[f"{side}_{end}"] - places[f"{side}_{start}"])
        for side in ("left", "right")
        for start, end in _CHAIN.items()
    }


def retarget(clip: Clip, rest: Rest) -> Retargeted:
    """Carries one clip over to a body with the given limb directions."""
    carry = {"bvh": _from_bvh, "asf": _from_asf, "deepmimic": _from_deepmimic}[clip.origin]
    turns = carry(clip, rest)
    twists = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        twists.append(_hinge_elbow(turns, rest, side))
        _lift_collar(turns, rest, side, sign)
    world = np.stack([turns[name] for name in SMPL24], axis=1)
    local = world.copy()
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, j] = np.swapaxes(world[:, parent], -1, -2) @ world[:, j]
    poses = as_rotvec(local)
    poses[:, [SMPL24.index("left_hand"), SMPL24.index("right_hand")]] = 0.0
    return Retargeted(poses, np.stack(twists, axis=1))


def _between(first: ndarray, second: ndarray, share: float) -> Float[ndarray, "n 3 3"]:
    """Gives the rotation part of the way from one world rotation to another."""
    return first @ power(np.swapaxes(first, -1, -2) @ second, share)


def _limb(
    clip: Clip, rest: Rest, side: str, letter: str, joint: str, bone: str, along: str
) -> Float[ndarray, "n 3 3"]:
    """Turns a joint with a captured bone, so that the limb points where `along` points."""
    onto = shortest(rest[f"{side}_{joint}"], clip.directions[letter + along])
    return clip.turns[letter + bone] @ onto


def _from_bvh(clip: Clip, rest: Rest) -> Turns:
    bones = clip.turns
    turns = {
        "pelvis": bones["hip"],
        "spine1": _between(bones["hip"], bones["abdomen"], 0.6),
        "spine2": _between(bones["abdomen"], bones["chest"], 0.35),
        "spine3": bones["chest"],
        "neck": bones["neck"],
        "head": bones["head"],
    }
    for side, letter in (("left", "l"), ("right", "r")):
        limb = partial(_limb, clip, rest, side, letter)
        hand = limb("elbow", "Hand", "Hand")
        foot = bones[f"{letter}Foot"]
        turns |= {
            f"{side}_hip": limb("hip", "Thigh", "Shin"),
            f"{side}_knee": limb("knee", "Shin", "Foot"),
            f"{side}_ankle": foot,
            f"{side}_foot": foot,
            f"{side}_collar": bones[f"{letter}Collar"],
            f"{side}_shoulder": limb("shoulder", "Shldr", "ForeArm"),
            f"{side}_elbow": limb("elbow", "ForeArm", "Hand"),
            f"{side}_wrist": hand,
            f"{side}_hand": hand,
        }
    return turns


def _from_asf(clip: Clip, rest: Rest) -> Turns:
    bones = clip.turns
    turns = {
        "pelvis": bones["root"],
        "spine1": bones["lowerback"],
        "spine2": bones["upperback"],
        "spine3": bones["thorax"],
        "neck": _between(bones["lowerneck"], bones["upperneck"], 0.5),
        "head": bones["head"],
    }
    for side, letter in (("left", "l"), ("right", "r")):
        limb = partial(_limb, clip, rest, side, letter)
        hand, foot = limb("elbow", "hand", "radius"), limb("ankle", "foot", "foot")
        toes = np.swapaxes(bones[f"{letter}foot"], -1, -2) @ bones[f"{letter}toes"]
        turns |= {
            f"{side}_hip": limb("hip", "femur", "femur"),
            f"{side}_knee": limb("knee", "tibia", "tibia"),
            f"{side}_ankle": foot,
            f"{side}_foot": foot @ power(toes, 0.7),
            f"{side}_collar": bones[f"{letter}clavicle"],
            f"{side}_shoulder": limb("shoulder", "humerus", "humerus"),
            f"{side}_elbow": limb("elbow", "radius", "radius"),
            f"{side}_wrist": hand,
            f"{side}_hand": hand,
        }
    return turns


def _from_deepmimic(clip: Clip, rest: Rest) -> Turns:
    """Its zero pose has straight legs and hanging arms whose elbows bend forwards."""
    bones = clip.turns
    pelvis, chest = bones["root"], bones["chest"]
    turns = {
        "pelvis": pelvis,
        "spine1": _between(pelvis, chest, 0.3),
        "spine2": _between(pelvis, chest, 0.65),
        "spine3": chest,
        "neck": _between(chest, bones["neck"], 0.5),
        "head": bones["neck"],
    }
    down = np.array([0.0, -1.0, 0.0])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hanging = about(2, -sign * np.pi / 2)
        outwards = np.array([sign, 0.0, 0.0])
        elbow = bones[f"{side}_elbow"] @ hanging @ shortest(rest[f"{side}_elbow"], outwards)
        ankle = bones[f"{side}_ankle"]
        turns |= {
            f"{side}_hip": bones[f"{side}_hip"] @ shortest(rest[f"{side}_hip"], down),
            f"{side}_knee": bones[f"{side}_knee"] @ shortest(rest[f"{side}_knee"], down),
            f"{side}_ankle": ankle,
            f"{side}_foot": ankle,
            f"{side}_collar": chest @ about(2, -sign * np.radians(8.0)),
            f"{side}_shoulder": bones[f"{side}_shoulder"]
            @ hanging
            @ shortest(rest[f"{side}_shoulder"], outwards),
            f"{side}_elbow": elbow,
            f"{side}_wrist": elbow,
            f"{side}_hand": elbow,
        }
    return turns


def _hinge_elbow(turns: Turns, rest: Rest, side: str) -> Float[ndarray, " n"]:
    """Twists the upper arm until the elbow bends about its hinge, and returns the twist [rad].

    Captures leave the twist to chance: elbows came out up to 60 degrees off their axis.
    """
    shoulder = turns[f"{side}_shoulder"]
    upper = shoulder @ rest[f"{side}_shoulder"]
    lower = turns[f"{side}_elbow"] @ rest[f"{side}_elbow"]
    cosine = np.clip(np.sum(upper * lower, axis=1), -1.0, 1.0)
    bend = unit(lower - upper * cosine[:, None])
    ahead = shoulder[:, :, 2]
    ahead = unit(ahead - upper * np.sum(ahead * upper, axis=1, keepdims=True))
    twist = np.arctan2(np.sum(np.cross(ahead, bend) * upper, axis=1), np.sum(ahead * bend, axis=1))
    trust = np.clip((np.arccos(cosine) - _STRAIGHT) / (_BENT - _STRAIGHT), 0.0, 1.0)
    twist = twist * trust**2 * (3 - 2 * trust)
    turns[f"{side}_shoulder"] = from_rotvec(upper * twist[:, None]) @ shoulder
    return twist


def _lift_collar(turns: Turns, rest: Rest, side: str, sign: float) -> None:
    """Lets the collar bone follow the arm, up and forwards; captures keep it still."""
    chest = turns["spine3"]
    upper = turns[f"{side}_shoulder"] @ rest[f"{side}_shoulder"]
    seen = np.einsum("nba,nb->na", chest, upper)
    lift = np.arcsin(np.clip(seen[:, 1], -1.0, 1.0))
    swing = np.clip(np.arctan2(seen[:, 2], sign * seen[:, 0]), -1.2, 1.2)
    swing = np.where(np.cos(lift) < 0.35, 0.0, swing)
    vectors = np.stack(
        [np.zeros(len(lift)), -sign * _COLLAR_SWING * swing, sign * _COLLAR_LIFT * lift], axis=1
    )
    turns[f"{side}_collar"] = chest @ from_rotvec(vectors)
