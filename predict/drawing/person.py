"""Sheets about one person: the body from several sides, and what led to it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from plausibody.models.proxy import Proxy
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.bodies import PEOPLE, Colour
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.drawing.uncertainty import (
    VIEWS,
    colour_uncertainty,
    draw_legend,
    draw_uncertain_overlay,
)
from plausibody.predict.placement import PictureCamera

GAP = 4
"""Between the parts of a sheet [px]."""
DARK, LIT = 0.12, 0.75
"""Greys of what a regressor reads: where nobody is, and where the person or an edge is."""


def draw_views(
    part: Float[Tensor, "3 side side"],
    camera: PictureCamera,
    body: Float[Tensor, "V 3"],
    rest: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    colour: Colour = PEOPLE[0],
    uncertainty: Float[Tensor, " V"] | None = None,
) -> Float[Tensor, "3 tall wide"]:
    """Draws a body over its photo, from the photo's right, and at rest.

    With an uncertainty, also over the photo and from the right in its colours, and a legend.

    Args:
        part: Of the photo, with the person.
        camera: Over that part.
        body: Vertices in the world [m].
        rest: Vertices of the same shape in the rest pose [m].
        uncertainty: Of each vertex [m].
    """
    side = part.shape[2]
    over = drawing.draw_overlay(part, [body], [camera], faces, colours=[colour])
    parts = {
        "body over the photo": over,
        "from the photo's right": drawing.draw_side(body, faces, side, colour),
        "shape, at rest": drawing.draw_alone(rest, faces, side, colour=colour),
    }
    if uncertainty is not None:
        colours = colour_uncertainty(uncertainty)
        parts |= {
            "uncertainty over the photo": draw_uncertain_overlay(
                part, body, uncertainty, faces, camera
            ),
            "uncertainty, from the right": drawing.draw_alone(
                body, faces, side, VIEWS["side"], colours
            ),
        }
    labelled = [drawing.label(picture, text) for text, picture in parts.items()]
    sheet = drawing.tile(labelled, len(labelled), GAP)
    if uncertainty is None:
        return sheet
    legend = draw_legend(2 * side + GAP)
    paper = torch.full((3, legend.shape[1], sheet.shape[2] - legend.shape[2]), drawing.PAPER)
    return torch.cat([sheet, torch.cat([paper, legend], 2)], 1)


def draw_evidence_sheet(
    seen: Float[Tensor, "3 side side"], proxy: Proxy, channel: str
) -> Float[Tensor, "3 tall wide"]:
    """Draws what a front end saw of a person beside what the regressor made of it reads.

    Args:
        seen: By `drawing.draw_evidence`, cut to the person.
        channel: What the regressor reads of the picture: silhouette, edges, rgb or iuv.
    """
    read = draw_proxy(proxy, channel, seen.shape[2])
    parts = {"what the front end saw": seen, f"what the network reads: {channel}": read}
    return drawing.tile([drawing.label(part, text) for text, part in parts.items()], 2, GAP)


def draw_proxy(proxy: Proxy, channel: str, side: int) -> Float[Tensor, "3 side side"]:
    """Draws what a regressor reads of one person, pixel by pixel, with the key points and bones.

    Regressors that read rgb or iuv read no key points, and none are drawn.
    """
    image = proxy.channel(channel)
    if channel in ("rgb", "iuv"):
        colours = colour_iuv(image) if channel == "iuv" else image
        return functional.interpolate(colours[None], size=(side, side))[0]
    strength = image / image.amax().clamp(min=1e-6) if channel == "edges" else image
    grey = functional.interpolate((DARK + (LIT - DARK) * strength)[None, None], size=(side, side))
    drawn = grey[0].expand(3, side, side)
    return drawing.draw_bones(drawn, _place(proxy.keypoints, side), side / 90)


def _place(keypoints: Float[Tensor, "17 3"], side: int) -> Float[Tensor, "17 3"]:
    """Puts key points of a box into a picture of it."""
    return torch.cat([(keypoints[:, :2] + 1) * (side / 2), keypoints[:, 2:]], 1)


def close_up(
    picture: Float[Tensor, "3 H W"], camera: PictureCamera, box: Float[Tensor, " 4"], side: int
) -> tuple[Float[Tensor, "3 side side"], PictureCamera]:
    """Cuts out the surroundings of a rectangle, resizes them, and moves the camera along.

    Args:
        box: Left, top, right, bottom [px].
    """
    reach = 0.65 * max(16.0, float((box[2:] - box[:2]).max()))
    middle = (box[:2] + box[2:]) / 2
    left, top = (middle - reach).clamp(min=0).int().tolist()
    right, bottom = (middle + reach).ceil().int().tolist()
    part = picture[:, top : max(bottom, top + 1), left : max(right, left + 1)]
    ratio = side / max(part.shape[1:])
    height, width = (min(side, round(length * ratio)) for length in part.shape[1:])
    pad = camera.origin.new_tensor([(side - width) // 2, (side - height) // 2])
    over = camera.over_part(camera.origin.new_tensor([left, top]), ratio)
    square = drawing.fit_square(part, side)
    return square, PictureCamera(scale=over.scale, origin=over.origin + pad)
