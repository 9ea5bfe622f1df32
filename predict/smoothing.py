"""Smooths the bodies of one person over the frames of a video, each frame by its own certainty.

The person is followed from frame to frame by where he or she is. In each frame the distribution of
every joint becomes the product of those around it in time, each raised to a weight, and the weights
add up to 1: a mean of what the frames say in which sure ones count more, and which claims no more
certainty than they have. The same is done for the shape. Three things keep motion alive:

- frames before and after count in pairs, alike, so that a steady turn stays where it is;
- a frame counts the less the more the joint has turned since, and nothing beyond `LIMIT`;
- no joint is moved by more than `LIMIT`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.fisher import MatrixFisher
from plausibody.models.prediction import (
    BodyParameters,
    BodyPrediction,
    FisherPrediction,
    PointPrediction,
)
from plausibody.models.records import map_tensors, to_device
from plausibody.models.rotations import geodesic_angle
from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.case import Case
from plausibody.predict.looking import look_at
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.boxes import overlaps
from plausibody.predict.result import ImagePrediction, PersonPrediction

LIMIT = math.radians(30)
"""[rad]. A joint that has turned so far between two frames is moving, not trembling."""
SAME = 0.3
"""Common over joint area of the boxes of a person in two successive frames, at least."""


def smooth(
    predictions: Iterable[ImagePrediction], predictor: Predictor, radius: int
) -> Iterator[ImagePrediction]:
    """Smooths the person who is the main one in the first frame; others stay as they are.

    If that person is lost for longer than the radius, the main person of then is followed. Results
    come `radius` frames late, and so many are held in memory on each side.

    Args:
        predictions: Of successive frames.
        predictor: That made them.
        radius: How many frames before and after count; 0 for none.

    Raises:
        ValueError: If the radius is negative.
    """
    if radius < 0:
        raise ValueError(f"--smooth: wanted a number of frames, 0 or more, got {radius}")
    around: deque[_Seen] = deque(maxlen=2 * radius + 1)
    nothing = _Seen(ImagePrediction(None, 0, 0, "no_person"))
    around.extend([nothing] * (2 * radius + 1))
    track = _Track(patience=radius)
    count = 0
    for prediction in predictions:
        around.append(track.follow(prediction))
        count += 1
        if count > radius:
            yield _described(around, radius, predictor)
    for _ in range(min(radius, count)):
        around.append(nothing)
        yield _described(around, radius, predictor)


def smooth_window(window: Sequence[BodyPrediction | None]) -> BodyPrediction:
    """Gives the prediction in the middle of a window of successive ones, smoothed.

    Args:
        window: Of odd length, without batch axes; None where the person was not seen, but not in
            the middle. A frame counts if that on the other side of the middle is there too.
    """
    radius = len(window) // 2
    middle = window[radius]
    if middle is None or len(window) % 2 == 0:
        raise ValueError("window: wanted an odd number of predictions, and one in the middle")
    pairs = [
        (offset, before, after)
        for offset in range(1, radius + 1)
        if (before := window[radius - offset]) is not None
        and (after := window[radius + offset]) is not None
    ]
    if not pairs:
        return middle
    frames = [middle] + [frame for _, before, after in pairs for frame in (before, after)]
    offsets = torch.tensor([0] + [offset for offset, _, _ in pairs for _ in range(2)])
    weight = torch.exp(-0.5 * (offsets / (radius / 2)) ** 2)
    match middle:
        case FisherPrediction():
            fisher = [frame for frame in frames if isinstance(frame, FisherPrediction)]
            root = smooth_rotations(torch.stack([frame.root for frame in fisher]), weight)
            joints = torch.stack([frame.joints.parameter for frame in fisher])
            return replace(
                middle,
                root=MatrixFisher(root).mode(),
                joints=MatrixFisher(smooth_rotations(joints, weight)),
                shape=_smooth_shape([frame.shape for frame in fisher], weight),
            )
        case PointPrediction():
            points = [frame.parameters for frame in frames if isinstance(frame, PointPrediction)]
            turned = smooth_rotations(torch.stack([point.rotations for point in points]), weight)
            shapes = torch.stack([point.shape for point in points])
            mean = (weight[:, None] * shapes).sum(0) / weight.sum()
            parameters = BodyParameters(shape=mean, rotations=MatrixFisher(turned).mode())
            return replace(middle, parameters=parameters)
    return middle


def smooth_rotations(
    parameter: Float[Tensor, "T *joints 3 3"], weight: Float[Tensor, " T"]
) -> Float[Tensor, "*joints 3 3"]:
    """Averages matrix-Fisher distributions of joints over frames.

    Args:
        parameter: F of each frame, or rotations, which then count alike. The first frame is the
            one to smooth; the others follow in pairs, one before and one after it.
        weight: Of each frame, as far as the joint has not moved.

    Returns:
        F of the first frame, smoothed: the weighted mean, so that a sequence that does not change
        stays as it is. Its mode is less than `LIMIT` from what it was.
    """
    modes = MatrixFisher(parameter).mode()
    turned = geodesic_angle(modes, modes[:1].expand_as(modes))
    still = (1 - (turned / LIMIT) ** 2).clamp(min=0) ** 2
    # Alike before and after: else the slower side of a turn would hold the joint back.
    pairs = still[1:].unflatten(0, (-1, 2)).amin(1).repeat_interleave(2, 0)
    still = torch.cat([still[:1], pairs])
    share = weight.reshape(-1, *[1] * (still.ndim - 1)) * still
    mean = (share[..., None, None] * parameter).sum(0) / share.sum(0)[..., None, None]
    moved = geodesic_angle(MatrixFisher(mean).mode(), modes[0])
    return torch.where((moved < LIMIT)[..., None, None], mean, parameter[0])


def _smooth_shape(shapes: Sequence[ShapeGaussian], weight: Float[Tensor, " T"]) -> ShapeGaussian:
    """Multiplies normal distributions raised to weights that add up to 1."""
    share = (weight / weight.sum()).double()
    factor = torch.stack([shape.factor for shape in shapes]).double()
    mean = torch.stack([shape.mean for shape in shapes]).double()
    precision = torch.cholesky_inverse(factor)
    total = (share[:, None, None] * precision).sum(0)
    pull = (share[:, None, None] * (precision @ mean[..., None])).sum(0)
    covariance = torch.linalg.inv(total)
    covariance = (covariance + covariance.mT) / 2
    fused = ShapeGaussian.of_covariance((covariance @ pull)[..., 0], covariance)
    kind = shapes[0].mean.dtype
    return map_tensors(fused, lambda tensor: tensor.to(kind))


@dataclass(frozen=True)
class _Seen:
    """A frame, and who in it is followed."""

    image: ImagePrediction
    place: int | None = None
    """Among the frame's bodies; None if that person is not there."""
    track: int = 0
    """Number of who is followed."""

    @property
    def person(self) -> PersonPrediction | None:
        return None if self.place is None else self.image.people[self.place]


@dataclass
class _Track:
    """Follows one person from frame to frame."""

    patience: int
    """Frames for which the person may be out of sight."""
    number: int = 0
    missed: int = 0
    box: Tensor | None = None

    def follow(self, image: ImagePrediction) -> _Seen:
        place = self._find(image)
        if place is None:
            self.missed += 1
            return _Seen(image, None, self.number)
        self.box, self.missed = image.people[place].evidence.box, 0
        return _Seen(image, place, self.number)

    def _find(self, image: ImagePrediction) -> int | None:
        if not image.people:
            return None
        if self.box is not None:
            common = overlaps(
                torch.stack([person.evidence.box for person in image.people]), self.box
            )
            best = int(common.argmax())
            if common[best] >= SAME:
                return best
            if self.missed < self.patience:
                return None
        self.number += 1
        return 0


def _described(around: Sequence[_Seen], radius: int, predictor: Predictor) -> ImagePrediction:
    """Gives the frame in the middle with the followed person smoothed."""
    seen = around[radius]
    person = seen.person
    if person is None:
        return seen.image
    window = [
        other.person.prediction
        if other.person is not None and other.track == seen.track
        else None
        for other in around
    ]  # fmt: skip
    smoothed = smooth_window(window)
    if smoothed is person.prediction:
        return seen.image
    people = list(seen.image.people)
    people[seen.place or 0] = _again(seen.image, person, smoothed, predictor)
    return replace(seen.image, people=tuple(people))


def _again(
    image: ImagePrediction,
    person: PersonPrediction,
    prediction: BodyPrediction,
    predictor: Predictor,
) -> PersonPrediction:
    """Describes a person anew, with another prediction."""
    # Edges are what a network looks at; descriptions look at silhouettes.
    settings = replace(predictor.regressor.proxy, channel="silhouette")
    case = Case(
        picture=0,
        name=Path(image.path or "").name,
        size=(image.height, image.width),
        index=person.index,
        person=person.evidence,
        proxy=look_at(person.evidence, settings),
        told=person.told,
    )
    batch = map_tensors(prediction, lambda tensor: tensor[None])
    doubts = [warning for warning in person.warnings if warning.startswith("--height-cm")]
    with torch.no_grad():
        (again,) = predictor.describer(
            [case], to_device(batch, predictor.device), ["; ".join(doubts)]
        )
    return again
