"""Spreads a piece of surface over a disk without folds.

A piece bordered by one loop is opened further by cuts towards its far ends (finger tips, toes),
the border is laid on a circle, and every other vertex becomes a weighted mean of its neighbours.
With positive weights and a strictly convex border no triangle flips.

Source: Tutte, "How to Draw a Graph", 1963; Floater, "Mean Value Coordinates", 2003, section 3
(positive weights that keep angles better than equal ones).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve

from plausibody.assets.builders.parts import border_edges


def cut_towards(
    vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "n 3"], tips: list[int]
) -> tuple[Int[ndarray, "n 3"], Int[ndarray, " W"]]:
    """Cuts a disk open along its edges, from the border to each tip by the shortest way.

    Args:
        vertices: [m].
        faces: Triangles of a disk, by index into `vertices`.
        tips: Inner vertices to reach. A later cut may begin at an earlier one.

    Returns:
        The faces by wedge, where the sides of a cut are different wedges; and each wedge's vertex.
    """
    lengths = _edge_lengths(vertices, faces)
    open_vertices = set(border_edges(faces)[:, 0].tolist())
    cut: set[tuple[int, int]] = set()
    for tip in tips:
        distances, before = dijkstra(
            lengths, directed=False, indices=[tip], return_predecessors=True
        )
        distances, before = distances[0], before[0]
        here = min(open_vertices, key=lambda vertex: distances[vertex])
        while here != tip:
            after = int(before[here])
            cut |= {(here, after), (after, here)}
            open_vertices |= {here, after}
            here = after
    return _split(faces, cut)


def embed_in_disk(
    points: Float[ndarray, "W 3"], faces: Int[ndarray, "n 3"]
) -> Float[ndarray, "W 2"]:
    """Maps a disk onto the unit circle's inside, its border by length.

    Triangles keep their orientation: seen from outside the body, counter-clockwise.
    """
    loop = _border_loop(faces)
    steps = np.linalg.norm(points[np.roll(loop, -1)] - points[loop], axis=1)
    angles = 2 * np.pi * (np.cumsum(steps) - steps) / steps.sum()
    count = len(points)
    flat = np.zeros((count, 2))
    flat[loop] = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    weights = _mean_value_weights(points, faces)
    inner = np.setdiff1d(np.arange(count), loop)
    known = (weights @ flat)[inner]
    totals = np.asarray(weights.sum(axis=1)).ravel()[inner]
    system = csc_matrix(diags(totals) - weights[inner].T[inner].T)
    for axis in range(2):
        flat[inner, axis] = spsolve(system, known[:, axis])
    return flat


def signed_areas(uv: Float[ndarray, "n 3 2"]) -> Float[ndarray, " n"]:
    """Gives the areas of flat triangles, negative where they run clockwise."""
    first, second = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return 0.5 * (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])


def _edge_lengths(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "n 3"]) -> csr_matrix:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    size = (len(vertices), len(vertices))
    return csr_matrix((lengths, (edges[:, 0], edges[:, 1])), shape=size)


def _split(
    faces: Int[ndarray, "n 3"], cut: set[tuple[int, int]]
) -> tuple[Int[ndarray, "n 3"], Int[ndarray, " W"]]:
    """Gives the corners at a vertex one wedge for each fan of faces between cuts."""
    facing = {}
    for k, face in enumerate(faces):
        for i in range(3):
            facing[int(face[i]), int(face[(i + 1) % 3])] = k
    wedges = np.full(faces.shape, -1)
    owners: list[int] = []
    for k, face in enumerate(faces):
        for i, vertex in enumerate(face):
            if wedges[k, i] >= 0:
                continue
            pending = [k]
            while pending:
                current = pending.pop()
                at = int(np.flatnonzero(faces[current] == vertex)[0])
                if wedges[current, at] >= 0:
                    continue
                wedges[current, at] = len(owners)
                ahead, behind = faces[current, (at + 1) % 3], faces[current, (at + 2) % 3]
                for a, b in ((ahead, vertex), (vertex, behind)):
                    other = facing.get((int(a), int(b)))
                    if other is not None and (int(a), int(b)) not in cut:
                        pending.append(other)
            owners.append(int(vertex))
    return wedges, np.array(owners)


def _border_loop(faces: Int[ndarray, "n 3"]) -> Int[ndarray, " b"]:
    """Walks the border once around, the surface to the left.

    Raises:
        ValueError: If the piece is no disk.
    """
    following = {int(a): int(b) for a, b in border_edges(faces)}
    loop = [next(iter(following))]
    while (step := following[loop[-1]]) != loop[0]:
        loop.append(step)
    if len(loop) != len(border_edges(faces)):
        raise ValueError(
            f"wanted a piece with one border, but a loop of {len(loop)} edges leaves "
            f"{len(border_edges(faces)) - len(loop)} border edges over"
        )
    return np.array(loop)


def _mean_value_weights(points: Float[ndarray, "W 3"], faces: Int[ndarray, "n 3"]) -> csr_matrix:
    """Sums, over the two triangles at each edge, tan(half the angle) / length; all positive."""
    entries: dict[tuple[int, int], float] = defaultdict(float)
    for face in faces:
        for i in range(3):
            here, ahead, behind = (int(face[(i + k) % 3]) for k in range(3))
            first, second = points[ahead] - points[here], points[behind] - points[here]
            sizes = np.linalg.norm(first), np.linalg.norm(second)
            angle = np.arccos(np.clip(first @ second / (sizes[0] * sizes[1]), -1.0, 1.0))
            half = np.tan(angle / 2)
            entries[here, ahead] += half / sizes[0]
            entries[here, behind] += half / sizes[1]
    rows, columns = np.array(list(entries)).T
    size = (len(points), len(points))
    return csr_matrix((list(entries.values()), (rows, columns)), shape=size)
