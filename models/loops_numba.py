"""Compiled loops over images: how they are compiled, and how threads share the images.

Threads are plain Python threads: numba's own parallel layer may kill the process when two threads
enter it at once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numba import njit, types
from numba.extending import intrinsic


def compile_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles without the interpreter's lock, and keeps the machine code on disk where it can.

    Every operation on floats stays the IEEE operation that is written, in that order, so that
    other backends can do the same bit for bit.
    """
    function = inspect.unwrap(function)  # numba cannot compile what checks of types wrap
    # The "numpy" error model leaves out a test for zero before each division.
    compiler = functools.partial(njit, nogil=True, error_model="numpy", fastmath=False)
    try:
        return compiler(cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return compiler()(function)


def _multiply_add(typing: Any, x: Any, y: Any, z: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    single = types.float32
    return single(single, single, single), generate


fma: Any = intrinsic(_multiply_add)
"""Gives x y + z of three float32, rounded once; in compiled loops only."""


def share_images(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Cuts `count` images into ranges and has them worked on by threads of this call alone.

    Args:
        work: Takes the first image and the one after the last.
    """
    pieces = min(count, threads * 4)
    if threads == 1 or pieces < 2:
        return work(0, count)
    bounds = [count * k // pieces for k in range(pieces + 1)]
    # A pool costs 0.1 ms; one that outlived the call would be dead after a fork.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))
