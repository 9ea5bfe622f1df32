"""A run as its folder tells it, finished, running or killed: for its page and for comparisons."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig
from plausibody.config_file import load_config
from plausibody.models.checkpoint import checkpoints
from plausibody.models.json_file import load_json, load_object
from plausibody.training.curves import read_lines

LEADING_FIGURE = "pa_mpjpe"
"""The figure by which the best validation is told; less is better."""
LEADING = f"val/{LEADING_FIGURE}"
"""Its curve."""


@dataclass(frozen=True)
class Moment:
    """A value of a curve."""

    step: int
    """Steps done."""
    seconds: float
    """Of training until then, in all legs; not a number where the run did not write it down."""
    value: float


@dataclass(frozen=True)
class History:
    """What is known of a run."""

    out: Path
    config: RunConfig
    record: Mapping[str, Any]
    """What its newest checkpoint says; empty before the first."""
    card: Mapping[str, Any]
    """Of its weights; empty before they are exported."""
    curves: Mapping[str, tuple[Moment, ...]]
    """By name, in the order of steps."""
    damaged: int
    """Lines of the curves that nobody can read any more; they are left out."""
    skipped: tuple[int, ...]
    """Steps that gave nothing to learn from."""

    @property
    def name(self) -> str:
        return self.out.resolve().name

    @property
    def step(self) -> int:
        """Steps done, as far as they were written down."""
        logged = [curve[-1].step for curve in self.curves.values() if curve]
        return max([int(self.record.get("step", 0)), *logged])

    @property
    def finished(self) -> bool:
        """Whether the weights of the last step are there."""
        return bool(self.card) and int(self.card.get("steps", 0)) >= self.config.train.steps

    @property
    def samples(self) -> int:
        return self.step * self.config.train.batch_size

    @property
    def seconds(self) -> float:
        """Of training so far [s]; not a number if unknown."""
        told = [moment.seconds for curve in self.curves.values() for moment in curve[-1:]]
        known = [seconds for seconds in told if math.isfinite(seconds)]
        return max([float(self.record.get("seconds", math.nan)), *known], key=_or_nothing)

    @property
    def rate(self) -> float:
        """Samples per second over the whole run; not a number if its time is unknown."""
        return self.samples / self.seconds if self.seconds > 0 else math.nan

    @property
    def best(self) -> Moment | None:
        """The best validation."""
        curve = self.curves.get(LEADING, ())
        return min(curve, key=lambda moment: moment.value) if curve else None

    def last(self, name: str) -> float | None:
        """Gives the newest value of a curve."""
        curve = self.curves.get(name, ())
        return curve[-1].value if curve else None

    @property
    def second_stage(self) -> int | None:
        """The step at which the second stage begins, if the run has two."""
        step = self.config.train.second_stage
        return step if self.config.method == "hierprob" and step > 0 else None


def _or_nothing(seconds: float) -> float:
    return seconds if math.isfinite(seconds) else -1.0


def read_history(out: Path) -> History:
    """Reads the folder of a run.

    Raises:
        ValueError: If it is none, or its configuration, card or list of skipped steps is damaged.
    """
    if not (out / "config.json").is_file():
        what = "found no such folder" if not out.is_dir() else "found no config.json there"
        raise ValueError(f"{out}: wanted the folder of a run, {what}; do: check the path")
    curves, damaged = read_curves(out / "curves.jsonl")
    return History(
        out=out,
        config=load_config(out / "config.json"),
        record=_newest_record(out / "checkpoints"),
        card=_read_card(out / "weights.json"),
        curves=curves,
        damaged=damaged,
        skipped=read_skipped(out),
    )


def _newest_record(folder: Path) -> dict[str, Any]:
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(FileNotFoundError, ValueError):
            # Else it is damaged, or a run that goes on has just removed it.
            record = load_object(path / "state.json", "the state of a checkpoint")
            if isinstance(record.get("step"), int):
                return record
    return {}


def _read_card(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    do = "train once more with --resume, which writes it again, or move it away"
    return load_object(path, "the card of the run's weights", do)


def read_skipped(out: Path) -> tuple[int, ...]:
    """Reads which steps of a run gave nothing to learn from.

    Raises:
        ValueError: If the list is damaged; a run that went on without it would lose what it knew.
    """
    path = out / "skipped.json"
    if not path.exists():
        return ()
    known = json.dumps(_newest_record(out / "checkpoints").get("skipped", []))
    wanted = "the steps that gave nothing to learn from, a list of whole numbers"
    do = f"write {known} into it, as the newest checkpoint has it; the run finds later ones again"
    steps = load_json(path, wanted, do)
    if not isinstance(steps, list) or not all(type(step) is int for step in steps):
        raise ValueError(f"{path}: wanted {wanted}, came JSON of another kind; do: {do}")
    return tuple(steps)


def read_curves(path: Path) -> tuple[dict[str, tuple[Moment, ...]], int]:
    """Reads a run's figures.

    Returns:
        The curves, and how many damaged lines are left out.
    """
    curves: dict[str, list[Moment]] = {}
    lines, damaged = read_lines(path) if path.is_file() else ([], 0)
    for line in lines:
        seconds = line.figures.get("seconds", math.nan)
        for name, value in line.figures.items():
            if name != "seconds":
                curves.setdefault(name, []).append(Moment(line.step, seconds, value))
    return {name: tuple(curve) for name, curve in curves.items()}, damaged
