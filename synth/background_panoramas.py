"""Backgrounds cut from pictures that show all directions, as a camera at their middle sees them.

A panorama is equirectangular: its columns are longitude, its rows latitude, the horizon half-way
down. All panoramas and their halved copies lie one below the other in one tall picture, so that one
call samples the crops of a whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.records import take, to_device
from plausibody.synth.chance import Chance
from plausibody.synth.picture_file import SUFFIXES, read_picture

LEVELS = 4
"""A panorama is kept at its own size and halved up to three times, against aliasing."""
STEP = 8
"""Rays are computed at every eighth pixel and interpolated between: exact within 0.1 px of the
panorama for views up to 95 degrees at 256 px."""
ASPECT = 2.0
CHUNK = 4
"""Pictures sampled at once on a CPU."""


@dataclass(frozen=True)
class ViewRange:
    """Where the camera looks; angles are uniform in their ranges, yaw is in all directions."""

    pitch: tuple[float, float] = (math.radians(-20), math.radians(10))
    """Above the horizon [rad]."""
    field_of_view: tuple[float, float] = (math.radians(50), math.radians(95))
    """Over the longer side of the picture [rad]."""
    gain: tuple[float, float] = (0.75, 1.25)
    """Factor of the brightness."""


@dataclass(frozen=True)
class _Looks:
    """Where cameras look; the first axis of each runs over the samples."""

    which: Int[Tensor, " batch"]
    yaw: Float[Tensor, " batch"]
    pitch: Float[Tensor, " batch"]
    focal: Float[Tensor, " batch"]
    """[px]."""
    gain: Float[Tensor, " batch"]


@dataclass(frozen=True)
class Panoramas:
    """Crops of panoramas."""

    atlas: Float[Tensor, "3 rows columns"]
    """All levels of all panoramas, 0..255. Each is framed by one pixel more: the other end's on the
    left and right, the nearest above and below."""
    corner: Int[Tensor, "panoramas levels 2"]
    """Column and row at which each begins in the atlas, without its frame."""
    width: Int[Tensor, " panoramas"]
    """[px], twice the height; at level k it is this over 2**k."""
    view: ViewRange = ViewRange()

    @classmethod
    def of(
        cls, pictures: Sequence[UInt8[Tensor, "_ _ 3"]], view: ViewRange | None = None
    ) -> Panoramas:
        """Puts panoramas together.

        Args:
            pictures: Each twice as wide as high, its height a multiple of 8.
        """
        if not pictures:
            raise ValueError("panoramas: wanted at least one, came none")
        for number, picture in enumerate(pictures):
            check_panorama(f"panorama {number}", picture)
        framed = []
        for picture in pictures:
            level = picture.permute(2, 0, 1).float()[None]
            for _ in range(LEVELS):
                round_ = F.pad(level, (1, 1, 0, 0), "circular")
                framed.append(F.pad(round_, (0, 0, 1, 1), "replicate")[0])
                level = F.avg_pool2d(level, 2)
        atlas, corners = _pack(framed)
        return cls(
            atlas,
            torch.tensor(corners).reshape(len(pictures), LEVELS, 2) + 1,
            torch.tensor([picture.shape[1] for picture in pictures]),
            view or ViewRange(),
        )

    def __len__(self) -> int:
        return len(self.width)

    def to(self, device: torch.device | str) -> Panoramas:
        return to_device(self, device)

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def expect(self, chance: Chance) -> None:
        pass  # nothing is fetched

    @torch.no_grad()
    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        """Draws a panorama and a view for each sample.

        Args:
            size: Height and width of the pictures [px].
        """
        low, high = self.view.field_of_view
        opening = chance.uniform("background/field_of_view", low=low, high=high)
        low, high = self.view.pitch
        looks = _Looks(
            which=chance.integer("background/panorama", len(self)),
            yaw=chance.uniform("background/yaw", high=2 * math.pi),
            pitch=chance.uniform("background/pitch", low=low, high=high),
            focal=0.5 * max(size) / torch.tan(opening / 2),
            gain=chance.uniform("background/gain", low=self.view.gain[0], high=self.view.gain[1]),
        )
        count = len(chance.numbers)
        # A few at once stay in a processor's cache, which halves the time there.
        several = count if self.atlas.is_cuda else CHUNK
        parts = [
            self._sample(take(looks, slice(at, at + several)), size)
            for at in range(0, count, several)
        ]
        return torch.cat(parts) if parts else self.atlas.new_empty((0, 3, *size)).byte()

    def _sample(self, looks: _Looks, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        height, width = size
        full = self.width[looks.which].float()
        # Pixels of the panorama per pixel of the picture, ahead; the level is that with about one.
        density = full / (2 * math.pi * looks.focal)
        level = torch.log2(density.clamp(min=1.0)).round().long().clamp(max=LEVELS - 1)
        corner = self.corner[looks.which, level].float()[..., None, None]
        own = (full / 2.0**level)[:, None, None]

        longitude, latitude = _angles(looks.focal, looks.pitch, size)
        turns = (longitude + looks.yaw[:, None, None]) / (2 * math.pi)
        column = corner[:, 0] + torch.remainder(turns, 1.0) * own
        row = corner[:, 1] + (0.5 - latitude / math.pi) * (own / ASPECT)
        rows, columns = self.atlas.shape[1:]
        grid = torch.stack([column * (2 / columns) - 1, row * (2 / rows) - 1], -1)
        sampled = F.grid_sample(
            self.atlas[None], grid.reshape(1, -1, width, 2), align_corners=False
        )
        pictures = sampled[0].unflatten(1, (len(looks.which), height)).transpose(0, 1)
        return (pictures * looks.gain[:, None, None, None] + 0.5).clamp(max=255.0).to(torch.uint8)


def _pack(
    pictures: Sequence[Float[Tensor, "3 _ _"]],
) -> tuple[Float[Tensor, "3 rows columns"], list[tuple[int, int]]]:
    """Lays pictures on shelves, the highest first, and gives the column and row of each."""
    # Two of half the width fit side by side, with their frames.
    columns = max(picture.shape[2] for picture in pictures) + 2
    corners = [(0, 0)] * len(pictures)
    left, top, shelf = 0, 0, 0
    for number in sorted(range(len(pictures)), key=lambda n: -pictures[n].shape[1]):
        height, width = pictures[number].shape[1:]
        if left + width > columns:
            left, top, shelf = 0, top + shelf, 0
        corners[number] = (left, top)
        left, shelf = left + width, max(shelf, height)
    atlas = torch.zeros(3, top + shelf, columns)
    for picture, (column, row) in zip(pictures, corners, strict=True):
        atlas[:, row : row + picture.shape[1], column : column + picture.shape[2]] = picture
    return atlas, corners


def _angles(
    focal: Float[Tensor, " batch"], pitch: Float[Tensor, " batch"], size: tuple[int, int]
) -> Float[Tensor, "2 batch H W"]:
    """Gives longitude from where the camera points, and latitude, of each pixel's ray [rad]."""
    height, width = size
    steps = [(extent - 1) // STEP + 2 for extent in size]
    down = torch.linspace(0.5 - height / 2, height / 2 - 0.5, steps[0], device=focal.device)
    right = torch.linspace(0.5 - width / 2, width / 2 - 0.5, steps[1], device=focal.device)
    up = -down[:, None] / focal[:, None, None]
    across = right / focal[:, None, None]
    sine, cosine = torch.sin(pitch)[:, None, None], torch.cos(pitch)[:, None, None]
    height_of_ray, ahead = up * cosine + sine, cosine - up * sine
    longitude = torch.atan2(across, ahead)
    latitude = torch.atan2(height_of_ray, torch.sqrt(across**2 + ahead**2))
    knots = torch.stack(torch.broadcast_tensors(longitude, latitude))
    return F.interpolate(knots, size, mode="bilinear", align_corners=True)


def load_panoramas(folder: Path, view: ViewRange | None = None) -> Panoramas:
    """Reads all panoramas of a folder, in the order of their names.

    Raises:
        FileNotFoundError: If the folder holds no picture.
        ValueError: If one is damaged, or not twice as wide as high.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"{folder}: wanted panoramas ({', '.join(sorted(SUFFIXES))}), found none; "
            "do: name another folder, or 'procedural'"
        )
    pictures = [torch.from_numpy(read_picture(path).copy()) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        check_panorama(str(path), picture)
    return Panoramas.of(pictures, view)


def check_panorama(name: str, picture: UInt8[Tensor, "_ _ 3"]) -> None:
    """Refuses pictures that cannot show all directions, or not be halved."""
    height, width = picture.shape[:2]
    if width != ASPECT * height or height % 2 ** (LEVELS - 1):
        raise ValueError(
            f"{name}: wanted a panorama twice as wide as high, its height a multiple of "
            f"{2 ** (LEVELS - 1)}, came {width} x {height}; do: resize it to 1024 x 512"
        )
