"""What is between a person and the viewer: things, other people, the borders of the picture.

A layer says which pixels it takes, and in which colours if there are colours. What it leaves of a
silhouette is the visible part; the whole, hidden parts included, is the amodal silhouette.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.models.constants import constant
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.corrupt import rectangles
from plausibody.synth.render import joint_visibility

UNDER_SKIN = {
    "nose": 0.0, "eye": 0.0, "ear": 0.0, "shoulder": 0.06, "elbow": 0.05, "wrist": 0.035,
    "hip": 0.12, "knee": 0.065, "ankle": 0.05,
}  # fmt: skip
"""How deep below the surface key points lie where nothing hides them [m]: means over 64 shapes of
the open body with arms aside, from the front, the back and between."""


@dataclass(frozen=True)
class Occluders:
    """A layer in front of a person."""

    mask: Bool[Tensor, "batch H W"]
    """Where something else than the person, or nothing, is seen in the person's stead."""
    rgb: Float[Tensor, "batch 3 H W"] | None = None
    """Its colours there, 0..1, 0 elsewhere; None if nobody asked for colours."""


@dataclass(frozen=True)
class BorderSettings:
    """How often, and how far, the picture's border cuts a person."""

    truncated: float = 0.2
    """Probability of that."""
    most: float = 0.5
    """Largest share of the height or width that is cut off; uniform from 0."""
    bottom: float = 0.5
    """Probability that it is the bottom; left and right share the rest."""


@dataclass(frozen=True)
class JointSight:
    """Which joints can be seen, and why not."""

    inside: Bool[Tensor, "batch K"]
    """Within the borders of the picture."""
    uncovered: Bool[Tensor, "batch K"]
    """Not behind an occluder."""
    facing: Bool[Tensor, "batch K"]
    """Not behind the person's own body."""

    @property
    def seen(self) -> Bool[Tensor, "batch K"]:
        return self.inside & self.uncovered & self.facing


def over(front: Occluders, back: Occluders) -> Occluders:
    """Lays one layer over another; both have colours, or neither."""
    mask = front.mask | back.mask
    if front.rgb is None and back.rgb is None:
        return Occluders(mask)
    if front.rgb is None or back.rgb is None:
        raise ValueError("over: wanted colours in both layers or in neither, got them in one")
    return Occluders(mask, torch.where(front.mask[:, None], front.rgb, back.rgb))


def visible(amodal: Float[Tensor, "batch H W"], layer: Occluders) -> Float[Tensor, "batch H W"]:
    """Gives what a layer leaves of silhouettes."""
    return amodal * ~layer.mask


def lay_over(
    picture: Float[Tensor, "batch 3 H W"], layer: Occluders
) -> Float[Tensor, "batch 3 H W"]:
    """Paints a layer over pictures.

    Raises:
        ValueError: If the layer has no colours.
    """
    if layer.rgb is None:
        raise ValueError("lay_over: wanted a layer with colours, got one without; paint it first")
    return torch.where(layer.mask[:, None], layer.rgb, picture)


def in_front(
    others: Float[Tensor, "batch H W"], depth: Float[Tensor, "batch H W"]
) -> Bool[Tensor, "batch H W"]:
    """Tells where other people are seen: before the person, and where the person is not.

    Args:
        others: Distance of the other people [m], -1 for nobody.
        depth: The same of the person.
    """
    return (others >= 0) & ((depth < 0) | (others < depth))


def paint(
    chance: Chance, numbers: UInt8[Tensor, "batch H W"], fill: Float[Tensor, "batch 3 H W"] | None
) -> Occluders:
    """Gives colours to things: a tint and a brightness each, over a texture.

    Args:
        numbers: Which thing each pixel shows, 0 for none, as `Objects.draw` gives it; below 8.
        fill: Pictures to cut the texture from, 0..1; smooth noise if None.
    """
    batch, height, width = numbers.shape
    if fill is None:
        noise = chance.uniform("paint/noise", 3, 8, 8)
        fill = functional.interpolate(noise, (height, width), mode="bilinear")
    # Another texture, or none, for each thing: a share of the fill over a colour of its own.
    tint = chance.uniform("paint/tint", 8, 3)
    share = chance.uniform("paint/share", 8, 1, low=0.1, high=0.9)
    which = numbers.flatten(1).long()[..., None]
    own = (tint * (1 - share)).gather(1, which.expand(-1, -1, 3)).mT.unflatten(-1, (height, width))
    mixed = share.gather(1, which).mT.unflatten(-1, (height, width)) * fill + own
    mask = numbers > 0
    return Occluders(mask, mixed.clamp(0, 1) * mask[:, None])


def draw_borders(
    chance: Chance,
    low: Float[Tensor, "batch 2"],
    high: Float[Tensor, "batch 2"],
    settings: BorderSettings,
) -> Float[Tensor, "batch 4"]:
    """Draws where the picture ends, left, top, right, bottom; infinite where it goes on.

    Args:
        low: Upper left corner of the rectangle round each person [px].
        high: Lower right corner.
    """
    on = chance.chance("border", settings.truncated)
    kind = chance.uniform("border/kind")
    cut = (high - low) * chance.uniform("border/cut", 1, high=settings.most)
    middle = (1 + settings.bottom) / 2
    bottom, left = kind < settings.bottom, (kind >= settings.bottom) & (kind < middle)
    right = kind >= middle
    far = torch.full_like(kind, torch.inf)
    return torch.stack(
        [
            torch.where(on & left, low[:, 0] + cut[:, 0], -far),
            -far,
            torch.where(on & right, high[:, 0] - cut[:, 0], far),
            torch.where(on & bottom, high[:, 1] - cut[:, 1], far),
        ],
        1,
    )


def bounded(
    borders: Float[Tensor, "batch 4"],
    size: int,
    low: Float[Tensor, "batch 2"],
    high: Float[Tensor, "batch 2"],
) -> Float[Tensor, "batch 4"]:
    """Draws borders in to those of a square picture, except for who is hardly in it.

    Args:
        size: Side of the picture [px].
        low: Upper left corner of the rectangle round each person [px].
        high: Lower right corner.
    """
    inner = torch.cat([borders[:, :2].clamp(min=0), borders[:, 2:].clamp(max=size)], 1)
    left = torch.minimum(high, inner[:, 2:]) - torch.maximum(low, inner[:, :2])
    enough = (left > 0.2 * (high - low)).all(1, keepdim=True)
    return torch.where(enough, inner, borders)


def within(
    points: Float[Tensor, "batch N 2"], borders: Float[Tensor, "batch 4"]
) -> Bool[Tensor, "batch N"]:
    """Tells which points are in the picture."""
    return ((points >= borders[:, None, :2]) & (points < borders[:, None, 2:])).all(-1)


def beyond(
    borders: Float[Tensor, "batch 4"], size: tuple[int, int], colours: bool = False
) -> Occluders:
    """Gives the layer of all that is outside the picture, black where colours are wanted.

    Args:
        borders: Within the frame that is drawn [px]; may be infinite.
        size: Height and width of that frame [px].
    """
    most = 2.0 * max(size)
    low, high = borders[:, :2].clamp(-most, most), borders[:, 2:].clamp(-most, most)
    mask = ~rectangles((low + high) / 2, (high - low) / 2, size)
    rgb = torch.zeros(len(borders), 3, *size, device=borders.device) if colours else None
    return Occluders(mask, rgb)


def read_pixels(
    picture: Shaped[Tensor, "batch H W"], points: Float[Tensor, "batch N 2"]
) -> tuple[Shaped[Tensor, "batch N"], Bool[Tensor, "batch N"]]:
    """Reads the pixels (batch, H, W) at places; those outside read the nearest of the border.

    Returns:
        The values (batch, N), and whether each place lies in the picture.
    """
    height, width = picture.shape[-2:]
    place = points.floor().clamp(-1, max(height, width)).long()
    column, row = place[..., 0].clamp(0, width - 1), place[..., 1].clamp(0, height - 1)
    inside = (place[..., 0] == column) & (place[..., 1] == row)
    return picture.flatten(1).gather(1, row * width + column), inside


def covered(
    points: Float[Tensor, "batch N 3"],
    things: UInt8[Tensor, "batch H W"],
    others: Float[Tensor, "batch H W"],
) -> Bool[Tensor, "batch N"]:
    """Tells which points of a person are behind a thing or another person.

    Args:
        points: x, y [px] and depth [m].
        things: Not 0 where a thing is, before everybody.
        others: Distance of other people [m], -1 for nobody.
    """
    thing, inside = read_pixels(things, points[..., :2])
    other, _ = read_pixels(others, points[..., :2])
    return inside & ((thing > 0) | ((other >= 0) & (other < points[..., 2])))


def facing(
    joints: Float[Tensor, "batch 17 3"], depth: Float[Tensor, "batch H W"], tolerance: float
) -> Bool[Tensor, "batch 17"]:
    """Tells which COCO-17 key points no other part of the same body hides; none outside counts.

    Args:
        joints: x, y [px] and depth [m].
        depth: Of the person alone [m], -1 for nothing.
        tolerance: How much deeper than usual a key point in sight may lie [m].
    """
    under = tuple((UNDER_SKIN[name.split("_")[-1]],) for name in COCO17)
    under_skin = constant(under, joints.dtype, joints.device)
    skin = torch.cat([joints[..., :2], joints[..., 2:] - under_skin], -1)
    return joint_visibility(skin, depth, tolerance)[1]
