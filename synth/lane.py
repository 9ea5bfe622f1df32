"""A stream of its own on a GPU for what makes batches, so that making and learning do not wait.

Work given to one CUDA stream is done in order. Were batches made in the stream that learns, each
upload of a background would wait for all steps given before it, and each step for all batches.
"""

from __future__ import annotations

import contextlib
from typing import TypeVar

import torch
from torch import Tensor

from plausibody.models.records import map_tensors

Record = TypeVar("Record")


class Lane:
    """Where a thread makes batches: beside the stream of the consumer on a GPU; on a CPU, nowhere.

    Made in the consumer's thread, after everything that batches are made of.
    """

    def __init__(self, device: torch.device):
        """Args:
        device: Where batches are made.
        """
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def entered(self) -> contextlib.AbstractContextManager[object]:
        """Makes this lane the current one of the thread that asks, and its GPU the current GPU."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> torch.cuda.Event | None:
        """Marks what the lane has been given to do so far."""
        return None if self._stream is None else self._stream.record_event()

    def leave(self, record: Record, mark: torch.cuda.Event | None) -> Record:
        """Hands a record to the stream of the thread that asks, which waits for it; nobody else.

        Args:
            record: Of tensors that were made in the lane.
            mark: Set after they were.
        """
        if mark is None:
            return record
        stream = torch.cuda.current_stream(mark.device)
        stream.wait_event(mark)

        def keep(tensor: Tensor) -> Tensor:
            if tensor.is_cuda:  # its memory goes to no new batch before the stream has read it
                tensor.record_stream(stream)
            return tensor

        return map_tensors(record, keep)
