"""What is predicted of a person in the names of SMPL's tools: the content of `person_<k>.json`.

`betas`, `global_orient`, `body_pose` and `transl` are what `smplx.SMPL` takes: numbers from here
given to a body of the same template land at the same vertices, in the camera's frame. The file
says the same as `person_<k>.npz`, without distributions and samples.

Source of the names: Pavlakos et al., "Expressive Body Capture", 2019, and its package smplx.
"""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plausibody.models.calibration import LEVELS
from plausibody.models.intervals import QUANTITIES, UNITS
from plausibody.models.skeleton import COCO17
from plausibody.predict.bulk.table import intervals_of
from plausibody.predict.fit import Fit
from plausibody.predict.measurements import PersonMeasurements
from plausibody.predict.parameters import Arrays
from plausibody.predict.result import PersonPrediction

SCHEMA = 1
"""Version of `person_<k>.json`."""
FRAME = "camera: x right, y down, z away from it; metres and radians"

Document = dict[str, Any]


def person_document(person: PersonPrediction, arrays: Arrays) -> Document:
    """Gives the content of `person_<k>.json`: plain numbers, lists and words.

    Numbers are the shortest that stand for the same ones in single precision. What is not known
    is null.

    Args:
        arrays: Of the same person, by `parameters.person_arrays`.
    """
    rotvecs, told = arrays["rotvecs"], person.told
    return {
        "schema_version": SCHEMA,
        "image": str(arrays["image"]),
        "image_size": arrays["image_size"].tolist(),
        "person": person.index,
        "frame": FRAME,
        "gender": str(arrays["gender"]),
        "topology": str(arrays["topology"]),
        "betas": _plain(arrays["betas"]),
        "global_orient": _plain(rotvecs[0]),
        "body_pose": _plain(rotvecs[1:].reshape(-1)),
        "transl": _plain(arrays["translation"]),
        "camera": {
            "pinhole": {
                "focal": _plain(arrays["focal"]),
                "principal": _plain(arrays["principal"]),
            },
            "weak_perspective": {
                "scale_and_shift": _plain(arrays["cam_weak"]),
                "box": _plain(arrays["box"]),
            },
        },
        "box": _plain(person.evidence.box.numpy()),
        "score": person.evidence.score,
        "keypoints": {
            "names": list(COCO17),
            "seen": _plain(arrays["keypoints_seen"]),
            "body": _plain(arrays["keypoints"]),
        },
        "measurements": _measurements(person.measurements),
        "told": {
            "height": told.height,
            "gender": told.gender,
            "same_person": told.same_person,
        },
        "fit": _fit(person.fit)
        | {"pinhole_reprojection_percent": _finite(person.pinhole_reprojection)},
        "refinement": refinement_record(person),
        "flags": sorted(person.evidence.flags),
        "warnings": list(person.warnings),
        "weights": {"name": str(arrays["weights"]), "sha256": str(arrays["weights_sha256"])},
        "versions": {"plausibody": version("plausibody"), "torch": torch.__version__},
    }


def encode_document(document: Document) -> str:
    """Gives the text of the file, one field a line."""
    lines = (f" {json.dumps(name)}: {_encoded(value)}" for name, value in document.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _encoded(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _measurements(found: PersonMeasurements) -> Document:
    values: Document = {}
    for n, (name, unit) in enumerate(zip(QUANTITIES, UNITS, strict=True)):
        values[name] = {
            "unit": unit,
            "mean": _plain(found.mean.numpy())[n],
            "std": None if found.std is None else _plain(found.std.numpy())[n],
            "intervals": {},
        }
        if found.low is not None and found.high is not None:
            ends = torch.stack([found.low[:, n], found.high[:, n]], 1).numpy()
            values[name]["intervals"] = {
                f"{100 * level:.0f}": _plain(pair) for level, pair in zip(LEVELS, ends, strict=True)
            }
    return {"intervals": intervals_of(found), "told": found.condition, "values": values}


def _fit(fit: Fit) -> Document:
    return {
        "silhouette_iou": fit.silhouette_iou,
        "reprojection_percent": _finite(fit.reprojection),
        "confident_keypoints": fit.confident,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def refinement_record(person: PersonPrediction) -> Document | None:
    """Tells what moving the body towards what was seen came to; None if it was not asked for."""
    found = person.refinement
    if found is None:
        return None
    return {
        "kept": found.kept,
        "reason": found.reason,
        "before": _fit(found.before),
        "after": _fit(found.after),
    }


def _plain(array: NDArray[np.generic]) -> Any:
    """Makes nested lists of an array; of single-precision numbers, their shortest form.

    JSON knows no infinity and nothing that is not a number: they become null.
    """
    if array.dtype != np.float32:
        return array.tolist()
    flat = [float(str(number)) for number in array.reshape(-1)]
    known = np.array([number if math.isfinite(number) else None for number in flat], object)
    return known.reshape(array.shape).tolist()
