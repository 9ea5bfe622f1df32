"""Network, objective, optimiser and average of one run, and the step that ties them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.config import RunConfig
from plausibody.models.body import BodyTemplate
from plausibody.models.checkpoint import (
    CheckpointError,
    load_latest,
    load_optimiser,
    optimiser_tensors,
    save_checkpoint,
)
from plausibody.models.losses import Moment
from plausibody.models.networks import build_regressor
from plausibody.models.records import to_device
from plausibody.models.regressor import Regressor
from plausibody.models.rotations import mean_rotation, rotvec_to_rotmat
from plausibody.models.weights import load_backbone, load_start
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.stores import SynthAssets
from plausibody.training.launch import (
    compile_network,
    find_device,
    launch,
    pick_precision,
    share_of,
)
from plausibody.training.objective import build_objective
from plausibody.training.optimiser import build_optimiser, rate_at

AVERAGE_EVERY = 4
"""Steps between updates of the average, which decays as if there were one each step."""
SPREAD = 200_000
"""Poses from which the mean body of a larger bank is taken."""
CHECK_EVERY = 25
"""Steps between looks at the losses on a GPU: a look makes it wait. On a CPU each one is seen."""


class NonFiniteLossError(FloatingPointError):
    """A step whose loss or gradient is infinite or not a number."""

    def __init__(self, step: int, value: float):
        super().__init__(
            f"step {step}: the loss or its gradient is {value}; 'plausibody preview --step "
            f"{step} --config RUN/config.json' shows what it was trained on"
        )
        self.step = step


def build_model(config: RunConfig, assets: SynthAssets, fresh: bool = True) -> Regressor:
    """Makes the regressor of a run, starting from the mean body of the training poses.

    Args:
        config: Of the run.
        assets: Of its stream.
        fresh: Whether to fill in the weights that the run starts from; a checkpoint needs none.
    """
    mean = mean_rotation(rotvec_to_rotmat(assets.bank.spread(SPREAD)))
    with torch.random.fork_rng(devices=[]):  # layers draw their start from the global generator
        torch.manual_seed(config.train.seed)
        parents = assets.template.parents
        network = build_regressor(
            config.method, config.regressor, config.proxy, mean, parents, config.danet
        )
    if fresh and config.train.init_weights:
        load_start(network, config.train.init_weights)
    if fresh and config.train.init_backbone:
        load_backbone(network, config.train.init_backbone)
    return network


class Trainer:
    """All that learns, in one process of a run."""

    def __init__(
        self, config: RunConfig, assets: SynthAssets, device: str = "auto", fresh: bool = True
    ):
        """Args:
        config: Of the run.
        assets: Of the stream; the body and the mean pose come from there.
        device: auto, cpu or cuda.
        fresh: Whether the run begins; False if a checkpoint will be restored, so that the weights
            it started from need not be there any more.

        Raises:
            ValueError: If there is no such device, or the batch cannot be shared out evenly.
        """
        self.config, settings = config, config.train
        found = find_device(device)
        precision = pick_precision(settings.precision, found)
        self.rounded = precision == "bf16-mixed"
        self.fabric = launch(found, precision, settings.threads)
        self.device, self.rank = self.fabric.device, self.fabric.global_rank
        self.share = share_of(settings.batch_size, self.fabric.world_size)
        model = build_model(config, assets, fresh)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(model).to(self.device) if settings.average else None
        placed = dataclasses.replace(
            assets,
            template=assets.template.to(self.device),
            regressors=to_device(assets.regressors, self.device),
            supervised=assets.supervised.to(self.device),
            coarse=to_device(assets.coarse, self.device),
        )
        self.objective = build_objective(config, placed).to(self.device)
        self.parents = list(assets.template.parents)
        self.identity = {"method": config.method, "body": _describe(assets.template)}
        """What a checkpoint must have in common with the run it is for."""
        optimiser = build_optimiser([model, self.objective], settings)
        if settings.compile:
            compile_network(model, self.device)
        self.model, self.optimiser = self.fabric.setup(model, optimiser)
        self.step = 0
        self.smooth: dict[str, float] = {}
        """Parts of the loss as last told, smoothed; kept so that a resumed curve goes on."""
        self._unseen: list[tuple[int, Tensor]] = []

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        """Does ahead of the step, in the thread that makes the batches, what needs no network.

        The true bodies are posed, and pictures rounded as the first layer would round them.
        """
        if self.device.type != "cpu":
            return batch
        points = self.objective.markers(batch.target.parameters)
        target = dataclasses.replace(batch.target, points=points)
        proxy = batch.proxy
        if self.rounded and self.config.proxy.channel == "silhouette":
            proxy = dataclasses.replace(proxy, silhouette=proxy.silhouette.bfloat16())
        return dataclasses.replace(batch, target=target, proxy=proxy)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Learns from one batch, of this process's share, and gives the parts of the loss.

        Raises:
            NonFiniteLossError: If there is nothing to learn from; on a CPU no weight has changed
                then, though statistics of batches have; on a GPU it may be some steps late.
        """
        settings = self.config.train
        for group in self.optimiser.param_groups:
            group["lr"] = rate_at(self.step, settings)
        loss, parts = self.loss(to_device(batch, self.device))
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        worth = self._exchange(loss.detach())
        self._check(worth + 0 * self._limit())
        self.optimiser.step()
        self._average()
        self.step += 1
        return {"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Gives the objective of a batch on the device, and its parts."""
        self.model.train()
        network = self.model.module
        moment = self._moment()
        answer = self.model(*network.lesson(batch.proxy, moment.step, moment.generator))
        vector = network.vector_of(answer)
        # Of NaN there is no distribution: the objective gets zeros then, and the loss is spoilt.
        whole = vector.isfinite().all()
        prediction = network.read_lesson(answer, torch.where(whole, vector, 0.0))
        target = dataclasses.replace(batch.target, reported=batch.proxy.keypoints[..., 2] > 0)
        loss, parts = self.objective(prediction, target, moment)
        return loss + torch.where(whole, 0.0, torch.nan), parts

    def _limit(self) -> Float[Tensor, ""]:
        """Shortens the gradient where it is too long, and gives its length from before."""
        if longest := self.config.train.clip:
            norm = self.fabric.clip_gradients(
                self.model, self.optimiser, max_norm=longest, error_if_nonfinite=False
            )
            assert norm is not None
            return norm
        # A finite loss may have a gradient that is not: it would spoil the weights unseen.
        learnt = [*self.model.parameters(), *self.objective.parameters()]
        gradients = [each.grad for each in learnt if each.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _exchange(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Averages over processes what DDP does not know of; gives the mean of their losses."""
        if self.fabric.world_size == 1:
            return loss
        gradients = [p.grad for p in self.objective.parameters() if p.grad is not None]
        known = self._mean(torch.cat([loss[None], *(each.flatten() for each in gradients)]))
        for each, mean in zip(
            gradients, known[1:].split([g.numel() for g in gradients]), strict=True
        ):
            each.copy_(mean.view_as(each))
        return known[0]

    def _mean(self, values: Float[Tensor, " count"]) -> Float[Tensor, " count"]:
        """Averages over processes. Fabric's own would make the host wait for a GPU."""
        total = values.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.fabric.world_size

    def told(self, parts: Mapping[str, Tensor]) -> dict[str, float]:
        """Gives the parts of a loss as means over all processes. All must call it at once.

        On a GPU it waits until the step has been done.
        """
        values = torch.stack([part.float() for part in parts.values()])
        if self.fabric.world_size > 1:
            values = self._mean(values)
        return dict(zip(parts, values.tolist(), strict=True))

    def anywhere(self, here: bool) -> bool:
        """Tells whether something is so in any process. All must call it at once."""
        if self.fabric.world_size == 1:
            return here
        return bool(self._mean(torch.tensor([float(here)], device=self.device))[0] > 0)

    def _check(self, worth: Tensor) -> None:
        """Looks whether steps gave numbers, at once on a CPU, now and then on a GPU."""
        self._unseen.append((self.step, worth))
        if self.device.type == "cpu" or len(self._unseen) == CHECK_EVERY:
            self.look()

    def look(self) -> None:
        """Looks at the losses that nobody has seen yet.

        Raises:
            NonFiniteLossError: If one is no number; it names the first.
        """
        unseen, self._unseen = self._unseen, []
        if unseen:
            values = torch.stack([worth for _, worth in unseen]).tolist()
            for (step, _), value in zip(unseen, values, strict=True):
                if not abs(value) < float("inf"):
                    raise NonFiniteLossError(step, value)

    def pass_over(self) -> None:
        """Goes on to the next step without learning anything from this one."""
        self.step += 1

    def _moment(self) -> Moment:
        """Gives the chance of a step, which is the same whenever and wherever it is done.

        Each process draws its own: of the second stage's samples, others than one process would.
        """
        purpose = f"loss/{self.rank}" if self.rank else "loss"
        drawn = Chance(self.config.train.seed, torch.tensor([self.step])).bits(purpose, 1)
        generator = torch.Generator(self.device).manual_seed(int(drawn[0, 0]))
        if self.fabric.world_size == 1:
            return Moment(self.step, generator)
        return Moment(self.step, generator, lambda number: self._mean(number[None])[0])

    @torch.no_grad()
    def _average(self) -> None:
        if self.average is None or self.step % AVERAGE_EVERY:
            return
        # A short memory at first, so that the start is forgotten.
        decay = min(self.config.train.average, self.step / (self.step + 20.0)) ** AVERAGE_EVERY
        kept: list[Tensor] = list(self.average.parameters())
        new: list[Tensor] = list(self.model.parameters())
        # Statistics of layers go with the weights that made them.
        for buffer, current in zip(self.average.buffers(), self.model.buffers(), strict=True):
            if buffer.is_floating_point():
                kept.append(buffer)
                new.append(current)
            else:
                buffer.copy_(current)
        torch._foreach_lerp_(kept, new, 1 - decay)

    @property
    def best(self) -> Regressor:
        """The network to use: the average where there is one."""
        return self.model.module if self.average is None else self.average

    @property
    def stage(self) -> int:
        """1, or 2 where distributions learn from their samples too."""
        second = self.config.train.second_stage
        return 2 if self.config.method == "hierprob" and self.step >= second else 1

    def save(self, folder: Path, state: dict[str, Any]) -> Path:
        """Writes a checkpoint; only whole numbers are saved.

        Raises:
            NonFiniteLossError: If a step since the last look had no finite loss.
        """
        self.look()
        groups: dict[str, dict[str, Tensor]] = {
            "model": self.model.module.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser.optimizer),
        }
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        if objective := self.objective.state_dict():
            groups["objective"] = objective
        told = {"smooth": self.smooth, "stage": self.stage, **self.identity}
        return save_checkpoint(folder, self.step, groups, {**state, **told})

    def restore(self, folder: Path) -> tuple[dict[str, Any], list[str]]:
        """Goes back to the newest whole checkpoint.

        Returns:
            What its JSON says, and a message about each newer one that had to be passed over.

        Raises:
            CheckpointError: If none is whole, or it is of another method, body or network.
        """
        groups, state, passed = load_latest(folder)
        for name, mine in self.identity.items():
            if state.get(name, mine) != mine:
                raise CheckpointError(
                    f"{folder}: wanted a checkpoint of the {name} {mine}, got one of "
                    f"{state[name]}; do: resume with the settings of the run, or another --out"
                )
        try:
            self.model.module.load_state_dict(groups["model"])
            load_optimiser(self.optimiser.optimizer, groups["optimiser"])
            if self.average is not None:  # it begins now if there was none
                self.average.load_state_dict(groups.get("average", groups["model"]))
            if "objective" in groups:
                self.objective.load_state_dict(groups["objective"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"{folder}: wanted a checkpoint of the network and objective that the settings "
                f"describe, got another ({error}); do: resume with the settings of the run, or "
                "another --out, which --init-backbone lets start from the weights of this one"
            ) from error
        self.step, self.smooth = state["step"], dict(state.get("smooth", {}))
        self._unseen = []
        return state, passed


def _describe(template: BodyTemplate) -> str:
    """Names a body by its gender, and by its vertices to a tenth of a millimetre."""
    places = (template.vertices.double().cpu() * 1e4).round().to(torch.int32).numpy()
    digest = hashlib.sha256(places.tobytes() + template.topology.encode()).hexdigest()
    return f"{template.gender} {digest[:12]}"
