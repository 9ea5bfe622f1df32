"""The `straps` recipe: silhouettes of whole bodies and key points, corrupted as published.

Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in
the Wild", 2020, and its released configuration. Where the release has a defect we correct it:

- Silhouettes are rendered straight into the crop, not cropped and resized by nearest pixels.
- Boxes that leave the picture stay square, where the release clamps and stretches them.
- Heatmaps are whole Gaussians with peak 1 at the key point; the release cuts them at two standard
  deviations, half a pixel aside, and never writes the last row and column.
- The root's orientation is drawn by the recipe (yaw uniform), since our pose store has none; the
  released pose file carries the cameras of its data sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.losses import Target
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box, Observation, ProxySettings, make_proxy
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.corrupt import rectangles, remove_labels
from plausibody.synth.raster import rasterize_labels
from plausibody.synth.scene import ViewSettings, draw_view
from plausibody.synth.stores import SynthAssets

PART6_OF_24 = (0, 6, 6, 2, 1, 4, 5, 5, 4, 5, 4, 5, 4, 5, 4, 1, 2, 1, 2, 1, 2, 1, 2, 3, 3)
"""STRAPS's parts (1 left arm, 2 right arm, 3 head, 4 left leg, 5 right leg, 6 trunk) by
DensePose's, 0 the background."""


@dataclass(frozen=True)
class StrapsSettings:
    """Published numbers, in the order of the pipeline."""

    size: int = 256
    """Side of the picture and of the crop [px]."""
    focal: float = 5000.0
    """[px]."""
    shape_std: float = 1.5
    translation: tuple[float, float, float] = (0.0, 0.2, 42.0)
    """Mean place of the body in the camera's frame [m]; y is down."""
    translation_std: float = 0.05
    """Of x and y [m]."""
    depth_range: float = 5.0
    """Half range of z [m]."""
    vertex_noise: float = 0.01
    """Half range of the shift of every vertex across the view [m]; makes the edge ragged."""
    box_scale: float = 1.2
    box_scale_range: float = 0.2
    box_shift: float = 5.0
    """Half range [px]."""
    part_removed: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1, 0.05, 0.05)
    """Of left arm, right arm, head, left leg, right leg, trunk."""
    occluded: float = 0.5
    """Probability of a square before the person."""
    occluder: int = 48
    """Its side [px]."""
    occluder_range: tuple[float, float] = (0.35, 0.65)
    """Range of its centre, over the side of the crop."""
    joint_noise: float = 8.0
    """Half range [px]."""
    view: ViewSettings = field(
        default_factory=lambda: ViewSettings(
            elevation_mean=math.radians(5), elevation_std=math.radians(10)
        )
    )


class StrapsRecipe:
    """Makes samples from their numbers."""

    def __init__(
        self,
        settings: StrapsSettings,
        proxy: ProxySettings,
        seed: int,
        assets: SynthAssets,
        backend: str = "auto",
    ):
        if proxy.size != settings.size:
            raise ValueError(
                f"the straps recipe renders {settings.size} px, the proxy wants {proxy.size}: "
                "set stream.straps.size and proxy.size to the same number"
            )
        self.settings, self.proxy, self.seed = settings, proxy, seed
        self.assets, self.backend = assets, backend
        labels = torch.tensor(PART6_OF_24, dtype=torch.uint8)
        self._part6 = labels[assets.part24.long()]

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance, settings = Chance(self.seed, numbers), self.settings
        parameters = self._draw_body(chance)
        vertices = pose_body(self.assets.template, parameters.shape, parameters.rotations).vertices
        joints = regress(self.assets.regressors.coco17, vertices)
        camera = self._draw_camera(chance)
        flat = camera.project(joints)[..., :2]
        noise = chance.uniform("vertex_noise", vertices.shape[1], 2, low=-1.0, high=1.0)
        vertices = vertices.clone()
        vertices[..., :2] += settings.vertex_noise * noise
        surface = camera.project(vertices)

        centre, side = self._draw_box(chance, surface[..., :2])
        zoom = (settings.size / side)[:, None, None]
        corner = (centre - side[:, None] / 2)[:, None]
        pixels = torch.cat([(surface[..., :2] - corner) * zoom, surface[..., 2:]], -1)
        truth = (flat - corner) * zoom
        size = (settings.size, settings.size)
        labels = rasterize_labels(
            pixels, self.assets.template.faces, self._part6, size, backend=self.backend
        )
        observation = self._observe(chance, labels, truth)
        whole = Box(
            centre=torch.full_like(centre, settings.size / 2),
            side=torch.full_like(side, settings.size),
        )
        return Batch(
            proxy=make_proxy(observation, self.proxy, whole),
            target=Target(parameters=parameters, keypoints=whole.to_square(truth)),
        )

    def _draw_body(self, chance: Chance) -> BodyParameters:
        bank, settings = self.assets.bank, self.settings
        rotations = rotvec_to_rotmat(bank.rotvecs[chance.integer("pose", len(bank))])
        root = draw_view(chance, settings.view) @ rotations[:, 0]
        return BodyParameters(
            shape=chance.normal("shape", 10, std=settings.shape_std),
            rotations=torch.cat([root[:, None], rotations[:, 1:]], 1),
        )

    def _draw_camera(self, chance: Chance) -> PerspectiveCamera:
        settings = self.settings
        place = chance.normal("translation", 2, std=settings.translation_std)
        depth = chance.uniform("depth", 1, low=-settings.depth_range, high=settings.depth_range)
        return PerspectiveCamera(
            focal=torch.full_like(depth[:, 0], settings.focal),
            principal=torch.full_like(place, settings.size / 2),
            translation=torch.cat([place, depth], 1) + place.new_tensor(settings.translation),
        )

    def _draw_box(
        self, chance: Chance, surface: Float[Tensor, "batch V 2"]
    ) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, " batch"]]:
        settings = self.settings
        low, high = surface.amin(1), surface.amax(1)
        spread = settings.box_scale_range
        scale = settings.box_scale + chance.uniform("box/scale", low=-spread, high=spread)
        shift = chance.uniform("box/shift", 2, low=-settings.box_shift, high=settings.box_shift)
        return (low + high) / 2 + shift, (high - low).amax(1) * scale

    def _observe(
        self,
        chance: Chance,
        labels: UInt8[Tensor, "batch size size"],
        truth: Float[Tensor, "batch 17 2"],
    ) -> Observation:
        settings, size = self.settings, self.settings.size
        odds = torch.tensor((0.0, *settings.part_removed))
        mask = remove_labels(labels, chance.uniform("part", len(odds)) < odds)
        low, high = settings.occluder_range
        centre = size * chance.uniform("occluder/centre", 2, low=low, high=high)
        present = chance.chance("occluder", settings.occluded, 1)
        half = torch.where(present, settings.occluder / 2, -1.0).expand(-1, 2)
        mask = mask * ~rectangles(centre, half, (size, size))
        noise = chance.uniform(
            "joint_noise", 17, 2, low=-settings.joint_noise, high=settings.joint_noise
        )
        places = truth + noise
        drawn = ((places > -8) & (places < size + 7)).all(-1, keepdim=True)
        return Observation(keypoints=torch.cat([places, drawn.float()], -1), mask=mask)
