"""Textures in several sizes, so that each pixel meets texels of about its own size.

Each level halves the one before. That happens cell by cell: no texel of any level mixes two parts
of the body, and looking up never leaves a part's cell. So levels may be as coarse as cells allow.

Source: Williams, "Pyramidal parametrics", 1983. The level is that of the face, from its area in the
texture and in the picture, so no derivatives over pixels are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from plausibody.models.records import to_device
from plausibody.synth.charts import COLUMNS, ROWS, Chart
from plausibody.synth.memory import require_memory
from plausibody.synth.raster import rasterize

SMALLEST_CELL = 6
"""Levels end with cells of about this side [texels]: parts of a person who is 20 px tall."""
_AT_ONCE = 16
"""Textures that are filtered at a time, which bounds memory."""


@dataclass(frozen=True)
class Level:
    """One size of all textures: 24 cells, one after the other, of height by width texels."""

    start: int
    """Number of its first texel among a texture's."""
    height: int
    """Of a cell [texels]."""
    width: int
    """Of a cell [texels]."""


@dataclass(frozen=True)
class MipMaps:
    """All textures with all their levels, made once and kept in memory.

    Cells are stored apart, and labels beside colours, so that a body's pixels read few pages.
    """

    texels: UInt8[Tensor, "T N 4"]
    """Red, green, blue and label: level after level, part after part, row after row."""
    has_semantics: bool
    """Whether the textures came with labels; if not, all labels are 0."""
    levels: tuple[Level, ...]
    """From the finest to the coarsest."""

    def __len__(self) -> int:
        return len(self.texels)

    @cached_property
    def table(self) -> Int[Tensor, "L 3"]:
        """Start, height and width of each level, where the textures are."""
        rows = [(level.start, level.height, level.width) for level in self.levels]
        return torch.tensor(rows, device=self.texels.device)

    def to(self, device: torch.device | str) -> MipMaps:
        return to_device(self, device)

    @classmethod
    def of(
        cls,
        images: UInt8[Tensor, "T height width 3"],
        semantics: UInt8[Tensor, "T height width"] | None = None,
        chart: Chart | None = None,
    ) -> MipMaps:
        """Filters textures into ever smaller ones.

        Args:
            images: Atlases, as `synth.charts` describes them.
            semantics: Labels of their texels, never mixed: a coarser texel has the label in
                its middle.
            chart: If given, texels that none of its faces covers take the colour and label of the
                nearest covered one of their cell. Textures painted only inside the outlines need
                that; otherwise the colour between them would creep in.

        Raises:
            ValueError: If a picture's sides cannot be divided into cells, or memory is too small.
        """
        height, width = images.shape[1:3]
        if height % ROWS or width % COLUMNS or not height or not width:
            raise ValueError(
                f"textures: wanted pictures whose height divides by {ROWS} and width by {COLUMNS}, "
                f"such as 1200 x 800, came {height} x {width}"
            )
        levels = _levels(height // ROWS, width // COLUMNS)
        count = levels[-1].start + ROWS * COLUMNS * levels[-1].height * levels[-1].width
        require_memory(
            4 * len(images) * count, "textures", "take fewer, or at half size: 600 x 400 px"
        )
        # Memory by numpy comes in large pages, which halves what it costs to read at random.
        memory = np.empty((len(images), count, 4), np.uint8)
        texels = torch.from_numpy(memory).to(images.device)
        source = None if chart is None else _nearest_covered(chart, height, width)
        for first in range(0, len(images), _AT_ONCE):
            here = slice(first, first + _AT_ONCE)
            labels = torch.zeros_like(images[here, ..., 0])
            if semantics is not None:
                labels = semantics[here]
            some = torch.cat([images[here], labels[..., None]], -1)
            if source is not None:
                some = some.flatten(1, 2)[:, source.to(some.device)].view_as(some)
            _fill(texels[here], some, levels)
        return cls(texels=texels, has_semantics=semantics is not None, levels=levels)


def level_of_detail(
    screen: Float[Tensor, " F"], area: Float[Tensor, " F"], mipmaps: MipMaps
) -> Float[Tensor, " F"]:
    """Gives the level at which texels and pixels have the same size; may lie between two.

    Args:
        screen: Area of faces in the picture [px^2].
        area: Their share of a cell, 0..1.
    """
    finest = mipmaps.levels[0]
    texels = area * float(finest.height * finest.width)
    level = 0.5 * torch.log2(texels.clamp(min=1e-12) / screen.clamp(min=1e-12))
    return level.clamp(0, len(mipmaps.levels) - 1)


def sample(
    mipmaps: MipMaps,
    texture: Int[Tensor, " N"],
    part: Int[Tensor, " N"],
    u: Float[Tensor, " N"],
    v: Float[Tensor, " N"],
    level: Float[Tensor, " N"],
) -> Float[Tensor, "N 3"]:
    """Looks up colours, 0..1: bilinear within two levels and linear between them.

    Args:
        texture: Number of the texture.
        part: 1..24.
        u: Within the part; beyond 0..1 the colour at the border goes on.
        v: The same, upwards.
        level: From `level_of_detail`.
    """
    fine = level.floor().clamp(max=max(len(mipmaps.levels) - 2, 0))
    share = (level - fine)[:, None]
    below = _bilinear(mipmaps, texture, part, u, v, fine.long())
    if len(mipmaps.levels) == 1:
        return below / 255
    above = _bilinear(mipmaps, texture, part, u, v, fine.long() + 1)
    return (below + share * (above - below)) / 255


def sample_semantics(
    mipmaps: MipMaps,
    texture: Int[Tensor, " N"],
    part: Int[Tensor, " N"],
    u: Float[Tensor, " N"],
    v: Float[Tensor, " N"],
    level: Float[Tensor, " N"],
) -> UInt8[Tensor, " N"]:
    """Looks up the label of the nearest texel, at the level nearest in size.

    Args: as of `sample`.
    """
    start, height, width = mipmaps.table[(level + 0.5).long()].unbind(-1)
    left = torch.minimum((u * width).clamp(min=0).long(), width - 1)
    top = torch.minimum(((1 - v) * height).clamp(min=0).long(), height - 1)
    return mipmaps.texels[texture, start + ((part - 1) * height + top) * width + left, 3]


def _bilinear(
    mipmaps: MipMaps,
    texture: Int[Tensor, " N"],
    part: Int[Tensor, " N"],
    u: Float[Tensor, " N"],
    v: Float[Tensor, " N"],
    level: Int[Tensor, " N"],
) -> Float[Tensor, "N 3"]:
    start, height, width = mipmaps.table[level].unbind(-1)
    x = torch.minimum((u * width - 0.5).clamp(min=0), width - 1.0)
    y = torch.minimum(((1 - v) * height - 0.5).clamp(min=0), height - 1.0)
    left, top = x.long(), y.long()
    across, down = (x - left)[:, None], (y - top)[:, None]
    right, bottom = torch.minimum(left + 1, width - 1), torch.minimum(top + 1, height - 1)

    def texel(i: Tensor, j: Tensor) -> Tensor:
        place = start + ((part - 1) * height + i) * width + j
        return mipmaps.texels[texture, place, :3].float()

    above = texel(top, left) * (1 - across) + texel(top, right) * across
    below = texel(bottom, left) * (1 - across) + texel(bottom, right) * across
    return above * (1 - down) + below * down


def _levels(height: int, width: int) -> tuple[Level, ...]:
    levels = [Level(0, height, width)]
    while min(height, width) > 2 * SMALLEST_CELL - 2:
        start = levels[-1].start + ROWS * COLUMNS * height * width
        height, width = (height + 1) // 2, (width + 1) // 2
        levels.append(Level(start, height, width))
    return tuple(levels)


def _fill(
    texels: UInt8[Tensor, "T N 4"],
    images: UInt8[Tensor, "T height width 4"],
    levels: tuple[Level, ...],
) -> None:
    """Averages cell by cell."""
    batch, height, width, _ = images.shape
    cells = images.reshape(batch, ROWS, height // ROWS, COLUMNS, width // COLUMNS, 4)
    cells = cells.permute(0, 3, 1, 5, 2, 4).flatten(1, 2)
    colours, labels = cells[:, :, :3].float().flatten(0, 1), cells[:, :, 3]
    finest = levels[0]
    for level in levels:
        if level.start:
            down = _boxes(colours.shape[2], level.height).to(colours.device)
            across = _boxes(colours.shape[3], level.width).to(colours.device)
            colours = down @ colours @ across.T
        end = level.start + len(cells[0]) * level.height * level.width
        here = texels[:, level.start : end].unflatten(1, (-1, level.height, level.width))
        here[..., :3] = colours.unflatten(0, (batch, -1)).round().to(torch.uint8).movedim(2, -1)
        row = (2 * torch.arange(level.height) + 1) * finest.height // (2 * level.height)
        column = (2 * torch.arange(level.width) + 1) * finest.width // (2 * level.width)
        here[..., 3] = labels[..., row.to(labels.device)[:, None], column.to(labels.device)]


def _boxes(count: int, fewer: int) -> Float[Tensor, "fewer count"]:
    """Gives the matrix that averages texels over boxes; where they do not divide, by share."""
    edge = torch.arange(fewer + 1) * (count / fewer)
    place = torch.arange(count)
    upper = torch.minimum(edge[1:, None], place + 1.0)
    share = (upper - torch.maximum(edge[:-1, None], place)).clamp(min=0)
    return share / share.sum(1, keepdim=True)


def _nearest_covered(chart: Chart, height: int, width: int) -> Int[Tensor, " texels"]:
    """Gives, for each texel, the number of the nearest one of its cell that a face covers."""
    chart = chart.to("cpu")
    flat = torch.cat(
        [chart.atlas * torch.tensor([width, height]), torch.ones(len(chart.atlas), 1)], -1
    )
    seen = rasterize(
        flat[None], chart.faces_uv, (height, width), perspective=False, barycentrics=False
    ).mask[0]
    number = np.arange(height * width).reshape(height, width)
    tall, wide = height // ROWS, width // COLUMNS
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = np.s_[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            covered = seen[cell].numpy()
            if covered.any():
                i, j = distance_transform_edt(~covered, return_distances=False, return_indices=True)
                number[cell] = number[cell][i, j]
    return torch.from_numpy(number.ravel())
