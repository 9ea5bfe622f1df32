"""What DaNet learns besides bodies: IUV maps of the whole and round joints, and where joints are.

Weights and the kinds of sums are the released ones; three things are ours. True maps round joints
are cut out by nearest pixels, not by bilinear ones, which supervise soft borders with places that
are none. What annotators said is summed over points per person of the batch, as other places are,
and where they set no point nothing is learnt, rather than the background. Joints outside the box,
which no soft-argmax reaches, do not count.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.4,
and its released code for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.danet_crops import Squares, cut_squares
from plausibody.models.danet_estimate import DanetEstimate, DanetPrediction
from plausibody.models.iuv import (
    UNKNOWN,
    DensePoints,
    DenseTarget,
    IuvMaps,
    annotated,
    resize_picture,
    shown_maps,
)
from plausibody.models.losses import KnownMean, Moment, Target, true_points
from plausibody.models.markers import Markers
from plausibody.models.part_tables import PartTables
from plausibody.models.prediction import BodyPrediction


@dataclass(frozen=True)
class DanetWeights:
    """As released; half-squares, metres and rotation matrices."""

    places: float = 0.5
    """Of u, and of v: sums over the pixels of a person."""
    index: float = 1.0
    annotation: float = 1.0
    """Of the classes that tell no front from back."""
    partial_places: float = 0.5
    """The same round joints: means over the joints."""
    partial_index: float = 1.0
    point_places: float = 0.5
    """At points that annotators set: sums over the points of a person."""
    point_index: float = 0.3
    point_annotation: float = 2.0
    centres: float = 1.0
    first_rotations: float = 60.0
    """Of rotations before the graph."""
    positions: float = 1.0


class DanetLoss(nn.Module):
    """An objective of bodies, and all that leads to them; in first steps the latter alone."""

    shown: Tensor

    def __init__(
        self,
        body: nn.Module,
        tables: PartTables,
        weights: DanetWeights | None = None,
        estimator_steps: int = 0,
    ):
        """Args:
        body: Called like `LiteLoss`, and with its `markers`.
        tables: Of the skeleton.
        weights: As released if None.
        estimator_steps: First steps in which maps and joints are learnt alone, where maps are
            estimated at all.
        """
        super().__init__()
        self.body, self.weights = body, weights or DanetWeights()
        self.markers: Markers = body.markers  # type: ignore[assignment]
        self.estimator_steps = estimator_steps
        self.register_buffer("shown", tables.shown, persistent=False)

    def forward(
        self, prediction: BodyPrediction, target: Target, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Gives the loss and its parts.

        Raises:
            TypeError: If the prediction does not tell what led to it.
            ValueError: If the target says nothing of the surface.
        """
        if not isinstance(prediction, DanetPrediction) or prediction.estimate is None:
            raise TypeError("wanted a prediction of danet in training, got one of another network")
        if target.dense is None:
            raise ValueError(
                "danet: wanted a stream that hands IUV pictures over, got one without; "
                "do: --set stream.dense.size=56"
            )
        estimate = prediction.estimate
        parts = self._on_the_way(estimate, target.dense)
        if moment.step < self.estimator_steps and estimate.maps is not None:
            return torch.stack(list(parts.values())).sum(), parts
        loss, said = self.body(prediction, target, moment)
        parts |= self._between(estimate, target, moment)
        return loss + torch.stack(list(parts.values())).sum(), said | parts

    def _on_the_way(self, estimate: DanetEstimate, truth: DenseTarget) -> dict[str, Tensor]:
        """Compares maps, and places of joints."""
        weights = self.weights
        parts = {"centres": weights.centres * centre_error(estimate.centres, truth.joints)}
        if estimate.maps is None or estimate.partial is None or estimate.annotation is None:
            return parts
        drawn = truth.drawn
        count = len(truth.iuv) if drawn is None else int(drawn.sum())
        if count:
            rows = slice(None) if drawn is None else drawn
            share = count / len(truth.iuv)
            iuv = truth.iuv[rows]
            whole = resize_picture(iuv, estimate.maps.u.shape[-1])
            u, v, index = map_errors(_rows(estimate.maps, rows), whole)
            classes = annotated(whole[:, 0].round().long())
            scores = estimate.annotation[rows].float()
            squares = Squares(estimate.squares.centre[rows], estimate.squares.half[rows])
            cut = cut_squares(iuv, squares, estimate.partial.u.shape[-1], nearest=True)
            u_part, v_part, part = partial_errors(_rows(estimate.partial, rows), cut, self.shown)
            parts |= {
                "u": weights.places * share * u,
                "v": weights.places * share * v,
                "index": weights.index * share * index,
                "annotation": weights.annotation
                * share
                * functional.cross_entropy(scores, classes),
                "partial_u": weights.partial_places * share * u_part,
                "partial_v": weights.partial_places * share * v_part,
                "partial_index": weights.partial_index * share * part,
            }
        else:
            # All parameters take part, with gradients of 0, as several processes must agree on.
            idle = (*_planes(estimate.maps), *_planes(estimate.partial), estimate.annotation)
            parts["index"] = 0 * torch.stack([each.float().sum() for each in idle]).sum()
        if truth.points is not None:
            u, v, index = point_errors(estimate.maps, truth.points)
            scores = estimate.annotation.float()
            said = known_class_error(scores, truth.points.classes)
            parts |= {
                "point_u": weights.point_places * u,
                "point_v": weights.point_places * v,
                "point_index": weights.point_index * index,
                "point_annotation": weights.point_annotation * said,
            }
        return parts

    def _between(
        self, estimate: DanetEstimate, target: Target, moment: Moment
    ) -> dict[str, Tensor]:
        """Compares what the graph starts from and goes through."""
        parts: dict[str, Tensor] = {}
        mean = KnownMean.of(target, moment)
        if estimate.first_rotations is not None:
            gap = (estimate.first_rotations - target.parameters.rotations).square()
            parts["first_rotations"] = self.weights.first_rotations * mean(gap)
        if estimate.positions is None:
            return parts
        joints = true_points(self.markers, target).joints
        for number, said in enumerate(estimate.positions.unbind(1)):
            gap = (said.float() - joints).abs().sum((1, 2))
            parts[f"positions{number}"] = self.weights.positions * mean(gap)
        return parts


def known_class_error(
    scores: Float[Tensor, "batch K H W"], classes: Int[Tensor, "batch H W"]
) -> Float[Tensor, ""]:
    """Gives the mean cross-entropy over pixels whose class is known [nats]; 0 where none is."""
    wrong = functional.cross_entropy(scores, classes, ignore_index=UNKNOWN, reduction="sum")
    return wrong / (classes != UNKNOWN).sum().clamp(min=1)


def _planes(maps: IuvMaps) -> tuple[Tensor, Tensor, Tensor]:
    return maps.u, maps.v, maps.index


def _rows(maps: IuvMaps, rows: slice | Tensor) -> IuvMaps:
    return IuvMaps(u=maps.u[rows], v=maps.v[rows], index=maps.index[rows])


def centre_error(
    centres: Float[Tensor, "batch J 2"], joints: Float[Tensor, "batch J 2"]
) -> Float[Tensor, ""]:
    """Gives the smooth absolute error of joints inside the box, summed over those of a person.

    Args:
        centres: As estimated [half-squares].
        joints: True ones.
    """
    inside = (joints.abs() <= 1).all(-1, keepdim=True)
    gap = functional.smooth_l1_loss(centres, joints, reduction="none")
    return (gap * inside).sum() / len(centres)


def map_errors(
    maps: IuvMaps, truth: Float[Tensor, "batch 3 H W"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Compares estimated maps of 25 classes with a picture.

    Returns:
        Smooth absolute errors of u and of v, in the channel of the true part, summed over the
        pixels of a person that show a part; and the cross-entropy of the class [nats], the mean
        over pixels.
    """
    part, u, v = truth.unbind(1)
    return _errors(maps, part.round().long(), u, v, len(truth))


def partial_errors(
    maps: IuvMaps, truth: Float[Tensor, "batch J 3 H W"], shown: Int[Tensor, "J 6"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Does the same round joints; errors of u and v are means over them.

    Args:
        truth: A picture for each joint.
        shown: Parts of each joint.
    """
    clean = shown_maps(truth, shown)
    classes = clean.index.argmax(2)  # of a part that a joint has twice, the first
    flat = IuvMaps(*(each.flatten(0, 1) for each in (maps.u, maps.v, maps.index)))
    u, v = (each.amax(2).flatten(0, 1) for each in (clean.u, clean.v))
    return _errors(flat, classes.flatten(0, 1), u, v, maps.u.shape[0] * maps.u.shape[1])


def _errors(
    maps: IuvMaps,
    classes: Int[Tensor, "N H W"],
    u: Float[Tensor, "N H W"],
    v: Float[Tensor, "N H W"],
    count: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    seen = classes > 0
    errors = []
    for plane, true in ((maps.u, u), (maps.v, v)):
        said = plane.gather(1, classes[:, None])[:, 0].float()
        gap = functional.smooth_l1_loss(said, true.float(), reduction="none")
        errors.append((gap * seen).sum() / count)
    return errors[0], errors[1], functional.cross_entropy(maps.index.float(), classes)


def point_errors(
    maps: IuvMaps, points: DensePoints
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Compares estimated maps, read between their pixels, with points that annotators set.

    Returns:
        Smooth absolute errors of u and of v, summed over the points of a person where these are
        known; and the mean cross-entropy of the part [nats]; all zero where there is no point.
    """
    stacked = torch.stack([maps.u, maps.v, maps.index], 1).float()
    flat = stacked.flatten(1, 2)
    read = functional.grid_sample(flat, points.places[:, :, None].float(), align_corners=False)
    u, v, scores = read[..., 0].unflatten(1, (3, -1)).unbind(1)
    there = points.part > 0
    errors = []
    for plane, true in zip((u, v), points.place_on_part.unbind(-1), strict=True):
        said = plane.gather(1, points.part[:, None])[:, 0]
        gap = functional.smooth_l1_loss(said, true.nan_to_num(), reduction="none")
        errors.append((gap * (there & ~true.isnan())).sum() / len(points.part))
    wrong = functional.cross_entropy(scores, points.part, reduction="none")
    return errors[0], errors[1], (wrong * there).sum() / there.sum().clamp(min=1)
