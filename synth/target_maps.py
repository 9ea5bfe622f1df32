"""Pictures of the true bodies, which losses compare with pictures of predicted ones.

A map is a small square picture about the middle of the proxy's box. It is drawn by the recipe that
knows the body, the camera and what stands between them, and only where a stream is asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.crop import inside_borders, resample_square
from plausibody.models.losses import TargetMaps
from plausibody.models.proxy import Box
from plausibody.synth.raster import rasterize_outlines


@dataclass(frozen=True)
class MapSettings:
    """Which maps a stream hands over besides the numbers of its bodies."""

    size: int = 0
    """Side of the maps [px]; 0 for none."""
    reach: float = 1.0
    """Half the side of what they show, in half-squares of the box: 1 is the box. The box is put
    round what is left to see of a person; what is hidden may lie beyond it."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"maps.size: wanted 0 for no maps, or pixels, got {self.size}")
        if not self.reach > 0:
            raise ValueError(f"maps.reach: wanted more than 0 half-squares, got {self.reach}")


@dataclass(frozen=True)
class Cover:
    """What lies between people and the viewer, in the picture in which their box is."""

    hidden: Bool[Tensor, "batch H W"]
    """Where something is before the person; beyond the pixels it is taken for nothing, unless
    `around` tells of it."""
    borders: Float[Tensor, "batch 4"]
    """Where the picture ends (left, top, right, bottom) [px]; may be infinite."""
    occluded: Float[Tensor, " batch"]
    """Share of the person, as far as the picture goes, that is behind something."""
    around: Bool[Tensor, "batch size size"] | None = None
    """The same as `hidden` in the pixels of the maps, which may reach farther."""


def to_map(
    flat: Float[Tensor, "*batch N 2"], size: int, reach: float = 1.0
) -> Float[Tensor, "*batch N 2"]:
    """Places in half-squares of the box to pixels of a map."""
    return (flat / reach + 1) * (size / 2)


def draw_maps(
    surface: Float[Tensor, "batch V 2"],
    faces: Int[Tensor, "F 3"],
    box: Box,
    settings: MapSettings,
    cover: Cover | None = None,
    backend: str = "auto",
) -> TargetMaps | None:
    """Draws the whole silhouette of bodies, and where it could be seen.

    Args:
        surface: Projected vertices, of the body without clothes, in the picture [px].
        faces: Of the mesh that they are of.
        box: Of the proxy, in the same picture.
        settings: None is drawn where these want none.
        cover: None if nothing hides anything.
        backend: Of the rasteriser.
    """
    size, reach = settings.size, settings.reach
    if not size:
        return None
    places = to_map(box.to_square(surface), size, reach)
    whole = rasterize_outlines(places, faces, (size, size), backend=backend).float()
    if cover is None:
        return TargetMaps(whole=whole, reach=reach)
    square = Box(centre=box.centre, side=box.side * reach)
    hidden = resample_square(cover.hidden.float(), square, size) >= 0.5
    if cover.around is not None:
        hidden = hidden | cover.around
    corner = (square.centre - square.side[:, None] / 2).repeat(1, 2)
    borders = (cover.borders - corner) * (size / square.side)[:, None]
    uncovered = ~hidden & inside_borders(borders, size)
    return TargetMaps(whole=whole, uncovered=uncovered, occluded=cover.occluded, reach=reach)


def occluded_share(
    whole: Bool[Tensor, "batch H W"], seen: Bool[Tensor, "batch H W"]
) -> Float[Tensor, " batch"]:
    """Gives which share of silhouettes is not seen; 0 of people of whom there is nothing."""
    count = whole.sum((1, 2)).clamp(min=1)
    return (whole & ~seen).sum((1, 2)) / count
