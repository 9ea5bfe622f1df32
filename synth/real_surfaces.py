"""What annotators say of the surface of people in photos: DensePose-COCO's points and masks.

Of up to 196 points of a person they told the part and the place on it, and of each pixel in the
person's rectangle which of 14 joined parts it shows. Both are of what can be seen (modal).

Source: Guler et al., "DensePose: Dense Human Pose Estimation in the Wild", 2018, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.crop import Box
from plausibody.models.iuv import UNKNOWN, DensePoints, DenseTarget
from plausibody.models.records import to_device
from plausibody.models.skeleton import COCO17, SMPL24, indices, mirror

MOST = 196
"""Points of a person; there are no more in the published annotations."""
GRID = 256
"""Side of the masks, and the unit of points: the rectangle's sides, divided by it."""
AWAY = 10.0
"""Place of a joint of which nothing is known [half-squares]: outside the box, it does not count."""
SHARED = [name for name in COCO17 if name in SMPL24]
"""Key points that are joints of the skeleton too."""


@dataclass(frozen=True)
class SurfaceLabels:
    """Of one person."""

    places: Float[Tensor, "N 2"]
    """[px of the picture]"""
    part: Int[Tensor, " N"]
    """1..24."""
    place_on_part: Float[Tensor, "N 2"]
    """u and v of DensePose's chart of SMPL, 0..1; NaN where they mean nothing to the body."""
    corner: Float[Tensor, " 2"]
    """Left and top of the rectangle [px]."""
    size: Float[Tensor, " 2"]
    """Its width and height [px]."""
    masks: tuple[bytes | None, ...] = ()
    """Of the 14 joined parts, in run lengths as COCO compresses them; None of a part that is not
    seen. Empty if nobody drew any."""

    def __post_init__(self) -> None:
        if len(self.part) > MOST:
            raise ValueError(f"surface: wanted at most {MOST} points, got {len(self.part)}")

    def without_places(self) -> SurfaceLabels:
        """Gives the same without u and v, for bodies that have another chart."""
        return replace(self, place_on_part=torch.full_like(self.place_on_part, torch.nan))

    def classes(self) -> Int[Tensor, "256 256"]:
        """Gives the class of each pixel of the rectangle, 0 for none of the person's.

        Raises:
            ValueError: If a mask is no such mask.
        """
        found = torch.zeros(GRID, GRID, dtype=torch.long)
        for number, mask in enumerate(self.masks, start=1):
            if mask is not None:
                found[read_runs(mask, GRID, GRID)] = number
        return found


def read_runs(text: bytes, height: int, width: int) -> Bool[Tensor, "{height} {width}"]:
    """Reads a mask in run lengths as COCO compresses them.

    Runs of 0 and of 1 by turns, column by column. Each is a number of five bits a character, the
    lowest first; from the fourth on, what it has more than the one before the last.

    Raises:
        ValueError: If it is something else, or of another size.

    Source: `maskApi.c` of https://github.com/cocodataset/cocoapi, `rleFrString`.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if min(runs, default=-1) < 0 or sum(runs) != height * width or shift:
        raise ValueError(
            f"mask: wanted run lengths of {height} x {width} pixels as COCO compresses them, got "
            f"{len(runs)} runs of {sum(runs):,} pixels; do: take the annotations as published"
        )
    turns = torch.arange(len(runs)) % 2 == 1
    return turns.repeat_interleave(torch.tensor(runs)).view(width, height).T


def unknown_points(count: int, size: int) -> DensePoints:
    """Gives what annotators say of people of whom they say nothing.

    Args:
        size: Of the maps [px].
    """
    return DensePoints(
        places=torch.zeros(count, MOST, 2),
        part=torch.zeros(count, MOST, dtype=torch.long),
        place_on_part=torch.zeros(count, MOST, 2),
        classes=torch.full((count, size, size), UNKNOWN),
    )


def points_in(labels: SurfaceLabels | None, box: Box, size: int) -> DensePoints:
    """Gives what annotators say of a person in the box of a proxy; points outside are left out.

    Args:
        labels: None of people of whom they say nothing.
        box: With an axis for the person.
        size: Of the maps [px].
    """
    found = unknown_points(1, size)
    if labels is None:
        return found
    flat = box.to_square(labels.places[None])[0]
    inside = (flat.abs() <= 1).all(-1)
    count = int(inside.sum())
    found.places[0, :count] = flat[inside]
    found.part[0, :count] = labels.part[inside]
    found.place_on_part[0, :count] = labels.place_on_part[inside]
    if labels.masks:
        found.classes[0] = _cut(labels, box, size)
    return found


def _cut(labels: SurfaceLabels, box: Box, size: int) -> Int[Tensor, "size size"]:
    """Looks classes up at the middles of a map's pixels; beyond the rectangle is nobody."""
    step = (torch.arange(size) + 0.5) / size - 0.5
    places = box.centre[0] + step[:, None] * box.side[0]
    columns, rows = ((places - labels.corner) / labels.size * GRID).floor().long().unbind(-1)
    inside = ((rows >= 0) & (rows < GRID))[:, None] & (columns >= 0) & (columns < GRID)
    found = labels.classes()[rows.clamp(0, GRID - 1)[:, None], columns.clamp(0, GRID - 1)]
    return found * inside


def photo_surface(
    keypoints: Float[Tensor, "1 17 2"],
    annotated: Bool[Tensor, "1 17"],
    points: DensePoints | None,
    size: int,
) -> DenseTarget:
    """Gives what is known of the surface of a person in a photo: no IUV picture.

    Joints of the skeleton are where the key points of the same names are.

    Args:
        keypoints: COCO-17 [half-squares].
        annotated: Which of them are known.
        size: Of the maps [px].
    """
    joints = torch.full((1, len(SMPL24), 2), AWAY)
    ours, theirs = indices(SHARED, SMPL24), indices(SHARED, COCO17)
    joints[:, ours] = torch.where(annotated[:, theirs, None], keypoints[:, theirs], AWAY)
    return DenseTarget(
        iuv=torch.zeros(1, 3, size, size),
        joints=joints,
        drawn=torch.zeros(1, dtype=torch.bool),
        points=points,
    )


def with_points(target: DenseTarget, points: bool) -> DenseTarget:
    """Gives drawn people what photos have as well.

    Args:
        points: Whether annotators say something of any of the photos.
    """
    count, size = len(target.iuv), target.iuv.shape[-1]
    same = DenseTarget(
        iuv=target.iuv,
        joints=target.joints,
        drawn=torch.ones(count, dtype=torch.bool),
        points=unknown_points(count, size) if points else None,
    )
    return to_device(same, target.iuv.device)


def told(target: DenseTarget) -> Bool[Tensor, " batch"]:
    """Tells of whose surface more is known than where joints are."""
    if target.drawn is None:
        return torch.ones(len(target.iuv), dtype=torch.bool)
    points = target.points
    if points is None:
        return target.drawn
    marked = (points.part > 0).any(1) | (points.classes != UNKNOWN).flatten(1).any(1)
    return target.drawn | marked


def mirror_surface(target: DenseTarget) -> DenseTarget:
    """Reflects joints; left becomes right.

    Raises:
        TypeError: If more is known of somebody: charts are not symmetric, and no table here says
            which point lies opposite which.
    """
    if bool(told(target).any()):
        raise TypeError(
            "mirror_surface: wanted people of whose surface nothing is known, as its mirror image "
            "is not known, got others; do: leave them as they are"
        )
    joints = target.joints[:, mirror(SMPL24)] * target.joints.new_tensor([-1.0, 1.0])
    return replace(target, joints=joints)
