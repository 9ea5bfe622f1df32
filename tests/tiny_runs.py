"""Trainings of seconds instead of hours, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plausibody.config import RunConfig, override
from plausibody.presets import preset

TINY: dict[str, Any] = {
    "train.batch_size": 8,
    "train.warm_up": 2,
    "train.precision": "32-true",
    "train.log_every": 1,
    "train.threads": 1,
    "stream.lite.frame": 40,
    "proxy.size": 32,
    "regressor.features": 48,
    "regressor.width": 8,
    "regressor.blocks": 1,
}
"""Small pictures and networks; single precision, so that runs can be compared bit for bit."""


def tiny_run(name: str, own: Mapping[str, Any], **changes: Any) -> RunConfig:
    """Gives a preset with small pictures, a small network and few samples.

    Args:
        name: Of the preset.
        own: What the test's file wants else, by key.
        changes: What the test wants else; two underscores stand for a dot.
    """
    renamed = {key.replace("__", "."): value for key, value in changes.items()}
    return override(preset(name), TINY | dict(own) | renamed)
