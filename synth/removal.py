"""What goes missing from pictures of people: parts of the body, halves of the picture, joints.

Pure functions of a `Chance`, with the tables that tie joints to parts. Left and right are the
person's; parts are DensePose's 24.

Source: the released code of HierProb3D (Sengupta et al., 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.constants import constant
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.charts import PART14_OF_24

GOES_WITH = {
    **{19: "left_elbow", 21: "left_elbow", 20: "right_elbow", 22: "right_elbow"},
    **{4: "left_wrist", 3: "right_wrist"},
    **{12: "left_knee", 14: "left_knee", 11: "right_knee", 13: "right_knee"},
    **{5: "left_ankle", 6: "right_ankle"},
}
"""The joint that may vanish with each part."""

SHOWN_BY = {
    **{"left_elbow": 3, "right_elbow": 5, "left_wrist": 12, "right_wrist": 11},
    **{"left_knee": 7, "right_knee": 9, "left_ankle": 14, "right_ankle": 13},
}
"""The one of 14 parts (`charts.PART14_OF_24`) of which enough must be seen for a joint to count."""


@dataclass(frozen=True)
class HalvesSettings:
    """How often a half of the picture goes missing, and where it begins."""

    bottom: float = 0.02
    """Probability."""
    top: float = 0.005
    side: float = 0.05
    """Left and right take equal shares of it."""
    row_range: int = 51
    """Half range of the dividing row about the middle [px]."""
    column_range: int = 8
    """The same of the dividing column [px]."""


def draw_removed(chance: Chance, odds: tuple[float, ...]) -> Bool[Tensor, "batch 25"]:
    """Draws which parts go missing; the background, 0, never does.

    Args:
        odds: Of the parts 1 to 24.
    """
    return chance.uniform("part", 25) < constant((0.0, *odds), torch.float32, chance.numbers.device)


def lose_joints(
    chance: Chance, removed: Bool[Tensor, "batch 25"], probability: float
) -> Bool[Tensor, "batch 17"]:
    """Draws which joints vanish with the parts that are removed; each such part draws anew."""
    gone = removed & chance.chance("part/joint", probability, 25)
    lost = torch.zeros(len(removed), len(COCO17), dtype=torch.bool, device=removed.device)
    for part, joint in GOES_WITH.items():
        lost[:, COCO17.index(joint)] |= gone[:, part]
    return lost


def count_parts(
    labels: UInt8[Tensor, "batch H W"], inside: Bool[Tensor, "batch H W"] | None = None
) -> Int[Tensor, "batch 15"]:
    """Counts the pixels of each of 14 parts, and of the background, 0.

    Args:
        labels: DensePose's parts.
        inside: Pixels that count; all if None.
    """
    if inside is not None:
        labels = labels * inside
    batch, flat, device = len(labels), labels.flatten(1), labels.device
    if labels.is_cuda:  # counting bins would wait for the GPU
        counts = (flat[:, None] == torch.arange(25, device=device)[:, None]).sum(-1)
    else:
        first = 25 * torch.arange(batch, dtype=torch.int32)[:, None]
        counts = torch.bincount((flat.int() + first).flatten(), minlength=25 * batch)
    joined = torch.zeros(batch, 15, dtype=counts.dtype, device=device)
    coarser = constant(PART14_OF_24, torch.long, device)
    return joined.index_add(1, coarser, counts.reshape(batch, 25))


def too_little_seen(counts: Int[Tensor, "batch 15"], most: int) -> Bool[Tensor, "batch 17"]:
    """Tells which joints are out of sight because their part has no more than `most` pixels."""
    hidden = torch.zeros(len(counts), len(COCO17), dtype=torch.bool, device=counts.device)
    for joint, part in SHOWN_BY.items():
        hidden[:, COCO17.index(joint)] = counts[:, part] <= most
    return hidden


def draw_halves(
    chance: Chance, name: str, size: int, settings: HalvesSettings
) -> Float[Tensor, "batch 4"]:
    """Draws what is left of a square picture: left, top, right, bottom [px].

    Args:
        name: Of the draws.
        size: Side of the picture [px].
    """

    # One draw for all: whether, where, and on which side.
    bottom, top, side, at_bottom, at_top, at_side, which = chance.uniform(name, 7).unbind(1)

    def line(at: Float[Tensor, " batch"], reach: int) -> Float[Tensor, " batch"]:
        return size // 2 - reach + (2 * reach * at).floor()

    column = line(at_side, settings.column_range)
    left = (side < settings.side) & (which < 0.5)
    right = (side < settings.side) & (which >= 0.5)
    return torch.stack(
        [
            torch.where(left, column, 0.0),
            torch.where(top < settings.top, line(at_top, settings.row_range), 0.0),
            torch.where(right, column, size),
            torch.where(bottom < settings.bottom, line(at_bottom, settings.row_range), size),
        ],
        1,
    )


def keep_labels(
    labels: UInt8[Tensor, "batch H W"], removed: Bool[Tensor, "batch L"]
) -> Bool[Tensor, "batch H W"]:
    """Marks the pixels whose label is not removed."""
    return find_labels(labels, removed) == 0


def find_labels(
    labels: UInt8[Tensor, "batch H W"], wanted: Bool[Tensor, "batch L"]
) -> Int[Tensor, "batch H W"]:
    """Gives 1 where the label is a wanted one, else 0; up to 31 labels.

    Those wanted travel as the bits of one integer, which beats a table by far on a CPU.
    """
    return (label_bits(wanted)[:, None, None] >> labels.int()) & 1


def label_bits(wanted: Bool[Tensor, "batch L"]) -> Int[Tensor, " batch"]:
    """Gives an integer with a 1 at the place of each label that is wanted, of up to 31."""
    bit = torch.arange(wanted.shape[1], device=wanted.device)
    return (wanted.long() << bit).sum(1).int()
