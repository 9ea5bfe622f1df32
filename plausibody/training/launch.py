"""The processes of a run: one by itself, or several that `torchrun` started."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn


def first_process() -> bool:
    """Tells the process that writes and speaks from the others of its run."""
    return not _joined() or int(os.environ["RANK"]) == 0


def _joined() -> bool:
    """Tells whether torchrun started this process; what other launchers set is not ours."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def all_processes() -> int:
    """Counts the processes of the run."""
    return int(os.environ["WORLD_SIZE"]) if _joined() else 1


def share_of(batch_size: int, processes: int) -> int:
    """Gives how many samples of a batch each process learns from.

    Raises:
        ValueError: If they cannot be shared out evenly: means over processes would be wrong.
    """
    if batch_size % processes:
        near = max(batch_size // processes, 1) * processes
        raise ValueError(
            f"train.batch_size: wanted a multiple of the {processes} processes, got {batch_size}; "
            f"do: --set train.batch_size={near}"
        )
    return batch_size // processes


def check_launch(device: str, batch_size: int) -> None:
    """Refuses what could not start, before anything is written or any process waits for others.

    Args:
        device: auto, cpu or cuda.
        batch_size: Of all processes together.

    Raises:
        ValueError: If there is no such device, or the batch cannot be shared out evenly.
    """
    find_device(device)
    share_of(batch_size, all_processes())


def find_device(device: str) -> torch.device:
    """Resolves auto, cpu or cuda to this process's device.

    Raises:
        ValueError: If a CUDA device is wanted and there is none, or fewer than processes here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device is available here; do: --device cpu")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    here, count = processes_here(), torch.cuda.device_count()
    if here > count:
        raise ValueError(
            f"torchrun: wanted a GPU for each of {here} processes, found {count}; "
            f"do: --nproc-per-node {count}"
        )
    return torch.device("cuda")


def launch(device: torch.device, precision: str, threads: int = 0) -> Fabric:
    """Joins the other processes of a run, if `torchrun` started several.

    `torchrun --nproc-per-node N -m plausibody train ...` starts N processes; each takes one GPU,
    or on CPUs the cores that `train.threads` gives it. They average their gradients (DDP). Norms
    of batches see the samples of their own process only.

    Args:
        device: Of this process.
        precision: 32-true or bf16-mixed.
        threads: Of torch in each process on a CPU; 0 for an equal share of the cores, less one,
            or of a single process for as many as torch has.
    """
    settings: dict[str, Any] = {"devices": 1}
    if threads and device.type == "cpu":
        torch.set_num_threads(threads)
    if _joined():
        here = processes_here()
        if not threads:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // here - 1))
        nodes = all_processes() // here
        settings = {"devices": here, "num_nodes": nodes, "strategy": "ddp"}
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    precise: Any = precision
    # Its greetings, one a process, tell a user nothing.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=accelerator, precision=precise, **settings)
    fabric.launch()
    return fabric


def processes_here() -> int:
    """Gives how many processes of the run share this machine's cores."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _joined() else 1


def compile_network(
    network: nn.Module,
    device: torch.device | str,
    backend: str | Callable[..., Any] = "inductor",
) -> None:
    """Lets torch.compile make one program of a network at its first use; it stays what it was.

    Whether programs can be made here is tried before, with a small one.

    Args:
        network: Called as before; names and values of its parameters do not change.
        device: Where it will run.
        backend: Of torch.compile.

    Raises:
        ValueError: If no program can be made here, most often for want of a compiler.
    """
    trial = torch.compile(torch.nn.functional.gelu, backend=backend)
    try:
        trial(torch.zeros(8, device=device))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "nothing")
        raise ValueError(
            "train.compile: wanted a C++ compiler and Python's headers, which torch.compile needs, "
            f"got {type(error).__name__}: {said}; do: install them (apt-get install g++ "
            "python3-dev), name the compiler in CXX, or --set train.compile=false"
        ) from error
    network.compile(backend=backend)


def pick_precision(precision: str, device: torch.device) -> str:
    """Resolves "auto": bf16 where the device multiplies it faster than float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capable = torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_has("avx512_bf16")
    return "bf16-mixed" if capable else "32-true"


def _cpu_has(flag: str) -> bool:
    """Looks for an instruction set where Linux lists them; elsewhere there is none to rely on."""
    path = Path("/proc/cpuinfo")
    return path.exists() and f" {flag}" in path.read_text("utf-8")
