"""Thins a closed, mirror-symmetric mesh by collapsing edges onto one of their own ends.

What is left is a subset of the old vertices, so whatever hangs on vertices (blend shapes, skinning
weights, regressors) is thinned by picking rows. Collapses come in mirrored pairs: a symmetric mesh
stays symmetric.

Source: Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics", 1997, with a
length term that keeps the edges even, and ends instead of optimal points.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_NORMAL_COSINE = 0.35
"""No triangle may turn by more than about 70 degrees in one collapse."""
LEAST_ROUNDNESS = 0.06
"""Twice the area over the longest edge squared; below it a triangle is a sliver."""


@dataclass(frozen=True)
class Seams:
    """A texture map whose cuts the thinning must not open or fold."""

    corners: NDArray[np.integer]
    """Index into `uv` of each corner of each face, (F, 3)."""
    uv: NDArray[np.floating]
    """Texture coordinates, (T, 2)."""


@dataclass(frozen=True)
class Thinned:
    """What decimation leaves."""

    kept: NDArray[np.integer]
    """Indices of the old vertices that stay, ascending, (N,)."""
    faces: NDArray[np.integer]
    """Triangles as indices into `kept`, (F', 3)."""


def decimate(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    mirror: NDArray[np.integer],
    count: int,
    evenness: float = 0.012,
    importance: NDArray[np.floating] | None = None,
    seams: Seams | None = None,
) -> Thinned:
    """Collapses the cheapest edges until `count` vertices are left (or one more, for a pair).

    Args:
        vertices: Of a closed mesh, exactly symmetric in x [m], (V, 3).
        faces: Its triangles, (F, 3).
        mirror: The vertex opposite to each vertex; itself on the midline, (V,).
        count: How many vertices to keep.
        evenness: Weight of the fourth power of an edge's length against the squared distance times
            area of the quadrics: larger gives more equal edges, smaller keeps more detail.
        importance: Multiplies the price of removing each vertex, (V,).
        seams: A texture map to preserve.

    Raises:
        ValueError: If no permitted collapse is left before `count` is reached.
    """
    mesh = _Mesh(vertices, faces, evenness, importance, seams)
    heap = [mesh.offer(u, v) for u in range(len(vertices)) for v in mesh.neighbours(u)]
    heapq.heapify(heap)
    left = len(vertices)
    while left > count:
        if not heap:
            raise ValueError(f"wanted {count} vertices, but no collapse is permitted below {left}")
        _, u, v, stamp_u, stamp_v = heapq.heappop(heap)
        current = mesh.stamps[u] == stamp_u and mesh.stamps[v] == stamp_v
        if not (current and mesh.alive[u] and mesh.alive[v]):
            continue
        mirror_u, mirror_v = int(mirror[u]), int(mirror[v])
        on_midline = mirror_u == u
        if mirror_u == v or (on_midline and mirror_v != v) or (not on_midline and left - 2 < count):
            continue
        if not mesh.permits(u, v):
            continue
        if on_midline:
            mesh.collapse(u, v)
            touched = [v]
        else:
            undo = mesh.snapshot(u, v)
            mesh.collapse(u, v)
            if not (mesh.alive[mirror_u] and mesh.alive[mirror_v]) or not mesh.permits(
                mirror_u, mirror_v
            ):
                mesh.restore(undo)
                continue
            mesh.collapse(mirror_u, mirror_v)
            touched = [v, mirror_v]
        left -= len(touched)
        for offer in mesh.renewed_offers(touched):
            heapq.heappush(heap, offer)
    kept = np.flatnonzero(mesh.alive)
    renumber = np.full(len(vertices), -1)
    renumber[kept] = np.arange(len(kept))
    return Thinned(kept, renumber[mesh.faces[mesh.face_alive]])


_Offer = tuple[float, int, int, int, int]


class _Mesh:
    """The mesh during collapses: faces, who touches them, quadrics, and stamps for stale offers."""

    def __init__(
        self,
        vertices: NDArray[np.floating],
        faces: NDArray[np.integer],
        evenness: float,
        importance: NDArray[np.floating] | None,
        seams: Seams | None,
    ) -> None:
        self.vertices = vertices
        self.faces = faces.copy()
        self.evenness = evenness
        self.importance = np.ones(len(vertices)) if importance is None else importance
        self.uv = None if seams is None else seams.uv
        self.corners = faces.copy() if seams is None else seams.corners.copy()
        self.alive = np.ones(len(vertices), bool)
        self.face_alive = np.ones(len(faces), bool)
        self.stamps = [0] * len(vertices)
        self.touching: list[set[int]] = [set() for _ in vertices]
        for k, face in enumerate(faces):
            for vertex in face:
                self.touching[vertex].add(k)
        self.homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        self.quadrics = _quadrics(vertices, faces)

    def neighbours(self, u: int) -> set[int]:
        around = {int(vertex) for k in self.touching[u] for vertex in self.faces[k]}
        around.discard(u)
        return around

    def offer(self, u: int, v: int) -> _Offer:
        """Prices the collapse of `u` onto `v` [m^4]."""
        point = self.homogeneous[v]
        bend = max(float(point @ (self.quadrics[u] + self.quadrics[v]) @ point), 0.0)
        edge = self.vertices[u] - self.vertices[v]
        price = (bend + self.evenness * float(edge @ edge) ** 2) * float(self.importance[u])
        return price, u, v, self.stamps[u], self.stamps[v]

    def permits(self, u: int, v: int) -> bool:
        """Whether `u` can move onto `v` without tearing, folding or thinning any triangle."""
        shared = self.touching[u] & self.touching[v]
        around_u, around_v = self.neighbours(u), self.neighbours(v)
        if len(shared) != 2 or len(around_u & around_v) != 2 or len(around_u | around_v) < 6:
            return False
        moved_corner = self._corner_moves(u, v, shared)
        if moved_corner is None:
            return False
        for k in self.touching[u] - shared:
            face, corner = self.faces[k], self.corners[k]
            at = int(np.flatnonzero(face == u)[0])
            if int(corner[at]) not in moved_corner:
                return False
            new_face, new_corner = face.copy(), corner.copy()
            new_face[at], new_corner[at] = v, moved_corner[int(corner[at])]
            if not _stays_upright(self.vertices[face], self.vertices[new_face]):
                return False
            if self.uv is not None and (
                _signed_area(self.uv[corner]) * _signed_area(self.uv[new_corner]) <= 0
            ):
                return False
        return True

    def _corner_moves(self, u: int, v: int, shared: set[int]) -> dict[int, int] | None:
        """Which texture corner each corner at `u` becomes; None if the two sides disagree."""
        if self.uv is None:
            return {u: v}
        moves: dict[int, int] = {}
        for k in shared:
            face = self.faces[k]
            before = int(self.corners[k][face == u][0])
            after = int(self.corners[k][face == v][0])
            if moves.setdefault(before, after) != after:
                return None
        return moves

    def collapse(self, u: int, v: int) -> None:
        shared = self.touching[u] & self.touching[v]
        moves = self._corner_moves(u, v, shared)
        assert moves is not None
        for k in shared:
            self.face_alive[k] = False
            for vertex in self.faces[k]:
                self.touching[vertex].discard(k)
        for k in self.touching[u]:
            at = int(np.flatnonzero(self.faces[k] == u)[0])
            self.faces[k, at] = v
            self.corners[k, at] = moves[int(self.corners[k, at])]
            self.touching[v].add(k)
        self.touching[u] = set()
        self.alive[u] = False
        self.quadrics[v] = self.quadrics[u] + self.quadrics[v]

    def snapshot(self, u: int, v: int) -> _Undo:
        ring = sorted(self.touching[u])
        return _Undo(
            u,
            v,
            ring,
            self.faces[ring].copy(),
            self.corners[ring].copy(),
            {int(vertex): set(self.touching[vertex]) for vertex in self.faces[ring].ravel()},
            self.quadrics[v].copy(),
        )

    def restore(self, undo: _Undo) -> None:
        self.faces[undo.ring] = undo.faces
        self.corners[undo.ring] = undo.corners
        self.face_alive[undo.ring] = True
        for vertex, touching in undo.touching.items():
            self.touching[vertex] = touching
        self.alive[undo.u] = True
        self.quadrics[undo.v] = undo.quadric

    def renewed_offers(self, touched: list[int]) -> list[_Offer]:
        """Prices anew the edges around the touched vertices, and those that may be free again."""
        for x in touched:
            self.stamps[x] += 1
        offers = []
        for x in touched:
            ring = self.neighbours(x)
            for y in ring:
                offers += [self.offer(x, y), self.offer(y, x)]
                offers += [self.offer(y, z) for z in self.neighbours(y) if z != x]
        return offers


@dataclass(frozen=True)
class _Undo:
    """What a collapse of `u` onto `v` changes."""

    u: int
    v: int
    ring: list[int]
    faces: NDArray[np.integer]
    corners: NDArray[np.integer]
    touching: dict[int, set[int]]
    quadric: NDArray[np.floating]


def _quadrics(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.floating]:
    """Sums over the faces of each vertex area times squared distance to the plane, (V, 4, 4)."""
    first, second, third = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(second - first, third - first)
    areas = 0.5 * np.linalg.norm(normals, axis=1)
    normals = normals / (2 * areas[:, None] + 1e-15)
    planes = np.concatenate([normals, -np.sum(normals * first, axis=1, keepdims=True)], axis=1)
    per_face = areas[:, None, None] * planes[:, :, None] * planes[:, None, :]
    quadrics = np.zeros((len(vertices), 4, 4))
    for k in range(3):
        np.add.at(quadrics, faces[:, k], per_face)
    return quadrics


def _stays_upright(before: NDArray[np.floating], after: NDArray[np.floating]) -> bool:
    old = np.cross(before[1] - before[0], before[2] - before[0])
    new = np.cross(after[1] - after[0], after[2] - after[0])
    old_length, new_length = float(np.linalg.norm(old)), float(np.linalg.norm(new))
    if new_length < 1e-10 or float(old @ new) < LEAST_NORMAL_COSINE * old_length * new_length:
        return False
    longest = max(float(np.linalg.norm(after[k] - after[k - 1])) for k in range(3))
    return new_length >= LEAST_ROUNDNESS * longest**2


def _signed_area(triangle: NDArray[np.floating]) -> float:
    (ax, ay), (bx, by), (cx, cy) = triangle
    return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
