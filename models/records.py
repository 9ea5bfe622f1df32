"""Frozen dataclasses of tensors: moving, slicing and joining them as wholes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Record = TypeVar("Record")


def map_tensors(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """Applies a function to every tensor of a dataclass, also inside nested ones."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = change(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = map_tensors(value, change)
    return dataclasses.replace(record, **changed)  # type: ignore[type-var]


def to_device(record: Record, device: torch.device | str) -> Record:
    return map_tensors(record, lambda tensor: tensor.to(device))


def take(record: Record, index: slice | Tensor) -> Record:
    """Takes elements along the first axis of every tensor."""
    return map_tensors(record, lambda tensor: tensor[index])


def concatenate(records: Sequence[Record]) -> Record:
    """Joins records of one type along the first axis of every tensor."""
    queues = [_tensors(record) for record in records]
    joined = iter([torch.cat(parts) for parts in zip(*queues, strict=True)])
    return map_tensors(records[0], lambda _: next(joined))


def _tensors(record: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(record, keep)
    return found
