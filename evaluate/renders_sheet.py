"""Draws people of an evaluation on painted people: those fitted worst, and typical ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from plausibody.evaluate.renders import Evaluation
from plausibody.models.body import pose_body
from plausibody.models.records import take
from plausibody.predict.drawing import draw_evidence, draw_overlay, fit_square, label, tile
from plausibody.predict.placement import PictureCamera

OUTLINE = (1.0, 0.9, 0.1)
"""Colour of the true outline."""
OPACITY = 0.8
"""Of the predicted body."""


@torch.no_grad()
def draw_worst(
    evaluation: Evaluation, worst: int = 6, typical: int = 2, side: int = 160
) -> Float[Tensor, "3 height width"]:
    """Draws the people whose overlap with the front end's mask is smallest, then median ones.

    Of each: the picture; what the front end saw; the predicted body over the picture, with the true
    outline of the clothed person in yellow. The line below gives the person's number, the overlap
    with the front end's mask, the reprojection error, and the body's area over the true body's.

    Args:
        side: Of each of the three pictures [px].
    """
    chosen = choose(evaluation.errors["silhouette_iou"], worst, typical)
    cells = [_draw(evaluation, place, side) for place in chosen]
    return tile(cells, columns=2, gap=8)


def choose(overlap: Float[Tensor, " people"], worst: int, typical: int) -> list[int]:
    """Gives the places of the smallest values, in order, and then of those about the median."""
    order = overlap.argsort().tolist()
    worst = min(worst, len(order))
    middle = max(worst, len(order) // 2 - typical // 2)
    return order[:worst] + order[middle : middle + typical]


def _draw(evaluation: Evaluation, place: int, side: int) -> Float[Tensor, "3 tall wide"]:
    one = torch.tensor([place])
    bodies, sight = take(evaluation.bodies, one), take(evaluation.sight, one)
    picture = evaluation.renders.pictures(bodies.number)[0].permute(2, 0, 1).float() / 255
    template = evaluation.template
    posed = pose_body(template.skin, bodies.body.shape, bodies.body.rotations).vertices
    camera = PictureCamera(bodies.camera.scale[0], bodies.camera.origin[0])
    over = draw_overlay(picture, [posed[0]], [camera], template.faces, OPACITY)
    panels = [
        picture,
        draw_evidence(picture, sight.evidence.mask[0].float() / 255, sight.evidence.keypoints[0]),
        draw_outline(over, sight.people.clothed[0]),
    ]
    row = tile([fit_square(panel, side) for panel in panels], columns=3, gap=2)
    return label(row, _told(evaluation, place))


def _told(evaluation: Evaluation, place: int) -> str:
    value = {name: float(error[place]) for name, error in evaluation.errors.items()}
    return (
        f"no. {int(evaluation.bodies.number[place])}: IoU {value['silhouette_iou']:.2f}, "
        f"key points {value['reprojection']:.1f} % off, area {value['area_ratio']:.2f}, "
        f"PA-MPJPE {value['pa_mpjpe']:.0f} mm"
    )


def draw_outline(
    picture: Float[Tensor, "3 H W"],
    mask: Bool[Tensor, "H W"],
    colour: Sequence[float] = OUTLINE,
    width: int = 5,
) -> Float[Tensor, "3 H W"]:
    """Draws the outline of a mask.

    Args:
        width: Of the line [px]; odd.
    """
    solid = mask[None].float()
    wide = functional.max_pool2d(solid, width, 1, width // 2)
    narrow = 1 - functional.max_pool2d(1 - solid, width, 1, width // 2)
    line = (wide - narrow).clamp(0, 1)
    return torch.lerp(picture, picture.new_tensor(colour)[:, None, None], line)
