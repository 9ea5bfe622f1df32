"""COCO's key points: how well predicted bodies, seen in the picture, lie on marked joints.

Each annotated person is predicted in the published crop round the annotated box; their 17 key
points go back to the picture and are scored by object key-point similarity (OKS), averaged to
precision and recall by `pycocotools`, COCO's own evaluator. As every person is told, and told once,
nothing but the key points is measured.

Sources: https://cocodataset.org/#keypoints-eval; Zhang et al., "Learning 3D Human Shape and Pose
from Dense Body Parts", 2020, as released (`eval_coco.py`), whose protocol this is.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.coco_labels import HALF, CocoLabels, read_coco
from plausibody.evaluate.datasets.labels import file_below, require_files, some
from plausibody.evaluate.datasets.people import About, LabelledPeople
from plausibody.evaluate.datasets.spin import read_spin
from plausibody.evaluate.datasets.spin_joints import EXTRAS
from plausibody.models.proxy import Box
from plausibody.models.skeleton import COCO17, SMPL24, indices
from plausibody.predict.coco import PERSON

SPLITS = ("val2014", "val2017")
"""Whose annotations are looked for, in this order."""
PUBLISHED = "coco_2014_val.npz"
"""People and boxes in SPIN's layout, which DaNet evaluates."""
FACTOR = 1.2
"""Side of the crop over the longer side of the annotated box."""
NUMBER = re.compile(r"(\d{12})\.\w+$")
"""Of a picture, at the end of its file's name."""
KINEMATIC = [name for name in COCO17 if name in SMPL24]
"""Key points that DaNet takes from SMPL's own joints: shoulders, elbows, wrists, knees, ankles and
hips, of which it takes the hips from SPIN's regressor."""

STATISTICS = (
    *("ap", "ap50", "ap75", "ap_medium", "ap_large"),
    *("ar", "ar50", "ar75", "ar_medium", "ar_large"),
)
"""What `pycocotools` sums up for key points, in its order: average precision over the thresholds
0.50, 0.55 ... 0.95 of OKS, at 0.50, at 0.75, for people of medium and of large area; the same of
average recall. All 0..1."""

ABOUT = About(
    name="coco",
    source="COCO, https://cocodataset.org: pictures and annotations of val2014 or val2017",
    layout="annotations/person_keypoints_val2014.json (or val2017) and val2014/ (or "
    "images/val2014/); with coco_2014_val.npz, here or in dataset_extras/, its people and boxes",
    protocol=(
        "Annotated boxes; crops of 1.2 times their longer side. No detector, no suppression of "
        "doubles; every score is 1.",
        "17 key points of the predicted mesh, back in the picture; AP and AR of OKS by pycocotools "
        "over all pictures of the annotations.",
        "Everybody with a marked key point is predicted; crowds are not.",
    ),
    headline=("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar"),
    factor=FACTOR,
)


@dataclass(frozen=True)
class CocoKeypoints:
    """COCO's people, opened."""

    about: About
    labels: CocoLabels
    """With everybody, also those who are not predicted."""
    files: tuple[Path, ...]
    """Of the picture, for each person who is predicted."""
    images: tuple[int, ...]
    """Its number."""
    box: Box
    true_keypoints: Float[Tensor, "people 17 3"]
    """COCO-17 [px] and whether they are marked."""

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen = list(numbers)
        return LabelledPeople(
            names=tuple(f"{self.files[n].name}, person {n}" for n in chosen),
            pictures=tuple(self.files[n] for n in chosen),
            genders=("neutral",) * len(chosen),
            box=Box(centre=self.box.centre[chosen], side=self.box.side[chosen]),
            true_keypoints=self.true_keypoints[chosen],
        )

    def results(
        self,
        keypoints: Float[Tensor, "people 17 2"],
        scores: Float[Tensor, " people"] | None = None,
    ) -> list[dict[str, Any]]:
        """Gives predictions as COCO's results format has them, to be written as JSON.

        Args:
            keypoints: Predicted COCO-17 of all people, in order [px of the picture].
            scores: How sure each prediction is; 1 for all if None, as published.

        Raises:
            ValueError: If there are more or fewer than people, or numbers are not finite.
        """
        self._check(keypoints, "key points")
        if scores is None:
            scores = torch.ones(len(self))
        self._check(scores, "scores")
        flat = torch.cat([keypoints - HALF, torch.ones_like(keypoints[..., :1])], -1).double()
        rounded = (flat * 1000).round() / 1000
        return [
            {"image_id": image, "category_id": PERSON, "keypoints": points, "score": score}
            for image, points, score in zip(
                self.images, rounded.flatten(1).tolist(), scores.tolist(), strict=True
            )
        ]

    def whole_set(
        self,
        keypoints: Float[Tensor, "people 17 2"],
        scores: Float[Tensor, " people"] | None = None,
    ) -> dict[str, float]:
        """Gives average precision and recall by name (`STATISTICS`).

        Those of which nobody is, such as of medium people where all are large, are left out.
        Arguments and errors as of `results`.

        Raises:
            ImportError: If pycocotools is missing.
        """
        return average_precision(self.labels, self.results(keypoints, scores))

    def _check(self, values: Tensor, what: str) -> None:
        if len(values) != len(self):
            raise ValueError(f"coco: wanted {what} of {len(self)} people, got {len(values)}")
        if not bool(values.isfinite().all()):
            odd = (~values.isfinite().reshape(len(values), -1).all(1)).nonzero()[:, 0].tolist()
            raise ValueError(f"coco: wanted finite {what}, got others of {some(odd, 'person')}")


def open_coco(folder: Path) -> CocoKeypoints:
    """Opens COCO's key points.

    Args:
        folder: With `annotations` and the pictures; or the annotation file itself, in either.

    Raises:
        FileNotFoundError: If annotations or pictures are missing.
        ValueError: If the annotations are not as published.
        ImportError: If pycocotools is missing.
    """
    _evaluator()  # before anything long
    path, home = _find(folder)
    labels = read_coco(path)
    published = [home / PUBLISHED, home / EXTRAS / PUBLISHED]
    listed = next((file for file in published if file.is_file()), None)
    if listed is not None and labels.split == "val2014":
        opened = _listed(labels, listed, home)
    else:
        opened = _annotated(labels, home)
    require_files(
        dict.fromkeys(opened.files),
        f"the pictures of {path.name}, below {home}",
        f"unpack {labels.split}.zip there",
    )
    return opened


def danet_keypoints(
    coco: Float[Tensor, "people 17 D"], joints: Float[Tensor, "people 24 D"]
) -> Float[Tensor, "people 17 D"]:
    """Gives key points as DaNet takes them: SMPL's own joints where it has them.

    Its 24 joints put in COCO's order, [19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0]:
    shoulders, elbows, wrists, knees and ankles are kinematic joints, the face is vertices, and the
    hips are where annotators click. Face and hips come from COCO's regressor here.

    Args:
        coco: By the template's regressor.
        joints: Kinematic, in the same frame.
    """
    limbs = [name for name in KINEMATIC if not name.endswith("hip")]
    taken = coco.clone()
    taken[:, indices(limbs, COCO17)] = joints[:, indices(limbs, SMPL24)]
    return taken


def average_precision(labels: CocoLabels, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Scores results in COCO's format against annotations.

    Args:
        results: With `image_id`, `category_id`, `keypoints` and `score` each.

    Returns:
        `STATISTICS` of which there are people.

    Raises:
        ImportError: If pycocotools is missing.
        ValueError: If there are no results, or of pictures that the annotations do not know.
    """
    unknown = [one["image_id"] for one in results if one["image_id"] not in labels.pictures]
    if unknown or not results:
        raise ValueError(
            f"coco: wanted results of pictures in {labels.path.name}, got "
            f"{some(unknown, 'image_id') or 'none at all'}"
        )
    coco, evaluator = _evaluator()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells every step
        truth = coco()
        truth.dataset = labels.ground_truth()
        truth.createIndex()
        found = truth.loadRes([dict(one) for one in results])
        evaluation = evaluator(truth, found, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = dict(zip(STATISTICS, evaluation.stats.tolist(), strict=True))
    return {name: value for name, value in values.items() if value >= 0}


def _evaluator() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError(
            "coco: wanted pycocotools, COCO's own evaluator, which is not installed; do: "
            "pip install 'plausibody[coco]'"
        ) from error
    return COCO, COCOeval


def _find(folder: Path) -> tuple[Path, Path]:
    """Finds the annotations, and the folder of the data set."""
    if folder.is_file():
        home = folder.parent
        return folder, home.parent if home.name == "annotations" else home
    for split in SPLITS:
        path = folder / "annotations" / f"person_keypoints_{split}.json"
        if path.is_file():
            return path, folder
    raise FileNotFoundError(
        f"{folder}: wanted annotations/person_keypoints_val2014.json (or val2017), found neither; "
        "do: unpack annotations_trainval2014.zip there, or name the file itself"
    )


def _annotated(labels: CocoLabels, home: Path) -> CocoKeypoints:
    """Takes people and boxes from the annotations."""
    people = [one for one in labels.people if one.marked and one.area > 0 and not one.crowd]
    if not people:
        raise ValueError(f"{labels.path}: wanted people with marked key points, found none")
    boxes = torch.stack([one.box for one in people])
    keypoints = torch.stack([one.keypoints for one in people])
    marked = (keypoints[..., 2:] > 0).float()
    folder = _picture_folder(labels, home)
    return CocoKeypoints(
        about=ABOUT,
        labels=labels,
        files=tuple(
            file_below(folder, labels.pictures[one.image], f"{labels.path}, images")
            for one in people
        ),
        images=tuple(one.image for one in people),
        box=Box(centre=boxes[:, :2] + boxes[:, 2:] / 2, side=FACTOR * boxes[:, 2:].amax(1)),
        true_keypoints=torch.cat([keypoints[..., :2] + HALF, marked], -1) * marked,
    )


def _listed(labels: CocoLabels, path: Path, home: Path) -> CocoKeypoints:
    """Takes people and boxes from a file in SPIN's layout, as published."""
    file = read_spin(path, ("part",))
    found = [NUMBER.search(name) for name in file.names]
    images = [int(match[1]) if match else -1 for match in found]
    unknown = [
        name for name, image in zip(file.names, images, strict=True) if image not in labels.pictures
    ]
    if unknown:
        raise ValueError(
            f"{path}: wanted pictures of {labels.path.name}, named like "
            f"COCO_val2014_000000000042.jpg, got {some(unknown, '')}; do: take files that belong "
            "together"
        )
    folder = _picture_folder(labels, home)
    return CocoKeypoints(
        about=ABOUT,
        labels=labels,
        files=tuple(folder / PurePosixPath(name).name for name in file.names),
        images=tuple(images),
        box=file.box,
        true_keypoints=file.coco17(range(len(file))),
    )


def _picture_folder(labels: CocoLabels, home: Path) -> Path:
    """Chooses where the pictures are: the first of the usual places that exists."""
    places = (home / labels.split, home / "images" / labels.split, home / "images", home)
    return next(place for place in places if place.is_dir())
