"""Opens what the stream draws from: the body, its joint regressors, its coarse mesh, the poses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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
from plausibody.synth.looks import Looks, load_looks
from plausibody.synth.poses import PoseBank, load_poses
from plausibody.synth.scene import JointLimits
from plausibody.synth.texture_cache import TextureSettings


@dataclass(frozen=True)
class SourceSettings:
    """Where a stream's poses, textures and backgrounds come from: what ships, or a user's."""

    poses: str = "poses/cmu.h5"
    """A pose store: a path, or a name below one of the asset folders."""
    textures: str = "procedural"
    """procedural, or a file of published textures or a store of them."""
    texture_count: int = 64
    """How many are made (procedural)."""
    texture_size: tuple[int, int] = (600, 400)
    """Their height and width [px] (procedural)."""
    backgrounds: str = "panoramas"
    """panoramas, procedural, or the path of an LSUN database, a picture store or a folder."""


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
    looks: Looks | None = None
    """Textures and backgrounds, for recipes with colours."""

    def to(self, device: torch.device | str) -> SynthAssets:
        moved = to_device(dataclasses.replace(self, looks=None), device)
        looks = None if self.looks is None else self.looks.to(device)
        return dataclasses.replace(moved, looks=looks)


def load_assets(
    split: str = "train",
    gender: str = "neutral",
    directories: Sequence[Path] | None = None,
    sources: SourceSettings | None = None,
    coloured: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SynthAssets:
    """Opens the open body and a split of the pose store.

    Args:
        split: train, val or test.
        directories: Where assets are looked for, instead of the usual places.
        sources: What to draw from; what ships if None.
        coloured: Whether to open textures and backgrounds too. The first time textures are made,
            which takes half a minute.
        progress: Is told how many of them are made.
    """
    sources = sources or SourceSettings()
    template = load_template("open", gender, directories)
    regressors = load_regressors(template, directories)
    coarse = _topology_checked(find_asset("body/coarse.npz", directories), template)
    charts = _topology_checked(find_asset("body/charts.npz", directories), template)
    poses = Path(sources.poses)
    poses = poses if poses.is_file() else find_asset(sources.poses, directories)
    bank = load_poses(poses, split)
    limits = JointLimits.of(bank if split == "train" else load_poses(poses, "train"))
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
        bank=bank,
        limits=limits,
        looks=_load_looks(template, sources, directories, progress) if coloured else None,
    )


def _load_looks(
    template: BodyTemplate,
    sources: SourceSettings,
    directories: Sequence[Path] | None,
    progress: Callable[[int, int], None] | None,
) -> Looks:
    textures: str | TextureSettings = sources.textures
    if textures == "procedural":
        textures = TextureSettings(count=sources.texture_count, size=sources.texture_size)
    return load_looks(template, textures, sources.backgrounds, directories, progress)


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
