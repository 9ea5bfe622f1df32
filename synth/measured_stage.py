"""Pictures of people of whom everything is known, to see what a front end makes of them.

A textured body is painted before a background into a square picture, at times cut by its border or
hidden in part by things. What is true is given in a small frame round what the picture shows of
the person, the frame that the `lite` recipe draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import PosedBody, pose_body, regress, vertex_normals
from plausibody.models.camera import PerspectiveCamera, world_to_camera
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.synth.chance import Chance
from plausibody.synth.coarse import CoarseBody, coarse_body
from plausibody.synth.corrupt import rectangles
from plausibody.synth.garments import GarmentSettings, dress
from plausibody.synth.lite import frame_round
from plausibody.synth.lite_sight import MARGIN
from plausibody.synth.looks import Looks
from plausibody.synth.measured import Truth
from plausibody.synth.occluder_objects import Objects, ObjectSettings, draw_objects
from plausibody.synth.occluders import lay_over, paint
from plausibody.synth.raster import rasterize_labels
from plausibody.synth.render import composite, render
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings, draw_body, draw_place
from plausibody.synth.shading import Lights
from plausibody.synth.stores import SynthAssets
from plausibody.synth.textures import draw_texture
from plausibody.synth.wardrobe import Wardrobe, build_wardrobe

Dresser: TypeAlias = Callable[[Chance, PosedBody], Tensor]
"""Gives the vertices (batch, V, 3) of posed people, dressed [m]."""


@dataclass(frozen=True)
class StageSettings:
    """Which pictures there are."""

    picture: int = 512
    """Side of the picture [px]."""
    frame: int = 112
    """Side of the truth's frame [px]."""
    room: tuple[float, float] = (1.1, 2.2)
    """Range of the picture's side over the longer side of what is seen of the person; more often
    narrow than wide."""
    truncated: float = 0.3
    """Probability that the picture's border cuts the person."""
    things: ObjectSettings = field(default_factory=ObjectSettings)
    """What stands before the person."""
    garments: GarmentSettings = field(default_factory=GarmentSettings)
    pose: PoseSettings = field(default_factory=PoseSettings)
    view: ViewSettings = field(default_factory=ViewSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)


@dataclass(frozen=True)
class Stage:
    """What pictures are made of."""

    assets: SynthAssets
    body: CoarseBody
    """The whole mesh."""
    looks: Looks
    wardrobe: Wardrobe
    """Of the looks' textures."""

    def of(self, assets: SynthAssets) -> Stage:
        """The same looks on other bodies of the same mesh."""
        return replace(self, assets=assets, body=_whole_body(assets))

    def texture(self, chance: Chance) -> Int[Tensor, " batch"]:
        """Draws what people wear."""
        return draw_texture(chance, self.looks.textures)

    def dresser(self, settings: GarmentSettings) -> Dresser:
        """Gives what dresses people in what their textures show."""

        def dress_all(chance: Chance, posed: PosedBody) -> Float[Tensor, "batch V 3"]:
            vertices = posed.vertices[:, : self.body.drawn]
            normals = vertex_normals(vertices, self.body.faces)
            texture = self.texture(chance)
            return dress(chance, vertices, normals, posed.joints, self.wardrobe, texture, settings)

        return dress_all


@dataclass(frozen=True)
class StagedPeople:
    """Pictures with one person each, and what is true of them."""

    pictures: Float[Tensor, "batch 3 size size"]
    """0..1."""
    truth: Truth
    corner: Float[Tensor, "batch 2"]
    """Of the truth's frame, in the picture [px]."""
    zoom: Float[Tensor, " batch"]
    """Pixels of the frame per pixel of the picture."""


def build_stage(assets: SynthAssets, looks: Looks) -> Stage:
    """Puts together what pictures are made of.

    Args:
        looks: Textures and backgrounds, as `load_looks` gives them.
    """
    wardrobe = build_wardrobe(looks.textures, assets.template, looks.chart)
    return Stage(assets=assets, body=_whole_body(assets), looks=looks, wardrobe=wardrobe)


def _whole_body(assets: SynthAssets) -> CoarseBody:
    template = assets.template
    every = torch.arange(len(template.vertices))
    return coarse_body(template, every, template.faces, assets.part24, assets.regressors)


@dataclass(frozen=True)
class Scene:
    """People before cameras of focal length 1, not yet drawn."""

    clothed: Float[Tensor, "batch V 3"]
    """Vertices in the world [m]."""
    surface: Float[Tensor, "batch V 3"]
    """The same projected: x, y [focal lengths] and depth [m]."""
    marks: Float[Tensor, "batch 17 3"]
    """COCO-17, projected."""
    place: Float[Tensor, "batch 3"]
    """Of the world's origin, in the camera's frame [m]."""
    picture: Box
    frame: Box
    """Round what the picture shows of the person."""
    things: Objects


@dataclass(frozen=True)
class Shot:
    """What decides how a body looks in pictures, besides the body."""

    place: Float[Tensor, "batch 3"]
    """As of `Scene`."""
    picture: Box
    lights: Lights

    @classmethod
    def of(cls, chance: Chance, scene: Scene) -> Shot:
        return cls(scene.place, scene.picture, draw_lights(chance))


@dataclass(frozen=True)
class Figure:
    """Bodies to be painted, one for each picture."""

    clothed: Float[Tensor, "batch V 3"]
    """Vertices in the world [m]."""
    surface: Float[Tensor, "batch V 3"]
    """The same projected, as of `Scene`."""
    texture: Int[Tensor, " batch"]

    def paint(
        self, shot: Shot, stage: Stage, size: int
    ) -> tuple[Float[Tensor, "batch 3 {size} {size}"], Float[Tensor, "batch {size} {size}"]]:
        """Paints them alone: colours on black, 0..1, and their share of each pixel."""
        drawn = render(
            in_square(self.surface, shot.picture, size),
            self.clothed,
            stage.body.faces,
            stage.looks.chart,
            (size, size),
            outputs=("rgb", "silhouette"),
            textures=stage.looks.mipmaps,
            texture=self.texture,
            lights=shot.lights,
            eye=world_to_camera(-shot.place),
            supersample=2,
        )
        assert drawn.rgb is not None and drawn.silhouette is not None
        return drawn.rgb, drawn.silhouette


@torch.no_grad()
def draw_scene(
    chance: Chance,
    assets: SynthAssets,
    body: CoarseBody,
    settings: StageSettings,
    dresser: Dresser,
    parameters: BodyParameters | None = None,
) -> Scene:
    """Draws people, dresses them, puts things before them and chooses what the picture shows.

    Args:
        parameters: Of bodies that were drawn before; None to draw them.
    """
    if parameters is None:
        parameters = draw_body(
            chance, assets.bank, assets.limits, settings.pose, settings.view, settings.shape
        )
    posed = pose_body(body.skin, parameters.shape, parameters.rotations)
    clothed = dresser(chance, posed)
    place = draw_place(chance, settings.view)
    unit = PerspectiveCamera(
        focal=torch.ones_like(place[:, 0]),
        principal=torch.zeros_like(place[:, :2]),
        translation=place,
    )
    surface = unit.project(clothed)
    borders, frame = frame_round(surface[..., :2], chance, settings.truncated)
    centre, half = frame[:, :2], frame[:, 2:] / MARGIN / 2
    window = _window(chance, borders, frame, settings)
    return Scene(
        clothed=clothed,
        surface=surface,
        marks=unit.project(regress(body.coco17, posed.vertices)),
        place=place,
        picture=Box(centre=window[:, :2], side=window[:, 2]),
        frame=Box(centre=centre, side=frame[:, 2]),
        things=draw_objects(chance, centre - half, centre + half, settings.things),
    )


def stage_people(chance: Chance, stage: Stage, settings: StageSettings) -> StagedPeople:
    """Draws people and takes their pictures."""
    dresser = stage.dresser(settings.garments)
    scene = draw_scene(chance, stage.assets, stage.body, settings, dresser)
    picture, frame = scene.picture, scene.frame
    corner = picture.to_square((frame.centre - frame.side[:, None] / 2)[:, None])[:, 0]
    return StagedPeople(
        pictures=photograph(chance, scene, stage, settings.picture),
        truth=truth_of(scene, stage.body, settings.frame),
        corner=(corner + 1) * (settings.picture / 2),
        zoom=(settings.frame / settings.picture) * picture.side / frame.side,
    )


@torch.no_grad()
def photograph(
    chance: Chance, scene: Scene, stage: Stage, size: int
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """Paints what the camera sees: a background, the person, things before the person."""
    figure = Figure(scene.clothed, scene.surface, stage.texture(chance))
    painted = figure.paint(Shot.of(chance, scene), stage, size)
    background = stage.looks.backgrounds.draw(chance, (size, size))
    return lay_things(chance, composite(*painted, background), background, scene)


def lay_things(
    chance: Chance,
    pictures: Float[Tensor, "batch 3 size size"],
    background: UInt8[Tensor, "batch 3 size size"],
    scene: Scene,
) -> Float[Tensor, "batch 3 size size"]:
    """Paints the things that stand before everybody."""
    # They look like other places of the world: mirrored pieces of the background, tinted.
    things = scene.things.draw(scene.picture, pictures.shape[-1])
    layer = paint(chance, things, background.flip(-1).float() / 255)
    return lay_over(pictures, layer).clamp(0, 1)


@torch.no_grad()
def truth_of(scene: Scene, body: CoarseBody, size: int) -> Truth:
    """Draws what is true of the people, in the pixels of their frames."""
    picture, frame = scene.picture, scene.frame
    ends = torch.stack([picture.centre, picture.centre], 1)
    ends = ends + picture.side[:, None, None] * ends.new_tensor([[-0.5], [0.5]])
    low, high = ((frame.to_square(ends) + 1) * (size / 2)).unbind(1)
    surface = in_square(scene.surface, frame, size)
    whole = rasterize_labels(surface, body.faces, body.part24, (size, size))
    whole = whole * rectangles((low + high) / 2, (high - low) / 2, (size, size))
    labels = whole * (scene.things.draw(frame, size) == 0)
    return Truth.of(
        in_square(scene.marks, frame, size),
        labels=labels,
        whole=whole,
        borders=torch.cat([low, high], 1),
        side=torch.full_like(frame.side, size / MARGIN),
    )


def in_square(
    points: Float[Tensor, "batch N 3"], square: Box, size: int
) -> Float[Tensor, "batch N 3"]:
    """Moves x and y into the pixels of a square; keeps the depth."""
    flat = (square.to_square(points[..., :2]) + 1) * (size / 2)
    return torch.cat([flat, points[..., 2:]], -1)


def _window(
    chance: Chance,
    borders: Float[Tensor, "batch 4"],
    frame: Float[Tensor, "batch 3"],
    settings: StageSettings,
) -> Float[Tensor, "batch 3"]:
    """Chooses the picture, (centre x, centre y, side): its border lies where it shall cut."""
    low, high = settings.room
    seen = frame[:, 2:] / MARGIN
    side = seen * (low + (high - low) * chance.uniform("picture/room", 1) ** 2)
    slack = (side - seen * 1.05) / 2
    centre = frame[:, :2] + slack * chance.uniform("picture/place", 2, low=-1.0, high=1.0)
    first, last = borders[:, :2], borders[:, 2:]
    centre = torch.where(first.isfinite(), first + side / 2, centre)
    return torch.cat([torch.where(last.isfinite(), last - side / 2, centre), side], 1)


def draw_lights(chance: Chance) -> Lights:
    """Draws a light somewhere in front of or above the person, from dim to glaring.

    Source: ranges of HierProb3D's released configuration: ambient 0.4 to 0.8, diffuse 0.4 to 0.8,
    specular 0 to 0.5; we keep the light out of the body, 2 to 6 m away.
    """
    bright = chance.uniform("light/bright", 1, low=0.4, high=0.8)
    diffuse = chance.uniform("light/diffuse", 1, low=0.4, high=0.8)
    shine = chance.uniform("light/specular", 1, high=0.3)
    white = torch.ones(1, 3, device=bright.device)
    turn = chance.uniform("light/turn", low=-math.pi * 0.6, high=math.pi * 0.6)
    height = chance.uniform("light/height", low=-0.2, high=1.2)
    away = chance.uniform("light/away", 1, low=2.0, high=6.0)
    towards = torch.stack([turn.sin() * height.cos(), height.sin(), turn.cos() * height.cos()], 1)
    return Lights(
        ambient=bright * white,
        diffuse=diffuse * white,
        specular=shine * white,
        position=away * towards,
    )
