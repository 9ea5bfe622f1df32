"""How well networks estimate IUV pictures, on drawn people whose every pixel is known.

The people are a fixed stream of the `hierprob` recipe, as `danet-lite` learns from: poses of
subjects whom no training saw, other textures and backgrounds by chance, parts and halves of people
missing now and then. Each is drawn with what can be seen and with what is hidden, so that it is
known apart how well a network sees, and how well it fills in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.constants import constant
from plausibody.models.danet import DanetRegressor
from plausibody.models.iuv import CLASSES, DenseTarget, predicted_picture
from plausibody.models.weights import TrainedRegressor
from plausibody.synth.batch import Batch
from plausibody.synth.generator import StreamSettings
from plausibody.synth.hierprob import HierprobSettings
from plausibody.synth.iuv import DenseSettings
from plausibody.synth.removal import HalvesSettings
from plausibody.synth.stores import SynthAssets

METRICS = ("part_accuracy", "hidden_part_accuracy", "part_iou", "uv_error", "foreground_iou")
"""Of a person, [%]: pixels that can be seen whose part is right; the same of hidden ones;
intersection over union of parts, the mean over all that the true person or the estimate shows; mean
distance on the chart, of a chart's width, over pixels that can be seen and whose part is right; and
intersection over union of the whole persons. NaN where there is no such pixel."""
SIGHT = "sight"
"""The attribute that tells whether all of a person can be seen."""
SIGHTS = ("seen whole", "hidden in part")
WHOLE = 0.98
"""The share of a person's pixels from which they count as seen whole."""
USUAL = 256
"""Side of the published pictures, for which the recipe's numbers of pixels are [px]."""
CHUNK = 64
"""People estimated at a time."""


@dataclass(frozen=True)
class IuvSettings:
    """A set of people."""

    count: int = 1024
    seed: int = 8_000_003
    split: str = "test"
    """Of the pose store."""

    def stream(self, size: int, maps: int, kind: str) -> StreamSettings:
        """Gives the stream.

        Args:
            size: Side of the pictures [px].
            maps: Side of the IUV pictures [px], a divisor of that.
            kind: amodal or modal, as of `DenseSettings`.
        """
        halves, usual = HalvesSettings(), HierprobSettings()
        drawn = HierprobSettings(
            size=size,
            supersample=2,
            extreme_crop=0.0,
            occluder=usual.occluder * size // USUAL,
            halves=HalvesSettings(
                row_range=halves.row_range * size // USUAL,
                column_range=halves.column_range * size // USUAL,
            ),
        )
        dense = DenseSettings(size=maps, kind=kind)
        return StreamSettings(recipe="hierprob", seed=self.seed, hierprob=drawn, dense=dense)


@torch.no_grad()
def measure_iuv(
    regressor: TrainedRegressor,
    assets: SynthAssets,
    settings: IuvSettings,
    watch: Callable[[int], None] = lambda done: None,
) -> Values:
    """Measures the IUV pictures that a network makes of colours.

    Args:
        regressor: Of the method danet, and of the channel rgb.
        assets: With textures and backgrounds, and the poses of `settings.split`.
        watch: Is told how many people are done.

    Returns:
        `METRICS` of each person, with the attribute `SIGHT`.

    Raises:
        ValueError: If the network estimates no IUV pictures.
    """
    network, proxy = regressor.network, regressor.proxy
    if not isinstance(network, DanetRegressor) or network.channel != "rgb":
        raise ValueError(
            "iuv: wanted a network that estimates IUV pictures, of the method danet and the "
            f"channel rgb, got one that reads {proxy.channel}; do: train --preset danet-lite"
        )
    maps = network.settings.map_size(proxy)
    streams = [
        draw_people(settings.stream(proxy.size, maps, kind), proxy, assets, settings.count, CHUNK)
        for kind in ("amodal", "modal")
    ]
    rows: dict[str, list[Tensor]] = {name: [] for name in (*METRICS, "seen")}
    done = 0
    for whole, visible in zip(*streams, strict=True):
        estimate = network.estimate(network.inputs(whole.proxy)[0])[0].maps
        assert estimate is not None, "of colours there is one"
        open_ = _truth(visible).iuv[:, 0] > 0
        scores = iuv_scores(predicted_picture(estimate), _truth(whole).iuv, open_)
        for name, value in scores.items():
            rows[name].append(value.double())
        rows["seen"].append(open_.sum((1, 2)) / (_truth(whole).iuv[:, 0] > 0).sum((1, 2)))
        done += len(whole)
        watch(done)
    columns = {name: torch.cat(parts) for name, parts in rows.items()}
    return Values(
        names=tuple(str(number) for number in range(done)),
        errors={name: columns[name] for name in METRICS},
        attributes={SIGHT: Attribute(SIGHTS, (columns["seen"] < WHOLE).long())},
    )


def _truth(batch: Batch) -> DenseTarget:
    assert batch.target.dense is not None, "the stream was asked for it"
    return batch.target.dense


def iuv_scores(
    said: Float[Tensor, "batch 3 H W"],
    truth: Float[Tensor, "batch 3 H W"],
    seen: Bool[Tensor, "batch H W"],
) -> dict[str, Float[Tensor, " batch"]]:
    """Compares estimated IUV pictures with true ones, person by person: `METRICS`.

    Args:
        said: Part 0..24, u and v.
        truth: The same of whole people, whatever hides them.
        seen: Where the true person can be seen.
    """
    part, true = said[:, 0].round(), truth[:, 0].round()
    there, right = true > 0, part == true
    hidden, known = there & ~seen, right & there & seen
    away = (said[:, 1:] - truth[:, 1:]).norm(dim=1)
    every = constant(tuple(range(1, CLASSES)), true.dtype, true.device)[:, None, None]
    ours, theirs = part[:, None] == every, true[:, None] == every
    both, either = (ours & theirs).sum((2, 3)), (ours | theirs).sum((2, 3))
    overlap = (both / either.clamp(min=1)).sum(1) / (either > 0).sum(1)
    found = {
        "part_accuracy": _share(right, there & seen),
        "hidden_part_accuracy": _share(right, hidden),
        "part_iou": overlap,
        "uv_error": (away * known).sum((1, 2)) / known.sum((1, 2)),
        "foreground_iou": _share((part > 0) & there, (part > 0) | there),
    }
    return {name: 100 * value for name, value in found.items()}


def _share(
    right: Bool[Tensor, "batch H W"], among: Bool[Tensor, "batch H W"]
) -> Float[Tensor, " batch"]:
    return (right & among).sum((1, 2)) / among.sum((1, 2))
