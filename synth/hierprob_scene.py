"""Who the `hierprob` recipe draws, from where, and what goes wrong; nothing is rendered here.

`plausibody.synth.hierprob` names the source, and where we differ from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.profiler import record_function

from plausibody.models.body import PosedBody, pose_body, regress, vertex_normals
from plausibody.models.camera import world_to_camera
from plausibody.models.constants import constant
from plausibody.models.crop import Box
from plausibody.models.prediction import BodyParameters
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.charts import Chart
from plausibody.synth.corrupt import swap_pairs
from plausibody.synth.exact import rounded
from plausibody.synth.garments import GarmentSettings, dress
from plausibody.synth.genders import Genders, by_gender, draw_genders, gender_maps
from plausibody.synth.looks import Looks
from plausibody.synth.mass import MassIndex
from plausibody.synth.measured import check_errors
from plausibody.synth.occluders import BorderSettings, draw_borders, within
from plausibody.synth.removal import HalvesSettings, draw_halves, draw_removed, lose_joints
from plausibody.synth.scene import (
    CameraSettings,
    PoseSettings,
    ShapeSettings,
    ViewSettings,
    draw_camera,
    draw_pose,
    draw_shape,
    draw_view,
    stand_back,
    turn_pose,
)
from plausibody.synth.semantic_maps import LabelNoise
from plausibody.synth.shading import OUTPUTS, Lights
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import into_crop
from plausibody.synth.textures import GREY_SHARE, draw_texture
from plausibody.synth.views import VIEWPOINTS
from plausibody.synth.wardrobe import build_wardrobe

CHANNELS = (*OUTPUTS, "part14", "part6", "joint_visibility")
LEGS = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
FOREARMS = (3, 4, 19, 20, 21, 22)
"""DensePose's parts that a box may leave out: legs with feet, forearms with hands."""
_RARE, _OFTEN = 0.05, 0.1


@dataclass(frozen=True)
class LightSettings:
    """White point lights; each range is uniform."""

    ambient: tuple[float, float] = (0.4, 0.8)
    diffuse: tuple[float, float] = (0.4, 0.8)
    specular: tuple[float, float] = (0.0, 0.5)
    distance: tuple[float, float] = (0.05, 3.0)
    """From the body's origin, in any direction [m]."""


@dataclass(frozen=True)
class HierprobSettings:
    """Published numbers, in the order of the pipeline; fields marked "ours" are off by default."""

    size: int = 256
    """Side of the crop [px]; the picture's is the camera's own."""
    pose: PoseSettings = field(
        default_factory=lambda: PoseSettings(mirrored=0.0, recombined=0.0, jittered=0.0)
    )
    """Poses are taken as they are; mirroring and the rest are ours."""
    view: ViewSettings = field(default_factory=lambda: VIEWPOINTS["hierprob"].view)
    shape: ShapeSettings = field(default_factory=lambda: ShapeSettings(std=1.25, wide=0.0))
    mass_index: tuple[float, float] | None = None
    """Ours: a range over which body mass indices are uniform [kg/m^2]; shapes are normal across."""
    camera: CameraSettings = field(default_factory=lambda: VIEWPOINTS["hierprob"].camera)
    light: LightSettings = field(default_factory=LightSettings)
    grey: float = GREY_SHARE
    """Probability of a texture without colours."""
    garments: GarmentSettings = field(default_factory=lambda: GarmentSettings(worn=0.0))
    """Ours: clothes stand off the body with probability `worn`; the release paints them on."""
    supersample: int = 1
    """2 draws smooth outlines: ours."""
    border: BorderSettings = field(default_factory=lambda: BorderSettings(truncated=0.0))
    """Ours: how often the picture ends within the person, besides where it ends by itself."""
    extreme_crop: float = 0.1
    """Probability that the box leaves out legs, or legs and forearms, half of the time each."""
    box_scale: tuple[float, float] = (0.9, 1.4)
    """Range of the box's side over the longer side of the person."""
    box_shift: float = 5.0
    """Half range [px of the picture]."""
    least_part: int = 50
    """A joint whose part has no more pixels than that in the crop is hidden."""
    part_removed: tuple[float, ...] = (
        *(_OFTEN,) * 6,
        *(_RARE,) * 4,
        *(_OFTEN,) * 4,
        *(_RARE,) * 4,
        *(_OFTEN,) * 4,
        *(_RARE,) * 2,
    )
    """Of DensePose's parts 1 to 24."""
    joint_with_part: float = 0.5
    """Probability that a joint vanishes with its part."""
    occluded: float = 0.1
    """Probability of a square of background before the person."""
    occluder: int = 48
    """Its side [px]."""
    occluder_range: tuple[float, float] = (0.35, 0.65)
    """Range of its centre, over the side of the crop."""
    swaps: dict[str, float] = field(default_factory=lambda: {"shoulder": 0.1, "hip": 0.1})
    """Probabilities that left and right change places."""
    joint_noise: float = 6.0
    """Half range [px]."""
    dropped: float = 0.1
    """Probability that an elbow, wrist, knee or ankle is not seen."""
    halves: HalvesSettings = field(default_factory=HalvesSettings)
    """Of the person, behind which the background shows; and again of the picture, then black."""
    gain: tuple[float, float] = (0.8, 1.2)
    """Range of the factor of each colour."""
    errors: str = "published"
    """published; or measured: no parts are removed, and instead of swaps, noise and dropped joints,
    key points have those of the fitted model of the front end."""
    channels: tuple[str, ...] = ()
    """What to keep in the batch of what was drawn: some of `CHANNELS`."""
    labels: LabelNoise = field(default_factory=LabelNoise)
    """What is wrong with the label maps, where a stream hands such maps over."""

    def __post_init__(self) -> None:
        check_errors("hierprob.errors", self.errors)
        if unknown := sorted(set(self.channels) - set(CHANNELS)):
            raise ValueError(
                f"hierprob.channels: wanted some of {', '.join(CHANNELS)}, got {unknown}"
            )
        if len(self.part_removed) != 24:
            raise ValueError(
                f"hierprob.part_removed: wanted 24 probabilities, got {len(self.part_removed)}"
            )


@dataclass(frozen=True)
class Crop:
    """Who is seen how in the crop, before anything goes missing."""

    parameters: BodyParameters
    vertices: Float[Tensor, "batch V 3"]
    """Of the person, dressed, in the world [m]."""
    pixels: Float[Tensor, "batch V 3"]
    """The same in the crop: x, y [px], depth [m]."""
    truth: Float[Tensor, "batch 17 2"]
    """Key points in the crop [px]."""
    depth: Float[Tensor, "batch 17"]
    """Of the key points [m]."""
    extent: Float[Tensor, " batch"]
    """Longer side of what the crop was put round [px]."""
    borders: Float[Tensor, "batch 4"]
    """Of the picture, in the crop: left, top, right, bottom [px]."""
    eye: Float[Tensor, "batch 3"]
    """The camera's place in the world [m]."""
    skeleton: Float[Tensor, "batch J 2"]
    """Joints of the skeleton in the crop [px]."""
    genders: Genders | None = None


@dataclass(frozen=True)
class Damage:
    """What goes missing of a crop, and what is said of its key points."""

    removed: Bool[Tensor, "batch 25"]
    """Parts behind which the background shows."""
    square: Float[Tensor, "batch 2"]
    """Centre of a square of background [px], far outside where there is none."""
    body: Float[Tensor, "batch 4"]
    """Borders within which the person is left: left, top, right, bottom [px]."""
    picture: Float[Tensor, "batch 4"]
    """Borders beyond which the picture is black [px]."""
    places: Float[Tensor, "batch 17 2"]
    """Where key points are said to be [px]."""
    seen: Bool[Tensor, "batch 17"]


@dataclass(frozen=True)
class Scene:
    """All that chance decides about a picture, but what is behind the person."""

    crop: Crop
    damage: Damage
    texture: Int[Tensor, " batch"]
    lights: Lights
    gain: Float[Tensor, "batch 3 1 1"]
    """Factors of red, green and blue."""


@record_function("stage: corruption")
def damage(
    chance: Chance,
    truth: Float[Tensor, "batch 17 2"],
    visible: Bool[Tensor, "batch 17"],
    settings: HierprobSettings,
) -> Damage:
    """Draws all that goes wrong between a person and the proxy; steps 11 to 18 as published.

    Args:
        truth: Key points in the crop [px].
        visible: Which of them can be seen before anything goes wrong.
    """
    size = settings.size
    removed = draw_removed(chance, settings.part_removed)
    visible = visible & ~lose_joints(chance, removed, settings.joint_with_part)
    low, high = settings.occluder_range
    square = size * chance.uniform("occluder/centre", 2, low=low, high=high)
    square = torch.where(chance.chance("occluder", settings.occluded, 1), square, -9.0 * size)
    half = settings.joint_noise
    places = swap_pairs(chance, truth, settings.swaps)
    places = places + chance.uniform("joint_noise", 17, 2, low=-half, high=half)
    limbs = tuple(name.endswith(("elbow", "wrist", "knee", "ankle")) for name in COCO17)
    dropped = chance.chance("joint/dropped", settings.dropped, 17)
    visible = visible & ~(dropped & constant(limbs, torch.bool, dropped.device))
    body = draw_halves(chance, "halves/body", size, settings.halves)
    picture = draw_halves(chance, "halves/picture", size, settings.halves)
    for left in (body, picture):
        # A picture that is not cut hides nobody, not even who is outside the crop.
        low_side = torch.where(left[:, :2] > 0, left[:, :2], -torch.inf)[:, None]
        high_side = torch.where(left[:, 2:] < size, left[:, 2:], torch.inf)[:, None]
        visible = visible & ((places >= low_side) & (places < high_side)).all(-1)
    return Damage(removed, square, body, picture, places, visible)


class Scenes:
    """Draws the scenes of the recipe."""

    def __init__(self, settings: HierprobSettings, assets: SynthAssets, looks: Looks):
        self.settings, self.assets, self.textures = settings, assets, looks.textures
        self.groups = group_vertices(looks.chart)
        self._wardrobe = None
        shape = settings.shape
        self._maps = gender_maps(shape.gendered, assets.genders, assets.template, shape.count)
        self._masses: tuple[MassIndex, ...] = ()
        """Of the neutral body; of the male and the female one too, where people are drawn so."""
        if settings.mass_index is not None:
            mass = MassIndex.of(assets.template, shape.count)
            maps = () if self._maps is None else (self._maps.male, self._maps.female)
            self._masses = (mass, *(mass.after(mapped) for mapped in maps))
        if settings.garments.worn > 0:
            self._wardrobe = build_wardrobe(looks.textures, assets.template, looks.chart)

    def draw(self, chance: Chance) -> Scene:
        """Draws everything but the background, before anything is rendered."""
        crop, settings = self._draw_crop(chance), self.settings
        inside = within(crop.truth, crop.borders)
        inside = inside & ((crop.truth >= 0) & (crop.truth < settings.size)).all(-1)
        low, high = settings.gain
        if settings.errors == "measured":
            settings = replace(settings, part_removed=(0.0,) * 24)
        return Scene(
            crop=crop,
            damage=damage(chance, crop.truth, inside, settings),
            texture=self._draw_texture(chance),
            lights=draw_lights(chance, settings.light),
            gain=chance.uniform("gain", 3, 1, 1, low=low, high=high),
        )

    def _draw_crop(self, chance: Chance) -> Crop:
        """Draws who stands how before which camera, and which part of its picture is looked at."""
        assets, settings = self.assets, self.settings
        pose = draw_pose(chance, assets.bank, assets.limits, settings.pose)
        parameters = BodyParameters(
            shape=self.draw_shape(chance),
            rotations=turn_pose(draw_view(chance, settings.view), pose),
        )
        posed = pose_body(assets.template, parameters.shape, parameters.rotations)
        joints = regress(assets.regressors.coco17, posed.vertices)
        vertices = self._dress(chance, posed)
        camera = stand_back(draw_camera(chance, settings.camera), vertices)
        surface = camera.project(vertices)
        picture = self._draw_picture(chance, surface)
        box = self.draw_box(chance, surface, picture)
        borders = (box.to_square(picture.unflatten(1, (2, 2))) + 1) * (settings.size / 2)
        marks = into_crop(camera.project(joints), box, settings.size)
        return Crop(
            parameters=parameters,
            vertices=vertices,
            pixels=into_crop(surface, box, settings.size),
            truth=marks[..., :2],
            depth=marks[..., 2],
            extent=settings.size / self.draw_scale(chance),
            borders=borders.flatten(1),
            eye=world_to_camera(-camera.translation),
            skeleton=into_crop(camera.project(posed.joints), box, settings.size)[..., :2],
            genders=self._draw_genders(chance),
        )

    def draw_shape(self, chance: Chance) -> Float[Tensor, "batch S"]:
        if self.settings.mass_index is None:
            return draw_shape(chance, self.settings.shape, self._maps)
        (low, high), std = self.settings.mass_index, self.settings.shape.std
        shapes = [mass.draw_shape(chance, low, high, std) for mass in self._masses]
        genders = self._draw_genders(chance)
        if genders is None or self._maps is None:
            return shapes[0]
        return self._maps.to_neutral(by_gender(genders.true, *shapes), genders.true)

    def _draw_genders(self, chance: Chance) -> Genders | None:
        shape = self.settings.shape
        return draw_genders(chance, shape.gendered, shape.known)

    def _dress(self, chance: Chance, posed: PosedBody) -> Float[Tensor, "batch V 3"]:
        """Gives the vertices to draw; what is to be learnt stays naked."""
        if self._wardrobe is None:
            return posed.vertices
        normals = vertex_normals(posed.vertices, self.assets.template.faces)
        return dress(
            chance, posed.vertices, normals, posed.joints, self._wardrobe,
            self._draw_texture(chance), self.settings.garments,
        )  # fmt: skip

    def _draw_texture(self, chance: Chance) -> Int[Tensor, " batch"]:
        return draw_texture(chance, self.textures, self.settings.grey)

    def _draw_picture(
        self, chance: Chance, surface: Float[Tensor, "batch V 3"]
    ) -> Float[Tensor, "batch 4"]:
        """Draws where the picture ends: left, top, right, bottom [px]."""
        side = self.settings.camera.size
        frame = constant((0, 0, side, side), surface.dtype, surface.device)
        frame = frame.expand(len(surface), 4)
        if self.settings.border.truncated == 0:
            return frame
        low = torch.maximum(surface[..., :2].amin(1), frame[:, :2])
        high = torch.minimum(surface[..., :2].amax(1), frame[:, 2:])
        borders = draw_borders(chance, low, high, self.settings.border)
        return torch.cat(
            [
                torch.maximum(borders[:, :2], frame[:, :2]),
                torch.minimum(borders[:, 2:], frame[:, 2:]),
            ],
            1,
        )

    def draw_box(
        self, chance: Chance, surface: Float[Tensor, "batch V 3"], picture: Float[Tensor, "batch 4"]
    ) -> Box:
        """Puts a square round what the picture shows of the person, at times without the limbs."""
        settings = self.settings
        extreme = chance.chance("crop", settings.extreme_crop)
        forearms = extreme & chance.chance("crop/forearms", 0.5)
        left_out = torch.stack([torch.zeros_like(extreme), forearms, extreme], 1)

        flat = surface[..., :2]
        seen = within(flat, picture)[..., None]
        low, high = torch.where(seen, flat, torch.inf), torch.where(seen, flat, -torch.inf)
        lows = torch.stack([low[:, group].amin(1) for group in self.groups], 1)
        highs = torch.stack([high[:, group].amax(1) for group in self.groups], 1)
        low = torch.where(left_out[..., None], torch.inf, lows).amin(1)
        high = torch.where(left_out[..., None], -torch.inf, highs).amax(1)
        # Of whom nothing would be in the box, all counts; who is outside the picture is sought.
        nothing = (high - low).amax(1, keepdim=True) < 1
        low, high = (
            torch.where(nothing, lows.amin(1), low),
            torch.where(nothing, highs.amax(1), high),
        )
        nothing = (high - low).amax(1, keepdim=True) < 1
        low = torch.where(nothing, picture[:, :2], low)
        high = torch.where(nothing, picture[:, 2:], high)

        shift = chance.uniform("box/shift", 2, low=-settings.box_shift, high=settings.box_shift)
        side = (high - low).amax(1) * self.draw_scale(chance)
        return Box(centre=(low + high) / 2 + shift, side=side)

    def draw_scale(self, chance: Chance) -> Float[Tensor, " batch"]:
        """Draws the side of the box over the longer side of what it is put round."""
        least, most = self.settings.box_scale
        return chance.uniform("box/scale", low=least, high=most)


def draw_lights(chance: Chance, settings: LightSettings) -> Lights:
    """Draws a white point light for each person, anywhere round the body's origin."""
    direction = chance.normal("light/direction", 3)
    direction = rounded(lambda d: d / d.norm(dim=-1, keepdim=True).clamp(min=1e-6), direction)
    ranges = (settings.ambient, settings.diffuse, settings.specular, settings.distance)
    low, high = constant(ranges, torch.float32, direction.device).unbind(1)
    drawn = low + (high - low) * chance.uniform("light", 4)
    ambient, diffuse, specular, distance = (one.expand(-1, 3) for one in drawn.split(1, 1))
    return Lights(
        ambient=ambient, diffuse=diffuse, specular=specular, position=direction * distance
    )


def group_vertices(chart: Chart) -> list[Int[Tensor, " N"]]:
    """Lists the vertices of what is always in the box, of the forearms, and of the legs."""
    parts = chart.face_part.long()
    kind = torch.zeros(25, dtype=torch.long, device=parts.device)
    kind[list(FOREARMS)], kind[list(LEGS)] = 1, 2
    return [chart.faces[kind[parts] == number].unique() for number in range(3)]
