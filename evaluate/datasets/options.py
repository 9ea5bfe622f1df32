"""How a published data set is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How a data set is evaluated; the defaults are the published way."""

    samples: int | None = None
    """Drawn from each prediction, if it is a distribution; None: as many as published."""
    seed: int = 0
    """Of the samples."""
    mirrored: bool = False
    """Whether to average with the prediction of the mirror image, as `predict` does. Published
    evaluations do not."""
    shown: str | None = None
    """labels, or a front end; see `open_showing`."""
    files: Path | None = None
    """For the front end `files`."""
    front_end_weights: str | None = None
    """For hrnet and hq."""
    labels_body: str = "smpl"
    """Of which the labels are: smpl, open, or the path of a file or folder."""
    across_bodies: bool = False
    """Whether a network of another body's mesh is compared by joints and pictures alone."""
    people: int | None = None
    """How many are measured, from the first on; all if None."""

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 0:
            raise ValueError(f"--samples: wanted 0 or more, got {self.samples}")
        if self.people is not None and self.people < 1:
            raise ValueError(f"--people: wanted at least 1, got {self.people}")
