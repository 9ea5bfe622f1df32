"""How people and what is behind them look: a chart of the body, textures on it, backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plausibody.assets.catalog import find_asset
from plausibody.models.body import BodyTemplate
from plausibody.synth.backgrounds import BackgroundBank, load_backgrounds
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.mipmaps import MipMaps
from plausibody.synth.texture_cache import TextureSettings, load_textures
from plausibody.synth.texture_published import load_published
from plausibody.synth.textures import TextureBank


@dataclass(frozen=True)
class Looks:
    """What a recipe with colours draws from."""

    chart: Chart
    textures: TextureBank
    mipmaps: MipMaps
    """Of the textures."""
    backgrounds: BackgroundBank

    @classmethod
    def of(cls, chart: Chart, textures: TextureBank, backgrounds: BackgroundBank) -> Looks:
        mipmaps = MipMaps.of(textures.images, textures.semantics, chart)
        return cls(chart, textures, mipmaps, backgrounds)

    def to(self, device: torch.device | str) -> Looks:
        return Looks(
            self.chart.to(device),
            self.textures.to(device),
            self.mipmaps.to(device),
            self.backgrounds.to(device),
        )


def skipped_lines(looks: Looks | None, most: int = 5) -> list[str]:
    """Tells which backgrounds could not be read so far, naming the first few."""
    reasons = [] if looks is None else list(looks.backgrounds.skipped.values())
    lines = [f"background skipped: {reason}" for reason in reasons[:most]]
    return lines + [f"backgrounds skipped: {len(reasons):,} in all"] * (len(reasons) > most)


def load_looks(
    template: BodyTemplate,
    textures: str | TextureSettings | None = None,
    backgrounds: str | Path | None = None,
    directories: Sequence[Path] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Looks:
    """Opens a body's chart, textures (making those that are missing) and backgrounds.

    Args:
        textures: How many are made of what size; or a file of published textures, or a store of
            them (at half size, which is enough for pictures of 256 px), by its path or by its
            name below one of the asset folders.
        backgrounds: As of `load_backgrounds`.
        progress: Is told how many textures of how many are ready, while they are made.
    """
    if isinstance(textures, str):
        path = Path(textures)
        path = path if path.is_file() else find_asset(textures, directories)
        bank = load_published(path, half=True)
    else:
        bank = load_textures(
            textures, template=template, directories=directories, progress=progress
        )
    return Looks.of(
        load_chart(template, directories=directories),
        bank,
        load_backgrounds(backgrounds, directories=directories),
    )
