"""Conversions between representations of rotations; whatever roma has comes from roma.

`rotmat` is a 3x3 matrix acting on column vectors, `rotvec` an axis times an angle in radians,
`rot6d` the first two columns of the matrix, row by row: [R11, R12, R21, R22, R31, R32].
"""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def rotvec_to_rotmat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return roma.rotvec_to_rotmat(rotvec)


def rotmat_to_rotvec(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    return roma.rotmat_to_rotvec(rotmat)


def rot6d_to_rotmat(rot6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Makes two columns orthonormal by Gram-Schmidt and completes them to a rotation.

    Source: Zhou et al., "On the Continuity of Rotation Representations in Neural Networks",
    2019, equation 15; the row-major layout is that of SPIN and STRAPS.
    """
    columns = rot6d.unflatten(-1, (3, 2))
    first = functional.normalize(columns[..., 0], dim=-1)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)


def rotmat_to_rot6d(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    return rotmat[..., :2].flatten(-2)


def axis_rotation(axis: int, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Turns about one coordinate axis (0 = x, 1 = y, 2 = z) by an angle [rad]."""
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    cosine, sine = angle.cos(), angle.sin()
    rows = ((one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine))  # about x
    turned = [(row - axis) % 3 for row in range(3)]  # x, y and z change places in turn
    return torch.stack([rows[i][j] for i in turned for j in turned], -1).unflatten(-1, (3, 3))


def mean_rotation(rotmat: Float[Tensor, "N *batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Gives the chordal mean over the first axis: the rotation nearest to the mean matrix.

    Source: Hartley et al., "Rotation Averaging", 2013, section 5.3.
    """
    return roma.special_procrustes(rotmat.mean(0))


def geodesic_angle(
    first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Measures the angle between two rotations [rad], 0 to pi."""
    return roma.rotmat_geodesic_distance(first, second)
