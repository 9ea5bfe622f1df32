"""Backgrounds without any picture: a gradient, clouds of two sizes, and rectangles of all sorts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.synth.chance import Chance


@dataclass(frozen=True)
class Procedural:
    """Endless backgrounds of no particular place."""

    rectangles: int = 6
    cells: tuple[int, ...] = (5, 33)
    """Knots of the clouds, per side."""
    strength: tuple[float, ...] = (0.16, 0.05)
    """Standard deviation of the clouds, of colours 0..1."""
    stripe: tuple[float, float] = (0.02, 0.25)
    """Range of the period of a rectangle's stripes, over the picture's longer side."""

    def __len__(self) -> int:
        return 1

    def to(self, device: torch.device | str) -> Procedural:
        return self

    @torch.no_grad()
    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        """Draws backgrounds on the device of the chance.

        Args:
            size: Height and width [px].
        """
        height, width = size
        device, longer = chance.numbers.device, max(size)
        x = (torch.arange(width, device=device) + 0.5) / longer
        y = (torch.arange(height, device=device)[:, None] + 0.5) / longer
        pictures = self._gradient(chance, x, y)
        for number, (cells, strength) in enumerate(zip(self.cells, self.strength, strict=True)):
            knots = chance.normal(f"background/clouds{number}", 3, cells, cells, std=strength)
            pictures += F.interpolate(knots, size, mode="bilinear", align_corners=True)
        for number in range(self.rectangles):
            self._paint(pictures, chance, f"background/rectangle{number}", x, y)
        return (pictures.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)

    def _gradient(
        self, chance: Chance, x: Float[Tensor, " W"], y: Float[Tensor, "H 1"]
    ) -> Float[Tensor, "batch 3 H W"]:
        ends = chance.uniform("background/colours", 2, 3, 1, 1, low=0.1, high=0.9)
        angle = chance.uniform("background/angle", 1, 1, 1, high=2 * math.pi)
        along = torch.cos(angle) * (x - 0.5) + torch.sin(angle) * (y - 0.5)
        share = (along / math.sqrt(2) + 0.5).clamp(0.0, 1.0)
        return torch.lerp(ends[:, 0], ends[:, 1], share)

    def _paint(
        self,
        pictures: Float[Tensor, "batch 3 H W"],
        chance: Chance,
        name: str,
        x: Float[Tensor, " W"],
        y: Float[Tensor, "H 1"],
    ) -> None:
        """Adds a striped rectangle to each picture, in place."""
        centre = chance.uniform(f"{name}/centre", 2, 1, 1)
        half = chance.uniform(f"{name}/half", 2, 1, 1, low=0.03, high=0.3)
        colour = chance.uniform(f"{name}/colour", 3, 1, 1)
        cover = chance.uniform(f"{name}/cover", 1, 1, 1, low=0.4, high=1.0)
        period = chance.uniform(f"{name}/period", 1, 1, 1, low=self.stripe[0], high=self.stripe[1])
        angle = chance.uniform(f"{name}/angle", 1, 1, 1, high=math.pi)
        contrast = chance.uniform(f"{name}/contrast", 1, 1, 1, high=0.3)
        inside = ((x - centre[:, :1, 0]).abs() < half[:, :1, 0])[:, :, None] & (
            (y[:, 0] - centre[:, 1:, 0]).abs() < half[:, 1:, 0]
        )[..., None]
        along = torch.cos(angle) * x + torch.sin(angle) * y
        stripes = torch.sin(along * (2 * math.pi / period)) * contrast
        share = inside * cover
        pictures.mul_(1 - share).add_((colour + stripes) * share)
