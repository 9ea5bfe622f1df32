"""Scenes: who stands how before which camera, drawn without any state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.camera import PerspectiveCamera
from plausibody.models.constants import constant
from plausibody.models.prediction import BodyParameters
from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat
from plausibody.models.skeleton import SMPL24, indices, mirror
from plausibody.synth.chance import Chance
from plausibody.synth.exact import rounded
from plausibody.synth.genders import GenderMaps, check_genders, draw_genders
from plausibody.synth.poses import PoseBank

UPPER_BODY = indices(
    [
        name
        for name in SMPL24
        if name.startswith(("spine", "neck", "head"))
        or name.endswith(("collar", "shoulder", "elbow", "wrist", "hand"))
    ],
    SMPL24,
)
_MIRROR = mirror(SMPL24)


@dataclass(frozen=True)
class PoseSettings:
    """How poses of a bank are widened."""

    mirrored: float = 0.5
    """Probability of left and right changing places."""
    recombined: float = 0.3
    """Probability that the upper body comes from another pose."""
    jittered: float = 0.7
    """Probability of noise on every joint."""
    jitter: float = 0.08
    """Standard deviation of that noise, per coordinate of the rotation vector [rad]."""


@dataclass(frozen=True)
class ViewSettings:
    """From where a person is seen."""

    elevation_mean: float = math.radians(5)
    """[rad]; positive looks down on the person."""
    elevation_std: float = math.radians(12)
    elevation_limit: float = math.radians(30)
    elevation_uniform: float = 0.0
    """Half range of a uniform elevation about the mean, which replaces the normal one where
    positive [rad]."""
    roll_std: float = math.radians(5)
    """Of the camera about its axis [rad]."""
    nearest: float = 1.8
    """Distance from the camera [m]; its logarithm is uniform."""
    farthest: float = 12.0
    off_axis: float = 0.1
    """Standard deviation of the person's place across the view, over the distance."""


@dataclass(frozen=True)
class CameraSettings:
    """A camera with a picture of its own, and where in it people stand."""

    size: int = 256
    """Side of the picture [px]; the principal point is its centre."""
    focal: tuple[float, float] = (5000.0, 5000.0)
    """Range [px]; its logarithm is uniform."""
    place: tuple[float, float] = (0.0, 0.0)
    """Mean place of the body's origin across the view, x right and y down [m]."""
    place_std: float = 0.05
    """[m]."""
    off_axis: float = 0.0
    """A further standard deviation of that place, over the width that the picture shows there."""
    depth: tuple[float, float] = (37.0, 47.0)
    """Range of the distance of the body's origin [m]."""
    depth_logarithmic: bool = False
    """Whether the logarithm of the distance is uniform, rather than the distance."""
    fill: tuple[float, float] | None = None
    """Range of the height of a person of 1.7 m over the picture's side, its logarithm uniform:
    then the focal length follows from it and from the distance, within its own range."""
    bounded: bool = False
    """Whether the picture's borders cut people; else it goes on as far as the person does."""


@dataclass(frozen=True)
class ShapeSettings:
    """Which bodies there are."""

    count: int = 10
    std: float = 1.25
    """Standard deviation of the coefficients."""
    wide_std: float = 2.0
    """The same for the share of bodies that is drawn wider, so that few are extrapolated."""
    wide: float = 0.3
    """That share."""
    uniform: float = 0.0
    """Half range of a uniform distribution of every coefficient, which replaces the normal one
    where positive: bodies of another distribution than the training's, for evaluation."""
    gendered: float = 0.0
    """Probability that a person is drawn as a male or as a female body, half each, instead of the
    neutral one; the coefficients are then those of the neutral body that come nearest."""
    known: float = 0.5
    """Probability that the network is told the gender of such a person."""

    def __post_init__(self) -> None:
        check_genders("shape", self.gendered, self.known)


@dataclass(frozen=True)
class JointLimits:
    """Range of each coordinate of each rotation vector [rad]."""

    low: Float[Tensor, "24 3"]
    high: Float[Tensor, "24 3"]

    @classmethod
    def of(cls, bank: PoseBank) -> JointLimits:
        """Takes the range that 99.8 % of a bank and of its mirror image stay in.

        Of a large bank 200,000 poses at even distances decide: sorting all would fill the memory.
        """
        poses = bank.spread(200_000)
        both = torch.cat([poses, mirror_pose(poses)])
        ordered = both.sort(0).values
        edge = len(ordered) // 1000
        return cls(low=ordered[edge], high=ordered[-1 - edge])


def mirror_pose(rotvecs: Float[Tensor, "*batch 24 3"]) -> Float[Tensor, "*batch 24 3"]:
    """Reflects poses in the plane between left and right."""
    order = constant(tuple(_MIRROR), torch.long, rotvecs.device)
    return rotvecs[..., order, :] * constant((1.0, -1.0, -1.0), rotvecs.dtype, rotvecs.device)


def draw_pose(
    chance: Chance, bank: PoseBank, limits: JointLimits, settings: PoseSettings
) -> Float[Tensor, "batch 24 3"]:
    """Draws poses as rotation vectors; the root keeps the bank's own orientation."""
    pose = bank.pick(chance.integer("pose", len(bank)))
    other = bank.pick(chance.integer("pose/upper", len(bank)))
    upper = tuple(joint in UPPER_BODY for joint in range(len(SMPL24)))
    replaced = chance.chance("pose/recombined", settings.recombined, 1)
    replaced = replaced & constant(upper, torch.bool, pose.device)
    pose = torch.where(replaced[..., None], other, pose)
    noise = chance.normal("pose/jitter", 24, 3, std=settings.jitter)
    noise = noise * chance.chance("pose/jittered", settings.jittered)[:, None, None]
    jittered = torch.minimum(torch.maximum(pose + noise, limits.low), limits.high)
    pose = torch.cat([pose[:, :1], jittered[:, 1:]], 1)
    mirrored = chance.chance("pose/mirrored", settings.mirrored)[:, None, None]
    return torch.where(mirrored, mirror_pose(pose), pose)


def draw_view(chance: Chance, settings: ViewSettings) -> Float[Tensor, "batch 3 3"]:
    """Draws the rotation from a body's upright world into the camera's: any yaw, some tilt."""
    yaw = chance.uniform("view/yaw", low=-math.pi, high=math.pi)
    return rounded(
        lambda tilt, angle: tilt @ axis_rotation(1, angle), draw_tilt(chance, settings), yaw
    )


def draw_tilt(chance: Chance, settings: ViewSettings) -> Float[Tensor, "batch 3 3"]:
    """Draws how the camera is held, elevation and roll: one turn for all who stand before it."""
    if settings.elevation_uniform > 0:
        half = settings.elevation_uniform
        elevation = settings.elevation_mean + chance.uniform("view/elevation", low=-half, high=half)
    else:
        elevation = chance.normal(
            "view/elevation", mean=settings.elevation_mean, std=settings.elevation_std
        ).clamp(-settings.elevation_limit, settings.elevation_limit)
    roll = chance.normal("view/roll", std=settings.roll_std)
    return rounded(lambda z, x: axis_rotation(2, z) @ axis_rotation(0, x), roll, elevation)


def turn_pose(
    view: Float[Tensor, "batch 3 3"], pose: Float[Tensor, "batch 24 3"]
) -> Float[Tensor, "batch 24 3 3"]:
    """Makes matrices of rotation vectors; the root's contains the view."""
    rotations = rounded(rotvec_to_rotmat, pose)
    root = rounded(torch.matmul, view, rotations[:, 0])
    return torch.cat([root[:, None], rotations[:, 1:]], 1)


def draw_camera(chance: Chance, settings: CameraSettings) -> PerspectiveCamera:
    """Draws a camera and where the body's origin is in its frame."""
    low, high = settings.depth
    if settings.depth_logarithmic:
        depth = _between(low, high, chance.uniform("depth", 1))
    else:
        depth = chance.uniform("depth", 1, low=low, high=high)
    short, long = settings.focal
    if settings.fill is None:
        focal = _between(short, long, chance.uniform("focal"))
    else:
        little, much = settings.fill
        fill = _between(little, much, chance.uniform("fill"))
        focal = (fill * depth[:, 0] * (settings.size / 1.7)).clamp(short, long)
    spread = settings.place_std + settings.off_axis * depth * settings.size / focal[:, None]
    middle = constant(settings.place, depth.dtype, depth.device)
    place = chance.normal("translation", 2) * spread + middle
    return PerspectiveCamera(
        focal=focal,
        principal=torch.full_like(place, settings.size / 2),
        translation=torch.cat([place, depth], 1),
    )


def _between(low: float, high: float, share: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Goes from one number to another, along their logarithms."""
    return rounded(lambda part: low * torch.exp(part * math.log(high / low)), share)


def stand_back(
    camera: PerspectiveCamera, vertices: Float[Tensor, "batch V 3"], least: float = 0.3
) -> PerspectiveCamera:
    """Moves who reaches too near to the camera, or behind it, back along its axis.

    Args:
        vertices: In the world [m].
        least: Distance of the nearest vertex after that [m].
    """
    nearest = camera.translation[:, 2] - vertices[..., 2].amax(1)
    away = torch.zeros_like(camera.translation)
    away[:, 2] = (least - nearest).clamp(min=0)
    return replace(camera, translation=camera.translation + away)


def draw_shape(
    chance: Chance, settings: ShapeSettings, maps: GenderMaps | None = None
) -> Float[Tensor, "batch S"]:
    """Draws coefficients of the shape directions.

    Args:
        maps: From `gender_maps`; needed where some people are drawn as male or female bodies.
    """
    shape = _draw_coefficients(chance, settings)
    genders = draw_genders(chance, settings.gendered, settings.known)
    if genders is None:
        return shape
    if maps is None:
        raise ValueError(
            f"shape.gendered={settings.gendered:g}: wanted maps from male and female shapes to "
            "neutral ones, got none; do: hand on what gender_maps gives, or set gendered=0"
        )
    return maps.to_neutral(shape, genders.true)


def _draw_coefficients(chance: Chance, settings: ShapeSettings) -> Float[Tensor, "batch S"]:
    if settings.uniform > 0:
        low, high = -settings.uniform, settings.uniform
        return chance.uniform("shape/uniform", settings.count, low=low, high=high)
    wide = chance.chance("shape/wide", settings.wide)[:, None]
    unit = chance.normal("shape", settings.count)
    return torch.where(wide, unit * settings.wide_std, unit * settings.std)


def draw_body(
    chance: Chance,
    bank: PoseBank,
    limits: JointLimits,
    pose: PoseSettings,
    view: ViewSettings,
    shape: ShapeSettings,
    maps: GenderMaps | None = None,
) -> BodyParameters:
    """Draws a body as the camera sees it: the root's rotation contains the view.

    Args:
        maps: As of `draw_shape`.
    """
    rotations = turn_pose(draw_view(chance, view), draw_pose(chance, bank, limits, pose))
    return BodyParameters(shape=draw_shape(chance, shape, maps), rotations=rotations)


def draw_place(chance: Chance, settings: ViewSettings) -> Float[Tensor, "batch 3"]:
    """Draws where a body stands in the camera's frame [m]."""
    depth = _between(settings.nearest, settings.farthest, chance.uniform("view/depth"))
    across = chance.normal("view/off_axis", 2, std=settings.off_axis) * depth[:, None]
    return torch.cat([across, depth[:, None]], 1)
