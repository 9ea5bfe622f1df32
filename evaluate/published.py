"""The published corruptions, applied to people whom a front end has seen.

For a fair comparison only what stands for a front end's errors is applied: things before people
and borders of pictures, which recipes draw too, are in the truth already. Noise in pixels is that
of the crops it was published for, in which the person fills a 1.2th of the side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from plausibody.models.proxy import Observation, ProxySettings
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.charts import PART6_OF_24, coarser_parts
from plausibody.synth.hierprob_scene import HierprobSettings, damage
from plausibody.synth.joint_sight import HIDDEN, OUTSIDE
from plausibody.synth.lite_sight import LiteCorruption, observe
from plausibody.synth.measured import Truth
from plausibody.synth.measured_sightings import Corruption
from plausibody.synth.removal import HalvesSettings, count_parts, keep_labels, too_little_seen
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsRecipe, StrapsSettings

FILLS = 1.2
"""Side of the published crops over the person's longer side, on average."""


def published(assets: SynthAssets) -> Mapping[str, Corruption]:
    """Gives the corruptions of the recipes with key points, by name."""
    return {
        "straps": lambda chance, truth: _straps(chance, truth, assets),
        "hierprob": _hierprob,
        "lite": _lite,
    }


def _noise(published: float, size: int, truth: Truth) -> float:
    """Gives noise [px] in the truth's frames, from that in a crop of `size` pixels."""
    return published * FILLS / size * float(truth.side[0])


def _straps(chance: Chance, truth: Truth, assets: SynthAssets) -> Observation:
    as_published, size = StrapsSettings(), truth.labels.shape[-1]
    settings = replace(
        as_published,
        size=size,
        joint_noise=_noise(as_published.joint_noise, as_published.size, truth),
        occluded=0.0,
    )
    recipe = StrapsRecipe(settings, ProxySettings(size=size), 0, assets)
    labels = coarser_parts(truth.labels, PART6_OF_24)
    keypoints = recipe.corrupt_keypoints(chance, truth.keypoints)
    return Observation(keypoints=keypoints, mask=recipe.corrupt_mask(chance, labels))


def _hierprob(chance: Chance, truth: Truth) -> Observation:
    as_published, size = HierprobSettings(), truth.labels.shape[-1]
    share = (float(truth.side[0]) * FILLS / as_published.size) ** 2
    settings = replace(
        as_published,
        size=size,
        joint_noise=_noise(as_published.joint_noise, as_published.size, truth),
        occluded=0.0,
        halves=HalvesSettings(bottom=0.0, top=0.0, side=0.0),
    )
    covered = too_little_seen(count_parts(truth.labels), round(as_published.least_part * share))
    wrong = damage(chance, truth.keypoints, (truth.states != OUTSIDE) & ~covered, settings)
    keypoints = torch.cat([wrong.places, wrong.seen[..., None].float()], -1)
    mask = (truth.labels > 0) & keep_labels(truth.labels, wrong.removed)
    return Observation(keypoints=keypoints, mask=mask.float())


def _lite(chance: Chance, truth: Truth) -> Observation:
    face = [COCO17.index(name) for name in ("nose", "left_eye", "right_eye")]
    away = (truth.states[:, face] == HIDDEN).all(1)
    wrong = replace(LiteCorruption(), box=(0.0, 0.0))
    return observe(chance, truth.labels, truth.keypoints, away, truth.borders, wrong)
