"""People for whom a network gave no body: named and counted, and in no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plausibody.models.naming import first_named
from plausibody.models.prediction import BodyPrediction
from plausibody.predict.answers import troubles_of


@dataclass
class Unusable:
    """Those of an evaluation, as they come."""

    troubles: dict[str, str] = field(default_factory=dict)
    """By name: what is wrong with the network's numbers."""

    def look(self, answer: BodyPrediction, names: Sequence[str]) -> list[int]:
        """Notes who has no body, and gives the places of the others.

        Args:
            answer: Of a network.
            names: Of its people.
        """
        told = troubles_of(answer)
        self.troubles |= {name: said for name, said in zip(names, told, strict=True) if said}
        return [place for place, said in enumerate(told) if not said]

    def require_some(self, benchmark: str, people: int) -> None:
        """Refuses an evaluation in which nobody has a body.

        Raises:
            ValueError: If there are as many as people.
        """
        if len(self.troubles) >= people:
            raise ValueError(
                f"{benchmark}: wanted bodies to measure, the network gave none of {people:,} "
                f"people: {_listed(self.troubles)}; do: look whether its training went well, with "
                "'plausibody evaluate validation'"
            )

    def note(self, people: int) -> str:
        """Tells of them; empty if there are none.

        Args:
            people: Who were shown to the network.
        """
        if not self.troubles:
            return ""
        return (
            f"{len(self.troubles):,} of {people:,} people got no body, and are in no figure: "
            f"{_listed(self.troubles)}."
        )


def _listed(troubles: Mapping[str, str]) -> str:
    return first_named([f"{name} ({said})" for name, said in troubles.items()])
