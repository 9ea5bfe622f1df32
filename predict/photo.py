"""Reads pictures as they come: turned, grey, transparent, printed in four colours, or broken."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
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


class PhotoError(ValueError):
    """A picture that cannot be used."""

    def __init__(self, message: str, status: Literal["unreadable", "too_small"] = "unreadable"):
        super().__init__(message)
        self.status: Literal["unreadable", "too_small"] = status


def read_photo(path: Path | str) -> UInt8[Tensor, "H W 3"]:
    """Reads a picture upright, in RGB.

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
            f"{path}: wanted a picture, came a folder; do: find_photos lists its files"
        )
    if not path.exists():
        raise FileNotFoundError(f"{path}: wanted a picture, found no file; do: check the path")
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


@dataclass(frozen=True)
class PhotoList:
    """The pictures found below some paths."""

    paths: tuple[Path, ...]
    """Each once, in the order given; a folder's in the order of their names."""
    ignored: int
    """Files in folders that are hidden or not named like pictures."""


def find_photos(paths: Iterable[Path | str]) -> PhotoList:
    """Lists the pictures that files and folders name.

    A file is taken whatever its name; of a folder, the files that are named like pictures. Folders
    inside folders are not searched.

    Raises:
        FileNotFoundError: If a path does not exist, or a folder has no picture.
    """
    found: dict[Path, None] = {}
    ignored = 0
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: wanted a picture or a folder of pictures, found nothing; "
                "do: check the path"
            )
        if not path.is_dir():
            found[path] = None
            continue
        files = sorted(file for file in path.iterdir() if file.is_file())
        photos = [file for file in files if _is_named_like_a_picture(file)]
        if not photos:
            inner = sum(1 for entry in path.iterdir() if entry.is_dir())
            raise FileNotFoundError(
                f"{path}: wanted a folder with pictures ({', '.join(sorted(SUFFIXES))}), "
                f"found none among {len(files)} files (folders inside, not searched: {inner}); "
                "do: name the folder that holds them"
            )
        ignored += len(files) - len(photos)
        found.update(dict.fromkeys(photos))
    return PhotoList(tuple(found), ignored)


def _is_named_like_a_picture(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in SUFFIXES


def file_stamp(path: Path) -> list[int]:
    """Tells a file from an altered one: size [bytes] and time of change [ns]; zeros for none."""
    try:
        state = path.stat()
    except OSError:
        return [0, 0]
    return [state.st_size, state.st_mtime_ns]
