"""SPIN, EFT and DSR: one network, published under three forms of file.

- SPIN: a table whose `model` holds the parameters by SPIN's names.
- DSR: a checkpoint of PyTorch Lightning whose `state_dict` has them below `model.backbone.` and
  `model.head.`, beside the body's own tensors.
- EFT: the parameters alone; where the mean body from which the estimate starts is left out, it is
  read from SPIN's `smpl_mean_params.npz`.

The answer is a body in the camera's frame, y down, and is read as one in the world.

Source: the released code of SPIN (github.com/nkolot/SPIN), EFT (github.com/facebookresearch/eft)
and DSR (github.com/saidwivedi/DSR).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.hmr import HmrRegressor, RgbEncoder
from plausibody.models.official_file import (
    PublishedCheckpoint,
    find_parameters,
    read_restricted,
    require_match,
)
from plausibody.models.official_straps import SHAPE_COUNT, CameraFrame
from plausibody.models.skeleton import SMPL24

SPIN_SOURCE = "github.com/nkolot/SPIN"
SPIN_MEAN = ("smpl_mean_params.npz", f"the data that SPIN's fetch_data.sh fetches, {SPIN_SOURCE}")
"""File of the mean body from which the estimate starts, and where it is from."""
PREFIXES = ("module.", "model.", "backbone.", "head.")
ENCODERS = ("image_encoder.", "img2iuv.iuv_est.")
"""Before the names of the encoder in the files of STRAPS, LASOR and HierProb3D, and of DaNet."""
"""Under which parameters are filed; they say nothing more."""
UNUSED = re.compile(
    r"(smpl|smpl_native|loss_fn|criterion)\.|fc\.(weight|bias)$|J_regressor(_extra)?$"
)
"""Of the body, of losses, and ImageNet's classifier: not of the regressor."""
INITIAL = {"init_cam": 3, "init_pose": 144, "init_shape": 10}
"""Where the estimate starts, in the order of our `initial`."""


class PublishedHmr(CameraFrame, HmrRegressor):
    """SPIN's network, whose answer is a body in the camera's frame; read as one in the world."""

    def __init__(self) -> None:
        still = torch.eye(3).expand(len(SMPL24), 3, 3)
        super().__init__(RgbEncoder(50), still, SHAPE_COUNT, "rgb")
        self.place_pelvis()


def spin_names(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Files parameters under SPIN's names, without what the regressor does not need.

    Raises:
        CheckpointError: If two become one.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        plain = name
        while plain.startswith(PREFIXES):
            plain = plain.partition(".")[2]
        if UNUSED.match(plain):
            continue
        if plain in found:
            raise CheckpointError(
                f"{path}: wanted each parameter once, came {plain} under several names, one of "
                f"which is {name}; do: take the file that its authors publish"
            )
        found[plain] = value
    return found


def take_spin(file: PublishedCheckpoint, network: PublishedHmr, what: str) -> dict[str, Tensor]:
    """Compares a file's parameters with the network's, and gives them under our names.

    Args:
        what: Whose they are, for messages, which name parameters as published.

    Returns:
        All that the network has but the pelvis, and without `initial` where the file leaves out
        where the estimate starts.

    Raises:
        CheckpointError: If any is missing, of another shape, unknown, or not finite; names all.
    """
    weights = spin_names(file.weights, file.path)
    ours = {
        name.partition(".")[2]: (name, value)
        for name, value in network.state_dict().items()
        if name.startswith(("image_encoder.", "head."))
    }
    wanted = {name: value for name, (_, value) in ours.items()}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):  # older versions of torch did not count
            weights.setdefault(name, value)
    starts = any(name in weights for name in INITIAL)
    if starts:
        wanted |= {name: torch.zeros(1, count) for name, count in INITIAL.items()}
    require_match(replace(file, weights=weights), wanted, what)
    found = {name: weights[published] for published, (name, _) in ours.items()}
    if starts:
        found["initial"] = torch.cat([weights[name][0] for name in INITIAL])
    return found


def read_backbone(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads the image encoder of a published file, with the official names, and nothing else.

    Args:
        wanted: The parameters to look for.

    Returns:
        Those that are there, whatever their shapes.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, calls for code or holds no parameters.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"train.init_backbone: wanted weights, found no file {path}; do: check the path"
        )
    found = spin_names(find_parameters(path, read_restricted(path)), path)
    for prefix in ENCODERS:
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):  # older versions of torch did not count
            found.setdefault(name, value)
    return {name: value for name, value in found.items() if name in wanted}
