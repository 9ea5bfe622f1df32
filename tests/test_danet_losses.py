"""What DaNet learns besides bodies, against plain twins and by what it pulls at."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.camera import WeakPerspectiveCamera
from plausibody.models.danet_crops import Squares
from plausibody.models.danet_estimate import DanetEstimate, DanetPrediction
from plausibody.models.danet_losses import (
    DanetLoss,
    DanetWeights,
    centre_error,
    map_errors,
    partial_errors,
    point_errors,
)
from plausibody.models.iuv import CLASSES, DensePoints, DenseTarget, IuvMaps, shown_maps, to_maps
from plausibody.models.losses import Moment, Target
from plausibody.models.markers import BodyPoints, Markers
from plausibody.models.part_tables import part_tables
from plausibody.models.prediction import BodyParameters, PointPrediction

SIDE = 8


def picture(batch: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    part = torch.randint(0, 25, (batch, 1, SIDE, SIDE), generator=generator).float()
    return torch.cat([part, torch.rand(batch, 2, SIDE, SIDE, generator=generator) * (part > 0)], 1)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def guess(*shape: int) -> IuvMaps:
    return IuvMaps(u=noise(*shape), v=noise(*shape, seed=2), index=noise(*shape, seed=3))


def smooth(gap: np.ndarray) -> np.ndarray:
    return np.where(np.abs(gap) < 1, 0.5 * gap**2, np.abs(gap) - 0.5)


def test_errors_of_maps_are_those_of_a_plain_twin() -> None:
    maps, truth = guess(2, CLASSES, SIDE, SIDE), picture()
    u, v, index = map_errors(maps, truth)
    sums, entropy = [0.0, 0.0], []
    for person in range(2):
        for row in range(SIDE):
            for column in range(SIDE):
                part, *places = truth[person, :, row, column].tolist()
                scores = maps.index[person, :, row, column].double().numpy()
                entropy.append(np.log(np.exp(scores).sum()) - scores[int(part)])
                for number, plane in enumerate((maps.u, maps.v)):
                    gap = float(plane[person, int(part), row, column]) - places[number]
                    sums[number] += float(smooth(np.array(gap))) * (part > 0) / 2
    assert float(u) == pytest.approx(sums[0], rel=1e-5)
    assert float(v) == pytest.approx(sums[1], rel=1e-5)
    assert float(index) == pytest.approx(np.mean(entropy), rel=1e-5)


def test_perfect_maps_have_no_errors_and_full_scores() -> None:
    truth, shown = picture(), part_tables().shown
    sure = to_maps(truth)
    u, v, index = map_errors(replace(sure, index=100 * sure.index), truth)
    assert float(u) == float(v) == 0 and float(index) < 1e-6
    around = truth[:, None].expand(-1, 24, -1, -1, -1)
    near = shown_maps(around, shown)
    first = functional.one_hot(near.index.argmax(2), 7).movedim(-1, 2).float()
    u, v, index = partial_errors(replace(near, index=100 * first), around, shown)
    assert float(u) == float(v) == 0 and float(index) < 1e-6


def test_errors_round_joints_are_means_over_them() -> None:
    shown = part_tables().shown
    truth = torch.zeros(1, 24, 3, SIDE, SIDE)
    truth[0, :, 0] = 1  # the back of the torso, which 12 joints show
    truth[0, :, 1] = 1.0
    still = IuvMaps(*(torch.zeros(1, 24, 7, SIDE, SIDE) for _ in range(3)))
    u, v, index = partial_errors(still, truth, shown)
    share = float((shown == 1).any(1).float().mean())
    assert float(u) == pytest.approx(0.5 * SIDE * SIDE * share) and float(v) == 0
    assert float(index) == pytest.approx(np.log(7), rel=1e-5)


def test_joints_outside_the_box_do_not_count() -> None:
    centres = torch.zeros(1, 2, 2).requires_grad_()
    error = centre_error(centres, torch.tensor([[[0.5, 0.0], [1.5, 0.0]]]))
    assert float(error.detach()) == pytest.approx(0.125)
    error.backward()
    assert centres.grad is not None
    assert centres.grad[0].tolist() == [[-0.5, 0.0], [0.0, 0.0]]


def points(part: list[int]) -> DensePoints:
    """The middles of the pixels (1, 2) and (4, 6), and whatever else."""
    places = torch.tensor([[2.5, 1.5], [6.5, 4.5]]) * (2 / SIDE) - 1
    return DensePoints(
        places=places[None],
        part=torch.tensor([part]),
        place_on_part=torch.tensor([[[0.25, 0.75], [0.5, 0.5]]]),
        classes=torch.zeros(1, SIDE, SIDE, dtype=torch.long),
    )


def test_annotated_points_are_compared_with_the_maps_at_their_places() -> None:
    maps = guess(1, CLASSES, SIDE, SIDE)
    u, v, index = point_errors(maps, points([3, 0]))
    at = maps.index[0, :, 1, 2]
    gap_u, gap_v = float(maps.u[0, 3, 1, 2]) - 0.25, float(maps.v[0, 3, 1, 2]) - 0.75
    assert float(u) == pytest.approx(float(smooth(np.array(gap_u))), rel=1e-4)
    assert float(v) == pytest.approx(float(smooth(np.array(gap_v))), rel=1e-4)
    assert float(index) == pytest.approx(float(at.logsumexp(0) - at[3]), rel=1e-4)
    assert [float(each) for each in point_errors(maps, points([0, 0]))] == [0, 0, 0]


def test_parts_of_points_count_where_their_places_are_not_known() -> None:
    maps, told = guess(1, CLASSES, SIDE, SIDE), points([3, 5])
    maps = IuvMaps(*(each.requires_grad_() for each in (maps.u, maps.v, maps.index)))
    unplaced = replace(told, place_on_part=torch.full_like(told.place_on_part, torch.nan))
    u, v, index = point_errors(maps, unplaced)
    assert float(u.detach()) == float(v.detach()) == 0
    torch.testing.assert_close(index, point_errors(maps, told)[2])
    (u + v + index).backward()
    assert maps.u.grad is not None and not maps.u.grad.any()


class NoBody(nn.Module):
    """An objective that finds nothing wrong with bodies but their shape."""

    def __init__(self, markers: Markers):
        super().__init__()
        self.markers = markers

    def forward(self, prediction: DanetPrediction, target: Target, moment: Moment) -> object:
        gap = (prediction.parameters.shape - target.parameters.shape).abs().mean()
        return gap, {"shape": gap}


def case(given: bool = False) -> tuple[DanetPrediction, Target]:
    """Two people and a guess about them."""
    body = BodyParameters(shape=torch.ones(2, 10), rotations=torch.eye(3).expand(2, 24, 3, 3))
    joints = noise(2, 24, 2, seed=5).clamp(-0.9, 0.9)
    estimate = DanetEstimate(
        centres=joints + 0.1,
        squares=Squares(joints, torch.full((2, 24), 0.5)),
        maps=None if given else guess(2, CLASSES, SIDE, SIDE),
        annotation=None if given else noise(2, 15, SIDE, SIDE),
        partial=None if given else guess(2, 24, 7, 4, 4),
        first_rotations=body.rotations + 0.1,
        positions=torch.zeros(2, 2, 24, 3),
    )
    said = BodyParameters(shape=torch.zeros(2, 10), rotations=body.rotations)
    camera = WeakPerspectiveCamera(scale=torch.ones(2), shift=torch.zeros(2, 2))
    spots = BodyPoints(
        vertices=torch.zeros(2, 1, 3),
        joints=torch.full((2, 24, 3), 0.1),
        coco=torch.zeros(2, 17, 3),
        h36m=torch.zeros(2, 17, 3),
    )
    target = Target(
        parameters=body,
        keypoints=torch.zeros(2, 17, 2),
        points=spots,
        dense=DenseTarget(iuv=picture(), joints=joints),
    )
    return DanetPrediction(camera, said, estimate), target


def moment(step: int) -> Moment:
    return Moment(step, torch.Generator())


def test_first_steps_count_maps_and_joints_alone_and_later_ones_everything(
    markers: Markers,
) -> None:
    loss = DanetLoss(NoBody(markers), part_tables(), DanetWeights(), 5)
    prediction, target = case()
    first, parts = loss(prediction, target, moment(4))
    maps = {"u", "v", "index", "annotation", "partial_u", "partial_v", "partial_index"}
    assert parts.keys() == maps | {"centres"}
    torch.testing.assert_close(first, torch.stack(list(parts.values())).sum())
    total, later = loss(prediction, target, moment(5))
    more = {"shape", "first_rotations", "positions0", "positions1"}
    assert later.keys() == parts.keys() | more
    torch.testing.assert_close(total, torch.stack(list(later.values())).sum())
    assert float(later["first_rotations"]) == pytest.approx(60 * 0.01, rel=1e-4)
    assert float(later["positions0"]) == pytest.approx(24 * 3 * 0.1, rel=1e-4)
    assert float(later["centres"]) == pytest.approx(24 * 2 * 0.005, rel=1e-3)


def test_where_maps_are_given_only_joints_are_learnt_and_from_the_first_step(
    markers: Markers,
) -> None:
    loss = DanetLoss(NoBody(markers), part_tables(), DanetWeights(), 5)
    _, parts = loss(*case(given=True), moment(0))
    assert "shape" in parts and "centres" in parts and not {"u", "index"} & parts.keys()


def test_people_of_whom_nothing_was_drawn_are_learnt_from_annotations(markers: Markers) -> None:
    loss = DanetLoss(NoBody(markers), part_tables(), DanetWeights(), 5)
    prediction, target = case()
    assert target.dense is not None
    two = points([3, 7])
    both = DensePoints(**{  # the same of both people
        field.name: getattr(two, field.name).repeat_interleave(2, 0)
        for field in dataclasses.fields(two)
    })  # fmt: skip
    dense = replace(target.dense, drawn=torch.tensor([True, False]), points=both)
    _, parts = loss(prediction, replace(target, dense=dense), moment(0))
    assert {"point_u", "point_v", "point_index", "point_annotation"} <= parts.keys()
    assert prediction.estimate is not None and prediction.estimate.maps is not None
    maps = prediction.estimate.maps
    one = IuvMaps(u=maps.u[:1], v=maps.v[:1], index=maps.index[:1])
    wanted = map_errors(one, target.dense.iuv[:1])
    assert float(parts["u"]) == pytest.approx(0.5 * 0.5 * float(wanted[0]), rel=1e-5)
    neither = replace(dense, drawn=torch.tensor([False, False]))
    _, parts = loss(prediction, replace(target, dense=neither), moment(0))
    assert "u" not in parts and "point_u" in parts


def test_every_map_takes_part_even_where_nobody_was_drawn(markers: Markers) -> None:
    """Or processes that share a batch would wait for each other's gradients for ever."""
    prediction, target = case()
    assert prediction.estimate is not None and target.dense is not None
    estimate = prediction.estimate
    table = {name: tensor.requires_grad_() for name, tensor in estimate.table().items()}
    prediction = replace(prediction, estimate=DanetEstimate.of_table(table))
    neither = replace(target.dense, drawn=torch.zeros(2, dtype=torch.bool))
    loss = DanetLoss(NoBody(markers), part_tables(), DanetWeights(), 5)
    total, parts = loss(prediction, replace(target, dense=neither), moment(0))
    assert float(parts["index"].detach()) == 0
    total.backward()
    learnt = [name for name in table if name.startswith(("maps", "partial", "annotation"))]
    assert len(learnt) == 7
    assert all(table[name].grad is not None and not table[name].grad.any() for name in learnt)


def test_other_predictions_and_targets_without_a_surface_are_refused(markers: Markers) -> None:
    loss = DanetLoss(NoBody(markers), part_tables())
    prediction, target = case()
    plain = PointPrediction(prediction.camera, prediction.parameters)
    with pytest.raises(TypeError, match="danet"):
        loss(plain, target, moment(0))
    with pytest.raises(ValueError, match=r"stream\.dense\.size"):
        loss(prediction, replace(target, dense=None), moment(0))
