"""Everything that the results of a run depend on, besides the photos."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.front_ends.front_end import describe_front_end
from plausibody.predict.predictor import Predictor
from plausibody.predict.semantics import LabelMaps

SHAPE_SETTINGS = (
    "weights", "weights_sha256", "front_end", "topology", "gender", "person", "flip", "gender_told",
    "limb_confidence",
)  # fmt: skip
"""What the shape depends on that a picture says its main person has."""


def settings_of_run(predictor: Predictor, options: RunOptions) -> dict[str, Any]:
    """Gives the settings by name, for `summary.json`; a result made with others is made anew."""
    return {
        "weights": predictor.weights_name,
        "weights_sha256": predictor.weights_sha256,
        "front_end": describe_front_end(predictor.front_end),
        "topology": predictor.template.topology,
        "gender": predictor.template.gender,
        "person": predictor.person,
        "flip": predictor.flip,
        "diagonal_view_degrees": round(math.degrees(predictor.diagonal_view), 6),
        "samples": predictor.samples,
        "seed": predictor.seed,
        "height_told": predictor.told.height,
        "gender_told": predictor.told.gender,
        "same_person": predictor.told.same_person,
        "calibration": predictor.calibration_digest,
        "refine": predictor.refine,
        "limb_confidence": predictor.regressor.proxy.least_limb_confidence,
        "save": sorted(options.save),
        "mesh_format": options.mesh_format,
        "vertices": options.vertices,
        "labels": "" if options.labels is None else LabelMaps(options.labels).digest(),
    }


def digest_of(settings: dict[str, Any]) -> str:
    """Tells some settings from others."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
