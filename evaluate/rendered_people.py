"""Painted, clothed people in whole pictures, of whom everything is known.

`renders-v0` has the poses, views and shapes of `open-v0` (subjects that no training saw, shapes
from another distribution than the training's) in pictures: textured bodies with clothes and hair as
geometry, in clothes that no training painted, lit, before the panoramas that ship. The whole person
is in the picture and nothing stands before them. Each person follows from the seed and their number
alone, whoever else is drawn with them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.evaluate.open import RECIPE
from plausibody.models.body import BodyTemplate, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.looks import Looks
from plausibody.synth.measured_stage import (
    Scene,
    Stage,
    StageSettings,
    build_stage,
    draw_scene,
    photograph,
)
from plausibody.synth.occluder_objects import ObjectSettings
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings, draw_body
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.synth.texture_cache import TextureSettings, load_textures
from plausibody.synth.texture_outfits import LOWER, UPPER
from plausibody.synth.textures import TextureBank

FILES = ("body/open_neutral.npz", "body/regressors.npz", "poses/cmu.h5")
"""What the people are made of, besides textures and backgrounds."""


@dataclass(frozen=True)
class RendersSettings:
    """Which people there are, and how their pictures are taken."""

    name: str = "renders-v0"
    split: str = "test"
    """Of the pose store, which is divided by subjects: train, val or test."""
    count: int = 200
    seed: int = 200_000
    picture: int = 512
    """Side of the square pictures [px]."""
    room: tuple[float, float] = (1.15, 1.8)
    """Range of the picture's side over the person's longer side."""
    textures: TextureSettings = field(default_factory=lambda: TextureSettings(seed=1))
    """Of another seed than the textures of training and of the `measured` corruption. Only those
    are worn that dress a person: in colours, with one of the garments below on each half."""
    upper: tuple[str, ...] = ("tank", "t-shirt", "long", "jacket")
    lower: tuple[str, ...] = ("shorts", "knee", "trousers", "leggings", "skirt")
    backgrounds: str | None = None
    """As of `load_backgrounds`; None: the panoramas that ship."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"renders: wanted at least 1 person, got {self.count}")

    def stage(self) -> StageSettings:
        """Poses, views and shapes as of `open-v0`; garments as geometry on everybody."""
        return StageSettings(
            picture=self.picture,
            room=self.room,
            truncated=0.0,
            things=ObjectSettings(present=0.0),
            pose=PoseSettings(**RECIPE["pose"]),
            view=ViewSettings(**RECIPE["view"]),
            shape=ShapeSettings(**RECIPE["shape"]),
        )

    def described(self) -> dict[str, Any]:
        """The settings as JSON has them, with all that they imply, for records and the hash."""
        tables = {**dataclasses.asdict(self), "stage": dataclasses.asdict(self.stage())}
        described: dict[str, Any] = json.loads(json.dumps(tables))
        return described


RENDERS_V0 = RendersSettings()


@dataclass(frozen=True)
class RenderedPeople:
    """What is true of some people; the first axis of every tensor runs over them."""

    body: BodyParameters
    """Without clothes; the root's rotation contains the view."""
    camera: PerspectiveCamera
    """What truly took the picture [px]."""
    clothed: Bool[Tensor, "batch size size"]
    """The silhouette with clothes and hair, in the picture."""
    naked: Bool[Tensor, "batch size size"]
    """The silhouette of the body itself."""
    keypoints: Float[Tensor, "batch 17 2"]
    """COCO-17 in the picture [px]."""

    def __len__(self) -> int:
        return len(self.keypoints)


class Renders:
    """Draws the people of a benchmark, and their pictures."""

    def __init__(
        self,
        settings: RendersSettings = RENDERS_V0,
        directories: Sequence[Path] | None = None,
        stage: Stage | None = None,
    ):
        """Args:
        directories: Where assets are looked for, instead of the usual places.
        stage: What pictures are made of; by default the settings' textures, which are made the
            first time in half a minute, and backgrounds.
        """
        self.settings = settings
        if stage is None:
            assets = load_assets(settings.split, directories=directories)
            looks = load_clothed_looks(settings, assets.template, directories)
            stage = build_stage(assets, looks)
        self._stage, self._scenery = stage, settings.stage()
        self._files = [find_asset(name, directories) for name in FILES]

    @property
    def assets(self) -> SynthAssets:
        """The body, and the poses that people take."""
        return self._stage.assets

    @property
    def digest(self) -> str:
        """Tells the people from others: a hash of the settings and of the files."""
        settings = json.dumps(self.settings.described(), sort_keys=True)
        content = hashlib.sha256(settings.encode())
        for path in self._files:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        return content.hexdigest()

    @torch.no_grad()
    def people(self, numbers: Int[Tensor, " batch"]) -> RenderedPeople:
        """Gives what is true of the people of these numbers."""
        chance, scene = self._scene(numbers)
        wanted, body = self._scenery, self._stage.body
        # The scene keeps the dressed surface; the same draws by the same names give the body back.
        parameters = draw_body(
            chance, self.assets.bank, self.assets.limits, wanted.pose, wanted.view, wanted.shape
        )
        size = self.settings.picture
        zoom = size / scene.picture.side
        corner = scene.picture.centre - scene.picture.side[:, None] / 2
        camera = PerspectiveCamera(
            focal=zoom, principal=-corner * zoom[:, None], translation=scene.place
        )
        bare = pose_body(body.skin, parameters.shape, parameters.rotations)
        outlines = (
            rasterize_outlines(camera.project(surface)[..., :2], body.faces, (size, size))
            for surface in (scene.clothed, bare.vertices[:, : body.drawn])
        )
        clothed, naked = outlines
        keypoints = (scene.marks[..., :2] - corner[:, None]) * zoom[:, None, None]
        return RenderedPeople(parameters, camera, clothed, naked, keypoints)

    def pictures(self, numbers: Int[Tensor, " batch"]) -> UInt8[Tensor, "batch size size 3"]:
        """Paints the people of these numbers."""
        chance, scene = self._scene(numbers)
        painted = photograph(chance, scene, self._stage, self.settings.picture)
        return (painted * 255).round().byte().permute(0, 2, 3, 1).contiguous()

    def _scene(self, numbers: Int[Tensor, " batch"]) -> tuple[Chance, Scene]:
        chance = Chance(self.settings.seed, numbers)
        dresser = self._stage.dresser(self._scenery.garments)
        return chance, draw_scene(chance, self.assets, self._stage.body, self._scenery, dresser)


def load_clothed_looks(
    settings: RendersSettings, template: BodyTemplate, directories: Sequence[Path] | None = None
) -> Looks:
    """Opens backgrounds and those textures that dress a person, making what is missing."""
    bank = load_textures(settings.textures, template=template, directories=directories)
    return Looks.of(
        load_chart(template, directories=directories),
        take(bank, dressing(settings, bank)),
        load_backgrounds(settings.backgrounds, directories=directories),
    )


def dressing(settings: RendersSettings, bank: TextureBank) -> Bool[Tensor, " T"]:
    """Tells which textures have colours and wanted garments on both halves of the body.

    Raises:
        ValueError: If none has.
    """
    if bank.garments is None:
        raise ValueError("renders: wanted textures that say what they wear, got others")
    upper, lower = bank.garments[:, 0], bank.garments[:, 1]
    wanted_upper = torch.tensor([UPPER.index(kind) for kind in settings.upper], dtype=torch.uint8)
    wanted_lower = torch.tensor([LOWER.index(kind) for kind in settings.lower], dtype=torch.uint8)
    dressed = ~bank.grey & torch.isin(upper, wanted_upper) & torch.isin(lower, wanted_lower)
    if not dressed.any():
        raise ValueError(
            f"renders: wanted textures with clothes, got none among {len(bank)}; do: make more, "
            "with a larger textures.count"
        )
    return dressed
