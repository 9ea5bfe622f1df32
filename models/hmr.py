"""Regressors of colour pictures alone: HMR's head behind a residual network, as SPIN trains it.

SPIN, EFT and DSR share this network and differ in what they learn from. It reads the square round
a person, 0..1, and normalises it by ImageNet's mean and deviation itself, so that proxies stay as
they are for everybody. Key points only help to find the square, unless the small encoder is told to
read them. Where a square leaves the photo it is black, as published.

Source: Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", 2018, section 3.2;
Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via Model-fitting in the Loop",
2019, and its released code, for six numbers a rotation and the sizes of the layers.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.encoder import KeypointBranch, ResNet, normalise, pixel_branch
from plausibody.models.proxy import Proxy
from plausibody.models.regressor import (
    Encoder,
    PointRegressor,
    RegressorSettings,
    residual_trunk,
)

HIDDEN = 1024
"""Width of the head as published; half of it behind encoders of at most 512 features."""
DROPOUT = 0.5


class RgbEncoder(ResNet):
    """A residual network that reads colour pictures; its parameters have torchvision's names."""

    def __init__(self, depth: int):
        """Args:
        depth: 18 or, as published, 50.
        """
        super().__init__(3, depth)

    def forward(  # type: ignore[override]
        self, image: Float[Tensor, "batch 3 size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        return super().forward(normalise(image).contiguous(memory_format=torch.channels_last))


class RgbLiteEncoder(nn.Module):
    """A small network that reads colour pictures of 64 to 96 px and learns on a CPU.

    It is `LiteEncoder` for three planes. DSR has no key points to read; with them, which a front
    end finds anyway, a CPU gets much further in the same time.
    """

    def __init__(self, settings: RegressorSettings, size: int):
        """Args:
        settings: Features, width, cell, norm and blocks; whether key points are read.
        size: Side of the picture [px], a multiple of four cells.
        """
        super().__init__()
        self.features = settings.features
        self.pixels = pixel_branch(
            3, size, settings.features, settings.width, settings.cell, settings.norm
        )
        self.keypoints = KeypointBranch(settings.features) if settings.keypoints else None
        self.trunk = residual_trunk(settings.features, settings.blocks)

    def forward(
        self, image: Float[Tensor, "batch 3 size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        read = self.pixels(normalise(image))
        if self.keypoints is not None:
            read = read + self.keypoints(keypoints)
        features: Tensor = self.trunk(read)
        return features


class HmrHead(nn.Module):
    """Corrects pose, shape and camera three times, each by a layer of its own.

    Between the two wide layers there is dropout and, as published, nothing that bends. Parameters
    have SPIN's names.
    """

    def __init__(self, features: int, pose: int, shape: int, iterations: int = 3):
        """Args:
        features: Of a picture.
        pose: Numbers of all rotations, six each.
        shape: Coefficients.
        iterations: Corrections.
        """
        super().__init__()
        hidden = HIDDEN if features > 512 else HIDDEN // 2
        self.fc1 = nn.Linear(features + pose + shape + 3, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.decpose = nn.Linear(hidden, pose)
        self.decshape = nn.Linear(hidden, shape)
        self.deccam = nn.Linear(hidden, 3)
        for layer in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
        self.iterations = iterations

    def forward(
        self,
        features: Float[Tensor, "batch C"],
        initial: Float[Tensor, " parameters"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch parameters"]:
        """Gives [camera 3, pose, shape], the layout of `PointRegressor`.

        Args:
            features: Of pictures.
            initial: Where the estimate starts, in the same layout.
            generator: Of what is dropped in training; torch's own if None.
        """
        pose_count, shape_count = self.decpose.out_features, self.decshape.out_features
        camera, pose, shape = initial.expand(len(features), -1).split(
            (3, pose_count, shape_count), -1
        )
        for _ in range(self.iterations):
            hidden = self.fc1(torch.cat([features, pose, shape, camera], -1))
            hidden = self._drop(hidden, generator)
            hidden = self._drop(self.fc2(hidden), generator)
            pose = pose + self.decpose(hidden)
            shape = shape + self.decshape(hidden)
            camera = camera + self.deccam(hidden)
        return torch.cat([camera, pose, shape], -1)

    def _drop(
        self, hidden: Float[Tensor, "batch C"], generator: torch.Generator | None
    ) -> Float[Tensor, "batch C"]:
        if not self.training:
            return hidden
        drawn = torch.rand(hidden.shape, generator=generator, device=hidden.device)
        return hidden * (drawn >= DROPOUT) / (1 - DROPOUT)


class HmrRegressor(PointRegressor):
    """An encoder, as published of colours by 50 layers, and HMR's head."""

    def __init__(
        self,
        encoder: Encoder,
        mean_rotations: Float[Tensor, "J 3 3"],
        shape_count: int,
        channel: str,
    ):
        super().__init__(encoder, mean_rotations, shape_count, channel)
        self.head = HmrHead(encoder.features, 6 * self.joint_count, shape_count)

    def lesson(self, proxy: Proxy, step: int, generator: torch.Generator) -> tuple[Any, ...]:
        """Picks what `forward` takes in training: the chance of what is dropped, too."""
        return *self.inputs(proxy), generator

    def forward(
        self,
        image: Float[Tensor, "batch *planes size size"],
        keypoints: Float[Tensor, "batch 17 3"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch parameters"]:
        return self.head(self.image_encoder(image, keypoints).float(), self.initial, generator)
