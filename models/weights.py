"""Weights to share: a network and its card, from which it is built again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plausibody.assets.catalog import find_asset
from plausibody.models.checkpoint import CheckpointError, load_weights
from plausibody.models.mirroring import predict_both
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import BodyPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.regressor import Regressor, RegressorSettings
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS


@dataclass(frozen=True)
class TrainedRegressor:
    """A network ready to use, and what it needs to know of its training."""

    network: Regressor
    """In evaluation mode."""
    proxy: ProxySettings
    """How its inputs are made."""
    gender: str
    """Of the body it predicts."""
    card: dict[str, Any]
    """Method, configuration, commit, seed, samples, metrics."""

    @property
    def body(self) -> str:
        """Which body it predicts, as `models.templates.load_template` takes it."""
        sources = self.card.get("config", {}).get("sources", {})
        return str(sources.get("body", "open"))

    @torch.no_grad()
    def predict(self, proxy: Proxy) -> BodyPrediction:
        """Predicts from a proxy and from its mirror image, and gives the mean."""
        return predict_both(self.network, proxy)


def find_weights(weights: Path | str) -> Path:
    """Finds weights by their file, by the folder of the run that made them, or by a name.

    Args:
        weights: A name is that of weights that ship, such as "lite".
    """
    path = Path(weights)
    if (path / "weights.safetensors").is_file():
        return path / "weights.safetensors"
    if path.suffix or path.is_file():
        return path
    return find_asset(f"weights/{weights}.safetensors")


def load_regressor(path: Path, device: torch.device | str = "cpu") -> TrainedRegressor:
    """Builds a network from its card and fills in its weights.

    Raises:
        FileNotFoundError: If the weights or the card are missing.
        CheckpointError: If they are damaged, or not of a network of ours.
    """
    tensors, card = load_weights(path)
    try:
        config = card["config"]
        settings = RegressorSettings(**config["regressor"])
        proxy = ProxySettings(**config["proxy"])
        start = torch.eye(3).expand(len(SMPL24), 3, 3)
        parents = card.get("parents", SMPL24_PARENTS)
        network = build_regressor(config["method"], settings, proxy, start, parents)
        network.load_state_dict({name: value.float() if value.is_floating_point() else value
                                 for name, value in tensors.items()})  # fmt: skip
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: wanted weights whose card describes a network of this version, got {error!r}"
        ) from error
    return TrainedRegressor(
        network=network.to(device).eval(),
        proxy=proxy,
        gender=config.get("gender", "neutral"),
        card=card,
    )
