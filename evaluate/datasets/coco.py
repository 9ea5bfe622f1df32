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
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.evaluate.datasets.coco_labels import HALF, CocoLabels, read_coco
from plausibody.evaluate.datasets.coco_people import (
    FACTOR,
    CocoCrops,
    find_annotations,
    find_people,
)
from plausibody.evaluate.datasets.coco_similarity import object_keypoint_similarity
from plausibody.evaluate.datasets.people import About, LabelledPeople
from plausibody.models.naming import first_named
from plausibody.models.proxy import Box
from plausibody.models.records import take
from plausibody.models.skeleton import COCO17, SMPL24, indices
from plausibody.predict.reading.coco import PERSON

KINEMATIC = [name for name in COCO17 if name in SMPL24]
"""Key points that DaNet takes from SMPL's own joints: shoulders, elbows, wrists, knees, ankles and
hips, of which it takes the hips from SPIN's regressor."""

STATISTICS = tuple(
    f"oks/{name}"
    for name in (
        *("ap", "ap50", "ap75", "ap_medium", "ap_large"),
        *("ar", "ar50", "ar75", "ar_medium", "ar_large"),
    )
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
    headline=(*STATISTICS[:6], "oks"),
    factor=FACTOR,
)


@dataclass(frozen=True)
class CocoKeypoints:
    """COCO's people, opened."""

    about: About
    labels: CocoLabels
    """With everybody, also those who are not predicted."""
    crops: CocoCrops
    """Who is predicted."""

    def __len__(self) -> int:
        return len(self.crops.people)

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        chosen, crops = list(numbers), self.crops
        return LabelledPeople(
            names=tuple(f"{crops.files[n].name}, person {n}" for n in chosen),
            pictures=tuple(crops.files[n] for n in chosen),
            genders=("neutral",) * len(chosen),
            box=Box(centre=crops.box.centre[chosen], side=crops.box.side[chosen]),
            true_keypoints=take(crops.people, torch.tensor(chosen)).marks.float(),
        )

    def of_each(
        self, keypoints: Float[Tensor, "some 17 2"], numbers: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Gives the OKS of people with their own annotation, as `oks`; see `WholeSet`."""
        chosen = range(len(keypoints)) if numbers is None else numbers
        people = take(self.crops.people, torch.tensor(list(chosen), dtype=torch.long))
        marks, found = people.marks, keypoints.double().cpu()
        visible = marks[..., 2] > 0
        return {"oks": object_keypoint_similarity(found, marks[..., :2], visible, people.area)}

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
                self.crops.people.image.tolist(),
                rounded.flatten(1).tolist(),
                scores.tolist(),
                strict=True,
            )
        ]

    def whole_set(
        self,
        keypoints: Float[Tensor, "people 17 2"],
        joints: Float[Tensor, "people 24 2"] | None = None,
        sure: Float[Tensor, " people"] | None = None,
    ) -> dict[str, float]:
        """Gives average precision and recall by name (`STATISTICS`), as published: all scores 1.

        Those of which nobody is, such as of medium people where all are large, are left out.

        Args:
            keypoints: As of `results`.
            joints: Kinematic joints of the same bodies [px]; with them, the same figures of
                `danet_keypoints` come too, as `oks/danet_ap` and so on.
            sure: How sure each prediction is. With it, the same figures come of scores that say so,
                as `oks/scored_ap` and so on: precision looks at the surest first, and with scores
                that are all the same at no one before others.

        Raises:
            ImportError: If pycocotools is missing.
            ValueError: As of `results`.
        """
        found = average_precision(self.labels, self.results(keypoints))
        variants = {}
        if joints is not None:
            variants["danet"] = self.results(danet_keypoints(keypoints, joints))
        if sure is not None:
            variants["scored"] = self.results(keypoints, sure)
        for variant, results in variants.items():
            for name, value in average_precision(self.labels, results).items():
                found[name.replace("/", f"/{variant}_")] = value
        return found

    def saved(self, keypoints: Float[Tensor, "people 17 2"]) -> dict[str, str]:
        """Gives the results as the file that COCO's servers and tools take, by its name.

        Arguments and errors as of `results`.
        """
        rows = ",\n".join(json.dumps(one) for one in self.results(keypoints))
        return {f"person_keypoints_{self.labels.split}_plausibody_results.json": f"[\n{rows}\n]\n"}

    def _check(self, values: Tensor, what: str) -> None:
        if len(values) != len(self):
            raise ValueError(f"coco: wanted {what} of {len(self)} people, got {len(values)}")
        if not bool(values.isfinite().all()):
            odd = (~values.isfinite().reshape(len(values), -1).all(1)).nonzero()[:, 0].tolist()
            raise ValueError(
                f"coco: wanted finite {what}, got others of {first_named(odd, 'person')}"
            )


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
    path, home = find_annotations(folder)
    labels = read_coco(path)
    return CocoKeypoints(ABOUT, labels, find_people(labels, home))


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
            f"{first_named(unknown, 'image_id') or 'none at all'}"
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
