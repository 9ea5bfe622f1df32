"""Corruptions of key points and masks, as detectors make them; each draws from a `Chance`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.models.constants import constant
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.raster import fastest_backend
from plausibody.synth.removal import find_labels, label_bits

_MIRROR = mirror(COCO17)
PAIRS = [(i, j) for i, j in enumerate(_MIRROR) if i < j]
"""Left and right of each kind of key point."""


def swap_pairs(
    chance: Chance,
    points: Float[Tensor, "batch 17 C"],
    probability: dict[str, float],
    name: str = "swap",
) -> Float[Tensor, "batch 17 C"]:
    """Lets left and right of a kind of key point ("knee", ...) change places."""
    order = torch.arange(17, device=points.device).expand(len(points), -1).clone()
    for left, right in PAIRS:
        kind = COCO17[left].removeprefix("left_")
        if not probability.get(kind):  # a draw costs more than the swap
            continue
        swapped = chance.chance(f"{name}/{kind}", probability[kind])
        order[:, left] = torch.where(swapped, right, left)
        order[:, right] = torch.where(swapped, left, right)
    return points.gather(1, order[..., None].expand_as(points))


def swap_sides(
    chance: Chance, points: Float[Tensor, "batch 17 C"], probability: float
) -> Float[Tensor, "batch 17 C"]:
    """Lets the whole left and right sides change places, as for a person seen from behind."""
    swapped = chance.chance("swap/sides", probability)[:, None, None]
    mirrored = points[:, constant(tuple(_MIRROR), torch.long, points.device)]
    return torch.where(swapped, mirrored, points)


def rectangles(
    centre: Float[Tensor, "batch 2"],
    half: Float[Tensor, "batch 2"],
    size: tuple[int, int],
) -> Bool[Tensor, "batch H W"]:
    """Marks the pixels whose centres lie in one upright rectangle per picture.

    Args:
        centre: (x, y) [px].
        half: Half width and half height [px]; negative for no rectangle.
    """
    columns = torch.arange(size[1], device=centre.device) + 0.5
    rows = torch.arange(size[0], device=centre.device) + 0.5
    across = (columns - centre[:, :1]).abs() < half[:, :1]
    down = (rows - centre[:, 1:]).abs() < half[:, 1:]
    return down[:, :, None] & across[:, None, :]


@dataclass(frozen=True)
class MaskFaults:
    """What goes wrong with masks."""

    removed: Bool[Tensor, "batch L"]
    """Which labels are left out."""
    noise: Float[Tensor, "batch cells cells"]
    """By how much less than half of the pixels round one must be seen there; from `draw_noise`."""
    rectangles: Float[Tensor, "batch K 4"]
    """Centres and half sides [px], negative for none: of the picture, beyond which nothing is
    seen; of what is taken for the person; then of things in the way."""


def draw_noise(
    chance: Chance, strength: float, probability: float
) -> Float[Tensor, "batch cells cells"]:
    """Draws the noise that makes edges ragged.

    Args:
        strength: Standard deviation of the level at which the blurred mask is cut again.
        probability: Of any noise at all.
    """
    noise = chance.normal("ragged/noise", 16, 16, std=strength)
    return noise * chance.chance("ragged", probability)[:, None, None]


def spoil_mask(
    labels: UInt8[Tensor, "batch size size"], faults: MaskFaults
) -> Float[Tensor, "batch size size"]:
    """Makes masks, 0 or 1, of what is left of people's labels; label 0 is the background."""
    if fastest_backend(labels.device.type) != "numba":
        return _spoil(labels, faults)
    from plausibody.synth import corrupt_numba

    kept = label_bits(_kept(faults.removed))
    threads = torch.get_num_threads()
    return corrupt_numba.spoil(labels, kept, faults.noise, faults.rectangles, threads)


def _spoil(
    labels: UInt8[Tensor, "batch size size"], faults: MaskFaults
) -> Float[Tensor, "batch size size"]:
    mask = ragged_edge(remove_labels(labels, faults.removed), faults.noise) > 0
    size = labels.shape[-1]
    picture, added, *before = (
        rectangles(one[:, :2], one[:, 2:], (size, size)) for one in faults.rectangles.unbind(1)
    )
    for thing in before:
        mask = mask & ~thing
    return ((mask | added) & picture).float()


def ragged_edge(
    mask: Float[Tensor, "batch H W"], noise: Float[Tensor, "batch cells cells"]
) -> Float[Tensor, "batch H W"]:
    """Moves the outline in and out by smooth noise, within about one pixel.

    Args:
        mask: 0 or 1.
        noise: From `draw_noise`.
    """
    level = functional.interpolate(noise[:, None], size=mask.shape[-2:], mode="bilinear")[:, 0]
    return (_mean_of_neighbours(mask) + level.clamp(-0.4, 0.4) > 0.5).to(mask.dtype)


def _mean_of_neighbours(mask: Float[Tensor, "batch H W"]) -> Float[Tensor, "batch H W"]:
    """Averages 3x3 pixels, edges repeated; sums of shifted views beat a pooling layer on a CPU."""
    padded = functional.pad(mask[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def remove_labels(
    labels: UInt8[Tensor, "batch H W"], removed: Bool[Tensor, "batch L"]
) -> Float[Tensor, "batch H W"]:
    """Gives the silhouette of a label map without some labels; label 0 is the background."""
    return find_labels(labels, _kept(removed)).float()


def _kept(removed: Bool[Tensor, "batch L"]) -> Bool[Tensor, "batch L"]:
    background = torch.arange(removed.shape[1], device=removed.device) == 0
    return ~(removed | background)
