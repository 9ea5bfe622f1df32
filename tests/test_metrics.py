"""Metrics: twins in plain NumPy, and the laws that each alignment promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import metric_twins as twins
import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import H36M17, LSP14, indices

Metric = Callable[[Tensor, Tensor], Tensor]
EXACT = 1e-6
"""Bound on what twins may differ by [mm]; measured 3e-12."""


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed)).double()


def turned(cloud: Tensor, seed: int = 9) -> Tensor:
    rotation = rotvec_to_rotmat(points(*cloud.shape[:-2], seed=seed))
    return cloud @ rotation.mT.to(cloud)


def moved(cloud: Tensor) -> Tensor:
    return 1.7 * cloud + cloud.new_tensor([0.3, -2.0, 5.0])


def pairs(kind: str, count: int) -> tuple[Tensor, Tensor]:
    """Gives predictions and targets of 2 x 3 people, of some kind that may be hard to align."""
    prediction, target = points(2, 3, count, seed=1), points(2, 3, count, seed=2)
    if kind == "reflected":
        prediction = moved(turned(target * target.new_tensor([-1.0, 1.0, 1.0])))
    if kind == "reflected, noisy":
        prediction = -target + 0.1 * prediction
    if kind in ("flat prediction", "flat both"):
        prediction = turned(prediction * prediction.new_tensor([1.0, 1.0, 0.0]))
    if kind in ("flat target", "flat both"):
        target = turned(target * target.new_tensor([1.0, 0.0, 1.0]), seed=8)
    if kind in ("line of prediction", "line of both"):
        prediction = turned(prediction * prediction.new_tensor([1.0, 0.0, 0.0]))
    if kind in ("line of target", "line of both"):
        target = turned(target * target.new_tensor([0.0, 0.0, 1.0]), seed=8)
    if kind == "close":
        prediction = target + 1e-6 * prediction
    if kind == "point of target":
        target = target[..., :1, :].expand_as(target)
    return prediction, target


KINDS = (
    *("random", "reflected", "reflected, noisy", "flat prediction", "flat target", "flat both"),
    *("line of prediction", "line of target", "line of both", "close", "point of target"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", twins.METRICS)
def test_each_metric_is_its_twin(name: str, kind: str) -> None:
    prediction, target = pairs(kind, 17)
    found = getattr(metrics, name)(prediction, target)
    assert found.shape == (2, 3)
    for place in np.ndindex(2, 3):
        twin = twins.METRICS[name](prediction[place].numpy(), target[place].numpy())
        assert abs(found[place].item() - twin) < EXACT


def test_the_tables_of_joints_are_those_published() -> None:
    assert indices(LSP14, H36M17) == twins.H36M_TO_J14
    assert sorted(twins.H36M_TO_J17) == list(range(17))


@pytest.mark.parametrize("name", ["mpjpe", "mpjpe_smplorigin", "mpjpe_sc", "pa_mpjpe"])
def test_all_seventeen_joints_count_if_asked_for(name: str) -> None:
    prediction, target = points(4, 17, seed=1), points(4, 17, seed=2)
    found = getattr(metrics, name)(prediction, target, names=H36M17)
    for p, t, error in zip(prediction, target, found, strict=True):
        twin = twins.METRICS[name](p.numpy(), t.numpy(), twins.H36M_TO_J17)
        assert abs(error.item() - twin) < EXACT


def test_joints_of_the_regressor_are_chosen_by_name_and_the_pelvis_is_the_root() -> None:
    prediction, target = points(4, 17, seed=1), points(4, 17, seed=2)
    chosen = indices(LSP14, H36M17)
    found = metrics.mpjpe(prediction, target)
    shifted = prediction + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(metrics.mpjpe(shifted, target), found)
    torch.testing.assert_close(
        metrics.pa_mpjpe(prediction, target),
        metrics.pa_mpjpe(prediction[:, chosen], target[:, chosen]),
    )


def test_without_a_pelvis_the_middle_of_the_hips_is_the_root() -> None:
    prediction, target = points(4, 14, seed=1), points(4, 14, seed=2)
    shifted = prediction + torch.tensor([1.0, 2.0, 3.0])
    found = metrics.mpjpe(prediction, target)
    torch.testing.assert_close(metrics.mpjpe(shifted, target), found)
    assert (metrics.mpjpe_smplorigin(shifted, target) - found).abs().min() > 1


def test_other_joint_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="17 rows.*14 of LSP, got 24"):
        metrics.mpjpe(points(24), points(24))
    with pytest.raises(ValueError, match="wanted pelvis, spine, .* too, got the 14 of LSP"):
        metrics.mpjpe(points(14), points(14), names=H36M17)


def test_vertices_about_the_pelvis_are_their_twin() -> None:
    prediction, target = points(3, 40, seed=1), points(3, 40, seed=2)
    pelvis, true_pelvis = points(3, seed=3), points(3, seed=4)
    found = metrics.pve_pelvis(prediction, target, pelvis, true_pelvis)
    for n in range(3):
        arrays = (each[n].numpy() for each in (prediction, target, pelvis, true_pelvis))
        assert abs(found[n].item() - twins.pve_pelvis(*arrays)) < EXACT
    shifted = metrics.pve_pelvis(prediction + 2.0, target, pelvis + 2.0, true_pelvis)
    torch.testing.assert_close(shifted, found)


@pytest.mark.parametrize("metric", [metrics.pve_sc, metrics.mpjpe_sc, metrics.pve_t_sc])
def test_sc_forgives_scale_and_place_but_not_turning(metric: Metric) -> None:
    prediction, target = points(5, 14, seed=1), points(5, 14, seed=2)
    torch.testing.assert_close(metric(moved(prediction), target), metric(prediction, target))
    assert metric(moved(target), target).max() < 1e-9
    assert metric(turned(target), target).min() > 1


@pytest.mark.parametrize("metric", [metrics.pve_pa, metrics.pa_mpjpe])
def test_pa_forgives_turning_too_but_not_reflection(metric: Metric) -> None:
    prediction, target = points(5, 14, seed=1), points(5, 14, seed=2)
    found = metric(prediction, target)
    torch.testing.assert_close(metric(moved(turned(prediction)), target), found)
    assert metric(moved(turned(target)), target).max() < 1e-9
    assert metric(target * target.new_tensor([-1.0, 1.0, 1.0]), target).min() > 1


def test_pa_is_the_least_squares() -> None:
    prediction, target = points(20, 14, seed=1), points(20, 14, seed=2)
    best = (metrics.align_similarity(prediction, target) - target).square().sum((-2, -1))
    for other in (metrics.align_scale_translation(prediction, target), prediction):
        assert (best <= (other - target).square().sum((-2, -1))).all()
    # What is aligned already stays where it is.
    aligned = metrics.align_similarity(prediction, target)
    torch.testing.assert_close(metrics.align_similarity(aligned, target), aligned)


def test_pa_survives_single_precision_and_flat_clouds() -> None:
    target = points(5, 14, seed=2).float()
    target[..., 2] = 0  # rank 2: the rotation is still unique
    found = metrics.pve_pa(moved(turned(target)), target)
    assert found.max() < 5e-3  # mm; measured 1e-3


def test_points_that_coincide_have_no_scale() -> None:
    for align in (metrics.align_scale_translation, metrics.align_similarity):
        with pytest.raises(ValueError, match="all coincide"):
            align(torch.ones(2, 5, 3), points(2, 5).float())


@pytest.mark.parametrize("name", twins.METRICS)
def test_unknown_truth_has_no_error_and_predictions_must_be_finite(name: str) -> None:
    metric = getattr(metrics, name)
    prediction, target = points(3, 17, seed=1), points(3, 17, seed=2)
    whole = metric(prediction, target)
    odd = target.clone()
    odd[1, 6, 2] = math.nan
    found = metric(prediction, odd)
    assert found[1].isnan()
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])
    for value in (math.nan, math.inf):
        broken = prediction.clone()
        broken[2, 6, 0] = value
        with pytest.raises(ValueError, match="finite predictions"):
            metric(broken, target)


def masks(*shape: int, share: float, seed: int) -> Tensor:
    drawn = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    return drawn < share


def test_overlaps_are_their_twins() -> None:
    prediction, target = masks(6, 9, 7, share=0.4, seed=1), masks(6, 9, 7, share=0.5, seed=2)
    prediction[3], prediction[4], target[4:6] = False, False, False  # one empty, both, the other
    arrays = prediction.numpy(), target.numpy()
    mean = metrics.silhouette_iou(prediction, target).mean()
    assert abs(mean.item() - twins.mean_iou(*arrays)) < EXACT
    pooled = metrics.pooled_silhouette_iou(prediction, target)
    assert abs(pooled.item() - twins.pooled_iou(*arrays)) < EXACT
    assert abs(mean - pooled) > 0.01


def test_pooled_and_mean_overlap_differ() -> None:
    prediction = torch.zeros(2, 10, 10, dtype=torch.bool)
    target = torch.zeros(2, 10, 10, dtype=torch.bool)
    prediction[0, :8, :8] = target[0, :8, :8] = True
    prediction[1, 0, :2] = target[1, 0, 1:3] = True
    found = metrics.silhouette_iou(prediction, target)
    assert found.tolist() == pytest.approx([1, 1 / 3])
    pooled = metrics.pooled_silhouette_iou(prediction, target)
    assert pooled.item() == pytest.approx((64 + 1) / (64 + 3))
    torch.testing.assert_close(metrics.silhouette_iou(0.9 * prediction, 1.0 * target), found)


def test_empty_masks_agree() -> None:
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert metrics.silhouette_iou(empty, empty).item() == 1
    assert metrics.silhouette_iou(empty, ~empty).item() == 0


def test_key_points_are_their_twin_and_do_not_count_if_told() -> None:
    prediction, target = points(5, 17, seed=1)[..., :2], points(5, 17, seed=2)[..., :2]
    visible = masks(5, 17, share=0.6, seed=3)
    visible[4] = False
    all_of_them = metrics.keypoint_error(prediction, target)
    unseen = target.masked_fill(~visible[..., None], math.nan)  # what does not count may be unknown
    for truth in (target, unseen):
        found = metrics.keypoint_error(prediction, truth, visible)
        for n in range(5):
            arrays = prediction[n].numpy(), target[n].numpy()
            every = twins.flat_error(*arrays, np.ones(17, dtype=bool))
            assert abs(all_of_them[n].item() - every) < EXACT
            twin = twins.flat_error(*arrays, visible[n].numpy())
            assert found[n].item() == pytest.approx(twin, abs=EXACT, nan_ok=True)
    assert found[4].isnan()
    with pytest.raises(ValueError, match="finite predictions"):
        metrics.keypoint_error(unseen, target)
