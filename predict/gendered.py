"""The body that parameters are written for when a gender is told: that of the gender.

A network that may be told a gender speaks of all people in the shapes of one neutral body. Programs
that know the gender expect coefficients of the gendered one. Both are the same body: for shapes of
women and men, vertices of the open body differ by 1.5 and 1.9 mm in the mean, heights by 0.5 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.genders import ShapeMap, shape_map
from plausibody.models.templates import load_template


@dataclass(frozen=True)
class GenderedBody:
    """A body of one gender, and the way there from the neutral one."""

    neutral: BodyTemplate
    template: BodyTemplate

    def __call__(self, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch S"]:
        """Gives the coefficients of the same body in the gendered space."""
        return self._map(shape.shape[-1])(shape)

    def covariance(self, neutral: Float[Tensor, "S S"]) -> Float[Tensor, "S S"]:
        """Gives the covariance of the gendered coefficients."""
        matrix = self._map(neutral.shape[-1]).matrix.mT
        return matrix @ neutral @ matrix.mT

    def offset(self, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch 3"]:
        """Tells how far the gendered body stands from the neutral one, both at rest [m]."""
        stand = [
            _middle(body, some)
            for body, some in ((self.template, self(shape)), (self.neutral, shape))
        ]
        return stand[0] - stand[1]

    def _map(self, count: int) -> ShapeMap:
        return _shape_map(self.neutral, self.template, count)


def _middle(body: BodyTemplate, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch 3"]:
    """Gives the mean of a body's vertices at rest [m]."""
    directions = body.shape_directions[..., : shape.shape[-1]].mean(0)
    return body.vertices.mean(0) + shape @ directions.mT


@lru_cache(maxsize=4)
def _shape_map(neutral: BodyTemplate, template: BodyTemplate, count: int) -> ShapeMap:
    # The key is the templates themselves: their hash and equality are those of their very tensors.
    with torch.inference_mode(False), torch.no_grad():
        return shape_map(neutral, template, count, count)


def gendered_body(neutral: BodyTemplate, spec: str, gender: str) -> GenderedBody:
    """Loads the body of a gender.

    Args:
        neutral: Whose shapes the network speaks of.
        spec: Where it came from, as `load_template` takes it.

    Raises:
        ValueError: If there is no body of that gender at the same place.
    """
    template = load_template(spec, gender)
    if template.gender != gender:
        raise ValueError(
            f"--gender {gender}: wanted a {gender} body beside {spec}, found a {template.gender} "
            "one; do: name the folder that holds the bodies of all genders"
        )
    return GenderedBody(neutral, template)
