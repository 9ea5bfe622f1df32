"""Numbers that are the same on every device: computed in double precision, then rounded.

Processors differ in the last bits of sines, exponentials and sums of products. In double precision
those bits lie so far below what a float keeps that they are hardly ever seen after rounding: of a
hundred million numbers, in about one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def rounded(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Gives a function of numbers to the nearest float32.

    Args:
        values: What the function is given, in double precision.
    """
    return function(*(value.double() for value in values)).float()
