"""A finer body to learn from: MakeHuman's rig of 163 bones under dual-quaternion skinning.

It is driven by the rotations of SMPL's 24 joints, spread over the bones as in people: the spine
bends along four vertebrae, forearms and thighs twist along their length.

Source: Kavan et al., "Geometric Skinning with Approximate Dual Quaternion Blending", 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from plausibody.assets.builders.makehuman import SourceBody
from plausibody.assets.builders.turning import power, twist, unit
from plausibody.models.skeleton import SMPL24

_SHARED_CENTRES = {
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
}
"""Bones that turn about the joint itself, so that teacher and student agree on the hinges."""


@dataclass(frozen=True)
class Teacher:
    """One body in the rest pose, ready to be bent."""

    source: SourceBody
    vertices: Float[ndarray, "V 3"]
    """[m]"""
    joints: Float[ndarray, "24 3"]
    """[m]"""
    heads: Float[ndarray, "B 3"]
    """The points the bones turn about [m]."""

    @classmethod
    def stand(
        cls,
        source: SourceBody,
        vertices: Float[ndarray, "V 3"],
        joints: Float[ndarray, "24 3"],
        heads: Float[ndarray, "B 3"],
    ) -> Teacher:
        """Moves the heads of the main hinges to the joints."""
        heads = heads.copy()
        for side, letter in (("left", "L"), ("right", "R")):
            for joint, bone in _SHARED_CENTRES.items():
                heads[source.bone(f"{bone}.{letter}")] = joints[SMPL24.index(f"{side}_{joint}")]
        return cls(source, vertices, joints, heads)

    def pose(self, rotations: Float[ndarray, "n 24 3 3"]) -> Float[ndarray, "n V 3"]:
        """Bends the body; the root turns about the pelvis, which stays."""
        turns, places = self._bones(rotations)
        moved = places - np.einsum("njab,jb->nja", turns, self.heads)
        quaternions = _continuous_quaternions(turns, self.source.bone_parents)
        duals = _dual_parts(quaternions, moved)
        weights = self.source.bone_weights
        out = np.empty((len(rotations), *self.vertices.shape), np.float32)
        for k in range(len(rotations)):
            blended = weights @ np.concatenate([quaternions[k], duals[k]], axis=1)
            blended /= np.linalg.norm(blended[:, :4], axis=1, keepdims=True)
            out[k] = _apply(blended, self.vertices)
        return out

    def _bones(
        self, rotations: Float[ndarray, "n 24 3 3"]
    ) -> tuple[Float[ndarray, "n B 3 3"], Float[ndarray, "n B 3"]]:
        """Gives each bone's rotation in the world and where its head goes [m]."""
        local = self._local_turns(rotations)
        shape = (len(rotations), len(self.heads))
        turns, places = np.empty((*shape, 3, 3)), np.empty((*shape, 3))
        bones = zip(self.source.bone_names, self.source.bone_parents, strict=True)
        for j, (name, parent) in enumerate(bones):
            if parent < 0:
                pelvis = self.joints[0]
                turns[:, j] = local[name]
                places[:, j] = pelvis + turns[:, j] @ (self.heads[j] - pelvis)
                continue
            turns[:, j] = turns[:, parent] @ local.get(name, np.eye(3))
            reach = self.heads[j] - self.heads[parent]
            places[:, j] = places[:, parent] + turns[:, parent] @ reach
        return turns, places

    def _local_turns(self, rotations: Float[ndarray, "n 24 3 3"]) -> dict[str, ndarray]:
        """Spreads the joints' rotations over the bones; bones not named keep still."""

        def turn(joint: str, share: float = 1.0) -> ndarray:
            full = rotations[:, SMPL24.index(joint)]
            return full if share == 1.0 else power(full, share)

        local = {
            "root": turn("pelvis"),
            "spine04": turn("spine1", 0.35),
            "spine03": turn("spine1", 0.65) @ turn("spine2", 0.3),
            "spine02": turn("spine2", 0.7) @ turn("spine3", 0.35),
            "spine01": turn("spine3", 0.65),
            "neck01": turn("neck", 0.5),
            "neck02": turn("neck", 0.5) @ turn("head", 0.2),
            "neck03": turn("head", 0.5),
            "head": turn("head", 0.3),
        }
        for side, letter in (("left", "L"), ("right", "R")):
            side_turns = {
                "clavicle": turn(f"{side}_collar", 0.5),
                "shoulder01": turn(f"{side}_collar", 0.5),
                **self._upper_limb(turn, side, "shoulder", "elbow", "upperarm"),
                **self._upper_limb(turn, side, "hip", "knee", "upperleg"),
                **self._lower_limb(turn, side, "elbow", "wrist", "lowerarm", "wrist"),
                **self._lower_limb(turn, side, "knee", "ankle", "lowerleg", "foot"),
                **{f"toe{k}-1": turn(f"{side}_foot") for k in range(1, 6)},
                **{f"finger{k}-1": turn(f"{side}_hand") for k in range(2, 6)},
            }
            local |= {f"{name}.{letter}": value for name, value in side_turns.items()}
        return local

    def _axis(self, side: str, start: str, end: str) -> Float[ndarray, 3]:
        ends = [self.joints[SMPL24.index(f"{side}_{joint}")] for joint in (start, end)]
        return unit(ends[1] - ends[0])

    def _upper_limb(
        self, turn: Callable[[str], ndarray], side: str, joint: str, end: str, bone: str
    ) -> dict[str, ndarray]:
        """Gives the first bone the swing and a third of the twist, the second the rest."""
        full = turn(f"{side}_{joint}")
        spin = twist(full, self._axis(side, joint, end))
        swing = full @ np.swapaxes(spin, -1, -2)
        return {f"{bone}01": swing @ power(spin, 0.35), f"{bone}02": power(spin, 0.65)}

    def _lower_limb(
        self, turn: Callable[[str], ndarray], side: str, joint: str, end: str, bone: str, tip: str
    ) -> dict[str, ndarray]:
        """Lets the segment carry 60 % of the twist of the hand or foot beyond it."""
        axis = self._axis(side, joint, end)
        full, beyond = turn(f"{side}_{joint}"), turn(f"{side}_{end}")
        spin = twist(full, axis)
        swing = full @ np.swapaxes(spin, -1, -2)
        borrowed = power(twist(beyond, axis), 0.6)
        return {
            f"{bone}01": swing @ power(spin, 0.5),
            f"{bone}02": power(spin, 0.5) @ borrowed,
            tip: np.swapaxes(borrowed, -1, -2) @ beyond,
        }


def _continuous_quaternions(
    turns: Float[ndarray, "n B 3 3"], parents: tuple[int, ...]
) -> Float[ndarray, "n B 4"]:
    """Gives quaternions (w first), each in the half space of its parent's: blends need it."""
    quaternions = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]]
    quaternions = quaternions.reshape(*turns.shape[:2], 4)
    for j, parent in enumerate(parents):
        if parent >= 0:
            dots = np.sum(quaternions[:, j] * quaternions[:, parent], axis=1, keepdims=True)
            quaternions[:, j] *= np.where(dots < 0, -1.0, 1.0)
    return quaternions


def _dual_parts(
    quaternions: Float[ndarray, "n B 4"], translations: Float[ndarray, "n B 3"]
) -> Float[ndarray, "n B 4"]:
    scalar, vector = quaternions[..., :1], quaternions[..., 1:]
    return 0.5 * np.concatenate(
        [
            -np.sum(translations * vector, axis=-1, keepdims=True),
            scalar * translations + np.cross(translations, vector),
        ],
        axis=-1,
    )


def _apply(duals: Float[ndarray, "V 8"], points: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    w, v, dual_w, dual_v = duals[:, :1], duals[:, 1:4], duals[:, 4:5], duals[:, 5:]
    turned = points + 2 * np.cross(v, np.cross(v, points) + w * points)
    return turned + 2 * (w * dual_v - dual_w * v + np.cross(v, dual_v))
