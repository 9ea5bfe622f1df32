"""The optimiser of a run and how its rate changes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from plausibody.config import TrainSettings


def build_optimiser(modules: Iterable[nn.Module], settings: TrainSettings) -> torch.optim.AdamW:
    """Makes AdamW that decays matrices and filters only; without decay it is Adam."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, fused=True)


def rate_at(step: int, settings: TrainSettings) -> float:
    """Gives the learning rate of a step, counted from 0.

    `flat` keeps its rate and falls to zero in a straight line over the last `cool_down` of the
    steps: a run may then be lengthened while it is flat, and nothing was planned wrongly.
    """
    warm = min(1.0, (step + 1) / max(settings.warm_up, 1))
    if settings.schedule == "constant":
        return settings.rate * warm
    if settings.schedule == "flat":
        left = (settings.steps - step) / (settings.cool_down * settings.steps)
        return settings.rate * warm * min(1.0, max(0.0, left))
    return settings.rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
