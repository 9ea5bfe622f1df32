"""Whole MakeHuman bodies on the open body's mesh: people that no linear shape space was cut for.

A template whose shape directions are the components of these bodies makes everything that poses,
dresses, draws and measures the open body do the same with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.models.body import BodyTemplate
from plausibody.synth.coarse import coarse_body
from plausibody.synth.stores import SynthAssets, load_coarse_mesh

FILE = "body/full_bodies.npz"


@dataclass(frozen=True)
class FullBodies:
    """N adults, women and men."""

    template: BodyTemplate
    """The open body with other shape directions: K components of these adults."""
    shapes: Float[Tensor, "N K"]
    """Each one's coefficients."""
    male: Bool[Tensor, " N"]


def load_full_bodies(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> FullBodies:
    """Opens the bodies that ship.

    Args:
        template: The neutral open body, which they are written as offsets from.
        directories: Where the file is looked for, instead of the usual places.

    Raises:
        ValueError: If the file is damaged, or of another mesh.
    """
    path = find_asset(FILE, directories)
    data = read_arrays(path)
    names = ("large", "small", "step", "shapes", "male", "mirror", "topology")
    if missing := [name for name in names if name not in data]:
        raise ValueError(f"{path}: wanted full bodies, got a file without {', '.join(missing)}")
    if str(data["topology"]) != template.topology or template.gender != "neutral":
        raise ValueError(
            f"{path}: wanted the neutral body of the topology {data['topology']}, got a "
            f"{template.gender} one of {template.topology}"
        )
    mirror = torch.from_numpy(data["mirror"].astype("int64"))
    steps = [torch.from_numpy(data[name]).float() for name in ("large", "small")]
    half = torch.cat(steps) * float(data["step"])
    # Bodies are symmetric: each pair of vertices is kept once.
    place = torch.arange(len(mirror))
    kept = place <= mirror
    row = (kept.cumsum(0) - 1)[torch.minimum(place, mirror)]
    signs = torch.ones(len(mirror), 3)
    signs[~kept, 0] = -1
    directions = half[:, row] * signs
    return FullBodies(
        template=replace(template, shape_directions=directions.permute(1, 2, 0).contiguous()),
        shapes=torch.from_numpy(data["shapes"]).float(),
        male=torch.from_numpy(data["male"]),
    )


def fit_shapes(
    template: BodyTemplate,
    bodies: Float[Tensor, "N V 3"],
    count: int,
    scaled: bool = False,
) -> Float[Tensor, "N {count}"]:
    """Finds the coefficients of a template that come nearest to bodies at rest.

    Nearest by the mean square of the distances between vertices; where the bodies are is free.

    Args:
        bodies: On the template's mesh, in its rest pose [m].
        count: How many of the template's directions are used.
        scaled: Whether their size is free as well, as for errors after scale and shift.
    """
    mean = template.vertices.double()
    directions = template.shape_directions[..., :count].double()
    parts = [mean[..., None], directions] if scaled else [directions]
    basis = torch.cat(parts, -1)
    basis = (basis - basis.mean(0)).flatten(0, 1)
    wanted = bodies.double() if scaled else bodies.double() - mean
    rows = (wanted - wanted.mean(1, keepdim=True)).flatten(1)
    found = torch.linalg.lstsq(basis, rows.T).solution.T
    if scaled:
        found = found[:, 1:] / found[:, :1]
    return found.float()


def stand_in(
    assets: SynthAssets, bodies: FullBodies, directories: Sequence[Path] | None = None
) -> SynthAssets:
    """Puts full bodies in the place of the linear ones, the coarse mesh and all.

    Args:
        assets: Of the neutral open body.
        directories: As of `load_full_bodies`.
    """
    mesh = load_coarse_mesh(bodies.template, directories)
    coarse = coarse_body(
        bodies.template, mesh.vertices, mesh.faces, assets.coarse.part24, assets.regressors
    )
    return replace(assets, template=bodies.template, coarse=coarse)
