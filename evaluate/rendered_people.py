"""Painted, clothed people in whole pictures, of whom everything is known.

`renders-v0` has the poses, views and shapes of `open-v0` (subjects that no training saw, shapes
from another distribution than the training's) in pictures: textured bodies with clothes and hair as
geometry, in clothes that no training painted, lit, before the panoramas that ship. The whole person
is in the picture and nothing stands before them. Other settings put things and other people before
the person, let the border of the picture cut them, and take bodies from outside the linear shape
space: so `open-v1` is drawn. Each person follows from the seed and their number alone, whoever else
is drawn with them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.evaluate.open import RECIPE
from plausibody.models.body import BodyTemplate, pose_body, rest_vertices
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.synth import full_bodies
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.bystanders import (
    Bystanders,
    covered_pixels,
    draw_bystanders,
    photograph_all,
)
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.full_bodies import fit_shapes, load_full_bodies, stand_in
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.looks import Looks
from plausibody.synth.measured_stage import (
    Scene,
    Stage,
    StageSettings,
    build_stage,
    draw_scene,
)
from plausibody.synth.occluder_objects import ObjectSettings
from plausibody.synth.occluder_people import PeopleSettings
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings, draw_body
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.synth.texture_cache import TextureSettings, load_textures
from plausibody.synth.texture_outfits import LOWER, UPPER
from plausibody.synth.textures import TextureBank

FILES = ("body/open_neutral.npz", "body/regressors.npz", "poses/cmu.h5")
"""What the people are made of, besides textures and backgrounds."""
BODIES = ("linear", "full", "fitted")
_TOGETHER = ("name", "count")
"""Settings that change no person."""
COEFFICIENTS = 10
"""Of fitted bodies."""


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
    bodies: str = "linear"
    """linear: drawn from the open body's shape space. full: the whole bodies that ship, each in its
    turn. fitted: the linear bodies that come nearest to these, by ten coefficients."""
    truncated: float = 0.0
    """Probability that the picture's border cuts the person."""
    things: ObjectSettings = field(default_factory=lambda: ObjectSettings(present=0.0))
    """What stands before the person."""
    people: PeopleSettings = field(default_factory=lambda: PeopleSettings(present=0.0))
    """Who else is in the picture."""
    garments: GarmentSettings = field(default_factory=GarmentSettings)
    """How clothes stand off; by default, as geometry on everybody."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"renders: wanted at least 1 person, got {self.count}")
        if self.bodies not in BODIES:
            raise ValueError(f"bodies: wanted {', '.join(BODIES)}, got {self.bodies!r}")

    def stage(self) -> StageSettings:
        """Poses, views and shapes as of `open-v0`."""
        return StageSettings(
            picture=self.picture,
            room=self.room,
            truncated=self.truncated,
            things=self.things,
            garments=self.garments,
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
    covered: Bool[Tensor, "batch size size"]
    """Where something or somebody else stands before the person, or would."""
    keypoints: Float[Tensor, "batch 17 2"]
    """COCO-17 in the picture [px]."""

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def visible(self) -> Bool[Tensor, "batch size size"]:
        """What the picture shows of the person, clothes and hair included."""
        return self.clothed & ~self.covered


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
        self._linear = stage.assets.template.skin
        self._shapes: Float[Tensor, "N S"] | None = None
        files: tuple[str, ...] = FILES
        if settings.bodies != "linear":
            bodies = load_full_bodies(stage.assets.template, directories)
            files, self._shapes = (*FILES, full_bodies.FILE), bodies.shapes
            if settings.bodies == "full":
                stage = stage.of(stand_in(stage.assets, bodies, directories))
            else:
                at_rest = rest_vertices(bodies.template, bodies.shapes)
                self._shapes = fit_shapes(stage.assets.template, at_rest, COEFFICIENTS)
        self._stage, self._scenery = stage, settings.stage()
        self._files = [find_asset(name, directories) for name in files]

    @property
    def assets(self) -> SynthAssets:
        """The body, and the poses that people take."""
        return self._stage.assets

    @property
    def digest(self) -> str:
        """Tells the people from others: a hash of the settings and of the files."""
        return self._digest(self.settings.described())

    @property
    def cast(self) -> str:
        """The same of each person, whatever others there are and what they are called together."""
        settings = self.settings.described()
        return self._digest({key: settings[key] for key in settings if key not in _TOGETHER})

    def _digest(self, settings: Mapping[str, Any]) -> str:
        content = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in self._files:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        return content.hexdigest()

    def people(self, numbers: Int[Tensor, " batch"]) -> RenderedPeople:
        """Gives what is true of the people of these numbers."""
        return self._truth(self._draw(numbers))

    def pictures(self, numbers: Int[Tensor, " batch"]) -> UInt8[Tensor, "batch size size 3"]:
        """Paints the people of these numbers."""
        return self._paint(self._draw(numbers))

    def both(
        self, numbers: Int[Tensor, " batch"]
    ) -> tuple[RenderedPeople, UInt8[Tensor, "batch size size 3"]]:
        """Gives what is true of people, and paints them; faster than one after the other."""
        drawn = self._draw(numbers)
        return self._truth(drawn), self._paint(drawn)

    @torch.no_grad()
    def _truth(self, drawn: _Drawn) -> RenderedPeople:
        scene, body, size = drawn.scene, self._stage.body, self.settings.picture
        zoom = size / scene.picture.side
        corner = scene.picture.centre - scene.picture.side[:, None] / 2
        camera = PerspectiveCamera(
            focal=zoom, principal=-corner * zoom[:, None], translation=scene.place
        )
        bare = pose_body(body.skin, drawn.parameters.shape, drawn.parameters.rotations)
        clothed, naked = (
            rasterize_outlines(camera.project(surface)[..., :2], body.faces, (size, size))
            for surface in (scene.clothed, bare.vertices[:, : body.drawn])
        )
        return RenderedPeople(
            body=drawn.parameters,
            camera=camera,
            clothed=clothed,
            naked=naked,
            covered=covered_pixels(scene, self._stage, drawn.bystanders, size),
            keypoints=(scene.marks[..., :2] - corner[:, None]) * zoom[:, None, None],
        )

    def _paint(self, drawn: _Drawn) -> UInt8[Tensor, "batch size size 3"]:
        size = self.settings.picture
        painted = photograph_all(drawn.chance, drawn.scene, self._stage, drawn.bystanders, size)
        return (painted * 255).round().byte().permute(0, 2, 3, 1).contiguous()

    @torch.no_grad()
    def _draw(self, numbers: Int[Tensor, " batch"]) -> _Drawn:
        chance, wanted = Chance(self.settings.seed, numbers), self._scenery
        bank, limits = self.assets.bank, self.assets.limits
        parameters = draw_body(chance, bank, limits, wanted.pose, wanted.view, wanted.shape)
        if self._shapes is not None:
            own = self._shapes[numbers % len(self._shapes)]
            parameters = dataclasses.replace(parameters, shape=own)
        dresser = self._stage.dresser(wanted.garments)
        scene = draw_scene(chance, self.assets, self._stage.body, wanted, dresser, parameters)
        bystanders = draw_bystanders(
            chance, self.settings.seed + 1, scene, self._stage, self._linear, wanted,
            self.settings.people,
        )  # fmt: skip
        return _Drawn(chance, parameters, scene, bystanders)


@dataclass(frozen=True)
class _Drawn:
    """Some people, and all that is in the pictures with them."""

    chance: Chance
    parameters: BodyParameters
    scene: Scene
    bystanders: list[Bystanders]


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
