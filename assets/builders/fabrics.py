"""Chooses the photographed fabrics that the procedural textures may wear.

    python -m plausibody.assets.builders.fabrics fabric_patches.npz

The input holds crops of 160 x 160 pixels from the diffuse maps of MakeHuman's clothes and shoes,
`patches` uint8 [N 160 160 3]: only from files whose SHA-256 equals the object name by which the CC0
release (makehumancommunity/makehuman-assets, September 2020) lists them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "fabrics" / "fabrics.npz"

CHOSEN = {
    "denim": (0, 15, 16, 17, 18, 20, 28, 29, 30, 31),
    "cloth": (2, 12, 13, 27, 32, 42, 44, 45, 47),
    "stripes": (14,),
    "suit": (39, 40),
    "knit": (60, 64, 78),
    "leather": (48, 50, 52, 66, 67),
}
"""Crops that show cloth from edge to edge, by eye; the others show the flat ground between the
pieces of a pattern, soles or laces."""


def build(patches: Path, output: Path) -> None:
    with np.load(patches, allow_pickle=False) as file:
        crops = file["patches"]
    if crops.shape[1:] != (160, 160, 3) or crops.dtype != np.uint8:
        raise ValueError(
            f"{patches}: wanted patches uint8 [N 160 160 3], got {crops.dtype} {crops.shape}"
        )
    chosen = [(kind, number) for kind, numbers in CHOSEN.items() for number in numbers]
    output.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        output,
        pictures=crops[[number for _, number in chosen]],
        kinds=np.array([kind for kind, _ in chosen]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patches", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    build(arguments.patches, arguments.output)


if __name__ == "__main__":
    main()
