"""The variants of an error: over which joints, and of which guess of a prediction."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from plausibody.evaluate import metrics, sample_metrics
from plausibody.evaluate.datasets.people import LabelledJoints
from plausibody.evaluate.distributions import least_errors
from plausibody.evaluate.protocols import tagged
from plausibody.models.skeleton import H36M17, LSP14, indices

Errors: TypeAlias = dict[str, Tensor]
"""By metric, (guesses, people): of the mode first, then of each sample."""
PELVIS = H36M17.index("pelvis")
JOINT_SETS: tuple[tuple[tuple[str, ...], list[str]], ...] = (((), LSP14), (("h36m17",), H36M17))
"""Tags and names of the joints that papers count: J14, and the J17 of MPI-INF-3DHP."""
ONCE = ("root_angle", "mpjpe[h36m17]", "mpjpe_sc[h36m17]", "pa_mpjpe[h36m17]")
"""Metrics that no paper takes of samples; samples share one root."""


def joint_errors(guess: Float[Tensor, "guesses people 17 3"], truth: LabelledJoints) -> Errors:
    """Compares joints with labels that have nothing but joints.

    Args:
        guess: Of the H36M regressor, in the world [m].
        truth: From the root.

    Returns:
        Errors of the 14 joints of LSP, and of all of H36M's where they are labelled. Who has not
        all of them counted has NaN: alignments of fewer points are not comparable.
    """
    found: Errors = {}
    for tags, names in JOINT_SETS:
        if any(name not in truth.names for name in names):
            continue
        theirs, ours = indices(names, list(truth.names)), indices(names, H36M17)
        true = truth.places[:, theirs].expand(*guess.shape[:2], -1, -1)
        mine = guess[..., ours, :]
        whole = truth.counted[:, theirs].all(-1)
        # The root of the labels is the protocol's, not always a joint among them.
        errors = {
            "mpjpe": metrics.point_error(mine - guess[..., PELVIS : PELVIS + 1, :], true),
            "mpjpe_sc": metrics.mpjpe_sc(mine, true, names),
            "pa_mpjpe": metrics.pa_mpjpe(mine, true, names),
        }
        for name, error in errors.items():
            found[tagged(name, *tags)] = torch.where(whole, error, math.nan)
    return found


def reduced(errors: Errors, count: int) -> dict[str, Tensor]:
    """Takes the mode's errors, and those of samples: the mean of 2D ones, the best of all others.

    Each metric takes the sample that is best by it. Papers let the mode take the place of the first
    sample; without it the samples stand alone.
    """
    found: dict[str, Tensor] = {}
    for name, error in errors.items():
        found[name] = error[0]
        if not count or name in ONCE:
            continue
        if name.startswith("keypoint_error"):
            found[tagged(name, f"samples{count}")] = error[1:].mean(0)
            continue
        samples = error[1:]
        found[tagged(name, f"min{count}+mode")] = least_errors(samples, [count], error[0])[count]
        found[tagged(name, f"min{count}")] = least_errors(samples, [count])[count]
    return found


def diversity(
    coco: Float[Tensor, "N people 17 3"], seen: Bool[Tensor, "people 17"], count: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tells how far samples spread, of key points that were seen and of the others [mm].

    Returns:
        The means of each person, and by how many points each counts where they are pooled, as
        HuManiFlow's evaluation does it.
    """
    values, weights = {}, {}
    for which, counted in (("visible", seen), ("hidden", ~seen)):
        spread = sample_metrics.sample_diversity(coco, counted)
        values[tagged("diversity", which, f"samples{count}")] = spread
        pooled = tagged("diversity", which, "pooled", f"samples{count}")
        values[pooled], weights[pooled] = spread, counted.sum(-1)
    return values, weights
