"""Errors of samples of a prediction on the open benchmark: the best of N, as papers print it."""

from __future__ import annotations

import torch
from torch import Tensor

from plausibody.evaluate import metrics
from plausibody.evaluate.datasets.variants import Errors, reduced
from plausibody.evaluate.ruler import Measured, Ruler
from plausibody.models.body import rest_vertices
from plausibody.models.markers import Markers
from plausibody.models.prediction import BodyParameters, BodyPrediction
from plausibody.predict.answers import rows_of

CHUNK = 32
"""People of whom samples are drawn together, from a seed of their own."""


def best_of_samples(
    prediction: BodyPrediction,
    ruler: Ruler,
    true: Measured,
    modes: dict[str, Tensor],
    count: int,
    first: int,
) -> dict[str, Tensor]:
    """Gives the errors of the best of some samples of each person, by metric and tags.

    Args:
        prediction: Of people on the ruler's device.
        ruler: Of the body that is predicted.
        modes: Errors of the modes.
        count: How many samples.
        first: Number of the first person; a multiple of `CHUNK`. Samples follow from the people's
            numbers, and so not from how many are measured together.
    """
    template, regressors = ruler.assets.template, ruler.assets.regressors
    nothing = torch.arange(0, device=template.faces.device)
    markers = Markers.of(template, regressors, nothing)
    parts: list[Errors] = []
    for start in range(0, len(true.h36m), CHUNK):
        rows = list(range(start, min(start + CHUNK, len(true.h36m))))
        generator = torch.Generator(template.faces.device).manual_seed((first + start) // CHUNK)
        drawn = rows_of(prediction, rows).sample(count, generator)
        parts.append(_errors(drawn, markers, ruler, true, rows))
    found = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    every = reduced({name: torch.cat([modes[name][None], e]) for name, e in found.items()}, count)
    return {name: error for name, error in every.items() if name not in modes}


def _errors(
    drawn: BodyParameters, markers: Markers, ruler: Ruler, true: Measured, rows: list[int]
) -> Errors:
    joints = markers(drawn).h36m
    rest = rest_vertices(ruler.assets.template, drawn.shape)
    true_joints, true_rest = true.h36m[rows].expand_as(joints), true.rest[rows].expand_as(rest)
    return {
        "mpjpe": metrics.mpjpe(joints, true_joints),
        "mpjpe_smplorigin": metrics.mpjpe_smplorigin(joints, true_joints),
        "mpjpe_sc": metrics.mpjpe_sc(joints, true_joints),
        "pa_mpjpe": metrics.pa_mpjpe(joints, true_joints),
        "pve_t_sc": metrics.pve_t_sc(rest, true_rest),
    }
