"""From what was seen of a person to what a regressor reads: one code for real and synthetic.

A front end (or synthesis that pretends to be one) gives an `Observation` in the pixels of a
picture. `make_proxy` puts a square box round it, and gives the silhouette and the key points in
that box. The box and both resamplings are the same for both, so that what is learnt carries over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """What was seen of one person in a picture."""

    keypoints: Float[Tensor, "*batch 17 3"]
    """COCO-17: x, y [px] and confidence 0..1; at confidence 0 the place means nothing."""
    mask: Float[Tensor, "*batch H W"]
    """How surely each pixel shows the person, 0..1."""


@dataclass(frozen=True)
class Box:
    """A square in a picture."""

    centre: Float[Tensor, "*batch 2"]
    """(x, y) [px]."""
    side: Float[Tensor, "*batch"]
    """[px]."""

    def to_square(self, points: Float[Tensor, "*batch N 2"]) -> Float[Tensor, "*batch N 2"]:
        """Pixels of the picture to half-squares from the centre, -1..1 inside the box."""
        return (points - self.centre[..., None, :]) / (self.side[..., None, None] / 2)

    def to_picture(self, points: Float[Tensor, "*batch N 2"]) -> Float[Tensor, "*batch N 2"]:
        """Undoes `to_square`."""
        return points * (self.side[..., None, None] / 2) + self.centre[..., None, :]


@dataclass(frozen=True)
class Proxy:
    """What a regressor reads."""

    silhouette: Float[Tensor, "*batch size size"]
    """Share of each pixel that shows the person, 0..1."""
    keypoints: Float[Tensor, "*batch 17 3"]
    """x, y in half-squares of the box (-1..1 inside) and confidence; zeros where not seen."""
    box: Box
    """Where in the picture the square lies."""


@dataclass(frozen=True)
class ProxySettings:
    """How an observation is turned into a proxy. Training and prediction must agree."""

    size: int = 96
    """Side of the silhouette [px]."""
    scale: float = 1.2
    """Side of the box over the longer side of what was seen of the person."""
    least_confidence: float = 0.2
    """Key points below it count as not seen."""


def make_proxy(observation: Observation, settings: ProxySettings, box: Box | None = None) -> Proxy:
    """Boxes what was seen, unless a box is given, and resamples it.

    A person of whom nothing was seen gets the whole picture as the box, an empty silhouette and
    no key points.
    """
    confidence = observation.keypoints[..., 2]
    seen = (confidence >= settings.least_confidence) & (confidence > 0)
    if box is None:
        box = person_box(observation, seen, settings.scale)
    flat = box.to_square(observation.keypoints[..., :2])
    keypoints = torch.cat([flat, observation.keypoints[..., 2:]], -1)
    keypoints = torch.where(seen[..., None], keypoints, torch.zeros_like(keypoints))
    silhouette = resample_square(observation.mask, box, settings.size)
    return Proxy(silhouette=silhouette, keypoints=keypoints, box=box)


def person_box(observation: Observation, seen: Bool[Tensor, "*batch 17"], scale: float) -> Box:
    """Puts a square round the mask and the seen key points, `scale` times their longer side."""
    height, width = observation.mask.shape[-2:]
    inside = observation.mask > 0.5
    low_x, high_x = _extent(inside.any(-2))
    low_y, high_y = _extent(inside.any(-1))
    low = torch.stack([low_x, low_y], -1)
    high = torch.stack([high_x, high_y], -1)

    points, far = observation.keypoints[..., :2], observation.keypoints.new_tensor(torch.inf)
    low = torch.minimum(low, torch.where(seen[..., None], points, far).amin(-2))
    high = torch.maximum(high, torch.where(seen[..., None], points, -far).amax(-2))

    size = low.new_tensor([width, height])
    nothing = low > high
    low, high = torch.where(nothing, 0 * size, low), torch.where(nothing, size, high)
    side = (high - low).amax(-1).clamp(min=1.0) * scale
    return Box(centre=(low + high) / 2, side=side)


def _extent(
    occupied: Bool[Tensor, "*batch N"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """First and last edge of what is occupied along an axis; (inf, -inf) if nothing is."""
    place = torch.arange(occupied.shape[-1], dtype=torch.float32, device=occupied.device)
    low = torch.where(occupied, place, torch.inf).amin(-1)
    high = torch.where(occupied, place + 1, -torch.inf).amax(-1)
    return low, high


def resample_square(
    image: Float[Tensor, "*batch H W"], box: Box, size: int
) -> Float[Tensor, "*batch size size"]:
    """Cuts a square out of pictures and resizes it, antialiased; outside is zero.

    The tent filter of Pillow's BILINEAR, whose support grows with the reduction, done as two
    small matrix products because rows and columns separate. Works for any size of picture and
    passes gradients.
    """
    low = box.centre - box.side[..., None] / 2
    columns = _tent(low[..., 0], box.side, size, image.shape[-1])
    rows = _tent(low[..., 1], box.side, size, image.shape[-2])
    return rows @ image @ columns.mT


def _tent(
    low: Float[Tensor, "*batch"], side: Float[Tensor, "*batch"], size: int, length: int
) -> Float[Tensor, "*batch size length"]:
    """Weights that resample `length` pixels into `size` over the interval [low, low + side]."""
    step = side / size
    target = torch.arange(size, dtype=low.dtype, device=low.device) + 0.5
    source = torch.arange(length, dtype=low.dtype, device=low.device) + 0.5
    centre = low[..., None] + target * step[..., None]
    reach = step.clamp(min=1.0)[..., None]
    weight = (1 - (source - centre[..., None]).abs() / reach[..., None]).clamp(min=0)
    # Divided by the sum over an endless row of pixels: a flat picture stays flat, also where the
    # tent's reach is no whole number, and borders still fade to 0.
    ahead = torch.ceil(centre - 0.5) - (centre - 0.5)
    total = _half_tent(ahead, reach) + _half_tent(1 - ahead, reach)
    return weight / total[..., None]


def _half_tent(first: Float[Tensor, "*batch N"], reach: Float[Tensor, "*batch 1"]) -> Tensor:
    """Sums 1 - d / reach over the distances d = first, first + 1, ... up to `reach`."""
    count = torch.floor(reach - first) + 1
    return count - (count * first + count * (count - 1) / 2) / reach


def gaussian_heatmaps(
    keypoints: Float[Tensor, "*batch K 3"], size: int, sigma: float
) -> Float[Tensor, "*batch K size size"]:
    """Draws one Gaussian with peak 1 per seen key point, zero maps for the others.

    Args:
        keypoints: x, y in half-squares and confidence; seen where the confidence is positive.
        sigma: [px].
    """
    place = torch.arange(size, dtype=keypoints.dtype, device=keypoints.device) + 0.5
    at = (keypoints[..., :2] + 1) * (size / 2)
    across = torch.exp(-((place - at[..., :1]) ** 2) / (2 * sigma**2))
    down = torch.exp(-((place - at[..., 1:]) ** 2) / (2 * sigma**2))
    seen = (keypoints[..., 2] > 0).to(keypoints.dtype)
    return (down * seen[..., None])[..., :, None] * across[..., None, :]
