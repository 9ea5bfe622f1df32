"""Pictures of bodies: over the photo, from the side, at rest, and what the front end saw.

Pictures here are RGB, 0..1, channel first; places are pixels from the outer corner of the top-left
pixel. Only `save_picture`, `encode_picture` and `label` touch a picture library.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from plausibody.models.body import vertex_normals
from plausibody.models.camera import world_to_camera
from plausibody.models.files import write_file
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import BONES, COCO17
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.placement import PictureCamera
from plausibody.synth.raster import interpolate, rasterize

Colour: TypeAlias = tuple[float, float, float]

LEFT: Colour = (0.92, 0.31, 0.27)
RIGHT: Colour = (0.27, 0.55, 0.96)
MIDDLE: Colour = (0.35, 0.86, 0.39)
"""Of a person's own left, own right, and what has no side."""
PEOPLE: tuple[Colour, ...] = (
    (0.62, 0.78, 0.96), (0.85, 0.35, 0.20), (1.00, 0.90, 0.30), (0.20, 0.62, 0.30),
    (0.73, 0.38, 0.75), (0.30, 1.00, 0.80), (1.00, 0.73, 0.65), (0.35, 0.50, 0.93),
    (0.70, 0.57, 0.20), (1.00, 0.68, 1.00), (0.33, 0.57, 0.60), (0.70, 0.50, 0.55),
    (0.68, 0.80, 0.62), (1.00, 0.47, 0.62), (0.20, 0.80, 0.80), (0.65, 0.77, 0.20),
    (0.70, 0.57, 1.00), (1.00, 0.57, 0.20), (0.53, 0.50, 0.73), (0.75, 0.98, 0.60),
    (0.20, 0.70, 1.00), (0.62, 0.95, 0.95), (0.28, 0.82, 0.50), (0.82, 0.68, 0.80),
)  # fmt: skip
"""One colour for each person of a picture, by number, again from the first after the last. Each is
the farthest in OKLab from those before it, of colours that are neither dark nor garish."""
PAPER = 0.96
"""Grey of a background without a photo."""
SUN = (-0.4, -0.6, -1.0)
"""Where the light comes from, in the camera's frame: above the viewer's left shoulder."""
AMBIENT = 0.35
LONGEST = 1280
"""Longer side of a drawn picture [px]; larger photos are shrunk."""
PNG_LEVEL = 3


@dataclass(frozen=True)
class Layer:
    """Something drawn, to be put over a picture."""

    colour: Float[Tensor, "3 H W"]
    alpha: Float[Tensor, "H W"]
    """How much of each pixel it covers, 0..1."""


def draw_body(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    camera: PictureCamera,
    size: tuple[int, int],
    colour: Colour | Float[Tensor, "V 3"] = PEOPLE[0],
    samples: int = 2,
) -> Layer:
    """Draws a body with soft light; nearer limbs hide those behind.

    Only the part of the picture where the body is costs anything.

    Args:
        vertices: In the world [m].
        size: Height and width [px].
        colour: Of the whole body, or of each vertex.
        samples: Per pixel along each axis, for smooth outlines.
    """
    layer = Layer(vertices.new_zeros(3, *size), vertices.new_zeros(size))
    left, top, right, bottom = extent(camera.project(vertices)[:, :2], size)
    if left >= right or top >= bottom:
        return layer
    corner = camera.origin.new_tensor([left, top])
    points = camera.over_part(corner, float(samples)).project(vertices)[None]
    fine = ((bottom - top) * samples, (right - left) * samples)
    fragments = rasterize(points, faces, fine, perspective=False)
    normals = world_to_camera(vertex_normals(vertices, faces))
    sun = functional.normalize(vertices.new_tensor(SUN), dim=0)
    bright = (AMBIENT + (1 - AMBIENT) * (normals @ sun).clamp(min=0))[:, None]
    each, whole = (colour, (1.0,) * 3) if isinstance(colour, Tensor) else (1.0, colour)
    light = interpolate(fragments, (bright * each)[None], faces)
    inside = fragments.mask[:, None].to(light)
    cover = functional.avg_pool2d(inside, samples)
    shade = functional.avg_pool2d(light * inside, samples) / cover.clamp(min=1e-6)
    part = (slice(top, bottom), slice(left, right))
    layer.colour[:, *part] = shade[0] * vertices.new_tensor(whole)[:, None, None]
    layer.alpha[part] = cover[0, 0]
    return layer


def extent(points: Float[Tensor, "V 2"], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Gives left, top, right, bottom of the part of a picture that points may touch [px]."""
    most = points.new_tensor([size[1], size[0]])
    low = (points.amin(0).floor() - 1).clamp(min=0).minimum(most)
    high = (points.amax(0).ceil() + 1).clamp(min=0).minimum(most)
    left, top, right, bottom = torch.cat([low, high]).int().tolist()
    return left, top, right, bottom


def put_over(
    picture: Float[Tensor, "3 H W"], layer: Layer, opacity: float = 1.0
) -> Float[Tensor, "3 H W"]:
    return torch.lerp(picture, layer.colour, (opacity * layer.alpha).expand_as(picture))


def draw_overlay(
    picture: Float[Tensor, "3 H W"],
    bodies: Sequence[Float[Tensor, "V 3"]],
    cameras: Sequence[PictureCamera],
    faces: Int[Tensor, "F 3"],
    opacity: float = 0.8,
    colours: Sequence[Colour | Float[Tensor, "V 3"]] = (),
) -> Float[Tensor, "3 H W"]:
    """Draws bodies over a photo, those who appear smaller first: they are farther away.

    Args:
        bodies: Vertices in the world [m].
        cameras: One for each, over the same picture.
        colours: One for each, of the whole body or of each vertex; none for those of `PEOPLE`.
    """
    order = sorted(range(len(bodies)), key=lambda n: float(cameras[n].scale))
    size = (picture.shape[1], picture.shape[2])
    for n in order:
        colour = colours[n] if colours else PEOPLE[n % len(PEOPLE)]
        layer = draw_body(bodies[n], faces, cameras[n], size, colour)
        picture = put_over(picture, layer, opacity)
    return picture


def number_people(
    picture: Float[Tensor, "3 H W"],
    numbers: Sequence[int],
    bodies: Sequence[Float[Tensor, "V 3"]],
    cameras: Sequence[PictureCamera],
) -> Float[Tensor, "3 H W"]:
    """Writes each person's number above the head, on the colour that `PEOPLE` has for it.

    A number whose place is taken moves up or down to the nearest that is free, and always stays
    within the picture.

    Args:
        numbers: Of the people; the first ones choose their places first.
        bodies: Vertices in the world [m].
        cameras: One for each, over the picture.
    """
    height, width = picture.shape[1:]
    size = max(13, round(max(height, width) / 45))
    font = ImageFont.load_default(size=size)
    tall = round(1.3 * size)
    image = Image.fromarray(to_bytes(picture).numpy())
    draw = ImageDraw.Draw(image)
    taken: list[tuple[float, float, float]] = []
    for number, body, camera in zip(numbers, bodies, cameras, strict=True):
        wide = max(tall, round(draw.textlength(str(number), font=font)) + size // 2)
        x, y = _above_head(camera.project(body)[:, :2])
        left = min(max(x - wide / 2, 0), max(width - wide, 0))
        lowest = max(height - tall, 0)
        wished = min(max(y - tall, 0), lowest)
        rows = sorted(range(0, lowest + 1, tall // 2), key=lambda top: abs(top - wished))
        near = [place for place in taken if left < place[1] and place[0] < left + wide]
        free = (
            top for top in (wished, *rows) if all(abs(top - place[2]) >= tall for place in near)
        )
        top = next(free, wished)
        taken.append((left, left + wide, top))
        red, green, blue = (round(255 * part) for part in PEOPLE[number % len(PEOPLE)])
        box = (left, top, left + wide - 1, top + tall - 1)
        draw.rounded_rectangle(box, size / 3, fill=(red, green, blue), outline=(20, 20, 20))
        middle = (left + wide / 2, top + tall / 2)
        draw.text(middle, str(number), fill=(20, 20, 20), font=font, anchor="mm")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(height, width, 3).permute(2, 0, 1).to(picture) / 255


def _above_head(points: Float[Tensor, "V 2"]) -> tuple[float, float]:
    """Gives the uppermost of a body's points in a picture: x, y [px]."""
    x, y = points[points[:, 1].argmin()].tolist()
    return x, y


def draw_alone(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    side: int,
    yaw: float = 0.0,
    colour: Colour | Float[Tensor, "V 3"] = PEOPLE[0],
) -> Float[Tensor, "3 side side"]:
    """Draws a body on paper, filling a square.

    Args:
        vertices: In the world [m].
        yaw: Turns the body about the vertical, anticlockwise seen from above [rad]. At -pi/2 one
            sees what a viewer at the world's +x sees: a body that faces the camera shows its left.
    """
    turned = vertices @ axis_rotation(1, vertices.new_tensor(yaw)).T
    flat = world_to_camera(turned)[:, :2]
    low, high = flat.amin(0), flat.amax(0)
    scale = 0.9 * side / (high - low).amax()
    camera = PictureCamera(scale=scale, origin=side / 2 - scale * (low + high) / 2)
    paper = torch.full((3, side, side), PAPER)
    return put_over(paper, draw_body(turned, faces, camera, (side, side), colour))


def draw_side(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], side: int, colour: Colour = PEOPLE[0]
) -> Float[Tensor, "3 side side"]:
    """Draws a body as seen from the photo's right-hand side."""
    return draw_alone(vertices, faces, side, yaw=-math.pi / 2, colour=colour)


def draw_evidence(
    picture: Float[Tensor, "3 H W"],
    mask: Float[Tensor, "H W"],
    keypoints: Float[Tensor, "17 3"],
) -> Float[Tensor, "3 H W"]:
    """Draws what the front end saw: the mask bright, bones and key points as sure as they are."""
    dim = 0.35 * picture + 0.1
    lit = torch.lerp(picture, picture.new_tensor(MIDDLE)[:, None, None], 0.25)
    drawn = torch.lerp(dim, lit, mask.expand_as(picture))
    return draw_bones(drawn, keypoints, max(1.5, max(picture.shape[1:]) / 200))


def draw_bones(
    picture: Float[Tensor, "3 H W"], keypoints: Float[Tensor, "17 3"], width: float
) -> Float[Tensor, "3 H W"]:
    """Draws bones and key points as sure as they are; own left red, own right blue.

    Args:
        keypoints: COCO-17: x, y [px] and confidence 0..1.
        width: Of a bone; points are twice as wide [px].
    """
    for first, second in BONES:
        ends = keypoints[[COCO17.index(first), COCO17.index(second)]]
        sure, colour = float(ends[:, 2].amin()), _colour_of(first, second)
        picture = draw_line(picture, ends[0, :2], ends[1, :2], colour, width, sure)
    for name, point in zip(COCO17, keypoints, strict=True):
        place, colour = point[:2], _colour_of(name, name)
        picture = draw_line(picture, place, place, colour, 2 * width, float(point[2]))
    return picture


def _colour_of(first: str, second: str) -> Colour:
    """Gives the colour of a bone between two key points."""
    side = first.partition("_")[0]
    if side != second.partition("_")[0]:
        return MIDDLE
    return {"left": LEFT, "right": RIGHT}.get(side, MIDDLE)


def draw_line(
    picture: Float[Tensor, "3 H W"],
    start: Float[Tensor, " 2"],
    end: Float[Tensor, " 2"],
    colour: Colour,
    width: float,
    opacity: float = 1.0,
) -> Float[Tensor, "3 H W"]:
    """Draws a line with round ends, smoothly; a dot where both ends are the same."""
    if opacity <= 0 or not torch.isfinite(torch.cat([start, end])).all():
        return picture
    height, across = picture.shape[1:]
    reach = width / 2 + 1
    size = start.new_tensor([across, height])
    low = (torch.minimum(start, end) - reach).floor().clamp(min=0).minimum(size).long()
    high = (torch.maximum(start, end) + reach).ceil().clamp(min=0).minimum(size).long()
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    if left >= right or top >= bottom:
        return picture
    x = torch.arange(left, right).to(start) + 0.5
    y = torch.arange(top, bottom).to(start) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    along = end - start
    share = ((pixels - start) @ along / along.square().sum().clamp(min=1e-9)).clamp(0, 1)
    apart = torch.linalg.vector_norm(pixels - start - share[..., None] * along, dim=-1)
    alpha = opacity * (width / 2 + 0.5 - apart).clamp(0, 1)
    part = picture[:, top:bottom, left:right]
    drawn = picture.clone()
    tint = picture.new_tensor(colour)[:, None, None].expand_as(part)
    drawn[:, top:bottom, left:right] = torch.lerp(part, tint, alpha.expand_as(part))
    return drawn


def shrink(photo: UInt8[Tensor, "H W 3"], longest: int = LONGEST) -> Float[Tensor, "3 H2 W2"]:
    """Makes a photo small enough to draw on; small ones keep their size."""
    picture = photo.permute(2, 0, 1).float() / 255
    ratio = longest / max(picture.shape[1:])
    if ratio >= 1:
        return picture
    size = [max(1, round(side * ratio)) for side in picture.shape[1:]]
    small = functional.interpolate(picture[None], size=size, mode="bilinear", antialias=True)
    return small[0].clamp(0, 1)


def shrink_camera(camera: PictureCamera, ratio: float) -> PictureCamera:
    """Follows a picture that was resized by a ratio."""
    return camera.over_part(torch.zeros_like(camera.origin), ratio)


def cut_square(
    picture: Float[Tensor, "3 H W"], box: Float[Tensor, " 4"], side: int
) -> Float[Tensor, "3 side side"]:
    """Cuts out a square round a rectangle, with a margin but no more than the picture, and resizes.

    Args:
        box: Left, top, right, bottom [px].
    """
    height, width = picture.shape[1:]
    middle_x, middle_y = ((box[:2] + box[2:]) / 2).tolist()
    length = 1.3 * max(16.0, float((box[2:] - box[:2]).max()))
    left, right = _span(middle_x, length, width)
    top, bottom = _span(middle_y, length, height)
    return fit_square(picture[:, top:bottom, left:right], side)


def _span(centre: float, length: float, most: int) -> tuple[int, int]:
    """Shifts an interval into 0..most, or shortens it to that."""
    low = min(max(centre - length / 2, 0), max(most - length, 0))
    return int(low), max(int(low) + 1, min(most, math.ceil(low + length)))


def shrink_evidence(
    person: Person, size: tuple[int, int]
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "17 3"]]:
    """Gives a person's mask and key points for a picture that was resized.

    Args:
        size: Height and width of the resized picture [px].
    """
    mask = person.mask()
    ratio = size[1] / mask.shape[1]
    if mask.shape != size:
        mask = functional.interpolate(mask[None, None], size=size, mode="area")[0, 0]
    return mask, person.keypoints * person.keypoints.new_tensor([ratio, ratio, 1.0])


def fit_square(picture: Float[Tensor, "3 H W"], side: int) -> Float[Tensor, "3 side side"]:
    """Resizes a picture into the middle of a square on paper."""
    ratio = side / max(picture.shape[1:])
    size = [max(1, min(side, round(length * ratio))) for length in picture.shape[1:]]
    resized = functional.interpolate(picture[None], size=size, mode="bilinear", antialias=True)[0]
    square = torch.full((3, side, side), PAPER)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    square[:, top : top + size[0], left : left + size[1]] = resized.clamp(0, 1)
    return square


def tile(
    pictures: Sequence[Float[Tensor, "3 H W"]], columns: int, gap: int = 4
) -> Float[Tensor, "3 height width"]:
    """Lays pictures of one size out in rows, on paper."""
    if not pictures:
        raise ValueError("tile: wanted at least one picture, got none")
    height, width = pictures[0].shape[1:]
    rows = -(-len(pictures) // columns)
    across = min(columns, len(pictures))
    sheet = torch.full((3, rows * (height + gap) - gap, across * (width + gap) - gap), PAPER)
    for n, picture in enumerate(pictures):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def label(
    picture: Float[Tensor, "3 H W"], text: str, height: int = 20
) -> Float[Tensor, "3 tall W"]:
    """Puts a line of text under a picture."""
    width = picture.shape[2]
    strip = Image.new("L", (width, height), round(255 * PAPER))
    font = ImageFont.load_default(size=round(0.7 * height))
    ImageDraw.Draw(strip).text((4, height / 2), text, fill=40, font=font, anchor="lm")
    pixels = torch.frombuffer(bytearray(strip.tobytes()), dtype=torch.uint8)
    grey = pixels.reshape(height, width).float() / 255
    return torch.cat([picture, grey.expand(3, -1, -1)], 1)


def text_width(text: str, height: int = 20) -> int:
    """Gives how much room `label` needs for a line of text, with some to both sides [px]."""
    font = ImageFont.load_default(size=round(0.7 * height))
    return math.ceil(font.getlength(text)) + 8


def to_bytes(
    picture: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"],
) -> UInt8[Tensor, "H W 3"]:
    """Rounds 0..1 to 0..255; whole numbers are left alone."""
    if picture.is_floating_point():
        picture = (picture.detach().cpu().clamp(0, 1) * 255).round().byte()
    return picture.permute(1, 2, 0).contiguous()


def encode_picture(
    picture: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"], suffix: str = ".png"
) -> bytes:
    """Gives the content of a picture file; its format follows from the suffix."""
    formats = Image.registered_extensions()
    if suffix.lower() not in formats:
        raise ValueError(f"wanted the suffix of a picture file, such as .png, got {suffix!r}")
    file = io.BytesIO()
    # The default level of compression of PNG takes three times as long for a tenth of the size.
    Image.fromarray(to_bytes(picture).numpy()).save(
        file, formats[suffix.lower()], quality=88, compress_level=PNG_LEVEL
    )
    return file.getvalue()


def save_picture(
    picture: Float[Tensor, "3 H W"] | UInt8[Tensor, "3 H W"], path: Path | str
) -> None:
    """Writes a picture file; its format follows from the name."""
    path = Path(path)
    content = encode_picture(picture, path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)
