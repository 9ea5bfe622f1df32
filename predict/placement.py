"""From a camera over a person's box to cameras over the whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.camera import PerspectiveCamera, WeakPerspectiveCamera, world_to_camera
from plausibody.models.proxy import Box

DIAGONAL_VIEW = 2 * math.atan(0.5)
"""Angle of view assumed over the picture's diagonal [rad], 53 degrees: the focal length is as long
as the diagonal, as with a normal lens.

Source: Kissos et al., "Beyond Weak Perspective for Monocular 3D Human Pose Estimation", 2020."""

BEYOND = 0.05
"""Weight of points that the picture does not show, when a pinhole camera is fitted. On a photo of a
head and shoulders it takes the mean distance of key points from 18 % of the box to 4 %."""

STANDOFF = 100.0
"""Depth given to the world's origin under an orthographic camera [m]: only differences mean
anything, and rasterisers want depths to be positive."""


@dataclass(frozen=True)
class PictureCamera:
    """An orthographic camera over a whole picture."""

    scale: Float[Tensor, "*batch"]
    """[px/m]."""
    origin: Float[Tensor, "*batch 2"]
    """Where the world's origin appears: x, y [px]."""

    @classmethod
    def of(cls, camera: WeakPerspectiveCamera, box: Box) -> PictureCamera:
        """Says in pixels of the picture what a camera says in half-squares of a box."""
        scale = camera.scale * box.side / 2
        return cls(scale=scale, origin=box.centre + scale[..., None] * camera.shift)

    def project(self, points: Float[Tensor, "*batch N 3"]) -> Float[Tensor, "*batch N 3"]:
        """Gives x, y [px] and a depth [m] of points of the world."""
        turned = world_to_camera(points)
        flat = self.scale[..., None, None] * turned[..., :2] + self.origin[..., None, :]
        return torch.cat([flat, turned[..., 2:] + STANDOFF], -1)


def focal_length(size: tuple[int, int], diagonal_view: float = DIAGONAL_VIEW) -> float:
    """Gives the focal length [px] of a lens.

    Args:
        size: Height and width of the picture [px].
        diagonal_view: Angle of view over the diagonal [rad].
    """
    if not 0 < diagonal_view < math.pi:
        raise ValueError(
            "angle of view over the diagonal: wanted more than 0 and less than 180 degrees, "
            f"got {math.degrees(diagonal_view):g}"
        )
    return math.hypot(*size) / 2 / math.tan(diagonal_view / 2)


def to_perspective(
    camera: PictureCamera,
    points: Float[Tensor, "N 3"],
    size: tuple[int, int],
    diagonal_view: float = DIAGONAL_VIEW,
) -> PerspectiveCamera:
    """Finds the pinhole camera whose picture of some points is nearest to the orthographic one.

    The principal point is the middle of the picture.

    Args:
        points: Of the body, in the world [m]; joints will do.
        size: Height and width of the picture [px].
    """
    focal = points.new_tensor(focal_length(size, diagonal_view))
    principal = points.new_tensor([size[1] / 2, size[0] / 2])
    translation = nearest_translation(camera, points, focal, principal)
    return PerspectiveCamera(focal=focal, principal=principal, translation=translation)


def nearest_translation(
    camera: PictureCamera,
    points: Float[Tensor, "*batch N 3"],
    focal: Float[Tensor, ""],
    principal: Float[Tensor, " 2"],
) -> Float[Tensor, "*batch 3"]:
    """Moves points to where a pinhole camera sees them most nearly as an orthographic one does.

    The translation t follows by least squares from u (Z + t_z) = f (X + t_x), which is linear in
    it. Perspective makes near limbs larger, so the two pictures differ by some per cent. What the
    picture shows must fit; what lies beyond its border counts little.

    Args:
        points: In the world [m].
        focal: [px].
        principal: The middle of the picture [px].

    Source: Kolotouros et al., SPIN, 2019, `estimate_translation`; the weights are ours.
    """
    turned = world_to_camera(points).double()
    off = camera.project(points)[..., :2] - principal
    weight = torch.where((off.abs() <= principal).all(-1), 1.0, BEYOND).double()
    flat = off.double() / focal.double()
    zero, one = torch.zeros_like(flat[..., 0]), torch.ones_like(flat[..., 0])
    rows = torch.cat(
        [
            torch.stack([one, zero, -flat[..., 0]], -1),
            torch.stack([zero, one, -flat[..., 1]], -1),
        ],
        -2,
    )
    weight = torch.cat([weight, weight], -1)[..., None]
    right = (flat * turned[..., 2:] - turned[..., :2]).mT.flatten(-2)
    rows, right = weight * rows, weight[..., 0] * right
    return torch.linalg.lstsq(rows, right[..., None]).solution[..., 0].to(points)
