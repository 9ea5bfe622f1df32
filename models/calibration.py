"""Intervals that hold what they say: a correction of predicted deviations by people whose truth is
known (split-conformal prediction).

For each quantity, the score of a person is how far the truth is above the mean, over the predicted
deviation; negative if below. An interval reaches up by the ceil((n + 1) (1 + level) / 2)-th
smallest of n scores times the deviation, and down likewise. It holds the truth of a further person
with at least the probability `level`, if this person is like those n, and each end is passed by at
most half of the rest. Errors are skewed, as few people are very stout, and one factor for both ends
would leave those out: measured at 90 %, it covers 85.0 % of the stoutest third, two factors 86.9 %,
at the same width. Nothing is assumed of the network or of the distribution of errors. Nothing is
promised of other people, nor of some of them alone: of real pictures, the intervals are as good as
the synthesis is real.

Source: Lei et al., "Distribution-Free Predictive Inference for Regression", 2018, sections 2.2 and
5.2 (scores over a predicted deviation); Romano et al., "Conformalized Quantile Regression", 2019,
theorem 2 (each end by itself); Vovk, "Conditional Validity of Inductive Conformal
Predictors", 2012 (a correction for each group of people).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.files import write_file
from plausibody.models.intervals import (
    QUANTITIES,
    Interval,
    MeasurementDistribution,
    body_mass_index,
)

VERSION = 2
"""Of files."""
ENDS = ("low", "high")
LEVELS = (0.5, 0.8, 0.9, 0.95)
LEAST_PEOPLE = 39
"""Fewest to whom a correction can be fitted: each end of the widest interval is passed by 1 in 40.
"""
CONDITIONS = ("plain", "height", "gender", "height+gender")
"""What was known of a person besides the picture."""


class CalibrationError(ValueError):
    """A calibration that cannot be used."""


@dataclass(frozen=True)
class Calibration:
    """By which factors predicted deviations are multiplied to get intervals."""

    weights: str
    """SHA-256 of the weights that made the predictions."""
    people: int
    """How many people it was fitted to."""
    shape_count: int
    """S, of coefficients; quantities are the 13 measurements, then these."""
    edges: tuple[float, ...]
    """Body mass indices [kg/m^2] that cut people into groups by what is predicted of them, rising;
    with none there is one group."""
    factors: Mapping[str, Float[Tensor, "G L Q 2"]]
    """By condition: of each group, each of `LEVELS` and each quantity, how many deviations the
    interval reaches down from the mean, and up."""

    def intervals(
        self, distribution: MeasurementDistribution, level: float, condition: str = "plain"
    ) -> Interval:
        """Corrects the intervals of the 13 measurements [m; kg].

        Args:
            distribution: Predicted by the weights that this belongs to.
            level: One of `LEVELS`.
            condition: One of `CONDITIONS`: what the prediction knew besides the picture.

        Raises:
            ValueError: If level or condition are not among those that were fitted.
        """
        down, up = self._factors(distribution, level, condition)[..., : len(QUANTITIES), :].unbind(
            -1
        )
        mean, std = distribution.mean, distribution.std
        return Interval(low=mean - down * std, high=mean + up * std)

    def shape_intervals(
        self, distribution: MeasurementDistribution, level: float, condition: str = "plain"
    ) -> Interval:
        """Corrects the intervals of the S coefficients. Arguments and errors as of `intervals`."""
        down, up = self._factors(distribution, level, condition)[..., len(QUANTITIES) :, :].unbind(
            -1
        )
        mean, std = distribution.shape.mean, distribution.shape.std
        return Interval(low=mean - down * std, high=mean + up * std)

    def _factors(
        self, distribution: MeasurementDistribution, level: float, condition: str
    ) -> Float[Tensor, "*batch Q 2"]:
        if level not in LEVELS:
            raise ValueError(f"level: wanted one of {', '.join(map(str, LEVELS))}, came {level}")
        if condition not in self.factors:
            raise ValueError(
                f"condition: wanted one of those that this calibration was fitted for, "
                f"{', '.join(self.factors)}, came {condition!r}"
            )
        count = distribution.shape.mean.shape[-1]
        if count != self.shape_count:
            raise ValueError(
                f"wanted a prediction with the calibration's {self.shape_count} coefficients of "
                f"shape, came one with {count}"
            )
        table = self.factors[condition][:, LEVELS.index(level)].to(distribution.mean)
        return table[predicted_group(distribution, self.edges)]


def predicted_group(
    distribution: MeasurementDistribution, edges: Sequence[float]
) -> Int[Tensor, "*batch"]:
    """Numbers each person's group by the body mass index of the predicted means."""
    index = body_mass_index(distribution.mean)
    return torch.bucketize(index.contiguous(), index.new_tensor(list(edges)))


def scores(
    distribution: MeasurementDistribution,
    measured: Float[Tensor, "people 13"],
    shape: Float[Tensor, "people S"],
) -> Float[Tensor, "people Q"]:
    """Gives how many predicted deviations each truth is above its mean.

    Args:
        distribution: Predicted.
        measured: True measurements [m; kg].
        shape: True coefficients.
    """
    truth = torch.cat([measured, shape], -1)
    mean = torch.cat([distribution.mean, distribution.shape.mean], -1)
    std = torch.cat([distribution.std, distribution.shape.std], -1)
    return (truth - mean) / std


def conformal_quantile(
    scores: Float[Tensor, " people *rest"], level: float
) -> Float[Tensor, "*rest"]:
    """Gives the ceil((n + 1) level)-th smallest of n scores, along the first axis.

    The score of a further person like these is not above it with at least that probability.

    Raises:
        ValueError: If there are too few people for any such score, or if a score is not a number.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * level - 1e-9)  # 0.9 * 10 is more than 9 in binary
    if not 1 <= rank <= count:
        least = math.ceil(level / (1 - level) - 1e-9)
        raise ValueError(
            f"calibration: wanted at least {least} people for a quantile of {100 * level:g} %, "
            f"came {count}"
        )
    if not bool(scores.isfinite().all()):
        raise ValueError("calibration: wanted finite scores, came some that are not")
    return scores.kthvalue(rank, dim=0).values


def conformal_ends(
    scores: Float[Tensor, " people *rest"], level: float
) -> Float[Tensor, "*rest 2"]:
    """Gives how far an interval reaches down and up, each end by itself. Errors as above."""
    tail = (1 + level) / 2
    down, up = conformal_quantile(-scores, tail), conformal_quantile(scores, tail)
    return torch.stack([down, up], -1)


def fit_calibration(
    scores: Mapping[str, Float[Tensor, "people Q"]],
    weights: str,
    groups: Mapping[str, Int[Tensor, " people"]] | None = None,
    edges: Sequence[float] = (),
) -> Calibration:
    """Fits the correction.

    Args:
        scores: By condition, as `scores` gives them, of people whom the network never saw; of the
            13 measurements, then of the coefficients.
        weights: SHA-256 of the weights.
        groups: By condition, the group of each person as `predicted_group` gives it; None for one
            group.
        edges: That cut the groups.

    Raises:
        ValueError: If there are too few people in a group; if a condition is unknown.
    """
    if not scores:
        raise ValueError("calibration: wanted scores of at least one condition, came none")
    if unknown := [name for name in scores if name not in CONDITIONS]:
        raise ValueError(f"condition: wanted {', '.join(CONDITIONS)}, came {', '.join(unknown)}")
    if (groups is None) != (not edges):
        raise ValueError("calibration: wanted both groups and the edges between them, or neither")
    factors = {}
    for condition, values in scores.items():
        parts = [values]
        if groups is not None:
            parts = [values[groups[condition] == group] for group in range(len(edges) + 1)]
        factors[condition] = torch.stack([
            torch.stack([conformal_ends(part, level) for level in LEVELS]) for part in parts
        ]).float()  # fmt: skip
    first = next(iter(scores.values()))
    return Calibration(
        weights=weights,
        people=len(first),
        shape_count=first.shape[-1] - len(QUANTITIES),
        edges=tuple(edges),
        factors=factors,
    )


def calibration_path(weights: Path) -> Path:
    """Names the calibration of weights: beside them, `<name>.calibration.json`."""
    return weights.with_suffix(".calibration.json")


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Writes a calibration as JSON: factors by condition, level and quantity."""
    table = {
        "version": VERSION,
        "weights": calibration.weights,
        "people": calibration.people,
        "shape_count": calibration.shape_count,
        "measurements": list(QUANTITIES),
        "levels": list(LEVELS),
        "ends": list(ENDS),
        "edges": list(calibration.edges),
        "factors": {
            name: factors.double().round(decimals=5).tolist()
            for name, factors in calibration.factors.items()
        },
    }
    write_file(path, json.dumps(table) + "\n")


def load_calibration(path: Path, weights: str | None = None) -> Calibration:
    """Reads a calibration and checks it.

    Args:
        weights: SHA-256 of the weights whose predictions it is to correct; None for any.

    Raises:
        FileNotFoundError: If there is none.
        CalibrationError: If it is damaged, of another version, or belongs to other weights.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"calibration: found no {path}; do: fit it to the weights, with "
            "'plausibody evaluate calibration'"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CalibrationError(
            f"{path}: wanted a calibration in JSON, got {error}; do: get the file again, or move "
            "it away to go without"
        ) from error
    try:
        calibration = _read(table)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = str(error)
        if isinstance(error, KeyError):
            why = f"one without {str(error.args[0])!r}"
        elif isinstance(error, (TypeError, AttributeError)):
            why = "something that is built otherwise"
        raise CalibrationError(
            f"{path}: wanted a calibration, got {why}; do: get the file again, or move it away to "
            "go without"
        ) from error
    if weights is not None and calibration.weights != weights:
        raise CalibrationError(
            f"{path}: wanted the calibration of the weights {weights[:12]}..., came that of "
            f"{calibration.weights[:12]}...; do: fit it to these weights, with "
            "'plausibody evaluate calibration', or get both files again"
        )
    return calibration


def _read(table: Mapping[str, Any]) -> Calibration:
    if table["version"] != VERSION:
        raise ValueError(f"version: wanted {VERSION}, came {table['version']}")
    if tuple(table["measurements"]) != QUANTITIES or tuple(table["levels"]) != LEVELS:
        raise ValueError("measurements and levels: wanted those of this version, came others")
    count, edges = int(table["shape_count"]), tuple(float(edge) for edge in table["edges"])
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"edges: wanted rising ones, came {edges}")
    wanted = (len(edges) + 1, len(LEVELS), len(QUANTITIES) + count, len(ENDS))
    factors = {}
    for name, values in table["factors"].items():
        factors[name] = both = torch.tensor(values, dtype=torch.float32)
        if name not in CONDITIONS or both.shape != wanted:
            raise ValueError(
                f"factors of {name!r}: wanted {wanted} of one of {', '.join(CONDITIONS)}, came "
                f"{tuple(both.shape)}"
            )
        if not bool((both.isfinite().all(-1) & (both.sum(-1) >= 0)).all()):
            raise ValueError(f"factors of {name!r}: wanted finite ones, low ends below high ones")
    if not factors:
        raise ValueError("factors: wanted those of at least one condition, came none")
    return Calibration(
        weights=str(table["weights"]),
        people=int(table["people"]),
        shape_count=count,
        edges=edges,
        factors=factors,
    )
