"""Trainings of a moment in the place of those that benchmarks start by command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plausibody.config import RunConfig, override
from plausibody.presets import PRESETS, preset
from plausibody.synth.stores import SynthAssets
from plausibody.training.record import RunRecord, export, make_card
from plausibody.training.trainer import Trainer


def open_script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Imports a script of `benchmarks/`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module(name)


def chosen(words: list[str], tiny: Mapping[str, Any]) -> RunConfig:
    """Gives the configuration of a training's command, made small.

    Args:
        words: As of `training_rows.train_words`.
        tiny: What is small; the command's own settings win.
    """
    pairs = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    named, seed = (words[words.index(word) + 1] for word in ("--preset", "--seed"))
    own = {"train.seed": seed, "stream.seed": seed}
    own |= {"train.steps": words[words.index("--steps") + 1]}
    if "--init-weights" in words:
        own |= {"train.init_weights": words[words.index("--init-weights") + 1]}
    return override(preset(named), {**tiny, **own, **dict(pair.split("=", 1) for pair in pairs)})


def stand_in(
    monkeypatch: pytest.MonkeyPatch, tiny: Mapping[str, Any], assets: SynthAssets
) -> list[list[str]]:
    """Lets scripts write networks that have learnt nothing.

    Returns:
        The commands of the trainings, as they come.
    """
    rows = open_script("training_rows", monkeypatch)
    commands: list[list[str]] = []

    def train(words: list[str]) -> Path:
        out = Path(words[-1])
        weights = out / "weights.safetensors"
        if not weights.is_file():
            commands.append(words)
            trainer = Trainer(chosen(words, tiny), assets, "cpu")
            card = make_card(RunRecord(trainer.config, trainer.device).told(), {}, [])
            export(trainer, weights, card)
        return weights

    small = {name: lambda made=made: override(made(), tiny) for name, made in PRESETS.items()}
    monkeypatch.setattr(rows, "PRESETS", small)
    monkeypatch.setattr(rows, "train", train)
    return commands


def trained(commands: list[list[str]]) -> list[str]:
    """Gives the names of the folders of trainings."""
    return [Path(words[-1]).name for words in commands]
