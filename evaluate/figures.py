"""What results of all evaluations share: figures by metric and subset of the people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable


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


One = TypeVar("One", bound=AnyFigure)


class Figures(Generic[One]):
    """A result that holds figures."""

    figures: tuple[One, ...]

    def of(self, metric: str, subset: str = "all") -> One:
        """Finds a figure.

        Raises:
            KeyError: If there is none.
        """
        for figure in self.figures:
            if (figure.metric, figure.subset) == (metric, subset):
                return figure
        raise KeyError(f"wanted {metric} of {subset}, the result has no such figure")

    def subsets(self) -> list[str]:
        """Names the subsets in the order of the figures."""
        return list(dict.fromkeys(figure.subset for figure in self.figures))


def subset_table(
    result: Figures[One], shown: Sequence[str], beside: Callable[[One], float]
) -> tuple[list[str], list[list[str]]]:
    """Gives headings and rows of a table by subset.

    Args:
        shown: Metrics, a column each.
        beside: Gives what stands in brackets behind a figure.
    """
    rows = []
    for subset in result.subsets():
        found = [result.of(metric, subset) for metric in shown]
        cells = [f"{f.value:.{f.digits}f} ({beside(f):.{f.digits}f})" for f in found]
        rows.append([subset, str(found[0].people), *cells])
    return ["people", "N", *shown], rows
