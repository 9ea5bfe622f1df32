"""What the `lite` recipe lets a front end see of people: things in the way, errors and doubts."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.proxy import Observation
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.corrupt import (
    MaskFaults,
    draw_noise,
    rectangles,
    spoil_mask,
    swap_pairs,
    swap_sides,
)
from plausibody.synth.joint_sight import joints_in_sight
from plausibody.synth.measured import Truth

MARGIN = 1.3
"""Side of the rendered frame over the longer side of the person in it."""


@dataclass(frozen=True)
class LiteCorruption:
    """What goes wrong between a person and what the front end says of them."""

    clothed: float = 0.85
    """Probability of clothes: the body is moved outwards, never inwards, part by part."""
    looseness: float = 0.055
    """Largest outward move of the cloth on trunk and limbs [m]; each part draws its own share."""
    hair: float = 0.05
    """Largest outward move of the head's outline [m]."""
    truncated: float = 0.3
    """Probability that the picture's border cuts the person: half body, head and shoulders,
    legs or one side."""
    box: tuple[float, float] = (0.25, 0.12)
    """Probabilities of a first and a second rectangle before the person."""
    attached: float = 0.06
    """Probability of a rectangle added to the mask: a bag, a neighbour, furniture."""
    lost_parts: float = 0.25
    """Probability that the mask loses parts at all; then each part with `lost_part`."""
    lost_part: float = 0.06
    ragged: float = 0.6
    no_mask: float = 0.04
    """Probability of an empty mask: key points alone must then do."""
    joint_error: tuple[float, float] = (0.003, 0.02)
    """Range of the standard deviation of a person's key points, over the frame's side."""
    joint_bias: float = 0.006
    """Standard deviation of what a detector means by a joint, over the frame's side."""
    outliers: float = 0.02
    hidden_error: float = 3.0
    """How much larger the error of a joint out of sight is."""
    hidden_lost: float = 0.3
    """Probability that a joint out of sight is not reported."""
    lost: float = 0.03
    """The same for one in sight."""
    swaps: dict[str, float] = field(
        default_factory=lambda: {
            "eye": 0.01, "ear": 0.01, "shoulder": 0.01, "elbow": 0.02, "wrist": 0.02,
            "hip": 0.02, "knee": 0.03, "ankle": 0.03,
        }
    )  # fmt: skip
    sides: float = 0.01
    """Probability of taking the whole left side for the right."""


def face_away(marks: Float[Tensor, "batch 17 3"]) -> Bool[Tensor, " batch"]:
    """Tells whether the nose is farther from the camera than the ears, by 3 cm or more."""
    nose, left, right = (COCO17.index(name) for name in ("nose", "left_ear", "right_ear"))
    depth = marks[..., 2]
    return depth[:, nose] - (depth[:, left] + depth[:, right]) / 2 > 0.03


def observe(
    chance: Chance,
    labels: UInt8[Tensor, "batch size size"],
    truth: Float[Tensor, "batch 17 2"],
    away: Bool[Tensor, " batch"],
    borders: Float[Tensor, "batch 4"],
    wrong: LiteCorruption,
) -> Observation:
    """Sees a person as a front end does: with things in the way, errors and doubts.

    Args:
        labels: DensePose's parts of the clothed person in the frame.
        truth: Key points in the frame [px].
        away: Whether the face looks away.
        borders: Of the picture within the frame (left, top, right, bottom) [px].
    """
    size = labels.shape[-1]
    removed = chance.chance("mask/part", wrong.lost_part, 25)
    removed = removed & chance.chance("mask/parts", wrong.lost_parts, 1)

    sight = joints_in_sight(labels, truth)
    face = tuple("eye" in name or "nose" in name for name in COCO17)
    sight = sight & ~(away[:, None] & constant(face, torch.bool, sight.device))
    before = [_draw_box(chance, number, odds, size) for number, odds in enumerate(wrong.box)]
    for centre, half in before:
        sight = sight & ~((truth - centre[:, None]).abs() < half[:, None]).all(-1)
    added = _draw_box(chance, len(wrong.box), wrong.attached, size)
    centre, half = picture_rectangle(borders, size)
    picture = centre, torch.where(chance.chance("mask/none", wrong.no_mask, 1), -1.0, half)
    faults = MaskFaults(
        removed=removed,
        noise=draw_noise(chance, 0.2, wrong.ragged),
        rectangles=torch.stack([torch.cat(box, 1) for box in (picture, added, *before)], 1),
    )
    keypoints = _report(chance, truth, sight, borders, size, wrong)
    return Observation(keypoints=keypoints, mask=spoil_mask(labels, faults))


def look(
    chance: Chance,
    labels: UInt8[Tensor, "batch size size"],
    marks: Float[Tensor, "batch 17 3"],
    borders: Float[Tensor, "batch 4"],
    wrong: LiteCorruption,
    before: Bool[Tensor, "batch size size"] | None = None,
) -> Truth:
    """Puts boxes before a person, the same as `observe`, and says what there is to see.

    Args:
        labels: As of `observe`, and so the borders.
        marks: Key points in the frame [px], and their depth [m].
        before: Where something else is before the person; nowhere if None.
    """
    size = labels.shape[-1]
    whole = labels * rectangles(*picture_rectangle(borders, size), (size, size))
    seen = whole * ~boxes(chance, wrong, size)
    if before is not None:
        seen = seen * ~before
    return Truth.of(marks, seen, whole, borders, torch.full_like(borders[:, 0], size / MARGIN))


def boxes(chance: Chance, wrong: LiteCorruption, size: int) -> Bool[Tensor, "batch size size"]:
    """Marks the rectangles before people."""
    drawn = [_draw_box(chance, number, odds, size) for number, odds in enumerate(wrong.box)]
    first, second = (rectangles(*box, (size, size)) for box in drawn)
    return first | second


def _draw_box(
    chance: Chance, number: int, probability: float, size: int
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch 2"]]:
    """Draws the centre and half the sides of a box [px]; negative for none."""
    name = f"box/{number}"
    half = size * chance.uniform(f"{name}/half", 2, low=0.03, high=0.16)
    half = torch.where(chance.chance(name, probability, 1), half, -1.0)
    return size * chance.uniform(f"{name}/centre", 2, low=0.15, high=0.85), half


def picture_rectangle(
    borders: Float[Tensor, "batch 4"], size: int
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch 2"]]:
    """Gives the centre of the picture in the frame and half its sides, at most 9 frames [px]."""
    low, high = borders.clamp(-9 * size, 9 * size).split(2, 1)
    return (low + high) / 2, (high - low) / 2


def _report(
    chance: Chance,
    truth: Float[Tensor, "batch 17 2"],
    sight: Bool[Tensor, "batch 17"],
    borders: Float[Tensor, "batch 4"],
    size: int,
    wrong: LiteCorruption,
) -> Float[Tensor, "batch 17 3"]:
    """Places key points with errors and gives confidences as the embedded front end does.

    Both of its networks guess joints out of sight, with less confidence, and nothing is reported
    outside the picture.
    """
    low, high = wrong.joint_error
    error = low * (high / low) ** chance.uniform("joint/error", 1, 1)
    error = error * torch.where(sight, 1.0, wrong.hidden_error)[..., None]
    error = torch.where(chance.chance("joint/outlier", wrong.outliers, 17, 1), 0.1, error)
    offset = error * chance.normal("joint/noise", 17, 2)
    offset = offset + chance.normal("joint/bias", 17, 2, std=wrong.joint_bias)
    places = truth + size * offset

    confidence = torch.where(
        sight,
        chance.uniform("joint/sure", 17, low=0.5, high=1.0),
        chance.uniform("joint/unsure", 17, low=0.05, high=0.75),
    )
    lost = torch.where(sight, wrong.lost, wrong.hidden_lost) > chance.uniform("joint/lost", 17)
    inside = (places > borders[:, None, :2]).all(-1) & (places < borders[:, None, 2:]).all(-1)
    confidence = confidence * (inside & ~lost)
    points = torch.cat([places, confidence[..., None]], -1)
    return swap_sides(chance, swap_pairs(chance, points, wrong.swaps), wrong.sides)
