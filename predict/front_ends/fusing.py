"""Joins the key points of the two nets of the embedded front end."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.skeleton import COCO17

AGREE, PART = 0.04, 0.08
"""Shares of the person's box: nearer than the first, the nets' key points are averaged; farther
apart than the second, one is chosen; blended between. A hard switch would make points jump."""
HIP_WEIGHT = 0.4
"""Weight of BlazePose's hips. They lie elsewhere than COCO's, of which MoveNet's are closer."""


def fuse(
    blazepose: Float[Tensor, "*batch 17 3"],
    movenet: Float[Tensor, "*batch 17 3"],
    extent: float,
) -> Float[Tensor, "*batch 17 3"]:
    """Joins the key points of both nets.

    Where they agree, the mean weighted by confidence, and more confidence than either gives. Where
    they don't, the surer one's with half its confidence. In between, a blend of both answers.

    Args:
        extent: Longer side of the person's box [px].
    """
    place_b, sure_b = blazepose[..., :2], blazepose[..., 2:]
    place_m, sure_m = movenet[..., :2], movenet[..., 2:]
    apart = torch.linalg.vector_norm(place_b - place_m, dim=-1, keepdim=True) / extent
    agreeing = 1 - _smooth_step((apart - AGREE) / (PART - AGREE))

    hip = torch.tensor([HIP_WEIGHT if name.endswith("hip") else 1.0 for name in COCO17])[:, None]
    weight_b, weight_m = hip * (sure_b + 1e-3), sure_m + 1e-3
    mean = (weight_b * place_b + weight_m * place_m) / (weight_b + weight_m)
    sure_mean = torch.maximum((1.15 * sure_m).clamp(max=1), (sure_b + sure_m) / 2)

    # MoveNet is the better judge of itself: BlazePose also claims joints that it only imagines.
    choice = ((0.8 * sure_b - sure_m) / 0.05).sigmoid()
    chosen = choice * place_b + (1 - choice) * place_m
    sure_chosen = (choice * sure_b + (1 - choice) * sure_m) / 2

    confidence = agreeing * sure_mean + (1 - agreeing) * sure_chosen
    # What BlazePose says is hidden or outside counts no more than half of MoveNet's belief.
    denied = 1 - _smooth_step((sure_b - 0.05) / 0.1)
    confidence = torch.lerp(confidence, confidence.minimum(sure_m / 2), denied)
    return torch.cat([agreeing * mean + (1 - agreeing) * chosen, confidence], -1)


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
