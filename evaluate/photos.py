"""How well predicted bodies fit what the front end saw on the photos that ship.

There is no truth for photos: these figures compare a body with its evidence alone. A body that
leans out of the picture's plane the wrong way may still fit; a body that does not fit is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plausibody.assets.catalog import SHIPPED
from plausibody.models.skeleton import COCO17, indices
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.fit import CONFIDENT
from plausibody.predict.front_ends.front_end import FrontEnd, Person
from plausibody.predict.predictor import Predictor

PHOTOS = ("astronaut.png", "grace_hopper.jpg", "skier.jpg")
"""Those that ship; `assets/LICENSES.md` tells their licences."""
_ANKLES = indices(["left_ankle", "right_ankle"], COCO17)
_HEAD = indices(["nose", "left_eye", "right_eye", "left_ear", "right_ear"], COCO17)


@dataclass(frozen=True)
class PhotoFit:
    """How well the body of a photo's main person fits."""

    photo: str
    full_body: bool
    """Whether the front end is sure of both ankles and of a part of the head, and sees no border
    cut the person."""
    silhouette_iou: float
    """Of the naked body's silhouette and the front end's mask, as `predict` reports it; 0..1."""
    reprojection: float
    """Mean distance from the front end's sure key points, as `predict` reports it [% of the
    person's diagonal]; not a number if none are sure."""
    message: str = ""
    """Why there is no body, if there is none; the figures are then no numbers."""


def shipped_photos() -> list[Path]:
    """Lists the photos that ship."""
    return [SHIPPED / "photos" / name for name in PHOTOS]


def fit_photos(
    regressor: TrainedRegressor,
    front_end: FrontEnd,
    photos: Sequence[Path] | None = None,
) -> list[PhotoFit]:
    """Measures a regressor on photos, each by its main person.

    Args:
        regressor: From `load_regressor`.
        front_end: What finds the people.
        photos: Files; those that ship if None.
    """
    files = shipped_photos() if photos is None else list(photos)
    predictor = Predictor(regressor, front_end, person="main")
    fits = []
    for file, image in zip(files, predictor(files), strict=True):
        if not image.people:
            fits.append(PhotoFit(file.name, False, math.nan, math.nan, image.message))
            continue
        person = image.people[0]
        fit = person.fit
        fits.append(
            PhotoFit(file.name, is_whole(person.evidence), fit.silhouette_iou, fit.reprojection)
        )
    return fits


def is_whole(person: Person) -> bool:
    """Tells whether the front end sees somebody from head to feet."""
    sure = person.keypoints[:, 2] > CONFIDENT
    ends = bool(sure[_ANKLES].all()) and bool(sure[_HEAD].any())
    return ends and "truncated" not in person.flags
