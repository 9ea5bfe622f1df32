"""Label maps of clothed people, as a parser gives them of pictures that we draw.

Geometry and labels agree: a map is drawn of the dressed body, so it reaches as far as the clothes
do, and every label of it is right. `LabelNoise` makes a map as wrong as a parser's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from plausibody.models.constants import constant
from plausibody.models.losses import TargetMaps
from plausibody.synth.chance import Chance
from plausibody.synth.looks import Looks
from plausibody.synth.render import render
from plausibody.synth.semantic_labels import MIRRORED, NAMES, parser_labels

WAVES = 6
"""Cells along a side of the coarse field by which borders are moved."""


@dataclass(frozen=True)
class LabelNoise:
    """What a parser gets wrong; nothing by default."""

    moved: float = 0.0
    """Standard deviation by which borders are moved, smoothly, over the map's side: 0.02 is bad."""
    lost: float = 0.0
    """Probability of each label to be taken for the background, or with `confused` for another."""
    confused: float = 0.0
    """Probability of each label to be taken for the one that is next in the list."""
    swapped: float = 0.0
    """Probability to take a person's left for the right; DSR's sources of labels did that of half
    of the mirrored pictures."""

    def __post_init__(self) -> None:
        for name in ("lost", "confused", "swapped"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"labels.{name}: wanted a probability, got {value}")
        if not self.moved >= 0:
            raise ValueError(f"labels.moved: wanted 0 or more, got {self.moved}")


def spoil_labels(
    chance: Chance, labels: UInt8[Tensor, "batch size size"], noise: LabelNoise
) -> UInt8[Tensor, "batch size size"]:
    """Makes label maps wrong; see `LabelNoise`."""
    if noise.moved:
        labels = _move(chance, labels, noise.moved)
    if noise.swapped:
        swapped = chance.chance("labels/swapped", noise.swapped)[:, None, None]
        mirrored = constant(MIRRORED, torch.uint8, labels.device)[labels.long()]
        labels = torch.where(swapped, mirrored, labels)
    if noise.lost or noise.confused:
        drawn = chance.uniform("labels/said", len(NAMES))
        number = torch.arange(len(NAMES), device=labels.device)
        other = number % (len(NAMES) - 1) + 1
        table = torch.where(drawn < noise.lost + noise.confused, other, number)
        table = torch.where(drawn < noise.lost, 0, table)
        table[:, 0] = 0
        flat = table.gather(1, labels.flatten(1).long())
        labels = flat.view(labels.shape).to(torch.uint8)
    return labels


def _move(
    chance: Chance, labels: UInt8[Tensor, "batch size size"], deviation: float
) -> UInt8[Tensor, "batch size size"]:
    size = labels.shape[-1]
    coarse = chance.normal("labels/moved", 2, WAVES, WAVES, std=deviation * size)
    field = interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    place = torch.arange(size, device=labels.device)
    x = (place[None, None, :] + field[:, 0]).round().long().clamp(0, size - 1)
    y = (place[None, :, None] + field[:, 1]).round().long().clamp(0, size - 1)
    return labels.flatten(1).gather(1, (y * size + x).flatten(1)).view(labels.shape)


def draw_label_maps(
    chance: Chance,
    pixels: Float[Tensor, "batch V 3"],
    vertices: Float[Tensor, "batch V 3"],
    texture: Tensor,
    looks: Looks,
    kept: Bool[Tensor, "batch crop crop"],
    size: int,
    noise: LabelNoise,
    backend: str = "auto",
) -> TargetMaps:
    """Draws what a parser would say of people in a square crop, and the dressed silhouette.

    Args:
        pixels: Vertices of the dressed bodies in the crop: x, y [px] and depth [m].
        vertices: The same in the world [m].
        texture: What each wears.
        looks: With textures that have labels.
        kept: Of each pixel of the crop, whether it shows what is there: not a background that was
            pasted over the person, nor what is beyond the picture.
        size: Side of the maps [px].
        noise: Of the parser.
        backend: Of the renderer.

    Returns:
        Maps whose `whole` is the dressed silhouette, hidden parts included.

    Raises:
        ValueError: If the textures have no labels.
    """
    garments = looks.textures.garments
    if garments is None:
        raise ValueError(
            "stream.maps.size: wanted textures with labels, came published ones, which have none; "
            "do: set sources.textures=procedural, or stream.maps.size=0"
        )
    crop = kept.shape[-1]
    zoom = constant((size / crop, size / crop, 1.0), pixels.dtype, pixels.device)
    drawn = render(
        pixels * zoom,
        vertices,
        looks.chart.faces,
        looks.chart,
        (size, size),
        outputs=("semantics", "part24"),
        textures=looks.mipmaps,
        texture=texture,
        backend=backend,
    )
    assert drawn.semantics is not None and drawn.part24 is not None
    uncovered = kept
    if size != crop:
        uncovered = interpolate(kept[:, None].float(), size=(size, size), mode="area")[:, 0] >= 0.5
    labels = parser_labels(drawn.semantics, drawn.part24, garments[texture])
    labels = spoil_labels(chance, labels, noise)
    return TargetMaps(
        whole=(drawn.part24 > 0).float(), uncovered=uncovered, labels=labels * uncovered
    )
