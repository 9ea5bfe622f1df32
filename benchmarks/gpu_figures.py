"""Files of figures from a GPU, which nothing but such figures may replace."""

from __future__ import annotations

import json
from pathlib import Path

import torch

NOT_MEASURED = "not measured"
"""Stands in place of a figure."""


def choose_out(given: Path | None, default: Path, device: str, figure: str) -> Path:
    """Gives the file to write to.

    Args:
        given: By --out, if it was.
        default: Of the script.
        device: cuda or cpu.
        figure: What a row calls its figure.

    Raises:
        ValueError: If it would lose figures of a GPU.
    """
    if device == "cpu" and given is None:
        raise ValueError(
            f"--device cpu: wanted --out, as {default.name} is for figures of a GPU; "
            "do: --out trial.json"
        )
    out = given or default
    if device == "cuda" and not torch.cuda.is_available() and has_figures(out, figure):
        raise ValueError(
            f"wanted a CUDA device, found none, and {out} keeps the figures that it has; do: run "
            "it where there is one, or try the script with --device cpu --out trial.json"
        )
    return out


def has_figures(out: Path, figure: str) -> bool:
    """Tells whether anything in a file was measured."""
    rows = json.loads(out.read_text("utf-8"))["rows"] if out.exists() else []
    return any(row[figure] != NOT_MEASURED for row in rows)
