"""Divides the body's surface into DensePose's 24 parts.

Source: Guler et al., "DensePose", 2018: the parts, their numbers and what they cover.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from plausibody.models.skeleton import SMPL24

PARTS = (
    "torso_back torso_front right_hand left_hand left_foot right_foot right_thigh_back "
    "left_thigh_back right_thigh_front left_thigh_front right_shank_back left_shank_back "
    "right_shank_front left_shank_front left_upper_arm_inner right_upper_arm_inner "
    "left_upper_arm_outer right_upper_arm_outer left_forearm_inner right_forearm_inner "
    "left_forearm_outer right_forearm_outer right_head left_head"
).split()
"""In DensePose's order; its numbers begin with 1."""

PART14 = dict(
    torso=1,
    left_upper_arm=2,
    left_forearm=3,
    right_upper_arm=4,
    right_forearm=5,
    left_thigh=6,
    left_shank=7,
    right_thigh=8,
    right_shank=9,
    head=10,
    right_hand=11,
    left_hand=12,
    right_foot=13,
    left_foot=14,
)
"""The coarser division of STRAPS and HierProb3D, by the beginning of the parts' names."""


@dataclass(frozen=True)
class Mannequin:
    """The neutral body in the rest pose."""

    vertices: Float[ndarray, "V 3"]
    """[m]"""
    faces: Int[ndarray, "F 3"]
    weights: Float[ndarray, "V 24"]
    joints: Float[ndarray, "24 3"]
    """[m]"""
    mirror: Int[ndarray, " V"]
    """The vertex opposite to each."""

    def joint(self, name: str) -> Float[ndarray, 3]:
        return self.joints[SMPL24.index(name)]


def part_number(name: str) -> int:
    return PARTS.index(name) + 1


def part14_of(part24: Int[ndarray, " F"]) -> Int[ndarray, " F"]:
    """Joins the 24 parts to 14."""
    table = [0] + [_coarse_number(name) for name in PARTS]
    return np.array(table)[part24]


def label_faces(body: Mannequin) -> Int[ndarray, " F"]:
    """Gives each face its part, 1..24; mirror images get mirrored parts."""
    region = _regions(body)
    centres = body.vertices[body.faces].mean(axis=1)
    part = np.zeros(len(body.faces), np.int64)
    torso = region == "torso"
    in_front = centres[:, 2] >= torso_middle(body, centres[:, 1])
    part[torso & in_front] = part_number("torso_front")
    part[torso & ~in_front] = part_number("torso_back")
    for side, on_side in (("left", centres[:, 0] >= 0), ("right", centres[:, 0] < 0)):
        for name in ("hand", "foot", "head"):
            part[(region == name) & on_side] = part_number(f"{side}_{name}")
        for name, (start, end) in LIMB_BONES.items():
            here = (region == name) & on_side
            across = off_bone(body, centres, f"{side}_{start}", f"{side}_{end}")
            if name in ("thigh", "shank"):
                halves = {"front": across[:, 2] >= 0, "back": across[:, 2] < 0}
            else:
                halves = {"outer": across[:, 1] >= 0, "inner": across[:, 1] < 0}
            for half, chosen in halves.items():
                part[here & chosen] = part_number(f"{side}_{name}_{half}")
    return _untangled(body.faces, part)


LIMB_BONES = {
    "thigh": ("hip", "knee"),
    "shank": ("knee", "ankle"),
    "upper_arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
}


def off_bone(
    body: Mannequin, points: Float[ndarray, "*batch 3"], start: str, end: str
) -> Float[ndarray, "*batch 3"]:
    """Gives the offset of points from a bone's line, at the same height (legs) or reach (arms)."""
    first, last = body.joint(start), body.joint(end)
    axis = 1 if "hip" in start or "knee" in start else 0
    along = np.clip((points[..., axis] - first[axis]) / (last[axis] - first[axis]), 0.0, 1.0)
    return points - (first + along[..., None] * (last - first))


def torso_middle(body: Mannequin, height: Float[ndarray, "*batch"]) -> Float[ndarray, "*batch"]:
    """Gives the depth at which the torso's front meets its back, by height [m]."""
    pelvis, chest, neck = (body.joint(name) for name in ("pelvis", "spine3", "neck"))
    hip = body.joint("left_hip")[2]
    heights = [pelvis[1] - 0.15, pelvis[1], chest[1], neck[1]]
    return np.interp(height, heights, [hip, hip, chest[2] + 0.03, neck[2]])


def _regions(body: Mannequin) -> ndarray:
    """Names the region of each face, by skinning weight, with straight cuts through the joints."""
    groups = {
        "head": ("neck", "head"),
        "torso": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
        "leg": ("hip", "knee", "ankle", "foot"),
        "arm": ("shoulder", "elbow", "wrist", "hand"),
    }
    weight = {
        name: sum(
            body.weights[:, k]
            for k, joint in enumerate(SMPL24)
            if joint in joints or joint.partition("_")[2] in joints
        )
        for name, joints in groups.items()
    }
    names = np.array(list(groups))
    by_face = np.stack(list(weight.values()), axis=1)[body.faces].sum(axis=1)
    region = names[by_face.argmax(axis=1)].astype("<U9")
    centres = body.vertices[body.faces].mean(axis=1)
    reach, height = np.abs(centres[:, 0]), centres[:, 1]
    region[(region == "head") & (height < body.joint("neck")[1] - 0.02)] = "torso"

    elbow, wrist = body.joint("left_elbow")[0], body.joint("left_wrist")[0]
    arm, leg = region == "arm", region == "leg"
    region[arm] = np.select(
        [reach[arm] < elbow, reach[arm] < wrist], ["upper_arm", "forearm"], "hand"
    )
    knee, ankle = body.joint("left_knee")[1], body.joint("left_ankle")[1] + 0.02
    region[leg] = np.select([height[leg] > knee, height[leg] > ankle], ["thigh", "shank"], "foot")
    return region


def _untangled(faces: Int[ndarray, "F 3"], part: Int[ndarray, " F"]) -> Int[ndarray, " F"]:
    """Closes hands, feet and heads where their border touches itself, so that each is a disk."""
    part = part.copy()
    around: dict[int, list[int]] = {}
    for k, face in enumerate(faces):
        for vertex in face:
            around.setdefault(int(vertex), []).append(k)
    for name in ("left_hand", "right_hand", "left_foot", "right_foot", "left_head", "right_head"):
        number = part_number(name)
        while True:
            touching = pinched_vertices(faces[part == number])
            if len(touching) == 0:
                break
            for vertex in touching:
                part[around[int(vertex)]] = number
    return part


def pinched_vertices(faces: Int[ndarray, "n 3"]) -> Int[ndarray, " p"]:
    """Lists the vertices where the border of a patch meets itself."""
    starts = border_edges(faces)[:, 0]
    vertices, counts = np.unique(starts, return_counts=True)
    return vertices[counts > 1]


def border_edges(faces: Int[ndarray, "n 3"]) -> Int[ndarray, "e 2"]:
    """Lists the directed edges that have a triangle on one side only."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    return np.array([(a, b) for a, b in present if (b, a) not in present]).reshape(-1, 2)


def _coarse_number(name: str) -> int:
    for start, number in PART14.items():
        if name.startswith(start) or (start == "head" and name.endswith("_head")):
            return number
    raise KeyError(name)
