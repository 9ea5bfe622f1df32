"""Cameras, and the one place where the world turns into the camera's frame.

World (and body): x to the body's left, y up, z out of the body's chest. Camera: x right, y down,
z forward. The two differ by a half turn about x, so a body with identity root faces the camera
upright. Pictures: (x, y) in pixels from the outer corner of the top-left pixel; the centre of
pixel (row i, column j) is (j + 0.5, i + 0.5). Lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.constants import constant


def world_to_camera(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Turns directions or points half around the x axis; it is its own inverse."""
    return points * constant((1.0, -1.0, -1.0), points.dtype, points.device)


def rotmat_to_camera(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Premultiplies an orientation in the world by the half turn; it is its own inverse."""
    return rotmat * constant(((1.0,), (-1.0,), (-1.0,)), rotmat.dtype, rotmat.device)


@dataclass(frozen=True)
class PerspectiveCamera:
    """A pinhole that looks along the world's -z axis, without distortion."""

    focal: Float[Tensor, "*batch"]
    """Focal length [px], the same for x and y."""
    principal: Float[Tensor, "*batch 2"]
    """Principal point [px]."""
    translation: Float[Tensor, "*batch 3"]
    """Of the world's origin, in the camera's frame [m]."""

    def project(self, points: Float[Tensor, "*batch N 3"]) -> Float[Tensor, "*batch N 3"]:
        """Gives (x, y) in pixels and the depth [m] of points of the world.

        Points nearer than 5 cm keep their depth and are divided by 5 cm: the rasteriser drops
        what lies before its near plane, and nothing becomes infinite.
        """
        moved = world_to_camera(points) + self.translation[..., None, :]
        depth = moved[..., 2:]
        scale = self.focal[..., None, None] / depth.clamp(min=0.05)
        return torch.cat([moved[..., :2] * scale + self.principal[..., None, :], depth], -1)


@dataclass(frozen=True)
class WeakPerspectiveCamera:
    """An orthographic camera over a square: u = scale * (x + shift), within -1..1."""

    scale: Float[Tensor, "*batch"]
    """Half-squares per metre."""
    shift: Float[Tensor, "*batch 2"]
    """Added before scaling, in the camera's axes (x right, y down) [m]."""

    @classmethod
    def from_vector(cls, vector: Float[Tensor, "*batch 3"]) -> WeakPerspectiveCamera:
        """Reads [scale, shift x, shift y], the layout of HMR, SPIN and STRAPS."""
        return cls(scale=vector[..., 0], shift=vector[..., 1:])

    def project(self, points: Float[Tensor, "*batch N 3"]) -> Float[Tensor, "*batch N 2"]:
        """Gives (x, y) of points of the world in half-squares from the square's centre."""
        flat = world_to_camera(points)[..., :2]
        return self.scale[..., None, None] * (flat + self.shift[..., None, :])


def fit_weak_perspective(
    points: Float[Tensor, "*batch N 3"],
    target: Float[Tensor, "*batch N 2"],
    weight: Float[Tensor, "*batch N"],
) -> WeakPerspectiveCamera:
    """Finds the camera that maps points onto their picture, by weighted least squares.

    Args:
        points: In the world [m].
        target: In half-squares, -1..1.
        weight: Not negative; the sum is clamped away from zero.
    """
    flat = world_to_camera(points)[..., :2]
    share = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-9))[..., None]
    flat_mean, target_mean = (share * flat).sum(-2), (share * target).sum(-2)
    flat_rest = flat - flat_mean[..., None, :]
    spread = (share * flat_rest.square()).sum((-2, -1)).clamp(min=1e-9)
    scale = (share * flat_rest * (target - target_mean[..., None, :])).sum((-2, -1)) / spread
    scale = scale.clamp(min=1e-3)
    return WeakPerspectiveCamera(scale=scale, shift=target_mean / scale[..., None] - flat_mean)
