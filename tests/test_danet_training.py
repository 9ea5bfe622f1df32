"""DaNet's runs: presets, what they refuse, and that a step learns from IUV pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from plausibody.config import RunConfig, override
from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_losses import DanetLoss
from plausibody.presets import preset
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets
from plausibody.training.objective import loss_changes
from plausibody.training.trainer import Trainer

SMALL: dict[str, Any] = {
    "train.batch_size": 4,
    "train.threads": 1,
    "train.precision": "32-true",
    "danet.width": 8,
    "danet.features": 8,
    "stream.lite.frame": 40,
}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return override(preset("danet-lite-iuv"), SMALL)


def test_presets_have_the_published_numbers_and_stages() -> None:
    published = preset("danet")
    network = published.danet
    assert (network.backbone, network.width, network.crop, network.features) == (
        "hrnet",
        48,
        56,
        128,
    )
    assert network.partdrop == 0.3 and network.map_size(published.proxy) == 56
    assert (published.train.batch_size, published.train.rate) == (16, 1e-4)
    assert loss_changes(published) == [5000]
    assert loss_changes(preset("danet-lite-iuv")) == []
    small = preset("danet-lite")
    assert small.danet.map_size(small.proxy) == small.stream.dense.size == 32


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("danet-lite", {"proxy.channel": "edges"}, "danet reads rgb or iuv"),
        ("danet-lite", {"stream.dense.size": 0}, r"stream\.dense\.size=32"),
        ("danet-lite", {"objective": "straps"}, "objective: danet learns bodies by lite or hmr"),
        ("danet-lite", {"train.steps": 100}, r"danet\.estimator_steps=10"),
        ("lite", {"proxy.channel": "iuv"}, "only the method danet reads iuv"),
    ],
)
def test_runs_that_could_learn_nothing_are_refused(
    name: str, values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        override(preset(name), values)


def test_steps_learn_from_iuv_and_are_the_same_again(
    config: RunConfig, assets: SynthAssets
) -> None:
    batch = BatchGenerator(config, assets)[0]
    losses = []
    for _ in range(2):
        trainer = Trainer(config, assets, "cpu")
        assert isinstance(trainer.objective, DanetLoss)
        assert isinstance(trainer.model.module, DanetRegressor)
        before = trainer.model.module.initial.clone()
        told = [trainer.train_step(trainer.prepare(batch)) for _ in range(2)]
        assert {"centres", "first_rotations", "positions0", "rotations"} <= told[0].keys()
        assert torch.equal(trainer.model.module.initial, before)
        losses.append([float(parts["loss"]) for parts in told])
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]
