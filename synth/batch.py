"""What the synthetic stream hands over."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from plausibody.models.losses import Target
from plausibody.models.proxy import Proxy


@dataclass(frozen=True)
class Batch:
    """Inputs and truth of some people; the first axis of every tensor runs over them."""

    proxy: Proxy
    target: Target
    channels: dict[str, Tensor] = field(default_factory=dict)
    """What else was rendered, by name, where a recipe was asked to keep it."""

    def __len__(self) -> int:
        return len(self.proxy.silhouette)
