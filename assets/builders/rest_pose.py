"""Brings MakeHuman bodies into the rest pose of SMPL, arms and legs along the same directions.

Motion capture fitted to SMPL then needs no correction. MakeHuman's own rest pose has lowered arms.
The poses differ from body to body (limbs have their own lengths and bends), so the turn of each
bone is computed from its body's bone heads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.makehuman import SourceBody
from plausibody.assets.builders.turning import (
    about,
    as_rotvec,
    basis,
    from_rotvec,
    mirrored,
    shortest,
    unit,
)
from plausibody.models.skeleton import SMPL24

THIGH = np.array([0.091, -1.0, -0.012])
SHANK = np.array([-0.034, -1.0, -0.11])
UPPER_ARM = np.array([1.0, -0.03, -0.06])
FOREARM = np.array([1.0, 0.02, -0.01])
HAND = np.array([1.0, -0.06, 0.0])
"""Directions of the left limbs in SMPL's rest pose, from the published joint positions."""
FOOT_YAW = np.radians(9.0)
CLAVICLE_LIFT, SHOULDER_LIFT = np.radians(10.0), np.radians(17.0)
"""How far the shoulder girdle follows the raised arm (about a third of it, as in people)."""

_TWIST_OF_UPPER_HALF = 0.4
"""The share of a segment's twist that its upper bone takes; the lower bone takes all of it."""


class RestPose:
    """The bones of n bodies, moved into the rest pose."""

    def __init__(self, body: SourceBody, coefficients: Float[ndarray, "n K"]) -> None:
        heads = body.shaped_heads(coefficients)
        for side in "LR":
            hip = body.bone(f"upperleg01.{side}")
            heads[:, hip] = _hip_centre(heads[:, hip])
        turns = _world_turns(body, heads)
        self.centres = heads
        """The points the bones turn about, before the turn [m], (n, B, 3)."""
        self.rotations = np.empty((*heads.shape, 3))
        """Of each bone, in the world, (n, B, 3, 3)."""
        self.heads = np.empty_like(heads)
        """The bone heads in the rest pose [m], (n, B, 3)."""
        for j, (name, parent) in enumerate(zip(body.bone_names, body.bone_parents, strict=True)):
            if parent < 0:
                self.rotations[:, j], self.heads[:, j] = np.eye(3), heads[:, j]
                continue
            turn = self.rotations[:, parent]
            reach = heads[:, j] - heads[:, parent]
            self.heads[:, j] = self.heads[:, parent] + np.einsum("nab,nb->na", turn, reach)
            self.rotations[:, j] = turns.get(name, turn)

    def carry(self, bone: int, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
        """Moves points with a bone."""
        reach = points - self.centres[:, bone]
        return self.heads[:, bone] + np.einsum("nab,nb->na", self.rotations[:, bone], reach)

    def skin(
        self, vertices: Float[ndarray, "n V 3"], weights: Float[ndarray, "V B"]
    ) -> Float[ndarray, "n V 3"]:
        """Moves meshes with the bones, by linear blend skinning."""
        moved = self.heads - np.einsum("njab,njb->nja", self.rotations, self.centres)
        transforms = np.concatenate([self.rotations, moved[..., None]], axis=3)
        out = np.empty(vertices.shape, np.float64)
        for k, mesh in enumerate(vertices):
            blend = (weights @ transforms[k].reshape(-1, 12)).reshape(-1, 3, 4)
            out[k] = np.einsum("vab,vb->va", blend[:, :, :3], mesh) + blend[:, :, 3]
        return out


def rest_joints(body: SourceBody, heads: Float[ndarray, "n B 3"]) -> Float[ndarray, "n 24 3"]:
    """Places SMPL's joints on the bone heads of bodies in the rest pose [m]."""

    def head(name: str) -> ndarray:
        return heads[:, body.bone(name)]

    mid_hip = (head("upperleg01.L") + head("upperleg01.R")) / 2
    low_spine = head("spine04")
    places = {
        "pelvis": np.stack(
            [
                np.zeros(len(heads)),
                low_spine[:, 1] - 0.008,
                0.4 * low_spine[:, 2] + 0.6 * mid_hip[:, 2],
            ],
            axis=1,
        ),
        "spine1": head("spine03"),
        "spine2": head("spine02"),
        "spine3": head("spine01"),
        "neck": head("neck01"),
        "head": head("neck03"),
    }
    for side, letter in (("left", "L"), ("right", "R")):
        toes = [head(f"toe{k}-1.{letter}") for k in range(1, 6)]
        knuckles = [head(f"finger{k}-1.{letter}") for k in range(2, 6)]
        collar = (head(f"clavicle.{letter}") + head(f"shoulder01.{letter}")) / 2
        places |= {
            f"{side}_hip": head(f"upperleg01.{letter}"),
            f"{side}_knee": head(f"lowerleg01.{letter}"),
            f"{side}_ankle": head(f"foot.{letter}"),
            f"{side}_foot": np.mean(toes, axis=0),
            f"{side}_collar": collar,
            f"{side}_shoulder": head(f"upperarm01.{letter}"),
            f"{side}_elbow": head(f"lowerarm01.{letter}"),
            f"{side}_wrist": head(f"wrist.{letter}"),
            f"{side}_hand": np.mean(knuckles, axis=0),
        }
    joints = np.stack([places[name] for name in SMPL24], axis=1)
    middle = [k for k, name in enumerate(SMPL24) if "_" not in name]
    joints[:, middle, 0] = 0.0
    return joints


def joint_of_bone(name: str) -> str:
    """Names the joint of SMPL that carries a bone of the MakeHuman rig."""
    part, _, letter = name.partition(".")
    side = {"L": "left_", "R": "right_"}.get(letter, "")
    for joint, prefixes in _BONES_OF_JOINT.items():
        if part.startswith(prefixes):
            return side + joint if joint in _PAIRED else joint
    return "head"


_BONES_OF_JOINT = {
    "pelvis": ("root", "pelvis", "spine05", "spine04"),
    "spine1": ("spine03",),
    "spine2": ("spine02",),
    "spine3": ("spine01", "breast"),
    "neck": ("neck01", "neck02"),
    "hip": ("upperleg",),
    "knee": ("lowerleg",),
    "ankle": ("foot",),
    "foot": ("toe",),
    "collar": ("clavicle", "shoulder01"),
    "shoulder": ("upperarm",),
    "elbow": ("lowerarm",),
    "wrist": ("wrist", "metacarpal", "finger1-1"),
    "hand": ("finger",),
}
_PAIRED = {"hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand"}


def _hip_centre(head: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Moves a thigh bone's head inwards to the hip's centre; MakeHuman's lies too wide."""
    return head * [0.78, 1.0, 1.0] - [0.0, 0.012, 0.0]


def _world_turns(
    body: SourceBody, heads: Float[ndarray, "n B 3"]
) -> dict[str, Float[ndarray, "n 3 3"]]:
    """Gives the world rotation of each bone that does not simply follow its parent."""

    def left(name: str) -> ndarray:
        return heads[:, body.bone(f"{name}.L")]

    turns = _leg_turns(left) | _arm_turns(left)
    return {f"{name}.L": turn for name, turn in turns.items()} | {
        f"{name}.R": mirrored(turn) for name, turn in turns.items()
    }


def _leg_turns(left: Callable[[str], ndarray]) -> dict[str, ndarray]:
    thigh = shortest(left("lowerleg01") - left("upperleg01"), THIGH)
    shank = shortest(left("foot") - left("lowerleg01"), SHANK)
    foot = np.mean([left(f"toe{k}-1") for k in range(1, 6)], axis=0) - left("foot")
    forward = np.array([np.sin(FOOT_YAW), 0.0, np.cos(FOOT_YAW)])
    return {
        "upperleg01": thigh,
        "upperleg02": thigh,
        "lowerleg01": shank,
        "lowerleg02": shank,
        "foot": shortest(foot * [1.0, 0.0, 1.0], forward),
    }


def _arm_turns(left: Callable[[str], ndarray]) -> dict[str, ndarray]:
    """Raises the arm, the elbow's hinge upright: its slight bend gives the plane of flexion."""
    n = len(left("wrist"))
    upper = left("lowerarm01") - left("upperarm01")
    lower = left("wrist") - left("lowerarm01")
    raised = shortest(upper, UPPER_ARM)
    ahead = np.array([0.0, 0.0, 1.0])
    hinged = basis(UPPER_ARM, ahead) @ np.swapaxes(basis(upper, lower), -1, -2)
    upper_twist = as_rotvec(hinged @ np.swapaxes(raised, -1, -2))
    straight = shortest(np.einsum("nab,nb->na", hinged, lower), FOREARM) @ hinged

    fingers = left("finger3-1") - left("wrist")
    thumb_side = left("finger2-1") - left("finger5-1")
    palm_down = basis(HAND, np.array([0.0, 0.05, 1.0]))
    hand = palm_down @ np.swapaxes(basis(fingers, thumb_side), -1, -2)
    on_hand, on_forearm = (np.einsum("nab,nb->na", r, unit(fingers)) for r in (hand, straight))
    bent = shortest(on_hand, on_forearm) @ hand @ np.swapaxes(straight, -1, -2)
    lower_twist = as_rotvec(bent)
    return {
        "clavicle": np.broadcast_to(about(2, CLAVICLE_LIFT), (n, 3, 3)),
        "shoulder01": np.broadcast_to(about(2, SHOULDER_LIFT), (n, 3, 3)),
        "upperarm01": from_rotvec(upper_twist * _TWIST_OF_UPPER_HALF) @ raised,
        "upperarm02": hinged,
        "lowerarm01": straight,
        "lowerarm02": from_rotvec(lower_twist * 0.5) @ straight,
        "wrist": hand,
    }
