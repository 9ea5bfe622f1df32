"""How often something is drawn: chance for 10,000 people, and shares against probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plausibody.synth.chance import Chance

COUNT = 10_000


def chance(count: int = COUNT) -> Chance:
    return Chance(1, torch.arange(count))


def share(events: Tensor) -> Tensor:
    return events.double().mean(0)


def close(events: Tensor, probability: float) -> bool:
    """Tells whether a share is within four standard deviations of its probability."""
    spread = math.sqrt(probability * (1 - probability) / len(events))
    return bool(((share(events) - probability).abs() <= 4 * spread).all())
