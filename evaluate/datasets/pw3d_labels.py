"""Labels of 3DPW's crops as HierProb3D's preprocessing makes them from the sequences.

Box, crop and pose of each person and frame; nothing is read or written here. The box is that of
the labelled body in the picture, so that an evaluation does not depend on a detector.

Source: the preprocessing script released with Sengupta et al., "Hierarchical Kinematic Probability
Distributions for 3D Human Shape and Pose Estimation from Images in the Wild", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from plausibody.evaluate.datasets.pw3d_sequences import Actor, Sequence3DPW
from plausibody.models.body import Skin, pose_body
from plausibody.models.rotations import mean_rotation, rotmat_to_rotvec, rotvec_to_rotmat
from plausibody.predict.front_ends.crop import sample

CROP = 512
"""Side of the crops [px]."""
SCALE = 1.2
"""Side of the square that is cut out over the longer side of the body's box."""
TOGETHER = 64
"""Bodies that are posed at a time; does not change the labels."""
NEAREST = 0.05
"""Depth [m] of the nearest vertex, below which a label cannot be meant."""


@dataclass(frozen=True)
class ActorLabels:
    """What becomes of one person of a sequence; the first axis runs over the frames used."""

    frames: Int[ndarray, " n"]
    low: Float[ndarray, "n 2"]
    """Least x and y of the body's box [px], of pixels whose centres have whole numbers."""
    high: Float[ndarray, "n 2"]
    """Greatest x and y."""
    poses: Float[ndarray, "n 72"]
    """Axis-angle; the root's in the camera's frame, x right, y down, z forward [rad]."""
    unusable: dict[int, str]
    """By frame, why the label of a frame said to be valid cannot be used."""


def label_actor(sequence: Sequence3DPW, actor: Actor, bodies: Mapping[str, Skin]) -> ActorLabels:
    """Poses a person in every frame in which the camera is valid for them.

    Args:
        bodies: By gender, what the labels are of.
    """
    frames = actor.valid.nonzero()[0]
    unusable = {}
    finite = [
        np.isfinite(array).reshape(len(array), -1).all(1)
        for array in (actor.poses, actor.translations, sequence.cameras)
    ]
    everywhere = np.isfinite(actor.shape).all() and np.isfinite(sequence.intrinsics).all()
    good = np.logical_and.reduce(finite) & everywhere
    unusable.update(dict.fromkeys(frames[~good[frames]].tolist(), "numbers that are not finite"))
    frames = frames[good[frames]]
    low, high, near = _extent(sequence, actor, frames, bodies[actor.gender])
    behind = near < NEAREST
    unusable.update(dict.fromkeys(frames[behind].tolist(), "a body that is not before the camera"))
    frames, low, high = frames[~behind], low[~behind], high[~behind]
    return ActorLabels(
        frames=frames,
        low=low,
        high=high,
        poses=poses_before_camera(actor.poses[frames], sequence.cameras[frames]),
        unusable=unusable,
    )


def _extent(
    sequence: Sequence3DPW, actor: Actor, frames: Int[ndarray, " n"], skin: Skin
) -> tuple[Float[ndarray, "n 2"], Float[ndarray, "n 2"], Float[ndarray, " n"]]:
    """Gives the least and the greatest x and y of the vertices [px], and the least depth [m]."""
    shape = _single(actor.shape)
    intrinsics = _single(sequence.intrinsics)
    found = [torch.zeros(0, 5)]
    for start in range(0, len(frames), TOGETHER):
        some = frames[start : start + TOGETHER]
        rotations = rotvec_to_rotmat(_single(actor.poses[some]).unflatten(-1, (24, 3)))
        body = pose_body(skin, shape, rotations, _single(actor.translations[some]))
        camera = _single(sequence.cameras[some])
        seen = body.vertices @ camera[:, :3, :3].mT + camera[:, None, :3, 3]
        depth = seen[..., 2:]
        places = (seen @ intrinsics.T)[..., :2] / depth.clamp(min=NEAREST)
        found.append(torch.cat([places.amin(1), places.amax(1), depth.amin(1)], 1))
    every = torch.cat(found).numpy()
    return every[:, :2], every[:, 2:4], every[:, 4]


def poses_before_camera(
    poses: Float[ndarray, "n 72"], cameras: Float[ndarray, "n 4 4"]
) -> Float[ndarray, "n 72"]:
    """Turns the roots' rotations from the data set's world into the camera's frame.

    The camera's rotation is made orthonormal first, as OpenCV does when it takes an axis-angle of
    a matrix.
    """
    root = torch.from_numpy(poses[:, :3])
    turned = torch.from_numpy(cameras[:, :3, :3]) @ rotvec_to_rotmat(root)
    rotvec = rotmat_to_rotvec(mean_rotation(turned[None]))
    return np.concatenate([rotvec.numpy(), poses[:, 3:]], 1).astype(np.float32)


def cut_crop(
    picture: UInt8[Tensor, "H W 3"], centre: Float[ndarray, " 2"], side: float
) -> UInt8[Tensor, "3 crop crop"]:
    """Cuts the square out of a frame as published: bilinear, not smoothed first, black outside.

    In the published affine map pixels lie at whole numbers, so that pixel 256 of the crop, and not
    the corner before it, shows the box's centre.

    Args:
        centre: Of the box [px], of pixels whose centres have whole numbers.
        side: The longer one of the box [px].
    """
    step = SCALE * side / CROP
    first = torch.from_numpy(centre).double() + 0.5 - step * (CROP / 2 + 0.5)
    affine = torch.cat([step * torch.eye(2, dtype=torch.double), first[:, None]], 1).float()
    cut = sample(picture.permute(2, 0, 1), affine, CROP, CROP, antialias=False)
    return cut.round().clamp(0, 255).byte()


def _single(array: Float[ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.from_numpy(array.astype(np.float32))
