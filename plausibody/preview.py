"""Pictures of what training sees and of what a network makes of it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plausibody.models.body import pose_body
from plausibody.models.prediction import BodyPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.records import to_device
from plausibody.models.regressor import Regressor
from plausibody.models.skeleton import BONES, COCO17
from plausibody.predict.drawing import tile
from plausibody.synth.batch import Batch
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.stores import SynthAssets

LEFT, RIGHT, MIDDLE = (235, 80, 70), (70, 140, 245), (90, 220, 100)
"""Colours of a person's own left, right, and what has no side."""


def draw_proxies(batch: Batch, side: int = 192) -> Float[Tensor, "batch 3 side side"]:
    """Draws each input: silhouette, reported key points (bright) over the true ones (dark)."""
    grey = functional.interpolate(batch.proxy.silhouette[:, None], size=side, mode="nearest")
    canvas = (grey.clamp(0, 1) * 200).byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
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


def draw_bodies(
    prediction: BodyPrediction, assets: SynthAssets, side: int
) -> Float[Tensor, "batch side side"]:
    """Draws the silhouettes of predicted bodies in their boxes, 0 or 1."""
    mode = prediction.mode()
    coarse = assets.coarse
    posed = pose_body(coarse.skin, mode.shape, mode.rotations).vertices[:, : coarse.drawn]
    flat = (prediction.camera.project(posed) + 1) * side / 2
    return rasterize_outlines(flat, coarse.faces, (side, side)).float()


@torch.no_grad()
def draw_predictions(
    network: Regressor, batch: Batch, assets: SynthAssets, device: torch.device, side: int = 128
) -> Float[Tensor, "3 height width"]:
    """Draws inputs (top rows) over predictions: red is the body, blue the evidence."""
    network.eval()
    proxy: Proxy = to_device(batch.proxy, device)
    prediction = to_device(network.predict(proxy), "cpu")
    body = draw_bodies(prediction, assets, side)
    mask = functional.interpolate(batch.proxy.silhouette[:, None], size=side)[:, 0].clamp(0, 1)
    both = torch.stack([body, 0.5 * body * mask, mask], 1)
    return tile([*draw_proxies(batch, side), *both], columns=8)
