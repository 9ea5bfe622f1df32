"""Opens a front end by its name: the one place that knows which there are.

A front end that cannot be opened is an error that names what is missing and what else would do;
none takes the place of another unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plausibody.predict.boxes import Boxes, BoxFile, WholePicture, read_boxes
from plausibody.predict.embedded import load_embedded
from plausibody.predict.front_end import FrontEnd

NAMES = ("embedded", "files", "hrnet", "hq")
"""What ships, finds people and outlines them; what files say; two with weights of others."""


@dataclass(frozen=True)
class FrontEndSettings:
    """How a front end is to look, and what it is given."""

    boxes: Path | None = None
    """File or folder that tells where people are; see `plausibody.predict.boxes`."""
    cropped: bool = False
    """Whether each picture is cut to one person already."""
    files: Path | None = None
    """Folder with key points and masks, for `files`."""
    silhouette_from: str = "mask"
    """mask: what the front end says; parts: where part or IUV maps are above 0 (`files` only); or
    the path of a folder with a mask for each photo."""
    group_pass: bool = False
    """Whether the embedded nets look a second time at twice the resolution."""
    tiled: bool = False
    """Whether they look at a third of the picture at a time as well, for people far off."""
    keep_doubtful: bool = False
    """Whether people are kept in whom the embedded nets disagree."""
    weights: str | None = None
    """Of `hrnet`: the official file. Of `hq`: a folder with its models, or None for the hub."""

    def __post_init__(self) -> None:
        if self.boxes is not None and self.cropped:
            raise ValueError(
                "--cropped: wanted it without --boxes, as the whole picture is the box, came both; "
                "do: leave one out"
            )


def open_front_end(
    name: str,
    device: torch.device | str = "cpu",
    settings: FrontEndSettings | None = None,
) -> FrontEnd:
    """Opens a front end.

    Args:
        name: embedded, files, hrnet or hq.
        device: Where its nets run.

    Raises:
        FileNotFoundError: If a file or folder that it needs is missing.
        ValueError: If there is no such front end, or settings do not go with it.
    """
    settings = settings or FrontEndSettings()
    boxes = _boxes(settings)
    if name == "embedded":
        return load_embedded(
            settings.group_pass,
            settings.keep_doubtful,
            device,
            tiled=settings.tiled,
            boxes=boxes,
        )
    raise ValueError(f"--front-end: wanted one of {', '.join(NAMES)}, got {name!r}")


def check_photos(front_end: FrontEnd, photos: Sequence[Path]) -> None:
    """Looks whether the files that a front end reads can be meant for these photos.

    To be called before a long run: a wrong file of boxes, say, is then told at once.

    Raises:
        ValueError: If no photo is named by them, or it is unclear which one is meant.
    """
    boxes = getattr(front_end, "boxes", None)
    if isinstance(boxes, BoxFile):
        boxes.check(photos)


def _boxes(settings: FrontEndSettings) -> Boxes | None:
    if settings.cropped:
        return WholePicture()
    return None if settings.boxes is None else read_boxes(settings.boxes)
