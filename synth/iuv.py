"""IUV pictures of drawn people: true ones to learn from, and spoilt ones as a network finds them.

True pictures are amodal, with what hidden parts would show, or modal, with what is left to see. The
amodal ones ask a network to fill in; modal ones are what annotators of real pictures mark.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, whose rendered
pictures are amodal and whose annotated ones are modal. What is spoilt is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.constants import constant
from plausibody.models.crop import Box, nearest_square
from plausibody.models.iuv import DenseTarget
from plausibody.models.part_tables import MIRROR25, PARTS24
from plausibody.models.proxy import Proxy
from plausibody.synth.chance import Chance
from plausibody.synth.charts import Chart, atlas_places
from plausibody.synth.coarse import CoarseBody
from plausibody.synth.render import render

KINDS = ("amodal", "modal")
FRONT_BACK = tuple(
    PARTS24.index(name.replace("_back", "_front")) + 1 if name.endswith("_back")
    else PARTS24.index(name.replace("_front", "_back")) + 1 if name.endswith("_front")
    else PARTS24.index(name) + 1
    for name in PARTS24
)  # fmt: skip
"""The other side of each part 1..24; hands, feet and head have none."""
CANDIDATES, PLACE_WEIGHT = 8, 0.1
"""Points of a chart among which a corner of the coarse mesh chooses, and what a whole chart's width
counts beside a metre: so that no face goes from one edge of a chart to the other."""


@dataclass(frozen=True)
class DenseSettings:
    """Which IUV pictures of the true bodies a stream hands over to learn from."""

    size: int = 0
    """Side [px]; 0 for none."""
    kind: str = "amodal"
    """amodal: of the whole person, whatever hides it; modal: of what is left to see."""

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"dense.size: wanted 0 for none, or pixels, got {self.size}")
        if self.kind not in KINDS:
            raise ValueError(f"dense.kind: wanted {' or '.join(KINDS)}, got {self.kind!r}")


@dataclass(frozen=True)
class IuvFaults:
    """What goes wrong with IUV pictures that a network reads, besides what spoils silhouettes."""

    sides: float = 0.02
    """Probability of each pair of parts that left and right are taken for each other."""
    fronts: float = 0.02
    """The same of front and back, part by part."""
    shift: float = 0.03
    """Standard deviation of what a whole part's u and v are off."""
    noise: float = 0.03
    """The same of each pixel's."""
    lost: float = 0.02
    """Probability that a pixel shows nothing."""


def dense_target(
    iuv: Float[Tensor, "batch 3 H W"],
    seen: Bool[Tensor, "batch H W"],
    box: Box,
    joints: Float[Tensor, "batch J 2"],
    settings: DenseSettings,
) -> DenseTarget | None:
    """Makes what dense networks learn from; None where the settings want none.

    Args:
        iuv: Of whole people, in the picture in which the box is.
        seen: Where they can be seen.
        box: Of the proxy.
        joints: Of the skeleton, in the same picture [px].
    """
    if not settings.size:
        return None
    if settings.kind == "modal":
        iuv = iuv * seen[:, None]
    return DenseTarget(iuv=nearest_square(iuv, box, settings.size), joints=box.to_square(joints))


def spoil_iuv(chance: Chance, proxy: Proxy, faults: IuvFaults) -> Proxy:
    """Draws what goes wrong with the IUV picture of a proxy; a proxy without one stays as it is."""
    if proxy.iuv is None:
        return proxy
    size = proxy.iuv.shape[-1]
    part, places = proxy.iuv[:, 0].long(), proxy.iuv[:, 1:]
    said = _confuse(chance, faults)
    part = said.gather(1, part.flatten(1)).view_as(part)
    part = part * ~chance.chance("iuv/lost", faults.lost, size, size)
    shift = chance.normal("iuv/shift", 25, 2, std=faults.shift)
    shift = shift.gather(1, part.flatten(1)[..., None].expand(-1, -1, 2)).mT.unflatten(
        2, (size, -1)
    )
    noise = chance.normal("iuv/noise", 2, size, size, std=faults.noise)
    places = (places + shift + noise).clamp(0, 1) * (part > 0)[:, None]
    return replace(proxy, iuv=torch.cat([part[:, None].to(places.dtype), places], 1))


def _confuse(chance: Chance, faults: IuvFaults) -> Int[Tensor, "batch 25"]:
    """Draws as which part each part is seen."""
    device = chance.numbers.device
    mirror = constant(MIRROR25, torch.long, device)
    # Both of a pair change places together: the number of the pair decides.
    pair = torch.minimum(mirror, torch.arange(25, device=device))
    crossed = chance.chance("iuv/sides", faults.sides, 25)[:, pair]
    turned = chance.chance("iuv/fronts", faults.fronts, 25)
    other = constant((0, *FRONT_BACK), torch.long, device)
    every = torch.arange(25, device=device)
    sides = torch.where(crossed, mirror, every)
    return torch.where(turned.gather(1, sides), other[sides], sides)


def draw_iuv(
    pixels: Float[Tensor, "batch V 3"],
    vertices: Float[Tensor, "batch V 3"],
    chart: Chart,
    size: int,
    backend: str = "auto",
) -> Float[Tensor, "batch 3 size size"]:
    """Draws IUV pictures of whole people.

    Args:
        pixels: Projected vertices: x, y [px] and depth [m].
        vertices: The same in the world [m].
        chart: Of the mesh.
        size: Side [px].
    """
    drawn = render(
        pixels, vertices, chart.faces, chart, (size, size), outputs=("iuv",), backend=backend
    )
    assert drawn.iuv is not None
    return drawn.iuv


def coarse_chart(chart: Chart, template: BodyTemplate, body: CoarseBody) -> Chart:
    """Charts the coarse mesh by the nearest points of a body's chart.

    Each corner takes u and v of a point of its face's part; of those near it, one that lies near
    the others of the face on the chart too.

    Args:
        chart: Of the whole body.
        template: The body.
        body: Its coarse mesh.
    """
    rest, faces = template.vertices.cpu().double().numpy(), chart.faces.cpu().numpy()
    corners, parts = chart.corners.cpu().double().numpy(), chart.face_part.cpu().numpy()
    coarse = body.skin.vertices[: body.drawn].cpu().double().numpy()[body.faces.cpu().numpy()]
    kinds = body.part24.cpu().numpy()
    places = np.zeros((len(coarse), 3, 2))
    for part in np.unique(kinds):
        own, mine = parts == part, kinds == part
        points, flat = rest[faces[own]].reshape(-1, 3), corners[own].reshape(-1, 2)
        middle = corners[own].mean(1)[
            cKDTree(rest[faces[own]].mean(1)).query(coarse[mine].mean(1))[1]
        ]
        count = min(CANDIDATES, len(points))
        away, near = cKDTree(points).query(coarse[mine].reshape(-1, 3), count)
        off = np.linalg.norm(flat[near] - np.repeat(middle, 3, 0)[:, None], axis=-1)
        best = np.argmin(away + PLACE_WEIGHT * off, 1)
        chosen = flat[np.take_along_axis(near, best[:, None], 1)[:, 0]]
        places[mine] = chosen.reshape(-1, 3, 2)
    u, v = torch.from_numpy(places.reshape(-1, 2).astype(np.float32)).unbind(1)
    device = body.faces.device
    owner = body.part24.repeat_interleave(3)
    return Chart(
        faces=body.faces,
        faces_uv=torch.arange(3 * len(body.faces), device=device).view(-1, 3),
        u=u.contiguous().to(device),
        v=v.contiguous().to(device),
        face_part=body.part24,
        atlas=atlas_places(u.to(device), v.to(device), owner),
    )
