"""One person on the way from a picture to a body."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from plausibody.models.proxy import Proxy
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.told import Told


@dataclass(frozen=True)
class Case:
    """One person on the way through the network."""

    picture: int
    """Place of the picture in its batch."""
    name: str
    """Of the picture's file; empty if there is none."""
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    index: int
    """Number of the person in the picture; with boxes that were told, that of the box."""
    person: Person
    proxy: Proxy
    told: Told

    @property
    def seed(self) -> int:
        """Follows from the picture's name and the person's number, and nothing else."""
        # A name may hold bytes that are no UTF-8.
        return zlib.crc32(f"{self.name}/{self.index}".encode("utf-8", "surrogateescape"))
