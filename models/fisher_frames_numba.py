"""Proper singular vectors of 3x3 matrices on a CPU, many at once, by compiled loops.

Turning the columns of F, two at a time, makes them orthogonal: the turns compose to V, and what
they make of F is U diag(s). Loops over `_LANES` matrices are plain, so that the compiler makes
vector code of them.

Source: Hestenes, "Inversion of Matrices by Biorthogonalization and Related Results", 1958, with
the longer column of each pair first, as de Rijk, "A One-Sided Jacobi Algorithm for Computing the
Singular Value Decomposition on a Vector Computer", 1989. Where a column vanishes: Duff et al.,
"Building an Orthonormal Basis, Revisited", 2017.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.loops_numba import compile_loop

_LANES = 64
_SWEEPS = 6
"""Each about squares the cosines between columns. Measured on millions of matrices: 5 suffice."""
_TINY = 1e-300


@compile_loop
def _turn(room: np.ndarray, p: int, q: int, gap: np.ndarray, twice: np.ndarray) -> None:
    """Turns two columns so that they are orthogonal, and the first the longer one.

    Args:
        room: (6, 3, lanes): F V, and V below it.
        gap, twice: Room for numbers of each lane.
    """
    for j in range(len(gap)):
        gap[j] = twice[j] = 0.0
    for row in range(3):
        first, second = room[row, p], room[row, q]
        for j in range(len(gap)):
            gap[j] += second[j] * second[j] - first[j] * first[j]
            twice[j] += 2 * first[j] * second[j]
    cosine, sine = gap, twice
    for j in range(len(gap)):
        size = abs(gap[j])
        tangent = twice[j] / (size + np.sqrt(size * size + twice[j] * twice[j]) + _TINY)
        low = 1 / np.sqrt(1 + tangent * tangent)
        high = low * tangent
        swap = gap[j] > 0
        cosine[j] = high if swap else low
        sine[j] = -low if swap else -high
    for row in range(6):
        first, second = room[row, p], room[row, q]
        for j in range(len(gap)):
            kept = first[j]
            first[j] = cosine[j] * kept - sine[j] * second[j]
            second[j] = sine[j] * kept + cosine[j] * second[j]


@compile_loop
def _decompose(matrices: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Fills in U and V of each 3x3 matrix."""
    room = np.empty((6, 3, _LANES))
    gap, twice = np.empty(_LANES), np.empty(_LANES)
    for start in range(0, len(matrices), _LANES):
        lanes = min(_LANES, len(matrices) - start)
        room[:] = 0.0
        for j in range(lanes):
            matrix, largest = matrices[start + j], 0.0
            for row in range(3):
                for column in range(3):
                    largest = max(largest, abs(matrix[row, column]))
            scale = 1 / largest if largest > _TINY else 1.0
            for row in range(3):
                room[3 + row, row, j] = 1.0
                for column in range(3):
                    room[row, column, j] = matrix[row, column] * scale
        for _ in range(_SWEEPS):
            _turn(room, 0, 1, gap, twice)
            _turn(room, 0, 2, gap, twice)
            _turn(room, 1, 2, gap, twice)
        for j in range(lanes):
            for row in range(3):
                for column in range(3):
                    right[start + j, row, column] = room[3 + row, column, j]
            _complete(room, j, left[start + j])


@compile_loop
def _complete(room: np.ndarray, j: int, frame: np.ndarray) -> None:
    """Makes a rotation of the first two of orthogonal columns, the first the longest."""
    x, y, z = room[0, 0, j], room[1, 0, j], room[2, 0, j]
    size = math.sqrt(x * x + y * y + z * z)
    x, y, z = (x / size, y / size, z / size) if size > 0 else (1.0, 0.0, 0.0)
    a, b, c = room[0, 1, j], room[1, 1, j], room[2, 1, j]
    size = math.sqrt(a * a + b * b + c * c) + _TINY
    a, b, c = a / size, b / size, c / size
    along = a * x + b * y + c * z
    a, b, c = a - along * x, b - along * y, c - along * z
    size = math.sqrt(a * a + b * b + c * c)
    if size > 0.5:
        a, b, c = a / size, b / size, c / size
    else:  # the second column is nothing but rounding: any axis will do
        sign = math.copysign(1.0, z)
        part = -1 / (sign + z)
        a, b, c = 1 + sign * x * x * part, sign * x * y * part, -sign * x
    frame[0, 0], frame[1, 0], frame[2, 0] = x, y, z
    frame[0, 1], frame[1, 1], frame[2, 1] = a, b, c
    frame[0, 2], frame[1, 2], frame[2, 2] = y * c - z * b, z * a - x * c, x * b - y * a


def frames(
    parameter: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3 3"]]:
    """Gives rotations U and V, in float64, such that U^T F V is diagonal with s1 >= s2 >= |s3|.

    Args:
        parameter: F, finite, on a CPU.
    """
    values = parameter.detach().double().contiguous()
    left, right = torch.empty_like(values), torch.empty_like(values)
    _decompose(*(part.view(-1, 3, 3).numpy() for part in (values, left, right)))
    return left, right
