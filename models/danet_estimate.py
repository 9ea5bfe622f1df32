"""What DaNet believes on its way to a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from plausibody.models.danet_crops import Squares
from plausibody.models.iuv import IuvMaps
from plausibody.models.prediction import PointPrediction


@dataclass(frozen=True)
class DanetEstimate:
    """What the network believes on its way, before anything is dropped."""

    centres: Float[Tensor, "batch J 2"]
    """Of the joints [half-squares of the box]."""
    squares: Squares
    """Round the joints, in which partial maps are."""
    maps: IuvMaps | None
    """Scores of 25 classes, u and v; None where they are given."""
    annotation: Float[Tensor, "batch 15 H W"] | None
    """Scores of the annotators' classes."""
    partial: IuvMaps | None
    """Scores of 7 classes, u and v, [batch, J, 7, H, W]."""
    first_rotations: Float[Tensor, "batch J 3 3"] | None = None
    """As the local streams say them, before the graph."""
    positions: Float[Tensor, "batch P J 3"] | None = None
    """Of the joints in the body's frame [m], before and after their refinement."""

    def table(self) -> dict[str, Tensor]:
        """Gives all that is known as tensors by name, which several processes can exchange."""
        known = {
            "centres": self.centres,
            "square.centre": self.squares.centre,
            "square.half": self.squares.half,
            "annotation": self.annotation,
            "first_rotations": self.first_rotations,
            "positions": self.positions,
        }
        for name, maps in (("maps", self.maps), ("partial", self.partial)):
            if maps is not None:
                known |= {f"{name}.u": maps.u, f"{name}.v": maps.v, f"{name}.index": maps.index}
        return {name: tensor for name, tensor in known.items() if tensor is not None}

    @classmethod
    def of_table(cls, table: Mapping[str, Tensor]) -> DanetEstimate:
        """Undoes `table`."""

        def maps(name: str) -> IuvMaps | None:
            if f"{name}.u" not in table:
                return None
            return IuvMaps(*(table[f"{name}.{plane}"] for plane in ("u", "v", "index")))

        return cls(
            centres=table["centres"],
            squares=Squares(table["square.centre"], table["square.half"]),
            maps=maps("maps"),
            annotation=table.get("annotation"),
            partial=maps("partial"),
            first_rotations=table.get("first_rotations"),
            positions=table.get("positions"),
        )


@dataclass(frozen=True)
class DanetPrediction(PointPrediction):
    """A body, and in training what led to it."""

    estimate: DanetEstimate | None = None
