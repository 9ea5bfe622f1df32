"""Training: batches in, checkpoints and weights out. The command line joins it to the stream."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

import plausibody
from plausibody.config import RunConfig, TrainSettings, to_json
from plausibody.models.checkpoint import (
    keep_last,
    load_latest,
    load_optimiser,
    optimiser_tensors,
    save_checkpoint,
    save_weights,
)
from plausibody.models.likelihood import HierprobLoss, LikelihoodLoss
from plausibody.models.losses import LiteLoss, Moment, StrapsLoss
from plausibody.models.markers import Markers, area_shares, supervised_vertices
from plausibody.models.networks import build_regressor
from plausibody.models.records import to_device
from plausibody.models.regressor import Regressor
from plausibody.models.rotations import mean_rotation, rotvec_to_rotmat
from plausibody.models.weights import load_backbone
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.stores import SynthAssets


@dataclass(frozen=True)
class Progress:
    """What a training run tells whoever watches it."""

    step: int
    steps: int
    samples_per_second: float
    seconds_left: float
    parts: dict[str, float]
    """Parts of the loss, smoothed."""


AVERAGE_EVERY = 4
"""Steps between updates of the average, which decays as if there were one each step."""
SUPERVISED = 700
"""Vertices that small networks learn."""
SPREAD = 200_000
"""Poses from which the mean body of a larger bank is taken."""


def build_model(config: RunConfig, assets: SynthAssets) -> Regressor:
    """Makes the regressor of a run, starting from the mean body of the training poses."""
    mean = mean_rotation(rotvec_to_rotmat(assets.bank.spread(SPREAD)))
    with torch.random.fork_rng(devices=[]):  # layers draw their start from the global generator
        torch.manual_seed(config.train.seed)
        parents = assets.template.parents
        network = build_regressor(config.method, config.regressor, config.proxy, mean, parents)
    if config.train.init_backbone:
        load_backbone(network, config.train.init_backbone)
    return network


Criterion = LiteLoss | StrapsLoss | LikelihoodLoss | HierprobLoss


def build_criterion(config: RunConfig, assets: SynthAssets) -> Criterion:
    """Makes the objective of a run."""
    template, regressors = assets.template, assets.regressors
    second = config.train.second_stage
    if config.objective != "lite":
        every = torch.arange(len(template.vertices), device=template.faces.device)
        whole = Markers.of(template, regressors, every)
        if config.objective == "straps":
            return StrapsLoss(whole)
        return HierprobLoss(whole, _seen_markers(assets), config.hierprob, second)
    vertices = supervised_vertices(regressors, assets.supervised, SUPERVISED)
    markers = Markers.of(template, regressors, vertices)
    shares = area_shares(template, vertices)
    lite = LiteLoss(markers, template, config.regressor.shape_count, config.loss, shares)
    if config.method != "hierprob":
        return lite
    return LikelihoodLoss(lite, _seen_markers(assets), config.likelihood, second)


def _seen_markers(assets: SynthAssets) -> Markers:
    """Makes what poses the vertices that COCO's joints need, and no others."""
    template, regressors = assets.template, assets.regressors
    coco = dataclasses.replace(regressors, h36m17=torch.zeros_like(regressors.h36m17))
    return Markers.of(template, coco, torch.arange(0, device=template.faces.device))


def build_optimiser(modules: Iterable[nn.Module], settings: TrainSettings) -> torch.optim.AdamW:
    """Makes AdamW that decays matrices and filters only; without decay it is Adam."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, fused=True)


def rate_at(step: int, settings: TrainSettings) -> float:
    """Gives the learning rate of a step, counted from 0."""
    warm = min(1.0, (step + 1) / max(settings.warm_up, 1))
    if settings.schedule == "constant":
        return settings.rate * warm
    return settings.rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def pick_precision(precision: str, device: torch.device) -> str:
    """Resolves "auto": bf16 where the device multiplies it faster than float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capable = torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_has("avx512_bf16")
    return "bf16-mixed" if capable else "32-true"


def _cpu_has(flag: str) -> bool:
    """Looks for an instruction set where Linux lists them; elsewhere there is none to rely on."""
    path = Path("/proc/cpuinfo")
    return path.exists() and f" {flag}" in path.read_text("utf-8")


class Trainer:
    """Network, objective, optimiser and average of one run, and the step that ties them."""

    def __init__(self, config: RunConfig, assets: SynthAssets, device: str = "auto"):
        """Args:
        config: Of the run.
        assets: Of the stream; the body and the mean pose come from there.
        device: auto, cpu or cuda.
        """
        self.config, settings = config, config.train
        accelerator = "gpu" if device == "cuda" else device
        chosen = Fabric(accelerator=accelerator, devices=1)
        precision: Any = pick_precision(settings.precision, chosen.device)
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
        self.device = self.fabric.device
        self.rounded = precision == "bf16-mixed"
        model = build_model(config, assets)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = build_model(config, assets).to(self.device) if settings.average else None
        placed = dataclasses.replace(
            assets,
            template=assets.template.to(self.device),
            regressors=to_device(assets.regressors, self.device),
            supervised=assets.supervised.to(self.device),
        )
        self.criterion = build_criterion(config, placed).to(self.device)
        self.parents = list(assets.template.parents)
        optimiser = build_optimiser([model, self.criterion], settings)
        self.model, self.optimiser = self.fabric.setup(model, optimiser)
        self.step = 0
        self.smooth: dict[str, float] = {}
        """Parts of the loss as last told, smoothed; kept so that a resumed curve goes on."""

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        """Does ahead of the step, in the thread that makes the batches, what needs no network.

        The true bodies are posed, and pictures rounded as the first layer would round them.
        """
        if self.device.type != "cpu":
            return batch
        points = self.criterion.markers(batch.target.parameters)
        target = dataclasses.replace(batch.target, points=points)
        proxy = batch.proxy
        if self.rounded and self.config.proxy.channel == "silhouette":
            proxy = dataclasses.replace(proxy, silhouette=proxy.silhouette.bfloat16())
        return dataclasses.replace(batch, target=target, proxy=proxy)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Learns from one batch and gives the parts of the loss."""
        settings = self.config.train
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, settings)
        batch = to_device(batch, self.device)
        self.model.train()
        network = self.model.module
        prediction = network.read(self.model(*network.inputs(batch.proxy)))
        target = dataclasses.replace(batch.target, reported=batch.proxy.keypoints[..., 2] > 0)
        loss, parts = self.criterion(prediction, target, self._moment())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"step {self.step}: the loss is {loss.item()}; 'plausibody preview --step "
                f"{self.step}' shows what it was trained on"
            )
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        if settings.clip:
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=settings.clip)
        self.optimiser.step()
        self._average()
        self.step += 1
        return {"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}

    def _moment(self) -> Moment:
        """Gives the chance of a step, which is the same whenever and wherever it is done."""
        drawn = Chance(self.config.train.seed, torch.tensor([self.step])).bits("loss", 1)
        generator = torch.Generator(self.device).manual_seed(int(drawn[0, 0]))
        return Moment(self.step, generator)

    @torch.no_grad()
    def _average(self) -> None:
        if self.average is None or self.step % AVERAGE_EVERY:
            return
        # A short memory at first, so that the start is forgotten.
        decay = min(self.config.train.average, self.step / (self.step + 20.0)) ** AVERAGE_EVERY
        kept: list[Tensor] = list(self.average.parameters())
        new: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(kept, new, 1 - decay)
        for buffer, current in zip(self.average.buffers(), self.model.buffers(), strict=True):
            buffer.copy_(current)

    @property
    def best(self) -> Regressor:
        """The network to use: the average where there is one."""
        return self.model.module if self.average is None else self.average

    def save(self, folder: Path, state: dict[str, Any]) -> Path:
        groups: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser.optimizer),
        }
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        if criterion := self.criterion.state_dict():
            groups["criterion"] = criterion
        return save_checkpoint(folder, self.step, groups, {**state, "smooth": self.smooth})

    def restore(self, folder: Path) -> tuple[dict[str, Any], list[str]]:
        """Goes back to the newest whole checkpoint.

        Returns:
            What its JSON says, and a message about each newer one that had to be passed over.
        """
        groups, state, passed = load_latest(folder)
        self.model.load_state_dict(groups["model"])
        load_optimiser(self.optimiser.optimizer, groups["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        if "criterion" in groups:
            self.criterion.load_state_dict(groups["criterion"])
        self.step, self.smooth = state["step"], dict(state.get("smooth", {}))
        return state, passed


def fit(
    trainer: Trainer,
    batches: Iterable[tuple[int, Batch]],
    folder: Path,
    state: Callable[[], dict[str, Any]],
    watch: Callable[[Progress], None],
    validate: Callable[[Trainer], None],
) -> None:
    """Trains over numbered batches, saving and validating at the configured steps.

    Args:
        batches: (step, batch), from the trainer's step on.
        folder: For checkpoints.
        state: What a checkpoint's JSON says beside the step.
        watch: Is told how it goes.
        validate: Is called with the trainer now and then.
    """
    settings, smooth = trainer.config.train, trainer.smooth
    started, first = time.perf_counter(), trainer.step
    for step, batch in batches:
        if step != trainer.step:
            raise ValueError(f"wanted the batch of step {trainer.step}, got that of {step}")
        parts = trainer.train_step(batch)
        done = trainer.step
        if done % settings.log_every == 0 or done == settings.steps:
            for name, value in parts.items():
                smooth[name] = 0.8 * smooth.get(name, float(value)) + 0.2 * float(value)
            rate = (done - first) / (time.perf_counter() - started)
            watch(
                Progress(
                    step=done,
                    steps=settings.steps,
                    samples_per_second=rate * settings.batch_size,
                    seconds_left=(settings.steps - done) / rate,
                    parts=dict(smooth),
                )
            )
        if done % settings.validate_every == 0 or done == settings.steps:
            validate(trainer)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            trainer.save(folder, state())
            keep_last(folder, settings.keep)


def start_record(config: RunConfig) -> dict[str, Any]:
    """Tells what, where and with which versions a run is."""
    return {
        "config": to_json(config),
        "plausibody": plausibody.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


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
    """Writes the weights to share, in half precision, with a card."""
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in trainer.best.state_dict().items()
    }
    samples = trainer.step * trainer.config.train.batch_size
    done = {"parents": trainer.parents, "steps": trainer.step, "samples": samples}
    save_weights(path, tensors, {**card, **done})
