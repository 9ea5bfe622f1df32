"""DaNet's published checkpoints: names of parameters, and what of them predicts.

A file is a table whose `model` holds the parameters, or, of the first release, the parameters
alone. Besides those of the network that predicts it has layers and tables that its code makes and
never uses; they are listed here, and left out.

The answer is a body in the camera's frame, y down, and is read as one in the world.

Source: the released code, https://github.com/HongwenZhang/DaNet-DensePose2SMPL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.official_file import PublishedCheckpoint, require_match
from plausibody.models.official_straps import SHAPE_COUNT, CameraFrame
from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import SMPL24

DANET_PROXY = ProxySettings(size=224, scale=1.2, channel="rgb")
DANET_SOURCE = "github.com/HongwenZhang/DaNet-DensePose2SMPL"
_STREAMS = "iuv2smpl.smpl_para_Outs."
HRNET_WIDTH = DanetSettings().width
"""Of the published backbone's finest branch."""
MAIN = "img2iuv."
"""What every file of DaNet has parameters below."""
PREFIXES = {
    "image_encoder.": "img2iuv.iuv_est.",
    "heads.": "img2iuv.iuv_est.final_pred.",
    "squares.": "img2iuv.",
    "streams.limb_net.limb_net.": f"{_STREAMS}limb_net.",
    "streams.limb_net.limb_reslayer.": f"{_STREAMS}limb_reslayer.",
    "streams.graph.": _STREAMS,
    "streams.": _STREAMS,
}
"""Published prefixes by ours; the first that fits counts."""
UNUSED = re.compile(
    r"iuv2smpl\.smpl\.|iuv2smpl\.smpl_para_Outs\.(rot2pos|pos2rot)\.|"
    r"iuv2smpl\.smpl_para_Outs\.(A|A_link|I_n)$"
)
"""The body itself; layers that turn features without the graph; and tables that nobody reads or
that are made anew."""
START = {"mean_cam_shape": 3 + SHAPE_COUNT, "mean_pose": 6 * len(SMPL24)}
"""Where the estimate starts: camera and shape, and rotations."""


class PublishedDanet(CameraFrame, DanetRegressor):
    """DaNet's network, whose answer is a body in the camera's frame; read as one in the world."""

    def __init__(self) -> None:
        still = torch.eye(3).expand(len(SMPL24), 3, 3)
        super().__init__(DanetSettings(), DANET_PROXY, still, SHAPE_COUNT, published=True)
        self.place_pelvis()


def is_danet(names: Iterable[str]) -> bool:
    """Tells by its parameters' names whether a file holds DaNet's network."""
    return any(name.removeprefix("module.").startswith(MAIN) for name in names)


def unused(names: Iterable[str]) -> list[str]:
    """Lists the parameters of a file that predict nothing."""
    return [name for name in names if UNUSED.match(name.removeprefix("module."))]


def take_danet(file: PublishedCheckpoint, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compares a file's parameters with the network's, and gives them under our names.

    Args:
        wanted: The network's state dict.

    Returns:
        All that the network has but what is said of the pelvis.

    Raises:
        CheckpointError: If any is missing, of another shape, unknown, or not finite; names all as
            published; or says so if the backbone is not HRNet-W48.
    """
    left_out = set(unused(file.weights))
    weights = {
        name.removeprefix("module."): value
        for name, value in file.weights.items()
        if name not in left_out
    }
    _check_backbone(file, weights)
    names = {published_name(name): name for name in wanted if _is_published(name)}
    shapes = {published: wanted[name] for published, name in names.items()}
    for published, value in shapes.items():
        if published.endswith("num_batches_tracked"):  # older versions of torch did not count
            weights.setdefault(published, torch.zeros((), dtype=value.dtype))
    shapes |= {f"{_STREAMS}{name}": torch.zeros(1, count) for name, count in START.items()}
    require_match(replace(file, weights=weights), shapes, "DaNet")
    found = {name: weights[published] for published, name in names.items()}
    start, pose = (weights[f"{_STREAMS}{name}"][0] for name in START)
    found["initial"] = torch.cat([start[:3], pose, start[3:]])
    return found


def _check_backbone(file: PublishedCheckpoint, weights: Mapping[str, Tensor]) -> None:
    """Refuses another backbone than HRNet-W48, of which hundreds of tensors would differ."""
    own = PREFIXES["image_encoder."]
    branches = weights.get(f"{own}transition1.0.0.weight")
    deep = [any(name.startswith(f"{own}stage{n}.") for name in weights) for n in (2, 3, 4)]
    if branches is not None and len(branches) == HRNET_WIDTH and all(deep):
        return
    came = "another network"
    if branches is not None and all(deep):
        came = f"HRNet-W{len(branches)}"
    elif any(name.startswith(f"{own}deconv_layers.") for name in weights):
        came = "a residual network with deconvolutions"
    raise CheckpointError(
        f"{file.path}: wanted DaNet with the backbone HRNet-W{HRNET_WIDTH}, came one with {came}; "
        "do: take danet_model_h36m_itw.pt or danet_model_h36m_dpcoco.pt, as its authors publish "
        "them"
    )


def published_name(name: str) -> str:
    """Gives the published name of one of our parameters."""
    for ours, theirs in PREFIXES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise ValueError(f"wanted a parameter of DaNet's network, got {name}")


def _is_published(name: str) -> bool:
    return name.startswith(tuple(PREFIXES))
