"""How far rotations of a matrix-Fisher distribution are from its mode: an angle's distribution.

The angle r to the mode has the density ~ t J(t) with t = sin^2(r/2), where

    J(t) = Int_0^1 exp[-t a3 x^2 - t a1 (1 - x^2)] I0e[t (a2 - a1)(1 - x^2)/2] dx

is the mean of exp(-t n^T diag(a) n) over the directions n of the turn, and a = 2(s2+s3), 2(s1+s3),
2(s1+s2). Both integrals are by Gauss-Legendre nodes, up to where exp(-40) is left of the integrand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import legendre
from torch import Tensor

_ANGLES, _DIRECTIONS, _STEPS = 64, 32, 2048
_REACH = 40.0
"""Exponents beyond which exp(-x) counts as nothing next to 1."""


@dataclass(frozen=True)
class AngleTable:
    """The cumulative distribution of the angle to the mode at r = reach * (k / steps)^2."""

    reach: Float[Tensor, "*batch"]
    """Angle [rad] that holds everything; pi unless the distribution is concentrated."""
    within: Float[Tensor, "*batch K"]
    """Probability of a smaller angle, from 0 to 1."""

    def quantile(self, probability: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Gives the angle [rad] below which there is so much probability."""
        steps = self.within.shape[-1] - 1
        wanted = probability[..., None].contiguous()
        above = torch.searchsorted(self.within, wanted).clamp(1, steps)
        low, high = self.within.gather(-1, above - 1), self.within.gather(-1, above)
        part = (wanted - low) / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
        place = ((above - 1 + part.clamp(0, 1)) / steps).squeeze(-1)
        return self.reach * place.square()

    def probability(self, angle: Float[Tensor, "*samples"]) -> Float[Tensor, ...]:
        """Gives the probability of an angle smaller than this [rad]; the batch's axes come last."""
        steps = self.within.shape[-1] - 1
        place = (angle / self.reach).clamp(0, 1).sqrt()[..., None] * steps
        below = place.floor().clamp(max=steps - 1).long()
        within = self.within.expand(*place.shape[:-1], -1)
        low, high = within.gather(-1, below), within.gather(-1, below + 1)
        return (low + (place - below) * (high - low)).squeeze(-1)


def tabulate(proper: Float[Tensor, "*batch 3"]) -> AngleTable:
    """Integrates the angle's density; what is interpolated errs by 2e-6 at most.

    Args:
        proper: Singular values, s1 >= s2 >= |s3|, in float64.
    """
    s1, s2, s3 = (value[..., None, None] for value in proper.unbind(-1))
    a1, a2, a3 = (2 * total.clamp(min=0) for total in (s2 + s3, s1 + s3, s1 + s2))  # rounding
    places, slopes = (torch.from_numpy(part).to(proper) for part in _angle_rule())
    z, weights = (torch.from_numpy(part).to(proper) for part in _direction_rule())
    reach = 2 * (_REACH / a1).clamp(max=1.0).sqrt().asin()
    angle = reach * places.square()[:, None]
    t = (angle / 2).sin().square()
    breadth = (_REACH / (t * (a3 - a1))).clamp(max=1.0).sqrt()
    x = breadth * z
    exponent = -t * (a1 + (a3 - a1) * x.square())
    bessel = torch.special.i0e(t * (s1 - s2).clamp(min=0) * (1 - x.square()))
    spherical = breadth * torch.exp(exponent) * bessel
    density = t.squeeze(-1) * (spherical @ weights) * places
    within = (density @ slopes).clamp(min=0)
    within = (within / within[..., -1:]).cummax(-1).values.clamp(max=1.0)
    return AngleTable(reach[..., 0, 0], within.contiguous())


@lru_cache(maxsize=1)
def _angle_rule() -> tuple[np.ndarray, np.ndarray]:
    """Gives nodes of 0..1, and what integrates from 0 to each step a function given at them."""
    nodes, weights = legendre.leggauss(_ANGLES)
    series = legendre.legvander(nodes, _ANGLES - 1) * weights[:, None]
    series = series * (np.arange(_ANGLES) + 0.5)  # coefficients of the interpolating polynomial
    steps = np.linspace(-1, 1, _STEPS + 1)
    integrals = legendre.legval(steps, legendre.legint(series.T, lbnd=-1))
    return (nodes + 1) / 2, integrals / 2


@lru_cache(maxsize=1)
def _direction_rule() -> tuple[np.ndarray, np.ndarray]:
    """Gives the nodes of 0..1 and their weights."""
    nodes, weights = legendre.leggauss(_DIRECTIONS)
    return (nodes + 1) / 2, weights / 2
