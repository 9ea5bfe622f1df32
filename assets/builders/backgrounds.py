"""Mends the tone-mapped panoramas: the dark rims that lamps and suns had, and the holes in them.

The HDRIs were once made smaller by a filter that overshoots, so the rim of whatever is far brighter
than white is below zero there, and the middle of a sun is not a number. Tone-mapped, both are black
or blue specks, which an edge detector takes for objects.

    python -m plausibody.assets.builders.backgrounds FOLDER_OF_JPEGS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from PIL import Image
from scipy import ndimage

FOLDER = Path(__file__).resolve().parents[1] / "backgrounds"
DARK, WHITE = 60, 246
"""Red and green of a speck are below the first; it lies near something above the second. 0..255."""
REACH = 7
"""Side of the window in which specks have something white [px]; suns have holes up to 6 wide."""
MOST_WIDTH = 6
"""Dark places that hold a square this wide are objects, not specks [px]."""
SOFT_RIM = 150
"""Pixels beside a speck are mended too if they are darker than this."""


def find_specks(picture: UInt8[ndarray, "H W 3"]) -> Bool[ndarray, "H W"]:
    """Marks dark, thin places around and inside what is white."""
    grey = picture.mean(-1)
    near_white = ndimage.maximum_filter(grey, REACH, mode="wrap") > WHITE
    dark = picture[..., :2].max(-1) < DARK
    wide = ndimage.binary_opening(dark, np.ones((MOST_WIDTH + 1, MOST_WIDTH + 1), bool))
    wide = ndimage.binary_dilation(wide, np.ones((5, 5), bool))
    specks = dark & near_white & ~wide
    beside = ndimage.binary_dilation(specks, np.ones((3, 3), bool))
    return specks | (beside & (grey < SOFT_RIM) & ~wide)


def mend(picture: UInt8[ndarray, "H W 3"]) -> UInt8[ndarray, "H W 3"]:
    """Fills specks with the mean of what is around them, the nearest first."""
    specks = find_specks(picture)
    mended = picture.astype(np.float64)
    missing = specks.copy()
    for spread in (1.0, 2.0, 4.0):
        known = (~specks).astype(np.float64)
        weight = ndimage.gaussian_filter(known, spread, mode=("nearest", "wrap"))
        for channel in range(3):
            total = ndimage.gaussian_filter(
                picture[..., channel] * known, spread, mode=("nearest", "wrap")
            )
            value = total / np.maximum(weight, 1e-6)
            mended[..., channel][missing] = value[missing]
        missing = missing & (weight < 0.1)
    return mended.round().clip(0, 255).astype(np.uint8)


def main(source: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.jpg")):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        if find_specks(pixels).any():
            Image.fromarray(mend(pixels)).save(FOLDER / path.name, quality=92)
        else:
            (FOLDER / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
