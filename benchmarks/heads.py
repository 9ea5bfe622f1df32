"""Two heads on one encoder: distributions (matrix-Fisher) or one body (iterative), by seed.

    python benchmarks/heads.py OUT.json --runs DIR [--steps 2000] [--seeds 0 1 2]

Both learn from the same people with the same encoder and input; DIR keeps the trainings, and a
second call goes on where the first stopped. Both are measured on people of `open-v0`, whose poses
are those of subjects that no training saw. Spreads that are the same for everybody are fitted to
people of the validation subjects, drawn alike. Joints that never move in the poses, those of the
hands, are left out of likelihoods: of them nothing is to be predicted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor
from training_rows import check_training

from plausibody.bench import document
from plausibody.config import RunConfig, override
from plausibody.evaluate.distributions import (
    FixedSpread,
    Surprise,
    least_errors,
    moving_joints,
    sample_errors,
    surprise,
)
from plausibody.evaluate.open import OPEN_V0, OpenBenchmark, OpenSettings
from plausibody.evaluate.ruler import Ruler
from plausibody.evaluate.run import measure, quick_figures
from plausibody.models.files import write_file
from plausibody.models.prediction import BodyParameters, BodyPrediction, FisherPrediction
from plausibody.models.records import concatenate, take
from plausibody.models.weights import TrainedRegressor, load_regressor
from plausibody.presets import preset
from plausibody.training.record import commit
from plausibody.training.run import train_run

HEADS = ("fisher", "iterative")
SHOWN = ("pa_mpjpe", "pve_t_sc", "mpjpe")
COUNTS = (1, 10, 25, 100)
VALIDATION = OpenSettings(name="heads", split="val", count=4096, seed=8_000_001)
"""People to fit spreads to: drawn as those of `open-v0`, other subjects."""
CHUNK = 256
SAMPLED = 512
"""Of how many of the people samples are measured."""
SPREADS = {
    "fisher": "the matrix-Fisher head",
    "around iterative": "fixed spread round the iterative head's body",
    "around mode": "fixed spread round the matrix-Fisher head's mode",
    "around iterative, whole": "the same round the iterative head's, whole covariance of shape",
    "around mode, whole": "the same round the mode, whole covariance of shape",
}


def settings(head: str, seed: int, steps: int) -> RunConfig:
    """Gives the configuration of a training; all but the head and what it learns is the same."""
    values: dict[str, Any] = {
        "train.steps": steps,
        "train.seed": seed,
        "stream.seed": seed,
        "train.threads": 1,
        "train.validate_every": max(steps // 4, 1),
        "train.checkpoint_every": max(steps // 4, 1),
        "train.calibrated": 0,
    }
    own: dict[str, Any] = {"method": "straps"}
    if head == "fisher":
        own = {"method": "hierprob", "train.second_stage": steps // 2}
    return override(preset("lite"), values | own)


def trained(head: str, seed: int, steps: int, runs: Path) -> TrainedRegressor:
    """Trains a head, goes on with its training, or takes what is finished.

    Raises:
        ValueError: If what is there was trained otherwise.
    """
    config, folder = settings(head, seed, steps), runs / f"{head}_{seed}"
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        torch.set_num_threads(1)
        resume = (folder / "config.json").is_file()
        say = _teller(folder.name)
        train_run(config, folder, "cpu", resume, say=say, validation=quick_figures)
    regressor = load_regressor(weights)
    check_training(folder, regressor.card, config)
    return regressor


def _teller(name: str) -> Any:
    return lambda message: print(f"{name}: {message}", file=sys.stderr)


@dataclass(frozen=True)
class Row:
    """What was found of one seed."""

    seed: int
    steps: int
    people: int
    sampled: int
    """Of how many of them samples were measured."""
    weights: dict[str, str]
    """SHA-256 by head."""
    errors: dict[str, dict[str, float]]
    """By head and metric, of the mode or the only body [mm]."""
    pose_nll: dict[str, float]
    """By spread, mean over the joints that move [nats]."""
    joints: int
    """How many joints these are."""
    shape_nll: dict[str, float]
    """By spread, of all coefficients [nats]."""
    least: dict[str, dict[str, dict[str, float]]]
    """Of the matrix-Fisher head: by metric, by "samples" or "with the mode", by number [mm]."""
    command: str = "unknown"
    """The call that measured it; unknown of rows that were kept without."""
    commit: str = "unknown"
    """At which it was measured."""


def measure_seed(pair: Mapping[str, TrainedRegressor], seed: int, steps: int, people: int) -> Row:
    """Measures both heads of one seed on the same people."""
    proxy = pair["fisher"].proxy
    if pair["iterative"].proxy != proxy:
        raise ValueError("wanted heads with the same input, found different proxies")
    benchmark = OpenBenchmark(OPEN_V0, proxy)
    fitted = OpenBenchmark(VALIDATION, proxy)
    tested = [benchmark.some(first, n) for first, n in _parts(people)]
    ruler = Ruler(benchmark.assets)
    measured = measure(tested, {head: (pair[head], ruler) for head in HEADS}, ruler)
    errors = {
        head: {name: float(measured.errors[head][name].mean()) for name in SHOWN} for head in HEADS
    }
    fit, fit_truth = _ask(pair, [fitted.some(first, n).batch for first, n in _parts(people)])
    test, truth = _ask(pair, [part.batch for part in tested])
    fisher = test["fisher"]
    assert isinstance(fisher, FisherPrediction)
    moving = moving_joints(fit_truth)
    found: dict[str, Surprise] = {"fisher": surprise(fisher, truth)}
    for whole in (False, True):
        for head, name in (("iterative", "around iterative"), ("fisher", "around mode")):
            spread = FixedSpread.fit(fit[head].mode(), fit_truth, whole)
            around = spread.around(test[head].mode(), test[head].camera)
            found[name + (", whole" if whole else "")] = surprise(around, truth)
    template, regressors = benchmark.assets.template, benchmark.assets.regressors
    few = min(people, SAMPLED)
    some, true = take(fisher, slice(few)), take(truth, slice(few))
    samples = some.sample(max(COUNTS), torch.Generator().manual_seed(seed))
    drawn = sample_errors(samples, true, template, regressors)
    mode = some.mode()
    one = BodyParameters(shape=mode.shape[None], rotations=mode.rotations[None])
    best = sample_errors(one, true, template, regressors)
    return Row(
        seed=seed,
        steps=steps,
        people=people,
        sampled=few,
        weights={head: str(pair[head].card["sha256"]) for head in HEADS},
        errors=errors,
        pose_nll={
            name: float(value.pose[:, moving].double().mean()) for name, value in found.items()
        },
        joints=int(moving.sum()),
        shape_nll={name: float(value.shape.double().mean()) for name, value in found.items()},
        least={
            name: {
                "samples": _means(least_errors(getattr(drawn, name), COUNTS)),
                "with the mode": _means(
                    least_errors(getattr(drawn, name), COUNTS, getattr(best, name)[0])
                ),
            }
            for name in ("pa_mpjpe", "pve_t_sc")
        },
    )


def _parts(people: int) -> list[tuple[int, int]]:
    return [(first, min(CHUNK, people - first)) for first in range(0, people, CHUNK)]


def _means(least: Mapping[int, Tensor]) -> dict[str, float]:
    return {str(count): float(value.double().mean()) for count, value in least.items()}


@torch.no_grad()
def _ask(
    pair: Mapping[str, TrainedRegressor], batches: Sequence[Any]
) -> tuple[dict[str, BodyPrediction], BodyParameters]:
    """Predicts everyone by each head, and gives the truth."""
    told = {head: concatenate([pair[head].predict(x.proxy) for x in batches]) for head in HEADS}
    return told, concatenate([batch.target.parameters for batch in batches])


def table(rows: Sequence[Row]) -> str:
    """Writes what was found as Markdown: means over seeds, and their standard deviations."""
    first = rows[0]
    seeds = ", ".join(str(row.seed) for row in rows)
    lines = [
        f"{first.steps} steps, seeds {seeds}, {first.people} people of open-v0; mean ± standard "
        "deviation over seeds",
        "",
        "| error [mm] | matrix-Fisher, mode | iterative | ratio |",
        "|---|---|---|---|",
    ]
    for name in SHOWN:
        pair = [[row.errors[head][name] for row in rows] for head in HEADS]
        ratios = [one / other for one, other in zip(*pair, strict=True)]
        cells = [_spread(values, 1) for values in pair] + [_spread(ratios, 3)]
        lines.append(f"| {name.upper().replace('_', '-')} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"| NLL [nats] | pose, mean of {first.joints} joints | shape, all coefficients |",
        "|---|---|---|",
    ]
    for name, described in SPREADS.items():
        cells = [_spread([getattr(row, kind)[name] for row in rows], 2) for kind in NLL]
        lines.append(f"| {described} | " + " | ".join(cells) + " |")
    heads = " | ".join(f"N = {count}" for count in COUNTS)
    lines += [
        "",
        f"| best of N, {first.sampled} people [mm] | {heads} |",
        "|---" * (len(COUNTS) + 1) + "|",
    ]
    for name in ("pa_mpjpe", "pve_t_sc"):
        for kind in ("samples", "with the mode"):
            cells = [_spread([row.least[name][kind][str(n)] for row in rows], 1) for n in COUNTS]
            what = f"{name.upper().replace('_', '-')}, {kind}"
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


NLL = ("pose_nll", "shape_nll")


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def kept(out: Path) -> list[Row]:
    """Reads what an earlier call found."""
    if not out.is_file():
        return []
    return [Row(**row) for row in json.loads(out.read_text("utf-8"))["rows"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", type=int, default=2048)
    given = parser.parse_args()
    before, rows = kept(given.out), []
    command = shlex.join(["python", *sys.argv])
    for seed in given.seeds:
        pair = {head: trained(head, seed, given.steps, given.runs) for head in HEADS}
        weights = {head: regressor.card["sha256"] for head, regressor in pair.items()}
        same = [row for row in before if (row.weights, row.people) == (weights, given.people)]
        if not same:
            row = measure_seed(pair, seed, given.steps, given.people)
            same = [replace(row, command=command, commit=commit())]
        rows += same[:1]
        record = document([], command) | {"rows": [asdict(row) for row in rows]}
        write_file(given.out, json.dumps(record, indent=2) + "\n")
        print(f"seed {seed}: {rows[-1].errors}", file=sys.stderr)
    print(table(rows))


if __name__ == "__main__":
    main()
