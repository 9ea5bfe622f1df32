"""How well bodies are told of people of whom a part is hidden, by the share that is hidden.

The people are a fixed stream of the `lite` recipe: poses of subjects whom no training saw, with
things and other people before most of them, more and larger ones than in training, and no border
that cuts them. Everybody's share is known, and so is the whole silhouette.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.joint_errors import JOINT_METRICS, joint_errors
from plausibody.evaluate.ruler import Ruler
from plausibody.evaluate.run import Estimator
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.proxy import ProxySettings
from plausibody.synth.batch import Batch
from plausibody.synth.generator import StreamSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.lite_occlusion import OcclusionSettings
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.occluder_objects import ObjectSettings
from plausibody.synth.occluder_people import PeopleSettings
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.supervision import DrawnMesh, draw_silhouettes, overlap_error, wanted_maps
from plausibody.synth.target_maps import MapSettings

SHARES = tuple(f"{share} %" for share in range(0, 70, 10))
"""Bins of the share that is hidden, by their middles; each reaches 5 % either way."""
HIDDEN = "hidden"
"""The attribute that tells people's bin."""
FORTY = "40 %"
METRICS = ("mpjpe", "pa_mpjpe", "pve_t_sc", "overlap")
"""As of `protocols`, [mm]; and the intersection over union of the whole silhouettes, hidden parts
included, in the square of `MAPS`."""
MAPS = MapSettings(size=96, reach=1.6)


@dataclass(frozen=True)
class OccludedSettings:
    """A set of occluded people."""

    count: int = 8192
    seed: int = 8_000_001
    split: str = "test"
    """Of the pose store."""
    joints: bool = False
    """Whether each joint's errors are taken too."""
    lite: LiteSettings = field(
        default_factory=lambda: LiteSettings(
            frame=112,
            pose=PoseSettings(recombined=0.0, jittered=0.0, jitter=0.0),
            view=ViewSettings(elevation_uniform=math.radians(30)),
            shape=ShapeSettings(uniform=2.5),
            corruption=LiteCorruption(truncated=0.0, box=(0.0, 0.0), no_mask=0.0),
            occlusion=OcclusionSettings(
                people=PeopleSettings(present=0.5),
                objects=ObjectSettings(present=0.9, extent=(0.1, 0.7), furniture=(0.3, 1.0)),
            ),
        )
    )

    def stream(self) -> StreamSettings:
        return StreamSettings(recipe="lite", seed=self.seed, lite=self.lite, maps=MAPS)


def share_bins(occluded: Float[Tensor, " people"]) -> Attribute:
    """Puts people into `SHARES` by the share that is hidden; who has more is in none."""
    place = (occluded * 10).round().long()
    return Attribute(SHARES, torch.where(place < len(SHARES), place, -1))


@torch.no_grad()
def measure_occluded(
    estimator: Estimator,
    proxy: ProxySettings,
    assets: SynthAssets,
    settings: OccludedSettings,
    watch: Callable[[int], None] = lambda done: None,
) -> Values:
    """Measures an estimator on occluded people.

    Args:
        estimator: Of silhouettes, and of the body of the assets.
        proxy: How its inputs are made.
        assets: With the poses of `settings.split`.
        watch: Is told how many people are done.

    Returns:
        `METRICS` of each person, and `JOINT_METRICS` if wanted; their bin as `HIDDEN`.
    """
    ruler, mesh = Ruler(assets), DrawnMesh.of(assets, "coarse")
    names = (*METRICS, *JOINT_METRICS) if settings.joints else METRICS
    rows: dict[str, list[Tensor]] = {name: [] for name in (*names, "occluded")}
    done = 0
    for batch in draw_people(settings.stream(), proxy, assets, settings.count):
        for name, value in _measure(estimator, batch, ruler, mesh, settings.joints).items():
            rows[name].append(value.double())
        done += len(batch)
        watch(done)
    columns = {name: torch.cat(parts) for name, parts in rows.items()}
    return Values(
        names=tuple(str(number) for number in range(done)),
        errors={name: columns[name] for name in names},
        attributes={HIDDEN: share_bins(columns["occluded"])},
    )


def _measure(
    estimator: Estimator, batch: Batch, ruler: Ruler, mesh: DrawnMesh, joints: bool
) -> dict[str, Float[Tensor, " batch"]]:
    prediction, maps = estimator.predict(batch.proxy), wanted_maps(batch.target)
    body, camera, size = prediction.mode(), prediction.camera, maps.whole.shape[-1]
    # Truths are compared as bodies only: the camera does not matter.
    found, true = ruler(body, camera), ruler(batch.target.parameters, camera)
    pixels = mesh.place(body, camera, size, maps.reach)
    drawn = draw_silhouettes(pixels, mesh.faces, size)
    assert maps.occluded is not None, "the lite recipe knows it"
    each = joint_errors(body, batch.target.parameters, ruler.assets.coarse.skin) if joints else {}
    return each | {
        "mpjpe": metrics.mpjpe(found.h36m, true.h36m),
        "pa_mpjpe": metrics.pa_mpjpe(found.h36m, true.h36m),
        "pve_t_sc": metrics.pve_t_sc(found.rest, true.rest),
        "overlap": 1 - overlap_error(drawn[:, None], maps.whole[:, None]),
        "occluded": maps.occluded,
    }
