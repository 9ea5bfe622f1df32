"""Reads pictures as they come: turned, grey, transparent, printed in four colours, or broken."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from plausibody.synth.picture_file import BROKEN, MOST_PIXELS

SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pgm .png .ppm .tga .tif .tiff "
    ".webp".split()
)
"""File names that end so are taken for pictures when a folder is searched."""
LEAST_SIDE = 32
"""[px]. In smaller pictures nobody is found reliably."""
ONE_PICTURE = ("JPEG", "MPO")
"""Formats whose further pictures are no pages of the user's."""


class PhotoError(ValueError):
    """A picture that cannot be used."""

    def __init__(self, message: str, status: Literal["unreadable", "too_small"] = "unreadable"):
        super().__init__(message)
        self.status: Literal["unreadable", "too_small"] = status


def read_photo(path: Path | str) -> UInt8[Tensor, "H W 3"]:
    """Gives a picture as `decode_photo` does, or as who surrounds the call by `opened_by` does."""
    return _open.get()(Path(path))


@contextlib.contextmanager
def opened_by(opener: Callable[[Path], UInt8[Tensor, "H W 3"]]) -> Iterator[None]:
    """Lets pictures be opened by something else: from memory, or from a video.

    Args:
        opener: Raises what `decode_photo` does. Nobody changes the pictures that it gives.
    """
    token = _open.set(opener)
    try:
        yield
    finally:
        _open.reset(token)


def decode_photo(path: Path | str) -> UInt8[Tensor, "H W 3"]:
    """Reads a picture file upright, in RGB.

    The orientation that a camera wrote into the file is applied. Grey becomes three equal colours,
    16 bits become 8 by their upper half, four-colour print becomes RGB. Transparent parts become
    white, as on paper and in most viewers. Of an animation, the first frame. Colour profiles are
    ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        PhotoError: If it is no picture, damaged, larger than 100 megapixels or smaller than 32
            pixels.
    """
    path = Path(path)
    if path.is_dir():
        raise PhotoError(
            f"{path}: wanted a picture, came a folder; do: find_inputs lists its files"
        )
    if not path.exists():
        what = "a link to nothing" if path.is_symlink() else "no file"
        raise FileNotFoundError(f"{path}: wanted a picture, found {what}; do: check the path")
    if not path.is_file():  # a pipe would keep us waiting
        raise PhotoError(f"{path}: wanted a picture, came something that is no file")
    if path.stat().st_size == 0:
        raise PhotoError(f"{path}: wanted a picture, came an empty file; do: copy it again")
    with warnings.catch_warnings():
        # Pillow warns of oversized pictures, checked below, and of odd metadata, of no matter here.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as picture:
                _check_size(path, picture.size)
                picture.load()
                pixels = np.asarray(_to_rgb(path, ImageOps.exif_transpose(picture)))
        except PhotoError:
            raise
        except Image.DecompressionBombError as error:
            raise PhotoError(
                f"{path}: wanted at most {MOST_PIXELS // 10**6} megapixels, came many more "
                f"({error}); do: shrink it, a side of 2000 pixels is plenty"
            ) from error
        except UnidentifiedImageError as error:
            apple = path.suffix.lower() in (".heic", ".heif")
            do = "save it as JPEG" if apple else "save it as JPEG or PNG, or leave it out"
            raise PhotoError(
                f"{path}: wanted a picture of a known format, came something else; do: {do}"
            ) from error
        except PermissionError as error:
            raise PhotoError(
                f"{path}: wanted a picture, came a file that you may not read; "
                "do: change its permissions"
            ) from error
        except BROKEN as error:
            raise PhotoError(
                f"{path}: wanted a whole picture, came one that breaks off or is damaged "
                f"({type(error).__name__}: {error}); do: copy or save it again"
            ) from error
    return torch.from_numpy(pixels.copy())


def note_of_frames(path: Path | str) -> str:
    """Says that a file has several pictures, of which the first is taken; empty if it has one.

    The second picture that cameras add to a JPEG, as a small or a stereoscopic one, does not count.
    """
    try:
        if not Path(path).is_file():  # such as the frame of a video
            return ""
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")
            if picture.format in ONE_PICTURE or not getattr(picture, "is_animated", False):
                return ""
            kind = "pages" if picture.format == "TIFF" else "frames"
            return f"has several {kind}; only the first is looked at"
    except BROKEN:
        return ""


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MOST_PIXELS:
        raise PhotoError(
            f"{path}: wanted at most {MOST_PIXELS // 10**6} megapixels, came {width} x {height} "
            f"= {width * height / 1e6:.0f}; do: shrink it, a side of 2000 pixels is plenty"
        )
    if min(width, height) < LEAST_SIDE:
        raise PhotoError(
            f"{path}: wanted at least {LEAST_SIDE} pixels on each side, came {width} x {height}; "
            "do: use a larger version",
            status="too_small",
        )


def _to_rgb(path: Path, picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise PhotoError(
            f"{path}: wanted a picture of 8 or 16 bits per colour, came floating-point numbers, "
            "whose range is unknown; do: save it as JPEG or PNG"
        )
    if picture.mode.startswith("I"):  # 16 bits, or 32 with 16 in use
        deep = np.asarray(picture).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return picture.convert("RGB")


_open: ContextVar[Callable[[Path], UInt8[Tensor, "H W 3"]]] = ContextVar(
    "opener", default=decode_photo
)
