"""Evaluates a regressor on a published data set: people in, figures with their protocols out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plausibody import __version__
from plausibody.evaluate.datasets.asking import FromLabels, Showing, open_showing
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.drawing import Drawer
from plausibody.evaluate.datasets.options import Options
from plausibody.evaluate.datasets.part_maps import class_means
from plausibody.evaluate.datasets.people import Dataset, WholeSet
from plausibody.evaluate.datasets.predicted import BODIES, encode_bodies
from plausibody.evaluate.datasets.scoring import Modes, Scorer, Scores
from plausibody.evaluate.datasets.survey import Survey, join, survey
from plausibody.evaluate.figures import EVERYONE, Figure
from plausibody.evaluate.protocols import protocol_of, untagged
from plausibody.evaluate.result import Case, Result, worst_cases
from plausibody.evaluate.ruler import CROP
from plausibody.evaluate.run import Watch, summary
from plausibody.evaluate.saving import save_result
from plausibody.evaluate.unusable import Unusable
from plausibody.evaluate.values import Values, summarise
from plausibody.models.batches import in_batches
from plausibody.models.files import write_file
from plausibody.models.records import concatenate, take, to_device
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.answers import rows_of
from plausibody.synth.stores import load_regressors

CHUNK = 16
"""People at a time. Samples depend on it, so it is no option."""


@dataclass(frozen=True)
class Evaluation:
    """A result, and what was predicted."""

    result: Result
    modes: Modes
    """Of everybody who has a body, in the data set's order."""


def evaluate_dataset(
    dataset: Dataset,
    regressor: TrainedRegressor,
    options: Options | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = lambda done, total: None,
) -> Result:
    """Gives the result of `measure_dataset`, which see."""
    return measure_dataset(dataset, regressor, options, device, watch).result


@torch.no_grad()
def measure_dataset(
    dataset: Dataset,
    regressor: TrainedRegressor,
    options: Options | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = lambda done, total: None,
    showing: Showing | None = None,
) -> Evaluation:
    """Evaluates a regressor on a data set.

    Args:
        dataset: From `open_dataset`.
        regressor: From `load_regressor`, on the device.
        device: Where networks and bodies are computed.
        watch: Is told the progress.
        showing: Shows the people, in place of what the options say.

    Raises:
        ValueError: If the network's body is not that of the labels, or it reads what is not there.
        FileNotFoundError: If pictures, masks or bodies are missing.
    """
    options, about = options or Options(), dataset.about
    count = min(options.people or len(dataset), len(dataset))
    found = survey(dataset, count)
    if showing is None:
        showing = open_showing(
            dataset,
            regressor.proxy,
            options.shown,
            device,
            options.files,
            options.front_end_weights,
            regressor.reads_keypoints,
        )
    samples = about.samples if options.samples is None else options.samples
    scorer = make_scorer(regressor, found, options, samples, device)
    generator = torch.Generator(device).manual_seed(options.seed)
    parts: list[Scores] = []
    missed: list[str] = []
    measured: list[int] = []
    unusable = Unusable()
    for numbers in in_batches(range(count), CHUNK):
        people = dataset.batch(numbers)
        shown = showing(people, regressor.proxy)
        missed += [people.names[n] for n in shown.missed.nonzero()[:, 0].tolist()]
        proxy = to_device(shown.proxy, device)
        answer = regressor.predict(proxy) if options.mirrored else regressor.network.predict(proxy)
        fine = unusable.look(answer, people.names)
        kept = [numbers[n] for n in fine]
        if 0 < len(kept) < len(people):
            people, rows = dataset.batch(kept), torch.tensor(fine, dtype=torch.long, device=device)
            proxy, answer = take(proxy, rows), rows_of(answer, fine)
        if kept:
            measured += kept
            parts.append(scorer(to_device(people, device), proxy, answer, generator))
        watch(numbers[-1] + 1, count)
    unusable.require_some(about.name, count)
    values, modes = join(parts, found.of(measured)), concatenate([part.modes for part in parts])
    complete, whole = len(measured) == len(dataset), {}
    if isinstance(dataset, WholeSet):
        own = dataset.of_each(modes.keypoints, measured)
        values = replace(values, errors={**values.errors, **own})
        if complete:
            whole = dataset.whole_set(modes.keypoints, modes.joints, modes.sure)
    whole |= class_means(values.errors, values.weights)
    every = figures(values, about.headline, whole)
    worst, worst_by = worst_of(values, about.headline)
    result = Result(
        benchmark=about.name if complete else f"not {about.name}",
        sealed=complete,
        digest=found.digest,
        gender=f"{regressor.gender} (predicted), {found.said_genders()}",
        people=count,
        settings=_settings(options, showing, samples, regressor),
        regressor=summary(regressor.card),
        plausibody=__version__,
        figures=every,
        note=_note(count, len(dataset), scorer, unusable.note(count)),
        remarks=(*about.protocol, *_remarks(options, showing, samples, parts)),
        front_end="" if isinstance(showing, FromLabels) else _named(showing),
        missed=tuple(missed),
        failed=tuple(unusable.troubles),
        worst=worst,
        worst_by=worst_by,
        values=values.over(found.names),
        draw=Drawer(
            dataset,
            showing,
            regressor.proxy,
            to_device(scorer.template, "cpu"),
            modes,
            found.names,
            measured,
        ),
    )
    return Evaluation(result, modes)


def save_evaluation(dataset: Dataset, found: Evaluation, folder: Path) -> Path:
    """Writes the result, the predicted bodies, and what the data set's own tools read, if it has
    such.

    Returns:
        The path of results.json.
    """
    path = save_result(found.result, folder)
    if (values := found.result.values) is not None:
        names = [name for name in values.names if name not in found.result.failed]
        write_file(folder / BODIES, encode_bodies(names, found.modes))
    if isinstance(dataset, WholeSet) and len(found.modes.keypoints) == len(dataset):
        for name, content in dataset.saved(found.modes.keypoints).items():
            write_file(folder / name, content)
    return path


def make_scorer(
    regressor: TrainedRegressor,
    found: Survey,
    options: Options,
    samples: int,
    device: torch.device | str,
) -> Scorer:
    """Opens the bodies of network and labels, and sees that they can be compared.

    Raises:
        ValueError: If they are of different meshes, and that is not wanted.
    """
    template, labels = load_template(regressor.body, regressor.gender), None
    if found.bodies:
        labels = LabelBodies.load(options.labels_body, found.genders, device)
        if labels.topology != template.topology and not options.across_bodies:
            raise ValueError(
                f"--weights: wanted a network of the body that the labels are of, "
                f"{options.labels_body} (mesh {labels.topology}), got one of {regressor.body} "
                f"(mesh {template.topology}): their vertices and coefficients mean different "
                "things; do: choose weights of that body, or --across-bodies, which compares "
                "joints and pictures alone"
            )
    regressors = to_device(load_regressors(template), device)
    return Scorer(template.to(device), regressors, labels, samples)


def figures(
    values: Values, headline: Sequence[str], whole: Mapping[str, float]
) -> tuple[Figure, ...]:
    """Averages everything, what papers print first.

    Args:
        headline: Names of metrics; those without tags stand for all their variants.
        whole: Figures over the whole data set.
    """

    def rank(metric: str) -> int:
        places = [n for n, name in enumerate(headline) if name in (metric, untagged(metric))]
        return min(places, default=len(headline))

    order = sorted(values.errors, key=rank)
    averaged = summarise(values, {metric: protocol_of(metric) for metric in order})
    of_all = tuple(
        Figure(
            metric=metric,
            subset=EVERYONE,
            group=EVERYONE,
            people=len(values),
            value=value,
            protocol=protocol_of(metric),
        )
        for metric, value in whole.items()
    )
    return (*of_all, *averaged)


def worst_of(values: Values, headline: Sequence[str]) -> tuple[tuple[Case, ...], str]:
    """Names those for whom the first metric of the headline is worst, and that metric."""
    known = [
        metric
        for name in headline
        for metric in values.errors
        if name in (metric, untagged(metric)) and not protocol_of(metric).pooled
    ]
    if not known:
        return (), ""
    return worst_cases(values, known[0]), known[0]


def _settings(
    options: Options, showing: Showing, samples: int, regressor: TrainedRegressor
) -> dict[str, Any]:
    """Gives what figures depend on besides data and weights; JSON can hold it."""
    return {
        "shown": showing.describe(),
        "samples": samples,
        "seed": options.seed,
        "mirrored": options.mirrored,
        "labels_body": options.labels_body,
        "across_bodies": options.across_bodies,
        "crop": CROP,
        "proxy": asdict(regressor.proxy),
    }


def _named(showing: Showing) -> str:
    return f"{showing.describe().get('name', 'a front end')}, told the published boxes"


def _note(count: int, every: int, scorer: Scorer, unusable: str) -> str:
    """Says what keeps figures from being compared with others; empty if nothing."""
    notes = [unusable] * bool(unusable)
    if count < every:
        notes.append(f"Only {count:,} of {every:,} people were measured: no figure of a paper.")
    if scorer.labels is not None and not scorer.same_mesh:
        notes.append(
            "The network predicts another body than the labels are of: only joints and pictures "
            "are compared, and joints of the two bodies do not lie at quite the same places."
        )
    return " ".join(notes)


def _remarks(
    options: Options, showing: Showing, samples: int, parts: Sequence[Scores]
) -> list[str]:
    """Says how this evaluation was done."""
    seen = (
        "Shown to the network: the data set's own labels, in the published crop."
        if isinstance(showing, FromLabels)
        else "Boxes of the network's input are round what the front end saw, as in predict."
    )
    mirror = (
        "Predictions are averaged with those of mirror images; published evaluations do not."
        if options.mirrored
        else "Predictions are of the pictures as they are, without mirror images."
    )
    said = [seen, mirror]
    if parts[0].joint_nll is not None or any("[samples" in name for name in parts[0].values):
        said.append(f"{samples} samples of each prediction, drawn with seed {options.seed}.")
    elif samples:
        said.append("The network predicts single bodies, of which there are no samples.")
    if parts[0].labels:
        names = ", ".join(f"{name} {_mean(parts, name):.3g}" for name in parts[0].labels)
        said.append(
            f"The labelled bodies themselves, under the published cameras, fit the 2D labels by "
            f"{names}: what no prediction of these bodies can be expected to surpass by far."
        )
    return said


def _mean(parts: Sequence[Scores], name: str) -> float:
    value = torch.cat([part.labels[name] for part in parts])
    weights = [part.label_weights.get(name, torch.ones_like(part.labels[name])) for part in parts]
    weight = torch.cat(weights)
    known = value.isfinite()
    return float((value[known] * weight[known]).sum() / weight[known].sum())
