"""Cloth for procedural textures: colours, patterns, photographed weaves, folds.

Patterns run over the body in three dimensions: along limbs and around them, in metres, not along
the texture's islands. A fabric is a colour for each texel that is asked for.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.synth.texels import Texels
from plausibody.synth.texture_outfits import Draw

FABRICS = "fabrics/fabrics.npz"
_ARMS = tuple(range(15, 23))

PATTERNS = {
    "solid": 0.36, "heather": 0.1, "hoops": 0.09, "pinstripes": 0.05, "check": 0.08, "dots": 0.04,
    "camouflage": 0.04, "gradient": 0.03, "photo": 0.21,
}  # fmt: skip
"""Share of each pattern."""
_PLAIN = {"solid": 0.5, "heather": 0.2, "photo": 0.3}


def load_fabrics(directories: Sequence[Path] | None = None) -> UInt8[ndarray, "P side side 3"]:
    """Opens the photographed fabrics that ship (CC0)."""
    path = find_asset(FABRICS, directories)
    pictures = read_arrays(path, ("pictures",)).get("pictures")
    if pictures is None or pictures.ndim != 4 or pictures.dtype != np.uint8 or not len(pictures):
        came = "none" if pictures is None else f"{pictures.dtype} {pictures.shape}"
        raise ValueError(f"{path}: wanted pictures, uint8 [P side side 3], got {came}")
    return pictures


def draw_colour(draw: Draw, name: str) -> Float[ndarray, 3]:
    """Draws a colour as clothes have them: often dark or pale, rarely glaring."""
    kind = draw.pick(
        f"{name}/kind",
        {"black": 0.16, "white": 0.12, "grey": 0.12, "navy": 0.12, "earth": 0.14, "any": 0.34},
    )
    hue, saturation, value = (draw.uniform(f"{name}/{part}") for part in ("h", "s", "v"))
    match kind:
        case "black":
            hsv = (hue, 0.15 * saturation, 0.04 + 0.14 * value)
        case "white":
            hsv = (hue, 0.08 * saturation, 0.82 + 0.14 * value)
        case "grey":
            hsv = (hue, 0.08 * saturation, 0.25 + 0.5 * value)
        case "navy":
            hsv = (0.57 + 0.1 * hue, 0.4 + 0.4 * saturation, 0.15 + 0.4 * value)
        case "earth":
            hsv = (0.05 + 0.2 * hue, 0.2 + 0.45 * saturation, 0.2 + 0.55 * value)
        case _:
            hsv = (hue, 0.3 + 0.6 * saturation, 0.25 + 0.7 * value)
    return np.array(colorsys.hsv_to_rgb(*hsv), np.float32)


def cut_fabric(
    draw: Draw,
    name: str,
    texels: Texels,
    where: Bool[ndarray, " N"],
    photos: UInt8[ndarray, "P side side 3"],
    *,
    plain: bool = False,
    lower: bool = False,
) -> Float[ndarray, "n 3"]:
    """Gives a garment's colour at each of its texels, 0..1.

    Args:
        where: The garment.
        plain: Leaves loud patterns out: shoes, gloves, hats.
        lower: Trousers and skirts: plainer on the whole than shirts.
    """
    calm = plain or (lower and draw.chance(f"{name}/calm", 0.7))
    pattern = draw.pick(f"{name}/pattern", _PLAIN if calm else PATTERNS)
    first, second = draw_colour(draw, f"{name}/first"), draw_colour(draw, f"{name}/second")
    along, across = _directions(texels, where)
    period = draw.uniform(f"{name}/period", 0.014, 0.075)
    duty = draw.uniform(f"{name}/duty", 0.2, 0.75)

    def noise(band: float, layer: str) -> ndarray:
        return texels.noise.band(band, draw.mixture(f"{name}/{layer}"))[where]

    share: ndarray | None = None  # of the second colour
    match pattern:
        case "hoops":
            share = _band(along / period, duty)
        case "pinstripes":
            share = _band(across / (0.6 * period), 0.25 * duty + 0.05)
        case "check":
            share = 0.5 * _band(along / period, duty) + 0.5 * _band(across / period, duty)
        case "dots":
            cell = np.stack([along, across]) / period
            centre = np.hypot(*((cell % 1) - 0.5))
            share = np.clip((0.28 - centre) / 0.08 + 0.5, 0, 1)
        case "camouflage":
            share = np.select([noise(9.0, "blots") > 0.3, noise(9.0, "spots") > 0.5], [1.0, 0.5])
        case "gradient":
            share = np.clip((along - along.min()) / (np.ptp(along) + 1e-6), 0, 1)
        case "heather":
            share = 0.12 + 0.08 * texels.noise.white(draw.below(name, 1 << 18))[where]
            share = np.clip(share, 0, 0.4)
    if pattern == "photo":
        colour = _photo(draw, name, photos, along, across, first)
    elif share is None:
        colour = np.repeat(first[None], len(along), 0)
    else:
        colour = first + share[:, None].astype(np.float32) * (second - first)

    # Creases are narrow and dark, the cloth between them broad and even.
    fold, crease = noise(-2.0, "fold"), noise(9.0, "crease")
    depth = draw.uniform(f"{name}/depth", 0.02, 0.09)
    shade = 1 + depth * (fold - 1.2 * np.exp(-np.abs(crease) / 0.12))
    weave = 0.025 * texels.noise.white(draw.below(f"{name}/weave", 1 << 18))[where]
    return np.clip(colour * (shade + weave)[:, None], 0, 1).astype(np.float32)


def _directions(
    texels: Texels, where: Bool[ndarray, " N"]
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Gives each texel's place along the limb and around it [m].

    Sleeves have the arm's direction: hoops run round arms as they run round the trunk.
    """
    x, y, z = texels.place[where].T
    arm = np.isin(texels.part[where], _ARMS)
    shoulder = texels.joint("left_shoulder")
    # Hoops meet at the shoulder: the distance from it continues the height below it.
    along = np.where(arm, shoulder[1] - 0.12 + np.abs(x) - shoulder[0], y)
    on_leg = np.isin(texels.part[where], range(5, 15))
    axis = np.where(on_leg, np.sign(x) * texels.joint("left_knee")[0], 0.0)
    radius = np.where(on_leg, 0.08, 0.15)
    around = np.arctan2(x - axis, z - texels.joint("pelvis")[2]) * radius
    # Round the trunk, the distance across serves better than the angle: stripes stay upright.
    across = np.where(arm, np.arctan2(z - shoulder[2], y - shoulder[1]) * 0.05, around)
    torso = ~arm & ~on_leg
    return along, np.where(torso, x, across)


def _band(phase: Float[ndarray, " n"], duty: float) -> Float[ndarray, " n"]:
    """Gives stripes with softened borders; a share `duty` of each period is 1."""
    distance = np.abs(phase % 1 - 0.5)
    return np.clip((duty / 2 - distance) / 0.08 + 0.5, 0, 1)


def _photo(
    draw: Draw,
    name: str,
    photos: UInt8[ndarray, "P side side 3"],
    along: Float[ndarray, " n"],
    across: Float[ndarray, " n"],
    tint: Float[ndarray, 3],
) -> Float[ndarray, "n 3"]:
    photo = photos[draw.below(f"{name}/photo", len(photos))].astype(np.float32) / 255
    if draw.chance(f"{name}/tinted", 0.5):
        grey = photo.mean(-1, keepdims=True)
        photo = tint * (0.35 + 0.65 * grey / max(float(grey.mean()), 0.05))
    side = len(photo)
    scale = side / draw.uniform(f"{name}/scale", 0.16, 0.4)  # texels per metre
    start = draw.uniform(f"{name}/start", 0.0, float(side))
    rows, columns = (_mirrored(place * scale + start, side) for place in (along, across))
    return np.clip(photo[rows, columns], 0, 1)


def _mirrored(place: Float[ndarray, " n"], side: int) -> ndarray:
    """Repeats a picture forwards and backwards, so that its borders meet."""
    turn = np.floor(place).astype(np.int64) % (2 * side)
    return np.minimum(turn, 2 * side - 1 - turn)
