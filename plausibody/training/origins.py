"""What a run learns from, by content: names alone would not tell other files under the old ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from plausibody.assets.catalog import replaced_assets
from plausibody.config import RunConfig
from plausibody.models.files import file_sha256
from plausibody.models.json_file import load_object
from plausibody.models.weights import PUBLISHED_SUFFIXES, find_weights
from plausibody.synth.generator import COLOURED
from plausibody.synth.stores import SourceSettings, SynthAssets

LEARNT_FROM = ("body/", "poses/", "backgrounds/", "fabrics/", "corruption/")
"""Where those of the shipped assets lie that a stream draws from."""
OPEN_TERMS, UNKNOWN_TERMS = "Apache-2.0", "terms unknown"
DIGITS = 16
"""Of the digests that are kept."""


def describe_data(config: RunConfig) -> dict[str, str]:
    """Tells by name what a run learns from."""
    sources, stream = config.sources, config.stream
    told = {"recipe": stream.recipe, "body": f"{sources.body}, {config.gender}",
            "poses": f"{sources.poses}, training split"}  # fmt: skip
    if stream.recipe in COLOURED:
        told |= {"textures": sources.textures, "backgrounds": sources.backgrounds}
    if stream.recipe == "lite":
        told["errors"] = stream.lite.errors
    if stream.real.share:
        told["photos"] = ", ".join(sources.real_labels)
    if replaced := replaced_assets(LEARNT_FROM):
        told["own_files"] = ", ".join(replaced)
    if start := started_from(config):
        told["started_from"] = start
    return told


def digests(config: RunConfig, assets: SynthAssets) -> dict[str, str]:
    """Tells by content what a run learns from, as far as it is in memory.

    Textures that are made follow from the settings; of backgrounds only their number is known.
    """
    told = {"poses": _digest(assets.bank.stored)}
    if assets.looks is not None:
        if config.sources.textures != "procedural":
            told["textures"] = _digest(assets.looks.textures.images)
        told["backgrounds"] = f"{len(assets.looks.backgrounds)} pictures"
    if assets.real is not None:
        told["photos"] = f"{len(assets.real)} people"
    return told


def start_facts(config: RunConfig) -> dict[str, str]:
    """Tells by content which weights a run starts from, if any, and on which terms."""
    if not started_from(config):
        return {}
    path = find_weights(started_from(config))
    if path.suffix in PUBLISHED_SUFFIXES:
        return {"started_from": file_sha256(path)[:DIGITS], "start_licence": UNKNOWN_TERMS}
    card = load_object(path.with_suffix(".json"), f"the card of {path.name}")
    terms = str(card.get("licence", UNKNOWN_TERMS))
    return {"started_from": str(card["sha256"])[:DIGITS], "start_licence": terms}


def started_from(config: RunConfig) -> str:
    """Names the weights that a run starts from; empty if none."""
    return config.train.init_backbone or config.train.init_weights


def licence(told: Mapping[str, Any]) -> str:
    """Names the terms of a run's weights.

    Args:
        told: By its record.
    """
    shipped, sources, data = SourceSettings(), told["config"]["sources"], told["data"]
    own = [
        f"{name} {sources[name]}"
        for name in ("body", "poses", "textures", "backgrounds")
        if sources[name] != getattr(shipped, name) and sources[name] != "procedural"
    ]
    own += [data[name] for name in ("own_files", "photos") if name in data]
    terms = told.get("origins", {}).get("start_licence", OPEN_TERMS)
    if not terms.startswith(OPEN_TERMS):
        own.append(f"{data['started_from']} ({terms})")
    if own:
        return f"follows from the terms of what it was trained on: {', '.join(own)}"
    return f"{OPEN_TERMS}: trained on nothing but what ships with plausibody"


def _digest(tensor: Tensor) -> str:
    whole = tensor.contiguous().cpu()
    found = hashlib.sha256(f"{whole.dtype} {tuple(whole.shape)}".encode())
    found.update(whole.view(torch.uint8).numpy().data)
    return found.hexdigest()[:DIGITS]
