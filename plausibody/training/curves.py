"""A run's figures, in a file and for TensorBoard, and its pictures for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jaxtyping import Float
from torch import Tensor

from plausibody.models.files import explained, write_file


@dataclass(frozen=True)
class Line:
    """A line of a run's figures."""

    step: int
    figures: Mapping[str, float]
    """By name, `seconds` among them where the run wrote it down."""
    text: bytes
    """As the file has it."""


class Curves:
    """Keeps a run's figures, in a file and for TensorBoard, and its pictures for TensorBoard.

    Whatever is told is on its way to the disk when the call returns, and what goes wrong is raised
    there: TensorBoard's own writer works in a thread, whose errors come late or never.
    """

    def __init__(self, out: Path, step: int, writes: bool = True):
        """Args:
        out: Folder of the run.
        step: After which a run goes on; later figures are dropped.
        writes: False for all processes of a run but the first, which keep nothing.

        Raises:
            DiskFullError: If there is no space, as all methods do.
        """
        self._out, self._open = out, contextlib.ExitStack()
        self._lines: BinaryIO | None = None
        self.damaged = 0
        """Lines of before that nobody can read any more; they are dropped."""
        if writes:
            with explained(out):
                self.damaged = _forget_after(out / "curves.jsonl", step)
                self._lines = self._append(out / "curves.jsonl")
                self._start_events(step)

    def _append(self, path: Path) -> BinaryIO:
        file = path.open("ab")
        self._open.callback(_close, file)
        return file

    def _start_events(self, step: int) -> None:
        # slow to import, and without types
        from tensorboard.compat.proto.event_pb2 import SessionLog  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
            RecordWriter,
        )

        folder = self._out / "tensorboard"
        folder.mkdir(exist_ok=True)
        # TensorBoard reads files in the order of their names.
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
        self._events = RecordWriter(self._append(folder / name))
        self._tell(0, file_version="brain.Event:2")
        # It drops what it knows from this step on: a stopped run did those steps too.
        self._tell(step + 1, session_log=SessionLog(status=SessionLog.START))

    def _tell(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        self._events.write(event.SerializeToString())
        self._events.flush()

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds figures of a step, by their names."""
        if self._lines is None:
            return
        from torch.utils.tensorboard.summary import scalar

        with explained(self._out / "curves.jsonl"):
            self._lines.write(json.dumps({"step": step, **values}).encode() + b"\n")
            self._lines.flush()
        with explained(self._out / "tensorboard"):
            for name, value in values.items():
                self._tell(step, summary=scalar(name, value))

    def show(self, step: int, name: str, picture: Float[Tensor, "3 height width"]) -> None:
        """Adds a picture of predictions."""
        if self._lines is None:
            return
        from torch.utils.tensorboard.summary import image

        with explained(self._out / "tensorboard"):
            drawn = image(f"predictions/{name}", picture.cpu().numpy(), dataformats="CHW")
            self._tell(step, summary=drawn)


def _close(file: BinaryIO) -> None:
    """Closes a file; all was flushed, or an error about what was not is on its way already."""
    with contextlib.suppress(OSError):
        file.close()


def _forget_after(curves: Path, step: int) -> int:
    """Drops what a stopped run wrote after its last checkpoint: those steps are done again.

    Returns:
        How many damaged lines were dropped as well.
    """
    if not curves.exists():
        return 0
    lines, damaged = read_lines(curves)
    write_file(curves, b"".join(line.text for line in lines if line.step <= step))
    return damaged


def read_lines(curves: Path) -> tuple[list[Line], int]:
    """Reads a run's figures.

    Figures are a record only: damage to some, as a power cut may leave it, costs no others. A line
    that breaks off at the end is left out too, and is no damage: its run was killed or writes it.

    Returns:
        The lines in their order, and how many damaged ones are left out.
    """
    whole, newline, _ = curves.read_bytes().rpartition(b"\n")
    found = [_read_line(text + newline) for text in whole.split(newline)] if newline else []
    lines = [line for line in found if line is not None]
    return lines, len(found) - len(lines)


def _read_line(text: bytes) -> Line | None:
    """Reads a line; None if it is damaged."""
    try:
        values = json.loads(text)
        step = values.pop("step")
        figures = {name: float(value) for name, value in values.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return Line(step, figures, text) if isinstance(step, int) else None


def left_out(damaged: int) -> str:
    """Tells of damaged lines."""
    return f"damaged lines, which are left out of the curves: {damaged}"
