"""Whether intervals hold what they say: fits the correction, and measures it on other people.

The correction is fitted to people with the poses of the validation subjects and measured on those
of the test subjects. Shapes, cameras and what goes wrong are drawn as the regressor's own training
draws them; people drawn in other ways tell what is left of the coverage then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch

from plausibody import __version__
from plausibody.evaluate.answers import (
    Answers,
    ask,
    draw_people,
    known_conditions,
    open_sources,
)
from plausibody.evaluate.calibration_result import CalibrationResult
from plausibody.evaluate.coverage import (
    mean_body_half_widths,
    measure_coverage,
    measure_errors,
    measure_shift,
    measure_subsets,
)
from plausibody.evaluate.open import OPEN_V0, OpenBenchmark
from plausibody.evaluate.run import Watch, summary
from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import Calibration, fit_calibration, predicted_group, scores
from plausibody.models.intervals import body_mass_index
from plausibody.models.weights import TrainedRegressor
from plausibody.synth.batch import Batch
from plausibody.synth.generator import StreamSettings
from plausibody.synth.stores import SourceSettings
from plausibody.synth.straps import StrapsSettings

FIT_SEED, TEST_SEED = 7_000_001, 7_000_002
"""Of the streams of people; no training has them."""
CHUNK = 256
"""People at a time."""


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
        index = body_mass_index(answers.predicted["plain"].mean)
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
        regressor=summary(regressor.card),
        plausibody=__version__,
        fitted=calibration.people,
        groups=len(calibration.edges) + 1,
        coverage=measure_coverage(tested, calibration, mean_body_half_widths(fitted, template)),
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
