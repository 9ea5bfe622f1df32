"""How far bodies are from what was seen of the people: key points and mask, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, Skin, pose_body, regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.constants import constant
from plausibody.models.prediction import BodyParameters
from plausibody.models.skeleton import COCO17
from plausibody.predict.case import Case
from plausibody.predict.ranking import photo_part
from plausibody.synth.stores import load_coarse_mesh
from plausibody.synth.supervision import draw_silhouettes
from plausibody.synth.target_maps import to_map

DOUBTFUL = ("mask_unreliable", "overlap")
"""Flags that say that the mask may miss parts of the person."""
DOUBTFUL_TRUST = 0.3
"""Weight of the mask of a person with one of these flags, of 1."""
_LESS_SURE = {
    **dict.fromkeys(("nose", "left_eye", "right_eye", "left_ear", "right_ear"), 0.3),
    **dict.fromkeys(("left_hip", "right_hip"), 0.5),
}
"""Weights of key points that front ends and bodies place differently, of 1. A head that follows
five points of the face is soon twisted, and hips have no mark on the skin."""


@dataclass(frozen=True)
class Seen:
    """What was seen of some people in their boxes."""

    keypoints: Float[Tensor, "batch 17 3"]
    """COCO-17: x, y [half-squares] and confidence, 0 where not seen."""
    silhouette: Float[Tensor, "batch size size"]
    """Share of each pixel that shows the person, 0..1."""
    inside: Bool[Tensor, "batch size size"]
    """Which pixels lie in the photo."""
    trust: Float[Tensor, " batch"]
    """Weight of the silhouette, 0..1; 0 where there is none."""

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Seen:
        """Takes from the people's proxies what a body can be compared with."""
        silhouette = torch.stack([case.proxy.silhouette for case in cases])
        size = silhouette.shape[-1]
        inside = [photo_part(case.proxy.box, case.size, size) for case in cases]
        doubtful = [bool(case.person.flags.intersection(DOUBTFUL)) for case in cases]
        trust = torch.where(torch.tensor(doubtful), DOUBTFUL_TRUST, 1.0)
        there = (silhouette > 0.5).any(-1).any(-1)
        return cls(
            keypoints=torch.stack([case.proxy.keypoints for case in cases]),
            silhouette=silhouette,
            inside=torch.stack(inside),
            trust=torch.where(there, trust, 0.0),
        )

    @property
    def anything(self) -> Bool[Tensor, " batch"]:
        """Whether there is anything that a body can be moved towards."""
        return (self.trust > 0) | (self.keypoints[..., 2] > 0).any(-1)


@dataclass(frozen=True)
class Outline:
    """As much of a body as is compared with what was seen: a coarse mesh, and COCO's key points."""

    skin: Skin
    """The coarse mesh's vertices, then those that the key points need."""
    faces: Int[Tensor, "G 3"]
    drawn: int
    """How many of the skin's vertices the mesh has."""
    coco17: Float[Tensor, "17 N"]
    """Regresses key points from the skin's vertices."""

    @classmethod
    def of(cls, template: BodyTemplate, coco17: Float[Tensor, "17 V"]) -> Outline:
        """Args:
        template: A whole body.
        coco17: Of the template's vertices, on the same device.
        """
        mesh = load_coarse_mesh(template.to("cpu"))
        device = template.vertices.device
        touched = (coco17 != 0).any(0)
        touched[mesh.vertices.to(device)] = False
        used = torch.cat([mesh.vertices.to(device), touched.nonzero()[:, 0]])
        return cls(
            skin=template.subset(used),
            faces=mesh.faces.to(device),
            drawn=len(mesh.vertices),
            coco17=coco17[:, used],
        )

    def misfit(
        self, body: BodyParameters, camera: WeakPerspectiveCamera, seen: Seen, weights: Misfit
    ) -> Float[Tensor, " batch"]:
        """Adds up how far bodies are from what was seen [nats]."""
        vertices = pose_body(self.skin, body.shape, body.rotations).vertices
        coco = camera.project(regress(self.coco17, vertices))
        places = camera.project(vertices[:, : self.drawn])
        by_points = keypoint_misfit(coco, seen.keypoints, weights)
        return by_points + weights.mask * self.mask_misfit(places, seen, weights.clothes)

    def mask_misfit(
        self, places: Float[Tensor, "batch V 2"], seen: Seen, clothes: float
    ) -> Float[Tensor, " batch"]:
        """Measures what silhouettes do not share, over the area of what was seen.

        Args:
            places: Of the mesh's vertices [half-squares].
            clothes: Weight of what was seen and the body does not cover; of the body beside what
                was seen it is 1.
        """
        size = seen.silhouette.shape[-1]
        flat = to_map(places, size)
        # The mesh is all at one depth: an outline has none.
        drawn = draw_silhouettes(
            torch.cat([flat, torch.ones_like(flat[..., :1])], -1), self.faces, size
        )
        missed = drawn * (1 - seen.silhouette) + clothes * (1 - drawn) * seen.silhouette
        area = (seen.silhouette * seen.inside).sum((-2, -1)).clamp(min=1)
        return seen.trust * (missed * seen.inside).sum((-2, -1)) / area


@dataclass(frozen=True)
class Misfit:
    """What a distance from what was seen counts."""

    error: float = 0.04
    """By how much a key point is usually off, each way [half-squares]."""
    outlier: float = 3.0
    """How many such errors away a key point begins to be taken for wrong, and to pull less."""
    mask: float = 40.0
    """Of a silhouette that has nothing in common with what was seen [nats]."""
    clothes: float = 0.8
    """What clothes and hair may hide: weight of what was seen and the body does not cover, where
    the body beside what was seen has 1."""


def keypoint_misfit(
    coco: Float[Tensor, "batch 17 2"], seen: Float[Tensor, "batch 17 3"], weights: Misfit
) -> Float[Tensor, " batch"]:
    """Adds up how far key points are from where they were seen [nats], by confidence.

    Of small distances it is half the square, of large ones it grows as the logarithm (Cauchy): a
    key point in a quite wrong place has no pull.

    Args:
        coco: Of bodies [half-squares].
        seen: There, and confidence.
    """
    share = constant(tuple(_LESS_SURE.get(name, 1.0) for name in COCO17), seen.dtype, seen.device)
    gap = ((coco - seen[..., :2]) / weights.error).square().sum(-1)
    limit = weights.outlier**2
    return (seen[..., 2] * share * torch.log1p(gap / limit)).sum(-1) * limit / 2
