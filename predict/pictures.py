"""What is drawn of a photo and its people: overlay, evidence, samples, and the report's card."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.records import take
from plausibody.predict import drawing
from plausibody.predict.drawing_uncertainty import LARGEST, colour_uncertainty, draw_samples
from plausibody.predict.photo import read_photo
from plausibody.predict.placement import PictureCamera
from plausibody.predict.result import ImagePrediction, PersonPrediction, Samples

CARD_SIDE, SAMPLE_SIDE = 360, 240
"""[px]"""
SHOWN = 8
"""Samples in a picture, those that agree best with what was seen."""


def draw_pictures(
    photo: Path | str, image: ImagePrediction, template: BodyTemplate, wanted: Set[str]
) -> Iterator[tuple[str, bytes]]:
    """Draws what is wanted of a photo, one file after the other.

    Args:
        wanted: Some of overlay, proxies, samples, report.

    Yields:
        Name and content of each file.
    """
    if not wanted & {"overlay", "proxies", "samples", "report"}:
        return
    pixels = read_photo(photo)
    picture = drawing.shrink(pixels)
    ratio = picture.shape[2] / pixels.shape[1]
    overlay = picture
    if wanted & {"overlay", "report"}:
        bodies = [person.body.vertices for person in image.people]
        cameras = [drawing.shrink_camera(person.camera, ratio) for person in image.people]
        overlay = drawing.draw_overlay(picture, bodies, cameras, template.faces)
    if "overlay" in wanted:
        yield "overlay.png", drawing.encode_picture(overlay)
    for person in image.people if "proxies" in wanted else ():
        yield f"person_{person.index}_seen.png", drawing.encode_picture(_seen(picture, person))
    for person in image.people if "samples" in wanted else ():
        if person.samples is not None:
            sheet = _samples(picture, ratio, person, person.samples, template)
            yield f"person_{person.index}_samples.jpg", drawing.encode_picture(sheet, ".jpg")
    if "report" in wanted:
        boxes = torch.stack([person.evidence.box for person in image.people]) * ratio
        around = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
        sheet = _card(picture, overlay, around, image.people[0], template)
        yield "card.jpg", drawing.encode_picture(sheet, ".jpg")


def _seen(picture: Float[Tensor, "3 H W"], person: PersonPrediction) -> Float[Tensor, "3 H W"]:
    size = (picture.shape[1], picture.shape[2])
    return drawing.draw_evidence(picture, *drawing.shrink_evidence(person.evidence, size))


def _card(
    picture: Float[Tensor, "3 H W"],
    overlay: Float[Tensor, "3 H W"],
    around: Float[Tensor, " 4"],
    main: PersonPrediction,
    template: BodyTemplate,
) -> Float[Tensor, "3 h w"]:
    """Args:
    around: Rectangle round all people [px].
    """
    rest = main.prediction.mode().rest(template).vertices
    parts = {
        "what was seen": drawing.cut_square(_seen(picture, main), around, CARD_SIDE),
        "body": drawing.cut_square(overlay, around, CARD_SIDE),
        "from the side": drawing.draw_side(main.body.vertices, template.faces, CARD_SIDE),
        "shape": drawing.draw_alone(rest, template.faces, CARD_SIDE),
    }
    if (colours := vertex_colours(main)) is not None:
        text = f"uncertainty: grey 0, purple {100 * LARGEST:.0f} cm"
        parts[text] = drawing.draw_alone(
            main.body.vertices, template.faces, CARD_SIDE, colour=colours
        )
    labelled = [drawing.label(part, text) for text, part in parts.items()]
    return drawing.tile(labelled, len(parts))


def vertex_colours(person: PersonPrediction) -> Float[Tensor, "V 3"] | None:
    """Gives each vertex of a body the colour of its uncertainty, if samples tell it."""
    if person.samples is None or person.samples.uncertainty is None:
        return None
    return colour_uncertainty(person.samples.uncertainty.distance)


def _samples(
    picture: Float[Tensor, "3 H W"],
    ratio: float,
    person: PersonPrediction,
    samples: Samples,
    template: BodyTemplate,
) -> Float[Tensor, "3 h w"]:
    """Draws the best samples of a person.

    Args:
        ratio: Of the picture's size to the photo's.
    """
    camera = drawing.shrink_camera(person.camera, ratio)
    part, camera = _close_up(picture, camera, person.evidence.box * ratio, SAMPLE_SIDE)
    best = take(samples.parameters, slice(0, SHOWN)).posed(template)
    return draw_samples(part, best, samples.score[:SHOWN], template.faces, camera)


def _close_up(
    picture: Float[Tensor, "3 H W"], camera: PictureCamera, box: Float[Tensor, " 4"], side: int
) -> tuple[Float[Tensor, "3 side side"], PictureCamera]:
    """Cuts out the surroundings of a rectangle, resizes them, and moves the camera along."""
    reach = 0.65 * max(16.0, float((box[2:] - box[:2]).max()))
    middle = (box[:2] + box[2:]) / 2
    left, top = (middle - reach).clamp(min=0).int().tolist()
    right, bottom = (middle + reach).ceil().int().tolist()
    part = picture[:, top : max(bottom, top + 1), left : max(right, left + 1)]
    ratio = side / max(part.shape[1:])
    height, width = (min(side, round(length * ratio)) for length in part.shape[1:])
    pad = camera.origin.new_tensor([(side - width) // 2, (side - height) // 2])
    origin = (camera.origin - camera.origin.new_tensor([left, top])) * ratio + pad
    square = drawing.fit_square(part, side)
    return square, PictureCamera(scale=camera.scale * ratio, origin=origin)
