"""IUV pictures for people to look at: a colour for each part, and its shades for places on it."""

from __future__ import annotations

import colorsys

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.part_tables import MIRROR25, PARTS24

NOTHING = 0.12
"""Grey where nobody is."""


def _palette() -> tuple[tuple[float, float, float], ...]:
    """Gives each pair of left and right parts a hue; that of the higher number is paler."""
    firsts = [min(part, MIRROR25[part]) for part in range(1, len(PARTS24) + 1)]
    pairs = sorted(set(firsts))
    colours = [(NOTHING,) * 3]
    for part, first in enumerate(firsts, 1):
        # Steps of four: parts that touch are rarely near each other in hue.
        hue = (4 * pairs.index(first) / len(pairs)) % 1
        colours.append(colorsys.hsv_to_rgb(hue, 0.85 if part == first else 0.5, 1.0))
    return tuple(colours)


PALETTE = _palette()
"""Of the background and the parts."""


def colour_iuv(iuv: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Gives each part its colour, darker where v is small, and whiter where u is large.

    Args:
        iuv: Part 0..24, u and v.
    """
    part, u, v = iuv.float().unbind(-3)
    colours = constant(PALETTE, torch.float32, iuv.device)[part.round().long().clamp(0, 24)]
    colours = colours.movedim(-1, -3)
    seen = (part > 0.5)[..., None, :, :]
    shade = (0.45 + 0.55 * v.clamp(0, 1))[..., None, :, :]
    white = (0.4 * u.clamp(0, 1))[..., None, :, :]
    return torch.where(seen, shade * (colours + white * (1 - colours)), colours)
