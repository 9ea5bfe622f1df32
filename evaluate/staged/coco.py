"""Writes what looks like COCO's key points as published, of open bodies: everything is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.coco_labels import HALF
from plausibody.evaluate.datasets.coco_people import FACTOR, PUBLISHED
from plausibody.evaluate.datasets.spin import PIXELS, SPIN24
from plausibody.evaluate.staged.scenes import (
    SceneSettings,
    StagedPeople,
    join_people,
    paint_people,
    stage_people,
    tight_boxes,
)
from plausibody.models.batches import in_batches
from plausibody.models.files import encode_arrays, write_file
from plausibody.models.skeleton import COCO17, indices
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.reading.coco import PERSON
from plausibody.synth.looks import Looks

TOGETHER = 2
"""People in a picture, side by side; the last may have fewer."""
FIRST, STEP = 42, 1009
"""Number of the first picture, and from one to the next: COCO's have gaps."""


def stage_coco(
    folder: Path,
    people: int,
    split: str = "val2014",
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
    listed: bool = False,
) -> StagedPeople:
    """Writes annotations/person_keypoints_<split>.json and the pictures in <split>/.

    Key points are whole numbers of pixels, boxes and areas those of silhouettes. Before each
    picture's people comes a crowd, and after them somebody without key points: neither counts.

    Args:
        folder: Made if it is not there; what is in it under these names is replaced.
        settings: Of each person's part of a picture; pictures are as many times as wide as they
            show people.
        looks: As of `paint_people`.
        listed: Whether to write DaNet's list of people too, `coco_2014_val.npz`.

    Returns:
        Who was written, in the order of the annotations; key points and masks are of their part of
        the picture, `places` says where that is.
    """
    settings = settings or SceneSettings()
    bodies = LabelBodies.load("open", ("neutral",))
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    staged = []
    for picture, numbers in enumerate(in_batches(range(people), TOGETHER)):
        these = torch.tensor(numbers)
        some = stage_people(these, bodies, settings, ["neutral"] * len(numbers))
        painted = paint_people(these, some, bodies, settings, looks)
        image = FIRST + STEP * picture
        name = f"COCO_{split}_{image:012d}.jpg" if split.endswith("2014") else f"{image:012d}.jpg"
        write_file(folder / split / name, encode_picture(torch.cat([*painted], -1), ".jpg"))
        height, width = painted.shape[2], painted.shape[3] * len(numbers)
        images.append({"id": image, "file_name": name, "height": height, "width": width})
        counted = _annotated(some, places(len(numbers), settings))
        for told in (_uncounted(width, height, 1), *counted, _uncounted(width, height, 0)):
            annotations.append({"id": 900_000 - len(annotations), "image_id": image, **told})
        staged.append(some)
    category = {"id": PERSON, "name": "person", "supercategory": "person", "keypoints": COCO17}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    path = folder / "annotations" / f"person_keypoints_{split}.json"
    write_file(path, json.dumps(content))
    if listed:
        write_file(folder / PUBLISHED, encode_arrays(_list(content, split)))
    return join_people(staged)


def places(people: int, settings: SceneSettings) -> Float[Tensor, "people 2"]:
    """Gives where in their picture each person's part begins, x and y [px]."""
    left = settings.size * (torch.arange(people) % TOGETHER)
    return torch.stack([left, torch.zeros_like(left)], 1).float()


def _annotated(people: StagedPeople, corner: Float[Tensor, "people 2"]) -> list[dict[str, Any]]:
    """Describes people as COCO does."""
    low, high = tight_boxes(people.masks)
    boxes = torch.cat([low + corner, high - low], 1)
    pixels = (people.keypoints + corner[:, None] - HALF).round()
    keypoints = torch.cat([pixels, torch.full_like(pixels[..., :1], 2)], -1).flatten(1).int()
    areas = people.masks.sum((1, 2))
    return [
        {
            "category_id": PERSON,
            "bbox": box,
            "area": float(area),
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            "iscrowd": 0,
            "num_keypoints": len(COCO17),
            "keypoints": marked,
        }
        for (box, area, marked) in zip(
            boxes.tolist(), areas.tolist(), keypoints.tolist(), strict=True
        )
        for x, y, w, h in [box]
    ]


def _uncounted(width: int, height: int, crowd: int) -> dict[str, Any]:
    """Describes somebody in a corner who has no key points, or a crowd there."""
    x, y, w, h = 0.0, height - 12.0, width / 4, 12.0
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {
        "category_id": PERSON,
        "bbox": [x, y, w, h],
        "area": w * h,
        "segmentation": {"size": [height, width], "counts": [height * width]} if crowd else outline,
        "iscrowd": crowd,
        "num_keypoints": 0,
        "keypoints": [0] * 3 * len(COCO17),
    }


def _list(content: dict[str, Any], split: str) -> dict[str, np.ndarray]:
    """Gives DaNet's list of the people who count."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    counted = [told for told in content["annotations"] if told["num_keypoints"]]
    box = np.array([told["bbox"] for told in counted])
    marked = np.array([told["keypoints"] for told in counted], float).reshape(-1, len(COCO17), 3)
    part = np.zeros((len(counted), len(SPIN24), 3))
    part[:, indices(COCO17, SPIN24)] = np.concatenate([marked[..., :2], marked[..., 2:] > 0], -1)
    return {
        "imgname": np.array([f"{split}/{names[told['image_id']]}" for told in counted]),
        "center": box[:, :2] + box[:, 2:] / 2,
        "scale": FACTOR * box[:, 2:].max(1) / PIXELS,
        "part": part,
    }
