"""Frozen dataclasses of tensors: moving, slicing and joining them as wholes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Record = TypeVar("Record")


def map_tensors(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """Applies a function to every tensor of a dataclass, also inside nested ones and tables.

    Fields that are None, and those that hold no tensors, stay as they are.
    """
    return _map(record, lambda tensor, _: change(tensor), "")


def to_device(record: Record, device: torch.device | str) -> Record:
    return map_tensors(record, lambda tensor: tensor.to(device))


def take(record: Record, index: slice | Tensor) -> Record:
    """Takes elements along the first axis of every tensor."""
    return map_tensors(record, lambda tensor: tensor[index])


def concatenate(records: Sequence[Record]) -> Record:
    """Joins records of one type along the first axis of every tensor.

    Raises:
        ValueError: If one has a tensor where another has none.
    """
    tables = [_tensors(record) for record in records]
    for table in tables[1:]:
        if odd := table.keys() ^ tables[0].keys():
            raise ValueError(
                f"wanted records with the same tensors, got {', '.join(sorted(odd))} in some only"
            )
    return _map(records[0], lambda _, name: torch.cat([table[name] for table in tables]), "")


def _tensors(record: Any) -> dict[str, Tensor]:
    """Lists every tensor by its path of fields and keys."""
    found: dict[str, Tensor] = {}

    def keep(tensor: Tensor, name: str) -> Tensor:
        found[name] = tensor
        return tensor

    _map(record, keep, "")
    return found


def _map(value: Any, change: Callable[[Tensor, str], Tensor], name: str) -> Any:
    """Rebuilds a tensor, a table of such values or a dataclass, giving each tensor its path."""
    if isinstance(value, Tensor):
        return change(value, name)
    if isinstance(value, dict):
        return {key: _map(item, change, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: _map(getattr(value, field.name), change, f"{name}.{field.name}".lstrip("."))
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changed)
    return value
