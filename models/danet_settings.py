"""Numbers of DaNet's network."""

from __future__ import annotations

from dataclasses import dataclass

from plausibody.models.proxy import ProxySettings

BACKBONES = ("hrnet", "light")
STREAMS = ("resnet", "light")
DROP_STAGES = ("post", "published")
READS = ("rgb", "iuv")
"""Channels of proxies from which this network can start."""


@dataclass(frozen=True)
class DanetSettings:
    """The network; as published unless said otherwise."""

    backbone: str = "hrnet"
    """hrnet, or light for CPUs. With the channel iuv it only finds the joints."""
    width: int = 48
    """Channels of the features: 48 or 32 of hrnet, any of light."""
    stride: int = 4
    """Pixels of the picture per pixel of the maps, each way (light; hrnet has 4). With the channel
    iuv the maps are those given, and only features are so much smaller."""
    streams: str = "resnet"
    """resnet, or light for CPUs."""
    crop: int = 56
    """Side of the maps round a joint [px]; light streams want a multiple of 4."""
    features: int = 128
    """Of each joint's rotation."""
    local: bool = True
    """Whether rotations come from local streams; else the global one says them too."""
    graph: bool = True
    """Whether the graph refines features of rotations."""
    refine: bool = True
    """Whether the graph refines positions between its other steps."""
    places: bool = False
    """Ours: whether local streams are told where the joints lie in the picture."""
    partdrop: float = 0.3
    """Probability that a part is dropped in training."""
    partdrop_stage: str = "post"
    """post: from clean maps; published: from scores, with which dropped parts may win."""
    scale_jitter: float = 0.2
    """Whole range of the factor of a square's side in training."""
    centre_jitter: float = 0.1
    """Whole range of its shift along each axis in training [half-squares]."""
    estimator_steps: int = 5000
    """First steps in which only maps and places of joints are learnt, from pictures."""

    def __post_init__(self) -> None:
        known = (("backbone", BACKBONES), ("streams", STREAMS), ("partdrop_stage", DROP_STAGES))
        for name, values in known:
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"danet.{name}: wanted {' or '.join(values)}, got {value!r}")
        if not 0 <= self.partdrop < 1:
            raise ValueError(f"danet.partdrop: wanted a probability below 1, got {self.partdrop}")
        for name in ("width", "stride", "crop", "features"):
            if getattr(self, name) < 1:
                raise ValueError(f"danet.{name}: wanted at least 1, got {getattr(self, name)}")
        if self.estimator_steps < 0:
            raise ValueError(f"danet.estimator_steps: wanted 0 or more, got {self.estimator_steps}")
        if self.streams == "light" and self.crop % 4:
            raise ValueError(f"danet.crop: light streams want a multiple of 4, got {self.crop}")

    def map_size(self, proxy: ProxySettings) -> int:
        """Gives the side of the maps of the whole [px]."""
        if proxy.channel == "iuv":
            return proxy.size
        return proxy.size // (4 if self.backbone == "hrnet" else self.stride)
