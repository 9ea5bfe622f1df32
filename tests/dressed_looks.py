"""Textures that need no painting, for tests of recipes with colours: people in plain clothes."""

from __future__ import annotations

import torch

from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.charts import load_chart
from plausibody.synth.looks import Looks
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_canvas import label_number
from plausibody.synth.texture_outfits import HAIR, LOWER, SHOES, UPPER
from plausibody.synth.textures import TextureBank


def plain_looks(assets: SynthAssets) -> Looks:
    """One person is in a t-shirt all over, red; the other bare, green; noise is behind them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(90, 110, (2, 60, 40, 3), dtype=torch.uint8, generator=generator)
    images[0, ..., 0], images[1, ..., 1] = 200, 200
    semantics = torch.full((2, 60, 40), label_number("upper"), dtype=torch.uint8)
    semantics[1] = label_number("skin")
    kinds = (UPPER.index("t-shirt"), LOWER.index("shorts"), HAIR.index("buzz"), SHOES.index("none"))
    bank = TextureBank(
        images=images,
        semantics=semantics,
        garments=torch.tensor([kinds, kinds], dtype=torch.uint8),
        grey=torch.zeros(2, dtype=torch.bool),
    )
    return Looks.of(load_chart(assets.template), bank, load_backgrounds("procedural"))
