"""How far synthetic observations are from a front end's: the proxy gap.

Two sets of sightings of the same people are compared, one by a front end and one by a corruption,
as distributions of what is wrong with them. Each figure is the distance between the two
distributions (1-Wasserstein, or the difference of two rates) over the distance that perfect
observations have from the front end's: 0 is "the same", 1 is "as far as no corruption at all".
The gap is the mean of the figures' groups, each group the mean of its figures.

Perfect observations show every key point in the picture in its place with confidence 1, none
outside it, and the true mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.proxy import Observation
from plausibody.synth.joint_sight import OUTSIDE, STATES
from plausibody.synth.measured import KIND, KINDS, Truth
from plausibody.synth.measured_sightings import Mistakes, Sightings, mistakes

LEAST_CASES = 40
"""Of a kind of key point in a state; with fewer, no figure is made of it."""
LEAST_SCALE = {"distance": 0.005, "confidence": 0.05, "rate": 0.05, "overlap": 0.01,
               "outline": 0.002, "soft": 0.005, "patch": 0.005}  # fmt: skip
"""Smallest distance of perfect observations that figures are divided by: where a front end is all
but perfect, a small difference is no large gap. Lengths over the person's side."""
GROUPS = ("distance", "confidence", "reported", "person", "mask")
EVERY = 199
"""Quantiles by which a distribution is told."""


@dataclass(frozen=True)
class Measured:
    """One set of sightings in numbers, person by person."""

    mistakes: Mistakes
    states: Int[Tensor, "batch 17"]


@dataclass(frozen=True)
class Gap:
    """A proxy gap and what it is made of."""

    total: float
    groups: dict[str, float]
    """`distance`: of key points from the truth, by kind and state; `confidence`; `reported`: how
    many are, and swapped sides; `person`: each person's mean distance, and how many of their key
    points are missing; `mask`: overlap, outline, softness, patches, lost parts and claims."""
    samples: tuple[float, ...] = ()
    """Totals of bootstrap samples over people, the same people for the same seed. Repeated people
    look like lumps, so these lie a little above the total."""

    @property
    def interval(self) -> tuple[float, float]:
        """The range of 95 % of the samples; not a number without samples."""
        if not self.samples:
            return math.nan, math.nan
        low, high = torch.tensor(self.samples).quantile(torch.tensor([0.025, 0.975])).tolist()
        return low, high


def measure(sightings: Sightings) -> Measured:
    """Measures the people who were found."""
    return Measured(mistakes(sightings), sightings.truth.states[sightings.found].cpu())


def perfect(truth: Truth) -> Sightings:
    """Gives observations without any error."""
    inside = (truth.states != OUTSIDE).float()
    keypoints = torch.cat([truth.keypoints, inside[..., None]], -1)
    found = torch.ones(len(truth.side), dtype=torch.bool, device=truth.side.device)
    return Sightings(truth, Observation(keypoints, (truth.labels > 0).float()), found)


def proxy_gap(
    real: Measured,
    synthetic: Measured,
    without: Measured,
    bootstrap: int = 0,
    seed: int = 0,
) -> Gap:
    """Compares synthetic sightings with a front end's.

    Args:
        real: The front end's, of n people.
        synthetic: Of the same people, in the same order, all of them once or several times over.
        without: Perfect ones, of the same people.
        bootstrap: Samples of n people with repetition, from which the interval is made; 0 for none.
    """
    gap = _gap(real, synthetic, without)
    if not bootstrap:
        return gap
    generator = torch.Generator().manual_seed(seed)
    count = len(real.states)
    totals = []
    for _ in range(bootstrap):
        chosen = torch.randint(count, (count,), generator=generator)
        totals.append(_gap(*(_some(m, chosen, count) for m in (real, synthetic, without))).total)
    return Gap(gap.total, gap.groups, tuple(totals))


def _some(measured: Measured, chosen: Int[Tensor, " n"], count: int) -> Measured:
    """Takes people, with all their repetitions."""
    repeats = len(measured.states) // count
    every = (chosen + count * torch.arange(repeats)[:, None]).flatten()
    fields = {name: getattr(measured.mistakes, name)[every] for name in Mistakes.__annotations__}
    return Measured(Mistakes(**fields), measured.states[every])


def _gap(real: Measured, synthetic: Measured, without: Measured) -> Gap:
    one, two, none = _statistics(real), _statistics(synthetic), _statistics(without)
    figures: dict[str, list[float]] = {group: [] for group in GROUPS}
    for (group, scale, name), values in one.items():
        key = (group, scale, name)
        if key not in two or key not in none:
            continue
        worst = max(_apart(values, none[key]), LEAST_SCALE[scale])
        figures[group].append(_apart(values, two[key]) / worst)
    groups = {group: sum(all_) / len(all_) for group, all_ in figures.items() if all_}
    return Gap(sum(groups.values()) / len(groups), groups)


def _apart(one: Tensor, two: Tensor) -> float:
    """Gives the distance of two distributions (quantiles) or rates (single numbers)."""
    return float((one - two).abs().mean())


def _statistics(measured: Measured) -> dict[tuple[str, str, str], Float[Tensor, " n"]]:
    """Tells sightings as distributions and rates, by group, scale and name."""
    wrong, states = measured.mistakes, measured.states
    kind = torch.tensor(KIND).expand_as(states)
    distance = wrong.offset.norm(dim=-1)
    told: dict[tuple[str, str, str], Tensor] = {}

    def tell(group: str, scale: str, name: str, values: Tensor) -> None:
        if len(values) >= LEAST_CASES:
            told[group, scale, name] = _quantiles(values)

    for s, state in enumerate(STATES):
        for k, name in enumerate(KINDS):
            here = (kind == k) & (states == s)
            if here.sum() < LEAST_CASES:
                continue
            # Of perfect observations nothing outside is reported: it has no distance then.
            tell("distance", "distance", f"{name} {state}", distance[here & wrong.reported])
            tell("confidence", "confidence", f"{name} {state}", wrong.confidence[here])
            told["reported", "rate", f"{name} {state}"] = wrong.reported[here].float().mean()
    told["reported", "rate", "sides"] = wrong.sides.float().mean()
    told["reported", "rate", "pairs"] = wrong.swapped.any(1).float().mean()

    count = wrong.reported.sum(1).clamp(min=1)
    tell("person", "distance", "mean distance", (distance * wrong.reported).sum(1) / count)
    within = states != OUTSIDE
    missing = (within & ~wrong.reported).sum(1) / within.sum(1).clamp(min=1)
    tell("person", "rate", "missing", missing)
    tell("person", "confidence", "mean confidence", wrong.confidence.mean(1))

    tell("mask", "overlap", "overlap", wrong.overlap)
    outline = wrong.outline[wrong.outline.isfinite().all(1)]
    tell("mask", "outline", "outline", outline.flatten())
    tell("mask", "outline", "mean of an outline", outline.mean(1))
    tell("mask", "soft", "soft", wrong.soft)
    tell("mask", "patch", "spill", wrong.spill)
    tell("mask", "patch", "cut", wrong.cut)
    lost = (wrong.part_lost & wrong.part_seen).sum(1) / wrong.part_seen.sum(1).clamp(min=1)
    tell("mask", "rate", "lost parts", lost)
    if wrong.hidden.sum() >= LEAST_CASES:
        told["mask", "rate", "claims"] = wrong.claimed[wrong.hidden].float().mean()
    return told


def _quantiles(values: Float[Tensor, " n"]) -> Float[Tensor, " q"]:
    ordered = values.sort().values
    place = (torch.arange(EVERY) + 0.5) / EVERY * (len(ordered) - 1)
    below = place.long().clamp(max=len(ordered) - 2)
    return torch.lerp(ordered[below], ordered[below + 1], place - below)
