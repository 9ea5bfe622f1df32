"""HierProb3D's network: every joint's distribution is predicted from those of its ancestors.

A vector of features gives a camera, the root's rotation and a Gaussian over the shape; with these
it becomes an embedding. From the embedding and from what was said of the joints between it and the
root, each joint gets the parameter F of a matrix-Fisher distribution. All joints of one level of
the tree have equally many ancestors, so that a level is one product of batched matrices.

Source: Sengupta et al., "Hierarchical Kinematic Probability Distributions for 3D Human Shape and
Pose Estimation from Images in the Wild", 2021, section 3.3; layer sizes and the names of the
parameters are those of the released weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.constants import constant
from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import FisherPrediction
from plausibody.models.regressor import INITIAL_CAMERA, Regressor
from plausibody.models.rotations import rot6d_to_rotmat
from plausibody.models.shapes import ShapeGaussian

FRONTAL = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""The identity as its first two columns, row by row: the root faces the camera."""
PUBLISHED, PARAMETER = "published", "parameter"
TOLD = {PUBLISHED: 21, PARAMETER: 10}
"""How many numbers a joint hears of each ancestor."""
NARROWEST, WIDEST = -7.0, 4.0
"""Bounds of the logarithm of a shape coefficient's standard deviation."""


def ancestors(parents: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Lists for each joint but the root its ancestors but the root, the nearest first.

    Args:
        parents: Of all joints, with -1 for the root; parents come before their children.

    Returns:
        Joints counted from the root's first child: number 0 is joint 1 of the tree.
    """
    found: list[tuple[int, ...]] = []
    for parent in parents[1:]:
        found.append(() if parent == 0 else (parent - 1, *found[parent - 1]))
    return tuple(found)


class AncestralHead(nn.ModuleList):
    """One small network per joint, which hears of the joint's ancestors; run level by level."""

    def __init__(self, parents: Sequence[int], embedding: int, conditioning: str):
        """Args:
        parents: Of all joints, with -1 for the root.
        embedding: Length of the vector that all joints share.
        conditioning: What is told of ancestors. published: U, s and the mode of F = U diag(s) V^T,
            where the signs in U are those that the LAPACK of a CPU gives; parameter: F over
            1 + |F|, and log(1 + |F|), which has no such choices and needs no decomposition.
        """
        told = TOLD[conditioning]
        lines = ancestors(parents)
        super().__init__(
            nn.Sequential(nn.Linear(embedding + told * len(line), 128), nn.ELU(), nn.Linear(128, 9))
            for line in lines
        )
        self.conditioning = conditioning
        depths = sorted({len(line) for line in lines})
        levels = [[j for j, line in enumerate(lines) if len(line) == depth] for depth in depths]
        order = [joint for level in levels for joint in level]
        place = {joint: number for number, joint in enumerate(order)}
        self.levels = tuple(tuple(level) for level in levels)
        self.lines = tuple(
            tuple(tuple(place[joint] for joint in lines[member]) for member in level)
            for level in levels
        )
        """Of each level's joints: where in the order of levels their ancestors are."""
        self.back = tuple(place[joint] for joint in range(len(lines)))

    def forward(self, embedding: Float[Tensor, "batch E"]) -> Float[Tensor, "batch J 3 3"]:
        """Gives F of all joints but the root."""
        batch, device = len(embedding), embedding.device
        found: list[Tensor] = []
        heard: list[Tensor] = []
        for level, lines in zip(self.levels, self.lines, strict=True):
            inputs = embedding[:, None].expand(-1, len(level), -1)
            if lines[0]:
                index = constant(lines, torch.long, device)  # [joints of the level, ancestors]
                lore = torch.cat(heard, 1)[:, index]  # [batch, joints, ancestors, told]
                inputs = torch.cat([inputs, *self._grouped(lore)], -1)
            hidden = functional.elu(self._layer(level, 0, inputs.transpose(0, 1)))
            entries = self._layer(level, 2, hidden).transpose(0, 1)
            parameter = entries.unflatten(-1, (3, 3)) + torch.eye(3, device=device)
            found.append(parameter)
            heard.append(self._told(parameter))
        return torch.cat(found, 1)[:, constant(self.back, torch.long, device)].reshape(
            batch, -1, 3, 3
        )

    def _layer(
        self, level: Sequence[int], number: int, inputs: Float[Tensor, "joints batch C"]
    ) -> Float[Tensor, "joints batch C2"]:
        """Applies one linear layer of each joint of a level to its own inputs."""
        layers = [self.get_submodule(f"{joint}.{number}") for joint in level]
        weight = torch.stack([layer.get_parameter("weight") for layer in layers])
        bias = torch.stack([layer.get_parameter("bias") for layer in layers])
        return torch.baddbmm(bias[:, None], inputs, weight.mT)

    def _told(self, parameter: Float[Tensor, "batch J 3 3"]) -> Float[Tensor, "batch J told"]:
        """Gives what the descendants hear of joints."""
        if self.conditioning == PARAMETER:
            size = parameter.square().sum((-2, -1), keepdim=True).clamp(min=1e-12).sqrt()
            parts = (parameter / (1 + size), torch.log1p(size))
            return torch.cat([part.flatten(-2) for part in parts], -1)
        # On the CPU wherever the network is: the signs of another solver would be another story.
        parts = torch.linalg.svd(parameter.cpu())
        left, values, right = (part.to(parameter.device) for part in parts)
        third = values[..., 2:] * _handedness(left) * _handedness(right)
        values = torch.cat([values[..., :2], third], -1)
        left = _proper(left)
        mode = left @ _proper(right.mT).mT
        return torch.cat([left.flatten(-2), values, mode.flatten(-2)], -1)

    def _grouped(self, lore: Float[Tensor, "batch J A told"]) -> list[Tensor]:
        """Orders what is told: of the released weights by kind, then by ancestor."""
        kinds = (9, 3, 9) if self.conditioning == PUBLISHED else (10,)
        return [part.flatten(-2) for part in lore.split(kinds, -1)]


def _handedness(axes: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 1"]:
    """Gives 1 for a rotation and -1 for a reflection, a constant to gradients."""
    return torch.linalg.det(axes.detach()).sign()[..., None]


def _proper(axes: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Turns the last column of a reflection round, which makes it a rotation."""
    return torch.cat([axes[..., :2], axes[..., 2:] * _handedness(axes)[..., None]], -1)


class HierarchicalRegressor(Regressor):
    """An encoder, the shape's Gaussian, root and camera, and `AncestralHead`."""

    init_glob: Tensor
    init_cam: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        parents: Sequence[int],
        channel: str,
        shape_count: int = 10,
        conditioning: str = PUBLISHED,
        whole_covariance: bool = False,
        gendered: bool = False,
    ):
        """Args:
        encoder: Of an image and key points, to vectors.
        features: Their length.
        parents: Of the body's joints, with -1 for the root.
        channel: What the encoder reads of the picture: silhouette, edges or rgb.
        shape_count: Coefficients.
        conditioning: See `AncestralHead`.
        whole_covariance: Whether the shape's coefficients are correlated.
        gendered: Whether the network may be told a gender.
        """
        super().__init__(channel, len(parents))
        if conditioning not in TOLD:
            raise ValueError(f"conditioning: wanted one of {', '.join(TOLD)}, got {conditioning!r}")
        self.image_encoder = encoder
        self.shape_count, self.gendered = shape_count, gendered
        row, column = torch.tril_indices(shape_count, shape_count, -1).tolist()
        self.corners = (tuple(row), tuple(column)) if whole_covariance else ((), ())
        shapes = 2 * shape_count + len(self.corners[0])
        self.fc1 = nn.Linear(features, features)
        self.fc_shape = nn.Linear(features, shapes)
        self.fc_glob = nn.Linear(features, 6)
        self.fc_cam = nn.Linear(features, 3)
        self.fc_embed = nn.Linear(features + shapes + 6 + 3, 256)
        self.fc_pose = AncestralHead(parents, 256, conditioning)
        if gendered:
            self.fc_gender = nn.Linear(2, features, bias=False)
        self.register_buffer("init_glob", torch.tensor([FRONTAL]))
        self.register_buffer("init_cam", torch.tensor([INITIAL_CAMERA]))

    def forward(
        self,
        image: Float[Tensor, "batch *planes size size"],
        keypoints: Float[Tensor, "batch 17 3"],
        gender: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch parameters"]:
        features = self.image_encoder(image, keypoints)
        with torch.autocast(features.device.type, enabled=False):  # half precision is too coarse
            return self._head(features.float(), gender)

    def _head(
        self, features: Float[Tensor, "batch C"], gender: Float[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch parameters"]:
        if self.gendered:
            told = features.new_zeros(len(features)) if gender is None else gender.to(features)
            features = features + self.fc_gender(torch.stack([told, told.abs()], -1))
        hidden = functional.elu(self.fc1(features))
        shape = self.fc_shape(hidden)
        root = self.fc_glob(hidden) + self.init_glob
        camera = self.fc_cam(hidden) + self.init_cam
        known = torch.cat([features, shape, root, camera], -1)
        joints = self.fc_pose(functional.elu(self.fc_embed(known)))
        return torch.cat([camera, root, shape, joints.flatten(1)], -1)

    def read(self, vector: Float[Tensor, "batch parameters"]) -> FisherPrediction:
        vector, count = vector.float(), self.shape_count
        corners = len(self.corners[0])
        joints = 9 * (self.joint_count - 1)
        camera, root, mean, spread, rest, parameter = vector.split(
            (3, 6, count, count, corners, joints), -1
        )
        spread = spread.clamp(NARROWEST, WIDEST).exp()
        factor = torch.diag_embed(spread)
        if corners:
            row, column = (constant(axis, torch.long, vector.device) for axis in self.corners)
            # Over the spread of its row: then a coefficient's scale is learnt at one place.
            lower = torch.zeros_like(factor)
            lower[:, row, column] = rest * spread[:, row]
            factor = factor + lower
        return FisherPrediction(
            camera=WeakPerspectiveCamera.from_vector(camera),
            root=rot6d_to_rotmat(root),
            joints=MatrixFisher(parameter.unflatten(-1, (-1, 3, 3))),
            shape=ShapeGaussian(mean=mean, factor=factor),
        )
