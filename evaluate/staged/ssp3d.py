"""Writes what looks like SSP-3D as its authors publish it, of open bodies: everything is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.people import labels_from_body, published_translation
from plausibody.evaluate.staged.scenes import (
    GENDERS,
    SceneSettings,
    StagedPeople,
    join_people,
    paint_people,
    stage_people,
    tight_boxes,
)
from plausibody.models.batches import in_batches
from plausibody.models.files import encode_arrays, write_file
from plausibody.models.rotations import rotmat_to_rotvec
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.reading.mask_files import encode_mask
from plausibody.synth.chance import Chance
from plausibody.synth.looks import Looks

CHUNK = 8
"""People who are painted at a time."""


def stage_ssp3d(
    folder: Path,
    people: int,
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
    genders: Sequence[str] | None = None,
) -> StagedPeople:
    """Writes labels.npz, images/ and silhouettes/.

    Key points are exact, boxes tight round silhouettes. Those behind the body have confidences
    below what regressors usually ask for: the published protocol takes no notice.

    Args:
        folder: Made if it is not there; what is in it under these names is replaced.
        settings: The picture's side and the focal length are the published ones by default, and
            readers expect them.
        looks: As of `paint_people`.
        genders: Of the people; women and men by turns if None.

    Returns:
        Who was written, in the order of labels.npz.
    """
    settings = settings or SceneSettings()
    bodies = LabelBodies.load("open", GENDERS)
    names = [f"athlete_{number:03d}.png" for number in range(people)]
    for part in ("images", "silhouettes"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    staged = []
    for numbers in in_batches(range(people), CHUNK):
        these = torch.tensor(numbers)
        theirs = None if genders is None else [genders[n] for n in numbers]
        some = stage_people(these, bodies, settings, theirs)
        pictures = paint_people(these, some, bodies, settings, looks)
        for n, picture, mask in zip(numbers, pictures, some.masks, strict=True):
            save_picture(picture, folder / "images" / names[n])
            write_file(folder / "silhouettes" / names[n], encode_mask(mask, inside=1))
        staged.append(some)
    every = join_people(staged)
    write_file(folder / "labels.npz", encode_arrays(_labels(names, every, bodies, settings)))
    return every


def _labels(
    names: list[str], people: StagedPeople, bodies: LabelBodies, settings: SceneSettings
) -> dict[str, np.ndarray]:
    """Gives the arrays of labels.npz, in the camera's frame (y down)."""
    low, high = tight_boxes(people.masks)
    pelvis = bodies.pelvis(people.body.shape, people.genders)
    chance = Chance(settings.seed, torch.arange(len(people)))
    sure = chance.uniform("confidence", 17, 1, low=0.7)
    doubt = chance.uniform("doubt", 17, 1, low=0.03, high=0.3)
    sure = torch.where(people.visible[..., None], sure, doubt)
    rotvecs = rotmat_to_rotvec(labels_from_body(people.body))
    numbers = {
        "poses": rotvecs.flatten(1),
        "shapes": people.body.shape,
        "joints2D": torch.cat([people.keypoints, sure], -1),
        "cam_trans": published_translation(people.camera, pelvis),
        "bbox_centres": ((low + high) / 2).flip(-1),
        "bbox_whs": (high - low).amax(-1),
    }
    return {
        "fnames": np.array(names),
        "genders": np.array([gender[0] for gender in people.genders]),
        **{key: value.double().numpy() for key, value in numbers.items()},
    }
