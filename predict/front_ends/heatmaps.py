"""Key points by heatmaps: crops of people in, places in the picture out, exactly there and back.

Networks such as HRNet and ViTPose look at an upright crop round each person and give a map for each
key point, at a quarter of the crop's size. Where a map's pixels lie in the crop depends on how the
network was trained: pixel i of the map may be pixel 4 i of the crop (HRNet), or the first and the
last pixel of the map those of the crop (ViTPose). Pixel i of a crop has its centre at i + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.models.encoder import normalise
from plausibody.models.skeleton import COCO17, mirror
from plausibody.predict.front_ends.crop import sample

Decoding = Literal["quarter", "argmax", "dark"]
"""argmax: the highest pixel. quarter: from there a quarter of a pixel towards the higher neighbour
(HRNet). dark: the top of a Gaussian through the pixels around it (ViTPose)."""
MARGIN = 1.25
"""Sides of a crop over those of the person's box, in all networks trained on COCO."""
_DARK_SIGMA, _DARK_RADIUS = 0.8, 5
"""Of the filter that smooths a map first [map pixels]."""
_LEAST = 1e-3
"""Of a map before its logarithm is taken."""


def crop_affine(
    box: Float[Tensor, " 4"], width: int, height: int, margin: float = MARGIN
) -> Float[Tensor, "2 3"]:
    """Gives the map from the pixels of an upright crop to those of the picture.

    The crop lies round the middle of the box. The shorter side of the box grows until it has the
    crop's proportions, so that nothing is distorted; then both grow by the margin.

    Args:
        box: Left, top, right, bottom [px].
        width: Of the crop [px].
        height: Of the crop [px].
    """
    middle, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).clamp(min=1.0)
    scale = float((size / size.new_tensor([width, height])).max()) * margin
    left, top = (middle - scale * middle.new_tensor([width, height]) / 2).tolist()
    return torch.tensor([[scale, 0.0, left], [0.0, scale, top]])


def cut(
    picture: UInt8[Tensor, "H W 3"], to_picture: Float[Tensor, "2 3"], width: int, height: int
) -> Float[Tensor, "3 {height} {width}"]:
    """Cuts a crop out, black beyond the picture, normalised by ImageNet's mean and deviation."""
    return normalise(sample(picture.permute(2, 0, 1), to_picture, height, width) / 255)


def with_flip(
    network: Callable[[Tensor], Tensor], crops: Float[Tensor, "N 3 H W"], shift: bool
) -> Float[Tensor, "N 17 h w"]:
    """Gives the mean of the heatmaps of crops and of their mirror images.

    Args:
        shift: Whether pixel i of a map is pixel 4 i of the crop. The maps of mirror images then lie
            0.75 map pixels too far left; as the authors do, they are moved by one.
    """
    mirrored = network(crops.flip(-1)).flip(-1)[:, mirror(COCO17)]
    if shift:
        mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], -1)
    return (network(crops) + mirrored) / 2


def decode(heatmaps: Float[Tensor, "*N K h w"], how: Decoding) -> Float[Tensor, "*N K 3"]:
    """Finds the peak of each map: x, y in pixels of the map, from the centre of the first, and how
    high it is, 0..1.

    Source: of "quarter", `get_final_preds` of HRNet's authors; of "dark", Zhang et al.,
    "Distribution-Aware Coordinate Representation for Human Pose Estimation", 2020, section 3.1.
    """
    width = heatmaps.shape[-1]
    peak, place = heatmaps.flatten(-2).max(-1)
    column, row = place % width, place // width
    found = torch.stack([column, row], -1).to(heatmaps.dtype)
    if how == "quarter":
        found = found + _quarter(heatmaps, column, row)
    elif how == "dark":
        found = found + _to_the_top(heatmaps, column, row)
    return torch.cat([found, peak.clamp(0, 1)[..., None]], -1)


def in_crop(found: Float[Tensor, "*N K 3"], step: tuple[float, float]) -> Float[Tensor, "*N K 3"]:
    """Brings key points, as `decode` gives them, from pixels of the maps to those of the crop.

    Args:
        step: Pixels of the crop from one pixel of a map to the next, in x and y.
    """
    places = found[..., :2] * found.new_tensor(step) + 0.5
    return torch.cat([places, found[..., 2:]], -1)


def _quarter(
    heatmaps: Float[Tensor, "*N K h w"], column: Int[Tensor, "*N K"], row: Int[Tensor, "*N K"]
) -> Float[Tensor, "*N K 2"]:
    """Steps towards the higher neighbour; not from peaks at the border or next to its start."""
    height, width = heatmaps.shape[-2:]
    right, left = _at(heatmaps, column + 1, row), _at(heatmaps, column - 1, row)
    below, above = _at(heatmaps, column, row + 1), _at(heatmaps, column, row - 1)
    step = torch.stack([right - left, below - above], -1).sign() / 4
    inner = (column > 1) & (column < width - 1) & (row > 1) & (row < height - 1)
    return step * inner[..., None]


def _to_the_top(
    heatmaps: Float[Tensor, "*N K h w"], column: Int[Tensor, "*N K"], row: Int[Tensor, "*N K"]
) -> Float[Tensor, "*N K 2"]:
    """Makes a step of Newton's method on the logarithm of the smoothed map, of a pixel at most."""
    logs = _smoothed(heatmaps).clamp(min=_LEAST).log()

    def at(right: int, down: int) -> Tensor:
        return _at(logs, column + right, row + down)

    here = at(0, 0)
    slope = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], -1) / 2
    xx, yy = at(1, 0) - 2 * here + at(-1, 0), at(0, 1) - 2 * here + at(0, -1)
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    determinant = xx * yy - xy * xy
    height, width = heatmaps.shape[-2:]
    inner = (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1)
    is_top = inner & (xx < 0) & (determinant > 1e-12)  # else it is flat there, or no peak at all
    safe = torch.where(is_top, determinant, torch.ones_like(determinant))
    step = torch.stack(
        [xy * slope[..., 1] - yy * slope[..., 0], xy * slope[..., 0] - xx * slope[..., 1]], -1
    )
    return (step / safe[..., None]).clamp(-1, 1) * is_top[..., None]


def _smoothed(heatmaps: Float[Tensor, "*N K h w"]) -> Float[Tensor, "*N K h w"]:
    reach = torch.arange(-_DARK_RADIUS, _DARK_RADIUS + 1, dtype=heatmaps.dtype)
    kernel = torch.exp(-(reach**2) / (2 * _DARK_SIGMA**2)).to(heatmaps.device)
    kernel = (kernel / kernel.sum())[None, None]
    maps = heatmaps.flatten(0, -3)[:, None]
    margin = (_DARK_RADIUS,) * 4
    maps = functional.pad(maps, margin, mode="replicate")
    maps = functional.conv2d(functional.conv2d(maps, kernel[:, :, None]), kernel[..., None])
    return maps[:, 0].reshape(heatmaps.shape)


def _at(
    heatmaps: Float[Tensor, "*N K h w"], column: Int[Tensor, "*N K"], row: Int[Tensor, "*N K"]
) -> Float[Tensor, "*N K"]:
    """Reads one pixel of each map; beyond the border, the nearest."""
    height, width = heatmaps.shape[-2:]
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return heatmaps.flatten(-2).gather(-1, place[..., None])[..., 0]
