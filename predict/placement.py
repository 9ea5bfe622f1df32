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

BEYOND = 0.005
"""Least weight of a point when a pinhole camera is fitted: of those that the picture does not show,
and of those that nobody saw. One that is surely seen weighs 1. Where hands and legs that the photo
cuts off weighed as much, key points lay 10 % of the person's diagonal off, and now 4 %."""

NEAREST = 0.3
"""Least depth of points under a pinhole camera [m]. Hands and feet end within 20 cm of wrists and
ankles, so nothing of the body lies behind the camera."""

_TRIED = 65
_ROUNDS = 5
"""Depths tried at a time, and how often they are narrowed down: to a millionth of the depth."""

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

    def over_part(self, corner: Float[Tensor, "*batch 2"], ratio: float = 1.0) -> PictureCamera:
        """Follows a part of the picture that is cut out and then resized.

        Args:
            corner: Left and top of the part [px].
            ratio: Of its size after to before.
        """
        return PictureCamera(scale=self.scale * ratio, origin=(self.origin - corner) * ratio)

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
    weight: Float[Tensor, " N"] | None = None,
) -> PerspectiveCamera:
    """Finds the pinhole camera whose picture of some points is nearest to the orthographic one.

    The principal point is the middle of the picture.

    Args:
        points: Of the body, in the world [m]; key points will do.
        size: Height and width of the picture [px].
        weight: How much each point counts, 0 to 1: how surely it was seen. None for all alike.
    """
    focal = points.new_tensor(focal_length(size, diagonal_view))
    principal = points.new_tensor([size[1] / 2, size[0] / 2])
    translation = nearest_translation(camera, points, focal, principal, weight)
    return PerspectiveCamera(focal=focal, principal=principal, translation=translation)


def nearest_translation(
    camera: PictureCamera,
    points: Float[Tensor, "*batch N 3"],
    focal: Float[Tensor, ""],
    principal: Float[Tensor, " 2"],
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, "*batch 3"]:
    """Moves points to where a pinhole camera sees them most nearly as an orthographic one does.

    Least are the squares of the distances in the picture. For a known depth the sideways
    translation follows from a linear equation, so only the depth is searched for. It is at least so
    large that all points lie `NEAREST` before the camera, also if others would fit better.

    Perspective makes near limbs larger, so the two pictures differ by some per cent. They also
    differ for bodies away from the picture's middle, which a pinhole sees from the side: the points
    are moved and not turned, so that one orientation serves both cameras.

    Args:
        points: In the world [m].
        focal: [px].
        principal: The middle of the picture [px].
        weight: How much each point counts where the picture shows it; at least `BEYOND`, which is
            also what it counts beyond the picture's border. None for all alike.
    """
    turned = world_to_camera(points).double()
    off = camera.project(points)[..., :2] - principal
    shown = (off.abs() <= principal).all(-1)
    counts = torch.ones_like(off[..., 0]) if weight is None else weight.expand(shown.shape)
    counts = torch.where(shown, counts, 0.0).clamp(min=BEYOND).double()[..., None, :]
    flat = (off.double() / focal.double())[..., None, :, :]
    side, deep = turned[..., None, :, :2], turned[..., None, :, 2]
    least = NEAREST - turned[..., 2].amin(-1)
    best = (focal / camera.scale).double().expand(least.shape)
    steps = torch.linspace(-1, 1, _TRIED, dtype=torch.float64, device=points.device)
    moved, span = turned[..., 0, :2], 2.0
    for _ in range(_ROUNDS):
        tried = (best[..., None] * torch.exp(span * steps)).maximum(least[..., None])
        depth = deep + tried[..., None]
        share = counts / depth.square()
        pull = (share[..., None] * (flat * depth[..., None] - side)).sum(-2)
        sideways = pull / share.sum(-1)[..., None]
        gap = (side + sideways[..., None, :]) / depth[..., None] - flat
        found = (counts * gap.square().sum(-1)).sum(-1).argmin(-1, keepdim=True)
        best = tried.gather(-1, found)[..., 0]
        moved = sideways.gather(-2, found[..., None].expand(*found.shape, 2))[..., 0, :]
        span *= 2 / (_TRIED - 1)
    return torch.cat([moved, best[..., None]], -1).to(points)
