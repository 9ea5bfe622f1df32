"""Male and female bodies as shapes of the neutral one, and genders as numbers.

Male, female and neutral bodies of one format share their mesh but have shape directions of their
own. A `ShapeMap` says which coefficients of one body come nearest to a shape of another, so that
one template and one shape space serve people of every gender.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.records import to_device

MALE, NEUTRAL, FEMALE = -1.0, 0.0, 1.0
"""Genders as numbers. To a network 0 means that it is told none."""
_SIGNS = {"neutral": NEUTRAL, "male": MALE, "female": FEMALE}


def gender_sign(name: str) -> float:
    """Gives a gender as a number: neutral 0, male -1, female +1."""
    if name not in _SIGNS:
        raise ValueError(f"gender: wanted one of {', '.join(_SIGNS)}, came {name!r}")
    return _SIGNS[name]


@dataclass(frozen=True)
class ShapeMap:
    """An affine map from the shape coefficients of one body to those of another."""

    matrix: Float[Tensor, "S T"]
    offset: Float[Tensor, " T"]
    """Coefficients of the other body that come nearest to the mean shape of the one."""

    def to(self, device: torch.device | str) -> ShapeMap:
        return to_device(self, device)

    def __call__(self, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch T"]:
        return shape @ self.matrix + self.offset


def shape_map(
    source: BodyTemplate, target: BodyTemplate, source_count: int, target_count: int
) -> ShapeMap:
    """Finds the coefficients of `target` whose bodies are nearest to those of `source`.

    Nearest by least squares over the vertices of bodies at rest, each body's mean vertex moved to
    the origin: where a body stands is no part of its shape. Computed in double precision and on
    the CPU, wherever the templates are.

    Args:
        source_count: How many coefficients the map takes.
        target_count: How many it gives.

    Raises:
        ValueError: If the bodies have different meshes, or fewer directions than asked for.
    """
    if source.topology != target.topology:
        raise ValueError(
            f"shape_map: wanted two bodies of one mesh, came the topologies {source.topology} "
            f"({source.gender}) and {target.topology} ({target.gender}); "
            f"do: take both genders from one publisher and version"
        )
    for body, count in ((source, source_count), (target, target_count)):
        there = body.shape_directions.shape[-1]
        if not 0 < count <= there:
            raise ValueError(
                f"shape_map: wanted 1 to {there} coefficients of the {body.gender} body, "
                f"which has {there} shape directions, came {count}"
            )
    mean, directions = _centred(source, source_count)
    target_mean, target_directions = _centred(target, target_count)
    wanted = torch.cat([directions, (mean - target_mean)[:, None]], 1)
    found = torch.linalg.lstsq(target_directions, wanted).solution.T
    dtype, device = target.vertices.dtype, target.vertices.device
    found = found.to(device, dtype)
    return ShapeMap(matrix=found[:-1], offset=found[-1])


def _centred(
    body: BodyTemplate, count: int
) -> tuple[Float[Tensor, " V3"], Float[Tensor, "V3 {count}"]]:
    """Gives a body's mean shape and directions without their mean over the vertices."""
    mean = body.vertices.double().cpu()
    directions = body.shape_directions[..., :count].double().cpu()
    mean, directions = (part - part.mean(0, keepdim=True) for part in (mean, directions))
    return mean.flatten(), directions.flatten(0, 1)
