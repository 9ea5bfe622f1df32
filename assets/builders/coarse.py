"""Builds the coarse stand-in of the body mesh: for fast silhouettes and for sparse supervision.

python -m plausibody.assets.builders.coarse
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from plausibody.assets.builders.decimate import decimate
from plausibody.assets.builders.turning import MIRROR
from plausibody.synth.coarse import SUPERVISED_COUNT, labels_nearby, spread_vertices

log = logging.getLogger(__name__)

BODY = Path(__file__).resolve().parents[1] / "body"
VERTEX_COUNT = 1200
EVENNESS = 0.05
"""Four times that of the fine mesh: evenly sized triangles rasterise and sample better."""


def build(folder: Path) -> None:
    """Writes `coarse.npz` beside the body it thins, which also gives the parts of its faces."""
    with np.load(folder / "open_neutral.npz") as body, np.load(folder / "charts.npz") as charts:
        vertices, faces = body["v_template"].astype(np.float64), body["f"].astype(np.int64)
        topology, part = str(body["topology"]), charts["part24"]
    mirror = mirror_vertices(vertices)
    vertices = (vertices + vertices[mirror] * MIRROR) / 2
    thinned = decimate(vertices, faces, mirror, VERTEX_COUNT, EVENNESS)
    supervised = spread_vertices(vertices, SUPERVISED_COUNT)
    log.info("coarse mesh: %d vertices, %d faces", len(thinned.kept), len(thinned.faces))
    np.savez_compressed(
        folder / "coarse.npz",
        vertices=thinned.kept.astype(np.int64),
        faces=thinned.faces.astype(np.int64),
        supervised=supervised.astype(np.int64),
        part24=labels_nearby(vertices, faces, part, thinned.kept[thinned.faces]),
        topology=topology,
    )


def mirror_vertices(vertices: Float[ndarray, "V 3"]) -> Int[ndarray, " V"]:
    """Finds the vertex opposite to each on a symmetric mesh.

    Raises:
        ValueError: If some vertex has no counterpart within a tenth of a millimetre.
    """
    distances, mirror = cKDTree(vertices).query(vertices * MIRROR)
    if np.max(distances) > 1e-4:
        raise ValueError(f"wanted a symmetric mesh, but it is off by {np.max(distances):.4f} m")
    return np.asarray(mirror)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=BODY)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
