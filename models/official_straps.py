"""STRAPS and LASOR as their released weights expect them: legacy heatmaps, the camera's frame.

The network is ours (`models.regressor`). What differs is what goes in and how the answer is read:

- Silhouettes are 0 or 1, and heatmaps are patches of 16 x 16 pixels with a peak of 0.98.
- The root's rotation is relative to the camera's axes, y down, not to the world's.

Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in the
Wild", 2020, and Yang et al., "LASOR", 2022, with their released code.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.camera import (
    WeakPerspectiveCamera,
    rotmat_to_camera,
    world_to_camera,
)
from plausibody.models.encoder import ResNet
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.regressor import HeatmapEncoder, PointRegressor, StrapsRegressor
from plausibody.models.skeleton import SMPL24

SHAPE_COUNT = 10


def legacy_heatmaps(
    keypoints: Float[Tensor, "*batch K 3"], size: int, sigma: float = 4.0
) -> Float[Tensor, "*batch K size size"]:
    """Draws heatmaps as STRAPS did, with what is odd about them.

    A Gaussian is sampled on linspace(-2 sigma, 2 sigma, 4 sigma) in both axes, 16 numbers of which
    none is its centre: the peak is 0.982, a little off the centres of pixels. That patch is
    written with its middle between pixels c - 1 and c, where c is the coordinate in pixels, cut to
    a whole number. The last row and column of the map stay zero, always.

    Args:
        keypoints: x, y in half-squares and confidence; seen where the confidence is positive.
        size: Of the map [px].
        sigma: [px]; twice it is a whole number.

    Source: STRAPS, `utils/label_conversions.py`.
    """
    reach = int(2 * sigma)
    samples = torch.linspace(-reach, reach, 2 * reach).to(keypoints)
    patch = torch.exp(-(samples**2) / (2 * sigma**2))
    at = (keypoints[..., :2] + 1) * (size / 2)
    # So far outside that no patch touches the map; also where a number is infinite or none.
    near = ((at > -reach) & (at < size - 1 + reach)).all(-1, keepdim=True)
    corner = torch.where(near, at, 0.0).trunc().long() - reach
    index = torch.arange(size, device=keypoints.device) - corner[..., None]
    written = (index >= 0) & (index < 2 * reach)
    written[..., size - 1] = False
    line = patch[index.clamp(0, 2 * reach - 1)] * written
    seen = ((keypoints[..., 2:] > 0) & near).to(keypoints.dtype)
    across, down = line.unbind(-2)
    return (down * seen)[..., :, None] * across[..., None, :]


class LegacyHeatmapEncoder(HeatmapEncoder):
    """Reads silhouettes of whole pixels and `legacy_heatmaps`."""

    def forward(  # type: ignore[override]
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        silhouette = (image > 0.5).to(image.dtype)[:, None]
        heatmaps = legacy_heatmaps(keypoints, image.shape[-1], self.sigma)
        stack = torch.cat([silhouette, heatmaps], 1)
        return ResNet.forward(self, stack.contiguous(memory_format=torch.channels_last))


class CameraFrame(PointRegressor):
    """A network whose answer is a body in the camera's frame; it is read as one in the world.

    Its state dict also holds `initial`, where the estimate starts (camera, 24 rotations in the
    camera's frame, shape), and what `pelvis_of` gives of the body that it predicts.
    """

    pelvis: Tensor
    pelvis_directions: Tensor

    def place_pelvis(self) -> None:
        """Makes room for what `pelvis_of` gives."""
        self.register_buffer("pelvis", torch.zeros(3))
        self.register_buffer("pelvis_directions", torch.zeros(3, SHAPE_COUNT))

    def read(self, vector: Float[Tensor, "batch parameters"]) -> PointPrediction:
        """Turns the body into the world, and moves the camera so that it sees the same.

        SMPL turns a body about its pelvis p, not about the origin: x -> R (x - p) + p. The camera
        sees a body with root Rx R, turned by Rx into the camera's frame, at R (x - p) + Rx p: the
        same shape as published, but off by Rx p - p, which its shift takes back.
        """
        said = super().read(vector)
        shape, rotations = said.parameters.shape, said.parameters.rotations
        root = rotmat_to_camera(rotations[:, :1])
        pelvis = self.pelvis + shape @ self.pelvis_directions.T
        moved = (world_to_camera(pelvis) - pelvis)[:, :2]
        return PointPrediction(
            camera=WeakPerspectiveCamera(scale=said.camera.scale, shift=said.camera.shift - moved),
            parameters=BodyParameters(
                shape=shape, rotations=torch.cat([root, rotations[:, 1:]], 1)
            ),
        )


class CameraFrameRegressor(CameraFrame, StrapsRegressor):
    """A STRAPS network that answers in the camera's frame."""

    def __init__(self, depth: int):
        """Args:
        depth: Of the residual network, 18 (STRAPS) or 50 (LASOR).
        """
        still = torch.eye(3).expand(len(SMPL24), 3, 3)
        super().__init__(LegacyHeatmapEncoder(depth, 4.0), still, SHAPE_COUNT, "silhouette")
        self.place_pelvis()


def pelvis_of(template: BodyTemplate) -> dict[str, Tensor]:
    """Gives the pelvis at rest [m] and its offset per unit of each shape coefficient."""
    skin = template.skin
    return {
        "pelvis": skin.joints[0],
        "pelvis_directions": skin.joint_directions[0, :, :SHAPE_COUNT],
    }
