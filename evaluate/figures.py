"""What results of all evaluations share: figures by metric and subset of the people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

from plausibody.evaluate import protocols

EVERYONE = "all"
"""The subset, and the group, of all people."""
MEAN_BODY, NEAREST_POSE = "mean body", "nearest pose"
"""Baselines: see `baselines`."""


@runtime_checkable
class AnyFigure(Protocol):
    """One number over some people."""

    @property
    def metric(self) -> str: ...

    @property
    def subset(self) -> str: ...

    @property
    def people(self) -> int: ...

    @property
    def value(self) -> float: ...

    @property
    def digits(self) -> int: ...


@dataclass(frozen=True)
class Figure:
    """One number over some people, with how it came about."""

    metric: str
    """Its name and tags; see `protocols`."""
    subset: str
    """all, or the people of some sequence or with some attribute."""
    group: str
    """What the subset is one of: all, sequence, view, ..."""
    people: int
    """Of the subset, who have this figure."""
    value: float
    protocol: protocols.Protocol
    baselines: Mapping[str, float] = field(default_factory=dict)
    """The same of estimators that have learnt nothing, by name; empty where none was measured."""

    @property
    def digits(self) -> int:
        """Worth printing after the point."""
        return self.protocol.digits

    @property
    def mean_body(self) -> float:
        """The same of the mean body; NaN if it was not measured."""
        return self.baselines.get(MEAN_BODY, float("nan"))

    @property
    def nearest_pose(self) -> float:
        """The same of the nearest of 500 training poses; NaN if it was not measured."""
        return self.baselines.get(NEAREST_POSE, float("nan"))

    @property
    def ratio(self) -> float:
        """Of the value to the mean body's; NaN if there is none."""
        return self.value / self.mean_body if self.mean_body else float("nan")


One = TypeVar("One", bound=AnyFigure)


class Figures(Generic[One]):
    """A result that holds figures."""

    figures: tuple[One, ...]

    def of(self, metric: str, subset: str = EVERYONE) -> One:
        """Finds a figure.

        Raises:
            KeyError: If there is none.
        """
        if (found := self.find(metric, subset)) is None:
            raise KeyError(f"wanted {metric} of {subset}, the result has no such figure")
        return found

    def find(self, metric: str, subset: str = EVERYONE) -> One | None:
        """Finds a figure if there is one."""
        wanted = (metric, subset)
        return next((f for f in self.figures if (f.metric, f.subset) == wanted), None)

    def subsets(self) -> list[str]:
        """Names the subsets in the order of the figures."""
        return list(dict.fromkeys(figure.subset for figure in self.figures))


def subset_table(
    result: Figures[One],
    shown: Sequence[str],
    beside: Callable[[One], float | None],
    subsets: Sequence[str] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Gives headings and rows of a table by subset.

    Args:
        shown: Metrics, a column each; a dash stands where a subset has not one of them.
        beside: Gives what stands in brackets behind a figure, None for nothing.
        subsets: Which; all without it.
    """
    rows = []
    for subset in result.subsets() if subsets is None else subsets:
        found = [result.find(metric, subset) for metric in shown]
        people = max((figure.people for figure in found if figure), default=0)
        rows.append([subset, str(people), *(_cell(figure, beside) for figure in found)])
    return ["people", "N", *shown], rows


def _cell(figure: One | None, beside: Callable[[One], float | None]) -> str:
    if figure is None:
        return "-"
    other = beside(figure)
    value = f"{figure.value:.{figure.digits}f}"
    return value if other is None else f"{value} ({other:.{figure.digits}f})"
