"""Looks closely at one person: outline and 33 landmarks, with BlazePose GHUM "full".

The net expects a square crop with the person upright in it: the middle between the hips at the
centre, the shoulders above. It answers with a mask of that person only, landmarks in the crop, and
landmarks in metres.

Source: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", 2020; the model card
of "MediaPipe BlazePose GHUM 3D", 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from plausibody.models.skeleton import COCO17
from plausibody.predict.front_ends.crop import Crop, apply, magnification, sample
from plausibody.predict.front_ends.graph import Graph, load_graph

SIZE = 256
"""Of the crop [px]."""
HEATMAP_STRIDE = 4
AT_ONCE = {"cpu": 2, "cuda": 32}
"""Crops that pass through the net together. On a CPU, more would only leave its cache."""
HIP_CENTRE, CIRCLE = 33, 34
"""Auxiliary landmarks: the middle between the hips, and a point on a circle round the person,
above it in the person's own sense of up."""
SHARE_OF_CIRCLE = 1.25
"""Side of the crop over the circle's diameter."""
COCO_FROM_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Landmark of each COCO-17 key point."""
REACH = 3
"""A landmark is refined over 7 x 7 pixels of its heat map."""
LEAST_PEAK = 0.5
"""Of the heat map for that."""


@dataclass(frozen=True)
class Sight:
    """What the net saw in one crop."""

    presence: float
    """How surely a person is in the crop, 0..1."""
    landmarks: Float[Tensor, "33 4"]
    """x, y [px of the picture], z [px of the picture, smaller is nearer, 0 at the hips] and
    confidence 0..1: being inside the crop and not hidden."""
    world: Float[Tensor, "33 3"]
    """[m] about the middle between the hips; x right, y down, z away from the camera."""
    mask: Float[Tensor, "256 256"]
    """Logit of each pixel of the crop to show the person."""
    crop: Crop
    next_crop: Crop
    """Where the landmarks say that the person is."""

    @property
    def keypoints(self) -> Float[Tensor, "17 3"]:
        """The landmarks that COCO-17 has too: x, y [px of the picture] and confidence."""
        return self.landmarks[list(COCO_FROM_LANDMARKS)][:, [0, 1, 3]]


@dataclass(frozen=True)
class BlazePose:
    """The net and how it is used on people in pictures."""

    graph: Graph

    def look(
        self, pictures: Sequence[Shaped[Tensor, "3 _ _"]], crops: Sequence[Crop]
    ) -> list[Sight]:
        """Looks at one crop of each of these pictures, whose values are 0..255."""
        sights: list[Sight] = []
        at_once = AT_ONCE.get(self.graph.device.type, 1)
        for start in range(0, len(crops), at_once):
            these = crops[start : start + at_once]
            squares = torch.stack(
                [
                    # With black around close-ups, as tried, sleeves and hats get lost.
                    sample(picture, crop.to_picture(SIZE), SIZE, SIZE, outside=None)
                    for picture, crop in zip(pictures[start : start + at_once], these, strict=True)
                ]
            )
            seen = self.graph(squares.to(self.graph.device) / 255)
            refined = refine(
                seen["landmarks"].view(-1, 39, 5).cpu(), seen["heatmap"].sigmoid().cpu()
            )
            sights += [
                _sight(crop, landmarks, world, float(presence.sigmoid()), mask)
                for crop, landmarks, world, presence, mask in zip(
                    these,
                    refined,
                    seen["world"].view(-1, 39, 3).cpu(),
                    seen["presence"].flatten().cpu(),
                    seen["mask"][:, 0].cpu(),
                    strict=True,
                )
            ]
        return sights


def load_blazepose(device: torch.device | str = "cpu") -> BlazePose:
    """Loads the net from the assets."""
    return BlazePose(load_graph("blazepose_full").to(device))


def refine(
    landmarks: Float[Tensor, "batch 39 5"], heatmap: Float[Tensor, "batch 39 h w"]
) -> Float[Tensor, "batch 39 5"]:
    """Moves landmarks to the mean place of their heat maps nearby, where those are sure.

    Args:
        landmarks: x, y [px of the crop] and three more.
        heatmap: 0..1.

    Source: MediaPipe's refine_landmarks_from_heatmap.
    """
    height, width = heatmap.shape[-2:]
    cell = (landmarks[..., :2] / HEATMAP_STRIDE).floor()
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    near = (columns - cell[..., :1, None]).abs() <= REACH
    near = near & ((rows - cell[..., 1:, None]).abs() <= REACH)
    # A landmark outside the crop has no cell in the heat map.
    near &= ((cell >= 0) & (cell < cell.new_tensor([width, height]))).all(-1)[..., None, None]
    weight = heatmap * near
    total = weight.sum((-2, -1)).clamp(min=1e-6)
    mean = torch.stack([(weight * columns).sum((-2, -1)), (weight * rows).sum((-2, -1))], -1)
    sure = weight.amax((-2, -1)) >= LEAST_PEAK
    moved = mean / total[..., None] * HEATMAP_STRIDE
    return torch.cat(
        [torch.where(sure[..., None], moved, landmarks[..., :2]), landmarks[..., 2:]], -1
    )


def _sight(
    crop: Crop,
    landmarks: Float[Tensor, "39 5"],
    world: Float[Tensor, "39 3"],
    presence: float,
    mask: Float[Tensor, "256 256"],
) -> Sight:
    to_picture = crop.to_picture(SIZE)
    scale = magnification(to_picture)
    places = apply(to_picture, landmarks[:, :2])
    confidence = landmarks[:, 3].sigmoid() * landmarks[:, 4].sigmoid()
    upright = torch.cat([world[:, :2] @ (to_picture[:, :2] / scale).mT, world[:, 2:]], 1)
    return Sight(
        presence=presence,
        landmarks=torch.cat([places, landmarks[:, 2:3] * scale, confidence[:, None]], 1)[:33],
        world=upright[:33],
        mask=mask,
        crop=crop,
        next_crop=_crop_from_circle(places[HIP_CENTRE], places[CIRCLE]),
    )


def crop_from_keypoints(keypoints: Float[Tensor, "17 3"]) -> Crop:
    """Guesses the crop of a person from COCO key points.

    The net's own detector of people fails on sports, groups and people far off, where MoveNet's
    key points still serve.

    Args:
        keypoints: x, y [px] and confidence.
    """
    points, confidence = keypoints[:, :2], keypoints[:, 2]
    seen = confidence > 0.2
    if seen.sum() < 4:
        seen = confidence >= confidence.sort(descending=True).values[5]
    hips = _middle(points, "hip")
    spine = _middle(points, "shoulder") - hips
    length = float(torch.linalg.vector_norm(spine)) + 1e-6
    farthest = float(torch.linalg.vector_norm(points[seen] - hips, dim=-1).max())
    radius = max(1.1 * farthest, 1.08 * length)
    return _crop_from_circle(hips, hips + spine / length * radius)


def _middle(points: Float[Tensor, "17 2"], joint: str) -> Float[Tensor, " 2"]:
    return (points[COCO17.index(f"left_{joint}")] + points[COCO17.index(f"right_{joint}")]) / 2


def _crop_from_circle(centre: Float[Tensor, " 2"], top: Float[Tensor, " 2"]) -> Crop:
    """Puts the crop round a circle so that its topmost point is at the top."""
    right, down = (top - centre).tolist()
    radius = math.hypot(right, down)
    return Crop(
        x=float(centre[0]),
        y=float(centre[1]),
        side=max(1.0, 2 * SHARE_OF_CIRCLE * radius),
        angle=math.atan2(right, -down),
    )
