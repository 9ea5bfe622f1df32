"""What a front end is: pictures in, people with key points and masks out.

Regressors do not look at pictures. A front end finds the people in them and says, for each, where
the COCO-17 key points are and which pixels show the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.proxy import Observation
from plausibody.predict.front_ends.mask import SoftMask

Picture: TypeAlias = Path | str | UInt8[Tensor, "_ _ 3"]
"""A file, or what `plausibody.predict.reading.photo.read_photo` makes of one."""

Flag = Literal["truncated", "small", "overlap", "mask_unreliable", "low_agreement"]
"""truncated: the person goes on beyond the border of the picture; small: below 12 % of its longer
side; overlap: another person claims part of the silhouette; mask_unreliable: the silhouette misses
key points that are sure; low_agreement: two nets disagree where the person is, or whether."""


@dataclass(frozen=True)
class Person:
    """One person in a picture."""

    score: float
    """How surely it is a person, 0..1."""
    box: Float[Tensor, " 4"]
    """Left, top, right, bottom [px]."""
    keypoints: Float[Tensor, "17 3"]
    """COCO-17: x, y [px] and confidence 0..1. Those outside the picture have confidence 0."""
    soft_mask: SoftMask
    agreement: float = 1.0
    """Share of the sure key points in which two nets agree; 1 if there is only one."""
    flags: frozenset[Flag] = frozenset()
    number: int | None = None
    """By which the person is called, from 0: where boxes are told, the place of the box, whether or
    not somebody is in those before it. None if it is the place among the picture's people."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What a front end knows besides. The embedded one: `landmarks33` (33, 4), x, y, z [px],
    confidence, and `world33` (33, 3) [m] about the hips; x right, y down, z away."""

    def mask(self) -> Float[Tensor, "H W"]:
        """Draws the mask into the picture, as probabilities; the silhouette is what exceeds 0.5."""
        return self.soft_mask.render()

    def observation(self) -> Observation:
        """Gives what a proxy is made of."""
        return Observation(keypoints=self.keypoints, mask=self.mask())


@dataclass(frozen=True)
class ImageResult:
    """What became of one picture."""

    path: str | None
    """None if the picture did not come from a file."""
    width: int
    """Of the upright picture [px]; 0 if it could not be read."""
    height: int
    status: Literal["ok", "no_person", "unreadable", "too_small"]
    message: str = ""
    """Why there are no people, or which of those wanted are missing; empty if all is well."""
    people: tuple[Person, ...] = ()
    """The main person first; where boxes are told, in their order."""

    @property
    def numbered(self) -> dict[int, Person]:
        """The people by the numbers by which they are called, ascending."""
        own = [place if p.number is None else p.number for place, p in enumerate(self.people)]
        return dict(sorted(zip(own, self.people, strict=True), key=lambda pair: pair[0]))


def below(people: Sequence[Person], most: int | None) -> tuple[Person, ...]:
    """Takes the people whose numbers, or else places, are below one; None for all."""
    numbers = [place if p.number is None else p.number for place, p in enumerate(people)]
    return tuple(
        person
        for person, number in zip(people, numbers, strict=True)
        if most is None or number < most
    )


@runtime_checkable
class FrontEnd(Protocol):
    """Finds people in pictures."""

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        """Gives one result per picture in the same order; a bad picture never stops the others.

        Args:
            max_people: Most people per picture, the main one first; None for all. Where people
                have numbers of their own, those below it.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """A front end that says what its results depend on, as all that `open_front_end` gives do."""

    def describe(self) -> dict[str, Any]:
        """Gives everything that results depend on besides the pictures; JSON can hold it.

        Two front ends that describe themselves alike say the same of the same picture. Where files
        are read, their contents count.
        """
        ...


def describe_front_end(front_end: FrontEnd) -> dict[str, Any]:
    """Gives what a front end says of itself; of one that says nothing, the name of its class."""
    if isinstance(front_end, Described):
        return front_end.describe()
    return {"name": type(front_end).__name__}
