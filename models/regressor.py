"""Regressors: from a proxy to a prediction."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.encoder import LiteEncoder, ResNet
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings, regressor_image
from plausibody.models.rotations import rot6d_to_rotmat, rotmat_to_rot6d

INITIAL_CAMERA = (0.9, 0.0, 0.0)


@dataclass(frozen=True)
class RegressorSettings:
    """The size of a network."""

    shape_count: int = 10
    """How many shape coefficients are predicted."""
    depth: int = 18
    """Of the residual network, 18 or 50 (straps)."""
    heatmap_sigma: float = 4.0
    """Standard deviation of the key points' Gaussians [px] (straps)."""
    features: int = 512
    """Length of the feature vector (lite)."""
    width: int = 32
    """Channels of the first stage (lite)."""
    blocks: int = 4
    """Residual blocks of the head (lite)."""


class Regressor(nn.Module):
    """What every point regressor shares: a vector of parameters and how to read it.

    The vector is [camera 3, rotations 6 J, shape S], the layout of SPIN and STRAPS. It starts
    from a mean body that faces the camera, which is kept in the state dict.
    """

    initial: Tensor

    def __init__(
        self, mean_rotations: Float[Tensor, "J 3 3"], shape_count: int, channel: str = "silhouette"
    ):
        super().__init__()
        self.channel = channel
        upright = mean_rotations.clone()
        upright[0] = torch.eye(3)
        pose = rotmat_to_rot6d(upright).flatten()
        initial = torch.cat([torch.tensor(INITIAL_CAMERA), pose, torch.zeros(shape_count)])
        self.register_buffer("initial", initial)
        self.joint_count = len(mean_rotations)

    @abstractmethod
    def forward(
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch parameters"]:
        """Gives the vector of parameters.

        Args:
            image: The proxy's channel that the network reads, silhouette or edges.
            keypoints: Of the proxy.
        """

    def predict(self, proxy: Proxy) -> PointPrediction:
        return self.read(self(proxy.channel(self.channel), proxy.keypoints))

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


class StrapsRegressor(Regressor):
    """Silhouette and 17 heatmaps through a ResNet and an iterative head.

    Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation
    in the Wild", 2020, section 3.
    """

    def __init__(
        self,
        settings: RegressorSettings,
        proxy: ProxySettings,
        mean_rotations: Float[Tensor, "J 3 3"],
    ):
        super().__init__(mean_rotations, settings.shape_count, proxy.channel)
        self.sigma = settings.heatmap_sigma
        self.image_encoder = ResNet(18, settings.depth)
        hidden = 512 if settings.depth == 18 else 1024
        self.ief_module = IterativeHead(self.image_encoder.features, len(self.initial), hidden)

    def forward(
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch parameters"]:
        stack = regressor_image(image, keypoints, self.sigma)
        features = self.image_encoder(stack.contiguous(memory_format=torch.channels_last))
        return self.ief_module(features, self.initial)


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


class LiteRegressor(Regressor):
    """A small network that trains on a CPU: `LiteEncoder`, residual blocks, one linear head."""

    def __init__(
        self,
        settings: RegressorSettings,
        proxy: ProxySettings,
        mean_rotations: Float[Tensor, "J 3 3"],
    ):
        super().__init__(mean_rotations, settings.shape_count, proxy.channel)
        self.encoder = LiteEncoder(proxy.size, settings.features, settings.width)
        self.trunk = nn.Sequential(
            *(ResidualBlock(settings.features) for _ in range(settings.blocks)),
            nn.LayerNorm(settings.features),
        )
        self.head = nn.Linear(settings.features, len(self.initial))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, image: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch parameters"]:
        features = self.trunk(self.encoder(image, keypoints))
        return self.head(features).float() + self.initial


def build_regressor(
    method: str,
    settings: RegressorSettings,
    proxy: ProxySettings,
    mean_rotations: Float[Tensor, "J 3 3"],
) -> Regressor:
    """Makes the network of a method.

    Args:
        method: straps or lite.
        mean_rotations: Where the estimate starts; the root is set to face the camera.
    """
    if method == "straps":
        return StrapsRegressor(settings, proxy, mean_rotations)
    if method == "lite":
        return LiteRegressor(settings, proxy, mean_rotations)
    raise ValueError(f"method: wanted straps or lite, got {method!r}")
