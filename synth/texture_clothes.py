"""Paints clothes: where each garment of an outfit lies on the body, and in which fabric.

Borders are signed depths in metres on the neutral body in its rest pose: positive inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from plausibody.synth.texels import Texels
from plausibody.synth.texture_canvas import Canvas, label_number
from plausibody.synth.texture_fabrics import cut_fabric, draw_colour
from plausibody.synth.texture_outfits import Draw, Outfit
from plausibody.synth.texture_skin import GREY

_TORSO, _HANDS, _FEET, _HEAD = (1, 2), (3, 4), (5, 6), (23, 24)
_LEGS, _ARMS = tuple(range(7, 15)), tuple(range(15, 23))
_FAR = 1.0
"""A depth inside any border [m]."""


@dataclass(frozen=True)
class Pattern:
    """Where the garments of an outfit lie; every depth is for all texels [m]."""

    texels: Texels
    outfit: Outfit
    wobble: Float[ndarray, " N"]
    """Unevenness of borders [m]."""
    neckline: tuple[str, float]
    """round, v or high; its depth below the neck [m]."""

    @cached_property
    def waist(self) -> Float[ndarray, " N"]:
        """Height above the lower garment's upper border."""
        usual = self.texels.joint("pelvis")[1] + 0.045
        # Trousers sit higher at the back.
        tilt = 0.05 * (self.texels.joint("pelvis")[2] - self.texels.place[:, 2])
        return self.texels.place[:, 1] - usual - self.outfit.waist - tilt - self.wobble

    def upper(self) -> Float[ndarray, " N"]:
        """Gives how deep each texel lies inside the upper garment [m]; negative outside."""
        outfit, texels = self.outfit, self.texels
        _, y, z = texels.place.T
        shoulder, wrist = texels.joint("left_shoulder"), texels.joint("left_wrist")
        bottom = self.waist + outfit.overlap
        if outfit.upper == "bra":
            chest = texels.joint("spine3")[1]
            band = np.minimum(y - chest + 0.11, shoulder[1] - 0.075 - y)
            straps = 0.016 - np.abs(texels.reach - 0.085)
            depth = np.maximum(band, np.minimum(straps, y - chest + 0.11))
            return np.where(texels.on(*_TORSO), depth, -_FAR)
        depth = np.minimum(bottom, self._neck_depth())
        if outfit.upper == "tank":
            # The arm hole: a strap over the shoulder, the side closed below the armpit.
            hole = 0.125 + np.clip(shoulder[1] - 0.03 - y, 0, None) * 0.9 - texels.reach
            depth = np.minimum(depth, np.where(y > shoulder[1] - 0.16, hole, _FAR))
            return np.where(texels.on(*_TORSO), depth, -_FAR)
        end = shoulder[0] + outfit.sleeve * (wrist[0] - shoulder[0])
        depth = np.where(texels.on(*_ARMS), end - texels.reach + self.wobble, depth)
        # The chart's border between trunk and neck is jagged; the collar's is not.
        collar = texels.joint("neck")[1] + self.collar - 0.2 * (z - shoulder[2]) - y
        depth = np.where(texels.on(*_TORSO, *_HEAD), np.minimum(depth, collar), depth)
        return np.where(texels.on(*_TORSO, *_ARMS, *_HEAD), depth, -_FAR)

    @property
    def collar(self) -> float:
        """How far the cloth may reach up the neck [m]."""
        return self.neckline[1] if self.neckline[0] == "high" else 0.01

    def _neck_depth(self) -> Float[ndarray, " N"]:
        """Gives the distance from the opening at the neck."""
        texels, (kind, down) = self.texels, self.neckline
        _, y, z = texels.place.T
        neck = texels.joint("neck")
        if kind == "high":
            return np.full(len(y), _FAR)
        front = z > neck[2] + 0.01
        below = neck[1] - 0.005 - np.where(front, down, 0.02)
        if kind == "v":
            half = np.where(front, 0.012 + 0.75 * np.clip(y - below, 0, 0.12), 0.085)
            return np.where(y < below, _FAR, texels.reach - np.minimum(half, 0.085))
        wide = 0.075 + 0.4 * down
        inside = np.hypot(texels.reach / wide, np.clip(neck[1] + 0.03 - y, 0, None) / (
            neck[1] + 0.03 - below))  # fmt: skip
        return (inside - 1) * 0.06

    def lower(self) -> Float[ndarray, " N"]:
        """Gives how deep each texel lies inside the lower garment [m]; negative outside."""
        outfit, texels = self.outfit, self.texels
        y = texels.place[:, 1]
        hip, ankle = texels.joint("left_hip"), texels.joint("left_ankle")
        if outfit.lower == "briefs":
            crotch = hip[1] - 0.075
            leg = y - crotch - 0.8 * np.clip(texels.reach - 0.045, 0, None)
            depth = np.minimum(-self.waist - 0.04, leg)
            return np.where(texels.on(*_TORSO, *_LEGS), depth, -_FAR)
        end = hip[1] + outfit.leg * (ankle[1] - hip[1])
        depth = np.minimum(-self.waist, y - end - self.wobble)
        return np.where(texels.on(*_TORSO, *_LEGS), depth, -_FAR)


def draw_pattern(draw: Draw, outfit: Outfit, texels: Texels) -> Pattern:
    """Draws how an outfit is cut: its neckline, and how straight its hems are."""
    kinds = {"round": 0.6, "v": 0.22, "high": 0.18}
    if outfit.upper == "jacket":
        kinds = {"high": 1.0}
    elif outfit.upper == "tank":
        kinds = {"round": 0.8, "v": 0.2}
    kind = draw.pick("neckline", kinds)
    deep = outfit.feminine or outfit.upper == "tank"
    down = {
        "round": draw.uniform("neckline/down", 0.01, 0.1 if deep else 0.04),
        "v": draw.uniform("neckline/down", 0.04, 0.12),
        "high": draw.uniform("neckline/down", 0.0, 0.035),
    }[kind]
    wobble = 0.004 * texels.noise.band(9.0, draw.mixture("wobble"))
    return Pattern(texels, outfit, wobble, (kind, down))


def dress_texture(
    canvas: Canvas, draw: Draw, outfit: Outfit, photos: UInt8[ndarray, "P side side 3"]
) -> None:
    """Paints the clothes of an outfit, from the skin outwards."""
    pattern = draw_pattern(draw, outfit, canvas.texels)
    _paint_socks(canvas, draw, outfit)
    lower = canvas.soft(pattern.lower())
    upper = canvas.soft(pattern.upper()) if outfit.upper != "none" else np.zeros_like(lower)
    if outfit.grey:
        canvas.paint(lower, 0.8 * GREY, "lower")
        canvas.paint(upper, 0.8 * GREY, "upper")
        return
    name = "dress" if outfit.dress else "lower"
    _sew(canvas, draw, name, lower, photos, "lower")
    if not outfit.dress and outfit.lower != "briefs" and draw.chance("belt", 0.3):
        belt = canvas.soft(np.minimum(-pattern.waist, pattern.waist + 0.03)) * (lower > 0.5)
        canvas.paint(belt, 0.5 * draw_colour(draw, "belt"))
    _paint_shoes(canvas, draw, outfit, photos)
    _sew(canvas, draw, "dress" if outfit.dress else "upper", upper, photos, "upper")
    if outfit.upper in ("t-shirt", "long") and not outfit.dress and draw.chance("print", 0.3):
        _print_chest(canvas, draw, upper)
    if outfit.upper == "jacket":
        _open_front(canvas, draw, upper, photos)
    _trim(canvas, draw, pattern, upper)
    if outfit.gloves:
        wrist = canvas.texels.joint("left_wrist")[0] - draw.uniform("gloves", 0.0, 0.05)
        cover = canvas.soft(canvas.texels.reach - wrist) * canvas.texels.on(*_HANDS, *_ARMS)
        _sew(canvas, draw, "gloves", cover, photos, "glove")


def paint_hat(
    canvas: Canvas, draw: Draw, outfit: Outfit, photos: UInt8[ndarray, "P side side 3"]
) -> None:
    """Puts a cap on: over the forehead, ears free."""
    if not outfit.hat:
        return
    texels = canvas.texels
    eye, ear = texels.landmarks["left_eye"], texels.landmarks["left_ear"]
    brim = np.interp(
        texels.place[:, 2],
        [ear[2] - 0.06, ear[2] + 0.03, eye[2]],
        [eye[1] - 0.01, eye[1] + 0.02, eye[1] + draw.uniform("hat", 0.038, 0.058)],
    )
    depth = texels.place[:, 1] - brim
    is_ear = (texels.reach > abs(ear[0]) - 0.006) & (texels.place[:, 1] < ear[1] + 0.035)
    cover = canvas.soft(np.where(is_ear, -_FAR, depth)) * texels.on(*_HEAD)
    _sew(canvas, draw, "hat", cover, photos, "hat")
    canvas.paint(canvas.soft(np.minimum(depth, 0.022 - depth)) * (cover > 0.5), GREY * 0.2,
                 opacity=0.3)  # fmt: skip


def _sew(
    canvas: Canvas,
    draw: Draw,
    name: str,
    cover: Float[ndarray, " N"],
    photos: UInt8[ndarray, "P side side 3"],
    label: str,
) -> None:
    where = cover > 0
    if not where.any():
        return
    plain = label in ("shoes", "glove", "hat")
    colour = cut_fabric(
        draw, name, canvas.texels, where, photos, plain=plain, lower=label == "lower"
    )
    canvas.paint(cover, colour, label)
    # The cloth is thick: its border throws a narrow shadow.
    hem = where & (cover < 1)
    canvas.shade(np.full(len(where), 0.72), hem)


def _paint_socks(canvas: Canvas, draw: Draw, outfit: Outfit) -> None:
    if not outfit.socks:
        return
    texels = canvas.texels
    depth = texels.joint("left_ankle")[1] + outfit.socks - texels.place[:, 1]
    cover = canvas.soft(depth) * texels.on(*_FEET, *_LEGS)
    pale = draw.chance("socks/pale", 0.5)
    colour = np.full(3, 0.88, np.float32) if pale else draw_colour(draw, "socks")
    ribs = 1 + 0.05 * np.sin(texels.place[:, 0] * 900)
    canvas.paint(cover, (ribs[:, None] * colour).astype(np.float32), "socks")


def _paint_shoes(
    canvas: Canvas, draw: Draw, outfit: Outfit, photos: UInt8[ndarray, "P side side 3"]
) -> None:
    if outfit.shoes == "none":
        return
    texels = canvas.texels
    y = texels.place[:, 1]
    ankle = texels.joint("left_ankle")[1]
    top = draw.uniform("shoes/top", -0.025, 0.015)
    if outfit.shoes == "boots":
        top = draw.uniform("shoes/top", 0.06, 0.25)
    # Trousers hang over boots or are stuck into them.
    tucked = outfit.shoes == "boots" and draw.chance("shoes/tucked", 0.35)
    free = (canvas.label != label_number("lower")) | tucked | texels.on(*_FEET)
    cover = canvas.soft(ankle + top - y) * texels.on(*_FEET, *_LEGS) * free
    _sew(canvas, draw, "shoes", cover, photos, "shoes")
    above = y - texels.floor
    sole = canvas.soft(draw.uniform("shoes/sole", 0.012, 0.026) - above) * texels.on(*_FEET)
    light = draw.uniform("shoes/sole/light", 0.75, 0.95)
    dark = draw.uniform("shoes/sole/dark", 0.05, 0.2)
    colour = light if draw.chance("shoes/sole/pale", 0.5) else dark
    canvas.paint(sole, np.full(3, colour, np.float32), "shoes")
    if outfit.shoes == "low" and draw.chance("shoes/laces", 0.6):
        toe = texels.landmarks["left_toe"]
        middle = 0.014 - np.abs(texels.reach - texels.joint("left_foot")[0] + 0.012)
        span = np.minimum(texels.place[:, 2] - toe[2] + 0.13, toe[2] - 0.055 - texels.place[:, 2])
        stripes = 0.5 + 0.5 * np.sin(texels.place[:, 2] * 2 * np.pi / 0.014)
        cover = canvas.soft(np.minimum(middle, span)) * stripes * texels.on(*_FEET)
        cover = cover * (texels.normal[:, 1] > 0.3)
        canvas.paint(cover.astype(np.float32), np.full(3, 0.9 - 0.6 * colour, np.float32))


def _print_chest(canvas: Canvas, draw: Draw, upper: Float[ndarray, " N"]) -> None:
    """Prints a badge or a blot on the chest."""
    texels = canvas.texels
    x, y, _ = texels.place.T
    middle = texels.joint("spine3")[1] + 0.0
    small = draw.chance("print/small", 0.4)
    at = 0.075 if small else 0.0
    across, down = (0.03, 0.03) if small else (0.085, draw.uniform("print/tall", 0.03, 0.09))
    shape = 1 - ((x - at) / across) ** 4 - ((y - middle) / down) ** 4
    cover = canvas.soft(shape * 0.02) * texels.on(2) * upper
    blots = texels.noise.band(20.0, draw.mixture("print/blots")) > 0.2
    canvas.paint(cover * ~blots, draw_colour(draw, "print/first"))
    canvas.paint(cover * blots, draw_colour(draw, "print/second"))


def _open_front(
    canvas: Canvas,
    draw: Draw,
    upper: Float[ndarray, " N"],
    photos: UInt8[ndarray, "P side side 3"],
) -> None:
    """Opens a jacket over a shirt, or zips it up."""
    texels = canvas.texels
    y, neck = texels.place[:, 1], texels.joint("neck")
    front = (texels.on(2) | (texels.on(*_HEAD) & (texels.place[:, 2] > neck[2]))) * upper
    if draw.chance("jacket/zipped", 0.45):
        zip_ = canvas.soft(0.004 - texels.reach) * front
        canvas.paint(zip_, np.full(3, draw.uniform("jacket/zip", 0.1, 0.8), np.float32))
        return
    wider = 0.16 * np.clip(y - texels.joint("spine1")[1], 0, 0.4)
    half = draw.uniform("jacket/open", 0.012, 0.05) + wider
    inner = np.minimum(half, 0.09) - texels.reach
    _sew(canvas, draw, "inner", canvas.soft(inner) * front, photos, "upper")
    if draw.chance("jacket/tie", 0.3):
        tie = np.minimum(0.012 + 0.06 * np.clip(neck[1] - y, 0, 1), 0.028) - texels.reach
        colour = draw_colour(draw, "jacket/tie/colour")
        canvas.paint(canvas.soft(np.minimum(tie, inner)) * front, colour)
        return
    throat = np.minimum(inner, 0.8 * (y - neck[1] + draw.uniform("jacket/throat", 0.03, 0.09))
                        - texels.reach)  # fmt: skip
    skin = np.median(canvas.colour[canvas.label == label_number("skin")], axis=0)
    canvas.paint(canvas.soft(throat) * front, skin, "skin")


def _trim(canvas: Canvas, draw: Draw, pattern: Pattern, upper: Float[ndarray, " N"]) -> None:
    """Gives some shirts cuffs and a collar of another colour."""
    if pattern.outfit.upper not in ("t-shirt", "long") or not draw.chance("trim", 0.25):
        return
    depth = pattern.upper()
    near = np.minimum(depth, 0.012 - depth)
    sleeves_and_neck = canvas.texels.on(*_ARMS) | (
        canvas.texels.place[:, 1] > canvas.texels.joint("left_shoulder")[1] - 0.12
    )
    canvas.paint(canvas.soft(near) * sleeves_and_neck * upper, draw_colour(draw, "trim"))
