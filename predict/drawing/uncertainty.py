"""Pictures of what a prediction does not know: bodies coloured by it, and samples side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.body import PosedBody
from plausibody.models.constants import constant
from plausibody.models.uncertainty import VertexUncertainty
from plausibody.predict.drawing.bodies import (
    PAPER,
    draw_alone,
    draw_body,
    label,
    put_over,
    text_width,
    tile,
)
from plausibody.predict.placement import PictureCamera

LARGEST = 0.2
"""Uncertainty with the last colour [m], and so has all above: as in HierProb3D's pictures."""

COLOURS = (
    (0.863, 0.903, 0.932), (0.838, 0.826, 0.617), (0.834, 0.727, 0.303),
    (0.851, 0.597, 0.026), (0.842, 0.461, 0.000), (0.823, 0.306, 0.000),
    (0.759, 0.151, 0.175), (0.639, 0.051, 0.297), (0.466, 0.079, 0.411),
)  # fmt: skip
"""From certain to uncertain: pale grey, yellow, orange, red, purple. Lightness falls by the same
step from each to the next (in OKLab, from 0.92 to 0.40), so the order also shows in grey and to
the colour-blind, which that of the published rainbow does not."""

VIEWS = {"camera": 0.0, "side": -math.pi / 2, "behind": math.pi}
"""How far the body is turned for what the photo's camera sees of it, for a viewer at the photo's
right, and for one who looks into the camera [rad]."""
TEXT = 20
"""Height of a line of text [px]."""


def colour_uncertainty(
    values: Float[Tensor, "*axes"], most: float = LARGEST
) -> Float[Tensor, "*axes 3"]:
    """Gives each value its colour, evenly from 0 to `most` [m].

    Args:
        values: Distances or standard deviations [m].
        most: Everything above it has the last colour.

    Raises:
        ValueError: If `most` is not above 0.
    """
    if not most > 0:
        raise ValueError(f"most: wanted a length above 0 m, got {most}")
    table = constant(COLOURS, values.dtype, values.device)
    place = (values / most).clamp(0, 1) * (len(COLOURS) - 1)
    low = place.floor().long().clamp(max=len(COLOURS) - 2)
    return torch.lerp(table[low], table[low + 1], (place - low)[..., None])


def draw_legend(
    width: int, most: float = LARGEST, marks: int = 4, height: int = 14
) -> Float[Tensor, "3 tall width"]:
    """Draws the colours as a bar; below it, lengths in centimetres under the places they mark.

    Each length stands to the right of its mark. The last one stands to the left of the right end,
    with a plus: all beyond has that colour. Lengths that would run into the next are left out.

    Args:
        width: [px]
        most: At the right end [m].
        marks: Into how many parts the bar is divided.
    """
    ends = [round(width * n / marks) for n in range(marks + 1)]
    values = (torch.arange(width) + 0.5) / width * most
    bar = colour_uncertainty(values, most).T[:, None].expand(3, height, width).clone()
    lengths = [f"{100 * most * n / marks:.3g} cm" for n in range(marks)]
    last = f"{100 * most:.3g}+ cm"
    room = max(width - text_width(last, TEXT), 0)
    parts = []
    for n, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
        bar[:, height // 2 :, start : start + 2] = 0.2  # the mark of the length below
        fits = n == 0 or start + text_width(lengths[n], TEXT) <= min(end, room)
        parts.append(label(bar[:, :, start:end], lengths[n] if fits else "", TEXT))
    bar[:, height // 2 :, -2:] = 0.2
    legend = torch.cat(parts, -1)
    legend[:, :, room:] = label(bar[:, :, room:], last, TEXT)
    return legend


def draw_uncertain_overlay(
    picture: Float[Tensor, "3 H W"],
    vertices: Float[Tensor, "V 3"],
    values: Float[Tensor, " V"],
    faces: Int[Tensor, "F 3"],
    camera: PictureCamera,
    most: float = LARGEST,
    opacity: float = 0.9,
) -> Float[Tensor, "3 H W"]:
    """Draws a body over its photo, coloured by how uncertain its places are.

    Args:
        vertices: In the world [m].
        values: Of each vertex [m]: `VertexUncertainty.distance`, or a standard deviation.
        most: As of `colour_uncertainty`.
    """
    size = (picture.shape[1], picture.shape[2])
    colours = colour_uncertainty(values, most)
    return put_over(picture, draw_body(vertices, faces, camera, size, colours), opacity)


def draw_uncertain_views(
    vertices: Float[Tensor, "V 3"],
    values: Mapping[str, Float[Tensor, " V"]],
    faces: Int[Tensor, "F 3"],
    side: int,
    most: float = LARGEST,
    views: Sequence[str] = tuple(VIEWS),
) -> Float[Tensor, "3 tall wide"]:
    """Draws a body from several sides, one row for each kind of uncertainty, with a legend.

    Args:
        vertices: In the world [m].
        values: By the name that is written below: of each vertex [m]. `name_directions` gives
            what is known of depth and of the picture's plane.
        side: Of each view [px].
        most: As of `colour_uncertainty`.
        views: Names in `VIEWS`.

    Raises:
        ValueError: If there are no values or no views.
    """
    pictures = []
    for name, value in values.items():
        colours = colour_uncertainty(value, most)
        for view in views:
            drawn = draw_alone(vertices, faces, side, VIEWS[view], colours)
            pictures.append(label(drawn, f"{name}, {view}", TEXT))
    sheet = tile(pictures, columns=max(len(views), 1))
    legend = draw_legend(sheet.shape[2], most)
    return torch.cat([sheet, torch.full((3, 4, sheet.shape[2]), PAPER), legend], 1)


def name_directions(uncertainty: VertexUncertainty) -> dict[str, Float[Tensor, " V"]]:
    """Splits one person's uncertainty into what `draw_uncertain_views` shows in rows.

    Standard deviations across the picture, by the root of the sum over both directions, and in
    depth, after HuManiFlow's views of x, y and z.
    """
    return {"across": uncertainty.across, "depth": uncertainty.depth}


def draw_samples(
    picture: Float[Tensor, "3 H W"],
    bodies: PosedBody,
    scores: Float[Tensor, " N"],
    faces: Int[Tensor, "F 3"],
    camera: PictureCamera,
    columns: int = 4,
) -> Float[Tensor, "3 tall wide"]:
    """Draws samples over the photo, and below each the same from the photo's right, in their order.

    Args:
        picture: The photo, or the part of it that shows the person.
        bodies: Samples, the best first, in the world [m]; as many as are to be drawn.
        scores: Of each; written below it.
        camera: Over the picture.
        columns: Samples in a row.

    Raises:
        ValueError: If there are no samples.
    """
    size = (picture.shape[1], picture.shape[2])
    pictures = []
    for n, (vertices, score) in enumerate(zip(bodies.vertices, scores.tolist(), strict=True)):
        over = put_over(picture, draw_body(vertices, faces, camera, size), 0.85)
        beside = draw_alone(vertices, faces, size[1], VIEWS["side"])
        both = label(torch.cat([over, beside], 1), f"{n + 1}: {score:.3f}", TEXT)
        pictures.append(both)
    return tile(pictures, columns)
