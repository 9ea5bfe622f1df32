"""Builds the body's surface coordinates: 24 parts in DensePose's numbering, u and v in each.

    python -m plausibody.assets.builders.charts

Limbs and torso are unrolled around their bones, so u runs across and v along, as in DensePose.
Hands, feet and the halves of the head, which would fold that way, are spread over a disk.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from plausibody.assets.builders.body_mesh import LANDMARKS
from plausibody.assets.builders.coarse import mirror_vertices
from plausibody.assets.builders.embedding import cut_towards, embed_in_disk, signed_areas
from plausibody.assets.builders.parts import (
    LIMB_BONES,
    PARTS,
    Mannequin,
    label_faces,
    off_bone,
    part14_of,
    torso_middle,
)

log = logging.getLogger(__name__)

BODY = Path(__file__).resolve().parents[1] / "body"
_CUT_TIPS = {
    "left_hand": ("left_middle", "left_thumb", "left_index", "left_ring", "left_pinky"),
    "left_foot": ("left_big_toe", "left_small_toe"),
    "left_head": (),
}
"""Where the cuts go, longest first."""
_TORSO_HALF_WIDTH = 0.235
"""Half the width that u covers in the torso charts [m]."""


@dataclass(frozen=True)
class Chart:
    """The flat image of one part."""

    faces: Int[ndarray, " n"]
    """The part's faces."""
    corners: Int[ndarray, "n 3"]
    """For each of them, three indices into the following arrays."""
    vertices: Int[ndarray, " W"]
    """The body's vertex behind each chart vertex; twice at a cut."""
    uv: Float[ndarray, "W 2"]
    """0..1."""


def build(folder: Path) -> None:
    """Writes `charts.npz` beside the body it charts."""
    with np.load(folder / "open_neutral.npz") as body:
        vertices = body["v_template"].astype(np.float64)
        mannequin = Mannequin(
            vertices,
            body["f"].astype(np.int64),
            body["weights"],
            body["J_regressor"] @ vertices,
            mirror_vertices(vertices),
        )
        topology = str(body["topology"])
    part = label_faces(mannequin)
    charts = chart_parts(mannequin, part)

    corners = np.empty_like(mannequin.faces)
    owners, flat, offset = [], [], 0
    for chart in charts:
        corners[chart.faces] = chart.corners + offset
        owners.append(chart.vertices)
        flat.append(chart.uv)
        offset += len(chart.vertices)
    uv = np.concatenate(flat).astype(np.float32)
    flipped = signed_areas(uv[corners].astype(np.float64)) <= 0
    for number, name in enumerate(PARTS, start=1):
        log.info("%s: %.1f %% of the triangles flipped", name, 100 * flipped[part == number].mean())
    log.info("all: %.2f %%, %d chart vertices", 100 * flipped.mean(), len(uv))
    np.savez_compressed(
        folder / "charts.npz",
        part24=part.astype(np.uint8),
        part14=part14_of(part).astype(np.uint8),
        faces_uv=corners.astype(np.uint16),
        vertex_of_uv=np.concatenate(owners).astype(np.uint16),
        u=uv[:, 0],
        v=uv[:, 1],
        topology=topology,
    )


def chart_parts(body: Mannequin, part: Int[ndarray, " F"]) -> list[Chart]:
    """Charts all parts; those of the right side mirror those of the left."""
    opposite_face = _mirror_faces(body)
    charts = []
    for number, name in enumerate(PARTS, start=1):
        if name.startswith("right_"):
            continue
        faces = np.flatnonzero(part == number)
        make = _disk_chart if name in _CUT_TIPS else _unrolled
        chart = make(body, faces, name)
        charts.append(_oriented(chart))
        if name.startswith("left_"):
            charts.append(_mirrored(charts[-1], body, opposite_face))
    return charts


def _disk_chart(body: Mannequin, faces: Int[ndarray, " n"], name: str) -> Chart:
    tips = [LANDMARKS[tip] for tip in _CUT_TIPS[name]]
    corners, owners = cut_towards(body.vertices, body.faces[faces], tips)
    uv = embed_in_disk(body.vertices[owners], corners)
    return Chart(faces, corners, owners, (uv + 1) / 2)


def _unrolled(body: Mannequin, faces: Int[ndarray, " n"], name: str) -> Chart:
    """Unrolls a half tube: u is the angle around the bone, v runs along it, head to toe or out."""
    owners, corners = np.unique(body.faces[faces], return_inverse=True)
    points = body.vertices[owners]
    if name.startswith("torso"):
        u, along = _torso_angle(body, points), -points[:, 1]
    else:
        limb, _, half = name.removeprefix("left_").rpartition("_")
        start, end = LIMB_BONES[limb]
        x, y, z = off_bone(body, points, f"left_{start}", f"left_{end}").T
        if half in ("front", "back"):
            angle, along = np.arctan2(x, z if half == "front" else -z), -points[:, 1]
        else:
            angle, along = np.arctan2(z, y if half == "outer" else -y), points[:, 0]
        u = np.clip(angle / np.pi + 0.5, 0.0, 1.0)
    v = (along - along.min()) / np.ptp(along)
    return Chart(faces, corners.reshape(-1, 3), owners, np.stack([u, v], axis=1))


def _torso_angle(body: Mannequin, points: Float[ndarray, "W 3"]) -> Float[ndarray, " W"]:
    """Mixes the place across with the angle around, which alone would crowd the sides."""
    depth = points[:, 2] - torso_middle(body, points[:, 1])
    across = (points[:, 0] / _TORSO_HALF_WIDTH + 1) / 2
    around = np.arctan2(points[:, 0], np.abs(depth) + 0.03) / np.pi + 0.5
    return 0.55 * np.clip(across, 0.0, 1.0) + 0.45 * around


def _oriented(chart: Chart) -> Chart:
    """Turns u around if most triangles run clockwise."""
    if np.median(signed_areas(chart.uv[chart.corners])) >= 0:
        return chart
    return Chart(chart.faces, chart.corners, chart.vertices, _turned(chart.uv))


def _mirrored(chart: Chart, body: Mannequin, opposite_face: Int[ndarray, " F"]) -> Chart:
    """Charts the other side: mirrored triangles run backwards, and so does u."""
    faces = opposite_face[chart.faces]
    opposite = body.mirror[body.faces[chart.faces]]
    order = (opposite[:, None, :] == body.faces[faces][:, :, None]).argmax(axis=2)
    corners = np.take_along_axis(chart.corners, order, axis=1)
    return Chart(faces, corners, body.mirror[chart.vertices], _turned(chart.uv))


def _turned(uv: Float[ndarray, "W 2"]) -> Float[ndarray, "W 2"]:
    return np.stack([1 - uv[:, 0], uv[:, 1]], axis=1)


def _mirror_faces(body: Mannequin) -> Int[ndarray, " F"]:
    place = {tuple(sorted(face)): k for k, face in enumerate(body.faces.tolist())}
    return np.array([place[tuple(sorted(face))] for face in body.mirror[body.faces].tolist()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BODY)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
