"""Textures of people: painted by a program, or of another origin in the same form.

A procedural texture is a function of a seed and its number. It comes with the label of every texel,
so that pictures have exact labels of clothes, and with the kinds of its garments, so that their
geometry (`plausibody.synth.garments`) agrees with the paint.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from numpy import ndarray
from torch import Tensor

from plausibody.models.records import to_device
from plausibody.synth.chance import Chance
from plausibody.synth.texels import Texels
from plausibody.synth.texture_canvas import SEMANTICS, Canvas
from plausibody.synth.texture_clothes import dress_texture, paint_hat
from plausibody.synth.texture_outfits import Draw, draw_outfit
from plausibody.synth.texture_skin import (
    GREY,
    draw_hair_colour,
    paint_chest,
    paint_face,
    paint_hair,
    paint_skin,
)

__all__ = ["GREY_SHARE", "SEMANTICS", "Texture", "TextureBank", "draw_texture", "paint_texture"]

GREY_SHARE = 0.05
"""Probability of a grey texture, as published.

Source: Sengupta et al., released configuration of HierProb3D, `GREY_TEX_PROB`."""
GREY_EVERY = 20
"""Every so many-th procedural texture is grey; a bank of any size has the published share."""


@dataclass(frozen=True)
class Texture:
    """One person's look."""

    image: UInt8[ndarray, "H W 3"]
    """Row 0 is the atlas's top."""
    semantics: UInt8[ndarray, "H W"]
    """Index into `SEMANTICS`."""
    garments: tuple[int, int, int, int]
    """Kinds in `texture_outfits.UPPER`, `LOWER`, `HAIR` and `SHOES`."""
    grey: bool


@dataclass(frozen=True)
class TextureBank:
    """T textures in the atlas layout of `charts.Chart`."""

    images: UInt8[Tensor, "T H W 3"]
    semantics: UInt8[Tensor, "T H W"] | None
    """Index into `SEMANTICS`; none for published textures."""
    garments: UInt8[Tensor, "T 4"] | None
    """Kinds in `texture_outfits.UPPER`, `LOWER`, `HAIR` and `SHOES`; none for published ones."""
    grey: Bool[Tensor, " T"]
    """Scans without colours."""

    def __post_init__(self) -> None:
        if not len(self.images):
            raise ValueError("textures: wanted at least one texture, got none")

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> TextureBank:
        return to_device(self, device)

    @cached_property
    def by_grey(self) -> tuple[Int[Tensor, " N"], Int[Tensor, " M"]]:
        """Numbers of the textures with colours, and of those without."""
        return (~self.grey).nonzero()[:, 0], self.grey.nonzero()[:, 0]


def draw_texture(
    chance: Chance, bank: TextureBank, grey_share: float = GREY_SHARE
) -> Int[Tensor, " batch"]:
    """Draws a texture for each sample; the grey ones together with a share of their own."""
    coloured, grey = bank.by_grey
    if not len(grey):
        return coloured[chance.integer("texture", len(coloured))]
    if not len(coloured):
        return grey[chance.integer("texture", len(grey))]
    return torch.where(
        chance.chance("texture/grey", grey_share),
        grey[chance.integer("texture", len(grey))],
        coloured[chance.integer("texture", len(coloured))],
    )


def paint_texture(
    texels: Texels, photos: UInt8[ndarray, "P side side 3"], seed: int, number: int
) -> Texture:
    """Paints texture `number` of the series that a seed begins.

    Args:
        photos: Fabrics, of `texture_fabrics.load_fabrics`.
    """
    draw = Draw(seed, number)
    outfit = draw_outfit(draw, grey=number % GREY_EVERY == GREY_EVERY - 1)
    canvas = Canvas(texels)
    hair = draw_hair_colour(draw)
    paint_skin(canvas, draw)
    if outfit.upper == "none":
        paint_chest(canvas, draw)
    paint_face(canvas, draw, hair)
    dress_texture(canvas, draw, outfit, photos)
    paint_hair(canvas, draw, outfit, hair)
    paint_hat(canvas, draw, outfit, photos)
    if outfit.grey:
        light = canvas.colour.mean(1, keepdims=True)
        canvas.colour = GREY * (0.75 + 0.35 * light / light.max())
    image, semantics = canvas.picture()
    return Texture(image, semantics, outfit.kinds, outfit.grey)


def join_textures(textures: list[Texture]) -> TextureBank:
    """Makes a bank of painted textures, all of one size."""
    return TextureBank(
        images=torch.from_numpy(np.stack([texture.image for texture in textures])),
        semantics=torch.from_numpy(np.stack([texture.semantics for texture in textures])),
        garments=torch.tensor([texture.garments for texture in textures], dtype=torch.uint8),
        grey=torch.tensor([texture.grey for texture in textures]),
    )
