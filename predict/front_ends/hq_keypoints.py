"""Finds key points of people with ViTPose, a plain vision transformer, from `transformers`.

Source: Xu et al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plausibody.predict.front_ends.heatmaps import decode, in_crop, with_flip

COCO = 0
"""Number of the expert for COCO in models that were trained on several sets (ViTPose+)."""


@dataclass(frozen=True)
class VitPoseKeypoints:
    """The network, and how its heatmaps are read.

    The first and the last pixel of a heatmap are those of the crop, as in Huang et al., "The Devil
    is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation", 2020.
    """

    model: nn.Module
    """`VitPoseForPoseEstimation`."""
    size: tuple[int, int]
    """Width and height of the crops [px]."""
    experts: bool = False
    """Whether the network was trained on several sets, and is to be told which one is meant."""
    flip: bool = False
    """Whether to look at the mirror image too: twice the time, a little better."""
    source: str = ""
    """Tells these weights from others."""

    def __call__(self, crops: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 17 3"]:
        """Gives COCO-17: x, y in pixels of the crop, and the height of the heatmap's peak."""
        crops = crops.to(next(self.model.parameters()).device)
        heatmaps = with_flip(self._heatmaps, crops, False) if self.flip else self._heatmaps(crops)
        height, width = heatmaps.shape[-2:]
        step = (self.size[0] - 1) / (width - 1), (self.size[1] - 1) / (height - 1)
        return in_crop(decode(heatmaps, "dark"), step).cpu()

    def describe(self) -> dict[str, Any]:
        """Gives what the answers depend on; JSON can hold it."""
        return {"weights": self.source, "size": list(self.size), "flip": self.flip}

    def _heatmaps(self, crops: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 17 h w"]:
        options = {}
        if self.experts:
            options["dataset_index"] = torch.full((len(crops),), COCO, device=crops.device)
        heatmaps: Tensor = self.model(pixel_values=crops, **options).heatmaps.float()
        return heatmaps
