"""Opens what the stream draws from: the body, its joint regressors, its coarse mesh, the poses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays
from plausibody.models.body import BodyTemplate
from plausibody.models.markers import JointRegressors
from plausibody.models.records import to_device
from plausibody.models.templates import load_template
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.coarse import (
    SUPERVISED_COUNT,
    CoarseBody,
    cluster_mesh,
    coarse_body,
    labels_nearby,
    spread_vertices,
)
from plausibody.synth.genders import GenderedBodies
from plausibody.synth.joint_regressor_published import published_coco17, published_regressors
from plausibody.synth.looks import Looks, load_looks
from plausibody.synth.pose_check import require_upright
from plausibody.synth.poses import PoseBank, load_poses
from plausibody.synth.real_people import RealLabels
from plausibody.synth.scene import JointLimits
from plausibody.synth.texture_cache import TextureSettings


@dataclass(frozen=True)
class SourceSettings:
    """Where a stream's body, poses, textures and backgrounds come from: what ships, or a user's."""

    body: str = "open"
    """open, or SMPL's file or the folder of its genders, as `load_template` finds it: smpl for
    train_files/smpl. SMPL needs UV_Processed.mat and J_regressor_h36m.npy too."""
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
    real_labels: tuple[str, ...] = ()
    """Files of people in photos, which `stream.real.share` mixes in: in SPIN's layout (.npz), or
    annotations of COCO or DensePose-COCO (.json)."""
    real_pictures: tuple[str, ...] = ()
    """The folder of each file's photos, or one for all."""
    real_maps: tuple[str, ...] = ()
    """The folder of each file's label maps, or one for all: PICTURE.png beside the photos' names;
    none where empty."""
    real_fits: tuple[str, ...] = ()
    """For each file in SPIN's layout a file of fitted bodies, such as SPIN's final_fits/coco.npz,
    which take the place of its own; an empty name for none."""


@dataclass(frozen=True)
class SynthAssets:
    """Everything of a stream that is not a number in its configuration."""

    template: BodyTemplate
    regressors: JointRegressors
    part24: UInt8[Tensor, " F"]
    """DensePose's part of each face of the template, 1..24."""
    coarse: CoarseBody
    supervised: Int[Tensor, " M"]
    """Vertices whose places are learnt by small networks, spread over the body."""
    bank: PoseBank
    limits: JointLimits
    """Of the training poses, whichever split the bank holds."""
    looks: Looks | None = None
    """Textures and backgrounds, for recipes with colours."""
    genders: GenderedBodies | None = None
    """Male and female bodies, for recipes that draw some people as these."""
    chart: Chart | None = None
    """Of the template, for recipes that draw IUV pictures."""
    real: RealLabels | None = None
    """People in photos, for streams that mix them in."""

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
    gendered: bool = False,
) -> SynthAssets:
    """Opens a body, all that hangs on its mesh, and a split of the pose store.

    What ships belongs to the open body's mesh, and is used for bodies that have it. For SMPL's,
    parts come from `UV_Processed.mat`, Human3.6M's joints from `J_regressor_h36m.npy`, both as
    published; COCO's joints and the coarse mesh are made here, which takes two seconds.

    Args:
        split: train, val or test.
        gender: Of the body; a file of another gender is refused.
        directories: Where assets are looked for, instead of the usual places.
        sources: What to draw from; what ships if None.
        coloured: Whether to open textures and backgrounds too. The first time textures are made,
            which takes half a minute.
        progress: Is told how many of them are made.
        gendered: Whether to open the male and the female body too.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged, or belongs to another mesh than the body, or people in the
            pose store do not stand upright.
    """
    sources = sources or SourceSettings()
    template = _load_body(sources, gender, directories)
    genders = _load_genders(sources, directories) if gendered else None
    chart = load_chart(template, directories=directories)
    part24 = chart.face_part
    regressors = load_regressors(template, directories)
    thinned = _load_thinned(template, part24, directories)
    poses = Path(sources.poses)
    poses = poses if poses.is_file() else find_asset(sources.poses, directories)
    bank = load_poses(poses, split)
    require_upright(poses, bank, template.subset(torch.tensor([0])))
    limits = JointLimits.of(bank if split == "train" else load_poses(poses, "train"))
    return SynthAssets(
        template=template,
        regressors=regressors,
        part24=part24,
        coarse=coarse_body(
            template, thinned.mesh.vertices, thinned.mesh.faces, thinned.part24, regressors
        ),
        supervised=thinned.supervised,
        bank=bank,
        limits=limits,
        looks=_load_looks(template, sources, directories, progress) if coloured else None,
        genders=genders,
        chart=chart,
    )


def _load_body(
    sources: SourceSettings, gender: str, directories: Sequence[Path] | None
) -> BodyTemplate:
    template = load_template(sources.body, gender, directories)
    if template.gender != gender:
        raise ValueError(
            f"sources.body: wanted a {gender} body, came a {template.gender} one, {sources.body}; "
            f"do: set gender={template.gender}, or name a folder with all genders"
        )
    return template


def _load_genders(sources: SourceSettings, directories: Sequence[Path] | None) -> GenderedBodies:
    return GenderedBodies(
        male=_load_body(sources, "male", directories),
        female=_load_body(sources, "female", directories),
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
    """Opens the image joints of a body: those that ship with the open body's mesh, or SMPL's.

    Arguments and errors as of `published_regressors`.
    """
    data = _of_mesh(find_asset("body/regressors.npz", directories), template)
    if data is None:
        return published_regressors(template, directories)
    return JointRegressors(
        coco17=torch.from_numpy(data["coco17"]).float(),
        h36m17=torch.from_numpy(data["h36m17"]).float(),
    )


def load_coco17(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> Float[Tensor, "17 V"]:
    """Opens COCO's key points alone: for SMPL this needs no other file."""
    data = _of_mesh(find_asset("body/regressors.npz", directories), template)
    if data is None:
        return published_coco17(template, directories)
    return torch.from_numpy(data["coco17"]).float()


@dataclass(frozen=True)
class CoarseMesh:
    """A coarse mesh over some vertices of a body, to draw silhouettes with."""

    vertices: Int[Tensor, " N"]
    """Those of the body's that it has."""
    faces: Int[Tensor, "G 3"]
    """As indices into these."""


def load_coarse_mesh(
    template: BodyTemplate, directories: Sequence[Path] | None = None
) -> CoarseMesh:
    """Opens the coarse mesh that ships with the open body's; of another, makes one in 2 seconds."""
    data = _of_mesh(find_asset("body/coarse.npz", directories), template)
    if data is None:
        clusters = cluster_mesh(template.vertices.double().numpy(), template.faces.numpy())
        data = {"vertices": clusters.kept, "faces": clusters.faces}
    return CoarseMesh(
        vertices=torch.from_numpy(data["vertices"].astype(np.int64)),
        faces=torch.from_numpy(data["faces"].astype(np.int64)),
    )


@dataclass(frozen=True)
class _Thinned:
    """A coarse mesh over some vertices of a body, and the vertices to supervise."""

    mesh: CoarseMesh
    part24: UInt8[Tensor, " G"]
    supervised: Int[Tensor, " M"]


def _load_thinned(
    template: BodyTemplate, part24: UInt8[Tensor, " F"], directories: Sequence[Path] | None
) -> _Thinned:
    """Opens the coarse mesh that ships with the open body's, or makes one."""
    mesh = load_coarse_mesh(template, directories)
    data = _of_mesh(find_asset("body/coarse.npz", directories), template)
    if data is None:
        vertices, faces = template.vertices.double().numpy(), template.faces.numpy()
        coarse = mesh.vertices.numpy()[mesh.faces.numpy()]
        data = {
            "part24": labels_nearby(vertices, faces, part24.numpy(), coarse),
            "supervised": spread_vertices(vertices, SUPERVISED_COUNT),
        }
    return _Thinned(
        mesh=mesh,
        part24=torch.from_numpy(data["part24"].astype(np.uint8)),
        supervised=torch.from_numpy(data["supervised"].astype(np.int64)),
    )


def _of_mesh(path: Path, template: BodyTemplate) -> dict[str, np.ndarray] | None:
    """Reads an npz whose vertex indices count in the template's mesh; none if in another."""
    data = read_arrays(path)
    return data if str(data.get("topology")) == template.topology else None
