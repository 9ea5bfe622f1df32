"""How well a predicted body fits what was seen of the person: the evidence, not the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.proxy import Box, Observation, resample_square
from plausibody.predict.placement import PictureCamera
from plausibody.synth.raster import rasterize

CONFIDENT = 0.5
"""Key points above this confidence count; of those that people can see, nearly all do."""
RESOLUTION = 256
"""Side of the window in which silhouettes are compared [px]."""
FARTHEST = 3.0
"""Side of that window over the side of the person's box, at most."""


@dataclass(frozen=True)
class Fit:
    """Agreement of a body with its evidence."""

    silhouette_iou: float
    """Common over joint area of the body and the front end's mask, within the picture; 0..1."""
    reprojection: float
    """Mean distance of the body's key points from the confident ones seen, in per cent of the
    person's diagonal; not a number if none are confident."""
    confident: int
    """How many key points that is the mean of."""
    masked: bool = True
    """Whether there is a mask to compare with."""


def measure_fit(
    observation: Observation,
    box: Box,
    camera: PictureCamera,
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    keypoints: Float[Tensor, "17 2"],
) -> Fit:
    """Compares a body with an observation of one person.

    Args:
        box: In which the person was looked at.
        vertices: Of the body, in the world [m].
        keypoints: The body's COCO-17 key points in the picture [px].
    """
    sure = observation.keypoints[:, 2] > CONFIDENT
    gap = torch.linalg.vector_norm(observation.keypoints[:, :2] - keypoints, dim=-1)
    error = float(gap[sure].mean()) if sure.any() else float("nan")
    return Fit(
        silhouette_iou=_silhouette_iou(observation.mask, box, camera.project(vertices), faces),
        reprojection=100 * error / person_diagonal(observation),
        confident=int(sure.sum()),
        masked=bool((observation.mask > 0.5).any()),
    )


def person_diagonal(observation: Observation) -> float:
    """Measures the diagonal of the rectangle round the mask and the confident key points [px]."""
    sure = observation.keypoints[:, 2] > CONFIDENT
    inside = observation.mask > 0.5
    columns, rows = inside.any(-2).nonzero()[:, 0], inside.any(-1).nonzero()[:, 0]
    edges = [(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)] if len(columns) else []
    corners = observation.keypoints.new_tensor(edges).reshape(-1, 2)
    points = torch.cat([observation.keypoints[sure, :2], corners])
    if len(points) == 0:
        return 1.0
    return max(1.0, float(torch.linalg.vector_norm(points.amax(0) - points.amin(0))))


def _silhouette_iou(
    mask: Float[Tensor, "H W"],
    box: Box,
    body: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
) -> float:
    """Args:
    body: Vertices as x, y [px] and depth [m].
    """
    window = _window(box, body[:, :2])
    step = float(window.side) / RESOLUTION
    low = window.centre - window.side / 2
    seen = resample_square(mask, window, RESOLUTION) > 0.5
    at = torch.cat([(body[:, :2] - low) / step, body[:, 2:]], -1)
    size = (RESOLUTION, RESOLUTION)
    drawn = rasterize(at[None], faces, size, perspective=False, barycentrics=False).mask[0]
    drawn = drawn & _inside(low, step, mask.shape[-2], mask.shape[-1])
    joint = int((drawn | seen).sum())
    return int((drawn & seen).sum()) / joint if joint else 0.0


def _window(box: Box, points: Float[Tensor, "V 2"]) -> Box:
    """Puts a square round a box and the points of a body, up to `FARTHEST` boxes wide."""
    reach = box.side / 2
    limit = FARTHEST * reach
    low = torch.minimum(points.amin(0), box.centre - reach).maximum(box.centre - limit)
    high = torch.maximum(points.amax(0), box.centre + reach).minimum(box.centre + limit)
    return Box(centre=(low + high) / 2, side=(high - low).amax())


def _inside(
    low: Float[Tensor, " 2"], step: float, height: int, width: int
) -> Bool[Tensor, "side side"]:
    """Tells which pixels of a window lie within the picture."""
    place = low[:, None] + (torch.arange(RESOLUTION) + 0.5).to(low) * step
    x = (place[0] >= 0) & (place[0] <= width)
    y = (place[1] >= 0) & (place[1] <= height)
    return y[:, None] & x
