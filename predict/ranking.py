"""Which samples of a prediction agree best with what was seen: key points and mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, regress
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.crop import Box, inside_borders
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Proxy
from plausibody.models.records import concatenate, map_tensors, take
from plausibody.models.uncertainty import KeypointConsistency, keypoint_consistency
from plausibody.synth.raster import rasterize_outlines

CHUNK = 64
"""How many bodies are posed and drawn at a time."""
MASK_WEIGHT = 0.3
"""Half-squares of key point error that a mask without any overlap costs; see `rank_samples`."""


@dataclass(frozen=True)
class RankedSamples:
    """Bodies, the one that agrees best first."""

    samples: BodyParameters
    """With axes [N *batch]."""
    score: Float[Tensor, " N *batch"]
    """Disagreement with what was seen, 0 if there is none; ascending."""
    keypoints: KeypointConsistency
    """Of each body."""
    overlap: Float[Tensor, " N *batch"]
    """Common over joint area of each silhouette and the mask, 0..1."""
    order: Int[Tensor, " N *batch"]
    """Which number each body had before."""


def mask_agreement(
    places: Float[Tensor, "N *batch V 2"],
    faces: Int[Tensor, "F 3"],
    silhouette: Float[Tensor, "*batch size size"],
    inside: Bool[Tensor, "*batch size size"] | None = None,
) -> Float[Tensor, " N *batch"]:
    """Divides the common area of each sample's silhouette and the mask by their joint area: 0..1.

    Args:
        places: Projected vertices, in half-squares of the box.
        silhouette: Of the person, as a proxy has it; above 0.5 is inside.
        inside: Which pixels of the box lie in the photo; others do not count. None: all.
    """
    size = silhouette.shape[-1]
    pixels = (places.flatten(0, -3) + 1) * (size / 2)
    drawn = rasterize_outlines(pixels, faces, (size, size))
    drawn = drawn.unflatten(0, places.shape[:-2])
    seen = silhouette > 0.5
    if inside is not None:
        drawn, seen = drawn & inside, seen & inside
    common, joint = (drawn & seen).sum((-2, -1)), (drawn | seen).sum((-2, -1))
    return (common / joint.clamp(min=1)).to(silhouette.dtype)


@torch.no_grad()
def rank_samples(
    samples: BodyParameters,
    camera: WeakPerspectiveCamera,
    proxy: Proxy,
    template: BodyTemplate,
    coco17: Float[Tensor, "17 V"],
    *,
    inside: Bool[Tensor, "*batch size size"] | None = None,
    error: Literal["mean", "worst"] = "mean",
    mask_weight: float = MASK_WEIGHT,
) -> RankedSamples:
    """Orders samples by how well they agree with key points and mask, the best first.

    The score is the distance of the key points from where they were seen [half-squares], plus the
    weight times 1 - overlap of the silhouettes. What was not seen has no say. Equal ones keep their
    order. The published order is that of `error="worst", mask_weight=0`; the mean over key points
    is the better guide (measured on 24 posed bodies of 100 samples each: the vertices of the first
    eight are nearer to the truth by 3 to 4 %), and a key point in a wrong place counts less.

    Args:
        samples: Stacked along the first axis, with the proxy's batch axes after it.
        camera: Of the prediction, over the box.
        proxy: What was seen. It need not be the one that the network read: one made with the same
            box and a larger size tells masks more finely apart.
        template: The samples' body.
        coco17: Regressor of key points for that body.
        inside: Which pixels of the box lie in the photo (`photo_part`); others do not count for the
            mask. None: all do.
        error: Which distance counts: the mean over key points by confidence, or the largest.
        mask_weight: At least 0.

    Raises:
        ValueError: If the weight is negative.

    Source: of the order by the largest distance, Sengupta et al., "Hierarchical Kinematic
    Probability Distributions", 2021, as released. The mean and the mask are ours.
    """
    if not mask_weight >= 0:
        raise ValueError(f"mask_weight: wanted 0 or more, got {mask_weight}")
    keypoints, overlap = _agreement(samples, camera, proxy, template, coco17, inside)
    distance = {"mean": keypoints.mean, "worst": keypoints.worst}[error]
    known = torch.where(distance.isnan(), 0.0, distance)  # nothing was seen
    score, order = torch.sort(known + mask_weight * (1 - overlap), dim=0, stable=True)

    def reorder(tensor: Tensor) -> Tensor:
        index = order.reshape(*order.shape, *[1] * (tensor.ndim - order.ndim))
        return tensor.gather(0, index.expand_as(tensor))

    return RankedSamples(
        samples=map_tensors(samples, reorder),
        score=score,
        keypoints=map_tensors(keypoints, reorder),
        overlap=reorder(overlap),
        order=order,
    )


def _agreement(
    samples: BodyParameters,
    camera: WeakPerspectiveCamera,
    proxy: Proxy,
    template: BodyTemplate,
    coco17: Float[Tensor, "17 V"],
    inside: Bool[Tensor, "*batch size size"] | None,
) -> tuple[KeypointConsistency, Float[Tensor, " N *batch"]]:
    """Poses some samples at a time, and compares their key points and silhouettes."""
    people = max(samples.shape[0, ..., 0].numel(), 1)
    found, overlaps = [], []
    for start in range(0, len(samples.shape), step := max(CHUNK // people, 1)):
        vertices = take(samples, slice(start, start + step)).posed(template).vertices
        joints = regress(coco17, vertices)
        found.append(keypoint_consistency(joints, camera, proxy.keypoints))
        places = camera.project(vertices)
        overlaps.append(mask_agreement(places, template.faces, proxy.silhouette, inside))
    return concatenate(found), torch.cat(overlaps)


def photo_part(box: Box, photo: tuple[int, int], size: int) -> Bool[Tensor, "*batch size size"]:
    """Tells which pixels of a box lie in the photo; a body may go on beyond it, a mask cannot.

    Args:
        photo: Height and width [px].
        size: Side of the picture in the box [px].
    """
    low = box.centre - box.side[..., None] / 2
    zoom = (size / box.side)[..., None]
    end = box.centre.new_tensor([photo[1], photo[0]])
    return inside_borders(torch.cat([-low * zoom, (end - low) * zoom], -1), size)
