"""Principal components of bodies in the rest pose: the shape coefficients and what they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse.linalg import svds

from plausibody.assets.builders.body_mesh import BodyMesh
from plausibody.assets.builders.population import volumes
from plausibody.assets.builders.turning import MIRROR

COMPONENTS = 16
_CLEARLY_TALLER = 0.03
"""Between -2 and +2 [m]: below it a component is oriented by mass instead."""


@dataclass(frozen=True)
class ShapeSpace:
    """A mean body and the directions in which bodies differ."""

    mean: Float[ndarray, "V 3"]
    """[m]"""
    directions: Float[ndarray, "V 3 S"]
    """Offsets per standard deviation of each component [m]."""
    explained: Float[ndarray, " S"]
    """Share of the total variance, cumulated."""


def fit_shape_space(bodies: Float[ndarray, "n V 3"], mesh: BodyMesh) -> ShapeSpace:
    """Finds the components, weighing each vertex by the skin around it, not by mesh density.

    A coefficient of 1 is one standard deviation. The first component is taller where positive;
    others too if they change the height, else heavier.
    """
    mean = bodies.mean(axis=0, dtype=np.float64)
    weights = np.sqrt(vertex_areas(mean, mesh.faces))[:, None]
    rows = ((bodies - mean) * weights).reshape(len(bodies), -1).astype(np.float32)
    start = np.random.default_rng(0).normal(size=min(rows.shape)).astype(np.float32)
    left, scales, right = svds(rows, k=COMPONENTS, v0=start)
    order = np.argsort(scales)[::-1]
    scales, right = scales[order].astype(np.float64), right[order].astype(np.float64)
    deviations = scales / np.sqrt(len(bodies))
    directions = (right * deviations[:, None]).T.reshape(-1, 3, COMPONENTS) / weights[..., None]

    mean = (mean + mean[mesh.mirror] * MIRROR) / 2
    directions = (directions + directions[mesh.mirror] * MIRROR[:, None]) / 2
    for k in range(COMPONENTS):
        directions[:, :, k] *= _orientation(mean, directions[:, :, k], mesh.faces)
    total = float(np.sum(rows.astype(np.float64) ** 2))
    return ShapeSpace(mean, directions, np.cumsum(scales**2) / total)


def vertex_areas(
    vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]
) -> Float[ndarray, " V"]:
    """Gives each vertex's share of the surface; they sum to one."""
    first, second, third = (vertices[faces[:, k]] for k in range(3))
    doubled = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    areas = np.zeros(len(vertices))
    for k in range(3):
        np.add.at(areas, faces[:, k], doubled / 6)
    return areas / areas.sum()


def reconstruction_errors(
    space: ShapeSpace, bodies: Float[ndarray, "n V 3"], mesh: BodyMesh, components: int
) -> Float[ndarray, " n"]:
    """Measures how far bodies are from their best fit, as mean distance over the skin [m]."""
    areas = vertex_areas(space.mean, mesh.faces)
    basis = (space.directions[..., :components] * np.sqrt(areas)[:, None, None]).reshape(
        -1, components
    )
    rows = ((bodies - space.mean) * np.sqrt(areas)[:, None]).reshape(len(bodies), -1)
    coefficients = np.linalg.lstsq(basis, rows.T, rcond=None)[0].T
    fitted = np.tensordot(coefficients, space.directions[..., :components], axes=(1, 2))
    return np.linalg.norm(bodies - space.mean - fitted, axis=2) @ areas


def _orientation(
    mean: Float[ndarray, "V 3"], direction: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]
) -> float:
    less, more = mean - 2 * direction, mean + 2 * direction
    taller = float(np.ptp(more[:, 1]) - np.ptp(less[:, 1]))
    if abs(taller) > _CLEARLY_TALLER:
        return 1.0 if taller > 0 else -1.0
    light, heavy = volumes(np.stack([less, more]), faces)
    return 1.0 if heavy >= light else -1.0
