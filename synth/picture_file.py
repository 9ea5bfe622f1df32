"""Reads picture files whole, or as the square in their middle."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
"""File names that end so are taken for pictures when a folder is searched."""
MOST_PIXELS = 100_000_000
"""More are refused unread: 300 MB at three bytes each, and a sign of a trap in a small file."""
FORMATS = ("JPEG", "PNG", "WEBP")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The tag of EXIF that tells how a picture lies, and its values for those that lie on a side."""
LEAST_SIDE = 16
"""[px]. Smaller pictures are no backgrounds."""

BROKEN: tuple[type[Exception], ...] = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(struct.error, zlib.error, MemoryError, NotImplementedError, Image.DecompressionBombError),
)
"""What Pillow's readers raise on damaged files."""


class PictureError(ValueError):
    """A picture that cannot be used."""


def decode_square(data: bytes, name: str, side: int) -> UInt8[ndarray, "side side 3"]:
    """Decodes a JPEG, PNG or WebP picture, upright, and cuts the square from its middle.

    Args:
        data: Contents of the file.
        name: For messages.
        side: Of the result [px]; the picture's shorter side becomes this long.

    Raises:
        PictureError: If it is no picture, is damaged, or has no usable size.
    """
    picture = _decode(data, name, (side, side))
    return np.asarray(
        ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR), dtype=np.uint8
    )


def decode(data: bytes, name: str) -> UInt8[ndarray, "H W 3"]:
    """Decodes a JPEG, PNG or WebP picture, upright, at its own size.

    Raises:
        PictureError: As `decode_square`.
    """
    return np.asarray(_decode(data, name, None), dtype=np.uint8)


def read_picture(path: Path) -> UInt8[ndarray, "H W 3"]:
    """Reads a picture from a file."""
    return decode(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Reads a file that should hold a picture."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: wanted a picture, cannot read the file ({error})") from error


def read_numbers(
    path: Path, colours: frozenset[tuple[int, ...]] = frozenset()
) -> UInt8[ndarray, "H W *planes"]:
    """Reads a PNG of labels as it was written: one plane of numbers, or three of colours.

    Args:
        colours: A palette of nothing else (red, green, blue) is what the file is about, and three
            planes of colours are given; of other palettes the numbers are.

    Raises:
        PictureError: If it is no PNG, or damaged.
    """
    try:
        with Image.open(path, formats=("PNG",)) as file:
            plain = file.mode == "L"
            if file.mode == "P":
                palette = np.reshape(file.getpalette() or (), (-1, 3)).tolist()
                plain = not colours.issuperset(map(tuple, palette))
            return np.asarray(file if plain else file.convert("RGB"))
    except BROKEN as error:
        raise PictureError(
            f"{path}: wanted a PNG, came something else ({type(error).__name__}: {error})"
        ) from error


def picture_size(path: Path) -> tuple[int, int]:
    """Gives the width and height [px] of a picture as `read_picture` would, from its header.

    Raises:
        PictureError: If it is no picture, or its header is damaged.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ORIENTATION, 1) in SIDEWAYS
    except BROKEN as error:
        raise PictureError(
            f"{path}: wanted a JPEG, PNG or WebP picture, came something else "
            f"({type(error).__name__}: {error}); do: copy it again or leave it out"
        ) from error
    return (height, width) if turned else (width, height)


def _decode(data: bytes, name: str, least: tuple[int, int] | None) -> Image.Image:
    if not data:
        raise PictureError(f"{name}: wanted a picture, came nothing; do: copy it again")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS or min(width, height) < LEAST_SIDE:
                raise PictureError(
                    f"{name}: wanted a picture with sides from {LEAST_SIDE} px and at most "
                    f"{MOST_PIXELS // 10**6} megapixels, came {width} x {height}; do: leave it out"
                )
            if least:
                picture.draft("RGB", least)  # a large JPEG decodes faster at a half or quarter
            return ImageOps.exif_transpose(picture).convert("RGB")
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name}: wanted a JPEG, PNG or WebP picture, came something else; do: leave it out"
        ) from error
    except BROKEN as error:
        raise PictureError(
            f"{name}: wanted a whole picture, came one that breaks off or is damaged "
            f"({type(error).__name__}: {error}); do: copy it again or leave it out"
        ) from error
