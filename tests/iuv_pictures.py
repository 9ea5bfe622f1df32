"""Made-up IUV pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def picture(batch: int = 2, size: int = 32, seed: int = 0) -> Tensor:
    """A random IUV picture, of the background in a quarter of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    part = torch.randint(1, 25, (batch, 1, size, size), generator=generator)
    part = part * (torch.rand(part.shape, generator=generator) > 0.25)
    place = torch.rand(batch, 2, size, size, generator=generator)
    return torch.cat([part.float(), place * (part > 0)], 1)
