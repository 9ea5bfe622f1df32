"""People whose measurements `anny` takes itself: what a test compares ours with.

`anny` measures height, volume and waist on its own mesh, in its own pose: the waist along a loop of
chosen vertices, which is not quite level and lies some 3 % of the stature below the natural waist.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from plausibody.assets.builders.body_mesh import build_body_mesh
from plausibody.assets.builders.makehuman import SourceBody, load_source
from plausibody.assets.builders.rest_pose import RestPose

POOL, KEPT = 100, 6
STEP = 1e-4
"""Of stored coordinates [m]."""
RANGES = {
    **{"age": (0.65, 0.9), "weight": (0.2, 0.95), "muscle": (0.3, 0.8)},
    **{"height": (0.3, 0.6), "proportions": (0.3, 0.8)},
}
"""Of the traits that differ, besides gender; the others are halfway."""


def build_measured_people() -> dict[str, ndarray]:
    """Draws people and keeps a few, from the slimmest to the stoutest waist."""
    from anny.anthropometry import Anthropometry

    source = load_source()
    coefficients = source.coefficients(_traits(source))
    bodies = source.shaped(coefficients)
    x, y, z = np.moveaxis(bodies, -1, 0)
    found = Anthropometry(source.model)(torch.from_numpy(np.stack([x, -z, y], -1)))
    kept = np.linspace(0, POOL - 1, KEPT).round().astype(int)
    kept = np.argsort(found["waist_circumference"].numpy())[kept]
    skin = RestPose(source, coefficients).skin(bodies, source.bone_weights)
    return {
        "vertices": stored(skin[kept][:, build_body_mesh(source).rows]),
        "height": found["height"].numpy()[kept],
        "waist": found["waist_circumference"].numpy()[kept],
        "volume": found["volume"].numpy()[kept],
    }


def stored(vertices: Float[ndarray, "n V 3"]) -> ndarray:
    """Rounds coordinates to whole steps, as they compress."""
    return np.round(vertices / STEP).astype(np.int16)


def _traits(source: SourceBody) -> dict[str, ndarray]:
    rng = np.random.default_rng(0)
    traits = {name: np.full(POOL, 0.5) for name in source.model.phenotype_labels}
    traits["gender"] = rng.integers(0, 2, POOL).astype(float)
    return traits | {name: rng.uniform(low, high, POOL) for name, (low, high) in RANGES.items()}


if __name__ == "__main__":
    people: dict[str, Any] = build_measured_people()
    np.savez_compressed(Path(sys.argv[1]), **people)
