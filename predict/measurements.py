"""Measurements of a person: of the most probable body, with intervals if there are any."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.intervals import (
    QUANTITIES,
    UNITS,
    Interval,
    measure_distribution,
    measure_table,
)
from plausibody.models.prediction import BodyPrediction, FisherPrediction

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities with which intervals are to hold the truth."""


@dataclass(frozen=True)
class PersonMeasurements:
    """Measurements of one person, in the order of `QUANTITIES`; lengths in m, mass in kg."""

    mean: Float[Tensor, " Q"]
    std: Float[Tensor, " Q"] | None = None
    """Of the distribution; None if there is a single body."""
    low: Float[Tensor, "L Q"] | None = None
    """Lower ends of the intervals of each of `LEVELS`; None if there is a single body."""
    high: Float[Tensor, "L Q"] | None = None
    """Upper ends."""
    calibrated: str = ""
    """Of which people it was verified that intervals hold the truth as often as they say, such as
    "height told"; empty if the intervals are those of the distribution as it is."""

    def of(self, name: str) -> float:
        """Gives the mean of one measurement."""
        return float(self.mean[QUANTITIES.index(name)])

    def interval(self, name: str, level: float) -> tuple[float, float] | None:
        """Gives the ends of one interval, if there is one.

        Args:
            level: One of `LEVELS`.
        """
        if self.low is None or self.high is None:
            return None
        place = LEVELS.index(level), QUANTITIES.index(name)
        return float(self.low[place]), float(self.high[place])


def unit_of(name: str) -> tuple[str, float]:
    """Gives the unit that people use for a measurement, and how many of it are a metre or a kg."""
    return {"kg": ("kg", 1.0), "m": ("cm", 100.0)}[UNITS[QUANTITIES.index(name)]]


def measure_people(prediction: BodyPrediction, template: BodyTemplate) -> list[PersonMeasurements]:
    """Measures the people of a batch.

    Args:
        prediction: With one axis of people.
        template: Whose shape it is.
    """
    if not isinstance(prediction, FisherPrediction):
        table = measure_table(template, prediction.mode().shape).cpu()
        return [PersonMeasurements(mean=row) for row in table]
    found = measure_distribution(template, prediction.shape)
    ranges: list[Interval] = [found.intervals(level) for level in LEVELS]
    low, high = (
        torch.stack([getattr(interval, end) for interval in ranges], 1).cpu()
        for end in ("low", "high")
    )
    mean, std = found.mean.cpu(), found.std.cpu()
    return [
        PersonMeasurements(mean=mean[n], std=std[n], low=low[n], high=high[n])
        for n in range(len(mean))
    ]
