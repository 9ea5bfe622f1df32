"""Draws people of `open-v1`: one with what was predicted, and a sheet of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.rendered_people import Renders
from plausibody.evaluate.rendered_sight import Sight as Seen
from plausibody.evaluate.renders import Bodies
from plausibody.evaluate.sheet import Sight, draw_sight
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.records import take
from plausibody.predict.drawing.bodies import fit_square, tile
from plausibody.predict.placement import PictureCamera

SIDE = 160
"""Of each picture [px]."""


@dataclass(frozen=True)
class Artist:
    """Draws people by their names."""

    names: tuple[str, ...]
    renders: Renders
    seen: Seen
    bodies: Bodies
    """That were predicted, of all who can be drawn."""
    template: BodyTemplate
    """Of these."""

    @torch.no_grad()
    def __call__(self, name: str) -> Float[Tensor, "3 side wide"]:
        """Draws the picture; what the front end saw; the predicted body over the picture, with the
        outline of what is truly seen of the clothed person in yellow."""
        one = torch.tensor([self.names.index(name)])
        bodies = take(self.bodies, self.bodies.number == one)
        seen, template = take(self.seen, one), self.template
        shown = Sight(
            picture=self.renders.pictures(one)[0].permute(2, 0, 1).float() / 255,
            mask=seen.evidence.mask[0].float() / 255,
            keypoints=seen.evidence.keypoints[0],
            true_mask=seen.people.visible[0],
            vertices=pose_body(template.skin, bodies.body.shape, bodies.body.rotations).vertices[0],
            faces=template.faces,
            camera=PictureCamera(bodies.camera.scale[0], bodies.camera.origin[0]),
        )
        return draw_sight(shown, SIDE)


def draw_people(
    renders: Renders, numbers: Sequence[int], columns: int = 8, side: int = SIDE
) -> Float[Tensor, "3 height width"]:
    """Draws pictures of the benchmark.

    Args:
        numbers: Of the people.
        side: Of each picture [px].
    """
    pictures = renders.pictures(torch.tensor(list(numbers))).permute(0, 3, 1, 2).float() / 255
    return tile([fit_square(picture, side) for picture in pictures], columns=columns, gap=2)
