"""Draws people of an evaluation on painted people: those fitted worst, and typical ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.renders import Evaluation
from plausibody.evaluate.sheet import Sight, choose, draw_sight
from plausibody.models.body import pose_body
from plausibody.models.records import take
from plausibody.predict.drawing.bodies import label, tile
from plausibody.predict.placement import PictureCamera


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


def _draw(evaluation: Evaluation, place: int, side: int) -> Float[Tensor, "3 tall wide"]:
    one = torch.tensor([place])
    bodies, sight = take(evaluation.bodies, one), take(evaluation.sight, one)
    picture = evaluation.renders.pictures(bodies.number)[0].permute(2, 0, 1).float() / 255
    template = evaluation.template
    posed = pose_body(template.skin, bodies.body.shape, bodies.body.rotations).vertices
    shown = Sight(
        picture=picture,
        mask=sight.evidence.mask[0].float() / 255,
        keypoints=sight.evidence.keypoints[0],
        true_mask=sight.people.clothed[0],
        vertices=posed[0],
        faces=template.faces,
        camera=PictureCamera(bodies.camera.scale[0], bodies.camera.origin[0]),
    )
    return label(draw_sight(shown, side), _told(evaluation, place))


def _told(evaluation: Evaluation, place: int) -> str:
    value = {name: float(error[place]) for name, error in evaluation.errors.items()}
    return (
        f"no. {int(evaluation.bodies.number[place])}: IoU {value['silhouette_iou']:.2f}, "
        f"key points {value['reprojection']:.1f} % off, area {value['area_ratio']:.2f}, "
        f"PA-MPJPE {value['pa_mpjpe']:.0f} mm"
    )
