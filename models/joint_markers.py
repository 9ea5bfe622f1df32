"""The joints that images show, posed from fewer points than the vertices that define them.

Such a joint is a weighted mean of vertices, and a vertex one of the places to which the kinematic
joints move it. Sums may be taken in either order: for each image joint and each kinematic joint
that moves any of its vertices, their weighted mean is a point that follows this one joint. Points
at rest are linear in shape and pose as vertices are, so that posing them is nothing new: the same
image joints come out, but for rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from plausibody.models.body import BodyTemplate, Skin
from plausibody.models.markers import JointRegressors, Markers


def joint_markers(template: BodyTemplate, regressors: JointRegressors) -> Markers:
    """Makes markers of image joints alone: of no vertices, and with rows of zeros as joints at 0.

    Args:
        template: A whole body.
        regressors: Of the template's topology.
    """
    wanted = torch.cat([regressors.coco17, regressors.h36m17])
    used = (wanted != 0).any(0).nonzero()[:, 0]
    skin, dtype = template.subset(used), template.vertices.dtype
    joint_count = skin.skinning_weights.shape[1]
    # [image joints, vertices, kinematic joints]; in float64, as it is done once.
    parts = wanted[:, used, None].double() * skin.skinning_weights.double()
    shares: list[Tensor] = []
    followed: list[Tensor] = []
    columns: list[Tensor] = []
    for sign in (1, -1):  # apart, so that no sum of weights can vanish
        signed = (sign * parts).clamp(min=0)
        mass = signed.sum(1)
        image, joint = mass.nonzero(as_tuple=True)
        shares.append(signed[image, :, joint] / mass[image, joint, None])
        followed.append(joint)
        column = mass.new_zeros(len(wanted), len(image))
        column[image, torch.arange(len(image), device=image.device)] = sign * mass[image, joint]
        columns.append(column)
    means = torch.cat(shares)
    pooled = Skin(
        vertices=_mix(means, skin.vertices),
        shape_directions=_mix(means, skin.shape_directions),
        pose_directions=_mix(means, skin.pose_directions),
        skinning_weights=functional.one_hot(torch.cat(followed), joint_count).to(dtype),
        joints=skin.joints,
        joint_directions=skin.joint_directions,
        parents=skin.parents,
    )
    return Markers(skin=pooled, chosen=0, regressor=torch.cat(columns, 1).to(dtype))


def _mix(means: Tensor, of_vertices: Tensor) -> Tensor:
    """Takes weighted means over the first axis."""
    return torch.tensordot(means, of_vertices.double(), 1).to(of_vertices.dtype)
