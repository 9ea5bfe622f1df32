"""Fits points inside or on the body as weighted means of its vertices."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import nnls

_SUM_WEIGHT = 50.0
"""Price of a sum of weights other than one, against metres."""


def fit_point(
    bodies: Float[ndarray, "n V 3"],
    points: Float[ndarray, "n 3"],
    candidates: Int[ndarray, " C"],
    least: float = 2e-4,
) -> Float[ndarray, " V"]:
    """Finds non-negative weights that sum to one and reproduce a point on many bodies.

    Args:
        bodies: Vertices [m].
        points: The point on each body [m].
        candidates: The vertices that may take part.
        least: Smaller weights are dropped.
    """
    columns = bodies[:, candidates].transpose(0, 2, 1).reshape(-1, len(candidates))
    sums = np.full((1, len(candidates)), _SUM_WEIGHT)
    system = np.concatenate([columns.astype(np.float64), sums])
    wanted = np.append(points.reshape(-1).astype(np.float64), _SUM_WEIGHT)
    found, _ = nnls(system, wanted, maxiter=50_000)
    found[found < least] = 0.0
    row = np.zeros(bodies.shape[1])
    row[candidates] = found / found.sum()
    return row


def nearest_vertices(
    bodies: Float[ndarray, "n V 3"], points: Float[ndarray, "n 3"], count: int
) -> Int[ndarray, " C"]:
    """Lists the vertices nearest to a point, both averaged over the bodies."""
    distances = np.linalg.norm(bodies.mean(axis=0) - points.mean(axis=0), axis=1)
    return np.argsort(distances)[:count]


def errors(
    row: Float[ndarray, " V"], bodies: Float[ndarray, "n V 3"], points: Float[ndarray, "n 3"]
) -> Float[ndarray, " n"]:
    """Measures how far the regressed point is from the true one [m]."""
    return np.linalg.norm(np.einsum("v,nvd->nd", row, bodies) - points, axis=1)
