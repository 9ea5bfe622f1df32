"""Opens what the stream of a configuration draws from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from plausibody.config import RunConfig
from plausibody.real_labels import read_real_labels
from plausibody.synth.generator import COLOURED, draws_genders
from plausibody.synth.looks import Looks
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.synth.supervision import AMODAL, VISIBLE


def open_assets(
    config: RunConfig,
    split: str,
    looks: Looks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SynthAssets:
    """Opens what the stream of a run draws from.

    Args:
        split: Of the poses.
        looks: Textures and backgrounds, where they are open already.
        progress: Is told how many textures of how many are made, the first time they are needed.

    Raises:
        ValueError: If photos are to be mixed in, and there are none to be read, or their label
            maps would be taken for whole bodies.
    """
    coloured = config.stream.recipe in COLOURED and looks is None
    real = None
    if config.stream.real.share and split == "train":
        real = read_real_labels(config.sources)
        if any(real.label_maps) and config.supervision.weight and config.supervision.kind == AMODAL:
            raise ValueError(
                f"supervision.kind: wanted {VISIBLE}, since label maps of photos show what can be "
                f"seen and not whole bodies, got {AMODAL}; do: --set supervision.kind={VISIBLE}, "
                "or read photos without label maps (sources.real_maps)"
            )
    assets = load_assets(
        split, config.gender, sources=config.sources, coloured=coloured, progress=progress,
        gendered=draws_genders(config.stream),
    )  # fmt: skip
    assets = dataclasses.replace(assets, real=real)
    return assets if looks is None else dataclasses.replace(assets, looks=looks)
