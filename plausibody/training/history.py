"""A run as its folder tells it, finished, running or killed: for its page and for comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig
from plausibody.config_file import load_config
from plausibody.models.checkpoint import checkpoints

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
        ValueError: If it is none.
    """
    if not (out / "config.json").is_file():
        what = "found no such folder" if not out.is_dir() else "found no config.json there"
        raise ValueError(f"{out}: wanted the folder of a run, {what}; do: check the path")
    skipped = out / "skipped.json"
    card = out / "weights.json"
    return History(
        out=out,
        config=load_config(out / "config.json"),
        record=_newest_record(out / "checkpoints"),
        card=json.loads(card.read_text("utf-8")) if card.is_file() else {},
        curves=read_curves(out / "curves.jsonl"),
        skipped=tuple(json.loads(skipped.read_text("utf-8"))) if skipped.is_file() else (),
    )


def _newest_record(folder: Path) -> dict[str, Any]:
    for path in reversed(checkpoints(folder)):
        try:
            record = json.loads((path / "state.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            continue  # damaged, or a run that goes on has just removed it
        if isinstance(record, dict):
            return record
    return {}


def read_curves(path: Path) -> dict[str, tuple[Moment, ...]]:
    """Reads a run's figures. A line that was cut short when the run was killed is left out."""
    curves: dict[str, list[Moment]] = {}
    text = path.read_text("utf-8") if path.is_file() else ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("}\n"):
            continue
        values = json.loads(line)
        step, seconds = values.pop("step"), values.pop("seconds", math.nan)
        for name, value in values.items():
            curves.setdefault(name, []).append(Moment(step, float(seconds), float(value)))
    return {name: tuple(curve) for name, curve in curves.items()}
