"""A training run from its configuration to weights; it goes on after any kind of stop."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig, override
from plausibody.config_file import config_of, to_json
from plausibody.models.checkpoint import checkpoints
from plausibody.models.files import write_file
from plausibody.sources import open_assets
from plausibody.stopping import StopRequest
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.looks import skipped_lines
from plausibody.synth.stores import SynthAssets
from plausibody.training.curves import Curves, left_out
from plausibody.training.estimates import Estimate, estimate, fitting_batch
from plausibody.training.fit import Progress, StoppedError, Watchers, fit, save
from plausibody.training.folder import (
    CHECKPOINTS,
    FREE,
    HARMLESS,
    claimed,
    differences,
    prepare_folder,
    write_config,
)
from plausibody.training.history import LEADING_FIGURE, read_skipped
from plausibody.training.launch import first_process
from plausibody.training.memory import memory_advice
from plausibody.training.origins import digests, start_facts
from plausibody.training.page import TRAINING
from plausibody.training.record import RunRecord, export, make_card
from plausibody.training.showing import Showing
from plausibody.training.trainer import NonFiniteLossError, Trainer
from plausibody.training.validation import HeldOut

MOST_SKIPPED, WINDOW = 10, 1000
"""How many of how many steps in a row may be passed over for want of a finite loss."""


class HopelessError(FloatingPointError):
    """Too many steps gave nothing to learn from."""

    def __init__(self, steps: Sequence[int], out: Path, rate: float):
        named = ", ".join(map(str, steps))
        super().__init__(
            f"{out}: {len(steps)} of the last {WINDOW} steps had no finite loss: {named}; do: "
            f"see one with 'plausibody preview --config {out / 'config.json'} --step {steps[0]}'. "
            f"If nothing is wrong with it, the learning rate is too high: --resume --force --set "
            f"train.rate={rate / 3:.2g} goes on from the checkpoint"
        )
        self.steps = list(steps)


def train_run(
    config: RunConfig,
    out: Path,
    device: str = "auto",
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda message: None,
    validation: Callable[[Trainer], dict[str, float]] | None = None,
    force: bool = False,
    plan: bool = False,
) -> Path:
    """Trains, from the start or from the newest checkpoint, and exports the weights.

    Args:
        config: Of the run.
        out: Its folder; new, empty or a run's, as `resume` and `force` say.
        device: auto, cpu or cuda.
        resume: Whether to go on from the newest checkpoint that is whole.
        watch: Is told the progress.
        say: Is told what a person should know.
        validation: Measures the trainer's best network; its figures go into curves and card.
        force: Without `resume`, whether to delete a run in the folder. With `resume`, whether to
            go on with other settings than the run's.
        plan: Whether to estimate first, from a few steps on a copy, what time, memory and disk the
            run will take, and say it.

    Returns:
        The weights.

    Raises:
        ValueError: If the folder holds something else than what was asked for.
        LockedError: If another process trains in the folder.
        PermissionError: If nothing can be written there.
        CheckpointError: If the run has checkpoints, and none that is whole and fits.
        DiskFullError: If there is no space; what was saved before is whole.
        StoppedError: If a signal asked to stop; a checkpoint was saved.
        HopelessError: If too many steps one after the other have no finite loss.
    """

    def made(done: int, total: int) -> None:
        if done % 16 == 0 and done < total:
            say(f"textures, made once: {done} of {total}")

    with contextlib.ExitStack() as stack:
        if first_process():
            stack.enter_context(claimed(out, config, resume, force))
        assets = open_assets(config, "train", progress=made)
        for line in [] if assets.real is None else assets.real.told():
            say(line)
        found = resume and bool(checkpoints(out / CHECKPOINTS))
        trainer = Trainer(config, assets, device, fresh=not found)
        if first_process():  # not before: what is deleted by --force should have a successor
            prepare_folder(out, config, resume, force)
        trainer.fabric.barrier()
        origins = digests(config, assets) | ({} if found else start_facts(config))
        run = _Run(trainer, assets, out, say, validation, origins)
        stop = stack.enter_context(StopRequest(say))
        run.begin(resume, found, force)
        try:
            if plan:
                run.estimate()
            run.go_on(watch, stop)
        except BaseException as error:
            run.leave(error)
            raise
        photos = [] if assets.real is None else assets.real.unread.told()
        for line in (*skipped_lines(assets.looks), *photos):
            say(line)
        weights = run.finish()
        if why := stop():
            raise StoppedError(trainer.step, why)
        return weights


class _Run:
    """What belongs to a run beside its trainer: record, figures, skipped steps."""

    def __init__(
        self,
        trainer: Trainer,
        assets: SynthAssets,
        out: Path,
        say: Callable[[str], None],
        validation: Callable[[Trainer], dict[str, float]] | None,
        origins: Mapping[str, str],
    ):
        config = trainer.config
        self.trainer, self.assets, self.out, self.say = trainer, assets, out, say
        self.validation = validation
        self.folder = out / CHECKPOINTS
        self.record = RunRecord(config, trainer.device, origins)
        self.kept: dict[str, Any] = {}
        """What the newest checkpoint says of the run."""
        self.figures: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.changes: list[dict[str, Any]] = []
        self.batches = BatchGenerator(config, assets, trainer.device)
        held_out = open_assets(config, "val", assets.looks)
        self.held_out = HeldOut(config, assets, held_out)
        self.showing = Showing(config, held_out, out, say)
        self.estimated: Estimate | None = None

    def begin(self, resume: bool, found: bool, force: bool) -> None:
        """Starts over, or goes back to the newest whole checkpoint.

        Args:
            resume: Whether a run in the folder should go on.
            found: Whether it has a checkpoint.
            force: Whether it may go on with other settings and from other data.
        """
        trainer = self.trainer
        trainer.fabric.barrier()  # all processes have looked before the first one writes
        if found:
            self._restore()
            self._skipped()  # if it is damaged, nothing has been changed yet
            self._require_same_data(force)
            if trainer.step > trainer.config.train.steps:
                raise ValueError(
                    f"train.steps: wanted at least the {trainer.step} that are done, got "
                    f"{trainer.config.train.steps}; do: more --steps, or use {self.out}'s weights"
                )
            self.record.recall(self.kept)
            self.say(f"resumed at step {trainer.step} of {trainer.config.train.steps}")
            if trainer.step < trainer.config.train.steps:
                self._adopt()
            else:
                self._store_otherwise()
        else:
            if resume:
                self.say("no finished checkpoint yet, starting over")
            if trainer.rank == 0:
                write_config(self.out, trainer.config)
            save(trainer, self.folder, self.state())  # what a failed first step returns to

    def _restore(self) -> None:
        before, messages = self.trainer.restore(self.folder)
        for message in messages:
            self.say(message)
        self.kept = before
        self.figures, self.best = before.get("figures", {}), before.get("best", {})
        self.changes = before.get("changes", [])

    def _before(self) -> RunConfig:
        """Gives the settings of the newest checkpoint."""
        place = self.folder / f"step_{self.trainer.step}"
        do = f"move {place} away, and --resume goes on from the checkpoint before"
        return config_of(self.kept, str(place / "state.json"), do)

    def _require_same_data(self, force: bool) -> None:
        unlike = self.record.unlike(self.kept)
        if unlike and not force:
            raise ValueError(
                f"--resume: {'; '.join(unlike)}: wanted the files that the run learnt from, came "
                "others under the same names; do: put the old ones back ('plausibody assets check' "
                "tells which files are used), or --resume --force to go on with these"
            )

    def _store_otherwise(self) -> None:
        """Takes what a run without steps left can still take: how its weights are kept."""
        before, stored = self._before(), self.trainer.config.train.stored
        for line in differences(before, self.trainer.config, FREE):
            self.say(f"no step is left, so this changes nothing: {line}")
        config = override(before, {"train.stored": stored})
        self.kept["config"] = to_json(config)
        if self.trainer.rank == 0:
            write_config(self.out, config)
        self.trainer.fabric.barrier()

    def _adopt(self) -> None:
        """Makes the settings those of the run, now that its checkpoint has been found to fit."""
        config, step = self.trainer.config, self.trainer.step
        before = self._before()
        bent = differences(before, config, HARMLESS) + self.record.unlike(self.kept)
        for line in bent:
            self.say(f"from here on {line}")
        for line in self.record.moved(self.kept):
            self.say(f"from here on {line}: last bits differ from those of an unbroken run")
        if bent:
            self.changes = [*self.changes, {"step": step, "settings": bent}]
        if self.trainer.rank == 0:
            write_config(self.out, config)
            if differences(before, config):  # later steps get another chance
                self._skip([before for before in self._skipped() if before < step])
        self.trainer.fabric.barrier()

    def estimate(self) -> None:
        """Says what the rest of the run will take."""
        trainer = self.trainer
        if trainer.step < trainer.config.train.steps:
            with memory_advice(trainer, self._fits):
                self.estimated = estimate(trainer, self.batches)
            for line in (self.estimated.describe(), *self.estimated.warnings(self.out)):
                self.say(line)

    def _fits(self) -> int:
        return fitting_batch(self.trainer, self.batches, self.estimated)

    def state(self) -> dict[str, Any]:
        """Tells what a checkpoint keeps beside tensors."""
        told = {"figures": self.figures, "best": self.best, "skipped": self._skipped()}
        self.kept = {**self.record.told(), **told, "changes": self.changes}
        return self.kept

    def go_on(self, watch: Callable[[Progress], None], stop: Callable[[], str]) -> None:
        """Trains to the end; of a step without a finite loss, the run goes back and round it."""
        trainer, steps = self.trainer, self.trainer.config.train.steps
        if trainer.step < steps:
            self.record.start(trainer.step)
        while True:
            skipped = self._skipped()
            with Curves(self.out, trainer.step, writes=trainer.rank == 0) as curves:
                if curves.damaged:
                    self.say(f"{self.out / 'curves.jsonl'}: {left_out(curves.damaged)}")
                watchers = Watchers(self.state, self._log(curves, watch), self._show(curves), stop)
                stream = prefetch(
                    self.batches, trainer.step, steps, finish=trainer.prepare,
                    part=(trainer.rank, trainer.share),
                )  # fmt: skip
                try:
                    with memory_advice(trainer, self._fits), contextlib.closing(stream):
                        return fit(trainer, stream, self.folder, watchers, skipped)
                except NonFiniteLossError as error:
                    self._go_back(error, skipped)

    def _go_back(self, error: NonFiniteLossError, skipped: Sequence[int]) -> None:
        trainer, changes = self.trainer, self.changes
        self._restore()
        self.changes = changes  # of settings since that checkpoint
        since = max(error.step - WINDOW + 1, *(change["step"] for change in self.changes), 0)
        lately = sorted({error.step, *(step for step in skipped if step >= since)})
        if len(lately) > MOST_SKIPPED:
            raise HopelessError(lately, self.out, trainer.config.train.rate) from error
        if trainer.rank == 0:
            self._skip(sorted({*skipped, error.step}))
        trainer.fabric.barrier()
        self.say(f"{error}; back at step {trainer.step}, step {error.step} will be skipped")

    def _skipped(self) -> list[int]:
        return list(read_skipped(self.out))

    def _skip(self, steps: Sequence[int]) -> None:
        write_file(self.out / "skipped.json", json.dumps(list(steps)))

    def _log(self, curves: Curves, watch: Callable[[Progress], None]) -> Callable[[Progress], None]:
        def log(progress: Progress) -> None:
            parts = {f"train/{name}": value for name, value in progress.parts.items()}
            rate = {"samples_per_second": progress.samples_per_second}
            curves.write(progress.step, {**parts, **rate, "seconds": self.record.seconds})
            watch(progress)

        return log

    def _show(self, curves: Curves) -> Callable[[Trainer], None]:
        def validate(now: Trainer) -> None:
            if now.rank == 0:
                drawn = self.showing.pictures(now.best, now.step, now.device)
                for name, picture in drawn.items():
                    curves.show(now.step, name, picture)
                if self.validation is not None:
                    # Networks that it cannot measure are shown people of their own stream.
                    found = self.validation(now) or self.held_out.figures(now.best, now.device)
                    self.figures.update(found)
                    figures = {f"val/{name}": value for name, value in self.figures.items()}
                    curves.write(now.step, {**figures, "seconds": self.record.seconds})
                    self._keep_best()
                if now.step < now.config.train.steps:
                    self.showing.page(TRAINING)
            now.fabric.barrier()

        return validate

    def _keep_best(self) -> None:
        """Keeps the weights of the best validation so far."""
        value = self.figures.get(LEADING_FIGURE)
        if value is not None and value < self.best.get(LEADING_FIGURE, float("inf")):
            self.best = {"step": self.trainer.step, LEADING_FIGURE: value}
            card = make_card(self.record.told(), self.figures, self._skipped())
            export(self.trainer, self.out / "best.safetensors", card)

    def leave(self, error: BaseException) -> None:
        """Says on the run's page why it ended early, if the page can still be written."""
        why = {StoppedError: f"stopped by {getattr(error, 'why', '')}", HopelessError: "given up"}
        if self.trainer.rank == 0:
            with contextlib.suppress(OSError):
                self.showing.page(why.get(type(error), f"ended by {type(error).__name__}"))

    def finish(self) -> Path:
        """Writes the weights to use."""
        weights = self.out / "weights.safetensors"
        if self.trainer.rank == 0:
            export(self.trainer, weights, make_card(self.kept, self.figures, self._skipped()))
            self.showing.page()
        self.trainer.fabric.barrier()
        return weights
