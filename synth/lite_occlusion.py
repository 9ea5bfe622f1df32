"""Things and other people before the people of the `lite` recipe, drawn into its small frames.

"LASOR-style", see `lasor`: which things and people there are is drawn as there; here they are seen
in the frame of the person, at its resolution, and with the coarse body.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from plausibody.models.camera import PerspectiveCamera
from plausibody.models.proxy import Box
from plausibody.synth.chance import Chance
from plausibody.synth.coarse import CoarseBody
from plausibody.synth.occluder_objects import ObjectSettings, draw_objects
from plausibody.synth.occluder_people import PeopleSettings, draw_depth, draw_people
from plausibody.synth.occluders import in_front
from plausibody.synth.poses import PoseBank
from plausibody.synth.raster import label_pixels, rasterize, rasterize_labels
from plausibody.synth.target_maps import occluded_share


@dataclass(frozen=True)
class OcclusionSettings:
    """What stands before people; as it comes, nothing."""

    people: PeopleSettings = field(default_factory=lambda: PeopleSettings(present=0.0))
    objects: ObjectSettings = field(default_factory=lambda: ObjectSettings(present=0.0))
    least_seen: float = 0.1
    """Of people of whom a smaller share of the silhouette is left, nothing is covered: no detector
    would have found them."""

    @property
    def anything(self) -> bool:
        """Whether anything can stand before anybody."""
        return self.people.present > 0 or self.objects.present > 0


@dataclass(frozen=True)
class Framed:
    """People in their frames."""

    clothed: Float[Tensor, "batch V 3"]
    """Vertices of the drawn mesh in the camera's world [m]."""
    pixels: Float[Tensor, "batch V 3"]
    """The same in the frame: x, y [px] and depth [m]."""
    borders: Float[Tensor, "batch 4"]
    """Of the picture, in the frame: left, top, right, bottom [px], infinite where it goes on."""
    camera: PerspectiveCamera
    box: Box
    """The frame, in the pixels of the camera."""


def draw_before(
    chance: Chance,
    people: Framed,
    body: CoarseBody,
    bank: PoseBank,
    tilt: Float[Tensor, "batch 3 3"],
    settings: OcclusionSettings,
    size: int,
    backend: str = "auto",
) -> tuple[UInt8[Tensor, "batch size size"], Bool[Tensor, "batch size size"]]:
    """Draws people and what is before them.

    Args:
        people: As they are before anything hides them.
        body: The mesh of them, and of the others.
        bank: Poses for the others.
        tilt: Of the camera, as `scene.draw_tilt` gives it.
        size: Side of the frame [px].

    Returns:
        DensePose's parts of the people without what is before them, and where something is.
    """
    frame = (size, size)
    if settings.people.present:
        seen = rasterize(people.pixels, body.faces, frame, barycentrics=False, backend=backend)
        labels = label_pixels(seen, body.part24)
        others = draw_people(chance, bank, body.skin, tilt, people.clothed, settings.people)
        depth = draw_depth(others, body.faces, people.camera, people.box, size, backend)
        before = in_front(depth, seen.depth)
    else:
        labels = rasterize_labels(people.pixels, body.faces, body.part24, frame, backend=backend)
        before = torch.zeros_like(labels, dtype=torch.bool)
    if settings.objects.present:
        rows = people.pixels[..., :2].mT.contiguous()  # six times as fast to reduce
        low = torch.maximum(rows.amin(-1), people.borders[:, :2])
        high = torch.minimum(rows.amax(-1), people.borders[:, 2:])
        things = draw_objects(chance, low, high, settings.objects)
        half = torch.full_like(low, size / 2)
        before = before | (things.draw(Box(half, 2 * half[:, 0]), size, backend) > 0)
    left = 1 - occluded_share(labels > 0, ~before)
    return labels, before & (left >= settings.least_seen)[:, None, None]
