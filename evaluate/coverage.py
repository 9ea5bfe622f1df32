"""What intervals are worth: how many hold the truth, how wide they are, how far the means are off.

All of it is measured on people to whom the correction was not fitted. "Raw" intervals are as
predicted, "conformal" ones are corrected.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.answers import Answers
from plausibody.evaluate.calibration_result import SHOWN, Coverage, MeanErrors, Shift, Subset
from plausibody.evaluate.metrics import point_error, pve_t_sc
from plausibody.models.body import BodyTemplate, rest_vertices
from plausibody.models.calibration import LEVELS, Calibration, conformal_ends
from plausibody.models.intervals import QUANTITIES, UNITS, Interval, measure_table, normal_width
from plausibody.models.records import take

CHUNK = 256
"""People whose vertices are compared at a time."""


def mean_body_half_widths(fitted: Answers, template: BodyTemplate) -> Float[Tensor, " Q"]:
    """Gives half the width of conformal 90 % intervals round the mean body, of each quantity.

    They know nothing of a picture, are as wide for everybody, and each end is found by itself, like
    those of the intervals that they are compared with.

    Args:
        fitted: People to fit them to.
        template: Whose mean shape is the middle.
    """
    level = LEVELS[SHOWN]
    middle = measure_table(template, torch.zeros_like(fitted.shape[:1]).to(template.vertices))
    gap = torch.cat([fitted.measured - middle.cpu(), fitted.shape], -1)
    return conformal_ends(gap, level).sum(-1) / 2


def _intervals(
    answers: Answers, calibration: Calibration | None, level: float, condition: str
) -> Interval:
    """Of the 13 measurements and then the coefficients; raw without a calibration."""
    predicted = answers.predicted[condition]
    if calibration is None:
        measured = predicted.intervals(level)
        half = normal_width(level) * predicted.shape.std
        mean = predicted.shape.mean
        shape = Interval(mean - half, mean + half)
    else:
        measured = calibration.intervals(predicted, level, condition)
        shape = calibration.shape_intervals(predicted, level, condition)
    return Interval(
        torch.cat([measured.low, shape.low], -1), torch.cat([measured.high, shape.high], -1)
    )


def _held(
    answers: Answers, calibration: Calibration | None, level: float, condition: str
) -> Float[Tensor, "people Q"]:
    truth = torch.cat([answers.measured, answers.shape], -1)
    return _intervals(answers, calibration, level, condition).holds(truth).double()


def measure_coverage(
    answers: Answers, calibration: Calibration, constant: Float[Tensor, " Q"]
) -> tuple[Coverage, ...]:
    """Measures coverage, width and error of each quantity under each condition, and pooled.

    Args:
        answers: Of people that the correction was not fitted to.
        constant: Half widths of intervals round the mean body: `mean_body_half_widths`.
    """
    rows = []
    count = answers.shape.shape[-1]
    names = [*QUANTITIES, *(f"coefficient {number}" for number in range(1, count + 1))]
    units = [*UNITS, *["std"] * count]
    for condition in calibration.factors:
        people = take(answers, answers.members(condition))
        table = _Table.of(people, calibration, constant, condition)
        rows.append(table.pooled("all measurements", slice(0, len(QUANTITIES))))
        rows.append(table.pooled("all coefficients", slice(len(QUANTITIES), None)))
        for number, (name, unit) in enumerate(zip(names, units, strict=True)):
            rows.append(table.row(name, unit, number))
    return tuple(rows)


@dataclass(frozen=True)
class _Table:
    """Of every quantity under one condition."""

    condition: str
    people: int
    raw: Float[Tensor, "Q L"]
    conformal: Float[Tensor, "Q L"]
    width: Float[Tensor, " Q"]
    ratio: Float[Tensor, " Q"]
    error: Float[Tensor, " Q"]

    @classmethod
    def of(
        cls,
        people: Answers,
        calibration: Calibration,
        constant: Float[Tensor, " Q"],
        condition: str,
    ) -> _Table:
        raw, conformal = (
            torch.stack([_held(people, by, level, condition).mean(0) for level in LEVELS], -1)
            for by in (None, calibration)
        )
        shown = _intervals(people, calibration, LEVELS[SHOWN], condition)
        width = (shown.high - shown.low).double().mean(0)
        predicted = people.predicted[condition]
        mean = torch.cat([predicted.mean, predicted.shape.mean], -1)
        gap = mean - torch.cat([people.measured, people.shape], -1)
        return cls(
            condition=condition,
            people=len(people),
            raw=raw,
            conformal=conformal,
            width=width,
            ratio=width / (2 * constant.double()),
            error=gap.abs().double().mean(0),
        )

    def row(self, name: str, unit: str, number: int) -> Coverage:
        pooled = self.pooled(name, slice(number, number + 1))
        width, error = float(self.width[number]), float(self.error[number])
        return dataclasses.replace(pooled, unit=unit, width=width, error=error)

    def pooled(self, name: str, part: slice) -> Coverage:
        return Coverage(
            quantity=name,
            condition=self.condition,
            people=self.people,
            unit="",
            raw=tuple(self.raw[part].mean(0).tolist()),
            conformal=tuple(self.conformal[part].mean(0).tolist()),
            width=None,
            ratio=float(self.ratio[part].mean()),
            error=None,
        )


def measure_subsets(answers: Answers, calibration: Calibration) -> tuple[Subset, ...]:
    """Measures the coverage of 90 % intervals over subsets of people."""
    rows = []
    for condition in calibration.factors:
        people = take(answers, answers.members(condition))
        raw, conformal = (
            _held(people, by, LEVELS[SHOWN], condition)[:, : len(QUANTITIES)]
            for by in (None, calibration)
        )
        for name, members in people.subsets().items():
            each = conformal[members].mean(0)
            rows.append(
                Subset(
                    name=name,
                    condition=condition,
                    people=int(members.sum()),
                    raw=float(raw[members].mean()),
                    conformal=float(each.mean()),
                    lowest=float(each.amin()),
                    which=QUANTITIES[int(each.argmin())],
                )
            )
    return tuple(rows)


def measure_shift(name: str, answers: Answers, calibration: Calibration) -> Shift:
    """Measures coverage of people drawn in another way, with nothing known of them."""

    def held(by: Calibration | None) -> tuple[float, ...]:
        return tuple(
            float(_held(answers, by, level, "plain")[:, : len(QUANTITIES)].mean())
            for level in LEVELS
        )

    return Shift(name=name, people=len(answers), raw=held(None), conformal=held(calibration))


@torch.no_grad()
def measure_errors(answers: Answers, template: BodyTemplate) -> tuple[MeanErrors, ...]:
    """Measures how far the predicted mean bodies are from the true ones, under each condition."""
    rows = []
    for condition, predicted in answers.predicted.items():
        who = answers.members(condition)
        if not bool(who.any()):
            continue
        plain, scaled = [], []
        pairs = zip(
            predicted.shape.mean[who].split(CHUNK), answers.shape[who].split(CHUNK), strict=True
        )
        for guess, truth in pairs:
            bodies = [rest_vertices(template, x.to(template.vertices)) for x in (guess, truth)]
            plain.append(point_error(*bodies))
            scaled.append(pve_t_sc(*bodies))
        means = [float(torch.cat(part).double().mean()) for part in (plain, scaled)]
        rows.append(MeanErrors(condition, int(who.sum()), *means))
    return tuple(rows)
