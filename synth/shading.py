"""What every backend of the shader agrees on: the light, and all that it takes to draw a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.records import to_device
from plausibody.synth.charts import Chart
from plausibody.synth.mipmaps import MipMaps
from plausibody.synth.raster_settings import RasterSettings

OUTPUTS = ("silhouette", "part24", "semantics", "iuv", "depth", "normals", "rgb")


@dataclass(frozen=True)
class Lights:
    """A point light for each image, and light from everywhere; Phong's model.

    A point p with normal n and colour c appears as c (ambient + diffuse max(n.l, 0)) +
    specular max(e.r, 0)^shininess, at most 1: l points from p to the light, e to the eye, and r is
    l mirrored at n. That is PyTorch3D's HardPhongShader with its default material.
    """

    ambient: Float[Tensor, "B 3"]
    """0..1, of red, green and blue, as the following."""
    diffuse: Float[Tensor, "B 3"]
    specular: Float[Tensor, "B 3"]
    position: Float[Tensor, "B 3"]
    """In the world [m]; it does not fade with distance."""
    shininess: float = 64.0
    """The larger, the smaller the highlights."""

    def to(self, device: torch.device | str) -> Lights:
        return to_device(self, device)


@dataclass(frozen=True)
class Job:
    """A batch to draw, checked and with nothing left open."""

    pixels: Float[Tensor, "B V 3"]
    """x, y [px] and depth [m]."""
    vertices: Float[Tensor, "B V 3"]
    """In the world [m]."""
    faces: Int[Tensor, "F 3"]
    outputs: frozenset[str]
    """Some of `OUTPUTS`."""
    chart: Chart | None
    mipmaps: MipMaps | None
    texture: Int[Tensor, " B"] | None
    """Number of each image's texture."""
    lights: Lights | None
    """None shows textures as they are."""
    eye: Float[Tensor, "B 3"] | None
    """Place of each camera in the world [m]; None for one far away along +z."""
    settings: RasterSettings
