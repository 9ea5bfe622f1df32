"""Regressors: from a proxy to a prediction."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.encoder import NORMS, LiteEncoder, ResNet
from plausibody.models.prediction import BodyParameters, BodyPrediction, PointPrediction
from plausibody.models.proxy import Proxy, regressor_image
from plausibody.models.rotations import rot6d_to_rotmat, rotmat_to_rot6d
from plausibody.models.skeleton import COCO17

INITIAL_CAMERA = (0.9, 0.0, 0.0)
ENCODERS = ("lite", "resnet")


@dataclass(frozen=True)
class RegressorSettings:
    """The size of a network."""

    encoder: str = "lite"
    """lite, small and quick on a CPU; or resnet, as published. Which of them reads silhouette or
    edges and key points, and which reads rgb, follows from `proxy.channel`."""
    shape_count: int = 10
    """How many shape coefficients are predicted."""
    depth: int = 18
    """Of the residual network, 18, 34, 50, 101 or 152 (resnet)."""
    heatmap_sigma: float = 4.0
    """Standard deviation of the key points' Gaussians [px] (resnet)."""
    features: int = 512
    """Length of the feature vector (lite)."""
    width: int = 32
    """Channels of the first stage (lite)."""
    cell: int = 4
    """Side of the squares of pixels that the first stage folds into channels (lite)."""
    blocks: int = 4
    """Residual blocks behind it (lite)."""
    norm: str = "batch"
    """Of the convolutions: batch, whose means are over the samples of one process; or group, which
    looks at each sample by itself (lite)."""
    conditioning: str = "parameter"
    """What a joint hears of its ancestors (hierprob): published, or parameter."""
    whole_covariance: bool = True
    """Whether the shape's coefficients are correlated (hierprob); as published they are not."""
    keypoints: bool = False
    """Whether the lite encoder reads key points beside rgb; beside silhouettes and edges all do."""
    gendered: bool = False
    """Whether the network may be told a gender (hierprob); it learns that from streams with
    `shape.gendered` above 0."""

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(
                f"regressor.encoder: wanted {' or '.join(ENCODERS)}, got {self.encoder!r}"
            )
        if self.norm not in NORMS:
            raise ValueError(f"regressor.norm: wanted {' or '.join(NORMS)}, got {self.norm!r}")
        if self.encoder == "resnet" and self.norm != "batch":
            raise ValueError(
                f"regressor.norm: the published networks have batch norms, got {self.norm!r}; "
                "do: --set regressor.norm=batch, or --set regressor.encoder=lite"
            )


class Regressor(nn.Module):
    """What every regressor shares: a vector of numbers and how to read it."""

    gendered = False
    """Whether it may be told the gender of a person."""

    @property
    def mirrors(self) -> bool:
        """Whether what it reads has a mirror image; see `mirroring.predict_both`."""
        return True

    def __init__(self, channel: str, joint_count: int):
        """Args:
        channel: What it reads of the picture: silhouette, edges, rgb or iuv.
        joint_count: With the root.
        """
        super().__init__()
        self.channel, self.joint_count = channel, joint_count

    @abstractmethod
    def forward(
        self,
        image: Float[Tensor, "batch *planes size size"],
        keypoints: Float[Tensor, "batch 17 3"],
    ) -> Float[Tensor, "batch parameters"]:
        """Gives the vector of numbers.

        Args:
            image: The proxy's channel that the network reads: one plane, or of rgb and iuv three.
            keypoints: Of the proxy. Of networks that read rgb few look at them.
        """

    @abstractmethod
    def read(self, vector: Float[Tensor, "batch parameters"]) -> BodyPrediction:
        """Makes a prediction of the vector."""

    def inputs(self, proxy: Proxy) -> tuple[Tensor, ...]:
        """Picks what `forward` takes."""
        image = (proxy.channel(self.channel), proxy.keypoints)
        return (*image, proxy.gender) if self.gendered and proxy.gender is not None else image

    def predict(self, proxy: Proxy) -> BodyPrediction:
        return self.read(self(*self.inputs(proxy)))

    def lesson(self, proxy: Proxy, step: int, generator: torch.Generator) -> tuple[Any, ...]:
        """Picks what `forward` takes in training, where networks may want more than to predict.

        Args:
            proxy: What is read.
            step: Of the training.
            generator: Of whatever a network leaves to chance, on its device.
        """
        return self.inputs(proxy)

    def vector_of(self, answer: Any) -> Float[Tensor, "batch parameters"]:
        """Gives the vector of what `forward` gave in training."""
        vector: Tensor = answer
        return vector

    def read_lesson(self, answer: Any, vector: Float[Tensor, "batch parameters"]) -> BodyPrediction:
        """Makes a prediction of what `forward` gave in training.

        Args:
            answer: What it gave.
            vector: Its vector, or zeros where that is not finite.
        """
        return self.read(vector)


@runtime_checkable
class Encoder(Protocol):
    """Makes vectors of what is read: a module, of any channel."""

    features: int
    """Length of a vector."""

    def __call__(self, image: Tensor, keypoints: Tensor) -> Tensor: ...


class PointRegressor(Regressor):
    """One body: its vector is [camera 3, rotations 6 J, shape S], the layout of SPIN and STRAPS.

    It starts from a mean body that faces the camera, which is kept in the state dict.
    """

    initial: Tensor

    def __init__(
        self,
        encoder: nn.Module | Encoder,
        mean_rotations: Float[Tensor, "J 3 3"],
        shape_count: int,
        channel: str,
    ):
        """Args:
        encoder: Of an image and key points, to vectors.
        mean_rotations: Where the estimate starts; the root is set to face the camera.
        shape_count: Coefficients.
        channel: What the encoder reads of the picture: silhouette, edges or rgb.
        """
        super().__init__(channel, len(mean_rotations))
        self.image_encoder = encoder
        upright = mean_rotations.clone()
        upright[0] = torch.eye(3)
        pose = rotmat_to_rot6d(upright).flatten()
        initial = torch.cat([torch.tensor(INITIAL_CAMERA), pose, torch.zeros(shape_count)])
        self.register_buffer("initial", initial)

    def read(self, vector: Float[Tensor, "batch parameters"]) -> PointPrediction:
        vector = vector.float()
        pose = vector[:, 3 : 3 + 6 * self.joint_count].unflatten(-1, (-1, 6))
        return PointPrediction(
            camera=WeakPerspectiveCamera.from_vector(vector[:, :3]),
            parameters=BodyParameters(
                shape=vector[:, 3 + 6 * self.joint_count :], rotations=rot6d_to_rotmat(pose)
            ),
        )


class IterativeHead(nn.Module):
    """Corrects an estimate from features and itself, a fixed number of times.

    Source: Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", 2018, section 3.2;
    layer sizes and absence of dropout from STRAPS.
    """

    def __init__(self, features: int, parameters: int, hidden: int, iterations: int = 3):
        super().__init__()
        self.fc1 = nn.Linear(features + parameters, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, parameters)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.zeros_(layer.bias)
        self.iterations = iterations

    def forward(
        self, features: Float[Tensor, "batch C"], initial: Float[Tensor, " parameters"]
    ) -> Float[Tensor, "batch parameters"]:
        estimate = initial.expand(len(features), -1)
        for _ in range(self.iterations):
            hidden = functional.relu(self.fc1(torch.cat([features, estimate], -1)))
            estimate = estimate + self.fc3(functional.relu(self.fc2(hidden)))
        return estimate


class HeatmapEncoder(ResNet):
    """A residual network that reads an image and key points drawn as heatmaps."""

    def __init__(self, depth: int, sigma: float):
        """Args:
        depth: Of the residual network.
        sigma: Standard deviation of the heatmaps' Gaussians [px].
        """
        super().__init__(1 + len(COCO17), depth)
        self.sigma = sigma

    def forward(  # type: ignore[override]
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        stack = regressor_image(image, keypoints, self.sigma)
        return super().forward(stack.contiguous(memory_format=torch.channels_last))


class ResidualBlock(nn.Module):
    """Two linear layers round a shortcut, starting as the identity."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.expand = nn.Linear(features, features)
        self.project = nn.Linear(features, features)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Float[Tensor, "batch C"]) -> Float[Tensor, "batch C"]:
        return x + self.project(functional.gelu(self.expand(self.norm(x))))


def residual_trunk(features: int, blocks: int) -> nn.Sequential:
    """Makes `ResidualBlock`s and a norm behind them."""
    return nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)), nn.LayerNorm(features))


class DeepLiteEncoder(nn.Module):
    """`LiteEncoder` and residual blocks behind it: what learns on a CPU."""

    def __init__(self, settings: RegressorSettings, size: int):
        """Args:
        settings: Features, width, cell, norm and blocks.
        size: Side of the image [px].
        """
        super().__init__()
        self.features = settings.features
        self.encoder = LiteEncoder(
            size, settings.features, settings.width, settings.cell, settings.norm
        )
        self.trunk = residual_trunk(settings.features, settings.blocks)

    def forward(
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        features: Tensor = self.trunk(self.encoder(image, keypoints))
        return features


class StrapsRegressor(PointRegressor):
    """An encoder, as published of silhouette and 17 heatmaps, and an iterative head.

    Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation
    in the Wild", 2020, section 3.
    """

    def __init__(
        self,
        encoder: Encoder,
        mean_rotations: Float[Tensor, "J 3 3"],
        shape_count: int,
        channel: str,
    ):
        super().__init__(encoder, mean_rotations, shape_count, channel)
        hidden = 512 if encoder.features <= 512 else 1024
        self.ief_module = IterativeHead(encoder.features, len(self.initial), hidden)

    def forward(
        self,
        image: Float[Tensor, "batch *planes size size"],
        keypoints: Float[Tensor, "batch 17 3"],
    ) -> Float[Tensor, "batch parameters"]:
        return self.ief_module(self.image_encoder(image, keypoints).float(), self.initial)


class LiteRegressor(PointRegressor):
    """A small network that trains on a CPU: `DeepLiteEncoder` and one linear head."""

    def __init__(
        self,
        encoder: Encoder,
        mean_rotations: Float[Tensor, "J 3 3"],
        shape_count: int,
        channel: str,
    ):
        super().__init__(encoder, mean_rotations, shape_count, channel)
        self.head = nn.Linear(encoder.features, len(self.initial))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        image: Float[Tensor, "batch *planes size size"],
        keypoints: Float[Tensor, "batch 17 3"],
    ) -> Float[Tensor, "batch parameters"]:
        return self.head(self.image_encoder(image, keypoints)).float() + self.initial
