"""Published definitions of metrics once more, in plain NumPy and loops, of one person each.

Points are (N, 3) in metres, errors millimetres. `METRICS` has a twin by the name of each metric of
`evaluate.metrics` that compares points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

H36M_TO_J14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
"""SPIN's table: the joints that count, in LSP's order, among the rows of the H36M regressor."""
H36M_TO_J17 = [*H36M_TO_J14, 0, 7, 9]
"""SPIN's table for MPI-INF-3DHP."""


def loop_error(prediction: Points, target: Points) -> float:
    total = 0.0
    for p, t in zip(prediction, target, strict=True):
        total += math.sqrt(sum((a - b) ** 2 for a, b in zip(p, t, strict=True)))
    return 1000 * total / len(target)


def scaled(prediction: Points, target: Points) -> Points:
    """As `scale_and_translation_transform_batch` of STRAPS and HierProb3D does it."""
    p, t = prediction - prediction.mean(0), target - target.mean(0)
    rms = [math.sqrt(sum(x @ x for x in cloud) / len(cloud)) for cloud in (p, t)]
    return p / rms[0] * rms[1] + target.mean(0)


def procrustes(prediction: Points, target: Points) -> Points:
    """As `compute_similarity_transform` of SPIN does it."""
    p, t = prediction - prediction.mean(0), target - target.mean(0)
    u, _, vt = np.linalg.svd(p.T @ t)
    sign = np.eye(3)
    sign[2, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = vt.T @ sign @ u.T
    scale = np.trace(rotation @ p.T @ t) / (p**2).sum()
    return scale * p @ rotation.T + target.mean(0)


def pve(prediction: Points, target: Points) -> float:
    return loop_error(prediction, target)


def pve_sc(prediction: Points, target: Points) -> float:
    return loop_error(scaled(prediction, target), target)


def pve_pa(prediction: Points, target: Points) -> float:
    return loop_error(procrustes(prediction, target), target)


def pve_pelvis(prediction: Points, target: Points, pelvis: Points, true_pelvis: Points) -> float:
    return loop_error(prediction - pelvis, target - true_pelvis)


def mpjpe(prediction: Points, target: Points, rows: list[int] = H36M_TO_J14) -> float:
    return loop_error((prediction - prediction[0])[rows], (target - target[0])[rows])


def mpjpe_smplorigin(prediction: Points, target: Points, rows: list[int] = H36M_TO_J14) -> float:
    return loop_error(prediction[rows], target[rows])


def mpjpe_sc(prediction: Points, target: Points, rows: list[int] = H36M_TO_J14) -> float:
    return pve_sc(prediction[rows], target[rows])


def pa_mpjpe(prediction: Points, target: Points, rows: list[int] = H36M_TO_J14) -> float:
    return pve_pa(prediction[rows], target[rows])


METRICS: dict[str, Callable[..., float]] = {
    **{"pve": pve, "pve_t": pve, "pve_sc": pve_sc, "pve_t_sc": pve_sc, "pve_pa": pve_pa},
    **{"mpjpe": mpjpe, "mpjpe_smplorigin": mpjpe_smplorigin},
    **{"mpjpe_sc": mpjpe_sc, "pa_mpjpe": pa_mpjpe},
}


def confusion(prediction: NDArray[Any], target: NDArray[Any]) -> tuple[int, int, int]:
    """Counts true positives, false positives and false negatives of a mask, pixel by pixel."""
    counts = [0, 0, 0]
    for p, t in zip(prediction.ravel() > 0.5, target.ravel() > 0.5, strict=True):
        for place, case in enumerate([(True, True), (True, False), (False, True)]):
            counts[place] += (bool(p), bool(t)) == case
    return counts[0], counts[1], counts[2]


def mean_iou(predictions: NDArray[Any], targets: NDArray[Any]) -> float:
    shares = []
    for pair in zip(predictions, targets, strict=True):
        tp, fp, fn = confusion(*pair)
        shares.append(tp / (tp + fp + fn) if tp + fp + fn else 1.0)
    return sum(shares) / len(shares)


def pooled_iou(predictions: NDArray[Any], targets: NDArray[Any]) -> float:
    """As HierProb3D's evaluation sums it up over a data set."""
    tp, fp, fn = (sum(c) for c in zip(*map(confusion, predictions, targets), strict=True))
    return tp / (tp + fp + fn)


def published_classes(
    found: list[NDArray[Any]], true: list[NDArray[Any]], classes: int
) -> tuple[float, float]:
    """Accuracy and mean F1 of label maps, as SPIN's evaluation of LSP sums them up; 255: unsure."""
    tp, fp, fn, right, pixels = np.zeros(classes), np.zeros(classes), np.zeros(classes), 0, 0
    for f, t in zip(found, true, strict=True):
        for one, other in zip(f.ravel().tolist(), t.ravel().tolist(), strict=True):
            right += one == (0 if other == 255 else other)
            pixels += 1
            for c in range(classes):
                said, is_so = one == c and other != 255, other == c
                tp[c] += said and is_so
                fp[c] += said and not is_so
                fn[c] += is_so and not said
    return right / pixels, float((2 * tp / (2 * tp + fp + fn)).mean())


def flat_error(prediction: NDArray[Any], target: NDArray[Any], visible: NDArray[np.bool_]) -> float:
    """The mean distance of the key points that count; NaN without any."""
    found = [math.dist(p, t) for p, t, v in zip(prediction, target, visible, strict=True) if v]
    return sum(found) / len(found) if found else math.nan


def diversity(samples: NDArray[Any], counted: NDArray[np.bool_]) -> float:
    """The mean distance of samples (N, J, 3) to their mean, of the joints that count."""
    mean = sum(samples) / len(samples)
    return sum(1000 * flat_error(one, mean, counted) for one in samples) / len(samples)


def fisher_nll(parameter: Points, rotation: Points, nodes: int = 4001) -> float:
    """Gives -log of the density of a matrix-Fisher distribution, relative to the uniform one.

    The constant is the integral of Lee, "Bayesian Attitude Estimation with the Matrix Fisher
    Distribution on SO(3)", 2018, equation 15, by Simpson's rule.
    """
    left, values, right = np.linalg.svd(parameter)
    values[2] *= np.linalg.det(left) * np.linalg.det(right)
    one, two, three = values
    u = np.linspace(-1, 1, nodes)
    inner = np.i0((one - two) / 2 * (1 - u)) * np.i0((one + two) / 2 * (1 + u))
    height = 0.5 * inner * np.exp(three * u)
    weight = np.where(np.arange(nodes) % 2, 4.0, 2.0)
    weight[[0, -1]] = 1.0
    constant = (height * weight).sum() * (u[1] - u[0]) / 3
    return float(np.log(constant) - (parameter * rotation).sum())


def gaussian_nll(mean: Points, factor: Points, value: Points) -> float:
    """Gives -log of the density of a normal distribution, by its covariance's Cholesky factor."""
    covariance, gap = factor @ factor.T, value - mean
    squared = gap @ np.linalg.inv(covariance) @ gap
    logarithm = np.log(np.linalg.det(2 * np.pi * covariance))
    return float((squared + logarithm) / 2)
