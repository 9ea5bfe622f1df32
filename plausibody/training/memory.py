"""Memory: what is free, and the batch that fits into it."""

from __future__ import annotations

import contextlib
import gc
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from plausibody.training.trainer import Trainer

SPARE = 0.9
"""Share of the free memory to count on."""
CPU_ALLOCATOR = "DefaultCPUAllocator: "
"""With which torch says that a CPU has no memory left; it has no error class for that."""


class MemoryShortError(ValueError):
    """A batch was too large for the memory."""


def is_memory_short(error: BaseException) -> bool:
    """Tells want of memory, on any device, from other errors."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)


def free_memory(device: torch.device) -> int | None:
    """Gives the bytes that this process may still take; None where nobody tells."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    told = [_available(Path("/proc/meminfo")), _granted(Path("/sys/fs/cgroup"))]
    known = [value for value in told if value is not None]
    return min(known) if known else None


def held_memory(device: torch.device) -> int:
    """Gives the bytes that this process has taken; 0 where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return 0
    return int(pages.read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _available(meminfo: Path) -> int | None:
    """Reads what Linux could give without swapping."""
    if meminfo.exists():
        for line in meminfo.read_text("utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _granted(group: Path) -> int | None:
    """Reads what is left of a container's limit (cgroup v2), if it has one."""
    limit, used = group / "memory.max", group / "memory.current"
    if not (limit.exists() and used.exists()):
        return None
    most = limit.read_text("utf-8").strip()
    return None if most == "max" else int(most) - int(used.read_text("utf-8"))


@contextlib.contextmanager
def memory_advice(trainer: Trainer, fits: Callable[[], int]) -> Iterator[None]:
    """Says which batch would fit when memory runs out within.

    Linux often kills a process before an allocation fails: then nothing can be said, and the
    estimate before the start is all the warning there is.

    Args:
        trainer: Whose steps are done within.
        fits: Gives a batch size of the whole run that fits.

    Raises:
        MemoryShortError: Instead of torch's error.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_memory_short(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the failed step
    trainer.optimiser.zero_grad()
    gc.collect()
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()
    batch = trainer.config.train.batch_size
    size = fits()
    advice = (
        f"about {size} fit; do: --set train.batch_size={size}"
        if size
        else "fewer than two fit; do: take a smaller network"
    )
    raise MemoryShortError(
        f"step {trainer.step}: wanted memory for batches of {batch} samples, the "
        f"{trainer.device.type} has no more; {advice}, in a new run: a resumed one keeps its "
        "batches"
    ) from None
