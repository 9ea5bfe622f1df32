"""What a front end said of people of whom the truth is known, and how wrong it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import scipy.ndimage
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from plausibody.models.proxy import Observation
from plausibody.models.records import concatenate, take
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.joint_sight import OUTSIDE
from plausibody.synth.measured import Truth, facing

LEAST_CONFIDENCE = 0.2
"""Below it a key point counts as not reported, as in `ProxySettings`."""
POINTS = 96
"""Places along each person's outline at which its offset is measured."""
FARTHEST = 0.04
"""Offsets of outlines are measured up to this share of the side; what is farther off is a part that
was lost or a patch that was added."""
LEAST_PART, LEAST_RECALL = 0.002, 0.35
"""A part counts as seen if it covers this share of the side's square, and as lost if the mask
holds less than this share of it."""
LEAST_HIDDEN = 0.002
"""Area hidden by things, over the side's square, from which claims of the mask to it count."""
LEAST_PATCH = 0.02
"""Radius, over the side, from which a patch too much or missing counts."""
_MIRROR = mirror(COCO17)

Corruption: TypeAlias = Callable[[Chance, Truth], Observation]
"""Makes of what is true what a front end might say."""


@dataclass(frozen=True)
class Sightings:
    """People as they are and as a front end sees them, both in the truth's frames."""

    truth: Truth
    seen: Observation
    found: Bool[Tensor, " batch"]
    """Whether the front end found the person; if not, `seen` means nothing."""

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True)
class Mistakes:
    """How wrong each sighting of a person who was found is; lengths over the person's side."""

    offset: Float[Tensor, "batch 17 2"]
    """Key points, left and right put right, from the truth or from the place in the picture that
    is nearest to it."""
    reported: Bool[Tensor, "batch 17"]
    confidence: Float[Tensor, "batch 17"]
    swapped: Bool[Tensor, "batch 17"]
    """Left and right of a kind changed places, and not of the whole body."""
    separable: Bool[Tensor, "batch 17"]
    """Left and right lie far enough apart to tell."""
    sides: Bool[Tensor, " batch"]
    """All of left and right changed places."""
    facing: Bool[Tensor, " batch"]
    overlap: Float[Tensor, " batch"]
    """Intersection over union of the masks."""
    outline: Float[Tensor, "batch points"]
    """Offsets of the outline, positive outwards; not a number where there is none to measure."""
    soft: Float[Tensor, " batch"]
    """Width of the band in which the mask is neither sure nor surely not (0.1 to 0.9)."""
    hidden: Bool[Tensor, " batch"]
    """Things hide enough of the person to tell the next."""
    claimed: Bool[Tensor, " batch"]
    """The mask shows most of what they hide."""
    part_seen: Bool[Tensor, "batch 25"]
    part_lost: Bool[Tensor, "batch 25"]
    spill: Float[Tensor, " batch"]
    """Radius of a disc as large as the largest patch too much, claims aside; 0 for none."""
    cut: Float[Tensor, " batch"]
    """The same of what is missing besides lost parts."""
    empty: Bool[Tensor, " batch"]


def corrupted(
    corruption: Corruption, people: Sightings, seed: int = 0, repeats: int = 1
) -> Sightings:
    """Sees people through a corruption instead of a front end, those that the front end found."""
    truth = take(people.truth, people.found)
    truth = take(truth, torch.arange(len(truth.side)).repeat(repeats))
    numbers = torch.arange(len(truth.side))
    parts = [corruption(Chance(seed, some), take(truth, some)) for some in numbers.split(64)]
    return Sightings(truth, concatenate(parts), torch.ones(len(numbers), dtype=torch.bool))


def mistakes(sightings: Sightings) -> Mistakes:
    """Measures the people who were found; on the CPU.

    Raises:
        ValueError: If nobody was found.
    """
    found = sightings.found
    if not found.any():
        raise ValueError(
            f"wanted people whom the front end found, came none of {len(sightings)}; "
            "do: show it more people, or larger ones"
        )
    truth = Truth(
        **{name: getattr(sightings.truth, name)[found].cpu() for name in Truth.__annotations__}
    )
    keypoints = sightings.seen.keypoints[found].cpu()
    low, high = truth.borders[:, None, :2], truth.borders[:, None, 2:]
    near = truth.keypoints.maximum(low).minimum(high)
    reported = keypoints[..., 2] >= LEAST_CONFIDENCE
    side = truth.side[:, None]
    swapped, separable = _swaps(keypoints, near, reported, truth, side)
    # Three pairs or more, and most of those that can be told: the whole body.
    told = separable & reported & reported[:, _MIRROR]
    sides = (swapped.sum(1) >= 6) & (2 * swapped.sum(1) > told.sum(1))
    swapped = swapped & ~sides[:, None]
    points = torch.where((swapped | sides[:, None])[..., None], keypoints[:, _MIRROR], keypoints)
    outlines = [
        _compare(mask, labels, whole, float(extent), borders)
        for mask, labels, whole, extent, borders in zip(
            *(sightings.seen.mask[found].cpu(), truth.labels, truth.whole),
            *(truth.side, truth.borders),
            strict=True,
        )
    ]
    return Mistakes(
        offset=(points[..., :2] - near) / side[..., None],
        reported=points[..., 2] >= LEAST_CONFIDENCE,
        confidence=points[..., 2],
        swapped=swapped,
        separable=separable,
        sides=sides,
        facing=facing(truth.keypoints),
        overlap=torch.tensor([o.overlap for o in outlines]),
        outline=torch.stack([o.offsets for o in outlines]),
        soft=torch.tensor([o.soft for o in outlines]),
        hidden=torch.tensor([o.hidden for o in outlines]),
        claimed=torch.tensor([o.claimed for o in outlines]),
        part_seen=torch.stack([o.part_seen for o in outlines]),
        part_lost=torch.stack([o.part_lost for o in outlines]),
        spill=torch.tensor([o.spill for o in outlines]),
        cut=torch.tensor([o.cut for o in outlines]),
        empty=torch.tensor([o.empty for o in outlines]),
    )


def _swaps(
    seen: Tensor, near: Tensor, reported: Tensor, truth: Truth, side: Tensor
) -> tuple[Bool[Tensor, "batch 17"], Bool[Tensor, "batch 17"]]:
    """Tells which pairs changed places, and which lie far enough apart to tell."""
    apart = (near - near[:, _MIRROR]).norm(dim=-1) / side
    straight = (seen[..., :2] - near).norm(dim=-1)
    crossed = (seen[:, _MIRROR, :2] - near).norm(dim=-1)
    straight, crossed = straight + straight[:, _MIRROR], crossed + crossed[:, _MIRROR]
    separable = (apart > 0.06) & ((truth.states != OUTSIDE) & (truth.states[:, _MIRROR] != OUTSIDE))
    both = reported & reported[:, _MIRROR]
    return separable & both & (crossed < straight / 2), separable


@dataclass(frozen=True)
class _Comparison:
    """Of one person's masks."""

    overlap: float
    offsets: Float[Tensor, " points"]
    soft: float
    hidden: bool
    claimed: bool
    part_seen: Bool[Tensor, " 25"]
    part_lost: Bool[Tensor, " 25"]
    spill: float
    cut: float
    empty: bool


def _compare(
    mask: Tensor, labels: Tensor, whole: Tensor, side: float, borders: Tensor
) -> _Comparison:
    hard, true = mask > 0.5, labels > 0
    behind = (whole > 0) & ~true
    hidden, claimed = int(behind.sum()), int((behind & hard).sum())
    size = torch.bincount(labels.flatten().long(), minlength=25)[:25]
    held = torch.bincount(labels[hard].long(), minlength=25)[:25]
    part_seen = size >= LEAST_PART * side * side
    part_seen[0] = False
    part_lost = part_seen & (held < LEAST_RECALL * size)
    kept = ~part_lost[labels.long()]
    reach = FARTHEST * side
    within, beyond = _distance(hard), _distance(~hard)
    extra = hard & (_distance(whole == 0) > reach)
    missing = true & kept & (beyond > reach)
    empty = not hard.any()
    width = 0.0
    if not empty:
        band = ((mask > 0.1) & (mask < 0.9)).sum()
        width = float(band / (within == 1).sum()) / side
    # What borders on things, lost parts and patches is no place to ask how far the outline moved.
    strange = extra | missing | behind | (true & ~kept)
    free = ~_widened(strange, 1.5 * reach)
    # Distances are half a pixel more than those to the outline, and so is the true outline's.
    moved = torch.where(hard, within - 1, -beyond)
    return _Comparison(
        overlap=int((hard & true).sum()) / max(int((hard | true).sum()), 1),
        offsets=_offsets(moved, _edge(true) & free & kept & hard.any(), side, borders),
        soft=width,
        hidden=hidden >= LEAST_HIDDEN * side * side and not empty,
        claimed=2 * claimed > hidden,
        part_seen=part_seen,
        part_lost=part_lost & (not empty),
        spill=_largest(extra, side),
        cut=0.0 if empty else _largest(missing, side),
        empty=empty,
    )


def _offsets(moved: Tensor, edge: Tensor, side: float, borders: Tensor) -> Float[Tensor, " points"]:
    """Reads how far the mask's outline lies outside the true one, at places along the latter.

    Args:
        moved: The offset of pixels just inside the true outline [px].
        edge: Those of them where it may be read.
    """
    height, width = edge.shape
    left, top, right, bottom = borders.clamp(-9 * width, 9 * width).tolist()
    known = torch.zeros_like(edge)
    # The picture's border is no outline of the person, nor is the frame's.
    rows = slice(max(1, math.ceil(top + 1)), max(1, min(height - 1, math.floor(bottom - 1))))
    columns = slice(max(1, math.ceil(left + 1)), max(1, min(width - 1, math.floor(right - 1))))
    known[rows, columns] = True
    places = moved[edge & known]
    if not len(places):
        return torch.full((POINTS,), torch.nan)
    chosen = torch.linspace(0, len(places) - 1, POINTS).round().long()
    limit = FARTHEST * side
    return places[chosen].clamp(-limit, limit) / side


def _edge(inside: Tensor) -> Tensor:
    """Gives the pixels inside that have a neighbour outside, above, below, left or right."""
    around = functional.pad(inside, (1, 1, 1, 1), value=True)
    every = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return inside & ~every


def _widened(area: Tensor, reach: float) -> Tensor:
    """Gives the pixels within a square of an area."""
    steps = math.ceil(reach)
    return functional.max_pool2d(area[None].float(), 2 * steps + 1, 1, steps)[0] > 0


def _distance(inside: Tensor) -> Tensor:
    """Gives each pixel's distance to the nearest one that is not inside [px]."""
    return torch.from_numpy(scipy.ndimage.distance_transform_edt(inside.numpy())).float()


def _largest(area: Tensor, side: float) -> float:
    """Gives the radius, over the side, of a disc as large as the largest connected piece."""
    pieces, count = scipy.ndimage.label(area.numpy())
    if not count:
        return 0.0
    largest = torch.bincount(torch.from_numpy(pieces).flatten().long())[1:].max()
    radius = float((largest / torch.pi).sqrt()) / side
    return radius if radius >= LEAST_PATCH else 0.0
