"""Fits the `measured` corruption to sightings."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.proxy import Observation
from plausibody.models.records import take
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.joint_sight import STATES
from plausibody.synth.measured import (
    BLUR,
    KIND,
    KINDS,
    SCORES,
    KeypointErrors,
    MaskErrors,
    MeasuredModel,
    corrupt,
    corrupt_mask,
    trunk_directions,
)
from plausibody.synth.measured_sightings import (
    LEAST_PATCH,
    Mistakes,
    Sightings,
    corrupted,
    mistakes,
)

LEAST_PEOPLE = 40
"""People found from which a fit is made at all."""
LEAST_CASES = 30
"""Of a kind in a state; with fewer, all kinds in that state stand in for it."""
CELLS = 12
"""Places along the frame's side at which the outline's offset varies: every 8 to 9 px of 112, about
the reach of the front end's errors as one sees them in pictures."""
ROUNDS = 5
"""Of correcting the mask's model by what comes out of it; further ones change little."""
MOST = 1000
"""People who are seen through the model in a round; fewer are seen twice."""
_MIRROR = mirror(COCO17)
_MIRRORED_PART = [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21,
                  24, 23]  # fmt: skip


def fit(
    sightings: Sightings,
    provenance: dict[str, str | int | float] | None = None,
    rounds: int = ROUNDS,
) -> MeasuredModel:
    """Fits a model to what a front end said of people whose truth is known.

    Args:
        rounds: Of correcting the mask's model by what comes out of it.

    Raises:
        ValueError: If it found too few of them.
    """
    count = int(sightings.found.sum())
    if count < LEAST_PEOPLE:
        raise ValueError(
            f"wanted at least {LEAST_PEOPLE} people whom the front end found, came {count} of "
            f"{len(sightings)}; do: stage more pictures (--count)"
        )
    wrong = mistakes(sightings)
    if not wrong.outline.isfinite().any():
        raise ValueError(
            f"wanted masks of the {count} people found, came none with an outline to measure; "
            "do: take a front end that gives masks"
        )
    truth = take(sightings.truth, sightings.found)
    model = MeasuredModel(
        keypoints=_fit_keypoints(wrong, truth.states, *trunk_directions(truth.keypoints)),
        masks=_fit_masks(wrong, truth.side),
        missed=1 - count / len(sightings),
        provenance=provenance or {},
    )
    found = take(sightings, sightings.found)
    return replace(model, masks=_calibrated(model.masks, found, wrong, rounds))


def simulate(model: MeasuredModel, people: Sightings, seed: int = 0, repeats: int = 1) -> Sightings:
    """Sees people through a model instead of a front end, those that the front end found."""
    return corrupted(lambda chance, truth: corrupt(chance, truth, model), people, seed, repeats)


def quantiles(values: Float[Tensor, " n"]) -> Float[Tensor, " Q"]:
    """Tables the quantiles of values at the normal scores."""
    return torch.quantile(values, torch.special.ndtr(SCORES.to(values)))


def normal_scores(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Replaces values by the normal scores of their ranks; equal values share their mean rank."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - count / 2
    return torch.special.ndtri(middle[place] / len(values)).to(values.dtype)


def _fit_keypoints(
    wrong: Mistakes,
    states: Int[Tensor, "n 17"],
    along: Float[Tensor, "n 2"],
    across: Float[Tensor, "n 17 2"],
) -> KeypointErrors:
    kind = torch.tensor(KIND).expand_as(states)
    parts = torch.stack(
        [(wrong.offset * along[:, None]).sum(-1), (wrong.offset * across).sum(-1)], -1
    )
    bias = torch.zeros(len(KINDS), len(STATES), 2)
    for k in range(len(KINDS)):
        for s in range(len(STATES)):
            chosen = (kind == k) & (states == s) & wrong.reported
            if chosen.sum() >= LEAST_CASES:
                bias[k, s] = parts[chosen].median(0).values
    expected = bias[kind, states]
    expected = expected[..., :1] * along[:, None] + expected[..., 1:] * across
    distance = (wrong.offset - expected).norm(dim=-1)

    distances, distance_score = _tables(distance, kind, states, wrong.reported)
    sure = wrong.confidence
    confidences, sure_score = _tables(sure, kind, states, torch.ones_like(wrong.reported))
    seen = wrong.reported
    shared_distance = _common(distance_score, seen, distance_score, seen)
    shared_sure = _common(sure_score, seen, sure_score, seen)
    crossed = _common(distance_score, seen, sure_score, seen)
    tie = _bounded(crossed / math.sqrt(max(shared_distance * shared_sure, 1e-6)))
    whole = float((distance_score * sure_score)[seen].mean())
    rest = math.sqrt(max((1 - shared_distance) * (1 - shared_sure), 1e-6))
    own = _bounded((whole - tie * math.sqrt(shared_distance * shared_sure)) / rest)

    both = wrong.separable & wrong.reported & wrong.reported[:, _MIRROR]
    swap = [_rate(wrong.swapped[kind == k], both[kind == k]) for k in range(len(KINDS))]
    return KeypointErrors(
        distance=distances,
        confidence=confidences,
        bias=bias,
        distance_shared=shared_distance,
        confidence_shared=shared_sure,
        shared_tie=tie,
        own_tie=own,
        swap=tuple(swap),
        sides=(_rate(wrong.sides, wrong.facing), _rate(wrong.sides, ~wrong.facing)),
    )


def _tables(
    values: Float[Tensor, "n 17"],
    kind: Int[Tensor, "n 17"],
    states: Int[Tensor, "n 17"],
    known: Bool[Tensor, "n 17"],
) -> tuple[Float[Tensor, "9 3 Q"], Float[Tensor, "n 17"]]:
    """Tables values by kind and state, and gives each its normal score among its like."""
    table = torch.zeros(len(KINDS), len(STATES), len(SCORES))
    scores = torch.zeros_like(values)
    for s in range(len(STATES)):
        alike = known & (states == s)
        for k in range(len(KINDS)):
            own = alike & (kind == k)
            enough = own if own.sum() >= LEAST_CASES else alike
            enough = enough if enough.any() else known
            table[k, s] = quantiles(values[enough])
            if own.sum() >= LEAST_CASES:
                scores[own] = normal_scores(values[own])
    return table, scores


def _common(first: Tensor, first_known: Tensor, second: Tensor, second_known: Tensor) -> float:
    """Gives the mean product of scores of two different key points of one person."""
    first, second = first * first_known, second * second_known
    products = first.sum(1) * second.sum(1) - (first * second).sum(1)
    pairs = first_known.sum(1) * second_known.sum(1) - (first_known & second_known).sum(1)
    mean = float(products.sum() / pairs.sum().clamp(min=1))
    return mean if first is not second and mean < 0 else _share(mean)


def _share(value: float) -> float:
    return min(max(value, 0.0), 0.95)


def _bounded(correlation: float) -> float:
    return min(max(correlation, -0.95), 0.95)


def _rate(cases: Tensor, among: Tensor) -> float:
    """Gives how many of some are cases; 0 of none."""
    return int((cases & among).sum()) / max(int(among.sum()), 1)


def _fit_masks(wrong: Mistakes, side: Float[Tensor, " n"]) -> MaskErrors:
    there = wrong.outline.isfinite().all(1)
    outline = _smoothed(wrong.outline[there], side[there])
    score = normal_scores(outline.flatten()).view_as(outline)
    half = score.shape[1] // 2
    return MaskErrors(
        offset=quantiles(outline.flatten()),
        # Points half the list apart lie far apart on the body.
        offset_shared=_share(float((score[:, :half] * score[:, half : 2 * half]).mean())),
        cells=CELLS,
        # A logistic curve climbs from 0.1 to 0.9 over 4.394 of its scale.
        soft=(quantiles(wrong.soft[~wrong.empty]) / 4.394).clamp(min=1e-3),
        claimed=_rate(wrong.claimed, wrong.hidden),
        lost=_lost(wrong),
        spill=float((wrong.spill > 0).float().mean()),
        spill_radius=_radii(wrong.spill),
        cut=float((wrong.cut > 0).float().mean()),
        cut_radius=_radii(wrong.cut),
        empty=float(wrong.empty.float().mean()),
    )


def _smoothed(
    outline: Float[Tensor, "n points"], side: Float[Tensor, " n"]
) -> Float[Tensor, "n points"]:
    """Spreads offsets, which are counted in whole pixels, evenly over their pixel."""
    within = Chance(0, torch.arange(len(outline))).uniform(
        "within a pixel", outline.shape[1], low=-0.5, high=0.5
    )
    return outline + within / side[:, None]


def _lost(wrong: Mistakes) -> Float[Tensor, " 25"]:
    """Gives the rate of losing each part, left and right alike."""
    lost = (wrong.part_lost & wrong.part_seen).sum(0)
    seen = wrong.part_seen.sum(0)
    return (lost + lost[_MIRRORED_PART]) / (seen + seen[_MIRRORED_PART]).clamp(min=1)


def _radii(radius: Float[Tensor, " n"]) -> Float[Tensor, " Q"]:
    some = radius[radius > 0]
    return quantiles(some) if len(some) else torch.full((len(SCORES),), LEAST_PATCH)


def _calibrated(errors: MaskErrors, people: Sightings, real: Mistakes, rounds: int) -> MaskErrors:
    """Corrects the mask's model until what it does measures like what was measured.

    Limbs are thin, discs overlap the person, and a lost hand looks like a lost patch: numbers that
    go in do not come out alike. Each round adds the difference.
    """
    wanted = _fit_masks(real, people.truth.side)
    for number in range(rounds):
        came = _fit_masks(*_seen_through(errors, people, seed=number))
        errors = replace(
            errors,
            offset=_ordered(errors.offset + wanted.offset - came.offset, -3 * BLUR, 3 * BLUR),
            offset_shared=_share(errors.offset_shared + wanted.offset_shared - came.offset_shared),
            soft=_ordered(errors.soft * (wanted.soft / came.soft).clamp(0.5, 2.0), 1e-3, 0.1),
            lost=(errors.lost + wanted.lost - came.lost).clamp(0, 1),
            spill=_share(errors.spill + wanted.spill - came.spill),
            spill_radius=_rescaled(errors.spill_radius, wanted.spill_radius, came.spill_radius),
            cut=_share(errors.cut + wanted.cut - came.cut),
            cut_radius=_rescaled(errors.cut_radius, wanted.cut_radius, came.cut_radius),
        )
    return errors


def _ordered(table: Float[Tensor, " Q"], low: float, high: float) -> Float[Tensor, " Q"]:
    """Keeps a table of quantiles within limits and rising."""
    return table.clamp(low, high).sort().values


def _rescaled(
    table: Float[Tensor, " Q"], wanted: Float[Tensor, " Q"], came: Float[Tensor, " Q"]
) -> Float[Tensor, " Q"]:
    """Scales radii towards giving the wanted mean, at most by half in a step."""
    step = float(wanted.mean() / came.mean())
    return (table * min(max(step, 2 / 3), 1.5)).clamp(LEAST_PATCH, 0.5)


def _seen_through(
    errors: MaskErrors, people: Sightings, seed: int
) -> tuple[Mistakes, Float[Tensor, " n"]]:
    numbers = torch.arange(min(2 * len(people), MOST))
    truth = take(people.truth, numbers % len(people))
    masks = [
        corrupt_mask(Chance(seed, some), take(truth, some), errors) for some in numbers.split(64)
    ]
    keypoints = torch.cat([truth.keypoints, torch.ones(len(numbers), 17, 1)], -1)
    seen = Observation(keypoints=keypoints, mask=torch.cat(masks))
    everybody = torch.ones(len(numbers), dtype=torch.bool)
    return mistakes(Sightings(truth, seen, everybody)), truth.side
