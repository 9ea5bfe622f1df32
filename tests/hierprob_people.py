"""People of the hierprob recipe to whom nothing happens, and their limbs."""

from __future__ import annotations

from plausibody.models.skeleton import COCO17
from plausibody.synth.hierprob import HierprobSettings
from plausibody.synth.removal import HalvesSettings

SIZE = 96
CALM = HierprobSettings(
    size=SIZE,
    extreme_crop=0.0,
    part_removed=(0.0,) * 24,
    occluded=0.0,
    occluder=18,
    swaps={},
    joint_noise=0.0,
    dropped=0.0,
    halves=HalvesSettings(bottom=0.0, top=0.0, side=0.0),
    gain=(1.0, 1.0),
    least_part=0,
)
"""Nothing goes wrong."""
LIMBS = [n for n, name in enumerate(COCO17) if name.endswith(("elbow", "wrist", "knee", "ankle"))]
