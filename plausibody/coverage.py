"""What a stream covers: views, poses, shapes, and how much of people its inputs show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.records import to_device
from plausibody.models.rotations import geodesic_angle
from plausibody.models.skeleton import SMPL24
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.mass import mass_index
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.stores import SynthAssets

JOINTS = SMPL24[1:22]
"""Joints whose bending is measured: all but the root and the hands."""
COMPARED = 1000
"""Poses that are compared with each other, at most."""
_BLOCK = 64
_CELL, _WINDOW = 64, 4
"""Pixels of a box, and how many boxes wide the window is in which whole bodies are drawn."""


@dataclass(frozen=True)
class Coverage:
    """One number, or one row, per sample."""

    yaw: Float[Tensor, " N"]
    """Where the pelvis faces [rad]: 0 the camera, positive the picture's right, pi away."""
    elevation: Float[Tensor, " N"]
    """How far the camera looks down on the pelvis [rad]; 90 degrees is on its head."""
    angles: Float[Tensor, "N J"]
    """How far each of `JOINTS` is turned from the rest pose [rad]."""
    distances: Float[Tensor, " M"]
    """From each pose to the most similar other, mean over joints [rad]; of `COMPARED` at most."""
    index: Float[Tensor, " N"]
    """Body mass index of the rest body [kg/m^2]."""
    height: Float[Tensor, " N"]
    """Of the rest body [m]."""
    shown: Float[Tensor, " N"]
    """Share of the whole body's outline that the input's silhouette shows."""
    outside: Float[Tensor, " N"]
    """Share of the 17 key points that lie outside the box."""
    unreported: Float[Tensor, " N"]
    """Share of the 17 key points that the input lacks."""
    breadth: Float[Tensor, " N"]
    """Side of the box at the person's distance [m]."""


@torch.no_grad()
def measure_coverage(
    generator: BatchGenerator, assets: SynthAssets, count: int, first: int = 0
) -> Coverage:
    """Measures samples of a stream.

    Args:
        assets: What the generator draws from.
        count: How many samples; at least 2, since poses are compared.
        first: Number of the first.
    """
    if count < 2:
        raise ValueError(f"coverage: wanted at least 2 samples, got {count}")
    rows: list[dict[str, Tensor]] = []
    rotations = []
    for start in range(first, first + count, _BLOCK):
        batch = to_device(generator.samples(start, min(_BLOCK, first + count - start)), "cpu")
        rows.append(_measure(batch, assets))
        rotations.append(batch.target.parameters.rotations[:, 1 : 1 + len(JOINTS)])
    every = torch.cat(rotations)
    chosen = every[:: -(-len(every) // COMPARED)]
    joined = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return Coverage(**joined, distances=nearest_distances(chosen))


def _measure(batch: Batch, assets: SynthAssets) -> dict[str, Tensor]:
    parameters, flat = batch.target.parameters, batch.target.keypoints
    root, joints = parameters.rotations[:, 0], parameters.rotations[:, 1 : 1 + len(JOINTS)]
    ahead, up = root[:, :, 2], root[:, :, 1]
    rest = parameters.rest(assets.template).vertices[..., 1]
    body = pose_body(assets.coarse.skin, parameters.shape, parameters.rotations).vertices
    points = regress(assets.coarse.coco17, body)
    camera = fit_weak_perspective(points, flat, torch.ones_like(flat[..., 0]))
    identity = torch.eye(3).expand_as(joints)

    # The whole body, also where it is outside the box: the box is the window's middle.
    surface = body[:, : assets.coarse.drawn]
    pixels = (camera.project(surface) / _WINDOW + 1) * (_CELL * _WINDOW / 2)
    whole = rasterize_outlines(pixels, assets.coarse.faces, (_CELL * _WINDOW, _CELL * _WINDOW))
    edge = _CELL * (_WINDOW - 1) // 2
    middle = whole[:, edge : edge + _CELL, edge : edge + _CELL]
    seen = batch.channels.get("silhouette", batch.proxy.silhouette).float()
    seen = functional.interpolate(seen[:, None], (_CELL, _CELL), mode="area")[:, 0]
    return {
        "yaw": torch.atan2(ahead[:, 0], ahead[:, 2]),
        "elevation": torch.asin(up[:, 2].clamp(-1, 1)),
        "angles": geodesic_angle(identity, joints),
        "index": mass_index(assets.template, parameters.shape),
        "height": rest.amax(1) - rest.amin(1),
        "shown": (seen * middle).sum((1, 2)) / whole.sum((1, 2)).clamp(min=1),
        "outside": (flat.abs() > 1).any(-1).float().mean(1),
        "unreported": (batch.proxy.keypoints[..., 2] <= 0).float().mean(1),
        "breadth": 2 / camera.scale,
    }


def nearest_distances(rotations: Float[Tensor, "N J 3 3"]) -> Float[Tensor, " N"]:
    """Gives the distance from each pose to the most similar other, the mean angle of joints [rad].

    Small ones say that poses repeat.
    """
    trace = torch.zeros(len(rotations), len(rotations))
    for joint in rotations.flatten(2).unbind(1):
        # The trace of R'Q is the sum of products of their entries: 1 + 2 cos of the angle.
        trace += torch.acos(((joint @ joint.T - 1) / 2).clamp(-1, 1))
    return trace.fill_diagonal_(torch.inf).amin(1) / rotations.shape[1]
