"""How well shapes are told of people in clothes, by how far the clothes stand off the body.

Every person is drawn several times: the same body, pose, view, texture, light and background, and
garments of none to twice their usual thickness. So what changes from one picture to the next is
the cloth alone, and who takes cloth for flesh is found out. Poses are of subjects whom no training
saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.ruler import Ruler
from plausibody.evaluate.run import Estimator
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.girths import enclosed_volume
from plausibody.models.proxy import ProxySettings
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.generator import StreamSettings
from plausibody.synth.hierprob import HierprobSettings
from plausibody.synth.stores import SynthAssets

FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of the usual thickness of garments."""
LOOSENESS = tuple(f"{factor:g} x" for factor in FACTORS)
METRICS = ("pa_mpjpe", "pve_t_sc", "volume_bias")
"""The first two as of `protocols` [mm]. volume_bias: how much larger the predicted body at rest is
than the true one, by volume after the scale that fits best [%]; signed, 0 is best."""
CHUNK = 64
"""People posed at a time."""


@dataclass(frozen=True)
class LooseSettings:
    """A set of people in clothes."""

    count: int = 1024
    """People; pictures are as many times `FACTORS`."""
    seed: int = 8_000_002
    split: str = "test"
    """Of the pose store."""

    def stream(self, factor: float, size: int) -> StreamSettings:
        """Gives the stream of everybody in clothes of some thickness.

        Args:
            factor: One of `FACTORS`.
            size: Side of the pictures [px].
        """
        drawn = HierprobSettings(
            size=size,
            supersample=2,
            extreme_crop=0.0,
            occluded=0.0,
            errors="measured",
            garments=thicker(factor),
        )
        return StreamSettings(recipe="hierprob", seed=self.seed, hierprob=drawn)


def thicker(factor: float) -> GarmentSettings:
    """Makes all garments thicker by a factor; everybody wears them."""
    usual = GarmentSettings()
    changed: dict[str, Any] = {}
    for entry in fields(usual):
        value = getattr(usual, entry.name)
        if isinstance(value, dict):
            changed[entry.name] = {
                kind: (low * factor, high * factor) for kind, (low, high) in value.items()
            }
        elif isinstance(value, tuple):
            changed[entry.name] = (value[0] * factor, value[1] * factor)
    return replace(usual, worn=1.0, **changed)


@torch.no_grad()
def measure_loose(
    estimator: Estimator,
    proxy: ProxySettings,
    assets: SynthAssets,
    settings: LooseSettings,
    watch: Callable[[int], None] = lambda done: None,
) -> Values:
    """Measures an estimator on people in clothes of every thickness.

    Args:
        estimator: Of the body of the assets.
        proxy: How its inputs are made.
        assets: With textures and backgrounds, and the poses of `settings.split`.
        watch: Is told how many pictures are done.

    Returns:
        `METRICS` of each person in each thickness, with the attribute "looseness".
    """
    ruler, faces = Ruler(assets), assets.template.faces
    rows: dict[str, list[Tensor]] = {name: [] for name in METRICS}
    done = 0
    for factor in FACTORS:
        stream = settings.stream(factor, proxy.size)
        for batch in draw_people(stream, proxy, assets, settings.count, CHUNK):
            prediction = estimator.predict(batch.proxy)
            body, camera = prediction.mode(), prediction.camera
            # Truths are compared as bodies only: the camera does not matter.
            found, true = ruler(body, camera), ruler(batch.target.parameters, camera)
            rows["pa_mpjpe"].append(metrics.pa_mpjpe(found.h36m, true.h36m).double())
            rows["pve_t_sc"].append(metrics.pve_t_sc(found.rest, true.rest).double())
            rows["volume_bias"].append(volume_bias(found.rest, true.rest, faces).double())
            done += len(batch)
            watch(done)
    kinds = torch.arange(len(FACTORS)).repeat_interleave(settings.count)
    names = tuple(f"{n} {kind}" for kind in LOOSENESS for n in range(settings.count))
    return Values(
        names=names,
        errors={name: torch.cat(parts) for name, parts in rows.items()},
        attributes={"looseness": Attribute(LOOSENESS, kinds)},
    )


def volume_bias(
    prediction: Float[Tensor, "batch V 3"], target: Float[Tensor, "batch V 3"], faces: Tensor
) -> Float[Tensor, " batch"]:
    """Gives how much larger predicted bodies at rest are than the true ones, after scaling [%].

    Args:
        prediction: Vertices [m].
        target: The same of the true bodies.
        faces: Of the closed mesh.
    """
    scaled = metrics.align_scale_translation(prediction, target)
    return 100 * (enclosed_volume(scaled, faces) / enclosed_volume(target, faces) - 1)


def inflation(values: Values) -> Values:
    """Takes from each person's volume what it was without cloth: what cloth adds to the body."""
    kinds = values.attributes["looseness"].of
    volume = values.errors["volume_bias"].view(len(FACTORS), -1)
    added = (volume - volume[:1]).flatten()
    assert len(kinds) == len(added), "every person in every thickness"
    return Values(
        names=values.names,
        errors={**values.errors, "volume_added": added},
        attributes=values.attributes,
    )
