"""Results as files: the figures, what a reader looks at, and the numbers of each person."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from plausibody.evaluate.result import NAME, Result, read_result, to_json
from plausibody.evaluate.result_text import to_markdown
from plausibody.evaluate.values import decode_values, encode_values
from plausibody.models.files import write_file

PEOPLE = "people.npz"
"""The numbers of each person, beside a results.json."""


def save_result(result: Result, folder: Path) -> Path:
    """Writes results.json, results.md and, if the result has them, the numbers of each person.

    Each file is whole or as before. results.json comes last, and names the hash of people.npz.

    Returns:
        The path of results.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if result.values is not None:
        content = encode_values(result.values)
        write_file(folder / PEOPLE, content)
        result = dataclasses.replace(result, people_sha256=hashlib.sha256(content).hexdigest())
    write_file(folder / "results.md", to_markdown(result))
    path = folder / NAME
    write_file(path, json.dumps(to_json(result), indent=2) + "\n")
    return path


def read_with_values(path: Path) -> Result:
    """Reads a results.json and the numbers of each person beside it.

    Raises:
        FileNotFoundError: If one of them is missing.
        ValueError: If they are something else, or do not belong together.
    """
    result, beside = read_result(path), path.with_name(PEOPLE)
    if not result.people_sha256:
        raise ValueError(
            f"{path}: wanted a result with the numbers of each person, it was saved without; "
            "do: evaluate again with --out"
        )
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path}: wanted the numbers of each person beside it, found no {beside}; do: copy it "
            "along, or evaluate again with --out"
        )
    content = beside.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != result.people_sha256:
        raise ValueError(
            f"{beside}: wanted the file that {NAME} names ({result.people_sha256[:12]}), got "
            f"another ({found[:12]}); do: evaluate again with --out"
        )
    return dataclasses.replace(result, values=decode_values(content))
