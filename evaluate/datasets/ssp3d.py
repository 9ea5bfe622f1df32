"""SSP-3D: photos of athletes with silhouettes and fitted bodies, for the shape of people.

Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in the
Wild", 2020, section 4, and https://github.com/akashsengupta1997/SSP-3D; the protocol is that of
the released evaluation of HierProb3D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.labels import (
    TEXT,
    Wanted,
    file_below,
    read_genders,
    read_labels,
    require_files,
    require_once,
)
from plausibody.evaluate.datasets.people import About, LabelledPeople, body_from_labels
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.naming import first_named
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.models.records import take

FACTOR = 1.2
"""Side of the crop over that of the tight box."""
FOCAL = 5000.0
"""Of the fitted bodies' cameras [px]."""
SIDE = 512
"""Of the pictures [px]; the principal point is their centre."""

LEAST = 0.001
"""Confidence of a key point at least: above 0, so that it is shown."""

KEYS: Wanted = {
    "fnames": TEXT,
    "poses": (72,),
    "shapes": (10,),
    "genders": TEXT,
    "joints2D": (17, 3),
    "cam_trans": (3,),
    "bbox_centres": (2,),
    "bbox_whs": (),
}
"""Of labels.npz: axis-angle in the camera's frame, coefficients of the gendered body, m or f,
COCO-17 with x, y [px] and confidence, translation [m], centre (vertical, horizontal) and side [px]
of the tight square box."""

ABOUT = About(
    name="ssp3d",
    source="SSP-3D, https://github.com/akashsengupta1997/SSP-3D: ssp_3d.zip, 311 pictures of 62 "
    "people, to be unpacked; the bodies need SMPL's male and female files",
    layout="labels.npz, images/ and silhouettes/, with a PNG of 512 x 512 pixels of the same name "
    "in each for every name of labels.npz; 0 and 1 in silhouettes",
    protocol=(
        "Crops of 1.2 times the labelled tight square; all 17 labelled key points, whatever their "
        "confidence, and labelled silhouettes go in.",
        "2D errors are against the labelled key points, all 17 counted, and silhouettes, nearest "
        "pixel, both in the crop; silhouettes are drawn with the predicted orthographic camera.",
        "Published: PVE-T-SC and overlap. HierProb3D compares the neutral body that its network "
        "predicts with the gendered label ([neutral]) and pools overlaps; the code that comes with "
        "the data puts predicted coefficients on the body of the labelled gender ([gendered]). "
        "Heat maps are not rounded to whole pixels here, as they are there.",
    ),
    headline=(
        *("pve_t_sc", "pve_pa", "silhouette_iou_pooled", "silhouette_iou", "keypoint_error"),
    ),
    factor=FACTOR,
    samples=10,
)


@dataclass(frozen=True)
class Ssp3d:
    """SSP-3D, opened."""

    folder: Path
    names: tuple[str, ...]
    genders: tuple[str, ...]
    body: BodyParameters
    """In the world."""
    keypoints: Float[Tensor, "people 17 3"]
    translation: Float[Tensor, "people 3"]
    """As published."""
    box: Box
    about: About = ABOUT

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen = torch.tensor(list(numbers), dtype=torch.int64)
        names = tuple(self.names[n] for n in numbers)
        translation = self.translation[chosen]
        return LabelledPeople(
            names=names,
            pictures=tuple(self.folder / "images" / name for name in names),
            masks=tuple(self.folder / "silhouettes" / name for name in names),
            genders=tuple(self.genders[n] for n in numbers),
            box=take(self.box, chosen),
            body=take(self.body, chosen),
            keypoints=self.keypoints[chosen],
            camera=PerspectiveCamera(
                focal=torch.full_like(translation[:, 0], FOCAL),
                principal=torch.full_like(translation[:, :2], SIDE / 2),
                translation=translation,
            ),
        )


def open_ssp3d(folder: Path) -> Ssp3d:
    """Opens SSP-3D as its archive unpacks.

    Args:
        folder: With labels.npz, images and silhouettes.

    Raises:
        FileNotFoundError: If labels, pictures or silhouettes are missing.
        ValueError: If labels are not as published.
    """
    path = folder / "labels.npz"
    require_files([path], "SSP-3D's labels", f"get {ABOUT.source}. Its layout: {ABOUT.layout}")
    labels = read_labels(path, KEYS)
    names = tuple(labels["fnames"])
    for part in ("images", "silhouettes"):
        require_files(
            [file_below(folder / part, name, f"{path}, fnames") for name in names],
            f"SSP-3D's {part}",
            f"unpack the whole archive: {ABOUT.layout}",
        )
    require_once(
        names,
        f"{path}, fnames: wanted each picture once",
        "more of",
        "take the file as it is published",
    )
    centres, sides = torch.from_numpy(labels["bbox_centres"]), torch.from_numpy(labels["bbox_whs"])
    if odd := (sides <= 0).nonzero()[:, 0].tolist():
        raise ValueError(
            f"{path}, bbox_whs: wanted sides above 0, got others in {first_named(odd, 'row')}"
        )
    keypoints = torch.from_numpy(labels["joints2D"]).float()
    return Ssp3d(
        folder=folder,
        names=names,
        genders=read_genders(labels["genders"], f"{path}, genders"),
        body=body_from_labels(
            torch.from_numpy(labels["poses"]).unflatten(1, (24, 3)).float(),
            torch.from_numpy(labels["shapes"]).float(),
        ),
        keypoints=torch.cat([keypoints[..., :2], keypoints[..., 2:].clamp(LEAST, 1)], -1),
        translation=torch.from_numpy(labels["cam_trans"]).float(),
        box=Box(centre=centres.flip(-1).float(), side=FACTOR * sides.float()),
    )
