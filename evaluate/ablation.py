"""What leaving things out of a training costs: errors by kind of people, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from plausibody.evaluate.bootstrap import Difference, paired_differences
from plausibody.evaluate.values import Values


def mean_values(several: Sequence[Values]) -> Values:
    """Averages each person's numbers over networks, such as those of several seeds."""
    first = several[0]
    errors = {
        name: torch.stack([values.errors[name] for values in several]).mean(0)
        for name in first.errors
    }
    return Values(first.names, errors, attributes=first.attributes)


def by_kind(values: Values, metric: str, attribute: str) -> list[float]:
    """Gives the mean of a metric over those of each kind who have it; NaN of nobody."""
    kinds = values.attributes[attribute]
    return [values.mean(metric, kinds.of == number) for number in range(len(kinds.kinds))]


def effects(
    without: Values, with_it: Values, metrics: Sequence[str], attribute: str
) -> Mapping[str, Mapping[str, Difference]]:
    """Tells by kind and metric what something changes, with intervals of a paired bootstrap.

    Args:
        without: Numbers of some people.
        with_it: Numbers of the same people. Differences are these less those.
        metrics: To compare.
        attribute: Of the people.

    Raises:
        ValueError: If the people are others, or of other kinds.
    """
    kinds, others = without.attributes[attribute], with_it.attributes[attribute]
    alike = without.names == with_it.names and kinds.kinds == others.kinds
    if not alike or not torch.equal(kinds.of, others.of):
        raise ValueError(
            f"{attribute}: wanted numbers of the same people twice, got those of others; do: "
            "measure both networks again, with the same version"
        )
    of = kinds.of.numpy()
    return {
        name: paired_differences(without, with_it, metrics, of == number)
        for number, name in enumerate(kinds.kinds)
    }


def certain(difference: Difference) -> bool:
    """Tells whether an interval leaves out 0: only then does an effect count."""
    if difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0
