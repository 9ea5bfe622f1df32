"""Overlaps of predicted and labelled silhouettes in the published crop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.protocols import tagged
from plausibody.models.proxy import Box


@dataclass(frozen=True)
class Overlaps:
    """Areas of drawn and true silhouettes [px]."""

    common: Float[Tensor, "guesses people"]
    joint: Float[Tensor, "guesses people"]

    @classmethod
    def of(
        cls, drawn: Bool[Tensor, "guesses people H W"], true: Bool[Tensor, "people H W"]
    ) -> Overlaps:
        return cls(*metrics.areas(drawn, true.expand_as(drawn)))


def with_overlaps(
    values: dict[str, Tensor], overlaps: Overlaps | None, count: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Adds overlaps of silhouettes, each person the same and pooled by area."""
    if overlaps is None:
        return values, {}
    found, weights = dict(values), {}
    kinds = {"": slice(0, 1), **({f"samples{count}": slice(1, None)} if count else {})}
    for tag, guesses in kinds.items():
        tags = [tag] * bool(tag)
        common, joint = overlaps.common[guesses], overlaps.joint[guesses]
        found[tagged("silhouette_iou", *tags)] = metrics.overlap(common, joint).mean(0)
        pooled = tagged("silhouette_iou_pooled", *tags)
        # Weighted by its joint area, a person's overlap is the sum of common areas in the mean.
        weights[pooled] = joint.sum(0)
        found[pooled] = metrics.overlap(common.sum(0), weights[pooled])
    return found, weights


def nearest_photo(
    labels: UInt8[Tensor, "size size"], box: Box, height: int, width: int
) -> UInt8[Tensor, "{height} {width}"]:
    """Brings what was drawn in a square back into the photo, nearest pixel; 0 beyond the square.

    Args:
        box: The square in the photo [px], on the same device.
    """
    size = len(labels)
    step, low = box.side / size, box.centre - box.side / 2

    def places(length: int, axis: int) -> Tensor:
        middle = torch.arange(length, device=low.device) + 0.5
        return ((middle - low[axis]) / step).floor().long()

    rows, columns = places(height, 1), places(width, 0)
    inside = ((rows >= 0) & (rows < size))[:, None] & (columns >= 0) & (columns < size)
    return labels[rows.clamp(0, size - 1)[:, None], columns.clamp(0, size - 1)] * inside
