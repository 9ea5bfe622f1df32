"""What an evaluation found, on any benchmark or data set: figures, each with its protocol."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.figures import Figure, Figures
from plausibody.evaluate.protocols import Protocol, protocol_of
from plausibody.evaluate.values import Values

VERSION = 2
NAME = "results.json"
NAMED = 10
"""How many of the worst a result names."""

Draw: TypeAlias = Callable[[str], Float[Tensor, "3 height width"]]


@dataclass(frozen=True)
class Case:
    """One person, named to be looked at."""

    name: str
    value: float
    """Of the metric by which it was chosen."""


@dataclass(frozen=True)
class Result(Figures[Figure]):
    """What an evaluation found."""

    benchmark: str
    """Name of the benchmark, or of the data set and its split; begins with "not" if what was
    measured is not what the name stands for."""
    sealed: bool
    """Whether it is: settings, files and code of a benchmark; all people of a data set."""
    digest: str
    """Hash of what was measured on, the truth included: results compare if it is the same."""
    gender: str
    """Of the predicted body and of the true one."""
    people: int
    """Who were shown to the regressor."""
    settings: Mapping[str, Any]
    """Of the benchmark, or how a data set was read."""
    regressor: Mapping[str, Any]
    """What its card says of its making."""
    plausibody: str
    """Version."""
    figures: tuple[Figure, ...]
    note: str = ""
    """What a reader must know before comparing; empty if nothing."""
    remarks: tuple[str, ...] = ()
    """What else holds for every figure, a sentence or two each."""
    front_end: str = ""
    """What found people in pictures; empty where nothing had to."""
    missed: tuple[str, ...] = ()
    """Names of those whom it did not find."""
    failed: tuple[str, ...] = ()
    """Names of those for whom the network gave no body: they are in no figure."""
    worst: tuple[Case, ...] = ()
    """The worst first."""
    worst_by: str = ""
    """The metric of `worst`."""
    people_sha256: str = field(default="", compare=False)
    """Hash of the file beside it with the numbers of each person; empty if there is none."""
    values: Values | None = field(default=None, compare=False, repr=False)
    """The numbers of each person; None in a result that was read without them."""
    draw: Draw | None = field(default=None, compare=False, repr=False)
    """Draws a person by name, see `sheet.draw_sight`; None where there is nothing to draw."""


def worst_cases(values: Values, metric: str, count: int = NAMED) -> tuple[Case, ...]:
    """Names those for whom a metric is worst, the worst first; who has it not is left out.

    Args:
        metric: Whose values are good if they are small, large or near zero; see `protocols`.
    """
    best, error = protocol_of(metric).best, values.errors[metric].double()
    badness = {"less": error, "zero": error.abs(), "more": -error}.get(best)
    if badness is None:
        raise ValueError(f"{metric}: wanted a metric by which some values are worse than others")
    order = badness.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)
    known = int((~error.isnan()).sum())
    return tuple(Case(values.names[n], float(error[n])) for n in order[: min(count, known)])


def to_json(result: Result) -> dict[str, Any]:
    """Gives a result as tables: each metric with its protocol, and its figures by subset."""
    tables = {
        each.name: getattr(result, each.name)
        for each in dataclasses.fields(result)
        if each.name not in ("figures", "worst", "values", "draw")
    }
    metrics: dict[str, Any] = {}
    for figure in result.figures:
        metric = metrics.setdefault(
            figure.metric, {**dataclasses.asdict(figure.protocol), "figures": {}}
        )
        if metric["figures"] and _protocol(metric) != figure.protocol:
            raise ValueError(f"{figure.metric}: wanted one protocol in a result, got two")
        metric["figures"][figure.subset] = {
            "people": figure.people,
            "value": figure.value,
            **({"baselines": dict(figure.baselines)} if figure.baselines else {}),
        }
    return {
        "version": VERSION,
        **tables,
        "worst": [dataclasses.asdict(case) for case in result.worst],
        "subsets": {figure.subset: figure.group for figure in result.figures},
        "metrics": metrics,
    }


def _protocol(metric: Mapping[str, Any]) -> Protocol:
    return Protocol(**{name: value for name, value in metric.items() if name != "figures"})


def from_json(tables: Mapping[str, Any]) -> Result:
    """Reads what `to_json` gave; figures come by subset, and by metric within.

    Raises:
        ValueError: If it is of another version.
        KeyError, TypeError, AttributeError: If it is something else.
    """
    rest = dict(tables)
    if (version := rest.pop("version", None)) != VERSION:
        raise ValueError(
            f"it is of version {version}, this plausibody reads {VERSION}; do: evaluate again"
        )
    groups, metrics = rest.pop("subsets"), rest.pop("metrics")
    figures = tuple(
        Figure(
            metric=name,
            subset=subset,
            group=group,
            protocol=_protocol(metric),
            **metric["figures"][subset],
        )
        for subset, group in groups.items()
        for name, metric in metrics.items()
        if subset in metric["figures"]
    )
    rest["worst"] = tuple(Case(**case) for case in rest["worst"])
    rest |= {name: tuple(rest[name]) for name in ("remarks", "missed")}
    rest["failed"] = tuple(rest.get("failed", ()))  # results of before have none
    return Result(figures=figures, **rest)


def read_result(path: Path) -> Result:
    """Reads a results.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no result of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"wanted a {NAME} of 'plausibody evaluate', found no {path}")
    try:
        return from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: wanted a result of plausibody evaluate, got {error!r}"
        ) from error
