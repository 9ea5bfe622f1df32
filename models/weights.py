"""Weights to share: a network and its card, from which it is built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.models.checkpoint import CheckpointError, load_weights, save_weights
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.mirroring import predict_both
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import BodyPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.quantise import STORED, halve, quantise
from plausibody.models.regressor import Regressor, RegressorSettings
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS

DEFAULT_WEIGHTS = "hierprob-lite"
"""Weights that ship and are used unless others are named: they give distributions."""
PUBLISHED_SUFFIXES = (".tar", ".pt", ".pth", ".ckpt")
"""Suffixes of published checkpoints; ours are `.safetensors`."""
BACKBONE = "image_encoder"
"""Where every network has its encoder."""


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

    @property
    def reads_keypoints(self) -> bool:
        """Whether key points are looked at, and do not only help to find the box."""
        settings = self.card.get("config", {}).get("regressor", {})
        return self.proxy.channel not in ("rgb", "iuv") or bool(settings.get("keypoints", False))

    @torch.no_grad()
    def predict(self, proxy: Proxy) -> BodyPrediction:
        """Predicts from a proxy and from its mirror image, and gives the mean."""
        return predict_both(self.network, proxy)


def find_weights(weights: Path | str) -> Path:
    """Finds weights by their file, by the folder of the run that made them, or by a name.

    Args:
        weights: A name is that of weights that ship, such as "lite"; or of a published checkpoint
            in the search order, such as "LASOR.tar".

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a run in the current folder has the name of weights that ship.
    """
    path = Path(weights)
    if (trained := path / "weights.safetensors").is_file():
        if path.parts == (path.name,) and (shipped := _shipped(path.name)) is not None:
            raise ValueError(
                f"weights: wanted one network, found two of the name {path}: that of the run "
                f"{path.absolute()}, and one that ships; do: --weights {trained}, or --weights "
                f"{shipped}"
            )
        return trained
    if path.suffix in PUBLISHED_SUFFIXES and not path.exists():
        return find_asset(path.as_posix())
    if path.suffix or path.is_file():
        return path
    return find_asset(f"weights/{weights}.safetensors")


def _shipped(name: str) -> Path | None:
    try:
        return find_asset(f"weights/{name}.safetensors")
    except FileNotFoundError:
        return None


def load_regressor(path: Path, device: torch.device | str = "cpu") -> TrainedRegressor:
    """Builds a network from its card and fills in its weights.

    Published checkpoints, such as SPIN's and HierProb3D's, go to `models.official.load_official`.

    Raises:
        FileNotFoundError: If the weights or the card are missing.
        CheckpointError: If they are damaged, or not of a network of ours.
    """
    if path.suffix in PUBLISHED_SUFFIXES:
        from plausibody.models.official import load_official  # it makes what is defined here

        return load_official(path, device)
    tensors, card = load_weights(path)
    try:
        config = card["config"]
        settings = RegressorSettings(**config["regressor"])
        proxy = ProxySettings(**config["proxy"])
        start = torch.eye(3).expand(len(SMPL24), 3, 3)
        parents = card.get("parents", SMPL24_PARENTS)
        danet = DanetSettings(**config.get("danet", {}))
        network = build_regressor(config["method"], settings, proxy, start, parents, danet)
        network.load_state_dict({name: value.float() if value.is_floating_point() else value
                                 for name, value in tensors.items()})  # fmt: skip
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: wanted weights whose card ({path.with_suffix('.json').name}) describes a "
            f"network of this version, got one {_complaint(error)}; do: get both files again, or "
            "use the plausibody that wrote them"
        ) from error
    return TrainedRegressor(
        network=network.to(device).eval(),
        proxy=proxy,
        gender=config.get("gender", "neutral"),
        card=card,
    )


def _complaint(error: Exception) -> str:
    """Says in words what is wrong with a card."""
    if isinstance(error, KeyError):
        return f"without {str(error.args[0])!r}"
    if isinstance(error, RuntimeError):  # of torch, which lists every tensor
        return "of another network than these tensors are of"
    if isinstance(error, TypeError):  # of a settings class, whose name says nothing to users
        return "with other settings than this version has, or with values of another kind"
    return f"that does not fit ({error})"


def save_regressor(
    network: Regressor, path: Path, card: dict[str, Any], stored: str = "float16"
) -> None:
    """Writes the weights of a network, and its card, for `load_regressor`.

    Args:
        path: Of the weights, ending in `.safetensors`.
        card: With the configuration, as runs give it or as another file's card has it.
        stored: float16, or int8 for half the size; the card tells which.

    Raises:
        ValueError: If weights are to be written in another way, or are no numbers.
    """
    tensors = network.state_dict()
    if stored == "float16":
        tensors = {name: halve(value) for name, value in tensors.items()}
    elif stored == "int8":
        tensors = quantise(tensors, {name for name, _ in network.named_parameters()})
    else:
        raise ValueError(f"stored: wanted one of {', '.join(STORED)}, got {stored!r}")
    own = {key: value for key, value in card.items() if key not in ("version", "sha256")}
    save_weights(path, tensors, {**own, "stored": stored})


def load_start(network: Regressor, weights: Path | str) -> None:
    """Fills in all of other weights: encoder, head and where estimates start.

    Args:
        weights: Of ours, as `find_weights` takes them. Those of published checkpoints speak of
            bodies in the camera's frame: only their encoders fit, see `load_backbone`.

    Raises:
        CheckpointError: If they are of another network.
    """
    path = find_weights(weights)
    came = load_regressor(path).network
    wanted, found = network.state_dict(), came.state_dict()
    alike, odd = type(came) is type(network), _odd_tensors(wanted, found)
    if odd or not alike:
        which = f" and differs in {len(odd)} tensors, such as {odd[0]}" if alike else ""
        raise CheckpointError(
            f"{path}: wanted all weights of a {type(network).__name__} of the same sizes, got one "
            f"that is a {type(came).__name__}{which}; do: give both trainings the same method, "
            "regressor.* and proxy.*, or start from its encoder alone (--init-backbone)"
        )
    network.load_state_dict(found)


def load_backbone(network: Regressor, weights: Path | str) -> None:
    """Fills in the image encoder of other weights, whatever their head.

    Args:
        weights: Of ours, as `find_weights` takes them; or of a residual network by others, such as
            torchvision's for ImageNet (`resnet50-*.pth`), or SPIN's.

    Raises:
        CheckpointError: If their image encoder is of another kind or size.
    """
    path = find_weights(weights)
    wanted = network.get_submodule(BACKBONE).state_dict()
    if path.suffix in PUBLISHED_SUFFIXES:
        from plausibody.models.official_hmr import read_backbone  # it makes what is defined here

        came = read_backbone(path, wanted)
    else:
        came = {
            name.removeprefix(f"{BACKBONE}."): value
            for name, value in load_weights(path)[0].items()
            if name.startswith(f"{BACKBONE}.")
        }
    odd = _odd_tensors(wanted, came)
    if odd:
        raise CheckpointError(
            f"{path}: wanted an image encoder of {len(wanted)} tensors like the network's, got one "
            f"that differs in {len(odd)} of them, such as {', '.join(odd[:3])}; do: give both the "
            "same regressor.encoder (of danet: danet.backbone), its sizes, and proxy.size"
        )
    network.get_submodule(BACKBONE).load_state_dict(
        {name: value.to(wanted[name].dtype) for name, value in came.items()}
    )


def _odd_tensors(wanted: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> list[str]:
    """Names the tensors that only one of two networks has, or with another shape."""
    return sorted(
        name
        for name in wanted.keys() | came.keys()
        if name not in wanted or name not in came or wanted[name].shape != came[name].shape
    )
