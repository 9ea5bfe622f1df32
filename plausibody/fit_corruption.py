"""Fits the `measured` corruption to the front end, and says what that gains: the proxy gap.

People whose truth is known are painted, the front end looks at them, and a model of its errors is
fitted to most of them. On the others, in poses that the fit has not seen, the proxy gap tells how
far the published corruptions, and the fitted one, are from the front end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from plausibody import __version__
from plausibody.evaluate.proxy_gap import Gap, Measured, measure, perfect, proxy_gap
from plausibody.evaluate.published import published
from plausibody.models.files import cache_folder, write_file
from plausibody.models.records import take
from plausibody.predict.front_ends.front_end import FrontEnd
from plausibody.predict.front_ends.witness import Session, embedded_digest, show
from plausibody.synth.looks import Looks, load_looks
from plausibody.synth.measured import MeasuredModel
from plausibody.synth.measured_file import write_measured
from plausibody.synth.measured_fit import fit, simulate
from plausibody.synth.measured_sightings import Sightings, corrupted
from plausibody.synth.measured_stage import StageSettings, build_stage
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.synth.texture_cache import TextureSettings

HELD_OUT = 0.25
"""Share of the people on whom the gap is measured, beside those of the fit."""
LEAST_COUNT = 200
REPEATS = 4
"""Times that each held-out person is corrupted, for smooth distributions."""
SAMPLES = 200
"""Of the bootstrap."""
MEASURED, FRONT_END = "measured", "front end"
"""Names of gaps beside those of the published corruptions."""

Progress = Callable[[str, int, int], None]
"""Called with who is looked at ("fit", "held out"), how many are done, and how many there are."""


@dataclass(frozen=True)
class FitSettings:
    """Which people the front end is shown."""

    count: int = 1600
    """Both for the fit and held out."""
    seed: int = 7
    stage: StageSettings = field(default_factory=StageSettings)
    textures: TextureSettings = field(default_factory=TextureSettings)
    backgrounds: str | None = None
    """As of `load_backgrounds`."""

    def __post_init__(self) -> None:
        if self.count < LEAST_COUNT:
            raise ValueError(
                f"count: wanted at least {LEAST_COUNT} people, got {self.count}; the front end "
                "does not find all, and some of the distributions are of few"
            )

    @property
    def held_out(self) -> int:
        return round(self.count * HELD_OUT)


@dataclass(frozen=True)
class FitReport:
    """A fitted model and what it gains."""

    model: MeasuredModel
    gaps: Mapping[str, Gap]
    """By corruption: the published ones, `measured`, and `front end`, which is the front end on the
    people of the fit: what remains of the gap between two sets of people."""
    fitted: int
    """People found among those of the fit."""
    held_out: int
    """The same of those on whom the gap is measured."""
    real: Measured
    synthetic: Mapping[str, Measured]
    """What the gaps were computed from, for plots."""

    def share_left(self, name: str) -> tuple[float, float, float]:
        """Gives the gap of `measured` over that of another, and the range of 95 % of the bootstrap
        samples of that ratio."""
        before, after = self.gaps[name], self.gaps[MEASURED]
        ratios = torch.tensor(after.samples) / torch.tensor(before.samples)
        low, high = ratios.quantile(torch.tensor([0.025, 0.975])).tolist()
        return after.total / before.total, low, high

    def lines(self) -> list[str]:
        """Says it for people."""
        told = [
            f"fitted to {self.fitted} people, gaps on {self.held_out} others "
            "(0: as the front end, 1: as no corruption at all)"
        ]
        for name, gap in self.gaps.items():
            low, high = gap.interval
            spread = f" ({low:.3f} to {high:.3f})" if gap.samples else ""
            groups = ", ".join(f"{group} {value:.2f}" for group, value in gap.groups.items())
            told.append(f"{name:>9}: {gap.total:.3f}{spread}; {groups}")
        for name in self.gaps:
            if name not in (MEASURED, FRONT_END):
                left, low, high = self.share_left(name)
                told.append(
                    f"measured leaves {left:.0%} of the gap of {name} ({low:.0%} to {high:.0%})"
                )
        return told


def fit_corruption(
    out: Path,
    front_end: FrontEnd,
    settings: FitSettings,
    progress: Progress,
    cache: Path | None = None,
) -> FitReport:
    """Paints people, shows them to the front end, fits, writes the model and measures the gap.

    Writes `out` (the model, JSON) and `<out>.gap.json` beside it (the gap).

    Args:
        front_end: The embedded one.
        cache: Where what the front end said is kept, so that a stopped run goes on; the user's
            cache folder if None.
    """
    train, val = load_assets("train"), load_assets("val")
    looks = load_looks(train.template, settings.textures, settings.backgrounds)
    folder = cache or cache_folder() / "sightings"
    shown = settings.count - settings.held_out
    fitted, held_out = (
        _look(front_end, assets, looks, session, folder, name, progress)
        for name, assets, session in (
            ("fit", train, _session(settings, shown, 0, "train")),
            ("held out", val, _session(settings, settings.held_out, 1, "val")),
        )
    )
    provenance: dict[str, str | int | float] = {
        "front_end": "embedded",
        "front_end_weights": embedded_digest(),
        "pictures": "textured, dressed bodies before photographed backgrounds",
        "people": len(fitted),
        "found": int(fitted.found.sum()),
        "seed": settings.seed,
        "textures": settings.textures.count,
        "plausibody": __version__,
    }
    model = fit(fitted, provenance)
    write_measured(out, model)
    report = compare(model, fitted, held_out, val)
    write_file(out.with_suffix(".gap.json"), gap_json(report))
    return report


def _session(settings: FitSettings, count: int, shift: int, split: str) -> Session:
    return Session(
        count=count,
        seed=settings.seed + shift,
        settings=settings.stage,
        front_end=embedded_digest(),
        cast=f"{split} {settings.textures} {settings.backgrounds}",
    )


def _look(
    front_end: FrontEnd,
    assets: SynthAssets,
    looks: Looks,
    session: Session,
    folder: Path,
    name: str,
    progress: Progress,
) -> Sightings:
    stage = build_stage(assets, looks)
    return show(front_end, stage, session, folder, lambda done, count: progress(name, done, count))


def compare(
    model: MeasuredModel, fitted: Sightings, held_out: Sightings, assets: SynthAssets
) -> FitReport:
    """Measures the proxy gap of the published corruptions, and of the model's, on held-out people.

    Args:
        fitted: Whom the model was fitted to.
    """
    real = measure(held_out)
    without = measure(perfect(take(held_out.truth, held_out.found)))
    synthetic = {
        name: measure(corrupted(corruption, held_out, repeats=REPEATS))
        for name, corruption in published(assets).items()
    }
    synthetic[MEASURED] = measure(simulate(model, held_out, repeats=REPEATS))
    gaps = {
        name: proxy_gap(real, one, without, bootstrap=SAMPLES) for name, one in synthetic.items()
    }
    gaps[FRONT_END] = proxy_gap(real, measure(fitted), without)
    return FitReport(
        model=model,
        gaps=gaps,
        fitted=int(fitted.found.sum()),
        held_out=int(held_out.found.sum()),
        real=real,
        synthetic=synthetic,
    )


def gap_json(report: FitReport) -> str:
    """Tells the gap for machines."""
    told = {
        "fitted": report.fitted,
        "held_out": report.held_out,
        "missed": round(report.model.missed, 4),
        "share_left": {
            name: [round(value, 4) for value in report.share_left(name)]
            for name in report.gaps
            if name not in (MEASURED, FRONT_END)
        },
        "gaps": {
            name: {
                "total": round(gap.total, 4),
                "interval": [round(end, 4) for end in gap.interval if math.isfinite(end)],
                "groups": {group: round(value, 4) for group, value in gap.groups.items()},
            }
            for name, gap in report.gaps.items()
        },
    }
    return json.dumps(told, indent=1) + "\n"
