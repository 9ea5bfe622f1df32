"""From where people are seen: the views of the published recipes, and a wide one, by name.

Where a published recipe takes the root's orientation from its pose file, with the cameras of the
data sets in it, we draw it: yaw uniform, elevation about 5 degrees. What is drawn here is the
rotation of the world into the camera, so that every recipe works with every pose store.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from plausibody.synth.scene import CameraSettings, ViewSettings

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Viewpoint:
    """Where the camera is, what it is like, and how often its picture is too small."""

    view: ViewSettings
    camera: CameraSettings
    truncated: float
    """Probability that the picture's border is moved to cut the person, besides those whom it
    cuts because the camera stands where it stands."""


_LEVEL = ViewSettings(elevation_mean=math.radians(5), elevation_std=math.radians(10))

VIEWPOINTS = {
    # STRAPS, released configuration: so far away that the picture is nearly orthographic, and the
    # place in it, cropped anyway, does not matter. Its 0.2 m centres a body turned about its
    # pelvis; ours turns about its origin, which -0.2 m would centre, as HierProb3D's does.
    "straps": Viewpoint(
        view=_LEVEL,
        camera=CameraSettings(
            focal=(5000.0, 5000.0), place=(0.0, 0.2), place_std=0.05, depth=(37.0, 47.0)
        ),
        truncated=0.0,
    ),
    # HierProb3D and HuManiFlow, released configuration: bodies as high in the picture as STRAPS's,
    # under strong perspective. One in ten is cropped without regard to legs or arms.
    "hierprob": Viewpoint(
        view=_LEVEL,
        camera=CameraSettings(
            focal=(300.0, 300.0), place=(0.0, -0.2), place_std=0.05, depth=(2.0, 3.0)
        ),
        truncated=0.1,
    ),
    # LASOR's "panoramic viewpoints"; the ranges are ours, its training code is not public.
    "lasor": Viewpoint(
        view=ViewSettings(elevation_mean=0.0, elevation_uniform=math.radians(30)),
        camera=CameraSettings(
            focal=(5000.0, 5000.0), place=(0.0, 0.2), place_std=0.05, depth=(37.0, 47.0)
        ),
        truncated=0.2,
    ),
    # From a phone at arm's length to a long lens: people from 0.8 m to 12 m away, seen from below
    # and from above, filling half of the picture or much more than it; fields of view from 7 to
    # 90 degrees.
    "wide": Viewpoint(
        view=ViewSettings(
            elevation_mean=math.radians(8),
            elevation_std=math.radians(20),
            elevation_limit=math.radians(60),
            roll_std=math.radians(8),
            nearest=1.3,
            farthest=20.0,
            off_axis=0.15,
        ),
        camera=CameraSettings(
            focal=(128.0, 2000.0),
            place=(0.0, -0.3),
            place_std=0.05,
            off_axis=0.1,
            depth=(0.8, 12.0),
            depth_logarithmic=True,
            fill=(0.5, 1.6),
            bounded=True,
        ),
        truncated=0.2,
    ),
}
"""Every camera is of a picture of 256 x 256 px."""


def seen_from(settings: Settings, name: str) -> Settings:
    """Gives a recipe's settings with another recipe's view, camera and truncation.

    Replaces the fields `view`, `camera` and `truncated` wherever the settings have them, also in
    parts of them; all else stays.

    Args:
        settings: A frozen dataclass.
        name: One of `VIEWPOINTS`.

    Raises:
        ValueError: If there is no such viewpoint, or nothing in the settings that it could replace.
    """
    if name not in VIEWPOINTS:
        raise ValueError(f"viewpoint: wanted one of {', '.join(VIEWPOINTS)}, got {name!r}")
    values, replaced = vars(VIEWPOINTS[name]), set()

    def place(part: Any) -> Any:
        changes = {}
        for field in fields(part):
            value = getattr(part, field.name)
            if field.name in values:
                changes[field.name] = values[field.name]
                replaced.add(field.name)
            elif is_dataclass(value):
                changes[field.name] = place(value)
        return replace(part, **changes)

    changed: Settings = place(settings)
    if "view" not in replaced:
        raise ValueError(
            f"viewpoint: wanted settings of a recipe, got {type(settings).__name__}, "
            "which has no view"
        )
    return changed
