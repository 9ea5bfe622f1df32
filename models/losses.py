"""Losses on parameters, joints, vertices and key points. Those that need an image live in synth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from plausibody.models.body import BodyTemplate
from plausibody.models.constants import constant
from plausibody.models.iuv import DenseTarget
from plausibody.models.markers import BodyPoints, Markers
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.models.skeleton import H36M17, LSP14, indices

PELVIS = H36M17.index("pelvis")
HIPS = tuple(indices(["left_hip", "right_hip"], H36M17))
FINGERS = 2
"""The last joints of SMPL24, the hands. Motion capture of ours leaves them at rest; networks learn
that, or their fingers would lie anyhow, but it is nothing that a mean over joints should count."""

LEAST = 1e-3
"""By which the error of no key points, zero, is divided."""
FAR = 3.0
"""Half-squares from the middle of the box beyond which a key point guides nothing."""


@dataclass(frozen=True)
class TargetMaps:
    """What a picture would show of the true bodies, in a square about the middle of the box."""

    whole: Float[Tensor, "batch size size"]
    """Share of each pixel that the whole person covers, hidden parts included (amodal), 0..1."""
    uncovered: Bool[Tensor, "batch size size"] | None = None
    """Where nothing hides what a pixel would show: no thing, no other person, no end of the
    picture. None: nowhere anything does."""
    labels: UInt8[Tensor, "batch size size"] | None = None
    """What each pixel shows of the person, such as clothes; 0 is nothing of the person. None where
    nobody knows."""
    occluded: Float[Tensor, " batch"] | None = None
    """Share of the person, as far as the picture goes, that is behind something. None where nobody
    knows."""
    reach: float = 1.0
    """Half the side of the square, in half-squares of the box: 1 for the box itself."""

    @property
    def visible(self) -> Float[Tensor, "batch size size"]:
        """Share of each pixel that shows the person."""
        return self.whole if self.uncovered is None else self.whole * self.uncovered


@dataclass(frozen=True)
class Target:
    """The truth about the people of a batch."""

    parameters: BodyParameters
    keypoints: Float[Tensor, "batch 17 2"]
    """True places of the COCO-17 key points in half-squares of the proxy's box."""
    points: BodyPoints | None = None
    """Points of the true bodies, where somebody has posed them already."""
    gender: Float[Tensor, " batch"] | None = None
    """-1 male, 0 neutral, +1 female: as which body each shape was drawn. None where all are
    neutral."""
    reported: Bool[Tensor, "batch 17"] | None = None
    """Which key points the proxy has."""
    maps: TargetMaps | None = None
    """What pictures would show, where a stream was asked for that (`stream.maps.size`)."""
    labelled: Bool[Tensor, " batch"] | None = None
    """Of whom the parameters are known; those of the others may be any finite numbers. None: of
    everybody."""
    joints: Float[Tensor, "batch 17 4"] | None = None
    """Human3.6M's joints in the world's axes [m], wherever their root is, and by how much each is
    known, 0..1. They are learnt of people whose parameters are not known. None: of nobody."""
    annotated: Bool[Tensor, "batch 17"] | None = None
    """Which places of `keypoints` are known. None: all of them."""
    dense: DenseTarget | None = None
    """What each pixel shows of the surface, where a stream was asked for that
    (`stream.dense.size`)."""


@dataclass(frozen=True)
class Moment:
    """When in a training a loss is computed, and the chance that it may use."""

    step: int
    generator: torch.Generator
    """On the device of the prediction."""
    mean: Callable[[Tensor], Tensor] = lambda number: number
    """Averages a number over the processes that share a batch. A mean over some samples only, such
    as those that are seen, divides by their mean number: then the mean of the processes' losses is
    the loss of the whole batch."""


class ShapeError:
    """Distance between rest bodies as a quadratic form of their coefficients, without vertices.

    With mean-free rest vertices x(b) = x0 + X b, the inner product q(a, b) of two bodies is
    c + u.(a + b) + a'Mb, so the root mean square distance costs a product of two short vectors.
    """

    def __init__(self, template: BodyTemplate, shape_count: int):
        directions = template.shape_directions[..., :shape_count]
        directions = directions - directions.mean(0, keepdim=True)
        mean = template.vertices - template.vertices.mean(0, keepdim=True)
        count = len(mean)
        self.matrix = torch.einsum("vda,vdb->ab", directions, directions) / count
        self.linear = torch.einsum("vda,vd->a", directions, mean) / count
        self.constant = mean.square().sum() / count

    def plain(
        self, shape: Float[Tensor, "batch S"], target: Float[Tensor, "batch S"]
    ) -> Float[Tensor, " batch"]:
        """Root mean square distance of the vertices of centred rest bodies [m]."""
        gap = shape - target
        return ((gap @ self.matrix) * gap).sum(-1).clamp(min=1e-12).sqrt()

    def scale_corrected(
        self, shape: Float[Tensor, "batch S"], target: Float[Tensor, "batch S"]
    ) -> Float[Tensor, " batch"]:
        """The same after the best scale: what one image can tell of a shape [m]."""
        cross = self._inner(shape, target)
        rest = self._inner(target, target) - cross.square() / self._inner(shape, shape)
        return rest.clamp(min=1e-9).sqrt()

    def _inner(
        self, first: Float[Tensor, "batch S"], second: Float[Tensor, "batch S"]
    ) -> Float[Tensor, " batch"]:
        linear = (first + second) @ self.linear
        return self.constant + linear + ((first @ self.matrix) * second).sum(-1)


@dataclass(frozen=True)
class LiteWeights:
    """Weights of the parts of the `lite` objective; metres and rotation matrices."""

    root: float = 1.0
    rotations: float = 1.0
    joints: float = 10.0
    vertices: float = 10.0
    keypoints: float = 5.0
    shape: float = 6.0
    """Of the rest body as it is: its size cannot be seen, so it counts little."""
    scaled_shape: float = 30.0
    """Of the rest body after scaling."""
    coefficients: float = 0.01


class LiteLoss(nn.Module):
    """Absolute errors of points, squared errors of rotations, and the scale-corrected shape."""

    def __init__(
        self,
        markers: Markers,
        template: BodyTemplate,
        shape_count: int,
        weights: LiteWeights | None = None,
        shares: Float[Tensor, " N"] | None = None,
    ):
        """Args:
        markers: The vertices and joints to learn.
        template: Their body.
        shares: Of the surface, for each chosen vertex; of sum 1. All the same if None.
        """
        super().__init__()
        self.markers = markers
        count = markers.chosen
        uniform = template.vertices.new_full((count,), 1 / count)
        self.shares = (uniform if shares is None else shares)[:, None] / 3  # of x, y and z
        self.shape_error = ShapeError(template, shape_count)
        self.weights = weights or LiteWeights()

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment | None = None
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        mode, truth, weights = prediction.mode(), target.parameters, self.weights
        placed = self.markers(mode)
        points = relative_to_pelvis(placed)
        true = relative_to_pelvis(true_points(self.markers, target))
        turn = (mode.rotations - truth.rotations).square().sum((-2, -1))
        counted = turn.shape[1] - 1 - FINGERS
        flat = prediction.camera.project(placed.coco)
        near = near_box(target.keypoints)
        if target.annotated is not None:
            near = near * target.annotated[..., None]
        mean = KnownMean.of(target, moment)
        plain = mean(self.shape_error.plain(mode.shape, truth.shape))
        scaled = mean(self.shape_error.scale_corrected(mode.shape, truth.shape))
        gap_vertices = ((points.vertices - true.vertices).abs() * self.shares).sum((1, 2))
        gap_joints = joint_error(points, true, target, moment, torch.abs)
        gap_joints = gap_joints + mean((points.joints - true.joints).abs())
        parts = {
            "root": weights.root * mean(turn[:, 0]),
            "rotations": weights.rotations * mean(turn[:, 1:].sum(1) / counted),
            "joints": weights.joints * gap_joints,
            "vertices": weights.vertices * mean(gap_vertices),
            "keypoints": weights.keypoints * ((flat - target.keypoints).abs() * near).mean(),
            "shape": weights.shape * plain,
            "scaled_shape": weights.scaled_shape * scaled,
            "coefficients": weights.coefficients * mean((mode.shape - truth.shape).square()),
        }
        return torch.stack(list(parts.values())).sum(), parts


@dataclass(frozen=True)
class KnownMean:
    """A mean over the people of whom something is known."""

    share: Float[Tensor, " batch"] | None
    """1 for each of them over their number, 0 for the others; None where it is everybody."""

    @classmethod
    def of(cls, target: Target, moment: Moment | None) -> KnownMean:
        if target.labelled is None:
            return cls(None)
        return cls.over(target.labelled.to(target.keypoints.dtype), moment)

    @classmethod
    def over(cls, known: Float[Tensor, " batch"], moment: Moment | None) -> KnownMean:
        """Averages over the people of whom something is told, such as a label map.

        Args:
            known: 1 for those who count, 0 for the others.
            moment: Of the training, if processes share a batch.
        """
        count = known.sum() if moment is None else moment.mean(known.sum())
        return cls(known / count.clamp(min=LEAST))

    def __call__(self, errors: Float[Tensor, "batch ..."]) -> Float[Tensor, ""]:
        """Averages errors of people."""
        if self.share is None:
            return errors.mean()
        return (errors.reshape(len(self.share), -1).mean(1) * self.share).sum()


def joint_error(
    points: BodyPoints,
    true: BodyPoints,
    target: Target,
    moment: Moment | None,
    error: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """Gives the mean error of Human3.6M's joints over those of whom bodies or joints are known.

    Where only joints are, they are compared from the middle between the hips, as SPIN does: what
    data sets call the pelvis lies in different places.

    Args:
        points: Of the predicted bodies, from the pelvis.
        true: Of the true ones.
        error: Of each difference [m].
    """
    each, told = error(points.h36m - true.h36m), target.joints
    if told is None or target.labelled is None:
        return KnownMean.of(target, moment)(each)
    hips = constant(HIPS, torch.long, told.device)
    known = told[..., 3:] * (told[:, hips, 3] > 0).all(1)[:, None, None]
    middle = (points.h36m[:, hips] - told[:, hips, :3]).mean(1, keepdim=True)
    alone = error(points.h36m - told[..., :3] - middle) * known
    each = torch.where(target.labelled[:, None, None], each, alone)
    counted = target.labelled | (known > 0).flatten(1).any(1)
    return KnownMean.over(counted.to(each.dtype), moment)(each)


def near_box(keypoints: Float[Tensor, "batch 17 2"]) -> Float[Tensor, "batch 17 1"]:
    """Gives 1 for key points that count, and 0 for those far outside the box, cut off by a picture.

    Args:
        keypoints: In half-squares of the box.
    """
    return (keypoints.abs().amax(-1) < FAR).float()[..., None]


@torch.no_grad()
def true_points(markers: Markers, target: Target) -> BodyPoints:
    """Gives the points of the true bodies, posing them if nobody has."""
    return markers(target.parameters) if target.points is None else target.points


def relative_to_pelvis(points: BodyPoints) -> BodyPoints:
    """Moves bodies so that Human3.6M's pelvis is at the origin."""
    pelvis = points.h36m[:, PELVIS : PELVIS + 1]
    return BodyPoints(
        vertices=points.vertices - pelvis,
        joints=points.joints - pelvis,
        coco=points.coco - pelvis,
        h36m=points.h36m - pelvis,
    )


STRAPS_WEIGHTS = {
    "vertices": 1.0,
    "joints": 1.0,
    "keypoints": 0.1,
    "rotations": 0.1,
    "shape": 0.1,
}
"""Initial weights of the five terms (STRAPS, released configuration)."""


class StrapsLoss(nn.Module):
    """Five mean squared errors under learned weights: sum of L exp(-s) + s.

    Vertices and joints are compared where they are, without aligning the root, as published.

    Source: Sengupta et al., 2020, section 3.3; Kendall et al., "Multi-Task Learning Using
    Uncertainty to Weigh Losses", 2018, equation 10.
    """

    def __init__(self, markers: Markers):
        """Args:
        markers: With all vertices chosen, to supervise what STRAPS supervises.
        """
        super().__init__()
        self.markers = markers
        self.joints = tuple(indices(LSP14, H36M17))
        self.log_variances = nn.ParameterDict(
            {
                name: nn.Parameter(-torch.tensor(weight + 1e-6).log())
                for name, weight in STRAPS_WEIGHTS.items()
            }
        )

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment | None = None
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        mode, truth = prediction.mode(), target.parameters
        points = self.markers(mode)
        true = true_points(self.markers, target)
        flat = prediction.camera.project(points.coco)
        joints = constant(self.joints, torch.long, flat.device)
        inside = (target.keypoints.abs() <= 1).all(-1)
        if target.annotated is not None:
            inside = inside & target.annotated
        missed = torch.where(inside[..., None], flat - target.keypoints, 0.0).square()
        count = inside.sum().to(flat.dtype)
        count = count if moment is None else moment.mean(count)
        mean = KnownMean.of(target, moment)
        errors = {
            "vertices": mean((points.vertices - true.vertices).square()),
            "joints": mean((points.h36m - true.h36m)[:, joints].square()),
            "keypoints": missed.sum() / (2 * count).clamp(min=LEAST),
            "rotations": mean((mode.rotations - truth.rotations).square()),
            "shape": mean((mode.shape - truth.shape).square()),
        }
        total = torch.stack(
            [error * torch.exp(-self.log_variances[k]) + self.log_variances[k]
             for k, error in errors.items()]
        ).sum()  # fmt: skip
        return total, errors
