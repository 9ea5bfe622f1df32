"""Sheets about the surface of one person: IUV maps, and labels as human parsers give them.

Beside each other, as in the demos of DaNet and DSR, are the square of the photo that the network
looks at, what is known of it, the same drawn of the predicted body, and that body over the photo
and from the photo's right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.models.crop import nearest_square, resample_square
from plausibody.models.proxy import Box
from plausibody.models.skeleton import SMPL24
from plausibody.predict.dense import DenseMaps, camera_over, draw_dense
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.bodies import PEOPLE, Colour
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.drawing.labels import colour_labels, label_legend, widen
from plausibody.predict.drawing.person import GAP
from plausibody.predict.placement import PictureCamera
from plausibody.predict.semantics import LabelPrior, draw_labels
from plausibody.synth.charts import Chart

SIDE = 256
"""Of a large picture in a sheet [px]."""
COLUMNS = 12
"""Small pictures in a row: of 24 joints, a side's in each."""
SMALL_LINE = 15
"""Height of a line of text under a small picture [px]."""
COVER = 0.85
"""How much of the photo is covered by what is drawn over it."""
NO_MAPS = "these weights find no IUV maps on their way to a body: there is only the body's"
NO_LABELS = "no label map of this photo was given: there are only the body's labels"


@dataclass(frozen=True)
class Cut:
    """The square of a photo that a network looks at, and the body in it."""

    part: Float[Tensor, "3 side side"]
    """Black beyond the photo, as networks see it."""
    camera: PictureCamera
    """Over that part."""
    body: Float[Tensor, "V 3"]
    """Vertices in the world [m]."""
    faces: Int[Tensor, "F 3"]
    colour: Colour = PEOPLE[0]

    @classmethod
    def of(
        cls,
        picture: Float[Tensor, "3 H W"],
        camera: PictureCamera,
        box: Box,
        body: Float[Tensor, "V 3"],
        faces: Int[Tensor, "F 3"],
        colour: Colour = PEOPLE[0],
        side: int = SIDE,
    ) -> Cut:
        """Args:
        picture: The photo.
        camera: Over it.
        box: The square in it.
        body: Vertices in the world [m].
        faces: Of the mesh.
        colour: Of the drawn body.
        side: Of the part [px].
        """
        colours = Box(centre=box.centre.expand(3, 2), side=box.side.expand(3))
        part = resample_square(picture, colours, side).clamp(0, 1)
        return cls(part, camera_over(camera, box, side), body, faces, colour)

    @property
    def side(self) -> int:
        return self.part.shape[-1]

    def views(self) -> dict[str, Float[Tensor, "3 side side"]]:
        """Draws the body over the photo and from the photo's right, by what is written below."""
        over = drawing.draw_overlay(
            self.part, [self.body], [self.camera], self.faces, colours=[self.colour]
        )
        aside = drawing.draw_side(self.body, self.faces, self.side, self.colour)
        return {"body over the photo": over, "from the photo's right": aside}


def draw_iuv_sheet(cut: Cut, chart: Chart, maps: DenseMaps | None) -> Float[Tensor, "3 tall wide"]:
    """Draws the IUV maps of a person: of the whole and round each joint, and the body's.

    Args:
        cut: Of the photo.
        chart: Of the body's mesh.
        maps: What the network found or was given; None if it has none, which the sheet says.
    """
    size = (cut.side, cut.side)
    rendered = draw_dense(cut.body, cut.camera, chart, size)
    parts = {"the photo, as cut": cut.part}
    if maps is not None:
        parts[f"IUV, {maps.source}"] = enlarge(colour_iuv(maps.whole), cut.side)
    layer = drawing.Layer(colour_iuv(rendered), (rendered[0] > 0).float())
    parts["IUV of the body"] = drawing.put_over(cut.part, layer, COVER)
    sheet = _row(parts | cut.views())
    if maps is None:
        return drawing.label(sheet, NO_MAPS)
    pictures = colour_iuv(maps.partial)
    side = (sheet.shape[2] + GAP) // COLUMNS - GAP
    named = [
        drawing.label(enlarge(pictures[joint], side), SMPL24[joint].replace("_", " "), SMALL_LINE)
        for joint in joint_order()
    ]
    return below(sheet, drawing.tile(named, COLUMNS, GAP))


def draw_semantics_sheet(
    cut: Cut, prior: LabelPrior, given: tuple[UInt8[Tensor, "H W"], Box] | None
) -> Float[Tensor, "3 tall wide"]:
    """Draws labels as human parsers give them: those of the photo, and the body's most probable.

    Args:
        cut: Of the photo.
        prior: Of the body's labels.
        given: A label map of the whole photo, and the square of the photo that is cut out; None
            if there is no map, which the sheet says.
    """
    labels = draw_labels(cut.body, cut.camera, cut.faces, prior.share, (cut.side, cut.side))
    found = [labels]
    parts = {"the photo, as cut": cut.part}
    if given is not None:
        whole, box = given
        told = nearest_square(whole[None], box, cut.side)[0]
        found.append(told)
        parts["labels, given"] = colour_labels(told)
    layer = drawing.Layer(colour_labels(labels), (labels > 0).float())
    parts["labels of the body"] = drawing.put_over(cut.part, layer, COVER)
    sheet = _row(parts | cut.views())
    if given is None:
        sheet = drawing.label(sheet, NO_LABELS)
    sheet = drawing.label(sheet, f"the body's labels are the most probable ones, {prior.source}")
    shown = sorted({int(number) for one in found for number in one.unique()} - {0})
    return below(sheet, label_legend(shown, sheet.shape[2]))


def joint_order() -> list[int]:
    """Orders joints for two rows: the first has a half of the middle ones and all left ones, the
    second the other half and the right ones below them."""
    left = [joint for joint, name in enumerate(SMPL24) if name.startswith("left_")]
    right = [SMPL24.index(SMPL24[joint].replace("left_", "right_")) for joint in left]
    middle = [joint for joint in range(len(SMPL24)) if joint not in {*left, *right}]
    half = len(middle) // 2
    return [*middle[:half], *left, *middle[half:], *right]


def enlarge(picture: Float[Tensor, "3 H W"], side: int) -> Float[Tensor, "3 side side"]:
    """Resizes a picture pixel by pixel: labels have no means."""
    return functional.interpolate(picture[None], size=(side, side), mode="nearest-exact")[0]


def below(
    first: Float[Tensor, "3 H W"], second: Float[Tensor, "3 H2 W2"]
) -> Float[Tensor, "3 tall wide"]:
    """Puts one picture below another, both from the left edge, on paper."""
    width = max(first.shape[2], second.shape[2])
    gap = torch.full((3, GAP, width), drawing.PAPER)
    return torch.cat([widen(first, width), gap, widen(second, width)], 1)


def _row(parts: Mapping[str, Float[Tensor, "3 side side"]]) -> Float[Tensor, "3 tall wide"]:
    """Lays pictures out in a row, with text below each."""
    named = [drawing.label(part, text) for text, part in parts.items()]
    return drawing.tile(named, len(named), GAP)
