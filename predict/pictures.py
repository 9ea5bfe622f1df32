"""What is drawn of a photo and its people: overlay, evidence, samples, and the report's card."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.predict import drawing
from plausibody.predict.photo import read_photo
from plausibody.predict.result import ImagePrediction, PersonPrediction

CARD_SIDE = 360
"""[px]"""


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
    return drawing.tile([drawing.label(part, text) for text, part in parts.items()], 4)
