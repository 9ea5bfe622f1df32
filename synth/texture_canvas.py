"""A texture while it is painted: colours and labels of all texels, layer over layer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from plausibody.synth.texels import Texels

SEMANTICS = (
    *("background", "skin", "hair", "upper", "lower", "shoes"),
    *("socks", "glove", "hat", "eye", "lip", "brow"),
)
"""What a texel shows, by its label's number."""


def label_number(name: str) -> int:
    return SEMANTICS.index(name)


class Canvas:
    """Layers are painted from below; a label goes with the layer that covers half a texel."""

    def __init__(self, texels: Texels):
        self.texels = texels
        self.colour: Float[ndarray, "N 3"] = np.zeros((len(texels.place), 3), np.float32)
        self.label: UInt8[ndarray, " N"] = np.full(
            len(texels.place), label_number("skin"), np.uint8
        )

    def soft(self, depth: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
        """Turns the depth inside a region [m], negative outside, into a cover of 0..1."""
        # A texel of a 600 x 400 texture is some 3 mm wide.
        width = 0.003 * 600 / self.texels.size[0]
        return np.clip(depth / width + 0.5, 0, 1).astype(np.float32)

    def paint(
        self,
        cover: Float[ndarray, " N"] | Bool[ndarray, " N"],
        colour: Float[ndarray, "#N 3"] | Float[ndarray, 3],
        label: str | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Lays a colour over what is there.

        Args:
            cover: How much of each texel the layer covers, 0..1.
            colour: One, one for each texel, or one for each texel with a cover above 0.
            label: None keeps the labels below.
            opacity: Of the colour; the label covers regardless.
        """
        hit = np.flatnonzero(cover)
        share = cover[hit].astype(np.float32)[:, None] * opacity
        if colour.ndim == 2 and len(colour) == len(cover):
            colour = colour[hit]
        self.colour[hit] += share * (colour - self.colour[hit])
        if label is not None:
            self.label[cover >= 0.5] = label_number(label)

    def shade(self, factor: Float[ndarray, " N"], where: Bool[ndarray, " N"]) -> None:
        """Darkens or lightens what is there."""
        self.colour[where] *= factor[where, None]

    def picture(self) -> tuple[UInt8[ndarray, "H W 3"], UInt8[ndarray, "H W"]]:
        """Gives the finished texture and its labels."""
        colour = (np.clip(self.colour, 0, 1) * 255 + 0.5).astype(np.uint8)
        return colour.reshape(*self.texels.size, 3), self.label.reshape(self.texels.size)
