"""Rotations for the builders: NumPy, any number of leading axes, column vectors.

The models have their own in `plausibody.models.rotations`, for tensors; builders work in float64
arrays beside SciPy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

MIRROR = np.array([-1.0, 1.0, 1.0])
"""Multiplies a point, to reflect it at the plane between left and right."""


def unit(vectors: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def shortest(
    start: Float[ndarray, "*#batch 3"], end: Float[ndarray, "*#batch 3"]
) -> Float[ndarray, "*batch 3 3"]:
    """Gives the smallest rotation that turns direction `start` into direction `end`.

    Undefined for opposite directions, which no two rest poses have.
    """
    a, b = np.broadcast_arrays(unit(start), unit(end))
    axis, cosine = np.cross(a, b), np.sum(a * b, axis=-1)[..., None, None]
    cross = _cross_matrix(axis)
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def about(axis: int, angle: float | Float[ndarray, " batch"]) -> Float[ndarray, "*batch 3 3"]:
    """Gives the rotation about a coordinate axis.

    Args:
        axis: 0, 1 or 2.
        angle: In radians.
    """
    vectors = np.zeros((*np.shape(angle), 3))
    vectors[..., axis] = angle
    return from_rotvec(vectors)


def basis(
    x: Float[ndarray, "*#batch 3"], z: Float[ndarray, "*#batch 3"]
) -> Float[ndarray, "*batch 3 3"]:
    """Gives the rotation whose first column is along `x` and whose third leans towards `z`."""
    x, z = np.broadcast_arrays(unit(x), z)
    z = unit(z - x * np.sum(x * z, axis=-1, keepdims=True))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def power(rotations: Float[ndarray, "*batch 3 3"], fraction: float) -> Float[ndarray, "*batch 3 3"]:
    """Turns by a fraction of each rotation's angle about its own axis."""
    return from_rotvec(as_rotvec(rotations) * fraction)


def twist(
    rotations: Float[ndarray, "*batch 3 3"], axis: Float[ndarray, 3]
) -> Float[ndarray, "*batch 3 3"]:
    """Gives the part about a unit axis: rotation = swing @ twist, the swing's axis normal to it."""
    quaternions = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat()
    along = (quaternions[:, :3] @ axis)[:, None] * axis
    parts = np.concatenate([along, quaternions[:, 3:]], axis=1)
    parts /= np.maximum(np.linalg.norm(parts, axis=1, keepdims=True), 1e-12)
    return Rotation.from_quat(parts).as_matrix().reshape(rotations.shape)


def from_rotvec(vectors: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def as_rotvec(rotations: Float[ndarray, "*batch 3 3"]) -> Float[ndarray, "*batch 3"]:
    return (
        Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(rotations.shape[:-1])
    )


def mirrored(rotations: Float[ndarray, "*batch 3 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Gives the rotations of the body's other side."""
    return MIRROR[:, None] * rotations * MIRROR


def _cross_matrix(vectors: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
