"""From what was seen of a person to what a regressor reads: one code for real and synthetic.

A front end (or synthesis that pretends to be one) gives an `Observation` in the pixels of a
picture. `make_proxy` puts a square box round it, and gives the silhouette, the key points and, for
regressors that read them, the picture, its edges or the IUV picture in that box. The box and all
resamplings are the same for both, so that what is learnt carries over. Synthesis that draws
straight into the box leaves the resampling out: `make_drawn_proxy`.

Where edges are read, a photo that ends within the box goes on as its border pixels do, so that its
border is no edge, and beyond it there are no edges. Where the picture itself is read, it is black
beyond its border, as SPIN has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.profiler import record_function

from plausibody.models.constants import constant
from plausibody.models.crop import (
    Box,
    extend_picture,
    inside_borders,
    nearest_square,
    resample_square,
)
from plausibody.models.edges import PADDINGS, canny
from plausibody.models.skeleton import COCO17

CHANNELS = ("silhouette", "edges", "rgb", "iuv")
_LIMBS = ("elbow", "wrist", "knee", "ankle")


@dataclass(frozen=True)
class Observation:
    """What was seen of one person in a picture."""

    keypoints: Float[Tensor, "*batch 17 3"]
    """COCO-17: x, y [px] and confidence 0..1; at confidence 0 the place means nothing."""
    mask: Float[Tensor, "*batch H W"]
    """How surely each pixel shows the person, 0..1."""
    picture: Float[Tensor, "*batch 3 H W"] | None = None
    """The picture itself, red, green and blue from 0 to 1, for regressors that read it or its
    edges."""
    iuv: Float[Tensor, "*batch 3 H W"] | None = None
    """DensePose's part 1..24, u and v as the chart stores them (0..1); 0 where nothing is seen of
    the person. For regressors that read it."""


@dataclass(frozen=True)
class Proxy:
    """What a regressor reads."""

    silhouette: Float[Tensor, "*batch size size"]
    """Share of each pixel that shows the person, 0..1."""
    keypoints: Float[Tensor, "*batch 17 3"]
    """x, y in half-squares of the box (-1..1 inside) and confidence; zeros where not seen."""
    box: Box
    """Where in the picture the square lies."""
    edges: Float[Tensor, "*batch size size"] | None = None
    """Strength of thin edges, 0 elsewhere; see `models.edges`. None where nobody reads them."""
    rgb: Float[Tensor, "*batch 3 size size"] | None = None
    """The picture in the box, 0..1 and black beyond its border. None where nobody reads it."""
    iuv: Float[Tensor, "*batch 3 size size"] | None = None
    """The IUV picture in the box; the nearest pixels of `Observation.iuv`. None where nobody reads
    it."""
    gender: Float[Tensor, "*batch"] | None = None
    """What is said of the person's gender: -1 male, +1 female, 0 nothing. None says nothing of
    anybody."""

    def channel(self, name: str) -> Float[Tensor, "*batch size size"]:
        """Gives what a regressor reads of the picture: `ProxySettings.channel`.

        Returns:
            One plane for each person, or of rgb and iuv three.
        """
        if name not in CHANNELS:
            raise ValueError(f"channel: wanted {' or '.join(CHANNELS)}, got {name!r}")
        image: Tensor | None = getattr(self, name)
        if image is None:
            raise ValueError(
                f"channel: wanted a proxy with {name}, got one without; "
                f"do: make it with the settings of the regressor's card (proxy.channel={name})"
            )
        return image


@dataclass(frozen=True)
class ProxySettings:
    """How an observation is turned into a proxy. Training and prediction must agree."""

    size: int = 96
    """Side of the silhouette [px]."""
    scale: float = 1.2
    """Side of the box over the longer side of what was seen of the person."""
    least_confidence: float = 0.2
    """Key points below it count as not seen."""
    channel: str = "silhouette"
    """What the regressor reads of the picture: silhouette, edges, rgb or iuv. With the last two it
    reads nothing else: the key points only help to find the box."""
    edge_padding: str = "replicate"
    """What the edge detector sees beyond the photo's border: replicate (its border pixels, and no
    edges out there) or zero, as published, which draws a line along every border."""
    least_limb_confidence: float = 0.0
    """Elbows, wrists, knees and ankles below it count as not seen either; HierProb3D takes 0.75."""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise ValueError(f"proxy.channel: wanted {' or '.join(CHANNELS)}, got {self.channel!r}")
        if self.edge_padding not in PADDINGS:
            raise ValueError(
                f"proxy.edge_padding: wanted {' or '.join(PADDINGS)}, got {self.edge_padding!r}"
            )

    @property
    def reads_pictures(self) -> bool:
        """Whether observations must have their picture."""
        return self.channel in ("edges", "rgb")


@record_function("stage: proxy")
def make_proxy(observation: Observation, settings: ProxySettings, box: Box | None = None) -> Proxy:
    """Boxes what was seen, unless a box is given, and resamples it.

    A person of whom nothing was seen gets the whole picture as the box, an empty silhouette and
    no key points.

    Raises:
        ValueError: If the regressor reads the picture, edges or IUV, and the observation has none.
    """
    keypoints, seen = observation.keypoints, _seen(observation.keypoints, settings)
    if box is None:
        box = person_box(observation, seen, settings.scale)
    edges, rgb = None, None
    if settings.reads_pictures:
        picture = _picture(observation, settings)
        replicate = settings.channel == "edges" and settings.edge_padding == "replicate"
        batched = Box(centre=box.centre[..., None, :], side=box.side[..., None])  # colours alike
        crop = resample_square(picture, batched, settings.size, replicate)
    if settings.channel == "rgb":
        rgb = crop
    elif settings.channel == "edges":
        height, width = picture.shape[-2:]
        low = box.centre - box.side[..., None] / 2
        end = constant((width, height), low.dtype, low.device)
        zoom = (settings.size / box.side)[..., None]
        borders = torch.cat([-low * zoom, (end - low) * zoom], -1)
        edges = _edges(crop, borders, settings)
    return Proxy(
        silhouette=resample_square(observation.mask, box, settings.size),
        keypoints=_flat(keypoints, seen, box),
        box=box,
        edges=edges,
        rgb=rgb,
        iuv=nearest_square(_iuv(observation), box, settings.size)
        if settings.channel == "iuv"
        else None,
    )


@record_function("stage: proxy")
def make_drawn_proxy(
    observation: Observation,
    settings: ProxySettings,
    borders: Float[Tensor, "*batch 4"] | None = None,
) -> Proxy:
    """Makes a proxy of what was drawn straight into the box: `make_proxy` without resampling.

    Args:
        observation: Its picture and mask are squares of `settings.size`.
        borders: Of the photo that is pretended (left, top, right, bottom) [px], where it ends
            within the box; what was drawn beyond them does not count. None: beyond the box.
    """
    size = settings.size
    if observation.mask.shape[-2:] != (size, size):
        raise ValueError(
            f"proxy.size: wanted pictures drawn at {size} px, "
            f"got {tuple(observation.mask.shape[-2:])}; do: draw them at proxy.size"
        )
    keypoints = observation.keypoints
    middle = torch.full_like(keypoints[..., 0, :2], size / 2)
    box = Box(centre=middle, side=2 * middle[..., 0])
    mask, edges, rgb, iuv = observation.mask, None, None, None
    if borders is not None:
        mask = mask * inside_borders(borders, size)
    if settings.channel == "iuv":
        iuv = _iuv(observation)
        if borders is not None:
            iuv = iuv * inside_borders(borders, size)[..., None, :, :]
    if settings.channel == "rgb":
        rgb = _picture(observation, settings)
        if borders is not None:
            rgb = rgb * inside_borders(borders, size)[..., None, :, :]
    elif settings.channel == "edges":
        picture = _picture(observation, settings)
        if borders is None:
            edges = canny(picture, padding=settings.edge_padding)
        else:
            if settings.edge_padding == "replicate":
                picture = extend_picture(picture, borders)
            else:
                picture = picture * inside_borders(borders, size)[..., None, :, :]
            edges = _edges(picture, borders, settings)
    return Proxy(
        silhouette=mask,
        keypoints=_flat(keypoints, _seen(keypoints, settings), box),
        box=box,
        edges=edges,
        rgb=rgb,
        iuv=iuv,
    )


def _iuv(observation: Observation) -> Float[Tensor, "*batch 3 H W"]:
    if observation.iuv is None:
        raise ValueError(
            "proxy.channel=iuv: wanted an observation with an IUV picture, got none; "
            "do: give DensePose's maps with --silhouette-from parts, or take weights that read "
            "something else; to train, use a recipe that draws them, such as stream.recipe=lite"
        )
    return observation.iuv


def _picture(observation: Observation, settings: ProxySettings) -> Float[Tensor, "*batch 3 H W"]:
    if observation.picture is None:
        raise ValueError(
            f"proxy.channel={settings.channel}: wanted an observation with its picture, got none; "
            "do: use a front end that hands pictures over, or weights that read silhouettes; to "
            "train, use a recipe that draws pictures, such as stream.recipe=hierprob"
        )
    return observation.picture


def _seen(
    keypoints: Float[Tensor, "*batch 17 3"], settings: ProxySettings
) -> Bool[Tensor, "*batch 17"]:
    confidence = keypoints[..., 2]
    least = [settings.least_confidence] * len(COCO17)
    for joint, name in enumerate(COCO17):
        if name.endswith(_LIMBS):
            least[joint] = max(least[joint], settings.least_limb_confidence)
    wanted = constant(tuple(least), confidence.dtype, confidence.device)
    return (confidence >= wanted) & (confidence > 0)


def _flat(
    keypoints: Float[Tensor, "*batch 17 3"], seen: Bool[Tensor, "*batch 17"], box: Box
) -> Float[Tensor, "*batch 17 3"]:
    flat = torch.cat([box.to_square(keypoints[..., :2]), keypoints[..., 2:]], -1)
    return torch.where(seen[..., None], flat, torch.zeros_like(flat))


def _edges(
    crop: Float[Tensor, "*batch 3 size size"],
    borders: Float[Tensor, "*batch 4"],
    settings: ProxySettings,
) -> Float[Tensor, "*batch size size"]:
    """Finds edges, and takes those away that lie beyond the photo unless zeros are its frame."""
    edges = canny(crop, padding=settings.edge_padding)
    if settings.edge_padding == "replicate":
        edges = edges * inside_borders(borders, settings.size)
    return edges


def person_box(observation: Observation, seen: Bool[Tensor, "*batch 17"], scale: float) -> Box:
    """Puts a square round the mask and the seen key points, `scale` times their longer side."""
    height, width = observation.mask.shape[-2:]
    # The greatest of a row is found several times as fast as whether any is great.
    low_x, high_x = _extent(observation.mask.amax(-2) > 0.5)
    low_y, high_y = _extent(observation.mask.amax(-1) > 0.5)
    low = torch.stack([low_x, low_y], -1)
    high = torch.stack([high_x, high_y], -1)

    points, there = observation.keypoints[..., :2], seen[..., None]
    low = torch.minimum(low, torch.where(there, points, torch.inf).amin(-2))
    high = torch.maximum(high, torch.where(there, points, -torch.inf).amax(-2))

    size = constant((width, height), low.dtype, low.device)
    nothing = low > high
    low, high = torch.where(nothing, 0 * size, low), torch.where(nothing, size, high)
    side = (high - low).amax(-1).clamp(min=1.0) * scale
    return Box(centre=(low + high) / 2, side=side)


def _extent(
    occupied: Bool[Tensor, "*batch N"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """First and last edge of what is occupied along an axis; (inf, -inf) if nothing is."""
    place = torch.arange(occupied.shape[-1], dtype=torch.float32, device=occupied.device)
    low = torch.where(occupied, place, torch.inf).amin(-1)
    high = torch.where(occupied, place + 1, -torch.inf).amax(-1)
    return low, high


@record_function("stage: heatmaps")
def gaussian_heatmaps(
    keypoints: Float[Tensor, "*batch K 3"],
    size: int,
    sigma: float,
    out: Float[Tensor, "*batch K size size"] | None = None,
) -> Float[Tensor, "*batch K size size"]:
    """Draws one Gaussian with peak 1 per seen key point, zero maps for the others.

    Args:
        keypoints: x, y in half-squares and confidence; seen where the confidence is positive.
        sigma: [px].
        out: Where to draw them. On a CPU a fresh tensor of this size costs five times as much as
            what is drawn into it.
    """
    place = torch.arange(size, dtype=keypoints.dtype, device=keypoints.device) + 0.5
    at = (keypoints[..., :2] + 1) * (size / 2)
    across = torch.exp(-((place - at[..., :1]) ** 2) / (2 * sigma**2))
    down = torch.exp(-((place - at[..., 1:]) ** 2) / (2 * sigma**2))
    seen = (keypoints[..., 2] > 0).to(keypoints.dtype)
    return torch.mul((down * seen[..., None])[..., :, None], across[..., None, :], out=out)


def regressor_image(
    image: Float[Tensor, "*batch size size"],
    keypoints: Float[Tensor, "*batch K 3"],
    sigma: float,
    out: Float[Tensor, "*batch K1 size size"] | None = None,
) -> Float[Tensor, "*batch K1 size size"]:
    """Stacks a channel of the picture and the heatmaps: what STRAPS and HierProb3D convolve.

    Args:
        image: `Proxy.channel`.
        keypoints: As of `gaussian_heatmaps`.
        sigma: [px].
        out: Where to put it, of one channel more than there are key points.
    """
    size = image.shape[-1]
    if out is None:
        out = image.new_empty(*keypoints.shape[:-2], keypoints.shape[-2] + 1, size, size)
    out[..., 0, :, :] = image
    gaussian_heatmaps(keypoints, size, sigma, out=out[..., 1:, :, :])
    return out
