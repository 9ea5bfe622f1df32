"""How sure a prediction is of each place on the body, and how its samples agree with key points.

A distribution over shapes and rotations is hard to read. Where its samples put each vertex is not:
a hand that is not seen lies anywhere within decimetres, mostly towards and away from the camera.

Places are relative to the pelvis joint, so that what is told is how the body is known, not where it
stands; where the whole body faces is no part of it, as predictions have one guess of that.

Sources: [H] Sengupta et al., "Hierarchical Kinematic Probability Distributions for 3D Human Shape
and Pose Estimation from Images in the Wild", 2021, and its released prediction; [F] Sengupta et
al., "HuManiFlow: Ancestor-Conditioned Normalising Flows on SO(3) Manifolds for Human Pose and Shape
Distribution Estimation", 2023, and its released prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, Skin, pose_body
from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.prediction import BodyParameters, BodyPrediction

CHUNK = 2**20
"""How many vertices, over all samples and people, are posed at a time: 100 MB."""
LEAST_PART = 256
"""All joints are posed with each part, which is wasteful for fewer vertices than these."""


@dataclass(frozen=True)
class VertexUncertainty:
    """How far apart samples put each vertex, in the world's axes, relative to the pelvis."""

    distance: Float[Tensor, "*batch V"]
    """Mean distance of the samples from their mean [m]: the value that [H] shows as a colour."""
    covariance: Float[Tensor, "*batch V 3 3"]
    """Of the samples about their mean [m^2]."""

    @property
    def std(self) -> Float[Tensor, "*batch V 3"]:
        """Standard deviations along the world's x, y and z [m]: the three views of [F]."""
        return _root(self.covariance.diagonal(dim1=-2, dim2=-1))

    @property
    def depth(self) -> Float[Tensor, "*batch V"]:
        """Standard deviation towards and away from the camera [m]: along the world's z."""
        return _root(self.covariance[..., 2, 2])

    @property
    def across(self) -> Float[Tensor, "*batch V"]:
        """Root mean square distance from the mean in the picture's plane [m], along x and y."""
        return _root(self.covariance[..., 0, 0] + self.covariance[..., 1, 1])

    def along(self, direction: Float[Tensor, " 3"]) -> Float[Tensor, "*batch V"]:
        """Gives the standard deviation along any direction [m].

        Args:
            direction: In the world; its length does not matter, unless it is 0.

        Raises:
            ValueError: If its length is 0.
        """
        length = direction.norm()
        if not length > 0:
            raise ValueError(f"direction: wanted a length above 0, got {direction.tolist()}")
        unit = direction / length
        return _root(((self.covariance @ unit) * unit).sum(-1))


def _root(variance: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Rounding may leave a variance below 0."""
    return variance.clamp(min=0).sqrt()


def vertex_uncertainty(
    prediction: BodyPrediction,
    template: BodyTemplate,
    count: int = 50,
    generator: torch.Generator | None = None,
    *,
    shape: bool = False,
    chunk: int = CHUNK,
) -> VertexUncertainty:
    """Draws bodies and measures how far apart they put each vertex.

    A prediction that is one body is as sure as can be: 0 everywhere.

    Args:
        template: The body of the prediction, on its device.
        count: Of samples; 50 in [H].
        generator: On the prediction's device; torch's own where None.
        shape: Whether samples differ in shape too. [H] and [F] show the mean shape in all poses.
        chunk: How many vertices, over all samples and people, are posed at a time.

    Source: [H], `compute_vertex_uncertainties_by_poseMF_shapeGaussian_sampling`.
    """
    samples = prediction.sample(count, generator)
    if not shape:
        samples = replace(samples, shape=prediction.mode().shape.expand_as(samples.shape))
    return uncertainty_of_samples(samples, template, chunk)


@torch.no_grad()
def uncertainty_of_samples(
    samples: BodyParameters, template: BodyTemplate, chunk: int = CHUNK
) -> VertexUncertainty:
    """Measures how far apart samples put each vertex.

    Args:
        samples: Stacked along the first axis, two or more.
        template: Their body.
        chunk: As of `vertex_uncertainty`.

    Raises:
        ValueError: If there are fewer than two samples.
    """
    count = len(samples.shape)
    if count < 2:
        raise ValueError(f"samples: wanted two or more, to compare them, got {count}")
    # By vertices, not by samples: each part's moments are then complete after one pass.
    bodies = samples.shape[..., 0].numel()
    distances, covariances = [], []
    for skin in _parts(template.skin, max(chunk // bodies, LEAST_PART)):
        body = pose_body(skin, samples.shape, samples.rotations)
        place = (body.vertices - body.joints[..., :1, :]).mT  # as it lies in memory
        gap = (place - place.mean(0)).unbind(-2)
        square = torch.stack([one.square() for one in gap]).sum(0)
        distances.append(square.sqrt().mean(0))
        rows = [torch.stack([(one * other).mean(0) for other in gap], -1) for one in gap]
        covariances.append(torch.stack(rows, -2))
    return VertexUncertainty(torch.cat(distances, -1), torch.cat(covariances, -3))


def _parts(skin: Skin, size: int) -> Iterator[Skin]:
    """Cuts a body into runs of vertices, each with all joints."""
    if size >= len(skin.vertices):
        yield skin  # with the tables that it has made before
        return
    for start in range(0, len(skin.vertices), size):
        part = slice(start, start + size)
        yield replace(
            skin,
            vertices=skin.vertices[part],
            shape_directions=skin.shape_directions[part],
            pose_directions=skin.pose_directions[part],
            skinning_weights=skin.skinning_weights[part],
        )


@dataclass(frozen=True)
class KeypointConsistency:
    """How far the key points of each sample are from those seen.

    In half-squares of the box; times half its side it is pixels of the photo. Not a number where
    no key point was seen.
    """

    mean: Float[Tensor, " N *batch"]
    """Mean distance, weighted by confidence."""
    worst: Float[Tensor, " N *batch"]
    """Largest distance: [H] and [F] show samples in the order of this."""


def keypoint_consistency(
    joints: Float[Tensor, "N *batch 17 3"],
    camera: WeakPerspectiveCamera,
    keypoints: Float[Tensor, "*batch 17 3"],
) -> KeypointConsistency:
    """Compares the key points of samples with those seen, in the picture.

    Args:
        joints: COCO-17 of each sample, in the world [m].
        camera: Of the prediction, over the box.
        keypoints: Seen ones, as a proxy has them: x, y in half-squares, and a confidence, which is
            0 for those not seen.
    """
    gap = camera.project(joints) - keypoints[..., :2]
    distance = torch.linalg.vector_norm(gap, dim=-1)
    weight, seen = keypoints[..., 2], keypoints[..., 2] > 0
    worst = torch.where(seen, distance, -torch.inf).amax(-1)
    return KeypointConsistency(
        mean=(distance * weight).sum(-1) / weight.sum(-1),
        worst=torch.where(seen.any(-1), worst, torch.nan),
    )
