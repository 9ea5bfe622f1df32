"""Pictures of what training sees."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plausibody.models.skeleton import BONES, COCO17
from plausibody.synth.batch import Batch

LEFT, RIGHT, MIDDLE = (235, 80, 70), (70, 140, 245), (90, 220, 100)
"""Colours of a person's own left, right, and what has no side."""


def draw_proxies(batch: Batch, side: int = 192) -> Float[Tensor, "batch 3 side side"]:
    """Draws each input: silhouette, reported key points (bright) over the true ones (dark).

    Where the picture itself is read, it takes the place of the silhouette.
    """
    shown = batch.proxy.silhouette[:, None] if batch.proxy.rgb is None else batch.proxy.rgb
    large = functional.interpolate(shown, size=side, mode="nearest")
    canvas = (large.clamp(0, 1) * 200).byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    pictures = canvas.contiguous().numpy()
    for picture, true, seen in zip(
        pictures, batch.target.keypoints, batch.proxy.keypoints, strict=True
    ):
        everywhere = torch.cat([true, torch.ones(17, 1)], -1)
        _draw_bones(picture, everywhere, dim=0.5)
        _draw_bones(picture, seen, dim=1.0)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _draw_bones(picture: NDArray[np.uint8], keypoints: Tensor, dim: float) -> None:
    side = picture.shape[0]
    for first, second in BONES:
        a, b = keypoints[COCO17.index(first)], keypoints[COCO17.index(second)]
        if a[2] <= 0 or b[2] <= 0:
            continue
        sided = {"left": LEFT, "right": RIGHT}
        same = first.split("_")[0] == second.split("_")[0]
        colour = sided.get(second.split("_")[0], MIDDLE) if same else MIDDLE
        steps = torch.linspace(0, 1, 2 * side)[:, None]
        places = ((a[:2] + steps * (b[:2] - a[:2]) + 1) * side / 2).long()
        inside = ((places >= 0) & (places < side)).all(-1)
        places = places[inside]
        picture[places[:, 1], places[:, 0]] = [int(c * dim) for c in colour]
