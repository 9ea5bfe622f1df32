"""How fast the stream and the training step are here: `plausibody bench synth` and `bench step`.

The stages of synthesis mark themselves for torch's profiler; `bench synth` reads its account.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch.profiler import ProfilerActivity, profile

from plausibody.config import RunConfig
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.training.trainer import Trainer

STAGE = "stage: "
"""With which the names of stages begin."""
WHOLE = "synthesis alone"


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
    stage."""


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
    whole = _throughput(WHOLE, config, steps, started)
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


def bench_step(
    config: RunConfig, assets: SynthAssets, device: str = "auto", steps: int = 60
) -> list[Throughput]:
    """Measures the training step alone, on one batch again and again, and with fresh batches."""
    trainer = Trainer(config, assets, device)
    batches = BatchGenerator(config, assets, trainer.device)
    batch = trainer.prepare(batches[0])
    for _ in range(3):
        trainer.train_step(batch)
    started = time.perf_counter()
    for _ in range(steps):
        trainer.train_step(batch)
    alone = _throughput("training step alone", config, steps, started)
    stream = prefetch(batches, 1, steps + 6, finish=trainer.prepare)
    for _ in range(5):  # fills the queue's pipeline
        trainer.train_step(next(stream)[1])
    started = time.perf_counter()
    for _, fresh in stream:
        trainer.train_step(fresh)
    return [alone, _throughput("training with fresh samples", config, steps, started)]


def _throughput(part: str, config: RunConfig, steps: int, started: float) -> Throughput:
    seconds, samples = time.perf_counter() - started, steps * config.train.batch_size
    return Throughput(part, samples, seconds, samples / seconds, 1000 * seconds / samples)
