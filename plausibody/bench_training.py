"""How fast the stream and the training step are here: `plausibody bench synth` and `bench step`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from plausibody.config import RunConfig
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.train import Trainer


@dataclass(frozen=True)
class Throughput:
    """Samples per second of one part of training."""

    part: str
    samples: int
    seconds: float
    samples_per_second: float


def bench_synth(config: RunConfig, assets: SynthAssets, steps: int = 20) -> Throughput:
    """Measures the stream alone, on as many threads as torch may use."""
    batches = _stream(config, assets)
    batches[0]
    started = time.perf_counter()
    for step in range(1, steps + 1):
        batches[step]
    return _throughput("synthesis alone", config, steps, started)


def bench_step(
    config: RunConfig, assets: SynthAssets, device: str = "auto", steps: int = 60
) -> tuple[Throughput, Throughput]:
    """Measures the training step alone, on one batch again and again, and with fresh batches."""
    trainer, batches = Trainer(config, assets, device), _stream(config, assets)
    batch = trainer.pose_targets(batches[0])
    for _ in range(3):
        trainer.train_step(batch)
    started = time.perf_counter()
    for _ in range(steps):
        trainer.train_step(batch)
    alone = _throughput("training step alone", config, steps, started)
    stream = prefetch(batches, 1, steps + 6, finish=trainer.pose_targets)
    for _ in range(5):  # fills the queue's pipeline
        trainer.train_step(next(stream)[1])
    started = time.perf_counter()
    for _, fresh in stream:
        trainer.train_step(fresh)
    return alone, _throughput("training with fresh samples", config, steps, started)


def _stream(config: RunConfig, assets: SynthAssets) -> BatchGenerator:
    return BatchGenerator(config, assets)


def _throughput(part: str, config: RunConfig, steps: int, started: float) -> Throughput:
    seconds, samples = time.perf_counter() - started, steps * config.train.batch_size
    return Throughput(part, samples, seconds, samples / seconds)
