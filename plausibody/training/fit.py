"""The loop: batches in, checkpoints out, and a word to everybody who watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plausibody.models.checkpoint import keep_last
from plausibody.synth.batch import Batch
from plausibody.training.trainer import CHECK_EVERY, Trainer

AGREE_EVERY = {"cpu": 1, "cuda": CHECK_EVERY}
"""Steps between the moments in which several processes agree to stop: GPUs must be waited for."""


class StoppedError(Exception):
    """Somebody asked the run to stop; it was saved first."""

    def __init__(self, step: int, why: str):
        super().__init__(
            f"stopped by {why} after {step} steps, all saved; do: the same command with --resume "
            "goes on from there"
        )
        self.why = why


@dataclass(frozen=True)
class Progress:
    """What a training run tells whoever watches it."""

    step: int
    steps: int
    samples_per_second: float
    seconds_left: float
    parts: dict[str, float]
    """Parts of the loss, smoothed."""


@dataclass(frozen=True)
class Watchers:
    """Who is told, and asked, while a run goes on."""

    state: Callable[[], dict[str, Any]] = dict
    """What a checkpoint's JSON says beside the step."""
    progress: Callable[[Progress], None] = lambda progress: None
    validate: Callable[[Trainer], None] = lambda trainer: None
    stop: Callable[[], str] = str
    """Who asked to stop, or nothing."""


def fit(
    trainer: Trainer,
    batches: Iterable[tuple[int, Batch]],
    folder: Path,
    watchers: Watchers,
    skipped: Collection[int] = (),
) -> None:
    """Trains over numbered batches, saving and validating at the configured steps.

    Args:
        batches: (step, batch), from the trainer's step on.
        folder: For checkpoints.
        watchers: Are told how it goes.
        skipped: Steps to pass over.

    Raises:
        NonFiniteLossError: If a step gives nothing to learn from.
        StoppedError: If somebody asked to stop.
    """
    settings = trainer.config.train
    started, first = time.perf_counter(), trainer.step
    for step, batch in batches:
        if step != trainer.step:
            raise ValueError(f"wanted the batch of step {trainer.step}, got that of {step}")
        if step in skipped:
            trainer.pass_over()
            parts = {}
        else:
            parts = trainer.train_step(batch)
        done, last = trainer.step, trainer.step == settings.steps
        if parts and (done % settings.log_every == 0 or last):
            smooth(trainer, parts)
            seconds = time.perf_counter() - started
            watchers.progress(_progress(trainer, (done - first) / seconds))
        if done % settings.validate_every == 0 or last:
            trainer.look()
            watchers.validate(trainer)
        why = _agreed(trainer, watchers.stop)
        if done % settings.checkpoint_every == 0 or last or why:
            save(trainer, folder, watchers.state())
        if why:
            raise StoppedError(done, why)


def smooth(trainer: Trainer, parts: dict[str, torch.Tensor]) -> None:
    """Brings the smoothed parts of the loss, means over all processes, up to date."""
    for name, value in trainer.told(parts).items():
        trainer.smooth[name] = 0.8 * trainer.smooth.get(name, value) + 0.2 * value


def save(trainer: Trainer, folder: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint, of several processes by the first, and removes the oldest."""
    trainer.look()  # all processes, so that they go back together
    if trainer.rank == 0:
        trainer.save(folder, state)
        keep_last(folder, trainer.config.train.keep, trainer.step)
    trainer.fabric.barrier()


def _agreed(trainer: Trainer, stop: Callable[[], str]) -> str:
    """Asks whether to stop; several processes do so at the same step, or none does."""
    if trainer.fabric.world_size > 1 and trainer.step % AGREE_EVERY[trainer.device.type]:
        return ""
    asked = stop()
    return asked or "another process" if trainer.anywhere(bool(asked)) else ""


def _progress(trainer: Trainer, steps_per_second: float) -> Progress:
    settings = trainer.config.train
    return Progress(
        step=trainer.step,
        steps=settings.steps,
        samples_per_second=steps_per_second * settings.batch_size,
        seconds_left=(settings.steps - trainer.step) / steps_per_second,
        parts=dict(trainer.smooth),
    )
