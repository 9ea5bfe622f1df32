"""Coarse stand-ins of a mesh: fewer vertices for silhouettes, and some for supervision.

Both are vertices of the whole mesh, so whatever hangs on vertices (blend shapes, skinning weights)
is thinned by picking rows. The open body ships with a mesh thinned more carefully, by collapsing
edges; this way takes a second for any body, and needs 2,000 vertices where that needs 1,200 for
silhouettes as good (0.98 of the whole mesh's, intersection over union at 112 px).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from torch import Tensor

from plausibody.models.body import BodyTemplate, Skin
from plausibody.models.markers import JointRegressors

VERTEX_COUNT = 2000
SUPERVISED_COUNT = 700


@dataclass(frozen=True)
class Clusters:
    """A mesh whose vertices are the centres of patches of a finer one."""

    kept: Int[ndarray, " N"]
    """The finer mesh's vertices that are left, ascending."""
    faces: Int[ndarray, "G 3"]
    """As indices into `kept`, wound as the finer ones."""


@dataclass(frozen=True)
class CoarseBody:
    """A body cheap enough to draw thousands of times a second."""

    skin: Skin
    """The coarse mesh's vertices, then those that the COCO joints need."""
    faces: Int[Tensor, "F 3"]
    part24: UInt8[Tensor, " F"]
    """DensePose's part of each face, 1..24."""
    coco17: Float[Tensor, "17 V"]
    """Joint regressor over the skin's vertices."""
    drawn: int
    """How many of the skin's vertices the mesh has."""


def cluster_mesh(
    vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"], count: int = VERTEX_COUNT
) -> Clusters:
    """Divides the surface into patches round spread vertices, and joins the centres of neighbours.

    Patches are measured along the surface: an arm that touches the hip does not grow to it. They
    are smaller where the mesh is fine, at fingers and in the face, by the root of its edges.

    Args:
        vertices: [m].
        faces: Triangles; each vertex is a corner of one at least.
        count: How many vertices to keep.
    """
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.unique(np.sort(ends, axis=1), axis=0)
    lengths = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
    degree = np.bincount(ends.ravel(), minlength=len(vertices))
    if not degree.all():
        raise ValueError(
            f"wanted a mesh whose vertices all belong to faces, came {np.sum(degree == 0)} that do "
            "not; do: take the body's file as published"
        )
    fineness = np.bincount(ends.ravel(), np.repeat(lengths, 2), len(vertices)) / degree
    kept = spread_vertices(vertices, count, np.sqrt(fineness))

    edges = coo_array((lengths, (ends[:, 0], ends[:, 1])), shape=(len(vertices),) * 2).tocsr()
    _, _, nearest = dijkstra(
        edges, directed=False, indices=kept, min_only=True, return_predecessors=True
    )
    corners = np.searchsorted(kept, nearest)[faces]
    apart = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    reached = (nearest[faces] >= 0).all(axis=1)  # not so where a small piece is on its own
    corners = corners[apart & reached]
    _, first = np.unique(np.sort(corners, axis=1), axis=0, return_index=True)
    return Clusters(kept, corners[np.sort(first)])


def spread_vertices(
    vertices: Float[ndarray, "V 3"], count: int, spacing: Float[ndarray, " V"] | float = 1.0
) -> Int[ndarray, " n"]:
    """Picks vertices far from each other: always the one farthest from those picked before.

    Args:
        spacing: Divides distances: where it is smaller, vertices are denser.
    """
    picked = [int(np.argmax(vertices[:, 1]))]
    distances = np.linalg.norm(vertices - vertices[picked[0]], axis=1)
    while len(picked) < count:
        picked.append(int(np.argmax(distances / spacing)))
        step = np.linalg.norm(vertices - vertices[picked[-1]], axis=1)
        distances = np.minimum(distances, step)
    return np.sort(picked)


def labels_nearby(
    vertices: Float[ndarray, "V 3"],
    faces: Int[ndarray, "F 3"],
    labels: Shaped[ndarray, " F"],
    others: Int[ndarray, "G 3"],
) -> Shaped[ndarray, " G"]:
    """Gives other triangles over the same vertices the labels of the faces nearest to them."""
    centres = cKDTree(vertices[faces].mean(axis=1))
    nearest: Shaped[ndarray, " G"] = labels[centres.query(vertices[others].mean(axis=1))[1]]
    return nearest


def coarse_body(
    template: BodyTemplate,
    vertices: Int[Tensor, " N"],
    faces: Int[Tensor, "F 3"],
    part24: UInt8[Tensor, " F"],
    regressors: JointRegressors,
) -> CoarseBody:
    """Puts the coarse mesh's vertices first and adds those that the COCO joints need.

    Args:
        template: A whole body.
        vertices: Those of the coarse mesh.
        faces: Of the coarse mesh, counting in `vertices`.
        part24: DensePose's part of each of these faces.
    """
    touched = (regressors.coco17 != 0).any(0)
    touched[vertices] = False
    used = torch.cat([vertices, touched.nonzero()[:, 0]])
    return CoarseBody(
        skin=template.subset(used),
        faces=faces,
        part24=part24,
        coco17=regressors.coco17[:, used],
        drawn=len(vertices),
    )
