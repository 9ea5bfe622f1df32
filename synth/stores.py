"""Opens what the stream draws from: the body, its joint regressors, its coarse mesh, the poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.models.body import BodyTemplate
from plausibody.models.markers import JointRegressors
from plausibody.models.records import to_device
from plausibody.models.templates import load_template
from plausibody.synth.lite import CoarseBody, coarse_body
from plausibody.synth.poses import PoseBank, load_poses
from plausibody.synth.scene import JointLimits


@dataclass(frozen=True)
class SynthAssets:
    """Everything of a stream that is not a number in its configuration."""

    template: BodyTemplate
    regressors: JointRegressors
    part24: torch.Tensor
    """DensePose's part of each face of the template, 1..24."""
    coarse: CoarseBody
    supervised: torch.Tensor
    """Vertices whose places are learnt by small networks, spread over the body."""
    bank: PoseBank
    limits: JointLimits
    """Of the training poses, whichever split the bank holds."""

    def to(self, device: torch.device | str) -> SynthAssets:
        return to_device(self, device)


def load_assets(
    split: str = "train", gender: str = "neutral", directories: Sequence[Path] | None = None
) -> SynthAssets:
    """Opens the open body and a split of the pose store.

    Args:
        split: train, val or test.
        directories: Where assets are looked for, instead of the usual places.
    """
    template = load_template("open", gender, directories)
    regressors = load_regressors(template, directories)
    coarse = _topology_checked(find_asset("body/coarse.npz", directories), template)
    charts = _topology_checked(find_asset("body/charts.npz", directories), template)
    poses = find_asset("poses/cmu.h5", directories)
    limits = JointLimits.of(load_poses(poses, "train"))
    return SynthAssets(
        template=template,
        regressors=regressors,
        part24=torch.from_numpy(charts["part24"].astype(np.uint8)),
        coarse=coarse_body(
            template,
            torch.from_numpy(coarse["vertices"].astype(np.int64)),
            torch.from_numpy(coarse["faces"].astype(np.int64)),
            torch.from_numpy(coarse["part24"].astype(np.uint8)),
            regressors,
        ),
        supervised=torch.from_numpy(coarse["supervised"].astype(np.int64)),
        bank=load_poses(poses, split),
        limits=limits,
    )


def load_regressors(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> JointRegressors:
    """Opens the image joints of the open body."""
    data = _topology_checked(find_asset("body/regressors.npz", directories), template)
    return JointRegressors(
        coco17=torch.from_numpy(data["coco17"]).float(),
        h36m17=torch.from_numpy(data["h36m17"]).float(),
    )


def _topology_checked(path: Path, template: BodyTemplate) -> dict[str, np.ndarray]:
    """Reads an npz whose vertex indices count in the template's mesh, or refuses it."""
    data = read_arrays(path)
    topology = str(data.get("topology", "none"))
    if topology != template.topology:
        raise ValueError(
            f"{path}: wanted a file for the mesh {template.topology}, got one for {topology}; "
            "files of different bodies have equal shapes but do not fit each other"
        )
    return data
