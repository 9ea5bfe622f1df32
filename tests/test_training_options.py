"""What a training may be told: norms, rates, precision, compiling; and steps without numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor, nn

from plausibody.config import RunConfig, TrainSettings
from plausibody.config_file import to_json
from plausibody.models.encoder import LiteEncoder, group_norm
from plausibody.models.losses import Moment
from plausibody.models.records import map_tensors, take
from plausibody.models.regressor import DeepLiteEncoder, HeatmapEncoder, RegressorSettings
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.training.launch import compile_network
from plausibody.training.optimiser import rate_at
from plausibody.training.trainer import NonFiniteLossError, Trainer

OWN = {"train.steps": 4}


def tiny(name: str = "lite", **changes: Any) -> RunConfig:
    return tiny_run(name, OWN, **changes)


def stream(config: RunConfig, assets: SynthAssets) -> BatchGenerator:
    size = config.train.batch_size
    return BatchGenerator.of(config.stream, config.proxy, assets, size)


# Norms.


@pytest.mark.parametrize(
    ("channels", "groups"), [(4, 1), (8, 1), (12, 1), (20, 2), (32, 4), (64, 8), (96, 12)]
)
def test_groups_have_eight_channels_or_a_few_more(channels: int, groups: int) -> None:
    norm = group_norm(channels)
    assert norm.num_groups == groups
    made = norm(torch.randn(2, channels, 3, 3)).unflatten(1, (groups, -1)).flatten(2)
    torch.testing.assert_close(made.mean(-1), torch.zeros(2, groups), atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_with_groups_a_picture_does_not_see_the_others(norm: str) -> None:
    torch.manual_seed(0)
    encoder = LiteEncoder(size=32, features=16, width=16, norm=norm).train()
    kinds = {type(module) for module in encoder.modules()} & {nn.BatchNorm2d, nn.GroupNorm}
    assert kinds == {nn.GroupNorm if norm == "group" else nn.BatchNorm2d}
    silhouette, keypoints = torch.rand(6, 32, 32), torch.rand(6, 17, 3)
    whole = encoder(silhouette, keypoints)
    halves = torch.cat([encoder(silhouette[i : i + 3], keypoints[i : i + 3]) for i in (0, 3)])
    assert torch.allclose(halves, whole, atol=1e-5) is (norm == "group")


def test_published_networks_keep_their_norms() -> None:
    with pytest.raises(ValueError, match="published networks have batch norms, got 'group'"):
        RegressorSettings(encoder="resnet", norm="group")
    with pytest.raises(ValueError, match="regressor.norm: wanted batch or group, got 'layer'"):
        RegressorSettings(norm="layer")


# Rates.


def test_flat_rates_stay_and_then_fall_in_a_line() -> None:
    settings = TrainSettings(steps=1000, rate=2.0, warm_up=10, schedule="flat", cool_down=0.25)
    assert [rate_at(step, settings) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert {rate_at(step, settings) for step in range(9, 751)} == {2.0}
    falling = [rate_at(step, settings) for step in range(750, 1000)]
    assert falling == pytest.approx([2.0 * (1000 - step) / 250 for step in range(750, 1000)])
    longer = TrainSettings(steps=2000, rate=2.0, warm_up=10, schedule="flat", cool_down=0.25)
    flat = range(750)
    assert [rate_at(step, longer) for step in flat] == [rate_at(step, settings) for step in flat]


@pytest.mark.parametrize("schedule", ["cosine", "constant", "flat"])
def test_every_schedule_warms_up(schedule: str) -> None:
    settings = TrainSettings(steps=10_000, rate=1.0, warm_up=50, schedule=schedule)
    rates = [rate_at(step, settings) for step in range(60)]
    assert rates[:50] == pytest.approx([(step + 1) / 50 for step in range(50)], rel=1e-3)
    assert rates[50:] == pytest.approx([1.0] * 10, rel=1e-3)


def test_the_optimiser_has_the_rate_of_its_step(assets: SynthAssets) -> None:
    config = tiny(train__schedule="flat", train__cool_down=0.5, train__rate=0.01)
    trainer, batches = Trainer(config, assets, "cpu"), stream(config, assets)
    rates = []
    for step in range(4):
        trainer.train_step(batches[step])
        rates.append({group["lr"] for group in trainer.optimiser.param_groups})
    assert rates == [{0.005}, {0.01}, {0.01}, {0.005}]


# Precision and memory.


def test_half_precision_multiplies_and_whole_precision_learns(assets: SynthAssets) -> None:
    config = tiny(train__precision="bf16-mixed")
    trainer, batch = Trainer(config, assets, "cpu"), stream(config, assets)[0]
    types: dict[str, torch.dtype] = {}
    for name, module in trainer.model.module.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda _, __, made, at=name: types.update({at: made.dtype})
            )
    found = float(trainer.train_step(trainer.prepare(batch))["loss"])
    assert types
    assert set(types.values()) == {torch.bfloat16}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert {s.dtype for table in trainer.optimiser.state.values() for s in table.values()} == {
        torch.float32
    }
    plain = Trainer(tiny(), assets, "cpu").train_step(batch)["loss"]
    assert found == pytest.approx(float(plain), rel=0.02)


@pytest.mark.parametrize("kind", ["lite", "resnet"])
def test_convolutions_read_and_write_channels_last(kind: str) -> None:
    """Else each would copy: their filters lie so."""
    settings = RegressorSettings(features=16, width=16, blocks=1)
    encoder = DeepLiteEncoder(settings, 32) if kind == "lite" else HeatmapEncoder(18, 4.0)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    places: list[bool] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        for tensor in (given[0], made):
            places.append(tensor.is_contiguous(memory_format=torch.channels_last))

    convolutions = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(note)
    encoder(torch.rand(3, 64 if kind == "resnet" else 32, 64 if kind == "resnet" else 32),
            torch.rand(3, 17, 3))  # fmt: skip
    assert places == [True] * 2 * len(convolutions)


def test_gradients_are_clipped_together(assets: SynthAssets) -> None:
    config = tiny(train__clip=0.05)
    trainer, batches = Trainer(config, assets, "cpu"), stream(config, assets)
    trainer.train_step(batches[0])
    gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients) == pytest.approx(0.05, rel=1e-3)


# Stages.


def test_the_second_stage_begins_at_its_step(assets: SynthAssets) -> None:
    config = tiny("hierprob-lite", train__second_stage=2, regressor__gendered=False,
                  stream__lite__shape__gendered=0.0)  # fmt: skip
    trainer, batches = Trainer(config, assets, "cpu"), stream(config, assets)
    told = []
    for step in range(4):
        stage = trainer.stage
        told.append((stage, "sampled_keypoints" in trainer.train_step(batches[step])))
    assert told == [(1, False), (1, False), (2, True), (2, True)]


# Compiling.


COMPILED = """
import functools, json, sys
import torch
from plausibody.config_file import from_json
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import load_assets
from plausibody.training import launch, trainer

torch.set_num_threads(1)
trainer.compile_network = functools.partial(launch.compile_network, backend="eager")
assets = load_assets("train")
for text in sys.argv[1:]:
    config = from_json(json.loads(text))
    made = trainer.Trainer(config, assets, "cpu")
    batches = BatchGenerator.of(config.stream, config.proxy, assets, config.train.batch_size)
    network = made.model.module
    told = {
        "compiled": network._compiled_call_impl is not None,
        "names": list(network.state_dict()),
        "losses": [float(made.train_step(batches[step])["loss"]) for step in range(2)],
    }
    print(json.dumps(told))
"""


def test_a_compiled_network_learns_the_same() -> None:
    """In a process of its own: what checks shapes in tests cannot be compiled."""
    configs = [json.dumps(to_json(tiny(train__compile=compiled))) for compiled in (False, True)]
    command = [sys.executable, "-c", COMPILED, *configs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled = (json.loads(line) for line in done.stdout.splitlines())
    assert not plain["compiled"]
    assert compiled["compiled"]
    assert compiled["losses"] == pytest.approx(plain["losses"], rel=1e-6)
    assert compiled["names"] == plain["names"], "checkpoints fit either way"


def test_without_a_compiler_nothing_begins() -> None:
    def broken(*program: object) -> Any:
        raise RuntimeError("No working C++ compiler found")

    network: Any = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="train.compile: wanted a C\\+\\+ compiler .*do: install"):
        compile_network(network, "cpu", backend=broken)
    assert network._compiled_call_impl is None


# Steps without numbers.


@pytest.mark.parametrize("name", ["lite", "hierprob-lite"])
def test_pictures_without_numbers_spoil_the_loss(assets: SynthAssets, name: str) -> None:
    """Also where the network's answer is no distribution at all."""
    config = tiny(name)
    plain = tiny()
    trainer, batch = Trainer(config, assets, "cpu"), stream(plain, assets)[0]
    batch.proxy.silhouette[2] = math.nan
    before = [value.clone() for value in trainer.model.parameters()]
    with pytest.raises(NonFiniteLossError, match="step 0: the loss or its gradient is nan"):
        trainer.train_step(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


# The thread that makes batches.


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_made_beside_the_steps_arrive_whole(assets: SynthAssets) -> None:
    config = tiny(train__batch_size=256, proxy__size=96, stream__lite__frame=128)
    made = BatchGenerator.of(config.stream, config.proxy, assets, 256, device="cuda")
    wanted = [map_tensors(made[step], Tensor.clone) for step in range(12)]
    again = BatchGenerator.of(config.stream, config.proxy, assets, 256, device="cuda")
    load = torch.randn(4096, 4096, device="cuda")
    batches: Iterator[tuple[int, Batch]] = prefetch(again, 0, 12)
    with closing(batches):  # type: ignore[type-var]
        for step, batch in batches:
            for _ in range(20):  # the consumer's stream is busy when the batch comes
                load = load @ load.T / 4096
            kept = batch.proxy.silhouette * 1
            del batch
            assert torch.equal(kept, wanted[step].proxy.silhouette), step


# Sharing a batch.


@pytest.mark.parametrize("objective", ["lite", "straps", "hierprob"])
def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_shares(
    assets: SynthAssets, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    config = tiny(
        method=objective, objective=objective, regressor__norm="group", train__second_stage=10
    )
    trainer, batch = Trainer(config, assets, "cpu"), stream(config, assets)[0]
    batch.target.keypoints[:2] = 2.0  # outside the box, and so not learnt by straps
    batch.proxy.keypoints[:3, :9, 2] = 0  # not found, and so not learnt by hierprob
    counts = {
        "straps": (batch.target.keypoints.abs() <= 1).all(-1).sum() / 2,
        "hierprob": (batch.proxy.keypoints[..., 2] > 0).sum() / 2,
    }
    whole, parts = trainer.loss(batch)

    def shared(number: Tensor) -> Tensor:
        return counts[objective].to(number)

    monkeypatch.setattr(trainer, "_moment", lambda: Moment(0, torch.Generator(), shared))
    shares = [trainer.loss(take(batch, slice(first, first + 4))) for first in (0, 4)]
    torch.testing.assert_close((shares[0][0] + shares[1][0]) / 2, whole, rtol=1e-5, atol=0)
    for name, value in parts.items():
        mean = (shares[0][1][name] + shares[1][1][name]) / 2
        torch.testing.assert_close(mean, value, rtol=1e-5, atol=1e-7)


def test_one_process_averages_nothing() -> None:
    number = torch.tensor(3.0)
    assert Moment(0, torch.Generator()).mean(number) is number
