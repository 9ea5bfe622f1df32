"""What a data set says of people, in this package's frames: the one form that all readers give.

A reader opens a folder as its authors publish it and gives a `Dataset`. It reads pictures and masks
only when they are asked for, and turns labels into the world's frame once (`body_from_labels`).
Published bodies are posed in the camera's frame, y down; ours in the world, y up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.models.camera import PerspectiveCamera, rotmat_to_camera, world_to_camera
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.models.rotations import rotvec_to_rotmat


@dataclass(frozen=True)
class LabelledJoints:
    """Joints of people of whom no body is known."""

    names: tuple[str, ...]
    """Of `H36M17` or of `LSP14`, in the order of the joints; so the predicted ones are found."""
    places: Float[Tensor, "people J 3"]
    """From the root that the protocol aligns, in the world's axes (y up) [m]."""
    counted: Bool[Tensor, "people J"]
    """Which of them enter the errors."""


@dataclass(frozen=True)
class LabelledPeople:
    """Some people of a data set; the first axis of every tensor and every tuple runs over them."""

    names: tuple[str, ...]
    """What tells each of them from all others, such as the picture's file below the data."""
    pictures: tuple[Path | None, ...]
    """Files; None where the data set as the user has it comes without pictures."""
    genders: tuple[str, ...]
    """Of the labelled body: male, female or neutral."""
    box: Box
    """The square of the published crop, its factor included, in the picture's pixels."""
    body: BodyParameters | None = None
    """Of the body of this gender; the root's rotation is in the world (`body_from_labels`)."""
    joints: LabelledJoints | None = None
    """Only for people without a body."""
    keypoints: Float[Tensor, "people 17 3"] | None = None
    """COCO-17 as the published protocol shows them to a regressor: x, y in the picture's pixels and
    confidence, 0 for those that it leaves out. All others are shown, whatever the regressor's own
    thresholds say (`asking.FromLabels`)."""
    true_keypoints: Float[Tensor, "people 17 3"] | None = None
    """COCO-17 that 2D errors are measured against, and which of them count (above 0); None where
    these are `keypoints`, all counted."""
    masks: tuple[Path, ...] | None = None
    """Files with 0 outside the person and another value inside, of the pictures' size."""
    parts: tuple[Path, ...] | None = None
    """Files with the number of a body part in each pixel (`part_maps.PARTS`), of the same size;
    only with `masks`."""
    camera: PerspectiveCamera | None = None
    """What took the picture [px]. Its translation is the published one, added to a body that is
    posed in the camera's frame; `camera_over_world` gives the camera for our bodies."""
    sequences: tuple[str, ...] | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What else is known of each, for tables by subset: such as `truncated`: yes, no."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class About:
    """What everybody must know of a data set before comparing its figures."""

    name: str
    """As of `plausibody evaluate NAME`."""
    source: str
    """Where the data comes from, and what it asks for."""
    layout: str
    """The files that are wanted below the folder."""
    protocol: tuple[str, ...]
    """What the published evaluation does, a sentence each: crop, key points, joints, samples."""
    headline: tuple[str, ...]
    """The metrics that papers print for it, see `scoring.PROTOCOLS`."""
    factor: float = 1.2
    """Side of the published crop over that of the tight square round the person."""
    samples: int = 0
    """How many samples the published evaluation draws."""


@runtime_checkable
class Dataset(Protocol):
    """A data set, opened: labels are in memory, pictures and masks are not."""

    @property
    def about(self) -> About: ...

    def __len__(self) -> int:
        """How many people there are."""
        ...

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        """Gives the people of these numbers, from 0 on, in this order."""
        ...


@runtime_checkable
class WholeSet(Protocol):
    """A data set with figures that are no means over people, such as COCO's average precision."""

    def whole_set(
        self,
        keypoints: Float[Tensor, "people 17 2"],
        joints: Float[Tensor, "people 24 2"] | None = None,
        sure: Float[Tensor, " people"] | None = None,
    ) -> dict[str, float]:
        """Gives these figures by metric.

        Args:
            keypoints: Predicted COCO-17 of all people in the data set's order, in pixels of their
                pictures.
            joints: Kinematic joints of the same bodies [px].
            sure: How sure each prediction is, in any unit; None if nothing is said of that.
        """
        ...

    def of_each(
        self, keypoints: Float[Tensor, "some 17 2"], numbers: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Gives the numbers of each person that are the data set's own, by metric.

        Args:
            keypoints: Predicted COCO-17 [px of the picture].
            numbers: Of whom, from 0 on; of the first people if None.
        """
        ...

    def saved(self, keypoints: Float[Tensor, "people 17 2"]) -> dict[str, str]:
        """Gives what the data set's own tools read of the predictions: content by file name."""
        ...


def body_from_labels(
    rotvecs: Float[Tensor, "people J 3"], shape: Float[Tensor, "people S"]
) -> BodyParameters:
    """Turns a published body, posed in the camera's frame (y down), into the world's (y up).

    The half turn goes to the root's rotation alone, as published evaluations do it: a body turns
    about its pelvis, which stays where the shape puts it.

    Args:
        rotvecs: Axis-angle of each joint, the root's first [rad].
        shape: Coefficients of the body of the person's gender.
    """
    rotations = rotvec_to_rotmat(rotvecs)
    root = rotmat_to_camera(rotations[:, :1])
    return BodyParameters(shape=shape, rotations=torch.cat([root, rotations[:, 1:]], 1))


def labels_from_body(body: BodyParameters) -> Float[Tensor, "people J 3 3"]:
    """Gives the rotations of a published body: undoes `body_from_labels`."""
    root = rotmat_to_camera(body.rotations[:, :1])
    return torch.cat([root, body.rotations[:, 1:]], 1)


def camera_over_world(
    camera: PerspectiveCamera, pelvis: Float[Tensor, "people 3"]
) -> PerspectiveCamera:
    """Gives the camera that sees a body of ours where the published one stands.

    The published body turns about its pelvis in the camera's frame, ours about the same point in
    the world, and the half turn between the two moves that point.

    Args:
        camera: Of `LabelledPeople`.
        pelvis: The root joint of each person's shaped body at rest [m].
    """
    shift = pelvis - world_to_camera(pelvis)
    return PerspectiveCamera(camera.focal, camera.principal, camera.translation + shift)


def published_translation(
    camera: PerspectiveCamera, pelvis: Float[Tensor, "people 3"]
) -> Float[Tensor, "people 3"]:
    """Gives the translation of labels for a camera over the world: undoes `camera_over_world`."""
    return camera.translation - (pelvis - world_to_camera(pelvis))
