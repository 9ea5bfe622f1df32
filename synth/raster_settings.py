"""What every backend of the rasteriser agrees on."""

from __future__ import annotations

from dataclasses import dataclass

SUBPIXEL_BITS = 12
"""Vertices are snapped to 2^-12 pixels; then coverage is exact. With 2^-8, five times as many
pixels get another face than from vertices as they come."""

GUARD_BAND = 131072.0
"""Faces with a vertex farther from the image's corner than this [px], in x or y, are dropped: the
edge functions of all others stay below 2^61, exact in 64 bits."""


@dataclass(frozen=True)
class RasterSettings:
    """How to rasterise, checked and with nothing left open."""

    size: tuple[int, int]
    """Height and width [px]."""
    near: float
    """Faces with a vertex nearer to the camera are dropped whole [m]."""
    cull: str
    """none, back (leaves out faces that appear clockwise) or front (the others)."""
    perspective: bool
    """Whether the image is a perspective one, so that 1 / depth is linear over it."""
    threads: int
    """How many images may be drawn at a time."""

    def __post_init__(self) -> None:
        if not all(1 <= side <= GUARD_BAND for side in self.size):
            raise ValueError(f"size: wanted height and width of 1 to 131072 px, got {self.size}")
        if not 0 < self.near < float("inf"):
            raise ValueError(f"near: wanted a positive depth in metres, got {self.near}")
        if self.cull not in ("none", "back", "front"):
            raise ValueError(f"cull: wanted none, back or front, got {self.cull!r}")
        if self.threads < 1:
            raise ValueError(f"threads: wanted at least one, got {self.threads}")
