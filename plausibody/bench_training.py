"""How fast the stream and the training step are here: `plausibody bench synth` and `bench step`.

The stages of synthesis mark themselves for torch's profiler; `bench synth` reads its account.
`bench step` trains as a run does and notes the time between the parts of its steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from plausibody.config import RunConfig, override
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.training.trainer import Trainer

STAGE = "stage: "
"""With which the names of stages begin."""
WHOLE = "synthesis alone"
ALONE, TRAINING, FED = "network alone", "training", "network fed"
"""The network alone learns from one batch again and again; training, from fresh samples. It is fed
while it does not wait for them."""
ENDLESS = 10**9
"""Steps; nobody waits for the last one."""
LEAST_STEPS = 10
"""On which a rate may rest."""
WARM_UP = 6
"""Steps before the measurement: kernels are compiled, and the waiting batches are used up."""


@dataclass(frozen=True)
class Throughput:
    """Samples per second of one part of training."""

    part: str
    samples: int
    seconds: float
    samples_per_second: float
    milliseconds: float
    """Per sample."""
    megabytes: float | None = None
    """That the stage newly took from the allocator, per batch, freed or not; None for what is no
    stage. Of training on CUDA: the most that was allocated."""
    share: float | None = None
    """Of the time of training; None for what was measured by itself."""
    stage: int | None = None
    """Of a distribution's training: 1, or 2 where samples are drawn too. None where there is one
    stage only."""


def bench_synth(config: RunConfig, assets: SynthAssets, steps: int = 20) -> list[Throughput]:
    """Measures the stream alone, on as many threads as torch may use, then its stages.

    A stage's time holds that of stages within it: edges are part of the proxy. What is not marked
    is the drawing of chances and the arithmetic between.
    """
    batches = BatchGenerator(config, assets)
    batches[0]
    started = time.perf_counter()
    for step in range(1, steps + 1):
        batches[step]
    samples = steps * config.train.batch_size
    whole = _throughput(WHOLE, samples, time.perf_counter() - started)
    return [whole, *_stages(config, batches, steps + 1)]


def _stages(config: RunConfig, batches: BatchGenerator, first: int) -> list[Throughput]:
    steps = 4
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        for step in range(first, first + steps):
            batches[step]
    samples = steps * config.train.batch_size
    rows = []
    for entry in account.key_averages():
        if entry.key.startswith(STAGE):
            seconds = entry.cpu_time_total / 1e6
            rows.append(
                Throughput(
                    part=entry.key.removeprefix(STAGE),
                    samples=samples,
                    seconds=seconds,
                    samples_per_second=samples / seconds,
                    milliseconds=1000 * seconds / samples,
                    megabytes=max(entry.cpu_memory_usage, 0) / steps / 1e6,
                )
            )
    return sorted(rows, key=lambda row: -row.seconds)


@dataclass(frozen=True)
class StepTimes:
    """Where the time of training goes, in one stage."""

    stage: int | None
    batch: int
    """Samples per step."""
    synthesis: float
    """Of a batch, with nothing beside it [s]."""
    alone: float
    """Of a step on one batch again and again, with nothing beside it [s]: the ideal."""
    parts: dict[str, float]
    """idle, forward, backward and optimiser, of all steps together [s]."""
    steps: list[float]
    """Each [s]."""
    megabytes: float | None
    """Most that CUDA had allocated."""

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(self.parts.values())

    @property
    def rate(self) -> float:
        """Samples per second with fresh samples."""
        return len(self.steps) * self.batch / self.seconds

    @property
    def ideal(self) -> float:
        """Samples per second of the network alone."""
        return self.batch / self.alone

    @property
    def fed(self) -> float:
        """Share of the time in which the network does not wait for samples."""
        return 1 - self.parts["idle"] / self.seconds

    def rates(self, count: int) -> list[float]:
        """Splits the steps into `count` spans of time; gives the samples per second of each."""
        length = max(1, len(self.steps) // count)
        spans = [self.steps[at : at + length] for at in range(0, length * count, length)]
        return [len(span) * self.batch / sum(span) for span in spans if span]

    def rows(self) -> list[Throughput]:
        """Gives all that as a table."""
        count, whole = len(self.steps), self.seconds
        rows = [
            self._row(ALONE, 1, self.alone, None),
            dataclasses.replace(
                self._row(TRAINING, count, whole, 1.0),
                megabytes=self.megabytes,
            ),
            self._row(FED, count, self.fed * whole, self.fed),
        ]
        for part, seconds in self.parts.items():
            rows.append(self._row(part, count, seconds, seconds / whole))
        return [*rows, self._row(WHOLE, 1, self.synthesis, None)]

    def _row(self, part: str, steps: int, seconds: float, share: float | None) -> Throughput:
        row = _throughput(part, steps * self.batch, seconds)
        return dataclasses.replace(row, share=share, stage=self.stage)


def bench_step(
    config: RunConfig, assets: SynthAssets, device: str = "auto", seconds: float = 8.0
) -> list[Throughput]:
    """Measures training, each stage by itself: see `time_steps`.

    Args:
        seconds: Spent on each of three measurements of a stage, at least.
    """
    times = (time_steps(config, assets, device, seconds, stage) for stage in stages(config))
    return [row for each in times for row in each.rows()]


def stages(config: RunConfig) -> list[int | None]:
    """Lists the stages that a run has: 1 and 2 of distributions, or one without a number."""
    if config.method != "hierprob":
        return [None]
    return [1, 2] if config.train.second_stage > 0 else [2]


def time_steps(
    config: RunConfig,
    assets: SynthAssets,
    device: str = "auto",
    seconds: float = 8.0,
    stage: int | None = None,
) -> StepTimes:
    """Measures the synthesis alone, the network alone, and training with fresh samples.

    On a CPU the parts of a step are timed by the clock. On CUDA they lie between events on the
    device, so that no step waits for another; the kernels of the synthesis, which runs beside, are
    within whatever they interrupt. Network alone against training tells what they cost.

    Args:
        seconds: Spent on each of the three, at least.
        stage: Which one to measure, of `stages`.
    """
    if stage is not None:
        config = override(config, {"train.second_stage": ENDLESS if stage == 1 else 0})
    trainer = _TimedTrainer(config, assets, device)
    batches = BatchGenerator(config, assets, trainer.device)
    with contextlib.closing(prefetch(batches, 1, ENDLESS, finish=trainer.prepare)) as stream:
        _, made = trainer.clock.repeat(lambda: next(stream), seconds)
    batch = trainer.prepare(batches[0])
    _, alone = trainer.clock.repeat(lambda: trainer.train_step(batch), seconds)
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trainer.device)
    with contextlib.closing(prefetch(batches, 1, ENDLESS, finish=trainer.prepare)) as stream:
        parts, steps = trainer.clock.repeat(lambda: trainer.fresh_step(stream), seconds)
    cuda = trainer.device.type == "cuda"
    used = torch.cuda.max_memory_allocated(trainer.device) / 1e6 if cuda else None
    return StepTimes(
        stage=stage,
        batch=config.train.batch_size,
        synthesis=sum(made) / len(made),
        alone=sum(alone) / len(alone),
        parts={part: parts[part] for part in ("idle", "forward", "backward", "optimiser")},
        steps=steps,
        megabytes=used,
    )


class _Clock:
    """Notes moments, by the clock or on a CUDA device, and tells what lay between them."""

    def __init__(self, device: torch.device):
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []

    def mark(self, part: str) -> None:
        """Ends a part; the next one begins."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))

    def repeat(
        self, step: Callable[[], object], seconds: float
    ) -> tuple[dict[str, float], list[float]]:
        """Does a step over and over, after `WARM_UP` times that do not count.

        Returns:
            The time of each part that the steps marked, and of each step [s].
        """
        for _ in range(WARM_UP):
            step()
        self._wait()
        self._marks.clear()
        self.mark("")
        end, count = time.perf_counter() + seconds, 0
        while count < LEAST_STEPS or time.perf_counter() < end:
            step()
            self.mark("end")
            count += 1
        self._wait()
        return self._told()

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()

    def _told(self) -> tuple[dict[str, float], list[float]]:
        parts: dict[str, float] = {}
        steps = [0.0]
        for (_, before), (part, after) in zip(self._marks, self._marks[1:], strict=False):
            gap = before.elapsed_time(after) / 1e3 if self._cuda else after - before
            parts[part] = parts.get(part, 0.0) + gap
            steps[-1] += gap
            if part == "end":
                steps.append(0.0)
        return parts, steps[:-1]


class _TimedTrainer(Trainer):
    """Marks the parts of its steps; in all else it is the trainer of a run."""

    def __init__(self, config: RunConfig, assets: SynthAssets, device: str):
        super().__init__(config, assets, device)
        self.clock = _Clock(self.device)
        backward = self.fabric.backward

        def marked(*given: Any, **options: Any) -> None:
            backward(*given, **options)
            self.clock.mark("backward")

        setattr(self.fabric, "backward", marked)  # noqa: B010 - a method to mypy

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        found = super().loss(batch)
        self.clock.mark("forward")
        return found

    def fresh_step(self, stream: Iterator[tuple[int, Batch]]) -> None:
        """Waits for a batch and learns from it."""
        _, batch = next(stream)
        self.clock.mark("idle")
        self.train_step(batch)
        self.clock.mark("optimiser")


def _throughput(part: str, samples: int, seconds: float) -> Throughput:
    # A part that takes no time at all has no rate: that of a nanosecond will do.
    return Throughput(
        part, samples, seconds, samples / max(seconds, 1e-9), 1000 * seconds / samples
    )
