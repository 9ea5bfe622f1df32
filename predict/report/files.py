"""What the report needs of one photo, as files in the photo's folder.

They are written while the photo is in memory. The page is put together from them at the end, so it
needs no memory that grows with the number of photos, and a run that goes on after a stop has them.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import world_to_camera
from plausibody.models.records import take
from plausibody.models.rotations import axis_rotation
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.bodies import PEOPLE, Layer
from plausibody.predict.drawing.uncertainty import VIEWS, colour_uncertainty
from plausibody.predict.placement import PictureCamera
from plausibody.predict.reading.photo import read_photo
from plausibody.predict.report.mesh import encode_body, encode_samples
from plausibody.predict.result import ImagePrediction, PersonPrediction, Refinement

SCHEMA = 1
"""Version of `report.json`."""
CARD = "report.json"
PHOTO, THUMB = "report_photo.jpg", "report_thumb.jpg"
BODIES, SEEN = "report_bodies.webp", "report_seen.webp"
MOST_PEOPLE = 6
"""Shown of a photo, the main one first; the others are in `summary.json`."""
PHOTO_SIDE, THUMB_SIDE, SEEN_SIDE, STILL_SIDE, STRIP_SIDE = 1024, 160, 384, 400, 160
"""Longer side of the photo, of its thumbnail, of the mask, and of drawn bodies [px]."""
SAMPLES = 5
"""Shown of a person, those that agree best with what was seen."""
PHOTO_QUALITY, LAYER_QUALITY = 80, 82
"""Of JPEG and of WebP."""
THUMB_OPACITY = 0.85
MARGIN = 0.06
"""Round drawn bodies, as a share of the picture's side."""
SHADE = 0.55
"""How much the photo is darkened where the mask says that there is nobody."""


def report_files(
    photo: Path | str,
    image: ImagePrediction,
    template: BodyTemplate,
    picture: Float[Tensor, "3 H W"] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Draws what the report shows of a photo, one file after the other.

    Args:
        photo: The file; it is read only if `picture` is not given.
        image: With at least one person.
        template: Of the bodies.
        picture: The upright photo, RGB 0..1, of its own size or made smaller.

    Yields:
        Name and content of each file. No names hold folders; all begin with "report".

    Raises:
        PhotoError: If the photo has gone or changed in the meantime.
    """
    picture = drawing.shrink(read_photo(photo)) if picture is None else picture
    small = _shrink(picture, PHOTO_SIDE)
    ratio = small.shape[2] / image.width
    people = image.people[:MOST_PEOPLE]
    size = (small.shape[1], small.shape[2])
    yield PHOTO, _encode(small, "JPEG", PHOTO_QUALITY)
    layer, corner = _draw_bodies(people, ratio, size, template.faces)
    yield BODIES, _encode(_with_alpha(layer), "WEBP", LAYER_QUALITY)
    yield THUMB, _encode(_thumb(small, layer, corner, people, ratio), "JPEG", PHOTO_QUALITY)
    yield SEEN, _draw_shade(people, size)
    for person in people:
        stem = f"report_{person.index}"
        colours = None
        if person.samples is not None and person.samples.uncertainty is not None:
            colours = colour_uncertainty(person.samples.uncertainty.distance)
        yield f"{stem}.glb", encode_body(person.body.vertices, template.faces, colours)
        still = PEOPLE[person.index % len(PEOPLE)] if colours is None else colours
        views = _draw_views([person.body.vertices], [0.0], template.faces, STILL_SIDE, still)
        yield f"{stem}.webp", views
        if person.samples is not None:
            best = take(person.samples.parameters, slice(0, SAMPLES)).posed(template).vertices
            yield f"{stem}_samples.glb", encode_samples(best)
            turns = [VIEWS["camera"], VIEWS["side"]]
            strip = _draw_views(list(best), turns, template.faces, STRIP_SIDE)
            yield f"{stem}_samples.webp", strip
    card = {
        "schema_version": SCHEMA,
        "size": [size[1], size[0]],
        "bodies": [
            round(corner[0] / size[1], 5),
            round(corner[1] / size[0], 5),
            round(layer.alpha.shape[1] / size[1], 5),
            round(layer.alpha.shape[0] / size[0], 5),
        ],
        "people": [_person(person, ratio, size) for person in people],
    }
    yield CARD, (json.dumps(card, indent=1, allow_nan=False) + "\n").encode()


def _person(person: PersonPrediction, ratio: float, size: tuple[int, int]) -> dict[str, Any]:
    """Tells what the summary does not; places are shares of the picture's width and height."""
    across = person.keypoints.new_tensor([size[1], size[0]])
    seen = person.evidence.keypoints
    box = (person.evidence.box.reshape(2, 2) * ratio / across).flatten()
    uncertainty = person.samples.uncertainty if person.samples is not None else None
    samples = 0 if person.samples is None else len(person.samples.score)
    return {
        "index": person.index,
        "box": _round(box),
        "seen": _round(seen[:, :2] * ratio / across),
        "confidence": _round(seen[:, 2]),
        "body": _round(person.keypoints * ratio / across),
        "samples": samples,
        "turnable": min(samples, SAMPLES),
        "uncertainty_cm": None
        if uncertainty is None
        else round(100 * float(uncertainty.distance.mean()), 1),
        "told": {
            "height_cm": None if person.told.height is None else round(100 * person.told.height, 1),
            "gender": person.told.gender,
            "same_person": person.told.same_person,
        },
        "refinement": _refinement(person.refinement),
    }


def _refinement(refinement: Refinement | None) -> dict[str, Any] | None:
    if refinement is None:
        return None
    error = refinement.before.reprojection
    return {
        "kept": refinement.kept,
        "reason": refinement.reason,
        "before": {
            "silhouette_iou": round(refinement.before.silhouette_iou, 4),
            "reprojection_percent": round(error, 3) if math.isfinite(error) else None,
        },
    }


def _round(values: Tensor) -> Any:
    return [
        _round(row) if row.dim() else (round(float(row), 4) if math.isfinite(row) else None)
        for row in values
    ]


def _draw_bodies(
    people: Sequence[PersonPrediction],
    ratio: float,
    size: tuple[int, int],
    faces: Int[Tensor, "F 3"],
) -> tuple[Layer, tuple[int, int]]:
    """Draws all bodies, only the part of the picture that has any.

    Args:
        ratio: Of the shown picture's size to the photo's.
        size: Height and width of the shown picture [px].

    Returns:
        The part, and the left and upper end of it [px].
    """
    cameras = [drawing.shrink_camera(person.camera, ratio) for person in people]
    pairs = zip(cameras, people, strict=True)
    flat = torch.cat([camera.project(one.body.vertices)[:, :2] for camera, one in pairs])
    most = flat.new_tensor([size[1], size[0]])
    low = torch.minimum(flat.amin(0).floor().clamp(min=0), most - 1)
    high = torch.maximum(torch.minimum(flat.amax(0).ceil(), most), low + 1)
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    part = (bottom - top, right - left)
    colour, alpha = torch.zeros(3, *part), torch.zeros(part)
    for n in sorted(range(len(people)), key=lambda n: float(cameras[n].scale)):
        camera = PictureCamera(scale=cameras[n].scale, origin=cameras[n].origin - low)
        tint = PEOPLE[people[n].index % len(PEOPLE)]
        layer = drawing.draw_body(people[n].body.vertices, faces, camera, part, tint)
        colour = torch.lerp(colour, layer.colour, layer.alpha.expand_as(colour))
        alpha = alpha + (1 - alpha) * layer.alpha
    # So far colours are mixed with the black below them; pictures hold them unmixed.
    return Layer(colour / alpha.clamp(min=1e-3), alpha), (left, top)


def _thumb(
    picture: Float[Tensor, "3 H W"],
    layer: Layer,
    corner: tuple[int, int],
    people: Sequence[PersonPrediction],
    ratio: float,
) -> Float[Tensor, "3 side side"]:
    """Cuts a square with all people out of the photo, bodies and all; if there is none that large,
    with the main person, or a part."""
    left, top = corner
    drawn = picture.clone()
    part = drawn[:, top : top + layer.alpha.shape[0], left : left + layer.alpha.shape[1]]
    part.copy_(drawing.put_over(part, layer, THUMB_OPACITY))
    boxes = torch.stack([person.evidence.box for person in people]) * ratio
    low, high = boxes[:, :2].amin(0), boxes[:, 2:].amax(0)
    most = min(drawn.shape[1:]) / 1.3  # as `cut_square` adds a margin of 15 % on each side
    if (high - low).amax() > most:
        low, high = boxes[0, :2], boxes[0, 2:]
    middle, half = (low + high) / 2, ((high - low).amax() / 2).clamp(max=most / 2)
    return drawing.cut_square(drawn, torch.cat([middle - half, middle + half]), THUMB_SIDE)


def _draw_shade(people: Sequence[PersonPrediction], size: tuple[int, int]) -> bytes:
    """Draws a shade for what the front end holds to be no person."""
    ratio = min(1.0, SEEN_SIDE / max(size))
    small = (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio)))
    seen = torch.zeros(small)
    for person in people:
        mask = functional.interpolate(person.evidence.mask()[None, None], size=small, mode="area")
        seen = torch.maximum(seen, mask[0, 0])
    layer = Layer(torch.zeros(3, *small), SHADE * (1 - seen))
    return _encode(_with_alpha(layer), "WEBP", LAYER_QUALITY)


def _draw_views(
    bodies: Sequence[Float[Tensor, "V 3"]],
    turns: Sequence[float],
    faces: Int[Tensor, "F 3"],
    side: int,
    colour: drawing.Colour | Float[Tensor, "V 3"] = PEOPLE[0],
) -> bytes:
    """Draws bodies on nothing: side by side, a row for each turn, all at one scale.

    Args:
        bodies: Vertices in the world [m].
        turns: Of the bodies about the vertical, as of `drawing.draw_alone` [rad].
        side: Of each square [px].
    """
    spins = [axis_rotation(1, bodies[0].new_tensor(turn)).T for turn in turns]
    turned = [body @ spin for spin in spins for body in bodies]
    flat = torch.stack([world_to_camera(body)[:, :2] for body in turned])
    low, high = flat.amin(1), flat.amax(1)
    scale = (1 - 2 * MARGIN) * side / (high - low).amax()
    origins = side / 2 - scale * (low + high) / 2
    layers = [
        drawing.draw_body(body, faces, PictureCamera(scale, origin), (side, side), colour)
        for body, origin in zip(turned, origins, strict=True)
    ]
    tiles = torch.stack([_with_alpha(layer) for layer in layers])
    sheet = tiles.unflatten(0, (len(turns), len(bodies))).permute(2, 0, 3, 1, 4)
    return _encode(sheet.flatten(3).flatten(1, 2), "WEBP", LAYER_QUALITY)


def _with_alpha(layer: Layer) -> Float[Tensor, "4 H W"]:
    return torch.cat([layer.colour, layer.alpha[None]])


def _shrink(picture: Float[Tensor, "3 H W"], longest: int) -> Float[Tensor, "3 H2 W2"]:
    ratio = longest / max(picture.shape[1:])
    if ratio >= 1:
        return picture
    size = [max(1, round(side * ratio)) for side in picture.shape[1:]]
    small = functional.interpolate(picture[None], size=size, mode="bilinear", antialias=True)
    return small[0].clamp(0, 1)


def _encode(picture: Float[Tensor, "C H W"], kind: str, quality: int) -> bytes:
    """Gives a picture file: of three channels, or of four with a transparent ground."""
    file = io.BytesIO()
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    Image.fromarray(pixels.numpy()).save(file, kind, quality=quality, method=2)
    return file.getvalue()
