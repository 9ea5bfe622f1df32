"""What a user knows of a person besides the pictures: height, gender, that all show one person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plausibody.models.body import BodyTemplate
from plausibody.models.conditioning import (
    SHORTEST,
    TALLEST,
    doubt_height,
    fuse,
    given_height,
    with_shape,
)
from plausibody.models.prediction import FisherPrediction
from plausibody.models.records import map_tensors, take, to_device
from plausibody.models.regressor import PointRegressor
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.weights import DEFAULT_WEIGHTS, TrainedRegressor

GENDERS = ("female", "male")


@dataclass(frozen=True)
class Told:
    """What is known of one person: the main one of each picture, or the one who was chosen."""

    height: float | None = None
    """Barefoot [m]."""
    gender: str | None = None
    """female or male."""
    same_person: bool = False
    """Whether that person is the same in all pictures."""

    def __post_init__(self) -> None:
        if self.height is not None and not SHORTEST <= self.height <= TALLEST:
            raise ValueError(
                f"--height-cm: wanted an adult's height, {100 * SHORTEST:.0f} to "
                f"{100 * TALLEST:.0f} cm, got {100 * self.height:.4g} cm; do: give it in "
                "centimetres, --height-cm 172"
            )
        if self.gender is not None and self.gender not in GENDERS:
            raise ValueError(f"--gender: wanted female or male, got {self.gender!r}")

    def __bool__(self) -> bool:
        return self.condition != "plain"

    @property
    def condition(self) -> str:
        """Names what is known, as `models.calibration.CONDITIONS` do; "plain" for nothing."""
        known = {
            "height": self.height is not None,
            "gender": self.gender is not None,
            "same_person": self.same_person,
        }
        return "+".join(name for name, is_known in known.items() if is_known) or "plain"


def check_told(told: Told, samples: int, regressor: TrainedRegressor, name: str) -> None:
    """Refuses what a network cannot make use of.

    Args:
        samples: Bodies wanted from each person's distribution.
        name: Of the weights.

    Raises:
        ValueError: If the network cannot be told a gender, or gives single bodies where a
            distribution is needed.
    """
    network = regressor.network
    if isinstance(network, PointRegressor):
        needs = {
            "--samples": samples > 0,
            "--height-cm": told.height is not None,
            "--same-person": told.same_person,
        }
        if wanted := [option for option, is_wanted in needs.items() if is_wanted]:
            raise ValueError(
                f"{', '.join(wanted)}: wanted weights that give a distribution over bodies, got "
                f"{name!r}, which gives a single one; do: --weights {DEFAULT_WEIGHTS}"
            )
    if told.gender is not None and not network.gendered and told.gender != regressor.gender:
        raise ValueError(
            f"--gender {told.gender}: wanted weights that may be told a gender, got {name!r}, "
            f"made for {regressor.gender} bodies; do: --weights {DEFAULT_WEIGHTS}, or weights "
            f"made for {told.gender} bodies"
        )


def fuse_shapes(shapes: Iterable[ShapeGaussian | None]) -> ShapeGaussian | None:
    """Joins what all pictures of one person say of the shape.

    Args:
        shapes: Without batch axes; None for pictures in which the person was not found.

    Returns:
        None if no picture shows the person.
    """
    found = [shape for shape in shapes if shape is not None]
    return fuse(found) if found else None


def tell(
    prediction: FisherPrediction,
    template: BodyTemplate,
    told: Told,
    shape: ShapeGaussian | None = None,
) -> tuple[FisherPrediction, list[str]]:
    """Conditions what a network predicts of some people on what is known of them.

    Args:
        prediction: With one axis of people, of all of whom the same is known.
        template: Whose shape it is.
        shape: Known from all pictures, without batch axes.

    Returns:
        The narrower prediction, and for each person what to warn of, empty for nothing.
    """
    count = len(prediction.shape.mean)
    if shape is not None:
        everybody = map_tensors(shape, lambda known: known.expand(count, *known.shape))
        everybody = to_device(everybody, prediction.shape.mean.device)
        prediction = with_shape(prediction, template, everybody)
    if told.height is None:
        return prediction, [""] * count
    doubts = [
        doubt_height(take(prediction, slice(n, n + 1)), template, told.height) for n in range(count)
    ]
    return given_height(prediction, template, told.height), doubts
