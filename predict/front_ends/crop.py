"""Turned square crops of pictures, and the way back. The one place that samples pictures.

Places are in pixels with (0, 0) at the outer corner of the first pixel, so that pixel centres lie
at +0.5, in pictures and in crops alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Crop:
    """A square in a picture, turned."""

    x: float
    """Of the centre [px]."""
    y: float
    side: float
    """[px]."""
    angle: float = 0.0
    """Where the crop's "right" points in the picture [rad], clockwise as one looks at it."""

    def to_picture(self, size: int) -> Float[Tensor, "2 3"]:
        """Gives the affine map from the pixels of the crop, `size` a side, to the picture's."""
        scale, half = self.side / size, self.side / 2
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return torch.tensor(
            [
                [scale * cosine, -scale * sine, self.x - half * (cosine - sine)],
                [scale * sine, scale * cosine, self.y - half * (sine + cosine)],
            ]
        )


def apply(affine: Float[Tensor, "2 3"], points: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
    """Maps points."""
    return points @ affine[:, :2].mT + affine[:, 2]


def inverse(affine: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """Gives the map that undoes another."""
    back = torch.linalg.inv(affine[:, :2])
    return torch.cat([back, -back @ affine[:, 2:]], 1)


def compose(first: Float[Tensor, "2 3"], then: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """Gives the map that does one and then the other."""
    both = then[:, :2] @ first
    return torch.cat([both[:, :2], both[:, 2:] + then[:, 2:]], 1)


def magnification(affine: Float[Tensor, "2 3"]) -> float:
    """Gives by how much a map enlarges lengths."""
    return float(torch.linalg.det(affine[:, :2]).abs().sqrt())


def sample(
    picture: Shaped[Tensor, "C H W"],
    affine: Float[Tensor, "2 3"],
    height: int,
    width: int,
    outside: float | None = 0.0,
    antialias: bool = True,
) -> Float[Tensor, "C {height} {width}"]:
    """Samples a picture bilinearly on a grid that an affine map lays over it.

    Where the grid is coarser than the picture, the part of the picture under it is shrunk first
    with a filter as wide as the grid's step, so that fine texture does not turn into noise.

    Args:
        picture: Of bytes or floats. Bytes shrink 25 times faster, and round to whole numbers.
        affine: From the pixels of the result to those of the picture.
        outside: What surrounds the picture; None continues its border.
        antialias: Whether it is shrunk first; False is what others' bilinear warps do.
    """
    step = max(1.0, magnification(affine))
    part, affine = _part_under(picture, affine, height, width, margin=2 * step)
    if antialias and step > 1:
        part, affine = _shrink(part, affine, step)
    # grid_sample counts from -1 to 1 between the outer corners, as align_corners=False says.
    rows, columns = (torch.arange(n, dtype=affine.dtype) + 0.5 for n in (height, width))
    x, y = (line[0] * columns + line[1] * rows[:, None] + line[2] for line in affine)
    grid = torch.stack([2 * x / part.shape[-1] - 1, 2 * y / part.shape[-2] - 1], -1)
    around = 0.0 if outside is None else outside
    sampled = F.grid_sample(
        part[None].to(affine.dtype) - around,
        grid[None].to(part.device),
        padding_mode="border" if outside is None else "zeros",
        align_corners=False,
    )
    return sampled[0] + around


def _part_under(
    picture: Shaped[Tensor, "C H W"],
    affine: Float[Tensor, "2 3"],
    height: int,
    width: int,
    margin: float,
) -> tuple[Shaped[Tensor, "C h w"], Float[Tensor, "2 3"]]:
    """Cuts out what the grid covers and a margin [px], at least one pixel."""
    corners = affine.new_tensor([[0, 0], [width, 0], [0, height], [width, height]])
    places = apply(affine, corners)
    size = affine.new_tensor([picture.shape[-1], picture.shape[-2]])
    low = (places.amin(0) - margin).floor().clamp(min=0).minimum(size - 1)
    high = (places.amax(0) + margin).ceil().minimum(size).maximum(low + 1)
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    return picture[:, top:bottom, left:right], torch.cat(
        [affine[:, :2], (affine[:, 2] - low)[:, None]], 1
    )


def _shrink(
    part: Shaped[Tensor, "C h w"], affine: Float[Tensor, "2 3"], step: float
) -> tuple[Shaped[Tensor, "C h2 w2"], Float[Tensor, "2 3"]]:
    height, width = part.shape[-2:]
    size = [max(1, round(height / step)), max(1, round(width / step))]
    small = F.interpolate(part[None], size=size, mode="bilinear", antialias=True)[0]
    return small, affine * affine.new_tensor([[size[1] / width], [size[0] / height]])
