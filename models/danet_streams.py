"""From IUV maps to numbers of the body: one stream for the whole, and one for each joint.

The global stream says camera and shape; each local stream looks at the parts round one joint and
makes features of its rotation, which a graph refines. Parameters have the published names.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.3,
and its released code for the sizes. The small streams for CPUs are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.danet_crops import Squares
from plausibody.models.danet_graph import PositionAidedGraph
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.encoder import BasicBlock, FoldedConv2d, ResNet
from plausibody.models.iuv import CLASSES, IuvMaps
from plausibody.models.part_tables import SHOWN

STEM = 64
"""Channels into which maps are mixed before a residual network reads them."""


class ResNetHead(ResNet):
    """A residual network of 18 layers and a linear layer on top."""

    def __init__(self, channels_in: int, outputs: int):
        super().__init__(channels_in, 18)
        self.final_layer = nn.Linear(self.features, outputs)
        nn.init.xavier_uniform_(self.final_layer.weight, gain=0.01)
        nn.init.zeros_(self.final_layer.bias)

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch outputs"]:
        found: Tensor = self.final_layer(super().forward(x))
        return found


class ResNetTrunk(ResNet):
    """The first three stages of a residual network of 18 layers: maps a sixteenth as large."""

    def __init__(self, channels_in: int):
        super().__init__(channels_in, 18)
        del self.layer4

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch 256 H2 W2"]:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        for number in range(1, 4):
            x = getattr(self, f"layer{number}")(x)
        return x


def mixed(planes: int, channels: int) -> list[nn.Module]:
    """Makes the layers that mix maps into channels."""
    return [
        nn.Conv2d(planes, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def global_stream(planes: int, outputs: int) -> nn.Sequential:
    """Makes the published global stream."""
    return nn.Sequential(*mixed(planes, STEM), ResNetHead(STEM, outputs))


def light_global_stream(planes: int, outputs: int, width: int, side: int) -> nn.Sequential:
    """Makes a small global stream.

    Args:
        width: Channels of its first stage.
        side: Of the maps [px], a multiple of 8.
    """
    last = nn.Linear(3 * width * (side // 8) ** 2, outputs)
    nn.init.xavier_uniform_(last.weight, gain=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        *mixed(planes, width // 2),
        FoldedConv2d(width // 2, width, 2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        BasicBlock(width, 2 * width, 2),
        BasicBlock(2 * width, 3 * width, 2),
        nn.Flatten(),
        last,
    )


class LocalStreams(nn.Module):
    """One trunk for all joints, and a last stage for each."""

    def __init__(self, joints: int, planes: int, features: int):
        """Args:
        joints: How many.
        planes: Maps of each.
        features: To make of them.
        """
        super().__init__()
        self.limb_net = nn.Sequential(*mixed(planes, STEM), ResNetTrunk(STEM))
        self.limb_reslayer = nn.Module()
        self.limb_reslayer.layer4 = nn.Sequential(
            BasicBlock(joints * 256, joints * features, 2, groups=joints),
            BasicBlock(joints * features, joints * features, groups=joints),
        )

    def forward(self, maps: Float[Tensor, "batch J C H W"]) -> Float[Tensor, "batch J F"]:
        batch, joints = maps.shape[:2]
        found = self.limb_net(maps.flatten(0, 1))
        found = found.reshape(batch, joints * found.shape[1], *found.shape[2:])
        last = self.limb_reslayer.layer4
        assert isinstance(last, nn.Sequential)
        found = last(found)
        return found.mean((-2, -1)).unflatten(1, (joints, -1))


class LightLocalStreams(nn.Module):
    """A small trunk for all joints, and a linear layer for each."""

    def __init__(self, joints: int, planes: int, features: int, width: int, side: int):
        """Args:
        joints: How many.
        planes: Maps of each.
        features: To make of them.
        width: Channels of the first stage.
        side: Of the maps [px], a multiple of 4.
        """
        super().__init__()
        self.limb_net = nn.Sequential(
            *mixed(planes, width // 2),
            FoldedConv2d(width // 2, width, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            BasicBlock(width, 2 * width, 2),
        )
        # Convolutions of one pixel, in groups: a matrix for each joint.
        flat = 2 * width * (side // 4) ** 2
        self.last = nn.Conv1d(joints * flat, joints * features, 1, groups=joints)
        self.norm = nn.BatchNorm1d(joints * features)

    def forward(self, maps: Float[Tensor, "batch J C H W"]) -> Float[Tensor, "batch J F"]:
        batch, joints = maps.shape[:2]
        found = self.limb_net(maps.flatten(0, 1)).reshape(batch, -1, 1)
        found = functional.relu(self.norm(self.last(found)[..., 0]))
        return found.unflatten(1, (joints, -1))


def joint_head(joints: int, features: int, outputs: int) -> nn.Sequential:
    """Makes a linear layer for each joint; see `say`."""
    layer = nn.Conv2d(joints * features, joints * outputs, 1, groups=joints)
    nn.init.xavier_uniform_(layer.weight, gain=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Identity(), layer)  # published files have the layer in second place


def say(head: nn.Module, features: Float[Tensor, "batch J F"]) -> Float[Tensor, "batch J outputs"]:
    """Applies a `joint_head`."""
    said: Tensor = head(features.flatten(1)[..., None, None])
    return said[..., 0, 0].unflatten(1, (features.shape[1], -1))


class DanetStreams(nn.Module):
    """From clean maps to numbers; parameters have the published names."""

    def __init__(
        self,
        settings: DanetSettings,
        side: int,
        joints: Sequence[str],
        parents: Sequence[int],
        shape_count: int,
    ):
        """Args:
        settings: Of the network.
        side: Of the maps of the whole [px].
        joints: Names of joints.
        parents: Of each joint, -1 for the root.
        shape_count: Coefficients.
        """
        super().__init__()
        self.settings, count, features = settings, len(joints), settings.features
        planes, light = 3 * CLASSES, settings.streams == "light"
        outputs = 3 + shape_count + (0 if settings.local else 6 * count)
        width = max(settings.width, 32)
        self.body_net = (
            light_global_stream(planes, outputs, width, side)
            if light
            else global_stream(planes, outputs)
        )
        if not settings.local:
            return
        few = 3 * (SHOWN + 1)
        streams = (
            LightLocalStreams(count, few, features, 32, settings.crop)
            if light
            else LocalStreams(count, few, features)
        )
        self.limb_net: nn.Module = streams
        if settings.places:
            self.places = nn.Linear(3 * count, count * features)
        heads = [joint_head(count, features, 6)]
        if settings.graph:
            self.graph = PositionAidedGraph(features, parents, joints, settings.refine)
            heads.append(joint_head(count, features, 6))
            self.coord_regressors = nn.ModuleList(
                joint_head(count, features, 3) for _ in range(1 + settings.refine)
            )
        self.pose_regressors = nn.ModuleList(heads)

    def forward(
        self, whole: IuvMaps, partial: IuvMaps | None, squares: Squares
    ) -> tuple[
        Float[Tensor, "batch parameters"],
        Float[Tensor, "batch J 6"] | None,
        Float[Tensor, "batch P J 3"] | None,
    ]:
        """Gives what is added to where the estimate starts: [camera 3, pose, shape].

        Args:
            whole: Clean maps.
            partial: Clean maps of the parts round each joint.
            squares: Where these are.

        Returns:
            The numbers; rotations before the graph, likewise less their start; and positions.
        """
        said = self.body_net(whole.stack())
        if partial is None:
            return said, None, None
        features = self.limb_net(partial.stack())
        if self.settings.places:
            where = torch.cat([squares.centre, squares.half[..., None]], -1).flatten(1)
            features = features + self.places(where.to(features.dtype)).view_as(features)
        first: Tensor | None = None
        positions: Tensor | None = None
        if self.settings.graph:
            first = say(self.pose_regressors[0], features)
            refined = self.graph(features)
            heads, found = list(self.coord_regressors), [refined.positions, refined.refined]
            places = [say(head, each) for head, each in zip(heads, found, strict=False)]
            positions = torch.stack(places, 1)
            features = refined.rotations
        pose = say(self.pose_regressors[-1], features)
        return torch.cat([said[:, :3], pose.flatten(1), said[:, 3:]], 1), first, positions
