"""Draws whole MakeHuman bodies that the open body's shape directions do not reach.

    python -m plausibody.assets.builders.full_bodies

needs the extra [build] (the package `anny`); it takes two minutes.

They are grown-ups of the open body's own population, drawn anew, with changes that it leaves alone
(faces, ears, hands, feet, knock knees, shifted parts), and are brought to its mesh and rest pose by
the same code. What distinguishes them from the linear bodies is that nothing is left out. They are
symmetric: half of the skin is kept, as quantised components that all bodies are mixtures of.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from plausibody.assets.builders.body import ASSETS, PELVIS, stand
from plausibody.assets.builders.body_mesh import BodyMesh, build_body_mesh
from plausibody.assets.builders.makehuman import SourceBody, load_source
from plausibody.assets.builders.population import FEMALE, MALE, Population, draw_population
from plausibody.assets.builders.turning import MIRROR
from plausibody.assets.topology import topology_hash

log = logging.getLogger(__name__)

SEED = 1
"""The open body's own population has 0."""
EACH = 96
"""Bodies of each sex."""
POOL, DRAWN = 6_000, 200
"""From how many they are picked; a body that comes twice counts once."""
OTHERS = 0.15
"""Standard deviation of the changes that the open body's population leaves alone."""
STEP = 3e-5
"""Of stored offsets [m]."""


def build(out: Path, body: Path) -> None:
    """Writes `full_bodies.npz` into `out`.

    Args:
        body: The neutral open body, from which offsets are taken.
    """
    closed = load_source()
    mesh = build_body_mesh(closed)
    source, topology = closed.select(mesh.rows), topology_hash(mesh.faces)
    with np.load(body) as neutral:
        if str(neutral["topology"]) != topology:
            raise ValueError(f"{body}: wanted the topology {topology}, got {neutral['topology']}")
        template = neutral["v_template"].astype(np.float64)
    rng = np.random.default_rng(SEED)
    people = [draw_bodies(source, mesh, target, rng) for target in (MALE, FEMALE)]
    offsets = np.concatenate(people) + PELVIS - template
    order = rng.permutation(2 * EACH)
    kept = np.flatnonzero(np.arange(len(mesh.mirror)) <= mesh.mirror)
    steps, shapes = quantise(offsets[order][:, kept], STEP)
    restored = np.tensordot(shapes.astype(np.float64), steps * STEP, 1)
    error = 1000 * np.linalg.norm(restored - offsets[order][:, kept], axis=2)
    log.info("stored to within %.3f mm on average, %.3f mm at most", error.mean(), error.max())
    # Zip makes one byte for a number of two, but not for some of the array only.
    large = np.abs(steps).max(axis=(1, 2)) > np.iinfo(np.int8).max
    np.savez_compressed(
        out / "full_bodies.npz",
        large=steps[large].astype(np.int16),
        small=steps[~large].astype(np.int8),
        step=STEP,
        shapes=np.concatenate([shapes[:, large], shapes[:, ~large]], 1).astype(np.float32),
        male=order < EACH,
        mirror=mesh.mirror.astype(np.uint16),
        topology=topology,
    )


def draw_bodies(
    source: SourceBody, mesh: BodyMesh, target: Population, rng: np.random.Generator
) -> Float[ndarray, "n V 3"]:
    """Draws different symmetric bodies in the rest pose, the pelvis at the origin [m]."""
    pick = draw_population(source, mesh.faces, target, POOL, DRAWN, rng, OTHERS)
    _, first = np.unique(pick.coefficients, axis=0, return_index=True)
    vertices = stand(source, pick).vertices.astype(np.float64)[np.sort(first)[:EACH]]
    return (vertices + vertices[:, mesh.mirror] * MIRROR) / 2


def quantise(
    offsets: Float[ndarray, "n H 3"], step: float
) -> tuple[Int[ndarray, "n H 3"], Float[ndarray, "n n"]]:
    """Writes n bodies as mixtures of n components whose offsets are whole steps.

    Returns:
        The components in steps, largest first; each body's coefficients, about 1 in size.
    """
    count = len(offsets)
    rows = offsets.reshape(count, -1)
    _, scales, right = np.linalg.svd(rows, full_matrices=False)
    steps = np.round(right * (scales[:, None] / (np.sqrt(count) * step))).astype(np.int64)
    shapes = np.linalg.lstsq(steps.T * step, rows.T, rcond=None)[0].T
    return steps.reshape(offsets.shape), shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ASSETS / "body")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(arguments.out, ASSETS / "body" / "open_neutral.npz")


if __name__ == "__main__":
    main()
