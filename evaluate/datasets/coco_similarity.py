"""Object key-point similarity (OKS), COCO's measure of how well key points lie on marked ones.

Source: https://cocodataset.org/#keypoints-eval; the widths are those of `pycocotools`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.models.constants import constant

SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
"""By how much annotators differ about each key point of COCO-17, in square roots of the area."""


def object_keypoint_similarity(
    prediction: Float[Tensor, "*batch 17 2"],
    target: Float[Tensor, "*batch 17 2"],
    marked: Bool[Tensor, "*batch 17"],
    area: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Averages exp(-d^2 / (2 s^2 k^2)) over the marked key points: 0..1.

    d is the distance [px], s the square root of the area, and k twice the width of the key point.

    Args:
        marked: Which key points count; of nobody with none there is a similarity: NaN.
        area: Of the person's silhouette [px].
    """
    width = 2 * constant(SIGMAS, prediction.dtype, prediction.device)
    gap = (prediction - target).square().sum(-1)
    alike = torch.exp(-gap / (2 * area[..., None] * width.square()))
    return (alike * marked).sum(-1) / marked.sum(-1)
