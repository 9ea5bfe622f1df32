"""Small tables of numbers on a device, made once each.

To upload a list to a GPU is to wait until the GPU has done all that it was asked to do before, so
code that runs for every batch keeps its tables.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=1024)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Gives numbers as a tensor that all callers share: do not change it.

    Args:
        values: Numbers, or tuples of numbers, of one length each.
        dtype: Always said: to a table of tables, 1 and 1.0 are the same.
        device: As tensors have it.
    """
    with torch.inference_mode(False):  # such tensors could not be used in training later
        return torch.tensor(values, dtype=dtype, device=device)
