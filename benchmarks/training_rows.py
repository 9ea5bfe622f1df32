"""What benchmarks of several trainings share: each is made by a command that anyone can repeat.

A study has variants of a preset, each trained with several seeds and measured on the same people.
A folder keeps trainings and numbers, so that a stopped study goes on, and one of some variants
grows by others.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from plausibody.config import RunConfig, known_keys, override, parse_settings
from plausibody.config_file import from_json
from plausibody.evaluate.ablation import effects, mean_values
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.bootstrap import Difference
from plausibody.evaluate.figures import MEAN_BODY
from plausibody.evaluate.run import Estimator
from plausibody.evaluate.values import Values, decode_values, encode_values
from plausibody.models.files import write_file
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import TrainedRegressor, load_regressor
from plausibody.presets import PRESETS
from plausibody.sources import open_assets
from plausibody.synth.generator import BatchGenerator
from plausibody.training.estimates import estimate
from plausibody.training.trainer import Trainer


def train_words(
    preset: str, settings: str, seed: int, steps: int, out: Path, start: str = ""
) -> list[str]:
    """Gives the words of the command of a training.

    Args:
        settings: What differs from the preset, `key=value` with blanks between.
        seed: Of network and stream.
        out: Folder of the run.
        start: Folder beside it of the run from whose weights it starts; or nothing.
    """
    pairs = [part for pair in settings.split() for part in ("--set", pair)]
    if start:
        pairs += ["--init-weights", str(out.with_name(start) / "weights.safetensors")]
    numbers = ["--seed", str(seed), "--steps", str(steps)]
    return ["synth-train", "--preset", preset, *numbers, *pairs, "--out", str(out)]


def train(words: list[str], say: Callable[[str], None] = print) -> Path:
    """Trains, goes on with a training that was stopped, or takes what is finished.

    Args:
        words: From `train_words`.

    Returns:
        The weights.

    Raises:
        subprocess.CalledProcessError: If the training fails; its folder stays for another call.
    """
    out = Path(words[-1])
    weights = out / "weights.safetensors"
    if not weights.is_file():
        resume = ["--resume"] if (out / "config.json").is_file() else []
        say(f"$ {shlex.join([*words, *resume])}")
        program = Path(sys.executable).with_name(words[0])
        started = time.monotonic()
        subprocess.run([str(program), *words[1:], "--quiet", *resume], check=True)
        say(f"  done in {(time.monotonic() - started) / 60:.1f} minutes")
    return weights


def steps_within(preset: str, settings: str, minutes: float) -> int:
    """Gives how many steps of a training fit into a time on this machine, from a few of them."""
    config = override(PRESETS[preset](), parse_settings(settings.split()))
    assets = open_assets(config, "train")
    trainer = Trainer(config, assets)
    told = estimate(trainer, BatchGenerator(config, assets, trainer.device))
    slowest = max(plan.seconds for plan in told.stages)
    return max(int(60 * minutes / slowest), 1)


def decide_steps(
    runs: Path, preset: str, steps: int | None, minutes: float, name: str = "plan"
) -> int:
    """Gives the steps of all trainings: those of the folder's first call, if there was one.

    Args:
        runs: The folder.
        preset: Of the trainings.
        steps: Of each, if they are told.
        minutes: Of each, if not.
        name: Of the file that keeps them, where a folder has trainings of several presets.
    """
    plan = runs / f"{name}.json"
    if plan.is_file():
        planned = int(json.loads(plan.read_text("utf-8"))["steps"])
        if steps not in (None, planned):
            raise SystemExit(
                f"--steps: wanted the {planned} that {runs} was begun with, got {steps}; "
                "do: another --runs"
            )
        return planned
    steps = steps or steps_within(preset, "", minutes)
    runs.mkdir(parents=True, exist_ok=True)
    write_file(plan, json.dumps({"steps": steps}))
    return steps


FREE = frozenset(
    f"train.{name}" for name in ("calibrated", "checkpoint_every", "threads", "validate_every")
)
"""Of a training's settings, those that do not change what is learnt."""
STARTED_FROM = "train.init_weights"
START, START_SEED = "start", 100
"""Folder and seed of the training from which others start: it sees other people than they do."""


@dataclass(frozen=True)
class Row:
    """One training, and its mean errors."""

    variant: str
    seed: int
    command: str
    commit: str
    """At which it was trained."""
    weights: str
    """SHA-256."""
    samples: int
    minutes: float
    errors: dict[str, list[float]]
    """By metric, at the places where the study takes them."""


@dataclass(frozen=True)
class Study:
    """Variants of a training, and how each is measured."""

    preset: str
    variants: Mapping[str, str]
    """What differs from the preset, as of `train_words`."""
    kept: str
    """Name of the files of a run's folder that keep the numbers of each person."""
    people: int
    """How many are measured."""
    settings: Mapping[str, Any]
    """What decides who is measured; JSON can hold it. Numbers of others are not taken."""
    measure: Callable[[Estimator, ProxySettings], Values]
    """Gives the numbers of each person, by an estimator and how its inputs are made."""
    summarise: Callable[[Values], dict[str, list[float]]]
    """Gives a row's errors."""
    leading: str
    """The error that is shown first."""
    baseline: MeanBody | None = None
    """Is measured beside the networks."""
    start: str = ""
    """Preset of a training from whose weights all others start, of the preset's own length."""
    complete: Callable[[Values], Values] = lambda values: values
    """Adds to kept numbers what follows from them."""

    def folder(self, runs: Path, variant: str, seed: int) -> Path:
        return runs / f"{variant.replace(', ', '_').replace(' ', '_')}-{seed}"

    def finished(self, runs: Path) -> list[tuple[int, str]]:
        """Lists the seeds and variants whose training a folder holds."""
        found = []
        for variant in self.variants:
            start = self.folder(runs, variant, 0).name.removesuffix("0")
            for weights in runs.glob(f"{start}*/weights.safetensors"):
                seed = weights.parent.name.removeprefix(start)
                if seed.isdecimal():
                    found.append((int(seed), variant))
        return self.sorted(found)

    def sorted(self, trainings: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Brings trainings into the order of a table: by seed, then by variant."""
        place = {variant: number for number, variant in enumerate(self.variants)}
        return sorted(trainings, key=lambda each: (each[0], place[each[1]]))

    def measured(self, out: Path, regressor: TrainedRegressor) -> Values:
        """Gives each person's numbers by the network of a folder, measured now or before."""
        mark = json.dumps([regressor.card["sha256"], self.settings], sort_keys=True)
        kept, made = out / f"{self.kept}.npz", out / f"{self.kept}.json"
        if kept.is_file() and made.is_file() and made.read_text("utf-8") == mark:
            return self.complete(decode_values(kept.read_bytes()))
        values = self.measure_alone(regressor, regressor.proxy)
        write_file(kept, encode_values(values))
        write_file(made, mark)
        return self.complete(values)

    def measure_alone(self, estimator: Estimator, proxy: ProxySettings) -> Values:
        """Measures in one thread: of batches so small, several wait for each other."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.measure(estimator, proxy)
        finally:
            torch.set_num_threads(threads)


@dataclass
class Findings:
    """What has been found so far."""

    study: Study
    rows_by_training: dict[tuple[int, str], Row] = field(default_factory=dict)
    values: dict[str, dict[int, Values]] = field(default_factory=dict)
    """By variant and seed."""
    baseline: Values | None = None

    @property
    def rows(self) -> list[Row]:
        """In the order of a table."""
        order = self.study.sorted(list(self.rows_by_training))
        return [self.rows_by_training[training] for training in order]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for seed, _ in self.rows_by_training})

    def means(self) -> dict[str, Values]:
        """Gives each person's numbers by variant, averaged over its seeds; the mean body last."""
        found = {name: self.values.get(name, {}) for name in self.study.variants}
        means = {name: mean_values(list(each.values())) for name, each in found.items() if each}
        return means if self.baseline is None else means | {MEAN_BODY: self.baseline}

    def pair(self, first: str, second: str) -> tuple[Values, Values] | None:
        """Gives the same of two variants, averaged over the seeds that both have; None of none."""
        one, two = self.values.get(first, {}), self.values.get(second, {})
        seeds = sorted(one.keys() & two.keys())
        if not seeds:
            return None
        return mean_values([one[seed] for seed in seeds]), mean_values([two[s] for s in seeds])

    def compare(
        self, pairs: Mapping[str, tuple[str, str]], metrics: Sequence[str], attribute: str
    ) -> dict[str, Mapping[str, Mapping[str, Difference]]]:
        """Tells by kind of people and metric what the second of two variants changes.

        Args:
            pairs: Of variants, by the name of the effect. Those that are not trained are left out.
            metrics: To compare.
            attribute: Of the people.
        """
        both = {name: self.pair(*variants) for name, variants in pairs.items()}
        return {
            name: effects(*values, metrics, attribute) for name, values in both.items() if values
        }


def run_study(
    study: Study,
    runs: Path,
    steps: int,
    seeds: Sequence[int],
    variants: Sequence[str],
    changes: Sequence[str] = (),
) -> Iterator[Findings]:
    """Trains and measures, prints each row, and yields what is known after each training.

    What the folder holds of other variants and seeds comes first.

    Args:
        runs: The folder.
        steps: Of each training.
        seeds: To train with; all variants with the first come before any with the second.
        variants: To train, in this order.
        changes: Of all trainings, besides those of their variants, `key=value`.

    Raises:
        ValueError: If the folder holds a training of other settings under a variant's name.
    """
    found, start = Findings(study), START if study.start else ""
    if study.start:
        train(_start_words(study, runs))
    wanted = [(seed, variant) for seed in seeds for variant in variants]
    others = [training for training in study.finished(runs) if training not in wanted]
    for seed, variant in (*others, *wanted):
        out = study.folder(runs, variant, seed)
        settings = " ".join([study.variants[variant], *changes])
        words = train_words(study.preset, settings, seed, steps, out, start)
        regressor = load_regressor(train(words))
        card = regressor.card
        pairs = {**parse_settings(settings.split()), "train.steps": steps}
        pairs |= {"train.seed": seed, "stream.seed": seed}
        if start:
            pairs[STARTED_FROM] = f"{start}/weights.safetensors"
        check_training(out, card, override(PRESETS[study.preset](), pairs))
        values = study.measured(out, regressor)
        found.values.setdefault(variant, {})[seed] = values
        found.rows_by_training[seed, variant] = Row(
            variant=variant,
            seed=seed,
            command=shlex.join(
                train_words(study.preset, settings, seed, steps, Path("runs") / out.name, start)
            ),
            commit=card.get("commit", "unknown"),
            weights=card["sha256"],
            samples=card["samples"],
            minutes=round(card.get("seconds", math.nan) / 60, 1),
            errors=study.summarise(values),
        )
        if study.baseline is not None and found.baseline is None:
            found.baseline = study.complete(study.measure_alone(study.baseline, regressor.proxy))
        errors = found.rows_by_training[seed, variant].errors[study.leading]
        print(variant, seed, [round(value, 1) for value in errors], flush=True)
        yield found


def command_of(
    script: str, options: argparse.Namespace, found: Sequence[Findings], steps: Mapping[str, int]
) -> str:
    """Gives the command that makes all that was found, not only what the last call added.

    Args:
        script: Its name.
        options: Of the last call, by `study_parser`.
        found: By study.
        steps: Of trainings, by the option that tells them.
    """
    rows = [row for each in found for row in each.rows]
    words = ["python", f"benchmarks/{script}", options.out.name, "--runs", "runs"]
    words += [word for option, count in steps.items() for word in (option, str(count))]
    words += ["--people", str(options.people)]
    words += ["--seeds", *map(str, sorted({row.seed for row in rows}))]
    words += ["--variants", *dict.fromkeys(row.variant for row in rows)]
    return shlex.join(words + (["--set", *options.changes] if options.changes else []))


def start_command(study: Study) -> list[str]:
    """Gives the command of the training that all others start from; none if there is none."""
    return [shlex.join(_start_words(study, Path("runs")))] if study.start else []


def _start_words(study: Study, runs: Path) -> list[str]:
    steps = PRESETS[study.start]().train.steps
    return train_words(study.start, "", START_SEED, steps, runs / START)


def check_training(folder: Path, card: Mapping[str, Any], config: RunConfig) -> None:
    """Refuses a network that was trained otherwise than a table would say.

    Raises:
        ValueError: If another configuration than this made it, in what changes a training.
    """
    wanted, found = known_keys(config), known_keys(from_json(card["config"]))
    for values in (wanted, found):  # folders of runs may have moved together
        values[STARTED_FROM] = "/".join(Path(values[STARTED_FROM]).parts[-2:])
    odd = [key for key, value in wanted.items() if key not in FREE and found[key] != value]
    if odd:
        raise ValueError(
            f"{folder}: wanted a training with {odd[0]} = {wanted[odd[0]]!r}, found "
            f"{found[odd[0]]!r}; do: another --runs, or delete it"
        )


def study_parser(
    description: str, variants: Sequence[str], default: Sequence[str], minutes: float, people: int
) -> argparse.ArgumentParser:
    """Makes the options that all studies have.

    Args:
        description: Of the script.
        variants: Which there are.
        default: Which are trained unless others are told.
        minutes: Of each training.
        people: On whom networks are measured.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=minutes, help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, instead of --minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--variants", nargs="+", choices=variants, default=list(default),
        help="to train; others that DIR holds are told too",
    )  # fmt: skip
    parser.add_argument("--people", type=int, default=people)
    parser.add_argument("--page", type=Path, help="with a picture of the same name beside it")
    parser.add_argument(
        "--set", nargs="+", default=[], dest="changes", help="of all trainings, KEY=VALUE"
    )
    return parser
