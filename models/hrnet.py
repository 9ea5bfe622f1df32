"""HRNet: a network that keeps a high resolution from beginning to end, with the official names.

Branches of 1/4, 1/8, 1/16 and 1/32 of the picture's size run side by side, each with twice the
channels of the one before, and exchange what they know again and again. The parameters are called
as in the authors' files, so that those can be opened. `HRNet` is the body of the network, for
whoever builds on it; `PoseHRNet` adds the layer that gives heatmaps of key points.

Source: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", 2019,
section 3, and https://github.com/leoxiaobin/deep-high-resolution-net.pytorch, whose files these
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.encoder import BasicBlock, Bottleneck
from plausibody.models.official_file import read_restricted

STAGES = ((2, 1), (3, 4), (4, 3))
"""Branches and modules of the second, third and fourth stage; the first is `layer1`."""
BLOCKS = 4
"""Of each branch in each module."""
STEM = 64
"""Channels of the two convolutions that bring a picture to a quarter of its size."""
STRIDE = 4
"""Pixels of the picture per pixel of the first branch and of the heatmaps, each way."""
JOINTS = 17
"""Key points of COCO."""
SHOWN = 12
"""Names of parameters that do not fit, at most, in a message."""


class Exchange(nn.Module):
    """One module: each branch thinks for itself, then all are told what the others found."""

    def __init__(self, channels: Sequence[int], outputs: int):
        """Args:
        channels: Of each branch, the finest first.
        outputs: How many branches are told; the others end here.
        """
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(BLOCKS))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_message(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )

    def forward(self, x: list[Float[Tensor, "batch _ _ _"]]) -> list[Float[Tensor, "batch _ _ _"]]:
        x = [branch(part) for branch, part in zip(self.branches, x, strict=True)]
        told = []
        for messages in self.fuse_layers:
            assert isinstance(messages, nn.ModuleList)
            parts = [message(part) for message, part in zip(messages, x, strict=True)]
            told.append(functional.relu(sum(parts[1:], parts[0])))
        return told


class HRNet(nn.Module):
    """The network without its last layer: pictures to feature maps."""

    def __init__(self, width: int = 48, scales: int = 1):
        """Args:
        width: Channels of the finest branch: 48 for W48, 32 for W32.
        scales: Branches at the end, 1 to 4. The pose network has the finest alone; networks
            that classify or regress use all four.
        """
        super().__init__()
        if not 1 <= scales <= len(STAGES) + 1:
            raise ValueError(f"scales: wanted 1 to {len(STAGES) + 1}, got {scales}")
        self.width = width
        self.conv1 = nn.Conv2d(3, STEM, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM)
        wide = Bottleneck.expansion * STEM
        self.layer1 = nn.Sequential(
            Bottleneck(STEM, STEM), *(Bottleneck(wide, STEM) for _ in range(BLOCKS - 1))
        )
        before = [wide]
        for number, (branches, modules) in enumerate(STAGES):
            after = [width * 2**branch for branch in range(branches)]
            setattr(self, f"transition{number + 1}", _transition(before, after))
            last = scales if number == len(STAGES) - 1 else branches
            outputs = [branches] * (modules - 1) + [last]
            stage = nn.Sequential(*(Exchange(after, count) for count in outputs))
            setattr(self, f"stage{number + 2}", stage)
            before = after
        self.channels = tuple(before[:scales])
        """Of each map that `features` gives."""

    def features(self, picture: Float[Tensor, "batch 3 H W"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Gives the map of each branch, the finest first, at a quarter of the picture's size.

        Args:
            picture: Of sides that are multiples of 32; normalised as in training.
        """
        height, width = picture.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"picture: wanted sides in multiples of 32, got {width} x {height}")
        x = functional.relu(self.bn1(self.conv1(picture)))
        x = functional.relu(self.bn2(self.conv2(x)))
        maps = [self.layer1(x)]
        for number in range(len(STAGES)):
            transition: nn.ModuleList = getattr(self, f"transition{number + 1}")
            # A branch goes on from its own map; a new one begins at the coarsest.
            maps = [
                change(maps[min(branch, len(maps) - 1)]) for branch, change in enumerate(transition)
            ]
            maps = getattr(self, f"stage{number + 2}")(maps)
        return maps


class PoseHRNet(HRNet):
    """The network of the official pose files: crops of people to heatmaps of key points."""

    def __init__(self, width: int = 48, joints: int = JOINTS):
        """Args:
        width: Channels of the finest branch.
        joints: Key points.
        """
        super().__init__(width, scales=1)
        self.final_layer = nn.Conv2d(width, joints, 1)

    def forward(
        self, picture: Float[Tensor, "batch 3 H W"]
    ) -> Float[Tensor, "batch joints H//4 W//4"]:
        """Gives heatmaps; their peaks are about 1 where a key point is surely seen.

        Args:
            picture: RGB, normalised by ImageNet's mean and deviation; sides are multiples of 32.
        """
        (finest,) = self.features(picture)
        heatmaps: Tensor = self.final_layer(finest)
        return heatmaps


def load_pose_hrnet(path: Path) -> PoseHRNet:
    """Opens an official pose file of any width, such as `pose_hrnet_w48_384x288.pth`.

    Nothing that the file names is run. Its tensors must be those of the network, all of them and
    no others.

    Returns:
        The network, ready to predict, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, calls for code, or holds other tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"hrnet: wanted an official pose file, found no file {path}")
    weights = read_restricted(path)
    first = weights.get("transition1.0.0.weight") if isinstance(weights, Mapping) else None
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise CheckpointError(
            f"{path}: wanted a pose file of HRNet, whose tensors are called conv1.weight, "
            f"transition1.0.0.weight and so on, came {_described(weights)}; "
            "do: take the file that its authors publish"
        )
    last = weights.get("final_layer.weight")
    joints = len(last) if isinstance(last, Tensor) and last.ndim == 4 else JOINTS
    with torch.device("meta"):  # no time is spent on numbers that are replaced
        network = PoseHRNet(len(first), joints)
    _require_match(path, weights, network.state_dict())
    network.load_state_dict(weights, assign=True)
    return network.float().eval().requires_grad_(False)


def _message(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Makes what brings one branch's map to the channels and the size of another's."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(channels[source], channels[target], 1, bias=False),
            nn.BatchNorm2d(channels[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    halvings = [_halving(channels[source], channels[source]) for _ in range(target - source - 1)]
    end = nn.Sequential(
        nn.Conv2d(channels[source], channels[target], 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels[target]),
    )
    return nn.Sequential(*halvings, end)


def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Makes what leads from one stage's branches to the next one's, one more."""
    changes: list[nn.Module] = []
    for branch, channels in enumerate(after):
        if branch >= len(before):
            changes.append(nn.Sequential(_halving(before[-1], channels)))
        elif before[branch] != channels:
            changes.append(
                nn.Sequential(
                    nn.Conv2d(before[branch], channels, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
            )
        else:
            changes.append(nn.Identity())
    return nn.ModuleList(changes)


def _halving(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _require_match(path: Path, weights: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    """Compares names and shapes; says which tensors are missing, unexpected or do not fit."""
    faults = [f"missing {name}" for name in wanted if name not in weights]
    faults += [f"unexpected {name}" for name in weights if name not in wanted]
    for name, tensor in wanted.items():
        came = weights.get(name)
        if isinstance(came, Tensor) and came.shape != tensor.shape:
            faults.append(f"{name} is {tuple(came.shape)}, wanted {tuple(tensor.shape)}")
        elif isinstance(came, Tensor) and not came.isfinite().all():
            faults.append(f"{name} has numbers that are not finite")
        elif name in weights and not isinstance(came, Tensor):
            faults.append(f"{name} is a {type(came).__name__}, wanted a tensor")
    if faults:
        rest = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise CheckpointError(
            f"{path}: wanted the {len(wanted)} tensors of HRNet, but {len(faults)} do not fit: "
            f"{'; '.join(faults[:SHOWN])}{rest}; do: take the file that its authors publish"
        )


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    rest = f" and {len(content) - 4} more" if len(content) > 4 else ""
    return f"a table of {', '.join(map(str, list(content)[:4])) or 'nothing'}{rest}"
