"""Reads JSON that somebody else wrote, and says what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.json_file import load_json

LARGEST = 1e7
"""Numbers beyond it are no pixels."""


def read_json(path: Path, wanted: str) -> Any:
    """Reads a JSON file in UTF-8 strictly: numbers are finite, and no name is given twice.

    Args:
        wanted: What the file should hold, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is no JSON.
    """
    return load_json(path, wanted, parse=_parse_strictly)


def numbers(value: Any, count: int | None, name: str, wanted: str) -> Float[Tensor, " N"]:
    """Reads a list of finite numbers of reasonable size.

    Args:
        count: How many there must be; None for any number.
        name: Of the file and the place in it, for messages.
        wanted: What is expected there, for messages.

    Raises:
        ValueError: If it is anything else.
    """
    problem = ""
    if not isinstance(value, list):
        problem = shown(value)
    elif count is not None and len(value) != count:
        problem = f"{len(value)} numbers"
    elif any(isinstance(one, bool) or not isinstance(one, int | float) for one in value):
        problem = shown(value)
    elif any(not abs(one) <= LARGEST for one in value):
        problem = f"{shown(value)}, of which some are not finite or beyond {LARGEST:.0e}"
    if problem:
        raise ValueError(f"{name}: wanted {wanted}, came {problem}; do: write it again")
    return torch.tensor(value, dtype=torch.float32)


def shown(value: Any) -> str:
    """Shows a value of JSON shortly."""
    text = json.dumps(value) if isinstance(value, str | int | float | bool | None) else ""
    if not text:
        kind = "an object" if isinstance(value, dict) else "a list"
        first = ", ".join(map(repr, list(value)[:4])) if _is_flat(value) else ""
        text = f"{kind} of {len(value)}" + (f" ({first}{', ...' * (len(value) > 4)})" * bool(first))
    return text if len(text) <= 80 else text[:77] + "..."


def _is_flat(value: Any) -> bool:
    """Whether the first few entries of a list, or names of an object, are short to show."""
    return all(isinstance(one, str | int | float | bool | None) for one in list(value)[:4])


def _parse_strictly(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{counts.most_common(1)[0][0]!r} is given twice")
    return found
