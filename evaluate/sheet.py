"""People of an evaluation as pictures: what was seen, and the body that was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from plausibody.predict.drawing.bodies import draw_evidence, draw_overlay, fit_square, tile
from plausibody.predict.placement import PictureCamera

OUTLINE = (1.0, 0.9, 0.1)
"""Colour of the true outline."""
OPACITY = 0.8
"""Of the predicted body."""


@dataclass(frozen=True)
class Sight:
    """One person, as far as it can be drawn; all of it in pixels of the picture."""

    picture: Float[Tensor, "3 H W"]
    """0..1; grey where there is none."""
    mask: Float[Tensor, "H W"]
    """What the regressor was shown of the person, 0..1."""
    keypoints: Float[Tensor, "17 3"]
    """COCO-17 that the regressor was shown: x, y, confidence."""
    true_mask: Bool[Tensor, "H W"] | None
    """Whose outline is drawn; None where it is not known."""
    vertices: Float[Tensor, "V 3"]
    """Of the predicted body, in the world [m]."""
    faces: Int[Tensor, "F 3"]
    camera: PictureCamera
    """That sees it."""


def draw_sight(sight: Sight, side: int) -> Float[Tensor, "3 side wide"]:
    """Draws the picture, what the regressor was shown, and the predicted body over the picture.

    The true outline is yellow.

    Args:
        side: Of each of the three [px].
    """
    over = draw_overlay(sight.picture, [sight.vertices], [sight.camera], sight.faces, OPACITY)
    if sight.true_mask is not None:
        over = draw_outline(over, sight.true_mask)
    shown = draw_evidence(sight.picture, sight.mask, sight.keypoints)
    panels = [fit_square(panel, side) for panel in (sight.picture, shown, over)]
    return tile(panels, columns=3, gap=2)


def choose(values: Float[Tensor, " people"], worst: int, typical: int) -> list[int]:
    """Gives the places of the smallest values, in order, and then of those about the median."""
    order = values.argsort().tolist()
    worst = min(worst, len(order))
    middle = max(worst, len(order) // 2 - typical // 2)
    return order[:worst] + order[middle : middle + typical]


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
