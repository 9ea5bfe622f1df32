"""Whether two results differ by more than the choice of people: a paired bootstrap.

Both results are of the same people. These are drawn again and again with replacement, both numbers
of a person together, and the difference of the two figures is taken of each draw; the central 95 %
of these differences are the interval. Frames of one film are not independent: where people come in
sequences, whole sequences are drawn.

All figures are ratios of sums, so a draw is a vector of counts, and a matrix product gives every
metric of many draws at once. `scipy.stats.bootstrap` draws anew for every statistic and keeps
single people apart; the tests hold the two against each other.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 (clusters) and 13
(the percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plausibody.evaluate.values import SEQUENCE, UNKNOWN, Values

RESAMPLES = 10_000
LEVEL = 0.95
ENTRIES = 4_000_000
"""Of the counts that are in memory at a time."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The second figure less the first, of one metric over some people."""

    people: int
    """Who have the metric in both results."""
    drawn: int
    """What is drawn of them: people, or sequences."""
    first: float
    second: float
    low: float | None
    """Of the interval of second - first; None if fewer than two can be drawn."""
    high: float | None

    @property
    def difference(self) -> float:
        return self.second - self.first


def clusters_of(values: Values) -> NDArray[np.int64]:
    """Gives the number of what each person is drawn with: its sequence, or itself alone."""
    alone = np.arange(len(values), dtype=np.int64)
    if SEQUENCE not in values.attributes:
        return alone
    attribute = values.attributes[SEQUENCE]
    of = attribute.of.numpy()
    return np.where(of == UNKNOWN, alone + len(attribute.kinds), of)


def paired_differences(
    first: Values,
    second: Values,
    metrics: Sequence[str],
    members: NDArray[np.bool_],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Difference]:
    """Compares two results on some people.

    Args:
        first: Of the people.
        second: Of the same people in the same order.
        metrics: Which both have.
        members: Who takes part.
        resamples: How often people are drawn.
        level: The probability that the interval should hold the true difference.
        seed: Of the draws: the same for all metrics.

    Returns:
        By metric; those that nobody has in both results are left out.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"resamples: wanted at least 1, got {resamples}")
    _, cluster = np.unique(clusters_of(first)[members], return_inverse=True)
    columns = [_sums(first, second, metric, members) for metric in metrics]
    count = int(cluster.max()) + 1 if len(cluster) else 0
    sums = np.zeros((count, 4 * len(metrics)))
    np.add.at(sums, cluster, np.concatenate(columns, 1) if columns else sums[cluster])
    whole = _ratios(sums.sum(0, keepdims=True))[0]
    drawn = _draw(sums, resamples, seed) if count > 1 else None
    found = {}
    for number, (metric, column) in enumerate(zip(metrics, columns, strict=True)):
        taking_part = (column[:, 1] > 0) & (column[:, 3] > 0)
        if not taking_part.any():
            continue
        units = len(np.unique(cluster[taking_part]))
        low, high = None, None
        if drawn is not None and units > 1:
            gaps = drawn[:, number, 1] - drawn[:, number, 0]
            tails = [(1 - level) / 2, (1 + level) / 2]
            low, high = (float(end) for end in np.nanquantile(gaps, tails))
        one, two = whole[number].tolist()
        found[metric] = Difference(int(taking_part.sum()), units, one, two, low, high)
    return found


def _sums(first: Values, second: Values, metric: str, members: NDArray[np.bool_]) -> Array:
    """Gives each person's weighted error and weight, in both results; zeros if one has none."""
    errors = [np.nan_to_num(v.errors[metric].double().numpy()) for v in (first, second)]
    weights = [v.weight(metric).numpy() for v in (first, second)]
    both = members & ~(first.errors[metric].isnan() | second.errors[metric].isnan()).numpy()
    columns = [each for e, w in zip(errors, weights, strict=True) for each in (e * w, w)]
    return (np.stack(columns, 1) * both[:, None])[members]


def _ratios(sums: Array) -> Array:
    """Turns (draws, 4 x metrics) sums into (draws, metrics, 2) figures; NaN of nobody."""
    parts = sums.reshape(len(sums), -1, 2, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Array = parts[..., 0] / parts[..., 1]
    return ratios


def _draw(sums: Array, resamples: int, seed: int) -> Array:
    """Gives the figures of each draw, (resamples, metrics, 2)."""
    chance, count = np.random.default_rng(seed), len(sums)
    step, parts = max(ENTRIES // count, 1), []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        chosen = chance.integers(count, size=(rows, count))
        chosen += count * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)
        parts.append(_ratios(counts @ sums))
    return np.concatenate(parts)


def share_better(
    first: Values, second: Values, metric: str, best: str, members: NDArray[np.bool_]
) -> float | None:
    """Gives the share of people for whom the second result is better; ties count half.

    Args:
        best: Which values are good, see `protocols.Protocol`.

    Returns:
        None where no value is better than another, or nobody has both.
    """
    one, two = (v.errors[metric].double().numpy()[members] for v in (first, second))
    if best == "zero":
        one, two = abs(one), abs(two)
    gain = {"less": one - two, "zero": one - two, "more": two - one}.get(best)
    if gain is None or np.isnan(gain).all():
        return None
    gain = gain[~np.isnan(gain)]
    return float(((gain > 0) + 0.5 * (gain == 0)).mean())
