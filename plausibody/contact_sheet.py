"""All that was rendered of some people, as one labelled sheet: a row each, a column per channel."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from plausibody.models.proxy import Proxy, gaussian_heatmaps
from plausibody.models.skeleton import COCO17
from plausibody.predict.drawing.bodies import label, tile
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.drawing.labels import colour_labels
from plausibody.preview import draw_proxies
from plausibody.synth.batch import Batch

BRIGHTEN = 3.0
"""How much edges are, whose contrast is rarely full."""
HEATMAP_WIDTH = 4.0
"""Standard deviation of a drawn heatmap [px of 256]."""


def contact_sheet(batch: Batch, side: int = 160) -> Float[Tensor, "3 height width"]:
    """Draws what a regressor reads of each person, and every channel that the batch has kept.

    Colours of key points and parts tell a person's own left (red) from right (blue). Of maps that
    losses look at, what is hidden is grey; labels have the colours of the parser. IUV pictures have
    a colour for each part: the one that is read, if any, and the true one, if any is learnt.

    Args:
        side: Of each picture [px].
    """
    columns = {"input": draw_proxies(batch, side), **_drawn_proxy(batch.proxy, side)}
    for name, values in batch.channels.items():
        if name in DRAWN:
            columns[name] = _resize(DRAWN[name](values), side)
        elif name in ("part24", "part14", "part6", "semantics"):
            columns[name] = _resize(_coloured(values, PALETTES[name]), side)
    maps = batch.target.maps
    if maps is not None:
        columns["map"] = _resize(_grey(0.4 * maps.whole + 0.6 * maps.visible), side)
        if maps.labels is not None:
            columns["parser's labels"] = _resize(colour_labels(maps.labels), side)
    dense = batch.target.dense
    if dense is not None:
        columns["true IUV"] = _labels(colour_iuv(dense.iuv), side)
    heads = tile([label(torch.ones(3, 0, side), name) for name in columns], columns=len(columns))
    rows = [pictures[n] for n in range(len(batch)) for pictures in columns.values()]
    return torch.cat([heads, tile(rows, columns=len(columns))], 1)


def _drawn_proxy(proxy: Proxy, side: int) -> dict[str, Float[Tensor, "batch 3 side side"]]:
    heat = gaussian_heatmaps(proxy.keypoints, side, HEATMAP_WIDTH * side / 256)
    tints = torch.tensor([_side_colour(name) for name in COCO17])
    drawn = {"heatmaps": torch.einsum("bkhw,kc->bchw", heat, tints).clamp(max=1)}
    if proxy.edges is not None:
        drawn["edges"] = _resize(_grey((BRIGHTEN * proxy.edges).clamp(max=1)), side)
    if proxy.iuv is not None:
        drawn["IUV"] = _labels(colour_iuv(proxy.iuv), side)
    return drawn


def _side_colour(name: str) -> tuple[float, float, float]:
    sides = {"left": (0.95, 0.3, 0.25), "right": (0.3, 0.55, 1.0)}
    return sides.get(name.split("_")[0], (0.35, 0.9, 0.4))


def _grey(values: Float[Tensor, "batch H W"]) -> Float[Tensor, "batch 3 H W"]:
    return values.float()[:, None].expand(-1, 3, -1, -1)


def _depth(values: Float[Tensor, "batch H W"]) -> Float[Tensor, "batch 3 H W"]:
    """Near is bright; the range is each person's own."""
    seen = values > 0
    near = torch.where(seen, values, torch.inf).amin((1, 2), keepdim=True)
    far = torch.where(seen, values, 0.0).amax((1, 2), keepdim=True)
    place = (far - values) / (far - near).clamp(min=1e-3)
    return _grey(torch.where(seen, 0.2 + 0.8 * place, 0.0))


def _normals(values: Float[Tensor, "batch 3 H W"]) -> Float[Tensor, "batch 3 H W"]:
    """Red grows to the right, green upwards, blue towards the camera."""
    turned = values * values.new_tensor([1.0, -1.0, -1.0])[:, None, None]
    return torch.where((values != 0).any(1, keepdim=True), (turned + 1) / 2, 0.0)


def _iuv(values: Float[Tensor, "batch 3 H W"]) -> Float[Tensor, "batch 3 H W"]:
    return values / values.new_tensor([24.0, 1.0, 1.0])[:, None, None]


DRAWN: dict[str, Callable[[Tensor], Tensor]] = {
    "rgb": lambda values: values,
    "silhouette": _grey,
    "amodal": _grey,
    "depth": _depth,
    "normals": _normals,
    "iuv": _iuv,
}


def _wheel(count: int) -> Float[Tensor, "labels 3"]:
    """Black, then colours whose neighbours in number lie far apart."""
    hues = [(n * 0.618) % 1.0 for n in range(count)]
    colours = [colorsys.hsv_to_rgb(hue, 0.75, 0.6 + 0.4 * (n % 2)) for n, hue in enumerate(hues)]
    return torch.tensor([(0.0, 0.0, 0.0), *colours])


_SEMANTIC_COLOURS = torch.tensor(
    [
        *((0.0, 0.0, 0.0), (0.95, 0.75, 0.62), (0.45, 0.25, 0.1), (0.85, 0.2, 0.2)),
        *((0.2, 0.35, 0.85), (0.1, 0.1, 0.1), (0.9, 0.9, 0.9), (0.6, 0.3, 0.7)),
        *((0.95, 0.8, 0.1), (0.1, 0.8, 0.8), (0.9, 0.3, 0.5), (0.3, 0.5, 0.2)),
    ]
)
"""Of background, skin, hair, upper, lower, shoes, socks, glove, hat, eye, lip, brow."""

PALETTES = {
    "part24": _wheel(24),
    "part14": _wheel(14),
    "part6": _wheel(6),
    "semantics": _SEMANTIC_COLOURS,
}


def _coloured(
    labels: UInt8[Tensor, "batch H W"], palette: Float[Tensor, "labels 3"]
) -> Float[Tensor, "batch 3 H W"]:
    return palette[labels.long()].permute(0, 3, 1, 2)


def _resize(
    pictures: Float[Tensor, "batch 3 H W"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    mode = "nearest" if pictures.shape[-1] < side else "area"
    return functional.interpolate(pictures, size=(side, side), mode=mode)


def _labels(
    pictures: Float[Tensor, "batch 3 H W"], side: int
) -> Float[Tensor, "batch 3 side side"]:
    """Takes the nearest pixels: parts have no means."""
    return functional.interpolate(pictures, size=(side, side), mode="nearest-exact")
