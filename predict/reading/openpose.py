"""Reads the JSON that OpenPose writes, and gives its people as COCO-17 key points.

OpenPose counts pixels from the outer corner, as this package does: it adds half a pixel to the
peaks of its maps (`nmsOffset` in its source).

Source: https://github.com/CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.skeleton import COCO17
from plausibody.predict.reading.json_file import numbers, shown

_ARMS = "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
BODY25 = (
    _ARMS + "mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye "
    "left_eye right_ear left_ear left_big_toe left_small_toe left_heel right_big_toe "
    "right_small_toe right_heel"
).split()
"""OpenPose's own set, its default."""
COCO18 = (
    _ARMS + "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye "
    "right_ear left_ear"
).split()
"""COCO's and a neck, in OpenPose's order."""
SETS = {len(names): names for names in (BODY25, COCO18)}


def is_openpose(content: Any) -> bool:
    """Whether the content of a JSON file looks like OpenPose's."""
    return isinstance(content, dict) and "people" in content


def read_people(content: dict[str, Any], name: str) -> list[Float[Tensor, "17 3"]]:
    """Gives the COCO-17 key points of each person: x, y [px] and confidence 0..1.

    What OpenPose did not see has confidence 0.

    Args:
        content: Of the file.
        name: Of the file, for messages.

    Raises:
        ValueError: If it is not what OpenPose writes.
    """
    people = content.get("people")
    if not isinstance(people, list):
        raise ValueError(
            f"{name}: wanted people as a list, as OpenPose writes it, came {shown(people)}; "
            "do: run OpenPose with --write_json"
        )
    return [_person(person, f"{name}, person {n}") for n, person in enumerate(people)]


def _person(person: Any, name: str) -> Float[Tensor, "17 3"]:
    wanted = "pose_keypoints_2d, x, y and confidence of 25 (BODY_25) or 18 (COCO) key points"
    given = None
    if isinstance(person, dict):
        given = person.get("pose_keypoints_2d", person.get("pose_keypoints"))  # new, old
    if given is None:
        raise ValueError(
            f"{name}: wanted {wanted}, came {shown(person)}; do: run OpenPose with --write_json "
            "and --model_pose BODY_25 or COCO"
        )
    values = numbers(given, None, name, wanted)
    names = SETS.get(len(values) // 3) if len(values) % 3 == 0 else None
    if names is None:
        raise ValueError(
            f"{name}: wanted {wanted}, came {len(values)} numbers; "
            "do: run OpenPose with --model_pose BODY_25 or COCO"
        )
    points = values.view(-1, 3)[[names.index(joint) for joint in COCO17]]
    check_confidence(points, name)
    return torch.where(points[:, 2:] > 0, points, torch.zeros(3))


def check_confidence(points: Float[Tensor, "*K 3"], name: str) -> None:
    """Refuses confidences that are none.

    Raises:
        ValueError: If one is below 0 or far above 1. A little above 1, as OpenPose sometimes
            gives, is let pass.
    """
    confidence = points[..., 2]
    if confidence.numel() and not (0 <= float(confidence.min()) <= float(confidence.max()) <= 1.5):
        raise ValueError(
            f"{name}: wanted confidences from 0 to 1, came {float(confidence.min()):g} to "
            f"{float(confidence.max()):g}; do: give x, y and confidence of each key point"
        )
