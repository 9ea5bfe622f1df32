"""What a network said of some people: whether it is of bodies, and of some of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from plausibody.models.prediction import BodyPrediction
from plausibody.models.records import map_tensors, take

Prediction = TypeVar("Prediction", bound=BodyPrediction)


def troubles_of(answer: BodyPrediction) -> list[str]:
    """Says what is wrong with a network's numbers; nothing if they are a body."""
    fine = torch.ones_like(answer.camera.scale, dtype=torch.bool)

    def check(tensor: Tensor) -> Tensor:
        fine.logical_and_(torch.isfinite(tensor).reshape(len(fine), -1).all(1))
        return tensor

    map_tensors(answer, check)
    return [
        "numbers that are not finite"
        if not is_fine
        else ("" if scale > 0 else f"a camera of scale {scale:.3g}, wanted more than 0")
        for is_fine, scale in zip(fine.tolist(), answer.camera.scale.tolist(), strict=True)
    ]


def rows_of(answer: Prediction, rows: Sequence[int]) -> Prediction:
    """Takes some people of a batch."""
    return take(answer, torch.tensor(rows, dtype=torch.long, device=answer.camera.scale.device))
