"""From IUV maps to numbers of the body: one stream for the whole, and one for each joint.

The global stream says camera and shape; each local stream looks at the parts round one joint and
makes features of its rotation, which a graph refines. Parameters have the published names.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.3,
and its released code for the sizes. The small streams for CPUs are ours.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.encoder import BasicBlock, Cells, ResNet

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
        Cells(2),
        nn.Conv2d(2 * width, width, 3, padding=1, bias=False),
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
            Cells(2),
            nn.Conv2d(2 * width, width, 3, padding=1, bias=False),
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
