"""Squares cut out of pictures: where they lie, and what their pixels become."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


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


def resample_square(
    image: Float[Tensor, "*batch H W"], box: Box, size: int, replicate: bool = False
) -> Float[Tensor, "*batch size size"]:
    """Cuts a square out of pictures and resizes it, antialiased.

    The tent filter of Pillow's BILINEAR, whose support grows with the reduction, done as two
    small matrix products because rows and columns separate; on a CPU, where no gradients pass,
    compiled loops leave out their zeros. Works for any size of picture and passes gradients.

    Args:
        replicate: Whether a picture goes on beyond its border as its border pixels do, rather
            than with zeros.
    """
    centre, reach, total = _tents(box, size)
    if not replicate and _loops_do(image, box):
        from plausibody.models import crop_numba

        batch = image.shape[:-2]
        resampled = crop_numba.resample(
            image.reshape(-1, *image.shape[-2:]),
            centre.expand(*batch, -1, -1).reshape(-1, 2, size),
            reach.expand(*batch, -1, -1).reshape(-1),
            total.expand(*batch, -1, -1).reshape(-1, 2, size),
            torch.get_num_threads(),
        )
        return resampled.reshape(*batch, size, size)
    columns, rows = (
        _weights(centre[..., axis, :], reach[..., 0], total[..., axis, :], length, replicate)
        for axis, length in enumerate((image.shape[-1], image.shape[-2]))
    )
    return rows @ image @ columns.mT


def nearest_square(
    image: Shaped[Tensor, "*batch C H W"], box: Box, size: int
) -> Shaped[Tensor, "*batch C size size"]:
    """Cuts a square out of pictures, each pixel the nearest one; zeros beyond their border.

    For labels, which have no means, and for masks where published evaluations do it so.
    """
    height, width = image.shape[-2:]
    low = box.centre - box.side[..., None] / 2
    step = (box.side / size)[..., None, None]
    places = torch.arange(size, dtype=low.dtype, device=low.device) + 0.5
    across, down = (low[..., None] + places * step).floor().long().unbind(-2)
    inside_x, inside_y = (across >= 0) & (across < width), (down >= 0) & (down < height)
    rows = down.clamp(0, height - 1)[..., None, :, None].expand(*image.shape[:-2], size, width)
    columns = across.clamp(0, width - 1)[..., None, None, :]
    picked = image.gather(-2, rows)
    picked = picked.gather(-1, columns.expand(*image.shape[:-2], size, size))
    return picked * (inside_y[..., None, :, None] & inside_x[..., None, None, :])


def _loops_do(image: Tensor, box: Box) -> bool:
    """Tells whether compiled loops resample these: single precision on a CPU, no gradients."""
    values = image, box.centre, box.side
    single = all(value.dtype == torch.float32 for value in values)
    graded = torch.is_grad_enabled() and any(value.requires_grad for value in values)
    return image.device.type == "cpu" and single and not graded


def _tents(
    box: Box, size: int
) -> tuple[
    Float[Tensor, "*batch 2 size"], Float[Tensor, "*batch 1 1"], Float[Tensor, "*batch 2 size"]
]:
    """Gives the centres of tents that resample a box, x and y [px], their reach, and the sums of
    their weights over an endless row of pixels."""
    step = (box.side / size)[..., None, None]
    low = box.centre - box.side[..., None] / 2
    target = torch.arange(size, dtype=low.dtype, device=low.device) + 0.5
    centre = low[..., None] + target * step
    reach = step.clamp(min=1.0)
    ahead = torch.ceil(centre - 0.5) - (centre - 0.5)
    return centre, reach, _half_tent(ahead, reach) + _half_tent(1 - ahead, reach)


def _weights(
    centre: Float[Tensor, "*batch size"],
    reach: Float[Tensor, "*batch 1"],
    total: Float[Tensor, "*batch size"],
    length: int,
    replicate: bool,
) -> Float[Tensor, "*batch size {length}"]:
    """Gives the weights by which `length` pixels are resampled."""
    source = torch.arange(length, dtype=centre.dtype, device=centre.device) + 0.5
    weight = (1 - (source - centre[..., None]).abs() / reach[..., None]).clamp(min=0)
    # Divided by the sum over an endless row of pixels: a flat picture stays flat, also where the
    # tent's reach is no whole number, and borders still fade to 0.
    weight = weight / total[..., None]
    if replicate:
        # What would fall on pixels beyond an end falls on the one at that end.
        beyond = 1 - weight.sum(-1)
        at_start = centre < length / 2
        weight[..., 0] += torch.where(at_start, beyond, 0.0)
        weight[..., -1] += torch.where(at_start, 0.0, beyond)
    return weight


def _half_tent(
    first: Float[Tensor, "*batch 2 N"], reach: Float[Tensor, "*batch 1 1"]
) -> Float[Tensor, "*batch 2 N"]:
    """Sums 1 - d / reach over the distances d = first, first + 1, ... up to `reach`."""
    count = torch.floor(reach - first) + 1
    return count - (count * first + count * (count - 1) / 2) / reach


def inside_borders(
    borders: Float[Tensor, "*batch 4"], size: int
) -> Bool[Tensor, "*batch size size"]:
    """Marks the pixels whose centres lie inside (left, top, right, bottom) [px]."""
    place = torch.arange(size, dtype=borders.dtype, device=borders.device) + 0.5
    inside = (place > borders[..., :2, None]) & (place < borders[..., 2:, None])
    return inside[..., 1, :, None] & inside[..., 0, None, :]


def extend_picture(
    picture: Float[Tensor, "*batch 3 size size"], borders: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 3 size size"]:
    """Repeats the outermost pixels inside the borders beyond them."""
    size = picture.shape[-1]
    first = torch.ceil(borders[..., :2] - 0.5).clamp(0, size - 1).long()
    last = torch.floor(borders[..., 2:] - 0.5).clamp(0, size - 1).long()
    if picture.device.type == "cpu":
        return _extend_by_strips(picture, first, last)
    place = torch.arange(size, device=borders.device)
    nearest = torch.minimum(torch.maximum(place, first[..., None]), last[..., None])
    across, down = nearest.unbind(-2)
    picture = picture.gather(-2, down[..., None, :, None].expand_as(picture))
    return picture.gather(-1, across[..., None, None, :].expand_as(picture))


def _extend_by_strips(
    picture: Float[Tensor, "*batch 3 size size"],
    first: Int[Tensor, "*batch 2"],
    last: Int[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch 3 size size"]:
    """Does the same picture by picture; ten times as fast as gathering on a CPU."""
    picture = picture.clone()
    flat = picture.flatten(0, -4) if picture.ndim > 3 else picture[None]
    bounds = torch.cat([first, last], -1).reshape(-1, 4).tolist()
    for one, (left, top, right, bottom) in zip(flat, bounds, strict=True):
        one[..., :left] = one[..., left : left + 1]
        one[..., right + 1 :] = one[..., right : right + 1]
        one[:, :top] = one[:, top : top + 1]
        one[:, bottom + 1 :] = one[:, bottom : bottom + 1]
    return picture
