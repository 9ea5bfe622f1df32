"""What a prediction is: for each picture its people, for each person a body and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import PosedBody
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.proxy import Box
from plausibody.models.uncertainty import VertexUncertainty
from plausibody.predict.fit import Fit
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.measurements import PersonMeasurements
from plausibody.predict.placement import PictureCamera
from plausibody.predict.told import Told

Status = Literal["ok", "no_person", "unreadable", "too_small", "failed"]


@dataclass(frozen=True)
class Samples:
    """Bodies drawn from the distribution of one person, those that fit what was seen best first."""

    parameters: BodyParameters
    """With a leading axis of samples."""
    joints: Float[Tensor, "N J 3"]
    """Seen by the camera of the most probable body; in the world [m]."""
    points: Float[Tensor, "N 17 3"]
    """Their COCO-17 key points, likewise."""
    score: Float[Tensor, " N"]
    """Disagreement with key points and mask, see `ranking.rank_samples`; ascending."""
    uncertainty: VertexUncertainty | None
    """Where they put the vertices, relative to the pelvis; None if there is only one."""


@dataclass(frozen=True)
class Refinement:
    """What moving a body towards what was seen came to, see `predict.refine`."""

    kept: bool
    """Whether the moved body was taken: only if neither its overlap with the mask nor its key
    points are worse than before."""
    before: Fit
    """Of the body as the network gave it."""
    after: Fit
    """Of the moved body, whether or not it was taken."""
    reason: str = ""
    """Why it was not; empty if it was."""


@dataclass(frozen=True)
class PersonPrediction:
    """The body of one person. Its tensors have no batch axis and are on the CPU."""

    index: int
    """Place among the picture's people, 0 is the main one; with boxes that were told, the box's."""
    evidence: Person
    """What the front end saw."""
    box: Box
    """The square that the regressor looked at."""
    prediction: BodyPrediction
    """Parameters, and the camera over the box."""
    camera: PictureCamera
    """The same camera over the whole picture; overlays use it."""
    perspective: PerspectiveCamera
    """The nearest pinhole camera, of an assumed focal length."""
    body: PosedBody
    """The most probable body, in the world: y up, facing +z if it faces the camera [m]."""
    keypoints: Float[Tensor, "17 2"]
    """COCO-17 of that body, in the picture [px]."""
    fit: Fit
    pinhole_reprojection: float
    """As `fit.reprojection`, of the pinhole camera."""
    measurements: PersonMeasurements
    """Of the most probable body, or of the distribution, with intervals."""
    warnings: tuple[str, ...]
    """Reasons to look twice; empty if there are none."""
    told: Told = Told()
    """What was known of this person beforehand."""
    samples: Samples | None = None
    """None if none were wanted."""
    refinement: Refinement | None = None
    """None if it was not asked for. If the moved body was taken, everything above is of it; its
    shape, and so what is measured, is as predicted."""


@dataclass(frozen=True)
class ImagePrediction:
    """What became of one picture."""

    path: str | None
    """None if the picture did not come from a file."""
    width: int
    """Of the upright picture [px]; 0 if it could not be read."""
    height: int
    status: Status
    """ok as soon as there is one body."""
    message: str = ""
    """Why there is no body, or why there are fewer than people."""
    people: tuple[PersonPrediction, ...] = ()
    """The main person first."""
