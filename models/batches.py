"""Things in batches, however many there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields as many at a time as told, in their order; the last batch may be smaller.

    Raises:
        ValueError: If the size is below 1.
    """
    if size < 1:
        raise ValueError(f"batch size: wanted at least 1, got {size}")
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
