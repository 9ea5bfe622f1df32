"""Reads and writes configurations as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig, known_keys, override
from plausibody.models.json_file import load_object
from plausibody.presets import lite, preset


def to_json(config: RunConfig) -> dict[str, Any]:
    """Gives the configuration as nested tables, for records."""
    return dataclasses.asdict(config)


def from_json(values: Mapping[str, Any]) -> RunConfig:
    """Reads what `to_json` gave, or a part of it over the preset of its method.

    Raises:
        ValueError: If a key is unknown or a value makes no sense.
    """
    method = str(values.get("method", "lite"))
    return override(preset({"hmr": "dsr"}.get(method, method)), _flatten(values))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    leaves = {key for key, value in known_keys(lite()).items() if isinstance(value, dict)}
    for name, value in values.items():
        if isinstance(value, Mapping) and prefix + name not in leaves:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def load_config(path: Path) -> RunConfig:
    """Reads a configuration file in JSON.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no JSON, or a key or value in it makes no sense.
    """
    do = "correct it; that of a run is in checkpoints/step_<N>/state.json too, as 'config'"
    values = load_object(path, "a configuration in JSON", do)
    try:
        return from_json(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def config_of(told: Mapping[str, Any], name: str, do: str) -> RunConfig:
    """Reads the configuration that a checkpoint's state or a card of weights holds.

    Args:
        told: The state or card.
        name: Of its file, for messages.
        do: What helps if there is no configuration in it, for messages.

    Raises:
        ValueError: If there is none, or one that this version does not know.
    """
    config = told.get("config")
    if not isinstance(config, Mapping):
        raise ValueError(
            f"{name}: wanted the configuration of a run as 'config', found none; do: {do}"
        )
    try:
        return from_json(config)
    except ValueError as error:
        raise ValueError(f"{name}, config: {error}; do: {do}") from error
