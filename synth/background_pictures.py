"""Backgrounds from many pictures: which one, which part of it, and mirrored or not, are drawn.

Pictures come from a reader (a store, a database, a folder), squares of one size. Those that must be
decoded are kept in memory, the longest unused making room, and decoded by threads; which picture a
sample gets depends on its number alone, never on what is in memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from plausibody.synth.chance import Chance
from plausibody.synth.memory import free_memory, require_memory
from plausibody.synth.picture_file import PictureError

MOST_KEPT = 20_000
"""Decoded pictures; 3.9 GB at 256 px."""
LEAST_KEPT = 256
"""Fewer do not hold the pictures of a batch and of the next."""
SHARE = 0.25
"""Of the free memory that decoded pictures take unless told otherwise."""
CHUNK = 4
"""Pictures sampled at once on a CPU, so that they stay in its cache."""
MOST_BROKEN_IN_A_ROW = 50
"""So many unreadable pictures one after the other are no accident."""


@runtime_checkable
class PictureReader(Protocol):
    """Pictures by number; threads may read at the same time."""

    @property
    def side(self) -> int:
        """[px]."""
        ...

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """Tells which picture it is, for messages."""
        ...

    def read(self, number: int) -> UInt8[ndarray, "side side 3"]:
        """Gives a picture, or raises `PictureError`."""
        ...


@runtime_checkable
class PictureSet(Protocol):
    """Pictures by numbers."""

    @property
    def side(self) -> int: ...

    def __len__(self) -> int: ...

    def gather(self, numbers: Int[Tensor, " n"]) -> UInt8[Tensor, "n side side 3"]:
        """Gives pictures on the device of the numbers."""
        ...

    def expect(self, numbers: Int[Tensor, " n"]) -> None:
        """Begins to fetch pictures that will be wanted soon."""
        ...


@dataclass(frozen=True)
class StoredPictures:
    """A store, in a file or read into a device's memory."""

    pictures: UInt8[ndarray, "N side side 3"] | UInt8[Tensor, "N side side 3"]

    @property
    def side(self) -> int:
        return int(self.pictures.shape[1])

    def __len__(self) -> int:
        return len(self.pictures)

    def gather(self, numbers: Int[Tensor, " n"]) -> UInt8[Tensor, "n side side 3"]:
        if isinstance(self.pictures, Tensor):
            return self.pictures[numbers.to(self.pictures.device)].to(numbers.device)
        return torch.from_numpy(self.pictures[numbers.cpu().numpy()]).to(numbers.device)

    def expect(self, numbers: Int[Tensor, " n"]) -> None:
        pass  # the system's file cache serves

    @property
    def bytes(self) -> int:
        return len(self) * self.side**2 * 3

    def fits(self, device: torch.device | str) -> bool:
        """Tells whether all pictures take less than half of a GPU's free memory."""
        device = torch.device(device)
        if device.type != "cuda":
            return True
        return self.bytes < 0.5 * torch.cuda.mem_get_info(device)[0]

    def resident(self, device: torch.device | str) -> StoredPictures:
        """Reads all pictures into the memory of a device.

        Raises:
            ValueError: If they do not fit.
        """
        remedy = "import fewer with --count, or leave them on disk"
        if not self.fits(device):
            free = torch.cuda.mem_get_info(device)[0]
            raise ValueError(
                f"backgrounds: wanted {self.bytes / 1e9:.2f} GB in the memory of {device}, came "
                f"half of the free {free / 1e9:.2f} GB; do: {remedy}"
            )
        if isinstance(self.pictures, Tensor):
            return StoredPictures(self.pictures.to(device))
        require_memory(self.bytes, "backgrounds", remedy)
        return StoredPictures(torch.from_numpy(np.array(self.pictures)).to(device))


class DecodedPictures:
    """Pictures that threads decode when they are wanted, and some of which stay in memory.

    An unreadable picture is skipped: the next readable one stands in for it, always the same.
    """

    def __init__(self, reader: PictureReader, memory: int | None = None, threads: int = 2):
        """Args:
        memory: For decoded pictures [bytes]; by default a quarter of what is free, for at most
            20,000 pictures.
        threads: Which decode.

        Raises:
            ValueError: If the memory does not hold 256 pictures, or as many as there are.
        """
        each, least = reader.side**2 * 3, min(len(reader), LEAST_KEPT)
        remedy = "ask for a smaller side, or free some"
        if memory is None:
            free = free_memory()
            memory = MOST_KEPT * each if free is None else min(MOST_KEPT * each, int(SHARE * free))
        require_memory(memory, "decoded backgrounds", remedy)
        if memory < least * each:
            raise ValueError(
                f"decoded backgrounds: wanted memory for {least} pictures, {least * each / 1e6:.0f}"
                f" MB, came {memory / 1e6:.0f} MB; do: {remedy}"
            )
        self._reader, self._kept = reader, memory // each
        self._pictures: OrderedDict[int, Future[ndarray]] = OrderedDict()
        self._skipped: dict[str, str] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="backgrounds")

    @property
    def side(self) -> int:
        return self._reader.side

    @property
    def skipped(self) -> Mapping[str, str]:
        """The unreadable pictures met so far, and what is wrong with each."""
        with self._lock:
            return dict(self._skipped)

    def __len__(self) -> int:
        return len(self._reader)

    def gather(self, numbers: Int[Tensor, " n"]) -> UInt8[Tensor, "n side side 3"]:
        wanted = [self._request(number) for number in numbers.tolist()]
        gathered = torch.empty((len(wanted), self.side, self.side, 3), dtype=torch.uint8)
        for row, future in zip(gathered.numpy(), wanted, strict=True):
            row[:] = future.result()
        return gathered.to(numbers.device)

    def expect(self, numbers: Int[Tensor, " n"]) -> None:
        for number in numbers.tolist()[: self._kept // 2]:
            self._request(number)

    def _request(self, number: int) -> Future[ndarray]:
        with self._lock:
            future = self._pictures.get(number)
            if future is None:
                future = self._pictures[number] = self._pool.submit(self._read, number)
            self._pictures.move_to_end(number)
            while len(self._pictures) > self._kept:
                self._pictures.popitem(last=False)
        return future

    def _read(self, number: int) -> UInt8[ndarray, "side side 3"]:
        tried = min(len(self), MOST_BROKEN_IN_A_ROW)
        reason = ""
        for other in range(number, number + tried):
            try:
                return self._reader.read(other % len(self))
            except PictureError as error:
                reason = str(error)
                with self._lock:
                    self._skipped[self._reader.name(other % len(self))] = reason
        raise PictureError(
            f"wanted a readable picture from {self._reader.name(number)} on, the next {tried} are "
            f"not; the last: {reason}"
        )


@dataclass(frozen=True)
class CropSettings:
    """Which part of a square picture becomes the background."""

    scale: tuple[float, float] = (0.7, 1.0)
    """Range of the crop's side over the picture's; (1, 1) takes all of it, as the published
    recipes do."""
    mirrored: float = 0.5
    """Probability."""


@dataclass(frozen=True)
class Pictures:
    """Parts of pictures."""

    pictures: PictureSet
    crop: CropSettings = CropSettings()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def skipped(self) -> Mapping[str, str]:
        """The unreadable pictures met so far, and what is wrong with each."""
        return self.pictures.skipped if isinstance(self.pictures, DecodedPictures) else {}

    def to(self, device: torch.device | str) -> Pictures:
        """Moves a store into a GPU's memory if it takes less than half of what is free.

        Others stay where they are, and what is drawn travels batch by batch: stores in their file,
        of which the system keeps in memory what it can, decoded pictures in memory.
        """
        stored = self.pictures
        if torch.device(device).type == "cpu" or not isinstance(stored, StoredPictures):
            return self
        return self.resident(device) if stored.fits(device) else self

    def resident(self, device: torch.device | str) -> Pictures:
        """Reads a store into the memory of a device.

        Raises:
            ValueError: If it does not fit, or if these are no stored pictures.
        """
        if not isinstance(self.pictures, StoredPictures):
            raise ValueError(
                "backgrounds: wanted a picture store, came pictures that must be decoded; "
                "do: import them first, with plausibody assets import"
            )
        return Pictures(self.pictures.resident(device), self.crop)

    def expect(self, chance: Chance) -> None:
        """Begins to fetch what `draw` will want for these samples."""
        self.pictures.expect(self._which(chance))

    @torch.no_grad()
    def draw(self, chance: Chance, size: tuple[int, int]) -> UInt8[Tensor, "batch 3 H W"]:
        """Draws a picture and a part of it for each sample.

        Args:
            size: Height and width of the backgrounds [px]. The part has their shape.
        """
        squares = self.pictures.gather(self._which(chance))
        low, high = self.crop.scale
        scale = chance.uniform("background/scale", low=low, high=high)
        place = chance.uniform("background/place", 2)
        mirrored = chance.chance("background/mirrored", self.crop.mirrored)
        if low == high == 1.0 and size == (self.pictures.side, self.pictures.side):
            straight = squares.permute(0, 3, 1, 2)
            return torch.where(mirrored[:, None, None, None], straight.flip(-1), straight)
        return _cut(squares, scale, place, mirrored, low, size)

    def _which(self, chance: Chance) -> Int[Tensor, " batch"]:
        return chance.integer("background/picture", len(self.pictures))


def _cut(
    squares: UInt8[Tensor, "batch S S 3"],
    scale: Float[Tensor, " batch"],
    place: Float[Tensor, "batch 2"],
    mirrored: Bool[Tensor, " batch"],
    least: float,
    size: tuple[int, int],
) -> UInt8[Tensor, "batch 3 H W"]:
    """Samples a part of each picture, of the shape of `size` and at most as large as fits.

    Args:
        scale: Side of the part over the largest possible.
        place: 0 at the left or top, 1 at the right or bottom.
        least: Value of `scale` in any batch.
    """
    if not len(squares):
        return squares.new_empty((0, 3, *size))
    height, width = size
    longer, side = max(size), squares.shape[1]
    # The middles of the pixels, over the side of the part; the part's sides, over the picture's.
    down = (torch.arange(height, device=squares.device) + 0.5) / height
    right = (torch.arange(width, device=squares.device) + 0.5) / width
    part_width, part_height = scale * (width / longer), scale * (height / longer)
    x = place[:, :1] * (1 - part_width[:, None]) + part_width[:, None] * right
    y = place[:, 1:] * (1 - part_height[:, None]) + part_height[:, None] * down
    x = torch.where(mirrored[:, None], x.flip(-1), x)
    # Far larger pictures are averaged first, against aliasing.
    fold = max(1, int(side * least / longer))
    even = side // fold * fold
    parts = []
    several = len(squares) if squares.is_cuda else CHUNK
    for some in torch.arange(len(squares), device=squares.device).split(several):
        pixels = squares[some, :even, :even].permute(0, 3, 1, 2).float()
        pixels = F.avg_pool2d(pixels, fold) if fold > 1 else pixels
        grid = torch.stack(
            [
                x[some, None].expand(-1, height, -1) * (2 * side / even) - 1,
                y[some, :, None].expand(-1, -1, width) * (2 * side / even) - 1,
            ],
            -1,
        )
        sampled = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        parts.append((sampled + 0.5).to(torch.uint8))
    return torch.cat(parts)
