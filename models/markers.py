"""Chosen points of a posed body: some vertices, and the joints that images show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, Skin, pose_body, regress
from plausibody.models.prediction import BodyParameters


@dataclass(frozen=True)
class JointRegressors:
    """Image joints as weighted means of the vertices of one topology."""

    coco17: Float[Tensor, "17 V"]
    h36m17: Float[Tensor, "17 V"]


def supervised_vertices(
    regressors: JointRegressors, spread: Int[Tensor, " M"], count: int
) -> Int[Tensor, " N"]:
    """Picks vertices to learn: all that the image joints need anyway, and well spread others.

    Each vertex costs posing, so those that the joints have paid for are learnt as well.

    Args:
        spread: Vertices of which any first few are spread over the body.
        count: How many in all; more if the joints need more.
    """
    needed = (torch.cat([regressors.coco17, regressors.h36m17]) != 0).any(0)
    others = spread[~needed[spread]]
    needed = needed.nonzero()[:, 0]
    return torch.cat([needed, others[: max(count - len(needed), 0)]])


def area_shares(template: BodyTemplate, vertices: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Gives the share of the rest body's surface that is nearest to each of some vertices.

    A mean with these weights is one over the surface, however unevenly the vertices lie.
    """
    corners = template.vertices[template.faces]
    sides = corners[:, 1:] - corners[:, :1]
    areas = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=-1)
    nearest = torch.cdist(corners.mean(1), template.vertices[vertices]).argmin(1)
    return torch.zeros_like(areas[: len(vertices)]).index_add(0, nearest, areas) / areas.sum()


@dataclass(frozen=True)
class BodyPoints:
    """Points of posed bodies in the world [m]."""

    vertices: Float[Tensor, "*batch N 3"]
    """The chosen ones."""
    joints: Float[Tensor, "*batch J 3"]
    """Kinematic."""
    coco: Float[Tensor, "*batch 17 3"]
    h36m: Float[Tensor, "*batch 17 3"]


@dataclass(frozen=True)
class Markers:
    """Poses only the chosen vertices and those that the joint regressors touch."""

    skin: Skin
    chosen: int
    """How many of the skin's first vertices are the chosen ones."""
    regressor: Float[Tensor, "34 V"]
    """COCO's 17 joints, then the 17 of Human3.6M."""

    @classmethod
    def of(
        cls, template: BodyTemplate, regressors: JointRegressors, vertices: Int[Tensor, " N"]
    ) -> Markers:
        """Args:
        template: A whole body.
        regressors: Of the template's topology.
        vertices: The chosen ones.
        """
        joints = torch.cat([regressors.coco17, regressors.h36m17])
        touched = (joints != 0).any(0)
        touched[vertices] = False
        # The chosen ones first: then they are a slice, and gradients need no scattering.
        used = torch.cat([vertices, touched.nonzero()[:, 0]])
        return cls(skin=template.subset(used), chosen=len(vertices), regressor=joints[:, used])

    def __call__(self, parameters: BodyParameters) -> BodyPoints:
        body = pose_body(self.skin, parameters.shape, parameters.rotations)
        joints = regress(self.regressor, body.vertices)
        return BodyPoints(
            vertices=body.vertices[..., : self.chosen, :],
            joints=body.joints,
            coco=joints[..., :17, :],
            h36m=joints[..., 17:, :],
        )
