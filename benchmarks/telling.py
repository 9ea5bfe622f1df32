"""How benchmarks of several trainings tell what they found: sentences, tables, pictures, pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.ablation import certain
from plausibody.evaluate.bootstrap import Difference
from plausibody.evaluate.figures import MEAN_BODY
from plausibody.models.files import write_file
from plausibody.predict.drawing.bodies import save_picture

Effects = Mapping[str, Mapping[str, Mapping[str, Difference]]]
"""By name, kind of people and metric."""

CAUTION = (
    "taken person by person, of errors averaged over the seeds; intervals are of a paired "
    "bootstrap over people. They say nothing of what other seeds would give: the rows tell how far "
    "two are apart."
)
"""What differences are; a sentence ends with it."""


def told(what: str, difference: Difference, unit: str, digits: int = 1) -> str:
    """Says an effect in a sentence.

    Args:
        what: Has the effect, and on what.
        unit: Of the metric; empty if it has none.
        digits: After the point.
    """
    low, high = difference.low or 0.0, difference.high or 0.0
    unit = f" {unit}" if unit else ""
    verdict = "the interval leaves out 0" if certain(difference) else "which may be chance"
    return (
        f"{what}: {difference.difference:+.{digits}f}{unit} (95 % {low:+.{digits}f} to "
        f"{high:+.{digits}f}; from {difference.first:.{digits}f} to "
        f"{difference.second:.{digits}f}{unit}, {difference.people} people), {verdict}"
    )


def spans(
    rows: Mapping[str, Mapping[str, Difference]], metric: str, kinds: Sequence[str]
) -> list[tuple[float, float, float]]:
    """Gives an effect and the ends of its interval by kind, as plots want it; NaN of nobody."""
    found = []
    for kind in kinds:
        each = rows.get(kind, {}).get(metric)
        if each is None or each.low is None or each.high is None:
            found.append((math.nan, math.nan, math.nan))
        else:
            found.append((each.difference, each.low, each.high))
    return found


def effects_json(found: Effects) -> dict[str, Any]:
    """Gives effects for a file, each with whether it is certain."""
    return {
        name: {
            kind: {
                metric: asdict(each) | {"certain": certain(each)} for metric, each in row.items()
            }
            for kind, row in kinds.items()
        }
        for name, kinds in found.items()
    }


def table(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    places: Sequence[str],
    mean_body: Sequence[float] | None = None,
    digits: int = 1,
) -> list[str]:
    """Writes the errors of rows by place, as lines of Markdown.

    Args:
        rows: As files have them.
        metric: Which errors; rows without it are left out.
        places: Their names.
        mean_body: Its errors, if it has a row.
        digits: After the point.
    """
    lines = ["| variant | seed | " + " | ".join(places) + " |", "|---|---|" + "---|" * len(places)]
    told_of = [
        (row["variant"], str(row["seed"]), row["errors"][metric])
        for row in rows
        if metric in row["errors"]
    ]
    if mean_body is not None:
        told_of.append((MEAN_BODY, "", mean_body))
    for variant, seed, errors in told_of:
        values = " | ".join(f"{value:.{digits}f}" for value in errors)
        lines.append(f"| {variant} | {seed} | {values} |".replace("|  |", "| |"))
    return lines


def page(
    title: str,
    intro: str,
    picture: tuple[str, str],
    parts: Sequence[Sequence[str]],
    record: Mapping[str, Any],
) -> str:
    """Writes what was found as a page that ends with all commands.

    Args:
        title: Of the page.
        intro: Its first paragraph.
        picture: What it shows, and its file.
        parts: Paragraphs, lists and tables: lines of each.
        record: With `rows`, the `command` of the benchmark, and of the `start` if there is one.
    """
    lines = [f"# {title}", "", intro, "", f"![{picture[0]}]({picture[1]})", ""]
    for part in parts:
        lines += [*part, ""]
    commands = [*record.get("start", []), *(row["command"] for row in record["rows"])]
    return "\n".join(
        [*lines, "The commands:", "", "```sh", *commands, record["command"], "```", ""]
    )


def save_page(file: Path, picture: Float[Tensor, "3 H W"], written: Callable[[str], str]) -> None:
    """Writes a page and its picture beside it.

    Args:
        file: The page; the picture has its name and ends in .png.
        written: Makes the page from the name of the picture.
    """
    drawn = file.with_suffix(".png")
    save_picture(picture, drawn)
    write_file(file, written(drawn.name))
