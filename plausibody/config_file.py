"""Reads and writes configurations as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig, known_keys, override
from plausibody.presets import lite, preset


def to_json(config: RunConfig) -> dict[str, Any]:
    """Gives the configuration as nested tables, for records."""
    return dataclasses.asdict(config)


def from_json(values: Mapping[str, Any]) -> RunConfig:
    """Reads what `to_json` gave, or a part of it over the preset of its method.

    Raises:
        ValueError: If a key is unknown.
    """
    method = values.get("method", "lite")
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
    """Reads a configuration file in JSON."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"--config: no file {path}") from None
    except ValueError as error:
        raise ValueError(f"{path}: wanted a configuration in JSON, got {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: wanted a JSON object of settings, got {type(values).__name__}")
    return from_json(values)
