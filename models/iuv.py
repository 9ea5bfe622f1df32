"""IUV pictures and maps: which part of the body each pixel shows, and which point of that part.

A picture has three channels: part 1..24 or 0, u and v as the chart stores them, 0..1. Maps have 25
channels of each: the index of a part (one where it is seen), and its u and v (zero elsewhere). Maps
are what networks convolve and predict; pictures are what renderers draw and files hold.

Source: Guler et al., "DensePose", 2018; Zhang et al., "Learning 3D Human Shape and Pose from Dense
Body Parts", 2020, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from plausibody.models.constants import constant
from plausibody.models.part_tables import ANNOTATED15, PARTS24, SHOWN

CLASSES = len(PARTS24) + 1
"""The background, and the parts."""


UNKNOWN = -100
"""A class of which nothing is known: `cross_entropy` passes it over."""


@dataclass(frozen=True)
class IuvMaps:
    """Maps of K classes, of which class 0 is the background."""

    u: Float[Tensor, "*batch K H W"]
    v: Float[Tensor, "*batch K H W"]
    index: Float[Tensor, "*batch K H W"]
    """Scores of the classes; of clean maps 1 where a class is seen and 0 elsewhere."""

    def stack(self) -> Float[Tensor, "*batch K3 H W"]:
        """Gives all maps as channels: u, v, index."""
        # Of four axes channels stay last in memory, if they are.
        maps = [each.reshape(-1, *each.shape[-3:]) for each in (self.u, self.v, self.index)]
        stacked = torch.cat(maps, 1)
        return stacked.reshape(*self.u.shape[:-3], *stacked.shape[1:])

    def clean(self) -> IuvMaps:
        """Keeps the best class of each pixel, with its u and v.

        Gradients pass through u and v; the choice of the class has none.
        """
        best = one_hot(self.index.argmax(-3), self.index.shape[-3]).to(self.u.dtype)
        return IuvMaps(u=best * self.u, v=best * self.v, index=best)

    def times(self, keep: Float[Tensor, "*batch K"]) -> IuvMaps:
        """Multiplies whole channels, such as by 0 those of parts that are dropped."""
        keep = keep[..., None, None]
        return IuvMaps(u=self.u * keep, v=self.v * keep, index=self.index * keep)


@dataclass(frozen=True)
class DensePoints:
    """Points of people that annotators placed on their surface: DensePose-COCO's `dp_*`."""

    places: Float[Tensor, "batch N 2"]
    """In half-squares of the box; people with fewer points have the last ones at part 0."""
    part: Int[Tensor, "batch N"]
    """1..24; 0 where there is no point."""
    place_on_part: Float[Tensor, "batch N 2"]
    """u and v as the chart stores them; NaN where they are not known."""
    classes: Int[Tensor, "batch size size"]
    """Of the annotators' masks (`ANNOTATED15`), as large as the maps; `UNKNOWN` where they were not
    asked."""


@dataclass(frozen=True)
class DenseTarget:
    """What is known of the surface of the people of a batch, in the boxes of their proxies."""

    iuv: Float[Tensor, "batch 3 size size"]
    """The true picture; see the module."""
    joints: Float[Tensor, "batch J 2"]
    """Of the skeleton [half-squares of the box]."""
    drawn: Bool[Tensor, " batch"] | None = None
    """Whose `iuv` is known; those of others may be anything. None: everybody's."""
    points: DensePoints | None = None
    """What annotators say of the people; None where nobody was asked."""


def one_hot(classes: Int[Tensor, "*batch H W"], count: int) -> Bool[Tensor, "*batch count H W"]:
    """Gives a channel for each class, true where it is; channels last, as networks want them."""
    every = torch.arange(count, device=classes.device)
    return (classes[..., None] == every).movedim(-1, -3)


def to_maps(iuv: Float[Tensor, "*batch 3 H W"]) -> IuvMaps:
    """Makes clean maps of 25 classes of a picture."""
    part, u, v = iuv.unbind(-3)
    index = one_hot(part.round().long(), CLASSES).to(iuv.dtype)
    # The background has no place on the body.
    seen = index * constant((0.0, *(1.0,) * 24), iuv.dtype, iuv.device)[:, None, None]
    return IuvMaps(u=seen * u[..., None, :, :], v=seen * v[..., None, :, :], index=index)


def to_picture(maps: IuvMaps) -> Float[Tensor, "*batch 3 H W"]:
    """Makes a picture of maps of 25 classes: the best class of each pixel, and its u and v.

    A pixel for which no class has a positive score, as where parts were dropped from clean maps,
    shows nothing.
    """
    best = maps.index.argmax(-3, keepdim=True)
    part = torch.where(maps.index.amax(-3, keepdim=True) > 0, best, 0)
    return _picture(maps, best, part)


def predicted_picture(maps: IuvMaps) -> Float[Tensor, "*batch 3 H W"]:
    """Makes a picture of predicted maps, whose scores may be negative."""
    best = maps.index.argmax(-3, keepdim=True)
    return _picture(maps, best, best)


def _picture(
    maps: IuvMaps, best: Int[Tensor, "*batch 1 H W"], part: Int[Tensor, "*batch 1 H W"]
) -> Float[Tensor, "*batch 3 H W"]:
    seen = (part > 0).to(maps.u.dtype)
    u, v = maps.u.gather(-3, best) * seen, maps.v.gather(-3, best) * seen
    return torch.cat([part.to(u.dtype), u, v], -3)


def annotated(parts: Int[Tensor, "*batch H W"]) -> Int[Tensor, "*batch H W"]:
    """Joins parts to the 15 classes of DensePose's annotators; see `ANNOTATED15`."""
    return constant(ANNOTATED15, torch.long, parts.device)[parts]


def shown_maps(iuv: Float[Tensor, "batch J 3 H W"], shown: Int[Tensor, "J 6"]) -> IuvMaps:
    """Makes clean maps of 7 classes, of shape [batch, J, 7, H, W], of a picture for each joint.

    Class 0 is whatever is none of the joint's parts. Where a joint has a part twice, both channels
    have it.

    Args:
        shown: Of `PartTables`.
    """
    part, u, v = iuv[:, :, None].unbind(3)
    index = part[:, :, 0, :, :, None].round().long() == shown[:, None, None]
    index = torch.cat([~index.any(-1, keepdim=True), index], -1).movedim(-1, 2).to(iuv.dtype)
    seen = index * constant((0.0, *(1.0,) * SHOWN), iuv.dtype, iuv.device)[:, None, None]
    return IuvMaps(u=seen * u, v=seen * v, index=index)


def shown_picture(maps: IuvMaps, shown: Int[Tensor, "J 6"]) -> Float[Tensor, "batch J 3 H W"]:
    """Makes a picture for each joint of its maps of 7 classes: undoes `shown_maps`.

    Args:
        maps: Clean or predicted ones, of shape [batch, J, 7, H, W].
        shown: Of `PartTables`.
    """
    picture = predicted_picture(maps)
    parts = functional.pad(shown, (1, 0))  # what is none of the joint's parts is the background
    part = parts[None, :, :, None, None].expand(len(picture), -1, -1, *picture.shape[-2:])
    own = part.gather(2, picture[:, :, :1].long()).to(picture.dtype)
    return torch.cat([own, picture[:, :, 1:]], 2)


def resize_picture(iuv: Float[Tensor, "*batch 3 H W"], size: int) -> Float[Tensor, "*batch 3 _ _"]:
    """Takes the nearest pixels: parts are never interpolated, nor u and v across their borders.

    Args:
        size: Side of the result [px].
    """
    flat = iuv.reshape(-1, *iuv.shape[-3:])
    small = functional.interpolate(flat, size=(size, size), mode="nearest-exact")
    return small.unflatten(0, iuv.shape[:-3])
