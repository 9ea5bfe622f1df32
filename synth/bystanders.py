"""Other people in the pictures of staged people, dressed and painted: before them or behind.

Whole bodies lie over each other, in the order in which they stand: an arm that reaches round
another body is not seen to. What is true of the picture follows the same order, so that pictures
and truth agree to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.body import PosedBody, Skin, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take
from plausibody.synth.chance import Chance
from plausibody.synth.measured_stage import (
    Figure,
    Scene,
    Shot,
    Stage,
    StageSettings,
    in_square,
    lay_things,
)
from plausibody.synth.occluder_people import MOST, PeopleSettings, draw_people
from plausibody.synth.raster import rasterize_outlines
from plausibody.synth.scene import draw_tilt


@dataclass(frozen=True)
class Bystanders:
    """One more body in each of some pictures."""

    picture: Int[Tensor, " n"]
    """In which of the pictures; at most once in each."""
    in_front: Bool[Tensor, " n"]
    """Of the person, rather than behind."""
    figure: Figure


@torch.no_grad()
def draw_bystanders(
    chance: Chance,
    seed: int,
    scene: Scene,
    stage: Stage,
    skin: Skin,
    settings: StageSettings,
    people: PeopleSettings,
) -> list[Bystanders]:
    """Draws the other people of each picture, in the order of their distance.

    Args:
        chance: That of the scene.
        seed: Of what they wear.
        skin: Of their bodies: the linear open body, whoever the person is.
        settings: Of the scene.
        people: How many they are, and where.

    Returns:
        The farther one of each picture, then the nearer one of those that have two.
    """
    if people.present == 0:
        return []
    tilt = draw_tilt(chance, settings.view)
    others = draw_people(chance, stage.assets.bank, skin, tilt, scene.clothed, people)
    # Behind comes first; who is not there comes last.
    order = others.apart.masked_fill(~others.there, torch.inf).argsort(1)
    found = []
    for place in range(MOST):
        picture = (others.there.sum(1) > place).nonzero()[:, 0]
        if not len(picture):
            continue
        who = order[picture, place]
        vertices = others.vertices[picture, who]
        body = BodyParameters(
            shape=others.parameters.shape[picture, who],
            rotations=others.parameters.rotations[picture, who],
        )
        posed = pose_body(skin, body.shape, body.rotations)
        joints = posed.joints + (vertices[:, :1] - posed.vertices[:, :1])
        own = Chance(seed + place, chance.numbers[picture])
        clothed = stage.dresser(settings.garments)(own, PosedBody(vertices, joints))
        unit = PerspectiveCamera(
            focal=torch.ones(len(picture)),
            principal=torch.zeros(len(picture), 2),
            translation=scene.place[picture],
        )
        figure = Figure(clothed, unit.project(clothed), stage.texture(own))
        found.append(Bystanders(picture, others.in_front[picture, who], figure))
    return found


@torch.no_grad()
def photograph_all(
    chance: Chance, scene: Scene, stage: Stage, bystanders: Sequence[Bystanders], size: int
) -> Float[Tensor, "batch 3 {size} {size}"]:
    """Does what `photograph` does, with other people behind and before the person."""
    background = stage.looks.backgrounds.draw(chance, (size, size))
    shot = Shot.of(chance, scene)
    pictures = background.float() / 255

    def lay(figure: Figure, where: Int[Tensor, " n"]) -> None:
        if len(where):
            rgb, share = figure.paint(take(shot, where), stage, size)
            pictures[where] = rgb + (1 - share[:, None]) * pictures[where]

    for behind in (take(some, ~some.in_front) for some in bystanders):
        lay(behind.figure, behind.picture)
    person = Figure(scene.clothed, scene.surface, stage.texture(chance))
    lay(person, torch.arange(len(pictures)))
    for before in (take(some, some.in_front) for some in bystanders):
        lay(before.figure, before.picture)
    return lay_things(chance, pictures, background, scene)


@torch.no_grad()
def covered_pixels(
    scene: Scene, stage: Stage, bystanders: Sequence[Bystanders], size: int
) -> Bool[Tensor, "batch {size} {size}"]:
    """Tells where in the picture something or somebody else stands before the person."""
    covered = scene.things.draw(scene.picture, size) > 0
    for some in bystanders:
        before = take(some, some.in_front)
        if not len(before.picture):
            continue
        flat = in_square(before.figure.surface, take(scene.picture, before.picture), size)
        outlines = rasterize_outlines(flat[..., :2], stage.body.faces, (size, size))
        covered[before.picture] |= outlines
    return covered
