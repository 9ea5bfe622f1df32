"""What a run tells of itself: where it ran, on what, with which versions; and its weights."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import plausibody
from plausibody.config import RunConfig
from plausibody.config_file import to_json
from plausibody.models.weights import save_regressor
from plausibody.training.launch import all_processes, pick_precision
from plausibody.training.origins import describe_data, licence
from plausibody.training.trainer import Trainer

PACKAGES = ("torch", "numpy", "numba", "lightning-fabric", "safetensors")
"""Whose versions may change a run's numbers."""
LIMITS = (
    "Trained on synthetic people alone. Real pictures reach it through a front end, whose errors "
    "the stream only resembles.",
    "Single pictures do not tell size: lengths follow the mean person's unless a height is told.",
    "Poses are those of motion capture and mixtures of them: much walking, sport and dance, few "
    "seated and lying people.",
    "Shapes are those of the body's linear space, of adults.",
)
"""What every network of ours cannot do, for its card."""


CONDITIONS = ("device", "precision", "threads", "processes", "torch")
"""What else decides the last bits of a run's weights, on top of its settings and sources."""


def start_record(
    config: RunConfig, device: torch.device | str, origins: Mapping[str, str]
) -> dict[str, Any]:
    """Tells what, where and with which versions a run is, from the moment of the call."""
    device = torch.device(device)
    return {
        "config": to_json(config),
        "data": describe_data(config),
        "origins": dict(origins),
        "seed": {"network": config.train.seed, "stream": config.stream.seed},
        "started": now(),
        "device": _device_name(device),
        "precision": pick_precision(config.train.precision, device),
        "processes": all_processes(),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "plausibody": plausibody.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


class RunRecord:
    """A run's record over all its legs: one from each start or resume to the next stop.

    What is told of device and versions is of the last leg; `legs` has those of all.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device | str,
        origins: Mapping[str, str] | None = None,
    ):
        """Args:
        config: Of the run.
        device: Of this leg.
        origins: What it learns from, by content.
        """
        self._here = start_record(config, device, origins or {})
        self._facts, self.legs = self._here, list[dict[str, Any]]()
        self._seconds, self._since = 0.0, 0.0

    def recall(self, before: Mapping[str, Any]) -> None:
        """Takes over what a checkpoint says of the legs so far."""
        self._facts = {name: before.get(name, fact) for name, fact in self._here.items()}
        self.legs, self._seconds = list(before.get("legs", [])), before.get("seconds", 0.0)
        # Which weights the run started from is known from its first leg alone.
        self._here["origins"] = {**before.get("origins", {}), **self._here["origins"]}

    def moved(self, before: Mapping[str, Any]) -> list[str]:
        """Lists the conditions of this leg that are not those of a checkpoint's."""
        return [
            f"{name}: {before[name]} -> {self._here[name]}"
            for name in CONDITIONS
            if before.get(name, self._here[name]) != self._here[name]
        ]

    def unlike(self, before: Mapping[str, Any]) -> list[str]:
        """Lists what this leg learns from and a checkpoint did not."""
        now, then = self._here["origins"], before.get("origins", {})
        return [
            f"{name}: {then[name]} -> {now[name]}"
            for name in now
            if then.get(name, now[name]) != now[name]
        ]

    def start(self, step: int) -> None:
        """Begins a leg, here and now.

        Args:
            step: Steps done before it.
        """
        kept = (*CONDITIONS, "plausibody", "commit")
        leg = {"step": step, "started": now(), **{name: self._here[name] for name in kept}}
        self._facts = {**self._here, "started": self._facts["started"]}
        self.legs, self._since = [*self.legs, leg], time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent so far in all legs, without what was lost between a checkpoint and a kill [s]."""
        running = time.perf_counter() - self._since if self._since else 0.0
        return round(self._seconds + running, 1)

    def told(self) -> dict[str, Any]:
        """Gives what a checkpoint's JSON says of the run."""
        return {**self._facts, "seconds": self.seconds, "legs": self.legs}


def make_card(
    told: Mapping[str, Any], figures: Mapping[str, float], skipped: list[int]
) -> dict[str, Any]:
    """Makes the card of weights.

    Args:
        told: By `RunRecord.told` or by a checkpoint, of the moment in which the weights were saved.
        figures: Of the last validation.
        skipped: Steps that gave nothing to learn from.
    """
    of_checkpoints = ("version", "files", "step", "best", "smooth", "stage", "method", "body")
    kept = {name: value for name, value in told.items() if name not in of_checkpoints}
    return {
        **kept, "figures": dict(figures), "skipped": skipped, "limits": list(LIMITS),
        "licence": licence(told),
    }  # fmt: skip


def now() -> str:
    """Gives the time as ISO 8601 writes it, in UTC, to the second."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """Writes a moment in UTC as ISO 8601 does, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _device_name(device: torch.device) -> str:
    """Names a device as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = Path("/proc/cpuinfo")
    if names.exists():
        for line in names.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "cpu"


def commit() -> str:
    """Names the commit of the checkout that plausibody runs from, or "unknown"."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def export(trainer: Trainer, path: Path, card: dict[str, Any]) -> None:
    """Writes the weights to share, kept as `train.stored` says, with a card."""
    samples = trainer.step * trainer.config.train.batch_size
    done = {"parents": trainer.parents, "steps": trainer.step, "samples": samples}
    save_regressor(trainer.best, path, {**card, **done}, trainer.config.train.stored)
