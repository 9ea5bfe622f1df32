"""Figures of an evaluation on painted people, each with its protocol and what it is beside."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plausibody.evaluate.figures import Figures, subset_table
from plausibody.evaluate.markdown import markdown_table
from plausibody.models.files import write_file
from plausibody.models.naming import first_named

VERSION = 1
SHOWN = ("silhouette_iou", "silhouette_iou_naked", "reprojection", "area_ratio", "body_mass_index")
"""What the table of subsets has room for."""


@dataclass(frozen=True)
class RenderFigure:
    """One number over some people."""

    metric: str
    subset: str
    """all, or a third of them by true body mass index."""
    people: int
    """Who were found, and have this figure."""
    value: float
    unit: str
    statistic: str
    """median or mean."""
    compared: str
    """What is compared with what."""
    truth: float
    """The same of the true body, under the camera that took the picture."""
    truth_orthographic: float
    """The same of the true body, under the best orthographic camera."""
    mean_body: float
    """The same of the mean body."""

    @property
    def digits(self) -> int:
        """Worth printing after the point."""
        return {"0..1": 3, "ratio": 3, "% of diagonal": 2}.get(self.unit, 1)


@dataclass(frozen=True)
class Case:
    """One person."""

    number: int
    """Among all; the person can be drawn again by it."""
    silhouette_iou: float
    reprojection: float
    area_ratio: float
    body_mass_index: float
    """True."""


@dataclass(frozen=True)
class RendersResult(Figures[RenderFigure]):
    """What an evaluation on painted people found."""

    benchmark: str
    digest: str
    """Hash of settings and files; figures compare if it is the same, and the front end too."""
    gender: str
    """Of the predicted body and of the true one."""
    settings: dict[str, Any]
    front_end: str
    """What tells it from others."""
    regressor: dict[str, Any]
    """What its card says of its making."""
    plausibody: str
    """Version."""
    shown: int
    """People whom the front end was shown."""
    missed: tuple[int, ...]
    """Numbers of those whom it did not find: no figure counts them."""
    failed: tuple[int, ...]
    """Numbers of those found for whom the regressor gave no body: no figure counts them either."""
    worst: tuple[Case, ...]
    """Found people, the smallest overlap with the front end's mask first."""
    figures: tuple[RenderFigure, ...]


def to_json(result: RendersResult) -> dict[str, Any]:
    """Gives a result as tables; every figure carries its protocol."""
    return {"version": VERSION, **dataclasses.asdict(result)}


def read_renders(path: Path) -> RendersResult:
    """Reads a result that `save_renders` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no result of this version.
    """
    if not path.exists():
        raise FileNotFoundError(f"wanted a result on painted people, found no {path}")
    try:
        tables = json.loads(path.read_text("utf-8"))
        if tables.pop("version") != VERSION:
            raise ValueError(f"a version other than {VERSION}")
        tables["figures"] = tuple(RenderFigure(**table) for table in tables["figures"])
        tables["worst"] = tuple(Case(**table) for table in tables["worst"])
        tables |= {name: tuple(tables[name]) for name in ("missed", "failed")}
        return RendersResult(**tables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: wanted a result on painted people, got {error!r}") from error


def save_renders(result: RendersResult, folder: Path) -> Path:
    """Writes renders.json and renders.md, each whole or as before; gives the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "renders.md", to_markdown(result))
    path = folder / "renders.json"
    write_file(path, json.dumps(to_json(result), indent=2) + "\n")
    return path


def title(result: RendersResult) -> str:
    return f"{result.benchmark} ({result.digest[:12]}), {result.shown} people"


def all_rows(result: RendersResult) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table over everyone."""
    heads = ["metric", "compared", "unit", "over people"]
    heads += ["value", "truth", "truth, orthographic", "mean body"]
    rows = [
        [
            *(f.metric, f.compared, f.unit, f.statistic),
            *(
                f"{value:.{f.digits}f}"
                for value in (f.value, f.truth, f.truth_orthographic, f.mean_body)
            ),
        ]
        for f in result.figures
        if f.subset == "all"
    ]
    return heads, rows


def subset_rows(result: RendersResult) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table by subset: value (that of the truth)."""
    return subset_table(result, SHOWN, lambda figure: figure.truth)


def protocol_lines(result: RendersResult) -> list[str]:
    """What holds for every figure."""
    lines = [
        f"Estimate: mode. Bodies: {result.gender}. Figures are of those whom the front end found.",
        f"Not found: {_listed(result.missed)} of {result.shown}. "
        f"Found, but without a body: {_listed(result.failed)}.",
        "Truth: the true body, under the camera that took the picture, and under the best "
        "orthographic one, which is what regressors have. Mean body: of the training poses.",
    ]
    if result.worst:
        worst = ", ".join(f"{case.number} ({case.silhouette_iou:.2f})" for case in result.worst)
        lines.append(f"Smallest overlap with the front end's mask: {worst}.")
    return lines


def to_markdown(result: RendersResult) -> str:
    parts = [f"# {title(result)}", *protocol_lines(result), markdown_table(*all_rows(result))]
    parts.append("By true body mass index, the truth in brackets:")
    parts.append(markdown_table(*subset_rows(result)))
    return "\n\n".join(parts) + "\n"


def _listed(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return "0"
    return f"{len(numbers)} (number {first_named(numbers)})"
