"""Reads JSON files, and says of one that is damaged what was wanted, what came and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_json(
    path: Path,
    wanted: str,
    do: str = "write it again",
    parse: Callable[[str], Any] = json.loads,
) -> Any:
    """Reads a JSON file in UTF-8.

    Args:
        wanted: What the file should hold, for messages.
        do: What helps where it is no JSON, for messages.
        parse: Makes values of the text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is no JSON.
    """
    try:
        return parse(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: wanted {wanted}, found no file; do: check the path"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path}: wanted {wanted}, came a file that cannot be read ({error.strerror}); "
            "do: check the path and its permissions"
        ) from error
    except RecursionError as error:
        raise ValueError(
            f"{path}: wanted {wanted}, came JSON nested more deeply than anything of use; do: {do}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{path}: wanted {wanted}, came something that is no JSON ({error}); do: {do}"
        ) from error


def load_object(path: Path, wanted: str, do: str = "write it again") -> dict[str, Any]:
    """Reads a JSON file that is an object. Arguments and errors as of `load_json`."""
    value = load_json(path, wanted, do)
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(
            f"{path}: wanted {wanted}, an object, came JSON of another kind ({kind}); do: {do}"
        )
    return value
