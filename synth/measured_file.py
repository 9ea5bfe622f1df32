"""Reads and writes models of measured errors as JSON, for people and machines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.models.files import write_file
from plausibody.synth.joint_sight import STATES
from plausibody.synth.measured import (
    KINDS,
    SCORES,
    KeypointErrors,
    MaskErrors,
    MeasuredModel,
)

SCHEMA = "plausibody-measured-1"
"""Changes whenever files of one form can no longer be read as the other."""
EMBEDDED = "corruption/embedded.json"
"""Of the front end that ships, among the assets."""
_Q, _K, _S = len(SCORES), len(KINDS), len(STATES)
_SHAPES = {
    "distance": (_K, _S, _Q), "confidence": (_K, _S, _Q), "bias": (_K, _S, 2), "swap": (_K,),
    "sides": (2,), "offset": (_Q,), "lost": (25,), "soft": (_Q,),
    "spill_radius": (_Q,), "cut_radius": (_Q,),
}  # fmt: skip
_ODDS = {"swap", "sides"}
"""Plain numbers, which draws compare with; all else that has a shape is a tensor."""
_QUANTILES = {"soft", "distance", "confidence", "offset", "spill_radius", "cut_radius"}
_RANGES = {
    "distance": (0.0, 10.0), "bias": (-1.0, 1.0), "offset": (-1.0, 1.0), "soft": (1e-6, 1.0),
    "shared_tie": (-1.0, 1.0), "own_tie": (-1.0, 1.0), "cells": (1, 256),
    "spill_radius": (0.0, 1.0), "cut_radius": (0.0, 1.0),
}  # fmt: skip
"""Of what is no probability or share."""
_Errors = TypeVar("_Errors", KeypointErrors, MaskErrors)


def load_measured(directories: Sequence[Path] | None = None, name: str = EMBEDDED) -> MeasuredModel:
    """Opens the model that ships, or the one that replaces it in a folder of the search order.

    Args:
        directories: Where assets are looked for, instead of the usual places.
        name: Below one of them.
    """
    return read_measured(find_asset(name, directories))


def choose_measured(errors: str, model: MeasuredModel | None) -> MeasuredModel | None:
    """Gives a recipe with measured errors its model, the shipped one unless given; others none."""
    if errors != "measured":
        return None
    return model or load_measured()


def read_measured(path: Path) -> MeasuredModel:
    """Opens a model.

    Raises:
        ValueError: If the file is damaged, of another schema, or says what cannot be.
    """
    again = "do: fit it again with `plausibody assets fit-corruption`"
    try:
        content = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: wanted a JSON file, came something else ({error}); {again}"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        came = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: wanted a model of schema {SCHEMA}, came {came}; {again}")
    try:
        if content["kinds"] != list(KINDS) or content["states"] != list(STATES):
            raise ValueError("kinds and states of key points are not those of this version")
        if content["scores"] != SCORES.tolist():
            raise ValueError("scores, at which quantiles are tabled, are not those of this version")
        missed = content["missed"]
        _check("missed", missed)
        return MeasuredModel(
            keypoints=_errors(KeypointErrors, content["keypoints"]),
            masks=_errors(MaskErrors, content["masks"]),
            missed=float(missed),
            provenance=dict(content["provenance"]),
        )
    except KeyError as error:
        raise ValueError(
            f"{path}: wanted the entry {error}, came a model without it; {again}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; {again}") from error


def write_measured(path: Path, model: MeasuredModel) -> None:
    """Writes a model; numbers are rounded to what their fits can tell, five digits."""
    content = {
        "schema": SCHEMA,
        "provenance": model.provenance,
        "kinds": list(KINDS),
        "states": list(STATES),
        "scores": SCORES.tolist(),
        "missed": _rounded(model.missed),
        "keypoints": _plain(model.keypoints),
        "masks": _plain(model.masks),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1)
    # A table of quantiles is a row, not a page.
    rows = re.sub(r"\[[^][]*\]", lambda row: " ".join(row[0].split()), text)
    write_file(path, rows + "\n")


def _plain(errors: KeypointErrors | MaskErrors) -> dict[str, Any]:
    return {field.name: _rounded(getattr(errors, field.name)) for field in fields(errors)}


def _rounded(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _rounded(value.tolist())
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _errors(kind: type[_Errors], entries: Mapping[str, Any]) -> _Errors:
    assert is_dataclass(kind)
    found: dict[str, Any] = {}
    for field in fields(kind):
        value = entries[field.name]
        _check(field.name, value)
        if field.name in _ODDS:
            found[field.name] = tuple(float(one) for one in value)
        elif field.name in _SHAPES:
            found[field.name] = torch.tensor(value, dtype=torch.float32)
        else:
            found[field.name] = int(value) if field.name == "cells" else float(value)
    return kind(**found)


def _check(name: str, value: Any) -> None:
    """Refuses numbers of another shape or beyond what is possible.

    Raises:
        ValueError: With what was wanted and what came.
    """
    numbers = torch.tensor(value, dtype=torch.float64)
    shape = _SHAPES.get(name, ())
    if tuple(numbers.shape) != shape:
        raise ValueError(f"{name}: wanted numbers of shape {shape}, came {tuple(numbers.shape)}")
    low, high = _RANGES.get(name, (0.0, 1.0))
    least, most = float(numbers.min()), float(numbers.max())
    if not (math.isfinite(least) and math.isfinite(most) and least >= low and most <= high):
        raise ValueError(f"{name}: wanted {low:g} to {high:g}, came {least:g} to {most:g}")
    if name in _QUANTILES and (numbers.diff() < 0).any():
        raise ValueError(f"{name}: wanted quantiles that rise, came some that fall")
