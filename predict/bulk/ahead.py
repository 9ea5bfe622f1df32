"""Opens the pictures that come next while the present ones are being looked at.

A picture is needed up to three times: where people are found, where edges are read, and where the
body is drawn over it. It is decoded once, and kept until its batch is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from jaxtyping import UInt8
from torch import Tensor

Item = TypeVar("Item")

ROOM = 256_000_000
"""Bytes of pictures held at a time, and one more of any size: 7 photos of 12 megapixels."""


class ReadAhead:
    """Pictures by name, decoded by another thread where they were announced.

    What does not fit into its room is opened when it is asked for, and not kept. Either way the
    pictures are the same.
    """

    def __init__(self, opener: Callable[[Path], UInt8[Tensor, "H W 3"]], room: int = ROOM):
        """Args:
        opener: Decodes a picture; two threads call it.
        room: For pictures [bytes].
        """
        self._open = opener
        self._room = room
        self._held: dict[str, Future[Tensor | None]] = {}
        self.held = 0
        """Bytes of pictures in memory."""
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def __call__(self, path: Path) -> UInt8[Tensor, "H W 3"]:
        """Gives a picture, which nobody may change. Raises what opening it raises."""
        future = self._held.get(str(path))
        picture = None if future is None else future.result()
        return self._open(path) if picture is None else picture

    def batches(
        self, batches: Iterable[Sequence[Item]], name: Callable[[Item], str]
    ) -> Iterator[Sequence[Item]]:
        """Gives batches of photos, while the pictures of the one that follows are opened.

        Args:
            name: Of the picture of a photo.
        """
        batches = iter(batches)
        batch = next(batches, None)
        while batch is not None:
            following = next(batches, None)
            later = [name(photo) for photo in following or ()]
            self.announce([*map(name, batch), *later])
            yield batch
            self.forget(set(map(name, batch)) - set(later))
            batch = following

    def announce(self, names: Iterable[str]) -> None:
        """Says which pictures come next, in this order."""
        for name in names:
            if name not in self._held:
                self._held[name] = self._thread.submit(self._decode, name)

    def forget(self, names: Iterable[str]) -> None:
        """Says that some pictures are not needed any more."""
        for name in names:
            future = self._held.pop(name, None)
            if future is None or future.cancel() or future.exception() is not None:
                continue
            picture = future.result()
            with self._lock:
                self.held -= 0 if picture is None else picture.numel()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._held.clear()

    def _decode(self, name: str) -> Tensor | None:
        with self._lock:
            if self.held >= self._room:
                return None
        picture = self._open(Path(name))
        with self._lock:
            self.held += picture.numel()
        return picture
