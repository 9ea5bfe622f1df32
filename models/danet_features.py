"""What DaNet reads pictures with: HRNet as published, or a small network for CPUs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.encoder import BasicBlock, FoldedConv2d, normalise
from plausibody.models.hrnet import STRIDE, HRNet

DEPTH = 3
"""How many times `LightFeatures` halves its maps."""


@runtime_checkable
class Features(Protocol):
    """Pictures to maps: a module."""

    planes: int
    """Channels of the maps."""
    stride: int
    """Pixels of the picture per pixel of the maps, each way."""

    def __call__(self, image: Tensor) -> Tensor: ...


class HRNetFeatures(HRNet):
    """The finest branch of an HRNet, a quarter of the picture's size; it has the official names."""

    stride = STRIDE

    def __init__(self, width: int = 48):
        """Args:
        width: 48, as published, or 32.
        """
        super().__init__(width, scales=1)
        self.planes = width

    def forward(self, image: Float[Tensor, "batch 3 H W"]) -> Float[Tensor, "batch C H//4 W//4"]:
        """Gives maps.

        Args:
            image: Red, green and blue from 0 to 1.
        """
        (finest,) = self.features(normalise(image))
        return finest


class LightFeatures(nn.Module):
    """Residual blocks that halve the maps three times, and sums that bring them back up.

    The coarsest maps see the whole picture; their mean is told to each of their pixels.
    """

    def __init__(self, planes_in: int, planes: int, stride: int, colours: bool = True):
        """Args:
        planes_in: Of the picture, 3 for colours.
        planes: Channels of the maps; coarser maps have up to four times as many.
        stride: Pixels of the picture per pixel of the maps.
        colours: Whether the picture is one of colours, which are normalised first.
        """
        super().__init__()
        self.planes, self.stride, self.colours = planes, stride, colours
        # Pictures of many planes are mostly zeros, and bear mixing down before they are folded.
        few = planes_in if planes_in <= planes // 2 else planes // 2
        squeeze = nn.Identity() if few == planes_in else nn.Conv2d(planes_in, few, 1)
        self.stem = nn.Sequential(
            squeeze,
            FoldedConv2d(few, planes, stride),
            nn.BatchNorm2d(planes),
            nn.ReLU(inplace=True),
        )
        wide = [planes * factor for factor in (1, 2, 3, 4)]
        self.down = nn.ModuleList(
            BasicBlock(fine, coarse, 2) for fine, coarse in zip(wide[:-1], wide[1:], strict=True)
        )
        self.whole = nn.Linear(wide[-1], wide[-1])
        self.across = nn.ModuleList(nn.Conv2d(channels, planes, 1) for channels in wide)
        self.merge = BasicBlock(planes, planes)

    def forward(self, image: Float[Tensor, "batch P H W"]) -> Float[Tensor, "batch C H2 W2"]:
        """Gives maps; the sides of the picture are multiples of eight strides."""
        step = self.stride * 2**DEPTH
        if image.shape[-1] % step or image.shape[-2] % step:
            raise ValueError(
                f"picture: wanted sides in multiples of {step} px, got "
                f"{image.shape[-1]} x {image.shape[-2]}"
            )
        maps = [self.stem(normalise(image) if self.colours else image)]
        for halve in self.down:
            maps.append(halve(maps[-1]))
        maps[-1] = maps[-1] + self.whole(maps[-1].mean((-2, -1)))[..., None, None]
        merged = self.across[-1](maps[-1])
        for fine, across in zip(maps[-2::-1], list(self.across)[-2::-1], strict=True):
            merged = across(fine) + functional.interpolate(merged, scale_factor=2)
        found: Tensor = self.merge(merged)
        return found
