"""Joint sets by name: their order, their mirror images, their places in each other."""

from __future__ import annotations

SMPL24 = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 "
    "left_foot right_foot neck left_collar right_collar head left_shoulder right_shoulder "
    "left_elbow right_elbow left_wrist right_wrist left_hand right_hand"
).split()
"""The kinematic joints of SMPL and of the open body."""
SMPL24_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Of each of them; the root has none."""

COCO17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle"
).split()
"""The key points of COCO, the language between front ends and regressors."""

H36M17 = (
    "pelvis left_hip left_knee left_ankle right_hip right_knee right_ankle spine neck jaw "
    "head_top left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist"
).split()
"""The rows of the Human3.6M joint regressor, in SPIN's order."""

LSP14 = (
    "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
    "right_shoulder left_shoulder left_elbow left_wrist neck head_top"
).split()
"""The joints of 3D errors (J14 in SPIN and after), taken from H36M17."""

BONES = (
    ("left_ear", "left_eye"),
    ("right_ear", "right_eye"),
    ("left_eye", "nose"),
    ("right_eye", "nose"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"),
        ("knee", "ankle"),
    )),
)  # fmt: skip
"""Lines to draw between COCO-17 key points."""


def indices(names: list[str], joint_set: list[str]) -> list[int]:
    """Finds the place of each name in a joint set."""
    return [joint_set.index(name) for name in names]


def mirror(joint_set: list[str]) -> list[int]:
    """Gives, for each joint, the place of its mirror image in the same set."""
    other = {"left": "right", "right": "left"}
    swapped = []
    for name in joint_set:
        side, _, rest = name.partition("_")
        swapped.append(f"{other[side]}_{rest}" if side in other else name)
    return indices(swapped, joint_set)
