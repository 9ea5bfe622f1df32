"""Image encoders: residual networks with torchvision's parameter names, and a small one for CPUs.

torchvision itself is not used: its wheels break a CPU build of torch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.constants import constant


def group_norm(channels: int) -> nn.GroupNorm:
    """Makes a norm of groups of eight channels, or a few more where eight do not divide them.

    Other than a BatchNorm it looks at each picture by itself: the result does not depend on which
    others are in the batch, nor on how a batch is shared out over processes.

    Source: Wu and He, "Group Normalization", 2018, section 3; groups are of 16 channels there, in
    networks of 64 and more.
    """
    groups = max(1, channels // 8)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": group_norm}
"""Makes a norm of so many channels."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2016, figure 5 left)."""

    expansion = 1

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int = 1,
        norm: str = "batch",
        groups: int = 1,
    ):
        """Args:
        channels_in: Of the input.
        channels: Of the output.
        stride: Of the first convolution [px].
        norm: One of `NORMS`; the parameters are called bn1 and bn2 all the same.
        groups: Into which channels are divided; no group hears of another.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False, groups=groups)
        self.bn1 = NORMS[norm](channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, groups=groups)
        self.bn2 = NORMS[norm](channels)
        self.downsample = _shortcut(channels_in, channels, stride, norm, groups)

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch C2 H2 W2"]:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (figure 5 right); the stride sits on the 3x3."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = _shortcut(channels_in, 4 * channels, stride)

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch C2 H2 W2"]:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


def _shortcut(
    channels_in: int, channels: int, stride: int, norm: str = "batch", groups: int = 1
) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels:
        return None
    convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False, groups=groups)
    return nn.Sequential(convolution, NORMS[norm](channels))


DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""By layers: the blocks, and how many there are at each resolution."""


class ResNet(nn.Module):
    """A residual network without its classifier: pictures to one vector each.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, table 1.
    """

    def __init__(self, channels_in: int, depth: int = 18):
        """Args:
        channels_in: Channels of the input.
        depth: One of `DEPTHS`.
        """
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth: wanted {', '.join(map(str, DEPTHS))}, got {depth}")
        block, counts = DEPTHS[depth]
        self.conv1 = nn.Conv2d(channels_in, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        at = 64
        for number, count in enumerate(counts):
            channels, blocks = 64 * 2**number, []
            for index in range(count):
                stride = 2 if number > 0 and index == 0 else 1
                blocks.append(block(at, channels, stride))
                at = channels * block.expansion
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.features = at
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch features"]:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((-2, -1))


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue over ImageNet, 0..1; published networks read pictures less the mean, over
the deviation."""


def normalise(picture: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Makes ImageNet's mean 0 and its deviation 1, colour by colour.

    Args:
        picture: 0..1.
    """
    mean, std = (
        constant(each, picture.dtype, picture.device)[:, None, None]
        for each in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (picture - mean) / std


class Cells(nn.Module):
    """Folds squares of pixels into channels: `nn.PixelUnshuffle`, channels last.

    In that memory order the first convolution need not copy.
    """

    def __init__(self, side: int = 4):
        """Args:
        side: Of a square [px].
        """
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "batch planes H W"]) -> Float[Tensor, "batch C H2 W2"]:
        shape = (-1, self.side)
        cells = x.unflatten(3, shape).unflatten(2, shape).permute(0, 2, 4, 1, 3, 5)
        return cells.flatten(3).permute(0, 3, 1, 2)


class FoldedConv2d(nn.Module):
    """A convolution of 3 x 3 over `Cells`, which need not be made where channels are many.

    Over the pixels themselves it is one with a stride: the same sums, without a copy of the maps
    and of their gradients. From 16 channels on that saves a quarter to a half of the time on a CPU;
    of fewer, libraries convolve so slowly that copies pay.
    """

    MANY = 16
    """Channels from which no cells are made."""

    def __init__(self, channels_in: int, channels: int, side: int):
        """Args:
        channels_in: Of the maps, before they are folded.
        channels: To make.
        side: Of a cell [px].
        """
        super().__init__()
        self.cells = Cells(side)
        self.conv = nn.Conv2d(channels_in * side * side, channels, 3, padding=1, bias=False)

    def forward(self, x: Float[Tensor, "batch C H W"]) -> Float[Tensor, "batch C2 H2 W2"]:
        channels, side = x.shape[1], self.cells.side
        if channels < self.MANY:
            found: Tensor = self.conv(self.cells(x))
            return found
        weight = self.conv.weight.unflatten(1, (channels, side, side))
        weight = weight.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        return functional.conv2d(x, weight, stride=side, padding=side)


def pixel_branch(
    planes: int, size: int, features: int, width: int, cell: int, norm: str
) -> nn.Sequential:
    """Makes the small network that reads pixels; arguments as of `LiteEncoder`.

    Args:
        planes: Of the picture: 1 for a silhouette, 3 for colours.
    """
    if size % (4 * cell):
        raise ValueError(f"size: wanted a multiple of {4 * cell}, got {size}")
    return nn.Sequential(
        Cells(cell),
        nn.Conv2d(planes * cell * cell, width, 3, padding=1, bias=False),
        NORMS[norm](width),
        nn.ReLU(inplace=True),
        BasicBlock(width, 2 * width, 2, norm),
        BasicBlock(2 * width, 3 * width, 2, norm),
        nn.Conv2d(3 * width, 64, 1, bias=False),
        NORMS[norm](64),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64 * (size // (4 * cell)) ** 2, features),
    )


class KeypointBranch(nn.Sequential):
    """Reads key points as coordinates, and which of them are seen."""

    def __init__(self, features: int):
        """Args:
        features: Length of the vector.
        """
        super().__init__(nn.Linear(17 * 4, features), nn.GELU())

    def forward(self, keypoints: Float[Tensor, "batch 17 3"]) -> Float[Tensor, "batch features"]:
        seen = (keypoints[..., 2:] > 0).to(keypoints.dtype)
        vector: Tensor = super().forward(torch.cat([keypoints, seen], -1).flatten(1))
        return vector


class LiteEncoder(nn.Module):
    """A silhouette and key points, each by its own branch, to one vector.

    The silhouette is folded into cells of pixels first: no pixel is lost and the convolutions
    get channels enough to keep a CPU busy. Key points enter as coordinates, not as heatmaps,
    which costs a hundredth and learns faster on a small budget.
    """

    def __init__(
        self,
        size: int = 96,
        features: int = 512,
        width: int = 32,
        cell: int = 4,
        norm: str = "batch",
    ):
        """Args:
        size: Side of the silhouette [px], a multiple of four cells.
        features: Length of the vector.
        width: Channels of the first stage; the others have 2 and 3 times as many.
        cell: Side of the cells that the first stage reads [px].
        norm: One of `NORMS`.
        """
        super().__init__()
        self.features = features
        self.silhouette = pixel_branch(1, size, features, width, cell, norm)
        self.keypoints = KeypointBranch(features)

    def forward(
        self, silhouette: Float[Tensor, "batch size size"], keypoints: Float[Tensor, "batch 17 3"]
    ) -> Float[Tensor, "batch features"]:
        return self.silhouette(silhouette[:, None]) + self.keypoints(keypoints)
