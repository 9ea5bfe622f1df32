"""What a run tells of itself: where it ran, on what, with which versions; and its weights."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import plausibody
from plausibody.config import RunConfig, to_json
from plausibody.models.checkpoint import save_weights
from plausibody.training.trainer import Trainer


def start_record(config: RunConfig, device: torch.device | str) -> dict[str, Any]:
    """Tells what, where and with which versions a run is."""
    return {
        "config": to_json(config),
        "device": _device_name(torch.device(device)),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "plausibody": plausibody.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _device_name(device: torch.device) -> str:
    """Names a device as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = Path("/proc/cpuinfo")
    if names.exists():
        for line in names.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "cpu"


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
