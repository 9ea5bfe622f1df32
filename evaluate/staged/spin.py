"""Writes what looks like data sets in SPIN's layout, of open bodies: everything is known.

Human3.6M's two protocols and the test sets of MPI-INF-3DHP and LSP as SPIN's preprocessing leaves
them, with their pictures; and a file for training, with all arrays that such files may have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.h36m import FACTOR as H36M_FACTOR
from plausibody.evaluate.datasets.h36m import FRONTAL
from plausibody.evaluate.datasets.lsp import LABELS as LSP
from plausibody.evaluate.datasets.mpi_inf import LABELS
from plausibody.evaluate.datasets.part_maps import UNSURE, face_parts
from plausibody.evaluate.datasets.people import labels_from_body
from plausibody.evaluate.datasets.spin import HALF, PIXELS, SPIN24
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
from plausibody.models.camera import world_to_camera
from plausibody.models.files import encode_arrays, write_file
from plausibody.models.rotations import rotmat_to_rotvec
from plausibody.models.skeleton import COCO17, H36M17, LSP14, indices
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.reading.mask_files import encode_mask, encode_numbers
from plausibody.predict.reading.openpose import BODY25
from plausibody.synth.looks import Looks
from plausibody.synth.raster import rasterize_labels

CHUNK = 8
"""People who are painted at a time."""
ACTIONS = ("Directions", "Discussion", "Eating", "SittingDown_1", "WalkDog_2", "WalkTogether")
"""Some of Human3.6M's, as they are written in names; the number is of the take."""
CAMERAS = ("54138969", "55011271", "58860488", FRONTAL)
LOOSE = 1.25
"""Human3.6M's boxes over tight ones."""
USUAL = 1.2
"""Side of crops over the longer side of what is marked, in SPIN's preprocessing."""


def stage_h36m(
    folder: Path,
    people: int,
    protocol: int = 1,
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
) -> StagedPeople:
    """Writes `h36m_valid_protocol<n>.npz` and images/: imgname, center, scale and S.

    Args:
        folder: Made if it is not there; what is in it under these names is replaced.
        people: How many; actions, subjects and cameras take turns.
        protocol: 1, or 2 for the frontal camera alone.
        settings: How people are drawn and seen.
        looks: As of `paint_people`.

    Returns:
        Who was written, in the order of the file: people of the neutral body.
    """
    cameras = CAMERAS if protocol == 1 else (FRONTAL,)

    def name(number: int) -> str:
        action = ACTIONS[number % len(ACTIONS)]
        camera = cameras[number // len(ACTIONS) % len(cameras)]
        return f"images/S{(9, 11)[number % 2]}_{action}.{camera}_{5 * number + 1:06d}.jpg"

    names = [name(number) for number in range(people)]
    staged, bodies = _write_pictures(folder, names, settings or SceneSettings(), looks)
    low, high = tight_boxes(staged.masks)
    content = {
        "imgname": np.array(names),
        **_crops(low, high, H36M_FACTOR * LOOSE),
        "S": _joints(staged, bodies),
    }
    write_file(folder / f"h36m_valid_protocol{protocol}.npz", encode_arrays(content))
    return staged


def stage_mpi_inf_3dhp(
    folder: Path,
    people: int,
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
) -> StagedPeople:
    """Writes `mpi_inf_3dhp_valid.npz` and mpi_inf_3dhp_test_set/: imgname, center, scale, part, S.

    Arguments and result as of `stage_h36m`; the people belong to TS1 to TS6 in turn.
    """

    def name(number: int) -> str:
        sequence = f"TS{number % 6 + 1}"
        return f"mpi_inf_3dhp_test_set/{sequence}/imageSequence/img_{number + 1:06d}.jpg"

    names = [name(number) for number in range(people)]
    staged, bodies = _write_pictures(folder, names, settings or SceneSettings(), looks)
    flat = staged.camera.project(bodies.joints(staged.vertices))[..., :2]
    content = {
        "imgname": np.array(names),
        **_crops(flat.amin(1), flat.amax(1), USUAL),
        "part": _marked(flat, H36M17),
        "S": _joints(staged, bodies),
    }
    write_file(folder / LABELS[0], encode_arrays(content))
    return staged


def stage_spin_training(
    folder: Path,
    people: int,
    name: str = "coco_2014_train.npz",
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
    fitted: Callable[[int], bool] = lambda number: True,
) -> StagedPeople:
    """Writes a file for training with all arrays there may be, and train2014/.

    Key points are COCO's; OpenPose's are the same, but for the left wrist, which it missed.

    Args:
        name: Of the file.
        fitted: Tells by number who has a body; pose and shape of the others are 0.

    Returns:
        Who was written: men and women by turns, of the gendered bodies.
    """
    names = [f"train2014/COCO_train2014_{7 * number + 9:012d}.jpg" for number in range(people)]
    staged, bodies = _write_pictures(folder, names, settings or SceneSettings(), looks, GENDERS)
    has_body = np.array([fitted(number) for number in range(people)])
    rotvecs = rotmat_to_rotvec(labels_from_body(staged.body)).flatten(1).double().numpy()
    content = {
        "imgname": np.array(names),
        **_crops(*tight_boxes(staged.masks), USUAL),
        "part": _marked(staged.keypoints, COCO17),
        "openpose": _found(staged.keypoints),
        "pose": rotvecs * has_body[:, None],
        "shape": staged.body.shape.double().numpy() * has_body[:, None],
        "has_smpl": has_body.astype(np.float64),
        "S": _joints(staged, bodies),
        "gender": np.array([gender[0] for gender in staged.genders]),
    }
    write_file(folder / name, encode_arrays(content))
    return staged


def stage_lsp(
    folder: Path,
    people: int,
    settings: SceneSettings | None = None,
    looks: Looks | None = None,
) -> StagedPeople:
    """Writes `lsp_dataset_test.npz`, images/ and data/lsp/: imgname, maskname, partname, center,
    scale and part.

    Of the silhouette's lowest row of pixels, no part is told: annotators were unsure (255).

    Arguments and result as of `stage_h36m`.
    """
    names = [f"images/im{number + 1001:04d}.jpg" for number in range(people)]
    staged, bodies = _write_pictures(folder, names, settings or SceneSettings(), looks)
    size = (staged.masks.shape[1], staged.masks.shape[2])
    labels = face_parts(bodies.templates["neutral"])
    parts = rasterize_labels(staged.camera.project(staged.vertices), bodies.faces, labels, size)
    marks = {"maskname": "segmentation", "partname": "part_segmentation"}
    files = {
        key: [f"data/lsp/im{number + 1001:04d}_{kind}.png" for number in range(people)]
        for key, kind in marks.items()
    }
    (folder / "data" / "lsp").mkdir(parents=True, exist_ok=True)
    lowest = tight_boxes(staged.masks)[1][:, 1].int() - 1
    for number in range(people):
        write_file(folder / files["maskname"][number], encode_mask(staged.masks[number]))
        row = parts[number, lowest[number]]
        row[row > 0] = UNSURE
        write_file(folder / files["partname"][number], encode_numbers(parts[number]))
    flat = staged.camera.project(bodies.joints(staged.vertices))[..., :2]
    joints = flat[:, indices(LSP14, H36M17)]
    content = {
        "imgname": np.array(names),
        **{key: np.array(value) for key, value in files.items()},
        **_crops(joints.amin(1), joints.amax(1), USUAL),
        "part": _marked(joints, [*LSP14[:-1], "head_top_lsp"]),
    }
    write_file(folder / LSP, encode_arrays(content))
    return staged


def _write_pictures(
    folder: Path,
    names: Sequence[str],
    settings: SceneSettings,
    looks: Looks | None,
    genders: Sequence[str] = ("neutral",),
) -> tuple[StagedPeople, LabelBodies]:
    """Draws people, of genders that take turns, and writes a picture of each."""
    bodies = LabelBodies.load("open", genders)
    staged = []
    for numbers in in_batches(range(len(names)), CHUNK):
        these = torch.tensor(numbers)
        some = stage_people(these, bodies, settings, [genders[n % len(genders)] for n in numbers])
        pictures = paint_people(these, some, bodies, settings, looks)
        for number, picture in zip(numbers, pictures, strict=True):
            path = folder / names[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, encode_picture(picture, ".jpg"))
        staged.append(some)
    return join_people(staged), bodies


def _joints(people: StagedPeople, bodies: LabelBodies) -> Float[ndarray, "people 24 4"]:
    """Gives `S`: the 17 joints of the H36M regressor from the pelvis, in the camera's axes."""
    joints = world_to_camera(bodies.joints(people.vertices).double())
    joints = joints - joints[:, [H36M17.index("pelvis")]]
    return _as_spin24(torch.cat([joints, torch.ones_like(joints[..., :1])], -1), H36M17)


def _marked(points: Float[Tensor, "people K 2"], names: list[str]) -> Float[ndarray, "people 24 3"]:
    """Gives `part`: key points by the numbers of their pixels, each known."""
    numbered = points.double() - HALF
    return _as_spin24(torch.cat([numbered, torch.ones_like(numbered[..., :1])], -1), names)


def _as_spin24(
    rows: Float[Tensor, "people K C"], names: list[str]
) -> Float[ndarray, "people 24 C"]:
    placed = np.zeros((len(rows), len(SPIN24), rows.shape[-1]))
    placed[:, indices(names, SPIN24)] = rows.numpy()
    return placed


def _found(coco: Float[Tensor, "people 17 2"]) -> Float[ndarray, "people 25 3"]:
    """Gives `openpose`: the points that COCO has too, from the pictures' outer corners."""
    found = np.zeros((len(coco), len(BODY25), 3))
    sure = torch.full_like(coco[..., :1], 0.75)
    sure[:, COCO17.index("left_wrist")] = 0
    found[:, indices(COCO17, BODY25)] = torch.cat([coco * (sure > 0), sure], -1).double().numpy()
    return found


def _crops(
    low: Float[Tensor, "people 2"], high: Float[Tensor, "people 2"], factor: float
) -> dict[str, ndarray]:
    """Gives `center` and `scale` of squares round boxes, `factor` times their longer side."""
    centre, side = (low + high).double() / 2, factor * (high - low).double().amax(1)
    return {"center": centre.numpy(), "scale": (side / PIXELS).numpy()}
