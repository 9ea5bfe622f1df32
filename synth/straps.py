"""The `straps` recipe: silhouettes of whole bodies and key points, corrupted as published.

Source: Sengupta et al., "Synthetic Training for Accurate 3D Human Pose and Shape Estimation in
the Wild", 2020, and its released configuration. Where the release has a defect we correct it:

- Silhouettes are rendered straight into the crop, not cropped and resized by nearest pixels.
- Boxes that leave the picture stay square, where the release clamps and stretches them.
- Heatmaps are whole Gaussians with peak 1 at the key point; the release cuts them at two standard
  deviations, half a pixel aside, and never writes the last row and column.
- Shapes are drawn about the template's own, all coefficients zero; the release draws them about the
  mean of its parameter file (0.2, 0.3, -0.4, ...), which is of SMPL's coefficients only.
- The root's orientation is drawn by the recipe (yaw uniform), since our pose store has none; the
  released pose file carries the cameras of its data sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.constants import constant
from plausibody.models.losses import Target, TargetMaps
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box, Observation, ProxySettings, make_drawn_proxy
from plausibody.models.records import to_device
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import PART6_OF_24, coarser_parts
from plausibody.synth.corrupt import rectangles, remove_labels
from plausibody.synth.genders import (
    Genders,
    check_genders,
    draw_genders,
    gender_maps,
    with_genders,
)
from plausibody.synth.measured import MeasuredModel, Truth, check_errors, corrupt
from plausibody.synth.measured_file import choose_measured
from plausibody.synth.raster import rasterize_labels
from plausibody.synth.scene import (
    CameraSettings,
    ViewSettings,
    draw_camera,
    draw_view,
    stand_back,
    turn_pose,
)
from plausibody.synth.stores import SynthAssets
from plausibody.synth.target_maps import Cover, MapSettings, draw_maps, occluded_share
from plausibody.synth.views import VIEWPOINTS

SHAPE_COUNT = 10


@dataclass(frozen=True)
class StrapsSettings:
    """Published numbers, in the order of the pipeline."""

    size: int = 256
    """Side of the crop [px]; the picture's is the camera's own."""
    shape_std: float = 1.5
    """Of the coefficients of shapes."""
    shape_uniform: float = 0.0
    """Half range of a uniform distribution of every coefficient, which replaces the normal one
    where positive; the release offers it with 3."""
    camera: CameraSettings = field(default_factory=lambda: VIEWPOINTS["straps"].camera)
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
    view: ViewSettings = field(default_factory=lambda: VIEWPOINTS["straps"].view)
    errors: str = "published"
    """published; or measured: instead of removed parts and the joints' noise, those of the fitted
    model of the front end."""
    gendered: float = 0.0
    """Ours: as of `ShapeSettings`."""
    known: float = 0.5
    """The same."""

    def __post_init__(self) -> None:
        if self.shape_uniform < 0:
            raise ValueError(
                f"straps.shape_uniform: wanted half a range, 0 or more, got {self.shape_uniform}"
            )
        check_errors("straps.errors", self.errors)
        check_genders("straps", self.gendered, self.known)


@dataclass(frozen=True)
class Figure:
    """A person before a camera, before anything is drawn."""

    parameters: BodyParameters
    camera: PerspectiveCamera
    vertices: Float[Tensor, "batch V 3"]
    """In the world [m]."""
    surface: Float[Tensor, "batch V 3"]
    """The same in the picture, with ragged edges: x, y [px], depth [m]."""
    marks: Float[Tensor, "batch 17 3"]
    """COCO-17 key points in the picture: x, y [px], depth [m]."""
    genders: Genders | None = None


class StrapsRecipe:
    """Makes samples from their numbers."""

    def __init__(
        self,
        settings: StrapsSettings,
        proxy: ProxySettings,
        seed: int,
        assets: SynthAssets,
        backend: str = "auto",
        measured: MeasuredModel | None = None,
        targets: MapSettings | None = None,
    ):
        """Args:
        measured: With measured errors, which; those of the embedded front end if None.
        targets: Which maps of the true bodies to hand over; none if None.
        """
        if proxy.size != settings.size:
            raise ValueError(
                f"the straps recipe renders {settings.size} px, the proxy wants {proxy.size}: "
                "set stream.straps.size and proxy.size to the same number"
            )
        self.settings, self.proxy, self.seed = settings, proxy, seed
        self.assets, self.backend, self.targets = assets, backend, targets or MapSettings()
        self.measured = to_device(choose_measured(settings.errors, measured), assets.part24.device)
        self.part6 = coarser_parts(assets.part24, PART6_OF_24)
        self.maps = gender_maps(settings.gendered, assets.genders, assets.template, SHAPE_COUNT)

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance, size = Chance(self.seed, numbers), self.settings.size
        figure = self.draw_figure(chance)
        flat = figure.surface[..., :2]
        box = self.draw_box(chance, flat.amin(1), flat.amax(1))
        if self.measured is not None:
            drawn = self._draw_truth(chance, figure, box)
            maps = self._draw_maps(chance, figure, box, drawn.whole)
            return self.look(chance, figure, drawn, maps=maps)
        labels = self.draw_parts(into_crop(figure.surface, box, size))
        truth = into_crop(figure.marks, box, size)[..., :2]
        keypoints = self.corrupt_keypoints(chance, truth)
        mask, maps = self.corrupt_mask(chance, labels), self._draw_maps(chance, figure, box, labels)
        return self.hand_over(figure, truth, keypoints, mask, maps=maps)

    def _draw_maps(
        self, chance: Chance, figure: Figure, box: Box, labels: UInt8[Tensor, "batch size size"]
    ) -> TargetMaps | None:
        """Draws what there would be to see of whole people, with the square before them."""
        if not self.targets.size:
            return None
        hidden = self.draw_square(chance)
        endless = box.side.new_tensor([-torch.inf, -torch.inf, torch.inf, torch.inf])
        share = occluded_share(labels > 0, ~hidden)
        return self.draw_maps(figure, box, Cover(hidden, endless.expand(len(share), -1), share))

    def draw_maps(self, figure: Figure, box: Box, cover: Cover) -> TargetMaps | None:
        """Draws maps of the true bodies, if any are wanted; what is before them is in the crop."""
        size = self.settings.size
        bare = into_crop(figure.camera.project(figure.vertices), box, size)[..., :2]
        half = torch.full_like(box.centre, size / 2)
        crop = Box(centre=half, side=2 * half[:, 0])
        faces = self.assets.template.faces
        return draw_maps(bare, faces, crop, self.targets, cover, self.backend)

    def _draw_truth(self, chance: Chance, figure: Figure, box: Box) -> Truth:
        """Draws what there is to see of people, with the square before them."""
        size = self.settings.size
        surface, marks = (into_crop(points, box, size) for points in (figure.surface, figure.marks))
        whole = rasterize_labels(
            surface, self.assets.template.faces, self.assets.part24, (size, size),
            backend=self.backend,
        )  # fmt: skip
        far = torch.full_like(marks[:, 0, 0], torch.inf)
        return Truth.of(
            marks,
            labels=whole * ~self.draw_square(chance),
            whole=whole,
            borders=torch.stack([-far, -far, far, far], 1),
            side=size / self.draw_scale(chance),
        )

    def look(
        self,
        chance: Chance,
        figure: Figure,
        truth: Truth,
        channels: dict[str, Tensor] | None = None,
        maps: TargetMaps | None = None,
    ) -> Batch:
        """Makes the batch of crops that the front end was measured to make of people."""
        assert self.measured is not None, "only with measured errors"
        seen = corrupt(chance, truth, self.measured)
        drawn = self._is_drawn(seen.keypoints[..., :2])
        keypoints = torch.cat([seen.keypoints[..., :2], seen.keypoints[..., 2:] * drawn], -1)
        return self.hand_over(figure, truth.keypoints, keypoints, seen.mask, channels, maps)

    def draw_figure(self, chance: Chance) -> Figure:
        """Draws who stands how before which camera."""
        bank, settings = self.assets.bank, self.settings
        pose = bank.pick(chance.integer("pose", len(bank)))
        if (reach := settings.shape_uniform) > 0:
            shape = chance.uniform("shape", SHAPE_COUNT, low=-reach, high=reach)
        else:
            shape = chance.normal("shape", SHAPE_COUNT, std=settings.shape_std)
        genders = draw_genders(chance, settings.gendered, settings.known)
        if genders is not None and self.maps is not None:
            shape = self.maps.to_neutral(shape, genders.true)
        parameters = BodyParameters(
            shape=shape,
            rotations=turn_pose(draw_view(chance, settings.view), pose),
        )
        vertices = pose_body(self.assets.template, parameters.shape, parameters.rotations).vertices
        joints = regress(self.assets.regressors.coco17, vertices)
        camera = stand_back(draw_camera(chance, settings.camera), vertices)
        noise = chance.uniform("vertex_noise", vertices.shape[1], 2, low=-1.0, high=1.0)
        ragged = vertices.clone()
        ragged[..., :2] += settings.vertex_noise * noise
        return Figure(
            parameters=parameters,
            camera=camera,
            vertices=vertices,
            surface=camera.project(ragged),
            marks=camera.project(joints),
            genders=genders,
        )

    def draw_box(
        self, chance: Chance, low: Float[Tensor, "batch 2"], high: Float[Tensor, "batch 2"]
    ) -> Box:
        """Draws a square round what lies between `low` and `high`, in the picture's pixels."""
        settings = self.settings
        scale = self.draw_scale(chance)
        shift = chance.uniform("box/shift", 2, low=-settings.box_shift, high=settings.box_shift)
        return Box(centre=(low + high) / 2 + shift, side=(high - low).amax(1) * scale)

    def draw_scale(self, chance: Chance) -> Float[Tensor, " batch"]:
        """Draws the side of the box over the longer side of what it is put round."""
        spread = self.settings.box_scale_range
        return self.settings.box_scale + chance.uniform("box/scale", low=-spread, high=spread)

    def draw_parts(self, pixels: Float[Tensor, "batch V 3"]) -> UInt8[Tensor, "batch size size"]:
        """Draws STRAPS's six parts of bodies whose vertices are in the crop's pixels."""
        size = (self.settings.size, self.settings.size)
        faces = self.assets.template.faces
        return rasterize_labels(pixels, faces, self.part6, size, backend=self.backend)

    def corrupt_mask(
        self, chance: Chance, labels: UInt8[Tensor, "batch size size"]
    ) -> Float[Tensor, "batch size size"]:
        """Removes parts and a square; gives the silhouette of the rest."""
        settings = self.settings
        odds = constant((0.0, *settings.part_removed), torch.float32, labels.device)
        mask = remove_labels(labels, chance.uniform("part", len(odds)) < odds)
        return mask * ~self.draw_square(chance)

    def draw_square(self, chance: Chance) -> Bool[Tensor, "batch size size"]:
        """Marks the square before some of the people."""
        settings, size = self.settings, self.settings.size
        low, high = settings.occluder_range
        centre = size * chance.uniform("occluder/centre", 2, low=low, high=high)
        present = chance.chance("occluder", settings.occluded, 1)
        half = torch.where(present, settings.occluder / 2, -1.0).expand(-1, 2)
        return rectangles(centre, half, (size, size))

    def corrupt_keypoints(
        self, chance: Chance, truth: Float[Tensor, "batch 17 2"], doubt: Tensor | float = 1.0
    ) -> Float[Tensor, "batch 17 3"]:
        """Moves key points; what ends up more than 8 px outside the crop is not drawn.

        Args:
            truth: In the crop [px].
            doubt: How many times larger than published the noise is; broadcasts to (batch, 17, 1).
        """
        half = self.settings.joint_noise
        places = truth + doubt * chance.uniform("joint_noise", 17, 2, low=-half, high=half)
        return torch.cat([places, self._is_drawn(places).float()], -1)

    def _is_drawn(self, places: Float[Tensor, "batch 17 2"]) -> Bool[Tensor, "batch 17 1"]:
        return ((places > -8) & (places < self.settings.size + 7)).all(-1, keepdim=True)

    def hand_over(
        self,
        figure: Figure,
        truth: Float[Tensor, "batch 17 2"],
        keypoints: Float[Tensor, "batch 17 3"],
        mask: Float[Tensor, "batch size size"],
        channels: dict[str, Tensor] | None = None,
        maps: TargetMaps | None = None,
    ) -> Batch:
        """Makes the batch of crops: the whole crop is the box of the proxy."""
        proxy = make_drawn_proxy(Observation(keypoints=keypoints, mask=mask), self.proxy)
        batch = Batch(
            proxy=proxy,
            target=Target(
                parameters=figure.parameters, keypoints=proxy.box.to_square(truth), maps=maps
            ),
            channels=channels or {},
        )
        return with_genders(batch, figure.genders)


def into_crop(
    points: Float[Tensor, "batch N 3"], box: Box, size: int
) -> Float[Tensor, "batch N 3"]:
    """Moves projected points from the picture into a square cut out of it and resized.

    Args:
        points: x, y [px] and depth, which stays.
        size: Side of the square after resizing [px].
    """
    corner = (box.centre - box.side[:, None] / 2)[:, None]
    zoom = (size / box.side)[:, None, None]
    return torch.cat([(points[..., :2] - corner) * zoom, points[..., 2:]], -1)
