"""DensePose's parts by name, and which of them say what about which joint.

A network that looks at each joint by itself (`models.danet`) needs to know which parts lie round a
joint, how large the square is that holds them, and which joints hear of each other. All of this
follows from the names of joints and parts, so that it holds for any body with SMPL's skeleton, in
whatever order its joints are.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020 (the six parts
of each joint, and the graph); Guler et al., "DensePose", 2018 (the parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS, mirror

PARTS24 = (
    "torso_back torso_front right_hand left_hand left_foot right_foot right_thigh_back "
    "left_thigh_back right_thigh_front left_thigh_front right_calf_back left_calf_back "
    "right_calf_front left_calf_front left_upper_arm_front right_upper_arm_front "
    "left_upper_arm_back right_upper_arm_back left_forearm_front right_forearm_front "
    "left_forearm_back right_forearm_back right_head left_head"
).split()
"""DensePose's parts 1 to 24."""
MIRROR25 = (0, *(1 + place for place in mirror(PARTS24)))
"""The mirror image of each part; 0 is the background."""
ANNOTATED15 = (0, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9, 10, 11, 10, 11, 12, 13, 12, 13, 14, 14)
"""The 14 classes of DensePose's annotators by part; 0 is the background. They tell no front from
back."""
SHOWN = 6
"""Parts that are shown of each joint."""
NEIGHBOURS = (("neck", "left_shoulder"), ("neck", "right_shoulder"))
"""Joints that hear of each other although they are three bones apart."""

_LIMBS = ("thigh_back", "thigh_front", "calf_back", "calf_front")
_ARMS = ("upper_arm_front", "upper_arm_back", "forearm_front", "forearm_back")
_TORSO, _HEAD = ("torso_back", "torso_front"), ("right_head", "left_head")
_LEG, _ARM = tuple(f"side_{name}" for name in _LIMBS), tuple(f"side_{name}" for name in _ARMS)
_FOOT, _HAND = ("side_foot",), ("side_hand",)
_THIGHS = ("right_thigh_back", "left_thigh_back", "right_thigh_front", "left_thigh_front")
_REGIONS = {
    **dict.fromkeys(("pelvis", "spine1", "spine2", "spine3"), ((*_THIGHS, *_TORSO), _TORSO)),
    "hip": ((*_TORSO, *_LEG), _LEG[:2]),
    "knee": ((*_TORSO, *_LEG), _LEG),
    **dict.fromkeys(("ankle", "foot"), ((*_LEG, *_FOOT, *_FOOT), (*_LEG[2:], *_FOOT))),
    "neck": ((*_TORSO, *_HEAD, *_HEAD), (*_TORSO, *_HEAD)),
    "head": ((*_TORSO, *_HEAD, *_HEAD), _HEAD),
    **dict.fromkeys(("collar", "shoulder"), ((*_TORSO, *_ARM), _ARM[:2])),
    "elbow": ((*_TORSO, *_ARM), _ARM),
    **dict.fromkeys(("wrist", "hand"), ((*_ARM, *_HAND, *_HAND), (*_ARM[2:], *_HAND))),
}
"""Of each joint, the six parts that are shown and those that tell whether it can be seen; `side` is
the joint's own."""
_CROPS = {
    "pelvis": (0.0, 0.53), "hip": (0.7, 0.49), "spine1": (1.6, 0.16), "knee": (0.8, 0.06),
    "spine2": (1.6, 0.13), "ankle": (0.8, 0.01), "spine3": (0.4, 0.22), "foot": (0.9, 0.06),
    "neck": (0.5, 0.21), "collar": (0.7, 0.24), "head": (1.5, 0.08), "shoulder": (1.4, 0.11),
    "elbow": (0.9, 0.03), "wrist": (0.7, 0.07), "hand": (0.4, 0.08),
}  # fmt: skip
"""Half the side of the square round each joint: this times its longer bone in the picture (of the
pelvis, times half the extent of all joints), plus so much [half-squares of the box]. Of 512 bodies
of the lite stream, 95 % of the squares hold 95 % of what is shown of the joint's parts and hangs on
it or on a neighbour; of the pairs that do so these have the smallest squares."""
_ONWARD = {"pelvis": "spine1", "spine3": "neck"}
"""Where a chain goes on from a joint that has several children."""


@dataclass(frozen=True)
class PartTables:
    """What joints and parts have to do with each other, for J joints."""

    shown: Int[Tensor, "J 6"]
    """Parts, 1..24, in the order of the channels behind the background; some joints have fewer
    than six, and then some of them twice."""
    telling: Bool[Tensor, "J 25"]
    """Parts that tell whether the joint can be seen."""
    parents: Int[Tensor, " J"]
    """The root is its own."""
    onward: Int[Tensor, " J"]
    """The child along the limb; an end is its own."""
    crops: Float[Tensor, "J 2"]
    """Ratio and offset of the square round the joint [half-squares]; see `danet_crops`."""


@lru_cache(maxsize=8)
def part_tables(
    joints: tuple[str, ...] = tuple(SMPL24), parents: tuple[int, ...] = SMPL24_PARENTS
) -> PartTables:
    """Gives the tables of a skeleton; callers share them: do not change them.

    Args:
        joints: Names of joints, all of them known to SMPL.
        parents: Of each joint, -1 for the root.

    Raises:
        ValueError: If a joint's name is not SMPL's.
    """
    if unknown := [name for name in joints if _bare(name) not in _REGIONS]:
        raise ValueError(
            f"joints: wanted names of SMPL's 24 joints, came {', '.join(unknown)}; do: add the "
            "parts round such joints to models/part_tables.py"
        )
    if len(joints) != len(parents):
        raise ValueError(f"parents: wanted one for each of {len(joints)}, came {len(parents)}")
    cpu = torch.device("cpu")  # whatever device is the default when they are made
    telling = torch.zeros(len(joints), len(PARTS24) + 1, dtype=torch.bool, device=cpu)
    shown = []
    for place, name in enumerate(joints):
        parts, telltale = _REGIONS[_bare(name)]
        shown.append([_part(part, name) for part in parts])
        telling[place, [_part(part, name) for part in telltale]] = True
    return PartTables(
        shown=torch.tensor(shown, device=cpu),
        telling=telling,
        parents=torch.tensor([max(0, parent) for parent in parents], device=cpu),
        onward=torch.tensor(
            [_onward(place, joints, parents) for place in range(len(joints))], device=cpu
        ),
        crops=torch.tensor([_CROPS[_bare(name)] for name in joints], device=cpu),
    )


def _bare(name: str) -> str:
    """Takes the side off the name of a joint."""
    return name.removeprefix("left_").removeprefix("right_")


def _part(part: str, joint: str) -> int:
    """Gives the number of a part; `side` is the joint's."""
    side = joint.partition("_")[0]
    return 1 + PARTS24.index(part.replace("side_", f"{side}_"))


def _onward(place: int, joints: Sequence[str], parents: Sequence[int]) -> int:
    children = [child for child, parent in enumerate(parents) if parent == place]
    if len(children) > 1:
        return joints.index(_ONWARD[joints[place]])
    return children[0] if children else place


# Which joints hear of each other


def ancestors(parents: Sequence[int]) -> Float[Tensor, "J J"]:
    """Gives each joint the mean over all joints between it and the root, itself left out.

    Rows sum to 1; the root's is zero.
    """
    table = torch.zeros(len(parents), len(parents))
    for joint in range(len(parents)):
        above = parents[joint]
        while above >= 0:
            table[joint, above] = 1
            above = parents[above]
    return table / table.sum(1, keepdim=True).clamp(min=1)


def relatives(parents: Sequence[int]) -> Float[Tensor, "J J"]:
    """Gives each joint the mean over itself, its parent and its children; rows sum to 1."""
    table = torch.eye(len(parents)) + _bones(parents)
    return table / table.sum(1, keepdim=True)


def links(
    parents: Sequence[int] = SMPL24_PARENTS, joints: Sequence[str] = tuple(SMPL24)
) -> Float[Tensor, "J J"]:
    """Marks by 1 the pairs of joints that are one or two bones apart, and `NEIGHBOURS`.

    Symmetric, with a diagonal of zeros; of SMPL's skeleton it has 102 ones.
    """
    bones = _bones(parents)
    table = ((bones + bones @ bones) > 0).float()
    for first, second in NEIGHBOURS:
        if first in joints and second in joints:
            pair = joints.index(first), joints.index(second)
            table[pair] = table[pair[::-1]] = 1
    return table.fill_diagonal_(0)


def _bones(parents: Sequence[int]) -> Float[Tensor, "J J"]:
    table = torch.zeros(len(parents), len(parents))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            table[joint, parent] = table[parent, joint] = 1
    return table
