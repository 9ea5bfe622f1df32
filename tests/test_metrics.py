"""Metrics: twins in loops, and the laws that each alignment promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.skeleton import H36M17, LSP14, indices

Metric = Callable[[Tensor, Tensor], Tensor]


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed)).double()


def turned(cloud: Tensor, seed: int = 9) -> Tensor:
    rotation = rotvec_to_rotmat(points(*cloud.shape[:-2], seed=seed))
    return cloud @ rotation.mT.to(cloud)


def moved(cloud: Tensor) -> Tensor:
    return 1.7 * cloud + cloud.new_tensor([0.3, -2.0, 5.0])


def loop_error(prediction: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for p, t in zip(prediction, target, strict=True):
        total += math.sqrt(sum((a - b) ** 2 for a, b in zip(p, t, strict=True)))
    return 1000 * total / len(target)


def loop_sc(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    p, t = prediction - prediction.mean(0), target - target.mean(0)
    rms = [math.sqrt(sum(x @ x for x in cloud) / len(cloud)) for cloud in (p, t)]
    return p / rms[0] * rms[1] + target.mean(0)


def loop_pa(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    p, t = prediction - prediction.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(p.T @ t)
    sign = np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ sign @ u.T
    scale = np.trace(np.diag(s) @ sign) / (p**2).sum()
    return scale * p @ rotation.T + target.mean(0)


def as_is(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    return prediction


@pytest.mark.parametrize(
    ("metric", "align"),
    [
        (metrics.pve, as_is),
        (metrics.pve_sc, loop_sc),
        (metrics.pve_t_sc, loop_sc),
        (metrics.pve_pa, loop_pa),
        (metrics.mpjpe_smplorigin, as_is),
        (metrics.mpjpe_sc, loop_sc),
        (metrics.pa_mpjpe, loop_pa),
    ],
)
def test_each_metric_is_its_loop(metric: Metric, align: Callable) -> None:
    prediction, target = points(2, 3, 14, seed=1), points(2, 3, 14, seed=2)
    found = metric(prediction, target)
    assert found.shape == (2, 3)
    for place in np.ndindex(2, 3):
        p, t = prediction[place].numpy(), target[place].numpy()
        assert found[place].item() == pytest.approx(loop_error(align(p, t), t), rel=1e-9)


def test_joints_of_the_regressor_are_chosen_by_name_and_the_pelvis_is_the_root() -> None:
    prediction, target = points(4, 17, seed=1), points(4, 17, seed=2)
    chosen = indices(LSP14, H36M17)
    found = metrics.mpjpe(prediction, target)
    for i in range(4):
        p, t = prediction[i] - prediction[i, 0], target[i] - target[i, 0]
        twin = loop_error(p[chosen].numpy(), t[chosen].numpy())
        assert found[i].item() == pytest.approx(twin, rel=1e-9)
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


def test_key_points_out_of_sight_do_not_count_if_told() -> None:
    prediction, target = torch.zeros(2, 3, 2), torch.zeros(2, 3, 2)
    prediction[:, 0, 0], prediction[:, 1, 1] = 3.0, 6.0
    visible = torch.tensor([[True, True, True], [False, True, False]])
    assert metrics.keypoint_error(prediction, target).tolist() == [3, 3]
    assert metrics.keypoint_error(prediction, target, visible).tolist() == [3, 6]


def test_the_best_guess_is_chosen_per_sample_and_may_be_the_mode() -> None:
    samples, target = points(6, 4, 14, seed=1), points(4, 14, seed=2)
    found = metrics.minimum_of_samples(metrics.pve, samples, target)
    for i in range(4):
        twin = min(metrics.pve(samples[n, i], target[i]).item() for n in range(6))
        assert found[i].item() == pytest.approx(twin)
    best = metrics.minimum_of_samples(metrics.pve, samples, target, mode=target)
    assert best.max() == 0
    replaced = metrics.minimum_of_samples(metrics.pve, samples, target, mode=samples[1])
    torch.testing.assert_close(
        replaced, metrics.minimum_of_samples(metrics.pve, samples[1:], target)
    )


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_calibrated_samples_cover_at_their_level(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(4000, generator=generator)
    samples = centre + torch.randn(200, 4000, generator=generator)
    truth = centre + torch.randn(4000, generator=generator)
    share = metrics.coverage(samples, truth, level).mean().item()
    # Three standard errors, and 1 % for the quantiles of 200 samples.
    assert abs(share - level) < 3 * math.sqrt(level * (1 - level) / 4000) + 0.01


def test_coverage_wants_a_probability() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 90.0"):
        metrics.coverage(torch.zeros(3, 2), torch.zeros(2), 90.0)


def test_diversity_is_the_mean_distance_to_the_mean() -> None:
    """Two guesses 2 m apart along one axis for the first joint, equal for the second."""
    samples = torch.zeros(2, 1, 2, 3)
    samples[0, 0, 0, 1], samples[1, 0, 0, 1] = 1.0, -1.0
    torch.testing.assert_close(metrics.sample_diversity(samples), torch.tensor([500.0]))
    first = torch.tensor([[True, False]])
    torch.testing.assert_close(metrics.sample_diversity(samples, first), torch.tensor([1000.0]))
    torch.testing.assert_close(metrics.sample_diversity(samples, ~first), torch.tensor([0.0]))
    assert metrics.sample_diversity(samples, first & ~first).isnan().all()
    assert metrics.sample_diversity(samples[:1]).item() == 0


def test_diversity_is_that_of_a_loop_and_does_not_see_place() -> None:
    samples = points(5, 3, 17)
    found = metrics.sample_diversity(samples, torch.ones(3, 17, dtype=torch.bool))
    for person in range(3):
        mean = samples[:, person].mean(0)
        loop = sum(loop_error(one.numpy(), mean.numpy()) for one in samples[:, person]) / 5
        assert found[person].item() == pytest.approx(loop)
    torch.testing.assert_close(metrics.sample_diversity(samples + 3.0), found)
