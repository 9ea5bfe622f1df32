"""Learns the pose blend shapes: what plain skinning lacks against the teacher, pose by pose.

Linear blend skinning of 24 joints loses volume at bent elbows and knees and pinches twisted wrists.
A ridge regression finds, for each vertex, offsets in the rest pose that are linear in the rotations
of the joints around it.

Source: Loper et al., "SMPL", 2015, section 3.2 (the feature, rotation minus identity).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from plausibody.assets.builders.body_mesh import BodyMesh
from plausibody.assets.builders.teacher import Teacher
from plausibody.assets.builders.turning import MIRROR, from_rotvec, mirrored
from plausibody.models.skeleton import SMPL24
from plausibody.models.skeleton import mirror as mirror_indices

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""The tree of `SMPL24`."""
RIDGE = 2.0
_NOTICEABLE = 0.02
"""Weight above which a joint's neighbours may correct a vertex."""
_CHUNK = 50


@dataclass(frozen=True)
class PoseBlend:
    """The learned directions and how well they do on poses not seen [m]."""

    directions: Float[ndarray, "V 3 P"]
    error_before: Float[ndarray, " n"]
    """Mean distance of plain skinning to the teacher, per held-out pose."""
    error_after: Float[ndarray, " n"]
    """The same with the blend shapes."""


def fit_pose_blend(
    teacher: Teacher,
    weights: Float[ndarray, "V 24"],
    mesh: BodyMesh,
    rotations: Float[ndarray, "n 24 3 3"],
    held_out: int,
) -> PoseBlend:
    """Fits on all but the last `held_out` poses, and on their mirror images."""
    offsets = _missing_offsets(teacher, weights, rotations)
    order = mirror_indices(list(SMPL24))
    opposite = mirrored(rotations[:, order])
    train = slice(0, len(rotations) - held_out)
    features = np.concatenate([pose_feature(rotations[train]), pose_feature(opposite[train])])
    wanted = np.concatenate([offsets[train], (offsets[train] * MIRROR)[:, mesh.mirror]])

    directions = np.zeros((*teacher.vertices.shape, features.shape[1]))
    for joints, vertices in _vertices_by_joints(weights).items():
        columns = np.concatenate([np.arange(9 * (j - 1), 9 * j) for j in joints])
        chosen = features[:, columns]
        targets = wanted[:, vertices].reshape(len(wanted), -1)
        gram = chosen.T @ chosen + RIDGE * np.eye(len(columns))
        found = np.linalg.solve(gram, chosen.T @ targets).reshape(len(columns), -1, 3)
        directions[np.ix_(vertices, np.arange(3), columns)] = found.transpose(1, 2, 0)

    unseen = rotations[len(rotations) - held_out :]
    before: list[float] = []
    after: list[float] = []
    for rotation in unseen:
        truth = teacher.pose(rotation[None])[0]
        corrected = teacher.vertices + directions @ pose_feature(rotation[None])[0]
        for rest, distances in ((teacher.vertices, before), (corrected, after)):
            skinned = skin(rest, teacher.joints, weights, rotation[None])[0]
            distances.append(np.linalg.norm(skinned - truth, axis=1).mean())
    return PoseBlend(directions, np.array(before), np.array(after))


def pose_feature(rotations: Float[ndarray, "n 24 3 3"]) -> Float[ndarray, "n P"]:
    return (rotations[:, 1:] - np.eye(3)).reshape(len(rotations), -1)


def joint_transforms(
    joints: Float[ndarray, "24 3"], rotations: Float[ndarray, "n 24 3 3"]
) -> tuple[Float[ndarray, "n 24 3 3"], Float[ndarray, "n 24 3"]]:
    """Gives each joint's rotation in the world and its place; the pelvis stays where it is [m]."""
    turns, places = np.empty_like(rotations), np.empty(rotations.shape[:-1])
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            turns[:, j], places[:, j] = rotations[:, j], joints[j]
            continue
        turns[:, j] = turns[:, parent] @ rotations[:, j]
        places[:, j] = places[:, parent] + turns[:, parent] @ (joints[j] - joints[parent])
    return turns, places


def skin(
    rest: Float[ndarray, "V 3"],
    joints: Float[ndarray, "24 3"],
    weights: Float[ndarray, "V 24"],
    rotations: Float[ndarray, "n 24 3 3"],
) -> Float[ndarray, "n V 3"]:
    """Bends one body by linear blend skinning; the root turns about the pelvis."""
    blend, shift = _blended(joints, weights, rotations)
    return np.einsum("nvab,vb->nva", blend, rest, optimize=True) + shift


def draw_joint_rotations(rng: np.random.Generator, count: int) -> Float[ndarray, "n 24 3 3"]:
    """Draws poses that bend single joints far: motion capture holds few of them."""
    spread = {
        "hip": 0.9,
        "shoulder": 0.9,
        "knee": 0.8,
        "elbow": 0.8,
        "wrist": 0.45,
        "neck": 0.45,
        "head": 0.45,
        "collar": 0.3,
        "ankle": 0.3,
        "foot": 0.3,
        "hand": 0.3,
        "spine1": 0.3,
        "spine2": 0.3,
        "spine3": 0.3,
        "pelvis": 0.0,
    }
    deviations = np.array([spread[name.rpartition("_")[2]] for name in SMPL24])
    chosen = rng.random((count, len(SMPL24), 1)) < 0.25
    vectors = rng.normal(size=(count, len(SMPL24), 3)) * deviations[:, None] * chosen
    for side, sign in (("left", -1.0), ("right", 1.0)):
        knee, elbow = SMPL24.index(f"{side}_knee"), SMPL24.index(f"{side}_elbow")
        vectors[:, knee, 0] = 1.3 * np.abs(vectors[:, knee, 0])
        vectors[:, knee, 1:] *= 0.3
        vectors[:, elbow, 1] = sign * 1.3 * np.abs(vectors[:, elbow, 1])
    return from_rotvec(vectors)


def _blended(
    joints: Float[ndarray, "24 3"],
    weights: Float[ndarray, "V 24"],
    rotations: Float[ndarray, "n 24 3 3"],
) -> tuple[Float[ndarray, "n V 3 3"], Float[ndarray, "n V 3"]]:
    turns, places = joint_transforms(joints, rotations)
    shifts = places - np.einsum("njab,jb->nja", turns, joints)
    flat = np.concatenate([turns.reshape(*turns.shape[:2], 9), shifts], axis=2)
    blended = weights @ flat
    return blended[..., :9].reshape(*blended.shape[:2], 3, 3), blended[..., 9:]


def _missing_offsets(
    teacher: Teacher, weights: Float[ndarray, "V 24"], rotations: Float[ndarray, "n 24 3 3"]
) -> Float[ndarray, "n V 3"]:
    """Gives what each vertex would have to move in the rest pose to meet the teacher [m]."""
    offsets = np.empty((len(rotations), *teacher.vertices.shape), np.float32)
    for start in range(0, len(rotations), _CHUNK):
        part = rotations[start : start + _CHUNK]
        blend, shift = _blended(teacher.joints, weights, part)
        skinned = np.einsum("nvab,vb->nva", blend, teacher.vertices, optimize=True) + shift
        # A blend of rotations is close to a rotation, so its transpose serves as its inverse; the
        # true inverse would blow up where two bones fold onto each other.
        lacking = teacher.pose(part) - skinned
        offsets[start : start + _CHUNK] = np.einsum("nvba,nvb->nva", blend, lacking)
    return offsets


def _vertices_by_joints(
    weights: Float[ndarray, "V 24"],
) -> dict[tuple[int, ...], Int[ndarray, " n"]]:
    """Groups the vertices by the joints that may correct them: their own and those next to them."""
    neighbours = {j: {j} for j in range(len(PARENTS))}
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            neighbours[j].add(parent)
            neighbours[parent].add(j)
    groups = defaultdict(list)
    for vertex, row in enumerate(weights):
        joints: set[int] = set()
        for strong in np.flatnonzero(row > _NOTICEABLE):
            joints |= neighbours[int(strong)]
        groups[tuple(sorted(joints - {0}))].append(vertex)
    return {joints: np.array(vertices) for joints, vertices in groups.items() if joints}
