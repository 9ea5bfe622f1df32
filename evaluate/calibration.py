"""Whether intervals hold what they say: fits the correction, and measures it on other people.

The correction is fitted to people with the poses of the validation subjects and measured on those
of the test subjects. Shapes, cameras and what goes wrong are drawn as the regressor's own training
draws them; people drawn in other ways tell what is left of the coverage then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody import __version__
from plausibody.evaluate.answers import (
    HEIGHT,
    MASS,
    Answers,
    ask,
    draw_people,
    known_conditions,
    open_sources,
)
from plausibody.evaluate.calibration_result import (
    SHOWN,
    CalibrationResult,
    Coverage,
    ShapeError,
    Shift,
    Subset,
)
from plausibody.evaluate.metrics import point_error, pve_t_sc
from plausibody.evaluate.open import OPEN_V0, OpenBenchmark
from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import (
    LEVELS,
    Calibration,
    conformal_quantile,
    fit_calibration,
    predicted_group,
    scores,
)
from plausibody.models.intervals import QUANTITIES, UNITS, Interval, measure_table, normal_width
from plausibody.models.records import take
from plausibody.models.weights import TrainedRegressor
from plausibody.synth.batch import Batch
from plausibody.synth.generator import StreamSettings
from plausibody.synth.stores import SourceSettings
from plausibody.synth.straps import StrapsSettings

FIT_SEED, TEST_SEED = 7_000_001, 7_000_002
"""Of the streams of people; no training has them."""
CHUNK = 256
"""People at a time."""

Watch = Callable[[int, int], None]
"""Is told how many people are done, and of how many."""


def fit_calibration_for(
    regressor: TrainedRegressor,
    stream: StreamSettings,
    sources: SourceSettings | None = None,
    count: int = 4096,
    groups: int = 1,
    watch: Watch = lambda done, total: None,
) -> Calibration:
    """Fits the correction of a regressor's intervals to people of the validation subjects.

    Args:
        regressor: Whose predictions are distributions.
        stream: Of its training, from the configuration on its card.
        sources: Of its training; what ships if None.
        count: Of people.
        groups: How many groups of people, by predicted body mass index and equally large, are
            corrected each by itself.
        watch: Is told the progress.

    Raises:
        TypeError: If the regressor gives single bodies.
        ValueError: If there are too few people for the widest intervals.
    """
    answers, _ = _answers(regressor, stream, sources, "val", FIT_SEED, count, watch)
    return calibrate(answers, str(regressor.card.get("sha256", "")), groups)


def calibrate(answers: Answers, weights: str, groups: int = 1) -> Calibration:
    """Fits the correction to answers.

    Args:
        weights: SHA-256 of the weights that gave them.
        groups: As of `fit_calibration_for`.
    """
    edges: tuple[float, ...] = ()
    if groups > 1:
        plain = answers.predicted["plain"].mean
        index = plain[:, MASS] / plain[:, HEIGHT].square()
        cuts = torch.arange(1, groups) / groups
        edges = tuple(round(edge, 3) for edge in index.quantile(cuts).tolist())
    found, members = {}, {}
    for condition, predicted in answers.predicted.items():
        who = answers.members(condition)
        if not bool(who.any()):
            continue
        found[condition] = scores(predicted, answers.measured, answers.shape)[who]
        members[condition] = predicted_group(predicted, edges)[who]
    return fit_calibration(found, weights, members if edges else None, edges)


def evaluate_calibration(
    regressor: TrainedRegressor,
    stream: StreamSettings,
    sources: SourceSettings | None = None,
    fit: int = 4096,
    test: int = 4096,
    shifted: int = 1024,
    groups: int = 1,
    summary: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    watch: Watch = lambda done, total: None,
) -> tuple[CalibrationResult, Calibration]:
    """Measures coverage, widths and errors, raw and corrected.

    Args:
        regressor: Whose predictions are distributions.
        stream: Of its training, from the configuration on its card.
        sources: Of its training; what ships if None.
        fit: People that the correction is fitted to.
        test: People that are measured.
        shifted: People of each other kind; 0 for none of these.
        groups: As of `fit_calibration_for`.
        summary: What to say of the regressor in the result; its card's sum if None.
        calibration: That is measured; None to fit one.
        watch: Is told the progress.

    Returns:
        The figures, and the correction that they are of.
    """
    kinds = _shifts(regressor, stream) if shifted else {}
    total, before = fit + test + shifted * len(kinds), 0

    def go_on(done: int, _: int) -> None:
        watch(before + done, total)

    fitted, _ = _answers(regressor, stream, sources, "val", FIT_SEED, fit, go_on)
    if calibration is None:
        calibration = calibrate(fitted, str(regressor.card.get("sha256", "")), groups)
    before = fit
    tested, template = _answers(regressor, stream, sources, "test", TEST_SEED, test, go_on)
    shifts = []
    for number, (name, draw) in enumerate(kinds.items()):
        before = fit + test + shifted * number
        people = ask(regressor, template, draw(shifted), ("plain",), lambda done: go_on(done, 0))
        shifts.append(measure_shift(name, people, calibration))
    result = CalibrationResult(
        regressor=dict(summary or {"sha256": regressor.card.get("sha256")}),
        plausibody=__version__,
        fitted=calibration.people,
        groups=len(calibration.edges) + 1,
        coverage=measure_coverage(tested, calibration, mean_body(fitted, template)),
        subsets=measure_subsets(tested, calibration),
        shifts=tuple(shifts),
        errors=measure_errors(tested, template),
    )
    return result, calibration


def _answers(
    regressor: TrainedRegressor,
    stream: StreamSettings,
    sources: SourceSettings | None,
    split: str,
    seed: int,
    count: int,
    watch: Watch,
) -> tuple[Answers, BodyTemplate]:
    assets = open_sources(stream, split, regressor.gender, sources)
    people = draw_people(dataclasses.replace(stream, seed=seed), regressor.proxy, assets, count)
    template = assets.template.to(next(regressor.network.parameters()).device)
    conditions = known_conditions(regressor.network.gendered)
    answers = ask(regressor, template, people, conditions, lambda done: watch(done, count))
    return answers, template


def _shifts(
    regressor: TrainedRegressor, stream: StreamSettings
) -> dict[str, Callable[[int], Iterator[Batch]]]:
    """Names other kinds of people that can be shown to a regressor of silhouettes."""
    if regressor.proxy.channel != "silhouette" or regressor.body != "open":
        return {}

    def benchmark(count: int) -> Iterator[Batch]:
        people = OpenBenchmark(OPEN_V0, regressor.proxy, gender=regressor.gender)
        for first in range(0, count, CHUNK):
            yield people.some(first, min(CHUNK, count - first)).batch

    def drawn(other: StreamSettings) -> Callable[[int], Iterator[Batch]]:
        other = dataclasses.replace(other, seed=TEST_SEED)

        def draw(count: int) -> Iterator[Batch]:
            assets = open_sources(other, "test", regressor.gender)
            return draw_people(other, regressor.proxy, assets, count)

        return draw

    kinds: dict[str, Callable[[int], Iterator[Batch]]] = {"open-v0: uniform shapes": benchmark}
    if stream.recipe == "lite":
        other = "published" if stream.lite.errors == "measured" else "measured"
        lite = dataclasses.replace(stream.lite, errors=other)
        kinds[f"lite.errors={other}"] = drawn(dataclasses.replace(stream, lite=lite))
    if stream.recipe != "straps":
        kinds["recipe=straps"] = drawn(_straps_of(regressor.proxy.size))
    return kinds


def _straps_of(size: int) -> StreamSettings:
    """Gives the published recipe at another size of the crop [px], its noise in proportion."""
    usual = StrapsSettings()
    share = size / usual.size
    straps = dataclasses.replace(
        usual,
        size=size,
        occluder=round(share * usual.occluder),
        joint_noise=share * usual.joint_noise,
    )
    return StreamSettings(recipe="straps", straps=straps)


def mean_body(fitted: Answers, template: BodyTemplate) -> Float[Tensor, " Q"]:
    """Gives the half width of conformal 90 % intervals round the mean body, of each quantity.

    They know nothing of a picture and are as wide for everybody.

    Args:
        fitted: People to fit them to.
        template: Whose mean shape is the middle.
    """
    level = LEVELS[SHOWN]
    middle = measure_table(template, torch.zeros_like(fitted.shape[:1]).to(template.vertices))
    gap = torch.cat([fitted.measured - middle.cpu(), fitted.shape], -1)
    return conformal_quantile(gap.abs(), level)


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
        constant: Half widths of intervals round the mean body, as `mean_body` gives them.
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
def measure_errors(answers: Answers, template: BodyTemplate) -> tuple[ShapeError, ...]:
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
            bodies = _at_rest(template, guess), _at_rest(template, truth)
            plain.append(point_error(*bodies))
            scaled.append(pve_t_sc(*bodies))
        means = [float(torch.cat(part).double().mean()) for part in (plain, scaled)]
        rows.append(ShapeError(condition, int(who.sum()), *means))
    return tuple(rows)


def _at_rest(
    template: BodyTemplate, shape: Float[Tensor, "people S"]
) -> Float[Tensor, "people V 3"]:
    skin = template.skin
    offset = shape.to(template.vertices) @ skin.shape_matrix[: shape.shape[-1]]
    return skin.vertices + offset.unflatten(-1, (3, -1)).mT
