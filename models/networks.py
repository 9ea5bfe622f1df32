"""Which network a method has: encoder and head put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from plausibody.models.danet import DanetRegressor
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.hierarchical import HierarchicalRegressor
from plausibody.models.hmr import HmrRegressor, RgbEncoder, RgbLiteEncoder
from plausibody.models.proxy import ProxySettings
from plausibody.models.regressor import (
    DeepLiteEncoder,
    HeatmapEncoder,
    LiteRegressor,
    PointRegressor,
    Regressor,
    RegressorSettings,
    StrapsRegressor,
)
from plausibody.models.skeleton import SMPL24_PARENTS

NETWORKS = ("lite", "straps", "hierprob", "hmr", "danet")


def build_regressor(
    method: str,
    settings: RegressorSettings,
    proxy: ProxySettings,
    mean_rotations: Float[Tensor, "J 3 3"],
    parents: Sequence[int] = SMPL24_PARENTS,
    danet: DanetSettings | None = None,
) -> Regressor:
    """Makes the network of a method.

    Args:
        method: One of `NETWORKS`, which decides the head.
        settings: Encoder and sizes.
        proxy: What is read.
        mean_rotations: Where single estimates start; the root is set to face the camera.
        parents: Of the body's joints, with -1 for the root.
        danet: Sizes of that network, which takes nothing from `settings` but the number of shape
            coefficients; as published if None.

    Raises:
        ValueError: If the method is unknown, or cannot read the proxy's channel.
    """
    if method not in NETWORKS:
        raise ValueError(f"method: wanted one of {', '.join(NETWORKS)}, got {method!r}")
    if settings.gendered and method != "hierprob":
        raise ValueError(f"regressor.gendered: wanted the method hierprob, got {method}")
    if method == "danet":
        return DanetRegressor(
            danet or DanetSettings(), proxy, mean_rotations, settings.shape_count, parents
        )
    if proxy.channel == "iuv":
        raise ValueError(f"proxy.channel: only danet reads iuv, the method is {method}")
    encoder = build_encoder(settings, proxy)
    if method == "hierprob":
        return HierarchicalRegressor(
            encoder,
            encoder.features,
            parents,
            proxy.channel,
            settings.shape_count,
            settings.conditioning,
            settings.whole_covariance,
            settings.gendered,
        )
    points: dict[str, Callable[..., PointRegressor]] = {
        "straps": StrapsRegressor,
        "lite": LiteRegressor,
        "hmr": HmrRegressor,
    }
    return points[method](encoder, mean_rotations, settings.shape_count, proxy.channel)


def build_encoder(
    settings: RegressorSettings, proxy: ProxySettings
) -> HeatmapEncoder | DeepLiteEncoder | RgbEncoder | RgbLiteEncoder:
    """Makes what reads proxies: of silhouettes or edges and key points, or of rgb.

    Raises:
        ValueError: If key points are to be read of rgb by an encoder that cannot.
    """
    if settings.keypoints and (proxy.channel != "rgb" or settings.encoder != "lite"):
        raise ValueError(
            "regressor.keypoints: of use with proxy.channel=rgb and regressor.encoder=lite alone, "
            f"got {proxy.channel} and {settings.encoder}; do: leave it away"
        )
    if proxy.channel == "rgb":
        if settings.encoder == "resnet":
            return RgbEncoder(settings.depth)
        return RgbLiteEncoder(settings, proxy.size)
    if settings.encoder == "resnet":
        return HeatmapEncoder(settings.depth, settings.heatmap_sigma)
    return DeepLiteEncoder(settings, proxy.size)
