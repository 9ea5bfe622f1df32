"""How probably each point of the body shows each label of a parser: DSR's semantic prior.

It is counted over textures: what each of them shows at each vertex. Of published priors, which are
of SMPL's faces, each vertex gets the mean of its faces.

Source: Dwivedi et al., "Learning To Regress Bodies from Images using Differentiable Semantic
Rendering", 2021, section 3.2; the published `semantic_prior.npy` counts scans of clothed people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import REFERENCE_BODY, SHIPPED, find_asset
from plausibody.assets.contents import DAMAGED, topology_of_body
from plausibody.models.body import BodyTemplate
from plausibody.synth.charts import Chart
from plausibody.synth.semantic_labels import NAMES, parser_labels
from plausibody.synth.textures import TextureBank
from plausibody.synth.wardrobe import vertex_labels

SMPL_FACES = 13_776
SMOOTHING = 0.5
"""Textures' worth of doubt, spread over all labels, that counting starts with."""
FARTHEST_SUM = 0.02
"""By which the probabilities of a published face may miss 1."""


def estimate_prior(
    bank: TextureBank, template: BodyTemplate, chart: Chart, smoothing: float = SMOOTHING
) -> Float[Tensor, "V 20"]:
    """Counts what textures show at each vertex.

    P(c | v) = (n_c(v) + a / K) / (N + a) over N textures and K = 20 labels, with a = `smoothing`.

    Raises:
        ValueError: If the textures have no labels.
    """
    bank, template, chart = bank.to("cpu"), template.to("cpu"), chart.to("cpu")
    kinds = vertex_labels(bank, template, chart)
    assert bank.garments is not None
    labels = parser_labels(kinds, vertex_parts(template.faces, chart.face_part), bank.garments)
    counts = torch.nn.functional.one_hot(labels.long(), len(NAMES)).sum(0).float()
    return (counts + smoothing / len(NAMES)) / (len(bank) + smoothing)


def vertex_parts(faces: Int[Tensor, "F 3"], face_part: UInt8[Tensor, " F"]) -> UInt8[Tensor, " V"]:
    """Gives DensePose's part of each vertex: that of most of its faces."""
    votes = torch.zeros(int(faces.max()) + 1, 25)
    votes.index_put_(
        (faces.flatten(), face_part.long().repeat_interleave(3)),
        torch.ones(faces.numel()),
        accumulate=True,
    )
    return votes.argmax(1).to(torch.uint8)


def load_prior(path: Path | str, template: BodyTemplate) -> Float[Tensor, "V 20"]:
    """Reads a published `semantic_prior.npy` for SMPL.

    Args:
        path: The file, or its name below one of the asset folders.
        template: SMPL's body.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another mesh or of other labels, or no probabilities; or
            if the body is not SMPL.
    """
    path = Path(path)
    path = path if path.is_file() else find_asset(path.as_posix())
    faces = _read(path)
    ours = topology_of_body(find_asset(REFERENCE_BODY, [SHIPPED]))
    if template.topology == ours or len(template.faces) != SMPL_FACES:
        whose = "the open body" if template.topology == ours else "another body"
        raise ValueError(
            f"{path}: wanted the body whose faces it is of, SMPL, came {whose} with "
            f"{len(template.faces):,} faces; do: set sources.body=smpl, or leave the prior out: "
            "one is counted over the textures"
        )
    count = len(template.vertices)
    corners = template.faces.flatten().cpu()
    total = torch.zeros(count, len(NAMES)).index_add_(0, corners, faces.repeat_interleave(3, 0))
    prior = total / torch.bincount(corners, minlength=count).clamp(min=1)[:, None]
    return prior / prior.sum(1, keepdim=True).clamp(min=1e-6)


def _read(path: Path) -> Float[Tensor, "F 20"]:
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except DAMAGED as error:
        raise ValueError(
            f"{path}: wanted an array of probabilities as DSR publishes it, came a file that is "
            f"cut short, altered or something else ({type(error).__name__}); do: download it again"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        came = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"{path}: wanted floating-point probabilities, came {came}")
    shape, array = array.shape, array.squeeze()
    if array.shape != (SMPL_FACES, len(NAMES)):
        raise ValueError(
            f"{path}: wanted {SMPL_FACES:,} faces of SMPL by {len(NAMES)} labels, came an array of "
            f"{shape}: it is of another mesh, or of another parser; do: take DSR's file"
        )
    total = array.sum(1)
    if not np.isfinite(array).all() or array.min() < 0 or abs(total - 1).max() > FARTHEST_SUM:
        worst = abs(total - 1).max() if np.isfinite(total).all() else np.nan
        raise ValueError(
            f"{path}: wanted probabilities of sum 1 on each face, came numbers from {array.min()} "
            f"whose sums are up to {worst:.3g} off; do: take DSR's file"
        )
    return torch.from_numpy(array).float()
