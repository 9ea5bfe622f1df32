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
    chosen: Int[Tensor, " N"]
    """Places of the chosen vertices in the skin."""
    coco17: Float[Tensor, "17 V"]
    h36m17: Float[Tensor, "17 V"]

    @classmethod
    def of(
        cls, template: BodyTemplate, regressors: JointRegressors, vertices: Int[Tensor, " N"]
    ) -> Markers:
        """Args:
        template: A whole body.
        regressors: Of the template's topology.
        vertices: The chosen ones.
        """
        touched = ((regressors.coco17 != 0) | (regressors.h36m17 != 0)).any(0)
        touched[vertices] = True
        used = touched.nonzero()[:, 0]
        place = torch.full((len(touched),), -1, device=used.device)
        place[used] = torch.arange(len(used), device=used.device)
        return cls(
            skin=template.subset(used),
            chosen=place[vertices],
            coco17=regressors.coco17[:, used],
            h36m17=regressors.h36m17[:, used],
        )

    def __call__(self, parameters: BodyParameters) -> BodyPoints:
        body = pose_body(self.skin, parameters.shape, parameters.rotations)
        return BodyPoints(
            vertices=body.vertices[..., self.chosen, :],
            joints=body.joints,
            coco=regress(self.coco17, body.vertices),
            h36m=regress(self.h36m17, body.vertices),
        )
