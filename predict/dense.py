"""What is on the surface of people: maps that a network finds, and those of its bodies.

IUV pictures have DensePose's part of each pixel, 1..24, and u and v as the chart stores them, 0..1.
As files they are DensePose's: bytes, with u and v times 255. It writes them with OpenCV, which puts
the first channel into a file's blue, so that other readers find the part there.

Source: Guler et al., "DensePose", 2018, and https://github.com/facebookresearch/DensePose,
tools/infer_simple.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from plausibody.models.danet import DanetRegressor
from plausibody.models.iuv import predicted_picture, shown_picture
from plausibody.models.proxy import Box, Proxy
from plausibody.models.records import to_device
from plausibody.models.regressor import Regressor
from plausibody.models.skeleton import SMPL24
from plausibody.predict.drawing.bodies import encode_picture, extent
from plausibody.predict.placement import PictureCamera
from plausibody.synth.charts import Chart
from plausibody.synth.render import render

SCHEMA = 1
"""Version of `person_<k>_iuv.npz`."""


@dataclass(frozen=True)
class DenseMaps:
    """IUV pictures of one person that a network finds, or is given, on its way to a body."""

    whole: Float[Tensor, "3 N N"]
    """In the box of the proxy."""
    partial: Float[Tensor, "24 3 S S"]
    """Round each joint: only the parts that are shown of it."""
    squares: Box
    """Where the partial ones lie, in the photo; an axis of joints."""
    given: bool
    """Whether the network was given the whole one, rather than a photo."""

    @property
    def source(self) -> str:
        """given or estimated."""
        return "given" if self.given else "estimated"


def finds_maps(network: Regressor) -> bool:
    """Tells whether a network looks at IUV maps on its way to a body."""
    return isinstance(network, DanetRegressor)


@torch.no_grad()
def dense_maps(network: Regressor, proxy: Proxy) -> DenseMaps | None:
    """Asks a network for the IUV maps of one person; None if it has none.

    The maps are those of the picture as it is, also where a body is the mean of what the network
    says of the picture and of its mirror image.

    Args:
        network: In evaluation mode, on any device.
        proxy: Of one person, without an axis of people.
    """
    if not isinstance(network, DanetRegressor):
        return None
    image = proxy.channel(network.channel)[None].to(network.initial.device)
    estimate, whole, partial = network.estimate(image)
    pictures = predicted_picture(whole), shown_picture(partial, network.shown)
    squares = estimate.squares
    centre, half = squares.centre[0].cpu(), squares.half[0].cpu()
    size = pictures[0].shape[-1]
    if network.published:  # it counts from the middle of the first pixel to that of the last
        crop = pictures[1].shape[-1]
        centre, half = centre * (size - 1) / size, half * (size - 1) / size * crop / (crop - 1)
    box = to_device(proxy.box, "cpu")
    return DenseMaps(
        whole=_bounded(pictures[0][0]),
        partial=_bounded(pictures[1][0]),
        squares=Box(centre=box.to_picture(centre), side=half * box.side),
        given=network.channel == "iuv",
    )


@torch.no_grad()
def whole_maps(network: Regressor, proxy: Proxy) -> Float[Tensor, "people 3 N N"]:
    """Asks a network for the IUV maps of some people, of the whole only.

    Args:
        network: One that finds such maps, in evaluation mode, on any device.
        proxy: Of the people.
    """
    assert isinstance(network, DanetRegressor)
    image = proxy.channel(network.channel).to(network.initial.device)
    return _bounded(predicted_picture(network.estimate(image)[1]))


def _bounded(iuv: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Keeps u and v, which networks predict freely, between 0 and 1."""
    part, places = iuv.float().cpu().split((1, 2), -3)
    return torch.cat([part, places.clamp(0, 1)], -3)


def draw_dense(
    vertices: Float[Tensor, "V 3"], camera: PictureCamera, chart: Chart, size: tuple[int, int]
) -> Float[Tensor, "3 H W"]:
    """Draws the IUV picture of a body. Only the part of the picture where it is costs anything.

    Args:
        vertices: In the world [m].
        camera: Over the picture.
        chart: Of the mesh.
        size: Height and width [px].
    """
    drawn = vertices.new_zeros(3, *size)
    found, left, top = _draw_window(vertices, camera, chart, size)
    drawn[:, top : top + found.shape[1], left : left + found.shape[2]] = found
    return drawn


def _draw_window(
    vertices: Float[Tensor, "V 3"], camera: PictureCamera, chart: Chart, size: tuple[int, int]
) -> tuple[Float[Tensor, "3 h w"], int, int]:
    """Draws the part of an IUV picture where a body is; and where its left and top are [px]."""
    left, top, right, bottom = extent(camera.project(vertices)[:, :2], size)
    if left >= right or top >= bottom:
        return vertices.new_zeros(3, 0, 0), 0, 0
    corner = camera.origin.new_tensor([left, top])
    found = render(
        camera.over_part(corner).project(vertices)[None],
        vertices[None],
        chart.faces,
        chart,
        (bottom - top, right - left),
        outputs=("iuv",),
        perspective=False,
    )
    assert found.iuv is not None
    return found.iuv[0], left, top


def camera_over(camera: PictureCamera, box: Box, side: int) -> PictureCamera:
    """Follows a camera from a picture into a square that is cut out and resized.

    Args:
        camera: Over the picture.
        box: The square in the picture [px].
        side: Of what is cut out [px].
    """
    ratio = side / box.side
    origin = (camera.origin - box.centre) * ratio + side / 2
    return PictureCamera(scale=camera.scale * ratio, origin=origin)


def iuv_bytes(iuv: Float[Tensor, "*batch 3 H W"]) -> UInt8[Tensor, "*batch H W 3"]:
    """Gives an IUV picture as DensePose keeps it: I from 0 to 24, and U and V from 0 to 255."""
    scale = iuv.new_tensor([1.0, 255.0, 255.0])[:, None, None]
    return (iuv * scale).round().to(torch.uint8).movedim(-3, -1).contiguous()


def encode_body(
    vertices: Float[Tensor, "V 3"], camera: PictureCamera, chart: Chart, size: tuple[int, int]
) -> bytes:
    """Gives the content of a PNG of a body's IUV picture as DensePose writes it.

    I is in its blue channel, U in the green and V in the red one.

    Args:
        vertices: In the world [m].
        camera: Over the picture.
        chart: Of the mesh.
        size: Height and width [px].
    """
    whole = torch.zeros(3, *size, dtype=torch.uint8)  # of large photos, floats take much memory
    found, left, top = _draw_window(vertices, camera, chart, size)
    part = iuv_bytes(found).flip(-1).permute(2, 0, 1)
    whole[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return encode_picture(whole, ".png")


def dense_arrays(
    maps: DenseMaps, box: Box, body: Float[Tensor, "V 3"], camera: PictureCamera, chart: Chart
) -> dict[str, np.ndarray]:
    """Gives the content of `person_<k>_iuv.npz`.

    Args:
        maps: Of one person.
        box: Of the proxy, in the photo.
        body: Vertices of the predicted body, in the world [m].
        camera: Over the photo.
        chart: Of the mesh.
    """
    size = maps.whole.shape[-1]
    rendered = draw_dense(body, camera_over(camera, box, size), chart, (size, size))
    squares = torch.cat([maps.squares.centre, maps.squares.side[:, None]], 1)
    values: dict[str, Any] = {
        "schema_version": SCHEMA,
        "source": maps.source,
        "iuv": iuv_bytes(maps.whole),
        "partial_iuv": iuv_bytes(maps.partial),
        "rendered_iuv": iuv_bytes(rendered),
        "box": torch.cat([box.centre, box.side[None]]),
        "partial_boxes": squares,
        "joint_names": list(SMPL24),
    }
    return {
        name: value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in values.items()
    }
