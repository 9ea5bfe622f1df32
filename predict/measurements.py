"""Measurements of a person: of the most probable body, with intervals if there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import LEVELS, Calibration
from plausibody.models.intervals import (
    QUANTITIES,
    Interval,
    measure_distribution,
    measure_table,
)
from plausibody.models.prediction import BodyPrediction, FisherPrediction


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
    calibrated: bool = False
    """Whether a calibration made sure that the intervals hold the truth as often as they say, of
    people like those of the synthetic stream. If not, they are those of the distribution as it is.
    """
    condition: str = "plain"
    """What was told besides the picture, see `Told.condition`."""

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


def measure_people(
    prediction: BodyPrediction,
    template: BodyTemplate,
    conditions: Sequence[str],
    calibration: Calibration | None = None,
) -> list[PersonMeasurements]:
    """Measures the people of a batch.

    Args:
        prediction: With one axis of people.
        template: Whose shape it is.
        conditions: What was told of each of them.
        calibration: Of the weights; it counts for those of whom was told what it was fitted for.
    """
    if not isinstance(prediction, FisherPrediction):
        table = measure_table(template, prediction.mode().shape).cpu()
        return [PersonMeasurements(mean=row) for row in table]
    found = measure_distribution(template, prediction.shape)
    ranges: dict[str | None, Tensor] = {None: _ranges([found.intervals(level) for level in LEVELS])}
    fitted = calibration.factors if calibration is not None else {}
    if calibration is not None:
        for name in {*conditions} & fitted.keys():
            corrected = [calibration.intervals(found, level, name) for level in LEVELS]
            ranges[name] = _ranges(corrected)
    mean, std = found.mean.cpu(), found.std.cpu()
    people = []
    for n, condition in enumerate(conditions):
        low, high = ranges[condition if condition in fitted else None][n]
        people.append(
            PersonMeasurements(mean[n], std[n], low, high, condition in fitted, condition)
        )
    return people


def _ranges(levels: Sequence[Interval]) -> Float[Tensor, "people 2 L Q"]:
    """Stacks lower and upper ends of the intervals of all levels."""
    ends = [torch.stack([interval.low, interval.high], 1) for interval in levels]
    return torch.stack(ends, 2).cpu()
