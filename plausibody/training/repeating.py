"""How to repeat a run: the preset it is nearest to, what differs, and the command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from plausibody.config import RunConfig, known_keys
from plausibody.presets import PRESETS


def nearest_preset(config: RunConfig) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """Finds the preset from which fewest settings differ.

    Returns:
        Its name; and by key, the preset's value and the run's.
    """
    found = {
        name: differences(known_keys(make()), known_keys(config)) for name, make in PRESETS.items()
    }
    name = min(found, key=lambda name: len(found[name]))
    return name, found[name]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Lists the keys whose values differ, with both; None where a key is missing."""
    keys = [*before, *(key for key in now if key not in before)]
    return {
        key: (before.get(key), now.get(key))
        for key in keys
        if written(before.get(key)) != written(now.get(key))
    }


def written(value: Any) -> str:
    """Gives a value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def repeat_command(config: RunConfig, processes: int = 1, out: str = "RUN") -> str:
    """Gives the command that does a run again.

    Args:
        processes: That trained it together.
        out: Folder of the new run.
    """
    name, changes = nearest_preset(config)
    program = "plausibody"
    if processes > 1:
        program = f"torchrun --nproc-per-node {processes} -m plausibody"
    settings = [
        f"--set {shlex.quote(f'{key}={written(now)}')}" for key, (_, now) in changes.items()
    ]
    return " ".join([f"{program} train --preset {name}", *settings, f"--out {shlex.quote(out)}"])
