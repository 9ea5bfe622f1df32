"""Photos turned in their plane, about the middle of a person's square, and labels with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from plausibody.models.crop import Box
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import axis_rotation


@dataclass(frozen=True)
class Turn:
    """A turn about the middle of a box; what is turned is put into a square picture of its own."""

    angle: float
    """As a clock's hand turns [rad]."""
    box: Box
    """In the photo, of one person, with an axis for it."""
    side: int
    """Of the new picture [px]; the middle of the box comes to its middle."""

    @classmethod
    def about(cls, box: Box, angle: float, reach: float, size: int) -> Turn:
        """Chooses a picture that holds all that is looked at.

        Args:
            reach: Half the side of the square that is looked at, in half-squares of the box.
            size: Of the crop [px]: whose outermost pixels reach beyond the square.
        """
        side = float(box.side[0])
        return cls(angle, box, math.ceil(side * max(reach, 1.0) + 4 * side / size) + 4)

    @property
    def turned_box(self) -> Box:
        """The box in the new picture."""
        return Box(centre=torch.full_like(self.box.centre, self.side / 2), side=self.box.side)

    def points(self, points: Float[Tensor, "1 N 2"]) -> Float[Tensor, "1 N 2"]:
        """Turns points of the photo [px] into the new picture."""
        away = points - self.box.centre[:, None]
        return away @ self._matrix().to(points).mT + self.side / 2

    def picture(
        self, picture: Shaped[Tensor, "C H W"], labels: bool = False
    ) -> Shaped[Tensor, "C {self.side} {self.side}"]:
        """Turns a picture; beyond the photo is 0.

        Args:
            labels: Whether its numbers have no means: each pixel is then the nearest one.
        """
        height, width = picture.shape[-2:]
        place = torch.arange(self.side) + 0.5 - self.side / 2
        across, down = torch.meshgrid(place, place, indexing="xy")
        source = torch.stack([across, down], -1) @ self._matrix() + self.box.centre[0]
        grid = source / torch.tensor([width / 2, height / 2]) - 1
        mode = "nearest" if labels else "bilinear"
        found = functional.grid_sample(
            picture[None].float(), grid[None], mode=mode, align_corners=False
        )[0]
        return found.to(picture.dtype)

    def body(self, body: BodyParameters) -> BodyParameters:
        """Turns bodies in the world about the axis along which the camera looks."""
        root = self._roll().to(body.rotations) @ body.rotations[:, :1]
        return replace(body, rotations=torch.cat([root, body.rotations[:, 1:]], 1))

    def joints(self, joints: Float[Tensor, "1 N 4"]) -> Float[Tensor, "1 N 4"]:
        """Turns joints in the world, x, y, z [m], and leaves what comes with them."""
        return torch.cat([joints[..., :3] @ self._roll().to(joints).mT, joints[..., 3:]], -1)

    def _roll(self) -> Float[Tensor, "3 3"]:
        # Clockwise in the picture, whose y is down, is backwards about the world's z, which looks
        # at the camera.
        return axis_rotation(2, torch.tensor(-self.angle))

    def _matrix(self) -> Float[Tensor, "2 2"]:
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return torch.tensor([[cosine, -sine], [sine, cosine]])
