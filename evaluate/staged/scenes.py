"""People of the open bodies before cameras, and their pictures, to write data sets of.

Poses are those of subjects that no training saw. Pictures show bodies in clothes painted on their
skin where looks are given, else in one matt colour, before a made-up background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.open import RECIPE
from plausibody.models.body import regress
from plausibody.models.camera import PerspectiveCamera, world_to_camera
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import concatenate
from plausibody.synth.background_procedural import Procedural
from plausibody.synth.chance import Chance
from plausibody.synth.looks import Looks
from plausibody.synth.poses import load_poses
from plausibody.synth.raster import rasterize
from plausibody.synth.render import composite, joint_visibility, render, shade
from plausibody.synth.scene import (
    JointLimits,
    PoseSettings,
    ShapeSettings,
    ViewSettings,
    draw_body,
)

GENDERS = ("female", "male")


@dataclass(frozen=True)
class SceneSettings:
    """How people are drawn and seen."""

    size: int = 512
    """Side of the square pictures [px]; the principal point is the centre."""
    focal: float = 5000.0
    """[px]."""
    fill: tuple[float, float] = (0.5, 0.8)
    """Range of the person's longer side over the picture's."""
    off_centre: float = 0.06
    """Largest distance of the middle of the person from that of the picture, over its side."""
    shape_std: float = 1.25
    """Of the coefficients of the gendered bodies."""
    smoothing: int = 2
    """Samples per pixel and axis of the pictures; 1 is quick, and has jags."""
    seed: int = 0


@dataclass(frozen=True)
class StagedPeople:
    """Everything about some people; the first axis of every tensor runs over them."""

    genders: tuple[str, ...]
    body: BodyParameters
    """Of the open body of the gender, in the world."""
    camera: PerspectiveCamera
    """Over the world [px]."""
    vertices: Float[Tensor, "people V 3"]
    """Posed [m]."""
    keypoints: Float[Tensor, "people 17 2"]
    """COCO-17 [px]."""
    visible: Bool[Tensor, "people 17"]
    """Which of them lie in the picture, and are not behind the body."""
    masks: Bool[Tensor, "people size size"]

    def __len__(self) -> int:
        return len(self.genders)


def stage_people(
    numbers: Int[Tensor, " people"],
    bodies: LabelBodies,
    settings: SceneSettings,
    genders: Sequence[str] | None = None,
) -> StagedPeople:
    """Draws people, each by the seed and the own number.

    Args:
        bodies: The open ones, of every gender.
        genders: Of the people; women and men by turns if None.
    """
    chance = Chance(settings.seed, numbers)
    bank = load_poses(find_asset("poses/cmu.h5"), "test")
    body = draw_body(
        chance,
        bank,
        JointLimits.of(bank),
        PoseSettings(recombined=0.0, jittered=0.0),
        ViewSettings(**RECIPE["view"]),
        ShapeSettings(std=settings.shape_std, wide=0.0),
    )
    if genders is None:
        genders = tuple(GENDERS[number % 2] for number in numbers.tolist())
    vertices = bodies.posed(body, genders)
    camera = _place(chance, vertices, settings)
    drawn = rasterize(camera.project(vertices), bodies.faces, (settings.size, settings.size))
    marks = camera.project(regress(bodies.regressors.coco17, vertices))
    return StagedPeople(
        genders=tuple(genders),
        body=body,
        camera=camera,
        vertices=vertices,
        keypoints=marks[..., :2],
        visible=joint_visibility(marks, drawn.depth)[1],
        masks=drawn.mask,
    )


def join_people(parts: Sequence[StagedPeople]) -> StagedPeople:
    """Puts people together."""
    genders = tuple(gender for part in parts for gender in part.genders)
    return replace(concatenate(list(parts)), genders=genders)


def _place(
    chance: Chance, vertices: Float[Tensor, "people V 3"], settings: SceneSettings
) -> PerspectiveCamera:
    """Finds the distance at which people fill the picture as wanted, and puts them near its middle.

    Exact for a flat person: at the distances of a focal length of 5000 px nearly so for all.
    """
    seen = world_to_camera(vertices)
    low, high = seen.amin(1), seen.amax(1)
    fill = chance.uniform("fill", low=settings.fill[0], high=settings.fill[1])
    depth = settings.focal * (high - low)[:, :2].amax(1) / (fill * settings.size)
    off = settings.off_centre
    shift = chance.uniform("off_centre", 2, low=-off, high=off)
    across = shift * (settings.size * depth / settings.focal)[:, None]
    middle = (low + high) / 2
    place = torch.cat([across - middle[:, :2], (depth - middle[:, 2])[:, None]], 1)
    return PerspectiveCamera(
        focal=torch.full_like(depth, settings.focal),
        principal=torch.full_like(across, settings.size / 2),
        translation=place,
    )


def tight_boxes(
    masks: Bool[Tensor, "people H W"],
) -> tuple[Float[Tensor, "people 2"], Float[Tensor, "people 2"]]:
    """Gives the least and the greatest x and y of masks [px]; none may be empty."""

    def extent(occupied: Bool[Tensor, "people N"]) -> tuple[Tensor, Tensor]:
        there = occupied.to(torch.uint8)
        return there.argmax(1), occupied.shape[1] - there.flip(1).argmax(1)

    (left, right), (top, bottom) = extent(masks.any(1)), extent(masks.any(2))
    return torch.stack([left, top], 1).float(), torch.stack([right, bottom], 1).float()


def paint_people(
    numbers: Int[Tensor, " people"],
    people: StagedPeople,
    bodies: LabelBodies,
    settings: SceneSettings,
    looks: Looks | None = None,
) -> Float[Tensor, "people 3 size size"]:
    """Takes their pictures, 0..1.

    Args:
        numbers: As of `stage_people`.
        looks: What people wear and what is behind them; one matt colour each, before colours and
            shapes, if None.
    """
    chance, size = Chance(settings.seed, numbers), (settings.size, settings.size)
    behind = (Procedural() if looks is None else looks.backgrounds).draw(chance, size)
    return paint_over(
        behind,
        people.camera.project(people.vertices),
        people.vertices,
        bodies.faces,
        chance,
        looks,
        eye=world_to_camera(-people.camera.translation),
        smoothing=settings.smoothing,
    )


def paint_over(
    behind: UInt8[Tensor, "people 3 H W"],
    pixels: Float[Tensor, "people V 3"],
    vertices: Float[Tensor, "people V 3"],
    faces: Int[Tensor, "F 3"],
    chance: Chance,
    looks: Looks | None = None,
    *,
    eye: Float[Tensor, "people 3"] | None = None,
    name: str = "",
    smoothing: int = 2,
) -> Float[Tensor, "people 3 H W"]:
    """Paints bodies over pictures, 0..1.

    Args:
        behind: 0..255.
        pixels: Projected vertices: x, y [px] and depth [m].
        vertices: The same in the world [m], y up.
        looks: What people wear; one matt colour each if None.
        eye: Place of each camera in the world [m].
        name: Tells what is drawn for a person from what is drawn for others of the same picture.
    """
    size = (behind.shape[2], behind.shape[3])
    if looks is None:
        shaded = shade(
            pixels,
            vertices,
            faces,
            size,
            colour=chance.uniform(f"{name}colour", 1, 3, low=0.2, high=0.9),
            background=behind.float() / 255,
            smoothing=smoothing,
        )
        return shaded.clamp(0, 1)
    drawn = render(
        pixels,
        vertices,
        faces,
        looks.chart,
        size,
        outputs=("rgb", "silhouette"),
        textures=looks.mipmaps,
        texture=chance.integer(f"{name}texture", len(looks.mipmaps)),
        eye=eye,
        supersample=smoothing,
    )
    assert drawn.rgb is not None and drawn.silhouette is not None
    return composite(drawn.rgb, drawn.silhouette, behind).clamp(0, 1)
