"""Paints a person: skin, face and hair.

Lengths are metres on the neutral body in its rest pose, taken from its eyes, ears, nose and joints,
so the same code paints SMPL and the open body.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from plausibody.synth.texture_canvas import Canvas, label_number
from plausibody.synth.texture_outfits import Draw, Outfit

TONES = np.array(
    [
        *([255, 224, 200], [244, 208, 177], [231, 184, 148], [214, 160, 118], [188, 130, 88]),
        *([158, 101, 66], [120, 74, 48], [88, 54, 38], [62, 40, 30]),
    ],
    np.float32,
) / np.float32(255)
"""Skin from pale to dark."""
HAIR_COLOURS = {
    "black": (0.06, 0.05, 0.045), "dark": (0.14, 0.09, 0.06), "brown": (0.30, 0.19, 0.10),
    "blond": (0.62, 0.47, 0.26), "red": (0.43, 0.19, 0.09), "grey": (0.52, 0.51, 0.50),
    "white": (0.80, 0.78, 0.75),
}  # fmt: skip
_HAIR_SHARE = {
    "black": 0.3, "dark": 0.24, "brown": 0.2, "blond": 0.1, "red": 0.04, "grey": 0.08,
    "white": 0.04,
}  # fmt: skip
IRISES = ((0.28, 0.17, 0.08), (0.20, 0.11, 0.05), (0.33, 0.45, 0.56), (0.35, 0.42, 0.28))
_HANDS, _FEET, _HEAD = (3, 4), (5, 6), (23, 24)
GREY = np.full(3, 0.62, np.float32)


def paint_skin(canvas: Canvas, draw: Draw) -> None:
    """Covers the whole body with skin: one tone, its blotches, blood in the cheeks."""
    texels = canvas.texels
    tone = draw.uniform("skin/tone", 0.0, len(TONES) - 1.001)
    below = int(tone)
    skin = TONES[below] + (tone - below) * (TONES[below + 1] - TONES[below])
    skin = skin * np.array([draw.uniform(f"skin/{c}", 0.95, 1.04) for c in "rgb"])
    blotches = 0.03 * texels.noise.band(9.0, draw.mixture("skin/blotches"))
    pores = 0.015 * texels.noise.band(100.0, draw.mixture("skin/pores"))
    canvas.colour[:] = skin * (1 + blotches + pores)[:, None]

    nose = texels.landmarks["nose"]
    lower_face = texels.on(*_HEAD) & (texels.place[:, 2] > nose[2] - 0.09)
    cheeks = np.exp(-(((texels.place[:, 1] - nose[1]) / 0.025) ** 2)) * lower_face
    joints = np.exp(-((np.abs(texels.reach - texels.joint("left_elbow")[0]) / 0.03) ** 2))
    joints = joints * texels.on(17, 18, 21, 22) * (texels.normal[:, 2] < 0)
    # Blood shows as less green and blue.
    flush = 0.09 * cheeks + 0.06 * joints + 0.05 * texels.on(*_HANDS, *_FEET)
    canvas.colour[:, 1:] *= 1 - flush[:, None]
    pale = texels.on(*_HANDS, *_FEET) & (texels.normal[:, 1] < -0.3)
    canvas.shade(np.full(len(pale), 1.08), pale)


def paint_chest(canvas: Canvas, draw: Draw) -> None:
    """Gives a bare chest its nipples and navel."""
    texels = canvas.texels
    x, y, _ = texels.place.T
    front = texels.on(2)
    height = texels.joint("spine3")[1] - 0.035
    nipple = 0.011 - np.hypot(texels.reach - 0.095, y - height)
    navel = 0.007 - np.hypot(x, y - texels.joint("pelvis")[1] - 0.045)
    for depth, opacity in ((nipple, 0.35), (navel, 0.4)):
        cover = np.clip(depth / 0.005 + 0.5, 0, 1) * front
        canvas.paint(cover, np.array([0.35, 0.16, 0.12], np.float32), opacity=opacity)


def paint_face(canvas: Canvas, draw: Draw, hair: Float[ndarray, 3]) -> None:
    """Paints eyes, brows and lips."""
    texels = canvas.texels
    x, y, z = texels.place.T
    head = texels.on(*_HEAD)
    iris = np.array(IRISES[draw.below("iris", len(IRISES))], np.float32)
    thick = draw.uniform("brow/thick", 0.003, 0.0055)
    for side in ("left_eye", "right_eye"):
        eye = texels.landmarks[side]
        near = head & (z > eye[2] - 0.04) & (np.hypot(x - eye[0], y - eye[1]) < 0.045)
        outward = (x - eye[0]) * np.sign(eye[0])
        shape = 1 - (outward / 0.0155) ** 2 - ((y - eye[1]) / 0.0068) ** 2
        lashes = 1 - (outward / 0.018) ** 2 - ((y - eye[1] - 0.0012) / 0.0088) ** 2
        canvas.paint(canvas.soft(lashes * 0.004) * near, 0.4 * hair, opacity=0.6)
        canvas.paint(canvas.soft(shape * 0.004) * near, np.full(3, 0.9, np.float32), "eye")
        distance = np.hypot(x - eye[0], y - eye[1])
        inside = canvas.soft(shape * 0.004) * near
        canvas.paint(np.minimum(canvas.soft(0.0062 - distance), inside), iris)
        canvas.paint(np.minimum(canvas.soft(0.0028 - distance), inside), 0.1 * iris)
        # The brow is an arc above the eye, thinner towards the temple.
        arc = eye[1] + 0.021 - 0.25 * np.maximum(outward, 0) - 7.0 * outward**2 * (outward < 0)
        width = thick * np.clip(1.1 - outward / 0.04, 0.3, 1.3)
        brow = np.minimum(width - np.abs(y - arc), 0.021 - np.abs(outward - 0.002))
        canvas.paint(canvas.soft(brow) * near, 0.8 * hair, "brow", 0.75)

    nose = texels.landmarks["nose"]
    mouth = nose[1] - 0.029
    rise = 0.0088 - 0.0022 * np.cos(np.clip(x / 0.012, -1, 1) * np.pi) * (y > mouth)
    lips = 1 - (x / 0.0265) ** 2 - ((y - mouth) / rise) ** 2
    front = head & (z > nose[2] - 0.06)
    blood = canvas.colour[front].mean(0) * np.array([0.92, 0.62, 0.62])
    blood = blood + draw.uniform("lips", 0.0, 0.35) * (np.array([0.62, 0.12, 0.18]) - blood)
    canvas.paint(canvas.soft(lips * 0.006) * front, blood.astype(np.float32), "lip", 0.7)
    line = np.minimum(0.0012 - np.abs(y - mouth), 0.022 - np.abs(x))
    canvas.paint(canvas.soft(line) * front, 0.35 * blood.astype(np.float32), opacity=0.7)


def draw_hair_colour(draw: Draw) -> Float[ndarray, 3]:
    base = np.array(HAIR_COLOURS[draw.pick("hair/colour", _HAIR_SHARE)], np.float32)
    return base * np.float32(draw.uniform("hair/light", 0.8, 1.2))


def paint_hair(canvas: Canvas, draw: Draw, outfit: Outfit, colour: Float[ndarray, 3]) -> None:
    """Paints hair of the outfit's style, and a beard."""
    texels = canvas.texels
    x, y, z = texels.place.T
    noise = texels.noise
    head = texels.on(*_HEAD)
    ragged = 0.004 * noise.band(45.0, draw.mixture("hair/edge"))
    locks = 1 + 0.22 * noise.band(-1.0, draw.mixture("hair/locks"))
    strands = np.clip(locks, 0.4, 1.6)[:, None] * colour

    if outfit.beard:
        nose, ear = texels.landmarks["nose"], texels.landmarks["left_ear"]
        # From the sideburns along the jaw, below the nose, above the neck; not over the lips.
        top = np.interp(
            z,
            [ear[2] + 0.01, nose[2] - 0.05, nose[2] - 0.01],
            [ear[1], nose[1] - 0.025, nose[1] - 0.013],
        )
        bottom = np.interp(z, [ear[2] + 0.01, nose[2] - 0.04], [nose[1] - 0.035, nose[1] - 0.09])
        depth = np.minimum(np.minimum(top - y, y - bottom), z - ear[2] - 0.012) + ragged
        bare = canvas.label == label_number("skin")
        cover = canvas.soft(depth - 0.5 * ragged) * head * bare
        canvas.paint(cover, strands, "hair", draw.uniform("beard/dense", 0.45, 0.95))

    if outfit.hair == "bald":
        return
    depth = _scalp_depth(canvas, outfit.hair) + ragged
    opacity = draw.uniform("hair/buzz", 0.4, 0.75) if outfit.hair == "buzz" else 1.0
    canvas.paint(canvas.soft(depth) * head, strands, "hair", opacity)
    if outfit.hair == "long":
        # Down to the shoulder blades, and as a strand on each side of the neck.
        neck, chest = texels.joint("neck"), texels.joint("spine3")
        down = chest[1] + draw.uniform("hair/long", -0.04, 0.13)
        back = np.minimum(y - down - 3 * ragged, 0.115 - texels.reach - 0.2 * (neck[1] - y))
        canvas.paint(canvas.soft(back) * texels.on(1), strands, "hair")


def _scalp_depth(canvas: Canvas, style: str) -> Float[ndarray, " N"]:
    """Gives how far inside the hair each place of the head is [m]; negative in the face."""
    texels = canvas.texels
    _, y, z = texels.place.T
    eye, ear = texels.landmarks["left_eye"], texels.landmarks["left_ear"]
    neck = texels.joint("neck")[1]
    nape = {
        "buzz": neck + 0.085, "short": neck + 0.075, "medium": neck + 0.02, "long": neck - 0.05,
    }[style]  # fmt: skip
    side = {"medium": neck + 0.05, "long": neck}.get(style, eye[1] - 0.012)
    # The hairline by depth: nape, behind the ear, sideburns, temples, forehead.
    depths = [ear[2] - 0.045, ear[2] - 0.01, ear[2] + 0.012, ear[2] + 0.025, ear[2] + 0.045]
    heights = [nape, side, side, eye[1] + 0.005, eye[1] + 0.045]
    line = np.interp(z, [*depths, eye[2] - 0.02], [*heights, eye[1] + 0.064])
    depth: ndarray = y - line
    if style in ("buzz", "short"):
        around = np.hypot((z - ear[2]) / 0.026, (y - ear[1]) / 0.036)
        is_ear = (texels.reach > abs(ear[0]) - 0.008) & (around < 1)
        depth = np.where(is_ear, -1.0, depth)
    return depth
