"""Reads masks and part maps of people from the files that others write.

A mask is a picture of one channel, 0 outside and 255 (or 1) inside, or shares between; the alpha of
a cut-out; a picture with a palette, or of 16 bits, whose numbers from 1 are people; or an array
(`.npy`, or `mask` in `.npz`) of bools, 0 to 255, or shares from 0 to 1. It has the size of the
upright photo, unless `box` beside it in a `.npz` says which part of the photo it covers:
[x, y, w, h] in pixels.

A part map holds numbers from 0, nothing, to 24, as DensePose counts parts. An IUV map has them in
one of three channels. DensePose writes it with OpenCV, which turns the order round, so that other
readers find I in the blue channel; files written in the order I, U, V have it in the red one. I is
the one that does not exceed 24.

Source: https://github.com/facebookresearch/DensePose, tools/infer_simple.py.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.reading.array_file import read_arrays
from plausibody.predict.reading.boxes import within
from plausibody.predict.reading.json_file import numbers
from plausibody.synth.picture_file import BROKEN, MOST_PIXELS

PARTS = 24
"""Of DensePose."""
MASK = "a mask of a person"
MOST_PEOPLE = 255
"""In one picture of numbered people."""
LEAST_WHITE = 128
"""What the largest value of a grey mask must reach, unless it is 1."""
SURE = 1e-4
"""Shares nearer to 0 or 1 than this are taken for this; 0 and 1 have no finite logits."""


def read_masks(path: Path, width: int, height: int) -> list[SoftMask]:
    """Reads the masks of one or several people.

    Args:
        width: Of the upright photo [px].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no mask of this photo.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        return _from_arrays(path, width, height)
    picture = read_pixels(path, MASK)
    _check_size(path, picture.shape[1], picture.shape[0], width, height, MASK)
    if picture.dtype != np.uint8:
        return [_soft(share, width, height) for share in _people(picture, path)]
    return [_soft(_shares(picture, path), width, height)]


def read_parts(path: Path, width: int, height: int, iuv: bool) -> UInt8[Tensor, "C H W"]:
    """Reads a part map of one channel; of an IUV map the channels I (0 to 24), U and V (0 to 255).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no such map of this photo.
    """
    wanted = "a DensePose IUV map" if iuv else "a part map"
    if path.suffix.lower() in (".npy", ".npz"):
        arrays = read_arrays(path, wanted)
        pixels = arrays.get("", arrays.get("iuv" if iuv else "parts"))
        if pixels is None:
            raise ValueError(
                f"{path}: wanted {wanted} in an array called {'iuv' if iuv else 'parts'}, found "
                f"{', '.join(arrays) or 'none'}; do: save it under that name"
            )
        if iuv and pixels.ndim == 3 and pixels.shape[0] == 3:
            pixels = np.moveaxis(pixels, 0, -1)
    else:
        pixels = read_pixels(path, wanted)
    if pixels.ndim != (3 if iuv else 2) or (iuv and pixels.shape[-1] != 3):
        raise ValueError(
            f"{path}: wanted {wanted}, of {'three channels' if iuv else 'one channel'}, came an "
            f"array of shape {pixels.shape}; do: write it as "
            + ("DensePose does" if iuv else "numbers of parts, 0 to 24")
        )
    advice = "at its size; enlarge one by nearest pixels, since parts have no means"
    _check_size(path, pixels.shape[1], pixels.shape[0], width, height, wanted, advice)
    if pixels.size and not (0 <= pixels.min() <= pixels.max() <= 255):
        raise ValueError(
            f"{path}: wanted {wanted} with numbers from 0 to 255, came {pixels.min():g} to "
            f"{pixels.max():g}; do: write it as DensePose does"
        )
    if (pixels % 1 != 0).any():
        raise ValueError(
            f"{path}: wanted {wanted} of whole numbers, came fractions; do: save parts as 0 to "
            f"{PARTS}, and U and V from 0 to 255 rather than to 1"
        )
    whole = torch.from_numpy(pixels.astype(np.uint8))
    if not iuv:
        whole = whole[None]
    else:
        whole = _in_order(whole.permute(2, 0, 1), path)
    if int(whole[0].max()) > PARTS:
        raise ValueError(
            f"{path}: wanted {wanted}, parts from 0 to {PARTS}, came {int(whole[0].max())}; "
            "do: write the numbers of parts as DensePose counts them"
        )
    return whole


def read_pixels(path: Path, wanted: str) -> NDArray[np.generic]:
    """Reads a picture's numbers as they are: (H, W), of a colour picture (H, W, 3).

    Of a picture with transparency, the alpha. Bytes mean shares or colours; numbers of people
    (palettes, and 16 bits) come as 32-bit integers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, or damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oversized pictures, refused below, and odd metadata
        try:
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise ValueError(
                        f"{path}: wanted {wanted}, came {width} x {height} pixels; do: check it"
                    )
                if picture.mode == "P" and "transparency" not in picture.info:
                    return np.asarray(picture).astype(np.int32)
                if picture.mode == "F" or picture.mode.startswith("I"):
                    return np.asarray(picture).astype(np.int64).clip(-1, 2**31 - 1).astype(np.int32)
                if "A" in picture.getbands() or "transparency" in picture.info:
                    return np.asarray(picture.convert("RGBA"))[..., 3]
                grey = picture.mode in ("1", "L")
                return np.asarray(picture.convert("L" if grey else "RGB"))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: wanted {wanted}, found no file; do: check the path"
            ) from error
        except UnidentifiedImageError as error:
            raise ValueError(
                f"{path}: wanted {wanted}, came something that is no picture; do: save it as PNG"
            ) from error
        except BROKEN as error:
            if str(error).startswith(str(path)):
                raise
            raise ValueError(
                f"{path}: wanted {wanted}, came a picture that breaks off or is damaged "
                f"({type(error).__name__}: {str(error)[:200]}); do: save it again"
            ) from error


def encode_mask(mask: Bool[Tensor, "H W"], inside: int = 255) -> bytes:
    """Gives the content of a PNG of one channel: 0 outside, `inside` (1..255) inside."""
    return encode_numbers(mask.to(torch.uint8) * inside)


def encode_numbers(numbers: UInt8[Tensor, "H W"]) -> bytes:
    """Gives the content of a PNG of one channel with these numbers, such as labels."""
    file = io.BytesIO()
    Image.fromarray(numbers.cpu().numpy()).save(file, "PNG")
    return file.getvalue()


def soft_mask(
    share: Float[Tensor, "h w"], width: int, height: int, left: int = 0, top: int = 0
) -> SoftMask:
    """Makes a mask of the shares of pixels that show a person, kept no larger than the person.

    Args:
        share: 0..1, of part of a photo.
        width: Of the photo [px].
        left: Of that part in the photo [px].
    """
    rows, columns = (share > 0).any(1).nonzero()[:, 0], (share > 0).any(0).nonzero()[:, 0]
    if len(rows):
        first, last = max(int(rows[0]) - 1, 0), int(rows[-1]) + 2
        begin, end = max(int(columns[0]) - 1, 0), int(columns[-1]) + 2
    else:
        first, last, begin, end = 0, 1, 0, 1
    inner = share[first:last, begin:end].clamp(SURE, 1 - SURE)
    shift = torch.tensor([[1.0, 0.0, left + begin], [0.0, 1.0, top + first]])
    return SoftMask(inner.logit(), shift, height, width)


def _from_arrays(path: Path, width: int, height: int) -> list[SoftMask]:
    arrays = read_arrays(path, MASK)
    given = arrays.get("", arrays.get("mask", arrays.get("masks")))
    if given is None or given.ndim not in (2, 3) or 0 in given.shape:
        found = ", ".join(f"{name or 'one'} {array.shape}" for name, array in arrays.items())
        raise ValueError(
            f"{path}: wanted {MASK}, an array called mask of shape (height, width), or (people, "
            f"height, width), found {found or 'none'}; do: save it so"
        )
    several = given.reshape(-1, *given.shape[-2:])
    if "box" not in arrays:
        _check_size(path, several.shape[2], several.shape[1], width, height, MASK)
        return [_soft(_shares(mask, path), width, height) for mask in several]
    x, y, w, h = numbers(
        arrays["box"].reshape(-1).tolist(), 4, f"{path}, box", "[x, y, w, h] in pixels"
    ).tolist()
    within(torch.tensor([[x, y, x + w, y + h]]), width, height, str(path))
    rows, columns = several.shape[1:]
    affine = torch.tensor([[w / columns, 0.0, x], [0.0, h / rows, y]])
    shares = [_shares(mask, path).clamp(SURE, 1 - SURE) for mask in several]
    return [SoftMask(share.logit(), affine, height, width) for share in shares]


def _check_size(
    path: Path,
    came: int,
    high: int,
    width: int,
    height: int,
    wanted: str,
    advice: str = "or save a mask of a part of it as .npz, with mask and box = [x, y, w, h]",
) -> None:
    if (came, high) != (width, height):
        raise ValueError(
            f"{path}: wanted {wanted} of the size of the upright photo, {width} x {height}, came "
            f"{came} x {high}; do: make it of the photo itself, {advice}"
        )


def _soft(share: Float[Tensor, "H W"], width: int, height: int) -> SoftMask:
    return soft_mask(share, width, height)


def _shares(values: NDArray[np.generic], path: Path) -> Float[Tensor, "H W"]:
    """Brings the values of a mask to shares from 0 to 1."""
    if values.ndim == 3:
        if not (values == values[..., :1]).all():
            raise ValueError(
                f"{path}: wanted {MASK}, black and white, came colours; do: check that it is not "
                "the photo, or save numbered people with a palette"
            )
        values = values[..., 0]
    numbers_ = values.astype(np.float32)
    low, high = float(numbers_.min()), float(numbers_.max())
    if not (0 <= low <= high <= 255):
        raise ValueError(
            f"{path}: wanted {MASK}, 0 to 255 or 0 to 1, came {low:g} to {high:g}; do: save it so"
        )
    if 1 < high < LEAST_WHITE:
        raise ValueError(
            f"{path}: wanted {MASK}, white where the person is, came at most {high:g} of 255; "
            "do: save it in black and white, or numbered people with a palette"
        )
    return torch.from_numpy(numbers_) / (1 if high <= 1 else 255)


def _people(ids: NDArray[np.generic], path: Path) -> Iterator[Float[Tensor, "H W"]]:
    """Separates people by their numbers, one at a time; each number above 0 is a person."""
    present = [int(number) for number in np.unique(ids) if number != 0]
    if len(present) > MOST_PEOPLE or min(present, default=0) < 0:
        raise ValueError(
            f"{path}: wanted {MASK}, or people numbered from 1, came {len(present)} different "
            "numbers; do: save it in black and white"
        )
    for number in present:
        yield torch.from_numpy((ids == number).astype(np.float32))


def _in_order(channels: UInt8[Tensor, "3 H W"], path: Path) -> UInt8[Tensor, "3 H W"]:
    """Puts I first, whether it is the first channel or the last."""
    first, last = int(channels[0].max()) <= PARTS, int(channels[2].max()) <= PARTS
    if first and last and bool((channels > 0).any()):
        # Rare: the other channel is dark as well. I is above 0 wherever one of the others is.
        first = bool(((channels[0] > 0) >= (channels[1:] > 0).any(0)).all())
        last = bool(((channels[2] > 0) >= (channels[:2] > 0).any(0)).all())
        if first and last:
            raise ValueError(
                f"{path}: wanted a DensePose IUV map, came one whose first and last channel may "
                "both be parts; do: save the parts alone as a part map"
            )
    if not first and not last:
        largest = [int(channel.max()) for channel in channels]
        swapped = largest[1] <= PARTS
        raise ValueError(
            f"{path}: wanted a DensePose IUV map, with parts from 0 to {PARTS} in the first or "
            f"last channel, came numbers up to {largest[0]} and {largest[2]} there"
            + (" and what may be parts in the middle one" if swapped else "")
            + "; do: "
            + ("write the channels in the order I, U, V" if swapped else
               "write it without scaling or loss, as PNG, with the parts that DensePose counts")
        )  # fmt: skip
    return channels if first else channels.flip(0)
