"""Backgrounds without any picture: a gradient, clouds of two sizes, and striped rectangles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.records import take
from plausibody.synth.chance import Chance

CHUNK = 4
"""Pictures painted at once on a CPU, so that they stay in its cache."""


@dataclass(frozen=True)
class _Plan:
    """What is on some backgrounds; lengths are over the longer side, colours 0..1."""

    ends: Float[Tensor, "batch 2 3 1 1"]
    """Colours of the gradient."""
    angle: Float[Tensor, "batch 1 1"]
    """Direction of the gradient [rad]."""
    coarse: Float[Tensor, "batch 3 _ _"]
    """Knots of the large clouds."""
    fine: Float[Tensor, "batch 3 _ _"]
    """Knots of the small clouds."""
    centre: Float[Tensor, "batch rectangles 2"]
    half: Float[Tensor, "batch rectangles 2"]
    """Half width and half height of each rectangle."""
    colour: Float[Tensor, "batch rectangles 3 1 1"]
    cover: Float[Tensor, "batch rectangles 1 1"]
    """How much of what is below a rectangle it hides."""
    wave: Float[Tensor, "batch rectangles 2 1 1"]
    """Of the stripes: phase per length along x and y [rad]."""
    contrast: Float[Tensor, "batch rectangles 1 1"]
    """Of the stripes."""


@dataclass(frozen=True)
class Procedural:
    """Endless backgrounds of no particular place."""

    rectangles: int = 5
    period: tuple[float, float] = (0.02, 0.25)
    """Range of the period of the stripes, over the picture's longer side."""

    def __len__(self) -> int:
        return 1

    def to(self, device: torch.device | str) -> Procedural:
        return self

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def expect(self, chance: Chance) -> None:
        pass  # nothing is fetched

    @torch.no_grad()
    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        """Draws backgrounds on the device of the chance.

        Args:
            size: Height and width [px].
        """
        plan, count = self._plan(chance), len(chance.numbers)
        several = max(1, count) if chance.numbers.is_cuda else CHUNK
        return torch.cat(
            [
                _paint(take(plan, slice(first, first + several)), size)
                for first in range(0, max(1, count), several)
            ]
        )

    def _plan(self, chance: Chance) -> _Plan:
        number = self.rectangles
        turn = chance.uniform("background/stripes", number, high=math.pi)
        low, high = self.period
        pace = 2 * math.pi / chance.uniform("background/period", number, low=low, high=high)
        wave = torch.stack([torch.cos(turn), torch.sin(turn)], -1) * pace[..., None]
        return _Plan(
            ends=chance.uniform("background/colours", 2, 3, 1, 1, low=0.1, high=0.9),
            angle=chance.uniform("background/angle", 1, 1, high=2 * math.pi),
            coarse=chance.normal("background/coarse", 3, 5, 5, std=0.16),
            fine=chance.normal("background/fine", 3, 33, 33, std=0.05),
            centre=chance.uniform("background/centre", number, 2),
            half=chance.uniform("background/half", number, 2, low=0.03, high=0.3),
            colour=chance.uniform("background/colour", number, 3, 1, 1),
            cover=chance.uniform("background/cover", number, 1, 1, low=0.4, high=1.0),
            wave=wave[..., None, None],
            contrast=chance.uniform("background/contrast", number, 1, 1, high=0.3),
        )


def _paint(plan: _Plan, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
    height, width = size
    device, longer = plan.ends.device, max(size)
    x = (torch.arange(width, device=device) + 0.5) / longer
    y = (torch.arange(height, device=device)[:, None] + 0.5) / longer
    along = torch.cos(plan.angle) * (x - 0.5) + torch.sin(plan.angle) * (y - 0.5)
    share = (along / math.sqrt(2) + 0.5).clamp(0.0, 1.0)[:, None]
    pictures = torch.lerp(plan.ends[:, 0], plan.ends[:, 1], share)
    for knots in (plan.coarse, plan.fine) if len(pictures) else ():
        pictures += F.interpolate(knots, size, mode="bilinear", align_corners=True)
    for number in range(plan.centre.shape[1]):
        centre, half = plan.centre[:, number, :, None], plan.half[:, number, :, None]
        across = ((x - centre[:, 0]).abs() < half[:, 0])[:, None, :]
        down = ((y[:, 0] - centre[:, 1]).abs() < half[:, 1])[:, :, None]
        hidden = (across & down) * plan.cover[:, number]
        wave = plan.wave[:, number]
        stripes = torch.sin(wave[:, 0] * x + wave[:, 1] * y) * plan.contrast[:, number]
        pictures.lerp_(plan.colour[:, number] + stripes[:, None], hidden[:, None])
    return (pictures.clamp_(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
