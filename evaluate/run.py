"""Runs evaluations: people in, figures with protocols and baselines out."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody import __version__
from plausibody.assets.catalog import find_asset
from plausibody.evaluate.baselines import MeanBody, NearestPose
from plausibody.evaluate.datasets.options import Options
from plausibody.evaluate.datasets.registry import READERS, open_dataset
from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE, Figure
from plausibody.evaluate.open import (
    OPEN_V0,
    QUICK,
    OpenBenchmark,
    OpenSettings,
    People,
    facing,
    stoutness,
)
from plausibody.evaluate.open_samples import CHUNK as SAMPLED
from plausibody.evaluate.open_samples import best_of_samples
from plausibody.evaluate.protocols import protocol_of
from plausibody.evaluate.result import Result
from plausibody.evaluate.ruler import PROTOCOLS, Measured, Ruler, errors, joint_area
from plausibody.evaluate.saving import save_result
from plausibody.evaluate.unusable import Unusable
from plausibody.evaluate.values import Attribute, Values, summarise
from plausibody.models.prediction import BodyPrediction, FisherPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.records import take, to_device
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.answers import rows_of
from plausibody.synth.poses import PoseBank, load_poses
from plausibody.synth.stores import SynthAssets, load_assets

OPEN, FIRST_OPEN = "open", "open-v0"
"""The benchmark that needs no data."""
VALIDATION = "validation"
"""People of the stream that a network learnt from; `plausibody.validate` measures on them."""
BENCHMARKS = (OPEN, FIRST_OPEN, "renders", VALIDATION, "calibration")
"""What needs no data."""
REGRESSOR = "regressor"
"""Name of the estimator that is evaluated, beside the baselines."""
SUBSETS_BY_CUT = ("untruncated", "truncated")
SUBSETS_BY_FACING = ("seen from the front", "seen from a side", "seen from the back")
SUBSETS_BY_BUILD = ("thinnest third", "middle third", "stoutest third")

QUICK_FIGURES = ("mpjpe", "pa_mpjpe", "pve", "pve_t_sc", "root_angle", "keypoint_error")
"""Errors that a training tells of its network as it goes on."""

Watch = Callable[[int, int], None]
"""Is told how many people are done, and of how many."""


@typing.runtime_checkable
class Estimator(typing.Protocol):
    """What can be measured: regressors and baselines."""

    def predict(self, proxy: Proxy) -> BodyPrediction: ...


@dataclass(frozen=True)
class Measurements:
    """Errors of each person, on the CPU in double precision."""

    errors: Mapping[str, Mapping[str, Float[Tensor, " people"]]]
    """By estimator, then by metric."""
    area: Mapping[str, Float[Tensor, " people"]]
    """By estimator: the weights of pooled figures."""
    truncated: Bool[Tensor, " people"]
    facing: Int[Tensor, " people"]
    stoutness: Float[Tensor, " people"]
    names: tuple[str, ...]
    """Numbers of those who were measured."""
    unusable: Unusable = field(default_factory=Unusable)
    """The others: the regressor gave no body for them."""

    def values(self, name: str) -> Values:
        """Gives the numbers of each person, by one estimator; people are named by number."""
        pooled = [metric for metric, protocol in PROTOCOLS.items() if protocol.pooled]
        return Values(
            names=self.names,
            errors=self.errors[name],
            weights={metric: self.area[name] for metric in pooled},
            attributes={
                "truncation": Attribute(SUBSETS_BY_CUT, self.truncated.long()),
                "view": Attribute(SUBSETS_BY_FACING, self.facing),
                "build": Attribute.thirds(self.stoutness, SUBSETS_BY_BUILD),
            },
        )


@torch.no_grad()
def measure(
    batches: Iterable[People],
    estimators: Mapping[str, tuple[Estimator, Ruler]],
    truth: Ruler,
    watch: Callable[[int], None] = lambda done: None,
    samples: int = 0,
) -> Measurements:
    """Measures estimators on the same people.

    Args:
        batches: The people; moved to the device of the truth.
        estimators: By name; each with the body that it predicts, on the same device.
        truth: The body of the benchmark.
        watch: Is told how many people are done.
        samples: How many are drawn from each prediction of the regressor, if it is a distribution.
            The numbers of people in a batch must then be a multiple of `open_samples.CHUNK`.
    """
    device = truth.assets.template.vertices.device
    taken: dict[str, dict[str, list[Tensor]]] = {name: {} for name in estimators}
    attributes: dict[str, list[Tensor]] = {"truncated": [], "facing": [], "stoutness": []}
    names, unusable, done = list[str](), Unusable(), 0
    for batch in batches:
        people, first = to_device(batch, device), done
        done += len(people.batch)
        numbers = [str(number) for number in range(first, done)]
        answers: dict[str, BodyPrediction] = {}
        if REGRESSOR in estimators:
            said = estimators[REGRESSOR][0].predict(people.batch.proxy)
            fine = unusable.look(said, numbers)
            if len(fine) < len(numbers):
                people = take(people, torch.tensor(fine, dtype=torch.long, device=device))
                said, numbers = rows_of(said, fine), [numbers[n] for n in fine]
            answers[REGRESSOR] = said
        if numbers:
            names += numbers
            body, proxy = people.batch.target.parameters, people.batch.proxy
            true = truth(body, people.camera)
            for name, (estimator, ruler) in estimators.items():
                prediction = answers.get(name) or estimator.predict(proxy)
                found = ruler(prediction.mode(), prediction.camera)
                row = _row(found, true)
                if samples and name == REGRESSOR and isinstance(prediction, FisherPrediction):
                    row |= best_of_samples(prediction, ruler, true, row, samples, first)
                for metric, value in row.items():
                    taken[name].setdefault(metric, []).append(value.double().cpu())
            attributes["truncated"].append(people.truncated.cpu())
            attributes["facing"].append(facing(body.rotations).cpu())
            attributes["stoutness"].append(stoutness(true.rest, truth.assets.template.faces).cpu())
        watch(done)
    unusable.require_some("the benchmark", done)
    joined = {
        name: {metric: torch.cat(parts) for metric, parts in columns.items()}
        for name, columns in taken.items()
    }
    return Measurements(
        area={name: columns.pop("area") for name, columns in joined.items()},
        errors=joined,
        names=tuple(names),
        unusable=unusable,
        **{name: torch.cat(parts) for name, parts in attributes.items()},
    )


def _row(found: Measured, true: Measured) -> dict[str, Tensor]:
    return {**errors(found, true), "area": joint_area(found, true)}


def figures(measured: Measurements, name: str) -> tuple[Figure, ...]:
    """Averages what was measured of one estimator, over everyone and over each subset.

    Args:
        name: Of the estimator; the mean body and the nearest pose are set beside it.
    """
    baselines = {other: measured.values(other) for other in (MEAN_BODY, NEAREST_POSE)}
    of_samples = [metric for metric in measured.errors[name] if metric not in PROTOCOLS]
    protocols = {**PROTOCOLS, **{metric: protocol_of(metric) for metric in of_samples}}
    return summarise(measured.values(name), protocols, baselines)


def evaluate_open(
    regressor: TrainedRegressor,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    watch: Watch = lambda done, total: None,
    settings: OpenSettings = OPEN_V0,
    samples: int = 0,
) -> Result:
    """Evaluates a regressor on the open benchmark, beside the baselines.

    Args:
        regressor: From `load_regressor`; moved to the device.
        device: Where networks and bodies are computed; people are made on the CPU.
        batch_size: People at a time; does not change the figures.
        watch: Is told the progress.
        settings: Which version of the benchmark.
        samples: How many are drawn from each prediction, for the errors of the best of them. The
            people of a batch are then rounded to a multiple of 32.

    Raises:
        ValueError: If the regressor reads what the benchmark has not, or predicts another body.
    """
    if fault := _unfit(regressor.proxy, regressor.body, DRAWN):
        raise ValueError(f"{settings.name}: {fault}")
    benchmark = OpenBenchmark(settings, regressor.proxy)
    ours = to_device(benchmark.assets, device)
    truth = Ruler(ours)
    predicted = truth if regressor.gender == "neutral" else Ruler(_assets_of(regressor, device))
    bank = training_bank(device)
    estimators: dict[str, tuple[Estimator, Ruler]] = {
        REGRESSOR: (regressor, predicted),
        MEAN_BODY: (MeanBody.of(bank, ours), truth),
        NEAREST_POSE: (NearestPose.of(bank, ours), truth),
    }
    if samples:
        batch_size = max(batch_size - batch_size % SAMPLED, SAMPLED)
    measured = measure(
        benchmark.people(batch_size),
        estimators,
        truth,
        lambda done: watch(done, len(benchmark)),
        samples,
    )
    sealed, digest, note = benchmark.check()
    everybody, unusable = tuple(str(n) for n in range(len(benchmark))), measured.unusable
    if unusable.troubles:
        sealed, note = False, f"{unusable.note(len(benchmark))} {note}".strip()
    return Result(
        benchmark=settings.name if sealed else f"not {settings.name}",
        sealed=sealed,
        digest=digest,
        note=note,
        gender=f"{regressor.gender} (predicted), neutral (true)",
        people=len(benchmark),
        settings=settings.described(regressor.proxy.channel),
        regressor=summary(regressor.card),
        plausibody=__version__,
        figures=figures(measured, REGRESSOR),
        failed=tuple(unusable.troubles),
        values=measured.values(REGRESSOR).over(everybody),
    )


OUTLINES = {"silhouette": "silhouettes"}
DRAWN = {**OUTLINES, "iuv": "IUV pictures"}
"""What `open-v0` has of its people; beside silhouettes, what spoils these spoils IUV too."""


def _unfit(proxy: ProxySettings, body: str, channels: Mapping[str, str] = OUTLINES) -> str:
    """Says why regressors of such proxies and bodies cannot be measured here; empty if they can."""
    if proxy.channel not in channels:
        return (
            f"wanted a regressor of {' or '.join(channels.values())}, got one of {proxy.channel}: "
            "this benchmark's people have no pictures to find them in; do: evaluate renders, which "
            "paints people in the same poses, views and shapes, or open or validation"
        )
    if body != "open":
        return f"wanted a regressor of the open body, got one of {body!r}: their vertices differ"
    return ""


def _assets_of(regressor: TrainedRegressor, device: torch.device | str) -> SynthAssets:
    return to_device(load_assets("val", regressor.gender), device)


def training_bank(device: torch.device | str) -> PoseBank:
    """Opens the poses that baselines may know."""
    return load_poses(find_asset("poses/cmu.h5"), "train").to(device)


def summary(card: Mapping[str, Any]) -> dict[str, Any]:
    """Takes from a card what identifies a regressor."""
    kept = ("sha256", "steps", "samples", "commit", "plausibody")
    method = card.get("config", {}).get("method")
    return {"method": method, **{key: card[key] for key in kept if key in card}}


def check_dataset(dataset: str) -> None:
    """Refuses a name that is neither the benchmark's nor a data set's, and says which there are."""
    if dataset not in BENCHMARKS and dataset not in READERS:
        raise ValueError(
            f"{dataset} is no data set; do: plausibody evaluate {', '.join(BENCHMARKS)}, "
            f"which need no data, or one of {', '.join(READERS)} with --data"
        )


def run_evaluation(
    dataset: str,
    weights: Path,
    out: Path | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    watch: Watch = lambda done, total: None,
    samples: int | None = None,
    data: Path | None = None,
    options: Options | None = None,
) -> Result:
    """Does what `plausibody evaluate` says, without printing.

    Args:
        dataset: open, open-v0, or a data set of `datasets.registry`.
        weights: A file, or the name of weights that ship, such as "lite".
        out: Folder for results.json, results.md and people.npz; none to write nothing.
        device: Where networks and bodies are computed.
        batch_size: People at a time (open-v0).
        watch: Is told the progress.
        samples: How many are drawn from each prediction; None: none (open-v0), or as published.
            Of open the number is fixed.
        data: Folder of the data set.
        options: How a data set is evaluated; its own samples do not count.

    Raises:
        FileNotFoundError: If weights, data or bodies are missing.
        ValueError: If the network cannot be measured on this.
    """
    check_dataset(dataset)
    if samples is not None and samples < 0:
        raise ValueError(f"--samples: wanted 0 or more, got {samples}")
    if dataset == OPEN:
        from plausibody.evaluate.open_v1_run import evaluate_weights  # needs this module

        if samples is not None:
            raise ValueError(
                "open: wanted no --samples, as their number is a part of the benchmark; do: leave "
                "it out"
            )
        result = evaluate_weights(weights, watch, device)
    elif dataset == FIRST_OPEN:
        regressor = load_regressor(find_weights(weights), device)
        result = evaluate_open(regressor, device, batch_size, watch, samples=samples or 0)
    else:
        from plausibody.evaluate.datasets import measuring  # needs this module

        opened = open_dataset(dataset, data)
        regressor = load_regressor(find_weights(weights), device)
        chosen = dataclasses.replace(options or Options(), samples=samples)
        found = measuring.measure_dataset(opened, regressor, chosen, device, watch)
        if out is not None:
            measuring.save_evaluation(opened, found, out)
        return found.result
    if out is not None:
        save_result(result, out)
    return result


@typing.runtime_checkable
class Trained(typing.Protocol):
    """What `quick_figures` needs of a training."""

    @property
    def best(self) -> Any: ...
    @property
    def config(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...


def quick_figures(trainer: Trained) -> dict[str, float]:
    """Measures the network in training on a few held-out people, not those of the benchmark.

    The people are those of `open-v0`'s recipe with the poses of the validation split; they and
    the mean body's figures are computed once per process.

    Returns:
        The main errors, and PA-MPJPE over the mean body's. Nothing for networks that read edges or
        learn another body: these people cannot be shown to them.
    """
    config = trainer.config
    if _unfit(config.proxy, config.sources.body):
        return {}
    quick = _quick(config.proxy, config.gender, str(trainer.device))
    training = trainer.best.training
    found = quick.figures(trainer.best.eval())
    trainer.best.train(training)
    return {
        **{name: found[name] for name in (*QUICK_FIGURES, "silhouette_iou")},
        "pa_mpjpe_over_mean_body": found["pa_mpjpe"] / quick.mean_body["pa_mpjpe"],
    }


@torch.no_grad()
def mean_errors(
    estimator: Estimator, ruler: Ruler, people: Iterable[tuple[Proxy, Measured]]
) -> dict[str, float]:
    """Measures an estimator on people whose true bodies are posed.

    Returns:
        The mean over everybody of every error of `PROTOCOLS`.
    """
    rows = []
    for proxy, true in people:
        prediction = estimator.predict(proxy)
        rows.append(errors(ruler(prediction.mode(), prediction.camera), true))
    return {name: float(torch.cat([row[name] for row in rows]).mean()) for name in PROTOCOLS}


class _Quick:
    """A few people, made and posed once, to be measured again and again."""

    def __init__(self, proxy: ProxySettings, gender: str, device: str):
        benchmark = OpenBenchmark(QUICK, proxy, gender=gender)
        ours = to_device(benchmark.assets, device)
        self.ruler = Ruler(ours)
        batches = [to_device(people, device) for people in benchmark.people(256)]
        self.people = [
            (people.batch.proxy, self.ruler(people.batch.target.parameters, people.camera))
            for people in batches
        ]
        self.mean_body = self.figures(MeanBody.of(training_bank(device), ours))

    def figures(self, estimator: Estimator) -> dict[str, float]:
        return mean_errors(estimator, self.ruler, self.people)


@functools.lru_cache(maxsize=1)
def _quick(proxy: ProxySettings, gender: str, device: str) -> _Quick:
    return _Quick(proxy, gender, device)
