"""Everything that is predicted of a person as named arrays: the content of `person_<k>.npz`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import LEVELS
from plausibody.models.camera import PerspectiveCamera, rotmat_to_camera, world_to_camera
from plausibody.models.intervals import QUANTITIES, UNITS
from plausibody.models.prediction import BodyParameters, FisherPrediction
from plausibody.models.rotations import rotmat_to_rotvec
from plausibody.predict.gendered import GenderedBody
from plausibody.predict.measurements import PersonMeasurements
from plausibody.predict.placement import nearest_translation
from plausibody.predict.result import PersonPrediction, Samples

SCHEMA = 3
"""Version of what `person_<k>.npz` holds; 1 had neither distributions nor measurements, 2 nothing
of refinements and of the pinhole camera's misfit."""

Arrays: TypeAlias = dict[str, NDArray[np.generic]]
Values: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Where a body comes from."""

    template: BodyTemplate
    weights: str
    """Name of the weights."""
    weights_sha256: str
    path: str
    """Of the picture."""
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    gendered: GenderedBody | None = None
    """What parameters are written for if a person's gender was told; None: the template."""


def person_arrays(
    person: PersonPrediction, origin: Origin, vertices: bool = False, samples: bool = False
) -> Arrays:
    """Gives the content of `person_<k>.npz`, all of it in the camera's frame: x right, y down.

    A body of the `gender`'s template with `betas` and `rotmats`, moved by `translation`, is where
    the pinhole camera (`focal`, `principal`) sees it. The same body, not moved, is seen at
    s (x + tx), s (y + ty) by the weak-perspective camera `cam_weak` = (s, tx, ty), in half-squares
    of `box` = (centre x, centre y, side). Samples are given in the same way, the one that agrees
    best with key points and mask first.

    SMPL turns a body about its pelvis, not about the template's origin. So turning the root's
    rotation into the camera's frame also moves the body, and both cameras undo that here, as well
    as what the body of a gender stands apart from the neutral one. The body is not turned by the
    ray on which it is seen: one orientation serves both cameras, the mesh and the samples.

    Args:
        vertices: Whether to add the mesh: large, and the parameters say the same.
        samples: Whether to add the samples, if there are any.
    """
    gendered = origin.gendered if person.told.gender else None
    writer = _Writer(person, origin.template, gendered)
    values: Values = {
        "schema_version": SCHEMA,
        **writer.bodies(person.prediction.mode(), person.perspective.translation),
        "box": torch.cat([person.box.centre, person.box.side[None]]),
        "focal": person.perspective.focal,
        "principal": person.perspective.principal,
        "joints": _in_camera(person.body.joints, person.perspective),
        "keypoints": person.keypoints,
        "keypoints_seen": person.evidence.keypoints,
        "silhouette_iou": person.fit.silhouette_iou,
        "reprojection_percent": person.fit.reprojection,
        "pinhole_reprojection_percent": person.pinhole_reprojection,
        "topology": origin.template.topology,
        "gender": writer.body.gender,
        "gender_told": person.told.gender or "",
        "height_told": math.nan if person.told.height is None else person.told.height,
        "image": origin.path,
        "image_size": [origin.size[1], origin.size[0]],
        "weights": origin.weights,
        "weights_sha256": origin.weights_sha256,
        **_measurements(person.measurements),
        **_refinement(person),
    }
    if isinstance(person.prediction, FisherPrediction):
        values |= writer.distribution(person.prediction)
    if person.samples is not None:
        if person.samples.uncertainty is not None:
            values["vertex_uncertainty"] = person.samples.uncertainty.distance
        if samples:
            values |= writer.samples(person.samples)
    if vertices:
        values["vertices"] = _in_camera(person.body.vertices, person.perspective)
    return {
        name: value.numpy() if isinstance(value, Tensor) else np.asarray(value)
        for name, value in values.items()
    }


@dataclass(frozen=True)
class _Writer:
    """Writes bodies of one person for the template that the reader will take."""

    person: PersonPrediction
    template: BodyTemplate
    gendered: GenderedBody | None

    @property
    def body(self) -> BodyTemplate:
        """The reader's."""
        return self.template if self.gendered is None else self.gendered.template

    def bodies(self, parameters: BodyParameters, translation: Float[Tensor, "*batch 3"]) -> Values:
        """Args:
        translation: Of the bodies in the world, before they are turned into the camera's frame.
        """
        rotations = parameters.rotations
        rotations = torch.cat(
            [rotmat_to_camera(rotations[..., :1, :, :]), rotations[..., 1:, :, :]], -3
        )
        shape = betas = parameters.shape
        moved = world_to_camera(_pelvis(self.template, shape))
        if self.gendered is not None:
            betas = self.gendered(shape)
            # Where both bodies are alike, their pelvises lie apart by this, before they turn.
            apart = _pelvis(self.body, betas) - _pelvis(self.template, shape)
            apart = (apart - self.gendered.offset(shape))[..., None]
            moved = moved + (rotations[..., 0, :, :] @ apart)[..., 0]
        moved = moved - _pelvis(self.body, betas)
        camera = self.person.prediction.camera
        scale = camera.scale.expand(betas.shape[:-1])
        return {
            "betas": betas,
            "rotmats": rotations,
            "rotvecs": rotmat_to_rotvec(rotations),
            "cam_weak": torch.cat([scale[..., None], camera.shift + moved[..., :2]], -1),
            "translation": translation + moved,
        }

    def samples(self, samples: Samples) -> Values:
        perspective = self.person.perspective
        translation = nearest_translation(
            self.person.camera,
            samples.points,
            perspective.focal,
            perspective.principal,
            self.person.evidence.keypoints[:, 2],
        )
        values = self.bodies(samples.parameters, translation)
        values["score"] = samples.score
        return {f"sample_{name}": value for name, value in values.items()}

    def distribution(self, prediction: FisherPrediction) -> Values:
        """Gives the joints' F, relative to the parents and so the same in all frames."""
        shape = prediction.shape
        mean, covariance = shape.mean, shape.covariance
        if self.gendered is not None:
            mean, covariance = self.gendered(mean), self.gendered.covariance(covariance)
        return {
            "shape_mean": mean,
            "shape_covariance": covariance,
            "pose_parameter": prediction.joints.parameter,
        }


def _measurements(found: PersonMeasurements) -> Values:
    values: Values = {
        "measurement_names": list(QUANTITIES),
        "measurement_units": list(UNITS),
        "measurement_mean": found.mean,
    }
    if found.std is not None and found.low is not None and found.high is not None:
        values |= {
            "measurement_std": found.std,
            "measurement_levels": list(LEVELS),
            "measurement_low": found.low,
            "measurement_high": found.high,
            "measurement_calibrated": found.calibrated,
            "measurement_condition": found.condition,
        }
    return values


def _refinement(person: PersonPrediction) -> Values:
    """Tells whether the body was moved towards what was seen, and how well it fitted before."""
    found = person.refinement
    before = person.fit if found is None else found.before
    return {
        "refined": found is not None and found.kept,
        "silhouette_iou_before": before.silhouette_iou,
        "reprojection_percent_before": before.reprojection,
    }


def _pelvis(template: BodyTemplate, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch 3"]:
    """Gives the pelvis at rest [m]."""
    directions = template.skin.joint_directions[0, :, : shape.shape[-1]]
    return template.skin.joints[0] + shape @ directions.T


def _in_camera(points: Float[Tensor, "N 3"], camera: PerspectiveCamera) -> Float[Tensor, "N 3"]:
    return world_to_camera(points) + camera.translation
