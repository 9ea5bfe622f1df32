"""The configuration of a run: nested frozen dataclasses, presets as functions, one way to override.

A key is the path to a field with dots, such as `train.batch_size`. An unknown key is an error that
lists the known ones.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from plausibody.models.calibration import LEAST_PEOPLE
from plausibody.models.danet_losses import DanetWeights
from plausibody.models.danet_settings import READS, DanetSettings
from plausibody.models.hmr_loss import HmrWeights
from plausibody.models.likelihood import HierprobWeights, LikelihoodWeights
from plausibody.models.losses import LiteWeights
from plausibody.models.networks import NETWORKS
from plausibody.models.proxy import ProxySettings
from plausibody.models.quantise import STORED
from plausibody.models.regressor import RegressorSettings
from plausibody.synth.generator import StreamSettings
from plausibody.synth.raster import BACKENDS
from plausibody.synth.semantic_losses import SemanticSettings
from plausibody.synth.stores import SourceSettings
from plausibody.synth.supervision import SupervisionSettings

Settings = TypeVar("Settings")

OBJECTIVES = ("lite", "straps", "hierprob", "hmr")
PRECISIONS = ("auto", "32-true", "bf16-mixed")
SCHEDULES = ("cosine", "constant", "flat")


@dataclass(frozen=True)
class TrainSettings:
    """The loop."""

    batch_size: int = 128
    """Samples per step, of all processes together."""
    steps: int = 20_000
    rate: float = 1e-3
    """Learning rate after the warm-up."""
    schedule: str = "cosine"
    """cosine (to zero at the last step), constant, or flat (constant, then to zero in a line)."""
    cool_down: float = 0.2
    """Share of the steps in which the rate of `flat` falls."""
    warm_up: int = 200
    """Steps over which the rate rises from zero."""
    weight_decay: float = 0.02
    """Of matrices and filters; not of biases and norms."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for no limit."""
    average: float = 0.998
    """Decay of the exponential average of the weights, which is what is kept; 0 for none."""
    precision: str = "auto"
    """32-true, bf16-mixed, or auto: bf16 where the device has instructions for it."""
    compile: bool = False
    """Whether torch.compile makes one program of the network; it needs a C++ compiler."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """How many checkpoints stay."""
    validate_every: int = 1000
    """Steps between validations."""
    log_every: int = 50
    """Steps between scalars."""
    second_stage: int = 0
    """First step of the second stage, in which distributions learn from their samples too."""
    init_backbone: str = ""
    """Weights, by file or name, whose image encoder the training starts from."""
    init_weights: str = ""
    """Weights, by file or name, from all of which it starts: encoder and head."""
    seed: int = 0
    """Of the network's start; the stream has its own seed."""
    calibrated: int = 4096
    """People to whom the intervals of distributions are calibrated at the end; 0 for none."""
    stored: str = "float16"
    """How the weights to share are kept: float16, or int8 for half the size."""
    threads: int = 0
    """Of torch on a CPU; 0 for as many as there are cores, less one for the synthesis."""


@dataclass(frozen=True)
class RendererSettings:
    """What draws."""

    backend: str = "auto"
    """auto (numba on a CPU, triton on CUDA, torch where these are missing), torch, numba (CPU),
    triton (CUDA), or pytorch3d (to compare with; not bit for bit)."""

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(
                f"renderer.backend: wanted one of {', '.join(BACKENDS)}, got {self.backend!r}"
            )


@dataclass(frozen=True)
class RunConfig:
    """All that decides what a training run does."""

    method: str = "lite"
    """lite, straps, hierprob, hmr or danet: the network, or its head."""
    objective: str = "lite"
    """What is minimised: lite, straps, hierprob or hmr. With lite, distributions add
    `likelihood`."""
    gender: str = "neutral"
    """Of the body that is learnt."""
    train: TrainSettings = field(default_factory=TrainSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    proxy: ProxySettings = field(default_factory=ProxySettings)
    regressor: RegressorSettings = field(default_factory=RegressorSettings)
    loss: LiteWeights = field(default_factory=LiteWeights)
    likelihood: LikelihoodWeights = field(default_factory=LikelihoodWeights)
    hierprob: HierprobWeights = field(default_factory=HierprobWeights)
    hmr: HmrWeights = field(default_factory=HmrWeights)
    danet: DanetSettings = field(default_factory=DanetSettings)
    dense: DanetWeights = field(default_factory=DanetWeights)
    supervision: SupervisionSettings = field(default_factory=SupervisionSettings)
    semantics: SemanticSettings = field(default_factory=SemanticSettings)
    renderer: RendererSettings = field(default_factory=RendererSettings)

    def __post_init__(self) -> None:
        for key, setting in known_keys(self).items():
            if not _is_finite(setting):
                raise ValueError(f"{key}: wanted finite numbers only, got {setting!r}")
        for key, known in (("method", NETWORKS), ("objective", OBJECTIVES)):
            if (value := getattr(self, key)) not in known:
                raise ValueError(f"{key}: wanted one of {', '.join(known)}, got {value!r}")
        if self.objective == "hierprob" and self.method != "hierprob":
            raise ValueError(
                f"objective: hierprob learns distributions, wanted the method hierprob, "
                f"got {self.method}"
            )
        if self.supervision.weight and not self.stream.maps.size:
            raise ValueError(
                "supervision.weight: wanted a stream that hands over maps to compare pictures of "
                "predictions with, got stream.maps.size=0; do: --set stream.maps.size=64"
            )
        if self.semantics.counts and not self.stream.maps.size:
            raise ValueError(
                "semantics: wanted a stream that hands over label maps to compare predictions "
                "with, got stream.maps.size=0; do: --set stream.maps.size=64"
            )
        self._check_danet()
        counts = ("batch_size", "steps", "checkpoint_every", "keep", "validate_every", "log_every")
        for key in counts:
            if getattr(self.train, key) < 1:
                raise ValueError(f"train.{key}: wanted at least 1, got {getattr(self.train, key)}")
        if self.train.calibrated != 0 and self.train.calibrated < LEAST_PEOPLE:
            raise ValueError(
                f"train.calibrated: wanted at least {LEAST_PEOPLE} people, or 0 for none, "
                f"got {self.train.calibrated}"
            )
        if self.train.schedule not in SCHEDULES:
            raise ValueError(
                f"train.schedule: wanted {', '.join(SCHEDULES)}, got {self.train.schedule!r}"
            )
        if self.train.precision not in PRECISIONS:
            raise ValueError(
                f"train.precision: wanted {', '.join(PRECISIONS)}, got {self.train.precision!r}"
            )
        if self.train.init_backbone and self.train.init_weights:
            raise ValueError("train.init_backbone and train.init_weights: wanted one, got both")
        for key in ("rate", "clip", "warm_up", "threads", "weight_decay"):
            if getattr(self.train, key) < 0:
                raise ValueError(f"train.{key}: wanted 0 or more, got {getattr(self.train, key)}")
        if not 0 <= self.train.average < 1:
            raise ValueError(
                f"train.average: wanted a decay from 0 to below 1, got {self.train.average}"
            )
        if self.train.stored not in STORED:
            raise ValueError(
                f"train.stored: wanted {' or '.join(STORED)}, got {self.train.stored!r}"
            )
        if not 0 < self.train.cool_down <= 1:
            raise ValueError(
                f"train.cool_down: wanted a share above 0, up to 1, got {self.train.cool_down}"
            )

    def _check_danet(self) -> None:
        if self.method != "danet":
            if self.proxy.channel == "iuv":
                raise ValueError(
                    f"proxy.channel: only the method danet reads iuv, got {self.method}; "
                    "do: --preset danet-lite-iuv"
                )
            return
        if self.proxy.channel not in READS:
            raise ValueError(
                f"proxy.channel: danet reads {' or '.join(READS)}, got {self.proxy.channel}; "
                "do: --preset danet-lite or danet-lite-iuv"
            )
        if self.objective not in ("lite", "hmr"):
            raise ValueError(
                f"objective: danet learns bodies by lite or hmr, got {self.objective}; "
                "do: --set objective=lite"
            )
        if not self.stream.dense.size:
            raise ValueError(
                "stream.dense.size: danet learns from IUV pictures and places of joints, wanted "
                f"pixels, got 0; do: --set stream.dense.size={self.danet.map_size(self.proxy)}"
            )
        if self.danet.estimator_steps >= self.train.steps and self.proxy.channel == "rgb":
            raise ValueError(
                "danet.estimator_steps: wanted fewer than all steps, in which no body would be "
                f"learnt, got {self.danet.estimator_steps} of {self.train.steps}; "
                f"do: --set danet.estimator_steps={self.train.steps // 10}"
            )


def known_keys(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Lists every key of a configuration with its value."""
    found: dict[str, Any] = {}
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        if dataclasses.is_dataclass(value):
            found |= known_keys(value, f"{prefix}{entry.name}.")
        else:
            found[prefix + entry.name] = value
    return found


def _is_finite(setting: Any) -> bool:
    """Whether a setting holds neither infinities nor NaN, which JSON has not and bounds let by."""
    if isinstance(setting, Mapping):
        return all(_is_finite(part) for part in setting.values())
    if isinstance(setting, tuple | list):
        return all(_is_finite(part) for part in setting)
    return not isinstance(setting, float) or math.isfinite(setting)


def override(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Replaces the values of some keys; text is converted to the type of the field.

    Raises:
        ValueError: If a key is unknown or a value does not fit its type.
    """
    known = known_keys(config)
    for key in values:
        if key not in known:
            raise ValueError(
                f"unknown configuration key {key!r}; the known ones are:\n  " + "\n  ".join(known)
            )
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        at = nested
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return _replace(config, nested, "")


def _replace(settings: Settings, nested: Mapping[str, Any], prefix: str) -> Settings:
    hints = typing.get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for name, value in nested.items():
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            changes[name] = _replace(current, value, f"{prefix}{name}.")
            continue
        try:
            adapter = TypeAdapter(hints[name])
            parsed = _parse(value) if isinstance(value, str) and hints[name] is not str else value
            changes[name] = adapter.validate_python(parsed)
        except ValidationError as error:
            raise ValueError(
                f"{prefix}{name}: wanted {hints[name]}, got {value!r} "
                f"({error.errors()[0]['msg'].lower()})"
            ) from error
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def _parse(text: str) -> Any:
    """Reads numbers, lists and tables from text; leaves the rest as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """Splits `key=value` texts."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set: wanted key=value, got {setting!r}")
        values[key.strip()] = value.strip()
    return values
