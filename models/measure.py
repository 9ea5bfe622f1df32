"""Measurements of bodies, as a tailor would take them.

They are defined on the body at rest, standing upright with its arms held out (the T-pose of SMPL's
format): then they depend on the shape alone, and the arms are out of the way. A posed body is
measured by its shape: `measure_shape`. The landmarks are those of ISO 8559-1:2017 as far as a
skinned mesh has them; `plausibody.models.landmarks` says how they are found on any topology.

Everything is differentiable in the vertices; height at its highest and lowest vertex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate, regress, rest_vertices
from plausibody.models.constants import constant
from plausibody.models.girths import enclosed_volume
from plausibody.models.landmarks import Landmarks
from plausibody.models.skeleton import SMPL24

DENSITY = 985.0
"""Of a living body with air in its lungs [kg/m^3]; that which the open body was built with."""

STRAIGHT = (
    ("pelvis", "neck"),
    *((f"{side}_{start}", f"{side}_{end}") for side in ("left", "right") for start, end in (
        ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"),
    )),
)  # fmt: skip
"""Lines that have one direction in all bodies at rest, to within `MOST_BENT`."""
MOST_BENT = math.radians(20)


@dataclass(frozen=True)
class Measurements:
    """Of bodies: lengths and girths [m], mass [kg]. Girths are those of a taut tape, which bridges
    hollows; of limbs, the mean of left and right."""

    height: Float[Tensor, "*batch"]
    """From the lowest vertex to the highest (stature; barefoot)."""
    chest: Float[Tensor, "*batch"]
    """Horizontal girth at the level of the bust points, arms left out."""
    waist: Float[Tensor, "*batch"]
    """Horizontal girth at the level of the natural waist, between lowest ribs and iliac crests,
    where the mean body is slimmest."""
    hips: Float[Tensor, "*batch"]
    """Horizontal girth at the level of the buttocks' greatest prominence, where the mean body's
    hips are stoutest."""
    neck: Float[Tensor, "*batch"]
    """Girth across the neck's axis where it is slimmest, below the larynx."""
    thigh: Float[Tensor, "*batch"]
    """Horizontal girth below the crotch, a tenth of the way to the knee."""
    calf: Float[Tensor, "*batch"]
    """Horizontal girth at the level where the mean body's is greatest."""
    upper_arm: Float[Tensor, "*batch"]
    """Girth across the bone, midway between shoulder and elbow."""
    wrist: Float[Tensor, "*batch"]
    """Girth across the forearm where it is slimmest, at the wrist."""
    shoulder_width: Float[Tensor, "*batch"]
    """Straight distance between the acromions, the highest skin over the shoulder joints
    (biacromial breadth)."""
    inseam: Float[Tensor, "*batch"]
    """Height of the crotch above the lowest vertex (inside leg height)."""
    arm_length: Float[Tensor, "*batch"]
    """From the acromion over the elbow joint to the wrist joint; mean of left and right."""
    mass: Float[Tensor, "*batch"]
    """Volume times `DENSITY`."""


def measure(template: BodyTemplate, vertices: Float[Tensor, "*batch V 3"]) -> Measurements:
    """Measures bodies at rest.

    Args:
        template: With the joints of SMPL; its mean body shows where to measure.
        vertices: Of bodies in the template's rest pose, upright and facing +z, anywhere [m].

    Raises:
        ValueError: If a body is not at rest: measure a posed body by `measure_shape`.
    """
    _check_rest(template, vertices)
    landmarks = _landmarks(template)
    girths = {
        name: torch.stack([tape(vertices) for tape in tapes]).mean(0)
        for name, tapes in landmarks.tapes.items()
    }
    height = vertices[..., 1]
    floor = height.amin(-1)
    acromions, elbows, wrists = (
        rows @ vertices for rows in (landmarks.acromions, landmarks.elbows, landmarks.wrists)
    )
    arms = (acromions - elbows).norm(dim=-1) + (elbows - wrists).norm(dim=-1)
    return Measurements(
        height=height.amax(-1) - floor,
        shoulder_width=(acromions[..., 0, :] - acromions[..., 1, :]).norm(dim=-1),
        inseam=height @ landmarks.crotch - floor,
        arm_length=arms.mean(-1),
        mass=DENSITY * enclosed_volume(vertices, template.faces),
        **girths,
    )


def measure_shape(template: BodyTemplate, shape: Float[Tensor, "*batch S"]) -> Measurements:
    """Measures bodies by their shape, whatever their pose.

    Args:
        template: Whose shape it is.
        shape: Coefficients of the first shape directions, in standard deviations.
    """
    return measure(template, rest_vertices(template, shape))


@lru_cache(maxsize=16)
def _landmarks(template: BodyTemplate) -> Landmarks:
    # The key is the template itself: its hash and equality are those of its very tensors.
    with torch.inference_mode(False), torch.no_grad():
        return Landmarks.of(template)


def _check_rest(template: BodyTemplate, vertices: Float[Tensor, "*batch V 3"]) -> None:
    ends = tuple(tuple(SMPL24.index(name) for name in line) for line in STRAIGHT)
    start, end = constant(ends, torch.long, vertices.device).unbind(-1)
    with torch.no_grad():
        found, wanted = (
            joints[..., end, :] - joints[..., start, :]
            for joints in (
                regress(template.joint_regressor, vertices),
                template.skin.joints,
            )
        )
        cosine = torch.cosine_similarity(found, wanted, dim=-1)
        if not bool((cosine >= math.cos(MOST_BENT)).all()):
            bent = math.degrees(math.acos(max(min(float(cosine.amin()), 1.0), -1.0)))
            raise ValueError(
                f"vertices: wanted bodies at rest, upright and with their arms held out, came one "
                f"with a limb {bent:.0f} degrees off; do: measure posed bodies by their shape, "
                f"with measure_shape"
            )
