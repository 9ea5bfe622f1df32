"""Label maps of photos, as parsers write them: read, and cut to the square round a person.

A parser labels everybody. What lies farther from a person's key points than DSR allows is somebody
else's, or nobody knows whose: there nothing counts. DSR takes it for background instead, which
would punish legs that nobody marked. Nor does anything count beyond the photo, where nobody knows
what there is.

Source: Dwivedi et al., "Learning To Regress Bodies from Images using Differentiable Semantic
Rendering", 2021, and its released code, for the rectangle round key points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.models.crop import Box, nearest_square
from plausibody.models.losses import TargetMaps
from plausibody.synth.picture_file import PictureError, read_numbers
from plausibody.synth.semantic_labels import LABELS
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.turning import Turn

SURE = 0.3
"""Confidence that key points must exceed to count; DSR's, for the rectangle round them."""
MARGIN = 2 * 30 / 224
"""By which that rectangle is wider on each side (DSR: 30 of 224 px) [half-squares]."""


def photo_maps(
    path: Path | None,
    size: tuple[int, int],
    box: Box,
    turn: Turn | None,
    keypoints: Float[Tensor, "1 17 3"],
    settings: MapSettings,
) -> TargetMaps | None:
    """Gives what a parser says of a person in a photo; `whole` is what it takes for the person.

    Args:
        path: Of the label map of the whole photo. Without one nothing counts anywhere.
        size: Height and width of the photo [px].
        box: Round the person; in the turned picture if there is one.
        turn: How the photo was turned.
        keypoints: x, y [half-squares of the box] and confidence.
        settings: None is made where these want none.

    Raises:
        ValueError: As `read_label_map`.
    """
    side, reach = settings.size, settings.reach
    if not side:
        return None
    if path is None:
        empty = torch.zeros(1, side, side)
        return TargetMaps(whole=empty, uncovered=empty.bool(), labels=empty.byte(), reach=reach)
    written = read_label_map(path, size)
    photo = torch.ones_like(written)
    if turn is not None:
        written, photo = turn.picture(torch.stack([written, photo]), labels=True)
    wider = Box(box.centre, box.side * reach)
    maps = torch.stack([written, photo])[None]
    labels, inside = nearest_square(maps, wider, side).unbind(1)
    own = near_keypoints(keypoints, settings)
    uncovered = (inside > 0) & (own | (labels == 0))
    labels = labels * own
    return TargetMaps(whole=(labels > 0).float(), uncovered=uncovered, labels=labels, reach=reach)


def near_keypoints(
    keypoints: Float[Tensor, "1 17 3"], settings: MapSettings
) -> Bool[Tensor, "1 size size"]:
    """Marks the rectangle round sure key points, and `MARGIN` beyond; everything if none is sure.

    Args:
        keypoints: x, y [half-squares of the box] and confidence.
    """
    sure = keypoints[0, keypoints[0, :, 2] > SURE, :2]
    if not len(sure):
        return torch.ones(1, settings.size, settings.size, dtype=torch.bool)
    low, high = sure.amin(0) - MARGIN, sure.amax(0) + MARGIN
    place = ((torch.arange(settings.size) + 0.5) / settings.size * 2 - 1) * settings.reach
    across, down = ((low[axis] <= place) & (place <= high[axis]) for axis in (0, 1))
    return (down[:, None] & across)[None]


def read_label_map(path: Path, size: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """Reads what a parser wrote: its colours, or numbers 0 to 19 in one plane.

    A picture with a palette of nothing but the parser's colours is taken by its colours: programs
    that make files smaller number them anew. With any other palette its numbers count.

    Args:
        size: Height and width of the photo [px].

    Raises:
        ValueError: If it is damaged, of another size, or has other colours or numbers.
    """
    try:
        array = read_numbers(path, frozenset(LABELS.values()))
    except PictureError as error:
        raise ValueError(
            f"label map: {error}; do: parse the photo again, or remove the file"
        ) from error
    if array.shape[:2] != size:
        raise ValueError(
            f"{path}: wanted a label map of its photo's size, {size[1]} x {size[0]} px, came one "
            f"of {array.shape[1]} x {array.shape[0]}; do: parse the photo itself"
        )
    if array.ndim == 2:
        if array.max(initial=0) >= len(LABELS):
            raise ValueError(
                f"{path}: wanted labels 0 to {len(LABELS) - 1}, came {array.max()}; do: use "
                "Graphonomy's universal model"
            )
        return torch.from_numpy(array.copy())
    colours = torch.from_numpy(array.astype(np.int64))
    codes = (colours * torch.tensor([65536, 256, 1])).sum(-1)
    known = torch.tensor([r * 65536 + g * 256 + b for r, g, b in LABELS.values()])
    order = known.argsort()
    found = order[torch.searchsorted(known[order], codes).clamp(max=len(known) - 1)]
    odd = known[found] != codes
    if odd.any():
        colour = tuple(array[odd.numpy()][0].tolist())
        raise ValueError(
            f"{path}: wanted the {len(LABELS)} colours of Graphonomy's labels, came {colour} and "
            f"others in {int(odd.sum()):,} pixels; do: write label maps without smoothing, as PNG"
        )
    return found.to(torch.uint8)
