"""Soft masks of people, kept small until somebody wants them in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import scipy.ndimage
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.predict.front_ends.crop import apply, compose, inverse, sample

SURELY_NOT = -20.0
"""Logit of what lies outside a mask."""
LEAST_ISLAND = 0.05
"""Parts of a silhouette smaller than this share of the largest part are taken for mistakes."""


@dataclass(frozen=True)
class SoftMask:
    """Where a person is in a picture, as logits on a grid of its own."""

    logits: Float[Tensor, "h w"]
    to_picture: Float[Tensor, "2 3"]
    """Affine map from the pixels of the grid to those of the picture."""
    height: int
    """Of the picture [px]."""
    width: int

    def render(self) -> Float[Tensor, "{self.height} {self.width}"]:
        """Gives the probability of each pixel of the picture; the silhouette is where it is > 0.5.

        Logits are enlarged, not probabilities: halfway between a sure yes and a hesitant no, the
        outline then lies closer to the no.
        """
        whole = torch.zeros(self.height, self.width)
        corners = self.logits.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
        places = apply(self.to_picture, corners * corners.new_tensor(self.logits.shape[::-1]))
        limit = torch.tensor([self.width, self.height])
        low = places.amin(0).floor().long().clamp(min=0).minimum(limit)
        high = places.amax(0).ceil().long().clamp(min=0).minimum(limit)
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        if left < right and top < bottom:
            shift = torch.tensor([[1.0, 0.0, left], [0.0, 1.0, top]])
            from_part = compose(shift, inverse(self.to_picture))
            part = sample(self.logits[None], from_part, bottom - top, right - left, SURELY_NOT)
            whole[top:bottom, left:right] = part[0].sigmoid()
        return whole

    def area(self) -> float:
        """Gives the size of the silhouette within the picture [px]."""
        rows, columns = (torch.arange(n) + 0.5 for n in self.logits.shape)
        centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        places = apply(self.to_picture, centres)
        inside = ((places >= 0) & (places <= places.new_tensor([self.width, self.height]))).all(-1)
        cell = float(torch.linalg.det(self.to_picture[:, :2]).abs())
        return float(((self.logits > 0) & inside).sum()) * cell

    def along_border(self) -> float:
        """Gives how far the silhouette runs along the border of the picture [px]."""
        steps = 256
        along = (torch.arange(steps) + 0.5) / steps
        zero, one = torch.zeros(steps), torch.ones(steps)
        edges = torch.stack(
            [
                torch.stack([x * (self.width - 1) + 0.5, y * (self.height - 1) + 0.5], -1)
                for x, y in ((along, zero), (along, one), (zero, along), (one, along))
            ]
        )
        cell = apply(inverse(self.to_picture), edges).floor().long()
        size = torch.tensor(self.logits.shape[::-1])
        known = ((cell >= 0) & (cell < size)).all(-1)
        column, row = cell.minimum(size - 1).clamp(min=0).unbind(-1)
        share = ((self.logits[row, column] > 0) & known).float().mean(-1)
        return float(share @ share.new_tensor([self.width, self.width, self.height, self.height]))

    def emptied(self) -> SoftMask:
        return replace(self, logits=torch.full_like(self.logits, SURELY_NOT))


def separate(masks: Sequence[SoftMask]) -> list[SoftMask]:
    """Gives each pixel that several people of one picture claim to the one with the surest claim.

    A rival's positive logit is subtracted, so that the border between two people runs where both
    are equally sure, and moves smoothly.
    """
    separated = []
    for index, mask in enumerate(masks):
        height, width = mask.logits.shape
        claims = mask.logits
        for other in (*masks[:index], *masks[index + 1 :]):
            there = compose(mask.to_picture, inverse(other.to_picture))
            rival = sample(other.logits[None], there, height, width, SURELY_NOT)[0]
            claims = claims.minimum(mask.logits - rival.clamp(min=0))
        separated.append(replace(mask, logits=claims))
    return separated


def without_islands(mask: SoftMask, least: float = LEAST_ISLAND) -> SoftMask:
    """Removes parts of a silhouette that are small beside its largest part."""
    silhouette = mask.logits > 0
    part, count = scipy.ndimage.label(silhouette.numpy())
    if count < 2:
        return mask
    number = torch.from_numpy(part).long()
    sizes = torch.bincount(number.flatten())
    sizes[0] = sizes[1:].max()  # 0 is the background, and stays as it is
    island = (sizes < least * sizes[0])[number]
    return replace(mask, logits=torch.where(island, -mask.logits, mask.logits))
