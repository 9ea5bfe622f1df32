"""What all commands share: errors in words, progress, the choice of device and threads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of options in glibc's malloc.h."""


@contextlib.contextmanager
def helpful_errors() -> Iterator[None]:
    """Prints what was wanted, what came and what to do, without a traceback; exit code 1."""
    try:
        yield
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
        said = explain(error)
        console.print(f"[bold red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)
        if os.environ.get("PLAUSIBODY_TRACEBACK"):
            raise
        sys.exit(1)


def explain(error: Exception) -> str:
    """Gives the message of an error; where the system's own came through, with what to do."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return (
        f"{error.filename}: wanted to use this file or folder, the system says "
        f"'{error.strerror}'; do: name another, or change who may use it"
    )


@contextlib.contextmanager
def stoppable(kind: type[Exception], again: str) -> Iterator[None]:
    """Says that a run was stopped and how it goes on, and exits as shells expect of a signal.

    Args:
        kind: Error of a run that was asked to stop; its `why` names the signal.
        again: How a run goes on that was ended at once.
    """
    from plausibody.training.launch import first_process

    try:
        yield
    except kind as stopped:
        if first_process():
            tell(str(stopped))
        sys.exit(128 + getattr(signal, getattr(stopped, "why", ""), signal.SIGTERM))
    except KeyboardInterrupt:
        tell(f"ended at once; do: {again}")
        sys.exit(128 + signal.SIGINT)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns what is wrong with the options themselves into click's usage error; exit code 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def prepare_cpu(threads: int) -> None:
    """Leaves one core to the synthesis unless told otherwise, and keeps memory at hand."""
    import torch

    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))
    _keep_memory()


def _keep_memory() -> None:
    """Lets glibc keep the memory of large tensors between steps instead of giving it back.

    Fresh pages cost a fault each; a training step on a CPU gains 2 to 4 %. Nothing happens where
    the C library is another.
    """
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_MMAP_THRESHOLD, 1 << 30)
        set_option(_TRIM_THRESHOLD, (1 << 31) - 1)


def tell(message: str) -> None:
    """Prints a line as it is: paths may hold brackets, which rich would take for markup."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


def teller(quiet: bool) -> Any:
    return (lambda message: None) if quiet else tell


@contextlib.contextmanager
def training_progress(quiet: bool) -> Iterator[Any]:
    """A bar with samples per second and the time left."""
    bar = Progress(
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f} samples/s  loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    )
    with bar:
        task = bar.add_task("train", total=0, visible=False, rate=0.0, loss=float("nan"))

        def watch(progress: Any) -> None:
            bar.update(
                task,
                visible=True,
                total=progress.steps,
                completed=progress.step,
                rate=progress.samples_per_second,
                loss=progress.parts["loss"],
            )

        yield watch


@contextlib.contextmanager
def counting(what: str, quiet: bool) -> Iterator[Any]:
    """A bar for something that is counted."""
    columns = (TextColumn(what + " {task.completed:.0f}/{task.total:.0f}"), BarColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(what, total=0, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def pick_device(device: str) -> str:
    """Resolves "auto": CUDA where there is one."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: no CUDA device is available here; do: --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
