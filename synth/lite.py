"""The `lite` recipe: silhouettes and key points as the embedded front end gives them, on a CPU.

A coarse body is drawn into a small frame round the person. The frame, not the whole picture, is
rendered: pixels of a picture and of the frame differ by an affine map only, so the observation
that comes out is what a front end would have handed over, and `make_proxy` treats it alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import pose_body, regress, vertex_normals
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.constants import constant
from plausibody.models.crop import inside_borders
from plausibody.models.losses import Target
from plausibody.models.proxy import Box, Observation, ProxySettings, make_proxy
from plausibody.models.records import concatenate, take, to_device
from plausibody.models.skeleton import SMPL24
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import Chart
from plausibody.synth.coarse import CoarseBody
from plausibody.synth.corrupt import rectangles
from plausibody.synth.genders import GenderMaps, draw_genders, with_genders
from plausibody.synth.iuv import DenseSettings, IuvFaults, dense_target, draw_iuv, spoil_iuv
from plausibody.synth.lite_occlusion import Framed, OcclusionSettings, draw_before
from plausibody.synth.lite_sight import (
    MARGIN,
    LiteCorruption,
    boxes,
    face_away,
    look,
    observe,
    picture_rectangle,
)
from plausibody.synth.measured import MeasuredModel, check_errors, corrupt
from plausibody.synth.measured_file import choose_measured
from plausibody.synth.poses import PoseBank
from plausibody.synth.raster import rasterize_labels
from plausibody.synth.scene import (
    JointLimits,
    PoseSettings,
    ShapeSettings,
    ViewSettings,
    draw_body,
    draw_place,
    draw_tilt,
    stand_back,
)
from plausibody.synth.target_maps import Cover, MapSettings, draw_maps, occluded_share

BOTH = "both"
"""Errors as published and as measured, by turns."""


@dataclass(frozen=True)
class LiteSettings:
    """The stream of the `lite` recipe."""

    frame: int = 112
    """Side of the rendered frame [px]."""
    pose: PoseSettings = field(default_factory=PoseSettings)
    view: ViewSettings = field(default_factory=ViewSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    corruption: LiteCorruption = field(default_factory=LiteCorruption)
    occlusion: OcclusionSettings = field(default_factory=OcclusionSettings)
    errors: str = "published"
    """published: those of `corruption`. measured: those of the fitted model of the front end;
    clothes, borders and boxes before the person stay those of `corruption`. both: published for
    samples of even number, measured for the others."""

    def __post_init__(self) -> None:
        if self.errors != BOTH:
            check_errors("lite.errors", self.errors)


def frame_round(
    flat: Float[Tensor, "batch N 2"], chance: Chance, truncated: float
) -> tuple[Float[Tensor, "batch 4"], Float[Tensor, "batch 3"]]:
    """Chooses the borders of the picture and the frame to render.

    Returns:
        Borders (left, top, right, bottom), infinite where the picture goes on; the frame as
        (centre x, centre y, side). In the units of `flat`.
    """
    rows = flat.mT.contiguous()  # six times as fast to reduce
    low, high = rows.amin(-1), rows.amax(-1)
    extent = high - low
    on = chance.chance("border", truncated)
    kind = chance.uniform("border/kind")
    keep = chance.uniform("border/keep")
    borders = torch.cat([torch.full_like(low, -torch.inf), torch.full_like(high, torch.inf)], 1)
    bottom = torch.where(kind < 0.4, 0.5 + 0.35 * keep, 0.2 + 0.3 * keep)
    cut_bottom = low[:, 1] + extent[:, 1] * bottom
    cut_top = high[:, 1] - extent[:, 1] * (0.4 + 0.45 * keep)
    cut_left = high[:, 0] - extent[:, 0] * (0.5 + 0.4 * keep)
    cut_right = low[:, 0] + extent[:, 0] * (0.5 + 0.4 * keep)
    borders[:, 3] = torch.where(on & (kind < 0.8), cut_bottom, borders[:, 3])
    borders[:, 1] = torch.where(on & (kind >= 0.8) & (kind < 0.87), cut_top, borders[:, 1])
    borders[:, 0] = torch.where(on & (kind >= 0.87) & (kind < 0.935), cut_left, borders[:, 0])
    borders[:, 2] = torch.where(on & (kind >= 0.935), cut_right, borders[:, 2])
    low, high = torch.maximum(low, borders[:, :2]), torch.minimum(high, borders[:, 2:])
    side = (high - low).amax(1, keepdim=True) * MARGIN
    return borders, torch.cat([(low + high) / 2, side], 1)


def clothe(
    chance: Chance,
    vertices: Float[Tensor, "batch V 3"],
    body: CoarseBody,
    settings: LiteCorruption,
) -> Float[Tensor, "batch V 3"]:
    """Moves the surface outwards as clothes, shoes and hair do: a bound on the body from outside.

    One looseness per person and one share per joint, blended by the skinning weights so that
    cloth has no steps. Hands stay bare.
    """
    device = vertices.device
    most = constant(tuple(_loosest(name, settings) for name in SMPL24), torch.float32, device)
    person = chance.uniform("cloth/person", 1) * chance.chance("cloth", settings.clothed, 1)
    share = chance.uniform("cloth/joint", 24)
    # Left and right of a garment are cut alike; one leg rarely hangs looser than the other.
    pairs = tuple(SMPL24.index(n.replace("right_", "left_")) for n in SMPL24)
    share = share[:, constant(pairs, torch.long, device)]
    outward = (person * share * most) @ body.skin.skinning_weights[: body.drawn].T
    return vertices + outward[..., None] * vertex_normals(vertices, body.faces)


def _loosest(joint: str, settings: LiteCorruption) -> float:
    """Gives the largest outward move of what follows a joint [m]."""
    if "hand" in joint or "wrist" in joint:
        return 0.0
    if joint in ("head", "neck"):
        return settings.hair
    return settings.looseness / 2 if joint.endswith(("foot", "ankle")) else settings.looseness


class LiteRecipe:
    """Makes samples from their numbers."""

    def __init__(
        self,
        settings: LiteSettings,
        proxy: ProxySettings,
        seed: int,
        body: CoarseBody,
        bank: PoseBank,
        limits: JointLimits,
        backend: str = "auto",
        measured: MeasuredModel | None = None,
        maps: GenderMaps | None = None,
        targets: MapSettings | None = None,
        dense: DenseSettings | None = None,
        iuv: IuvFaults | None = None,
        chart: Chart | None = None,
    ):
        """Args:
        measured: With measured errors, which; those of the embedded front end if None.
        maps: As of `draw_shape`.
        targets: Which maps of the true bodies to hand over; none if None.
        dense: Which IUV pictures of the true bodies to hand over; none if None.
        iuv: What goes wrong with IUV pictures, where the proxy has them; the usual if None.
        chart: Of the coarse mesh, see `coarse_chart`; needed for IUV pictures.
        """
        self.settings, self.proxy, self.seed = settings, proxy, seed
        self.targets = targets or MapSettings()
        self.dense, self.iuv = dense or DenseSettings(), iuv or IuvFaults()
        self.chart = chart
        errors = "measured" if settings.errors == BOTH else settings.errors
        self.measured = to_device(choose_measured(errors, measured), body.faces.device)
        self.body, self.bank, self.limits, self.backend = body, bank, limits, backend
        self.maps = maps

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance = Chance(self.seed, numbers)
        wrong, size = self.settings.corruption, self.settings.frame
        parameters = draw_body(
            chance, self.bank, self.limits,
            self.settings.pose, self.settings.view, self.settings.shape, self.maps,
        )  # fmt: skip
        body = pose_body(self.body.skin, parameters.shape, parameters.rotations)
        posed = body.vertices
        joints = regress(self.body.coco17, posed)
        clothed = clothe(chance, posed[:, : self.body.drawn], self.body, wrong)

        # The frame is a choice of focal length and principal point: no second resampling.
        place = draw_place(chance, self.settings.view)
        unit = PerspectiveCamera(
            focal=torch.ones_like(place[:, 0]),
            principal=torch.zeros_like(place[:, :2]),
            translation=place,
        )
        unit = stand_back(unit, clothed)
        surface, marks = unit.project(clothed), unit.project(joints)
        borders, frame = frame_round(surface[..., :2], chance, wrong.truncated)
        zoom = (size / frame[:, 2])[:, None]
        corner = frame[:, :2] - frame[:, 2:] / 2
        pixels = torch.cat(
            [(surface[..., :2] - corner[:, None]) * zoom[..., None], surface[..., 2:]], -1
        )
        truth = (marks[..., :2] - corner[:, None]) * zoom[..., None]
        borders = (borders - corner.repeat(1, 2)) * zoom

        box = Box(centre=frame[:, :2], side=frame[:, 2])
        labels, before = self._draw(chance, Framed(clothed, pixels, borders, unit, box))
        in_frame = torch.cat([truth, marks[..., 2:]], -1)
        observation = self._observe(chance, labels, before, in_frame, borders)
        whole = None
        if self.dense.size or self.proxy.channel == "iuv":
            if self.chart is None:
                raise ValueError("chart: wanted that of the coarse mesh, to draw IUV, got none")
            whole = draw_iuv(pixels, clothed, self.chart, size, self.backend)
            shown = whole * (observation.mask > 0.5)[:, None]
            observation = replace(observation, iuv=shown)
        proxy = spoil_iuv(chance, make_proxy(observation, self.proxy), self.iuv)
        maps = None
        if self.targets.size:
            bare = unit.project(posed[:, : self.body.drawn])[..., :2]
            cover = self._cover(chance, labels, before, borders)
            maps = draw_maps(
                (bare - corner[:, None]) * zoom[..., None], self.body.faces, proxy.box,
                self.targets, cover, self.backend,
            )  # fmt: skip
        dense = None
        if whole is not None:
            places = unit.project(body.joints)[..., :2]
            places = (places - corner[:, None]) * zoom[..., None]
            cover = self._cover(chance, labels, before, borders)
            open_ = ~cover.hidden & inside_borders(borders, size)
            dense = dense_target(whole, open_, proxy.box, places, self.dense)
        batch = Batch(
            proxy=proxy,
            target=Target(
                parameters=parameters,
                keypoints=proxy.box.to_square(truth),
                maps=maps,
                dense=dense,
            ),
        )
        shape = self.settings.shape
        return with_genders(batch, draw_genders(chance, shape.gendered, shape.known))

    def _draw(
        self, chance: Chance, people: Framed
    ) -> tuple[UInt8[Tensor, "batch size size"], Bool[Tensor, "batch size size"] | None]:
        """Draws whole people, and where other people and things are before them, if any may be."""
        settings, size = self.settings, self.settings.frame
        if not settings.occlusion.anything:
            return rasterize_labels(
                people.pixels, self.body.faces, self.body.part24, (size, size),
                backend=self.backend,
            ), None  # fmt: skip
        tilt = draw_tilt(chance, settings.view)
        return draw_before(
            chance, people, self.body, self.bank, tilt, settings.occlusion, size, self.backend
        )

    def _cover(
        self,
        chance: Chance,
        labels: UInt8[Tensor, "batch size size"],
        before: Bool[Tensor, "batch size size"] | None,
        borders: Float[Tensor, "batch 4"],
    ) -> Cover:
        """Puts together all that is before people, the boxes of `observe` among it."""
        size = self.settings.frame
        hidden = torch.zeros_like(labels, dtype=torch.bool) if before is None else before
        hidden = hidden | boxes(chance, self.settings.corruption, size)
        whole = (labels > 0) & rectangles(*picture_rectangle(borders, size), (size, size))
        return Cover(hidden, borders, occluded_share(whole, ~hidden))

    def _observe(
        self,
        chance: Chance,
        labels: UInt8[Tensor, "batch size size"],
        before: Bool[Tensor, "batch size size"] | None,
        marks: Float[Tensor, "batch 17 3"],
        borders: Float[Tensor, "batch 4"],
    ) -> Observation:
        """Sees people with the kind of errors that is set; arguments as of `look`."""
        if self.settings.errors != BOTH:
            return self._see(chance, labels, before, marks, borders, self.measured)
        odd = chance.numbers % 2 == 1
        rows = (torch.nonzero(~odd)[:, 0], torch.nonzero(odd)[:, 0])
        parts = []
        for members, measured in zip(rows, (None, self.measured), strict=True):
            if not len(members):
                continue
            drawn = Chance(self.seed, chance.numbers[members])
            hidden = None if before is None else before[members]
            people = labels[members], hidden, marks[members], borders[members]
            parts.append(self._see(drawn, *people, measured))
        return take(concatenate(parts), torch.cat(rows).argsort())

    def _see(
        self,
        chance: Chance,
        labels: UInt8[Tensor, "batch size size"],
        before: Bool[Tensor, "batch size size"] | None,
        marks: Float[Tensor, "batch 17 3"],
        borders: Float[Tensor, "batch 4"],
        measured: MeasuredModel | None,
    ) -> Observation:
        wrong = self.settings.corruption
        if measured is None:
            left = labels if before is None else labels * ~before
            away = face_away(marks)
            return observe(chance, left, marks[..., :2], away, borders, wrong)
        return corrupt(chance, look(chance, labels, marks, borders, wrong, before), measured)
