"""Stores of body poses: one HDF5 file with splits, whose frame is written inside.

The file attribute `frame` is mandatory and has one value, "body": y up, +z forward at yaw zero,
yaw free. Which way a person is seen from is drawn by the recipe, never read from the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import torch
from jaxtyping import Float
from torch import Tensor

FRAME = "body"


@dataclass(frozen=True)
class PoseBank:
    """Poses held in memory."""

    rotvecs: Float[Tensor, "N 24 3"]
    """Rotation of each joint relative to its parent [rad]; the root's relative to the world."""

    def __len__(self) -> int:
        return len(self.rotvecs)

    def to(self, device: torch.device | str) -> PoseBank:
        return PoseBank(self.rotvecs.to(device))


def load_poses(path: Path, split: str) -> PoseBank:
    """Reads one split ("train", "val", "test") of a pose store.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, no pose store, or in another frame.
    """
    if not path.exists():
        raise FileNotFoundError(f"pose store: no file {path}")
    try:
        with h5py.File(path, "r") as file:
            frame = file.attrs.get("frame")
            if frame != FRAME:
                raise ValueError(
                    f"{path}: wanted a pose store with the attribute frame={FRAME!r}, got "
                    f"{frame!r}; do: turn its poses so that y is up and +z ahead, then name that "
                    f"frame in the file; the module synth/poses.py describes the format"
                )
            if split not in file:
                raise ValueError(f"{path}: wanted the split {split!r}, the file has {list(file)}")
            data = file[split]["poses"]
            poses = torch.from_numpy(data[:]).float() * float(data.attrs.get("unit", 1.0))
    except OSError as error:
        raise ValueError(
            f"{path}: wanted an HDF5 pose store, but it cannot be read ({error}); "
            "if it was copied or downloaded, get it again"
        ) from error
    if poses.ndim != 3 or poses.shape[1:] != (24, 3) or not torch.isfinite(poses).all():
        raise ValueError(f"{path}: wanted finite poses of shape (N, 24, 3), got {poses.shape}")
    return PoseBank(poses)
