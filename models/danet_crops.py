"""Squares round the joints of each person, cut out of maps: where they lie, and what they hold.

Places are in half-squares of the map, -1..1 from edge to edge, as everywhere here. The published
network counts from the middle of the first pixel to one pixel beyond the middle of the last, and
samples from middle to middle; `published` does both, for its weights.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.2,
and its released code for the sizes; Jaderberg et al., "Spatial Transformer Networks", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.part_tables import PartTables

TEMPERATURE = 10.0
"""By which heatmaps are multiplied before their softmax."""
VISIBLE = 0.5
"""A joint can be seen where one of its parts has at least this share at its place."""
UNSEEN = 0.8
"""Half the side of the square round a joint that cannot be seen, over half the side of all."""


@dataclass(frozen=True)
class CropSettings:
    """How squares are moved in training."""

    scale_jitter: float = 0.2
    """Whole range of the factor of a side, about 1."""
    centre_jitter: float = 0.1
    """Whole range of the shift of a centre along each axis [half-squares]."""


@dataclass(frozen=True)
class Squares:
    """A square round each joint, in half-squares of the map."""

    centre: Float[Tensor, "batch J 2"]
    half: Float[Tensor, "batch J"]
    """Half the side."""


def soft_argmax(
    heatmaps: Float[Tensor, "*batch H W"], published: bool = False
) -> Float[Tensor, "*batch 2"]:
    """Gives the mean place under the softmax of each map: x, y [half-squares].

    Args:
        published: Whether pixel i stands for 2 i / size - 1 rather than for its middle.
    """
    height, width = heatmaps.shape[-2:]
    weights = (TEMPERATURE * heatmaps.float()).flatten(-2).softmax(-1)
    weights = weights.unflatten(-1, (height, width))
    shift = 0.0 if published else 0.5
    across, down = (
        (torch.arange(length, device=heatmaps.device) + shift) * (2 / length) - 1
        for length in (width, height)
    )
    return torch.stack([(weights.sum(-2) * across).sum(-1), (weights.sum(-1) * down).sum(-1)], -1)


class JointSquares(nn.Module):
    """Puts a square round each joint, as large as the bones at it, a ratio and an offset say."""

    learned_ratio: Tensor
    learned_offset: Tensor
    parents: Tensor
    onward: Tensor
    telling: Tensor

    def __init__(self, tables: PartTables, settings: CropSettings, published: bool = False):
        """Args:
        tables: Of the skeleton.
        settings: What happens in training.
        published: As of `soft_argmax`.
        """
        super().__init__()
        self.settings, self.published = settings, published
        self.register_buffer("learned_ratio", tables.crops[:, 0].clone())
        self.register_buffer("learned_offset", tables.crops[:, 1].clone())
        for name in ("parents", "onward", "telling"):
            self.register_buffer(name, getattr(tables, name), persistent=False)

    def forward(
        self,
        centre: Float[Tensor, "batch J 2"],
        index: Float[Tensor, "batch 25 H W"],
        generator: torch.Generator | None = None,
    ) -> Squares:
        """Places squares; no gradients pass.

        Args:
            centre: Of the joints.
            index: Clean maps of the parts.
            generator: Moves centres and sides by chance, as in training; None does not.
        """
        centre = centre.detach()
        extent = (centre.amax(1) - centre.amin(1)).amax(-1, keepdim=True) / 2
        bones = [(centre[:, other] - centre).norm(dim=-1) for other in (self.onward, self.parents)]
        half = torch.maximum(*bones)
        half = torch.cat([extent, half[:, 1:]], 1)
        half = half * functional.relu(self.learned_ratio) + functional.relu(self.learned_offset)
        half = self._jittered(half, generator)
        seen = self.visible(centre, index)
        seen = torch.cat([torch.ones_like(seen[:, :1]), seen[:, 1:]], 1)
        half = self._jittered(torch.where(seen, half, UNSEEN * extent), generator)
        if generator is not None and (whole := self.settings.centre_jitter):
            centre = centre + whole * (_uniform(centre, generator) - 0.5)
        return Squares(centre=centre, half=half)

    def visible(
        self, centre: Float[Tensor, "batch J 2"], index: Float[Tensor, "batch 25 H W"]
    ) -> Bool[Tensor, "batch J"]:
        """Tells of which joints a part can be seen at their very place."""
        shares = functional.grid_sample(
            index.detach().float(), centre[:, :, None].float(), align_corners=self.published
        )[..., 0]
        telling = self.telling.T.to(shares.dtype)
        return (shares * telling).amax(1) >= VISIBLE

    def _jittered(
        self, half: Float[Tensor, "batch J"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch J"]:
        whole = self.settings.scale_jitter
        if generator is None or not whole:
            return half
        return half * (1 + whole * (_uniform(half, generator) - 0.5))


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def cut_squares(
    maps: Float[Tensor, "batch C H W"],
    squares: Squares,
    size: int,
    published: bool = False,
    nearest: bool = False,
) -> Float[Tensor, "batch J C {size} {size}"]:
    """Cuts the same channels out round every joint, with zeros beyond the map.

    All joints are cut at once, one below the other: the map is not copied for each.

    Args:
        size: Side of what is cut out [px].
        published: Whether the outermost samples lie on the edges of a square rather than half a
            pixel inside.
        nearest: Takes the nearest pixel, as IUV pictures want it; else bilinear.
    """
    joints = squares.half.shape[1]
    grid = _grid(squares, size, published).float()
    rows = grid.reshape(len(maps), joints * size, size, 2)
    mode = "nearest" if nearest else "bilinear"
    # Half precision has not enough digits for places.
    cut = functional.grid_sample(maps.float(), rows, mode, align_corners=published)
    return cut.unflatten(2, (joints, size)).transpose(1, 2).to(maps.dtype)


def _grid(squares: Squares, size: int, published: bool) -> Float[Tensor, "batch J size size 2"]:
    device, dtype = squares.half.device, squares.half.dtype
    if published:
        line = torch.linspace(-1, 1, size, device=device, dtype=dtype)
    else:
        line = (torch.arange(size, device=device, dtype=dtype) + 0.5) * (2 / size) - 1
    places = squares.half[..., None, None] * line[:, None] + squares.centre[..., None, :]
    across, down = places.unbind(-1)
    return torch.stack(torch.broadcast_tensors(across[..., None, :], down[..., None]), -1)
