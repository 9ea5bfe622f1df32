"""Results as files: the figures, what a reader looks at, and the numbers of each person."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from plausibody.evaluate.result import NAME, Case, Result, read_result, to_json
from plausibody.evaluate.result_text import case_figures, to_markdown
from plausibody.evaluate.values import decode_values, encode_values
from plausibody.models.files import write_file
from plausibody.predict.drawing.bodies import label, save_picture, text_width, tile

PEOPLE = "people.npz"
"""The numbers of each person, beside a results.json."""
SHEET = "results_worst.jpg"
"""The pictures of the worst cases on a sheet."""


def save_result(result: Result, folder: Path) -> Path:
    """Writes results.json, results.md, results.html and what the result has besides.

    That is people.npz, the numbers of each person, and results_worst.jpg, pictures of the worst
    cases. Each file is whole or as before. results.json names the hash of people.npz and comes
    after it; what is drawn comes last.

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
    _save_page(result, folder)
    return path


def _save_page(result: Result, folder: Path) -> None:
    from plausibody.evaluate.report import render_result  # matplotlib: a second

    pictures = {case.name: result.draw(case.name) for case in result.worst} if result.draw else {}
    write_file(folder / "results.html", render_result(result, pictures))
    if pictures:
        cells = [
            label(pictures[case.name], _fitted(case, result, pictures[case.name].shape[-1]))
            for case in result.worst
        ]
        save_picture(tile(cells, columns=2, gap=8), folder / SHEET)
    else:
        (folder / SHEET).unlink(missing_ok=True)


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


def _fitted(case: Case, result: Result, width: int) -> str:
    """Words one of the worst cases in a line: as many figures as there is room for [px]."""
    told = f"{case.name}: "
    for number, figure in enumerate(case_figures(case, result)):
        longer = f"{told}{', ' if number else ''}{figure}"
        if number and text_width(longer) > width:
            break
        told = longer
    return told
