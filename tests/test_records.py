"""Records of tensors: nested ones, tables, and fields without any."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from plausibody.models.records import concatenate, map_tensors, take, to_device


@dataclass(frozen=True)
class Inner:
    place: Tensor
    name: str = "inner"


@dataclass(frozen=True)
class Record:
    first: Tensor
    inner: Inner
    missing: Tensor | None = None
    table: dict[str, Tensor] = field(default_factory=dict)


def record(start: int, count: int, **changes: Tensor) -> Record:
    numbers = torch.arange(start, start + count)
    table = {"depth": numbers + 200, "rgb": numbers[:, None] + 300}
    return Record(first=numbers, inner=Inner(numbers + 100), table=table | changes)


def test_every_tensor_is_reached_and_nothing_else() -> None:
    doubled = map_tensors(record(1, 2), lambda tensor: 2 * tensor)
    assert doubled.first.tolist() == [2, 4] and doubled.inner.place.tolist() == [202, 204]
    assert doubled.table["depth"].tolist() == [402, 404] and doubled.inner.name == "inner"
    assert doubled.missing is None
    moved = to_device(record(1, 2), "meta")
    assert {moved.first.device.type, moved.table["rgb"].device.type} == {"meta"}


def test_parts_put_together_are_the_whole() -> None:
    whole = record(5, 6)
    parts = [
        take(whole, slice(0, 2)),
        take(whole, slice(2, 3)),
        take(whole, torch.tensor([3, 4, 5])),
    ]
    joined = concatenate(parts)
    assert torch.equal(joined.first, whole.first)
    assert torch.equal(joined.inner.place, whole.inner.place)
    assert joined.table.keys() == whole.table.keys()
    assert all(torch.equal(joined.table[name], whole.table[name]) for name in whole.table)


def test_tables_are_joined_by_name_whatever_their_order() -> None:
    one, other = record(0, 2), record(2, 1)
    turned = Record(other.first, other.inner, table=dict(reversed(other.table.items())))
    assert concatenate([one, turned]).table["depth"].tolist() == [200, 201, 202]


def test_records_with_different_tensors_are_not_joined() -> None:
    with pytest.raises(ValueError, match="same tensors, got table.edges in some only"):
        concatenate([record(0, 2), record(2, 2, edges=torch.zeros(2))])
    full = Record(torch.zeros(1), Inner(torch.zeros(1)), missing=torch.zeros(1))
    with pytest.raises(ValueError, match="same tensors, got missing in some only"):
        concatenate([full, Record(torch.zeros(1), Inner(torch.zeros(1)))])
