"""A training run from its configuration to weights; it goes on after any kind of stop."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig
from plausibody.models.checkpoint import checkpoints
from plausibody.models.files import write_file
from plausibody.preview import draw_predictions
from plausibody.sources import open_assets
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.looks import skipped_lines
from plausibody.synth.stores import SynthAssets
from plausibody.training.curves import Curves
from plausibody.training.fit import Progress, Watchers, fit, save
from plausibody.training.folder import locked
from plausibody.training.record import export, start_record
from plausibody.training.stopping import StopRequest
from plausibody.training.trainer import NonFiniteLossError, Trainer

PICTURED = 16
"""Synthetic people whose predictions are drawn as training goes on."""
MOST_SKIPPED = 10
"""Steps without a finite loss after which a run is given up."""
LEADING = "pa_mpjpe"
"""The figure by which the best validation is told; less is better."""


def train_run(
    config: RunConfig,
    out: Path,
    device: str = "auto",
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda message: None,
    validation: Callable[[Trainer], dict[str, float]] | None = None,
) -> Path:
    """Trains, from the start or from the newest checkpoint, and exports the weights.

    Args:
        config: Of the run.
        out: Its folder, made by `prepare_folder`.
        device: auto, cpu or cuda.
        resume: Whether to go on from the newest checkpoint that is whole.
        watch: Is told the progress.
        say: Is told what a person should know.
        validation: Measures the trainer's best network; its figures go into curves and card.

    Returns:
        The weights.

    Raises:
        LockedError: If another process trains in the folder.
        StoppedError: If a signal asked to stop; a checkpoint was saved.
        NonFiniteLossError: If too many steps have no finite loss.
    """

    def made(done: int, total: int) -> None:
        if done % 16 == 0 and done < total:
            say(f"textures, made once: {done} of {total}")

    assets = open_assets(config, "train", progress=made)
    trainer = Trainer(config, assets, device)
    with contextlib.ExitStack() as stack:
        if trainer.rank == 0:
            stack.enter_context(locked(out))
        trainer.fabric.barrier()
        run = _Run(trainer, assets, out, say, validation)
        run.begin(resume)
        stop = stack.enter_context(StopRequest())
        run.go_on(watch, stop)
        for line in skipped_lines(assets.looks):
            say(line)
        return run.finish()


class _Run:
    """What belongs to a run beside its trainer: record, figures, skipped steps."""

    def __init__(
        self,
        trainer: Trainer,
        assets: SynthAssets,
        out: Path,
        say: Callable[[str], None],
        validation: Callable[[Trainer], dict[str, float]] | None,
    ):
        config = trainer.config
        self.trainer, self.assets, self.out, self.say = trainer, assets, out, say
        self.validation = validation
        self.folder = out / "checkpoints"
        self.record = start_record(config, trainer.device)
        self.figures: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.seconds, self.started = 0.0, time.time()
        self.batches = BatchGenerator(config, assets, trainer.device)
        backend = config.renderer.backend
        held_out = open_assets(config, "val", assets.looks)
        self.shown = BatchGenerator.of(config.stream, config.proxy, held_out, PICTURED, backend)[0]

    def begin(self, resume: bool) -> None:
        """Starts over, or goes back to the newest whole checkpoint."""
        if resume and checkpoints(self.folder):
            self._restore()
            self.say(f"resumed at step {self.trainer.step} of {self.trainer.config.train.steps}")
        else:
            if resume:
                self.say("no finished checkpoint yet, starting over")
            save(self.trainer, self.folder, self.state())  # what a failed first step returns to

    def _restore(self) -> None:
        before, messages = self.trainer.restore(self.folder)
        for message in messages:
            self.say(message)
        self.figures, self.best = before.get("figures", {}), before.get("best", {})
        self.seconds, self.started = before.get("seconds", 0.0), time.time()

    def state(self) -> dict[str, Any]:
        """Tells what a checkpoint keeps beside tensors."""
        seconds = self.seconds + time.time() - self.started
        told = {"figures": self.figures, "best": self.best, "seconds": round(seconds, 1)}
        return {**self.record, **told, "skipped": self._skipped()}

    def go_on(self, watch: Callable[[Progress], None], stop: Callable[[], str]) -> None:
        """Trains to the end; of a step without a finite loss, the run goes back and round it."""
        trainer, steps = self.trainer, self.trainer.config.train.steps
        while True:
            skipped = self._skipped()
            with Curves(self.out, trainer.step, writes=trainer.rank == 0) as curves:
                watchers = Watchers(self.state, self._log(curves, watch), self._show(curves), stop)
                stream = prefetch(
                    self.batches, trainer.step, steps, finish=trainer.prepare,
                    part=(trainer.rank, trainer.share),
                )  # fmt: skip
                try:
                    with contextlib.closing(stream):
                        return fit(trainer, stream, self.folder, watchers, skipped)
                except NonFiniteLossError as error:
                    self._go_back(error, skipped)

    def _go_back(self, error: NonFiniteLossError, skipped: list[int]) -> None:
        if len(skipped) >= MOST_SKIPPED:
            raise NonFiniteLossError(error.step, float("nan")) from error
        skipped = sorted({*skipped, error.step})
        if self.trainer.rank == 0:
            write_file(self.out / "skipped.json", json.dumps(skipped))
        self.trainer.fabric.barrier()
        self._restore()
        self.say(f"{error}; back at step {self.trainer.step}, step {error.step} will be skipped")

    def _skipped(self) -> list[int]:
        path = self.out / "skipped.json"
        return list(json.loads(path.read_text("utf-8"))) if path.exists() else []

    def _log(self, curves: Curves, watch: Callable[[Progress], None]) -> Callable[[Progress], None]:
        def log(progress: Progress) -> None:
            rate = {"samples_per_second": progress.samples_per_second}
            curves.write(progress.step, {f"train/{k}": v for k, v in progress.parts.items()} | rate)
            watch(progress)

        return log

    def _show(self, curves: Curves) -> Callable[[Trainer], None]:
        def validate(now: Trainer) -> None:
            if now.rank == 0:
                picture = draw_predictions(now.best, self.shown, self.assets, now.device)
                curves.show(now.step, picture)
                if self.validation is not None:
                    self.figures.update(self.validation(now))
                    curves.write(now.step, {f"val/{k}": v for k, v in self.figures.items()})
                    self._keep_best()
            now.fabric.barrier()

        return validate

    def _keep_best(self) -> None:
        """Keeps the weights of the best validation so far."""
        value = self.figures.get(LEADING)
        if value is not None and value < self.best.get(LEADING, float("inf")):
            self.best = {"step": self.trainer.step, LEADING: value}
            export(self.trainer, self.out / "best.safetensors", self._card())

    def _card(self) -> dict[str, Any]:
        return {**self.record, "figures": self.figures, "skipped": self._skipped()}

    def finish(self) -> Path:
        """Writes the weights to use."""
        weights = self.out / "weights.safetensors"
        if self.trainer.rank == 0:
            export(self.trainer, weights, self._card())
        self.trainer.fabric.barrier()
        return weights
