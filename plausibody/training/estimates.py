"""What a run will take, told before it starts: time, memory, disk.

A few steps are done on a copy of all that learns, so that the run itself stays as it was, bit for
bit: nothing of it moves, and no chance is used up.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import os
import shutil
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plausibody.models.checkpoint import optimiser_tensors
from plausibody.models.records import map_tensors, take
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.training.memory import SPARE, free_memory, held_memory, is_memory_short
from plausibody.training.objective import loss_changes
from plausibody.training.optimiser import build_optimiser
from plausibody.training.quantities import duration, size
from plausibody.training.trainer import NonFiniteLossError, Trainer

FEW = 16
"""Samples of the first steps, and of all steps where whole batches would take long."""
QUICK = 1.0
"""A step that takes no longer than this is measured as it is [s]."""
TIMED = 2
"""Steps of each stage that are timed, after one that warms up."""
STREAMED = 256
"""Samples on which the rate of the synthesis rests, at least."""
WAITING = 6
"""Batches that wait in the queue, or are being made or learnt from."""


@dataclass(frozen=True)
class StagePlan:
    """The steps that are left of one stage."""

    stage: int
    steps: int
    seconds: float
    """Of a step."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take on this machine; sizes in bytes, of one process."""

    device: str
    batch_size: int
    """Samples per step, of all processes together."""
    processes: int
    stages: tuple[StagePlan, ...]
    held: int
    """Memory that the process has taken before the first step: weights, their average, assets."""
    learning: int
    """Of gradients and of the optimiser's state."""
    activations: int
    """Of what a step keeps between forward and backward."""
    samples: int
    """Of the batches that wait."""
    free: int | None
    """Memory that the process could still take; None where nobody tells."""
    checkpoint: int
    """Of one on disk."""
    kept: int
    """How many checkpoints stay."""
    weights: int
    """Of the weights to share."""

    @property
    def seconds(self) -> float:
        """Of all steps that are left; validations and pictures come on top."""
        return sum((plan.steps * plan.seconds for plan in self.stages), 0.0)

    @property
    def needed(self) -> int:
        """Memory that a run takes on top of what is held."""
        return self.learning + self.activations + self.samples

    @property
    def disk(self) -> int:
        """What the folder of a run grows to: a checkpoint more than are kept while it is written,
        and two sets of weights."""
        return (self.kept + 1) * self.checkpoint + 2 * self.weights

    @property
    def fits(self) -> int:
        """The largest batch for which the memory seems to be enough, of all processes together."""
        if self.free is None:
            return self.batch_size
        here = self.batch_size // self.processes
        each = (self.activations + self.samples) / here
        most = int((SPARE * self.free - self.learning) / each)
        return round_down(most) * self.processes

    def describe(self) -> str:
        """Tells all that in a few lines."""
        lines = []
        for plan in self.stages:
            rate = self.batch_size / plan.seconds
            name = f"stage {plan.stage}: " if len(self.stages) > 1 else ""
            lines.append(
                f"{name}{plan.steps:,} steps of {self.batch_size} samples, "
                f"{duration(plan.steps * plan.seconds)} at {rate:,.0f} samples/s"
            )
        free = "" if self.free is None else f", {size(self.free)} are free"
        return "\n".join([
            "estimated from a few steps, without validations:",
            *(f"  {line}" for line in lines),
            f"  memory: {size(self.held + self.needed)}; {size(self.held)} held, gradients and "
            f"Adam {size(self.learning)}, activations {size(self.activations)}, waiting samples "
            f"{size(self.samples)}{free}",
            f"  disk: {size(self.disk)}; checkpoints of {size(self.checkpoint)}, {self.kept} kept",
        ])  # fmt: skip

    def warnings(self, out: Path) -> list[str]:
        """Says what will be short, and what to do.

        Args:
            out: The folder of the run, or one that will hold it.
        """
        told = []
        if self.free is not None and self.needed > SPARE * self.free:
            do = f"do: --set train.batch_size={self.fits}" if self.fits else "do: a smaller network"
            told.append(
                f"memory: batches of {self.batch_size} want about {size(self.needed)} more, "
                f"{size(self.free)} are free on the {self.device}; {do}"
            )
        there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        left = shutil.disk_usage(there).free
        if self.disk > left:
            told.append(
                f"disk: {out} wants about {size(self.disk)}, {size(left)} are free; "
                "do: --set train.keep=1, or another --out"
            )
        return told


def estimate(trainer: Trainer, batches: BatchGenerator) -> Estimate:
    """Measures a few steps on a copy of the trainer; all processes of a run must call it.

    On a GPU, and where a whole batch takes no longer than `QUICK`, steps of whole batches are
    timed; elsewhere steps of `FEW` samples, and time is taken to grow in proportion. Activations
    are measured on `FEW` samples: on CUDA as the most that was allocated; on a CPU as what autograd
    keeps, which leaves out the short-lived. A network that `torch.compile` will make is measured as
    it is before.

    Args:
        trainer: Of a run, at the step from which it goes on.
        batches: Its stream; looking into it does not move it.
    """
    batch, made = _time_stream(trainer, batches)
    settings, held = trainer.config.train, held_memory(trainer.device)
    free = free_memory(trainer.device)  # before the copy takes what it gives back
    rehearsal = _copy(trainer)
    few = take(batch, slice(0, min(FEW, trainer.share)))
    plans = list(_stages(trainer))
    rehearsal.step = max([trainer.step, *(first for _, first, _ in plans)])  # it keeps the most
    activations = _activations(rehearsal, few) * trainer.share // len(few.proxy.keypoints)
    state = optimiser_tensors(rehearsal.optimiser.optimizer).values()
    learning = _bytes(p for p in rehearsal.model.parameters()) + _bytes(state)
    samples = WAITING * _batch_bytes(batch)
    short = free is not None and learning + activations + samples > SPARE * free
    whole = None if trainer.anywhere(short) else batch
    stages = tuple(
        StagePlan(stage, last - first, _time_step(rehearsal, few, whole, first, made))
        for stage, first, last in plans
    )
    network = [*trainer.best.state_dict().values()]
    saved = [trainer.model.module.state_dict(), trainer.objective.state_dict()]
    average = [] if trainer.average is None else network
    return Estimate(
        device=trainer.device.type,
        batch_size=settings.batch_size,
        processes=trainer.fabric.world_size,
        stages=stages,
        held=held,
        learning=learning,
        activations=activations,
        samples=samples,
        free=free,
        checkpoint=_bytes(each for group in saved for each in group.values())
        + _bytes(state)
        + _bytes(average),
        kept=settings.keep,
        weights=_bytes(network) // 2,
    )


def fitting_batch(trainer: Trainer, batches: BatchGenerator, told: Estimate | None = None) -> int:
    """Gives a smaller batch that fits, after one did not: for `memory.memory_advice`.

    On one GPU, and where there is no estimate, smaller and smaller ones are tried (on a processor,
    whether they can be made); elsewhere the estimate tells.

    Args:
        trainer: Of the run.
        batches: Its stream.
        told: Before the start; None if memory was short before it was made.

    Returns:
        Samples of all processes together; 0 if not even two fit.
    """
    size, several = trainer.config.train.batch_size, trainer.fabric.world_size > 1
    on_cpu = trainer.device.type == "cpu"
    if told is not None or several:
        most = round_down(size * 3 // 4 if told is None else min(told.fits, size * 3 // 4))
        if on_cpu or several:
            return most
    else:  # it ran out while it looked
        most = round_down(size // 2)
    while most >= 2:
        try:
            batch = trainer.prepare(batches.samples(0, most))
            # A whole step of a large network would take a processor minutes.
            _step(_copy(trainer), take(batch, slice(0, FEW)) if on_cpu else batch)
            _wait(trainer)
            return most
        except (RuntimeError, MemoryError) as error:
            if not is_memory_short(error):
                raise
            traceback.clear_frames(error.__traceback__)
        gc.collect()
        if trainer.device.type == "cuda":
            torch.cuda.empty_cache()
        most = round_down(most // 2)
    return 0


def _copy(trainer: Trainer) -> Trainer:
    """Makes a trainer that learns by the same steps, and nothing of which is the other's."""
    twin = copy.copy(trainer)
    model = copy.deepcopy(trainer.model.module)
    twin.objective = copy.deepcopy(trainer.objective)
    twin.average = copy.deepcopy(trainer.average)
    optimiser = build_optimiser([model, twin.objective], trainer.config.train)
    twin.model, twin.optimiser = trainer.fabric.setup(model, optimiser)
    twin.smooth, twin._unseen = {}, []
    return twin


def _time_stream(trainer: Trainer, batches: BatchGenerator) -> tuple[Batch, float]:
    """Gives one batch of this process, and the time that others like it take [s]."""
    count = 1 + max(1, math.ceil(STREAMED / trainer.share))
    part = (trainer.rank, trainer.share)
    stream = prefetch(batches, 0, count, finish=trainer.prepare, part=part)
    with contextlib.closing(stream):
        _, batch = next(stream)
        _wait(trainer)
        started = time.perf_counter()
        for _ in stream:
            pass
        _wait(trainer)
    return batch, (time.perf_counter() - started) / (count - 1)


def _activations(trainer: Trainer, batch: Batch) -> int:
    """Gives the bytes that a step on a batch needs for a while; of two steps, the second."""
    _step(trainer, batch)
    if trainer.device.type == "cuda":
        before = torch.cuda.memory_allocated(trainer.device)
        torch.cuda.reset_peak_memory_stats(trainer.device)
        _step(trainer, batch)
        return torch.cuda.max_memory_allocated(trainer.device) - before
    own = {each.untyped_storage().data_ptr() for each in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _step(trainer, batch)
    return sum(kept.values())


def _stages(trainer: Trainer) -> Iterable[tuple[int, int, int]]:
    """Gives the number of each stage that is left, its first step and the step after its last."""
    now, last = trainer.step, trainer.config.train.steps
    starts = [0, *loss_changes(trainer.config)]
    for stage, (first, end) in enumerate(zip(starts, [*starts[1:], last], strict=True), 1):
        first, end = max(first, now), min(end, last)
        if end > first:
            yield stage, first, end


def _time_step(trainer: Trainer, few: Batch, whole: Batch | None, first: int, made: float) -> float:
    """Gives the time of a step on a whole batch [s], measured or from one on few samples.

    Args:
        first: The step to do, which decides the stage.
        made: Time of a batch's synthesis [s]. With cores for both, the slower of the two tells; a
            GPU does both, one after the other.
    """
    _repeat(trainer, few, first, 1)  # a stage may have kernels of its own to compile
    ratio = trainer.share / len(few.proxy.keypoints)
    seconds = ratio * _repeat(trainer, few, first, TIMED)
    slow = trainer.device.type == "cpu" and seconds > QUICK
    if not trainer.anywhere(slow) and whole is not None and ratio > 1:
        _repeat(trainer, whole, first, 1)
        seconds = _repeat(trainer, whole, first, TIMED)
    beside = trainer.device.type == "cpu" and (os.cpu_count() or 1) > 1
    return max(seconds, made) if beside else seconds + made


def _repeat(trainer: Trainer, batch: Batch, first: int, count: int) -> float:
    """Does one step some times; gives the mean time [s]."""
    _wait(trainer)
    started = time.perf_counter()
    for _ in range(count):
        trainer.step = first
        _step(trainer, batch)
    _wait(trainer)
    return (time.perf_counter() - started) / count


def _step(trainer: Trainer, batch: Batch) -> None:
    """Learns from a batch, or finds that there is nothing to learn: the run will see to that."""
    with contextlib.suppress(NonFiniteLossError):
        trainer.train_step(batch)


def _wait(trainer: Trainer) -> None:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _batch_bytes(batch: Batch) -> int:
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(batch, note)
    return _bytes(found)


def round_down(count: int) -> int:
    """Gives a batch size of few digits in binary, at most `count`; 0 if that is below 2."""
    if count < 2:
        return 0
    unit = 1 << max(0, count.bit_length() - 3)
    return count // unit * unit
