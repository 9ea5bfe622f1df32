"""The `lasor` recipe, "LASOR-style": occluded, truncated people seen from everywhere.

Source: Yang et al., "LASOR: Learning Accurate 3D Human Pose and Shape via Synthetic Occlusion-Aware
Data and Neural Mesh Rendering", 2022. The paper's training code is not public. What is known of it
is kept: silhouettes and key points that know of occlusion by people, by things and by the body
itself; views from all sides; the whole silhouette as a target beside the visible one as an input.
The rest is our choice:

- yaw and elevation are uniform, elevation within 30 degrees;
- 30 % of the people stand behind one or two others, who are posed bodies on the same floor, 0.3 to
  0.8 widths of the person aside and 0.3 to 1 m nearer; 30 % behind one to three things; the border
  of the picture cuts up to half of 20 % off at the bottom or at a side;
- a joint that is hidden is not reported with probability 0.5, and has twice the noise otherwise; a
  joint beyond the border is never reported; the target keeps the true places of all;
- the box is drawn round what is left to see, as at prediction, not round the whole body;
- everything else is the `straps` recipe; with its measured errors (`lasor.straps.errors`), these
  decide what becomes of hidden joints too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.proxy import Box, ProxySettings
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.joint_sight import face_in_sight, sight_states
from plausibody.synth.measured import Truth
from plausibody.synth.occluder_objects import Objects, ObjectSettings, draw_objects
from plausibody.synth.occluder_people import People, PeopleSettings, draw_depth, draw_people
from plausibody.synth.occluders import (
    BorderSettings,
    JointSight,
    Occluders,
    beyond,
    bounded,
    covered,
    draw_borders,
    facing,
    in_front,
    over,
    visible,
    within,
)
from plausibody.synth.raster import label_pixels, rasterize
from plausibody.synth.scene import draw_tilt
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import Figure, StrapsRecipe, StrapsSettings, into_crop
from plausibody.synth.target_maps import Cover, MapSettings, occluded_share
from plausibody.synth.views import VIEWPOINTS

GLANCE = 128
"""Side of the small picture in which it is seen what is left of the person [px]."""


@dataclass(frozen=True)
class LasorSettings:
    """What stands before people, and what becomes of their joints."""

    people: PeopleSettings = field(default_factory=PeopleSettings)
    objects: ObjectSettings = field(default_factory=ObjectSettings)
    border: BorderSettings = field(default_factory=BorderSettings)
    least_seen: float = 0.1
    """Of people of whom a smaller share of the surface is left, nothing is covered: no detector
    would have found them."""
    dropped: float = 0.5
    """Probability that a hidden joint is not reported."""
    doubt: float = 2.0
    """How many times larger the noise of the others is."""
    tolerance: float = 0.06
    """How much deeper below the skin than usual a joint in sight may lie [m]."""
    straps: StrapsSettings = field(
        default_factory=lambda: StrapsSettings(
            view=VIEWPOINTS["lasor"].view, camera=VIEWPOINTS["lasor"].camera
        )
    )
    """All the rest."""


@dataclass(frozen=True)
class Scene:
    """A person, what is before them, and the part of the picture to look at."""

    figure: Figure
    objects: Objects
    people: People
    borders: Float[Tensor, "batch 4"]
    """Of the picture: left, top, right, bottom [px], infinite where it goes on."""
    covered: Bool[Tensor, "batch 17"]
    """Which key points are behind something."""
    box: Box


class LasorRecipe:
    """Makes samples from their numbers.

    The batch's channels are `silhouette` (what is left to see), `amodal` (the whole body), both 0
    or 1 in the crop before any noise of a detector, and `joint_visibility`.
    """

    def __init__(
        self,
        settings: LasorSettings,
        proxy: ProxySettings,
        seed: int,
        assets: SynthAssets,
        backend: str = "auto",
        targets: MapSettings | None = None,
    ):
        """Args:
        targets: Which maps of the true bodies to hand over; none if None.
        """
        self.settings, self.assets, self.backend, self.seed = settings, assets, backend, seed
        self.straps = StrapsRecipe(settings.straps, proxy, seed, assets, backend, targets=targets)

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance, settings = Chance(self.seed, numbers), self.settings
        size = settings.straps.size
        scene = self.draw_scene(chance)
        figure, frame = scene.figure, (size, size)
        body = rasterize(
            into_crop(figure.surface, scene.box, size),
            self.assets.template.faces, frame, barycentrics=False, backend=self.backend,
        )  # fmt: skip
        things = Occluders(scene.objects.draw(scene.box, size, self.backend) > 0)
        others = Occluders(
            in_front(self._depth_of(scene.people, figure, scene.box, size), body.depth)
        )
        borders = scene.box.to_square(scene.borders.unflatten(1, (2, 2))).flatten(1)
        outside = beyond((borders + 1) * (size / 2), frame)
        amodal = body.mask.float()
        before = over(things, others)
        silhouette = visible(amodal, over(outside, before))
        maps = None
        if self.straps.targets.size:
            hidden = before.mask | self.straps.draw_square(chance)
            share = occluded_share(body.mask & ~outside.mask, ~hidden)
            cover = Cover(hidden, (borders + 1) * (size / 2), share, self._around(scene))
            maps = self.straps.draw_maps(figure, scene.box, cover)

        marks = into_crop(figure.marks, scene.box, size)
        sight = JointSight(
            inside=within(figure.marks[..., :2], scene.borders),
            uncovered=~scene.covered,
            facing=facing(marks, body.depth, settings.tolerance),
        )
        channels = {"silhouette": silhouette, "amodal": amodal, "joint_visibility": sight.seen}
        if self.straps.measured is not None:
            parts = label_pixels(body, self.assets.part24)
            truth = Truth(
                labels=parts * silhouette.byte() * ~self.straps.draw_square(chance),
                whole=parts * ~outside.mask,
                keypoints=marks[..., :2],
                states=sight_states(sight.seen & face_in_sight(marks), sight.inside),
                borders=(borders + 1) * (size / 2),
                side=size / self.straps.draw_scale(chance),
            )
            return self.straps.look(chance, figure, truth, channels, maps)
        doubt = torch.where(sight.uncovered & sight.facing, 1.0, settings.doubt)[..., None]
        places = marks[..., :2]
        keypoints = self.straps.corrupt_keypoints(chance, places, doubt)
        reported = sight.inside & ((doubt[..., 0] == 1) | self.draw_kept(chance))
        keypoints = torch.cat([keypoints[..., :2], keypoints[..., 2:] * reported[..., None]], -1)
        labels = label_pixels(body, self.straps.part6) * silhouette.byte()
        mask = self.straps.corrupt_mask(chance, labels)
        return self.straps.hand_over(figure, places, keypoints, mask, channels, maps)

    def _around(self, scene: Scene) -> Bool[Tensor, "batch map map"] | None:
        """Marks on maps that reach beyond the crop what is before people: it is there most of all,
        as the box is put round what is left to see. None for other maps."""
        size, reach = self.straps.targets.size, self.straps.targets.reach
        if reach <= 1:
            return None
        wide = Box(scene.box.centre, scene.box.side * reach)
        depth = rasterize(
            into_crop(scene.figure.surface, wide, size),
            self.assets.template.faces, (size, size), barycentrics=False, backend=self.backend,
        ).depth  # fmt: skip
        others = in_front(self._depth_of(scene.people, scene.figure, wide, size), depth)
        return others | (scene.objects.draw(wide, size, self.backend) > 0)

    def draw_scene(self, chance: Chance) -> Scene:
        """Draws everything but noise, and looks what is left of the person."""
        settings, figure = self.settings, self.straps.draw_figure(chance)
        flat = figure.surface[..., :2]
        low, high = flat.amin(1), flat.amax(1)
        borders = draw_borders(chance, low, high, settings.border)
        if settings.straps.camera.bounded:
            borders = bounded(borders, settings.straps.camera.size, low, high)
        low, high = torch.maximum(low, borders[:, :2]), torch.minimum(high, borders[:, 2:])
        objects = draw_objects(chance, low, high, settings.objects)
        people = draw_people(
            chance, self.assets.bank, self.assets.coarse.skin,
            draw_tilt(chance, settings.straps.view), figure.vertices, settings.people,
        )  # fmt: skip

        # Look from afar what is left of the surface, and put the box round that.
        glance = Box(centre=(low + high) / 2, side=(high - low).amax(1))
        points = into_crop(torch.cat([figure.surface, figure.marks], 1), glance, GLANCE)
        things = objects.draw(glance, GLANCE, self.backend)
        hidden = covered(points, things, self._depth_of(people, figure, glance, GLANCE))
        count = flat.shape[1]
        inside = within(flat, borders)
        found = (inside & ~hidden[:, :count]).float().mean(1) >= settings.least_seen
        hidden = hidden & found[:, None]

        joints = within(figure.marks[..., :2], borders)
        joints = joints & (~hidden[:, count:] | self.draw_kept(chance))
        shown = torch.cat([inside & ~hidden[:, :count], joints], 1)[..., None]
        points = torch.cat([flat, figure.marks[..., :2]], 1)
        low = torch.where(shown, points, torch.inf).amin(1)
        high = torch.where(shown, points, -torch.inf).amax(1)
        return Scene(
            figure=figure, objects=objects.only(found), people=people.only(found),
            borders=borders, covered=hidden[:, count:],
            box=self.straps.draw_box(chance, low, high),
        )  # fmt: skip

    def draw_kept(self, chance: Chance) -> Bool[Tensor, "batch 17"]:
        """Draws which joints are reported even if they are hidden."""
        return ~chance.chance("joint/dropped", self.settings.dropped, 17)

    def _depth_of(
        self, people: People, figure: Figure, box: Box, size: int
    ) -> Float[Tensor, "batch size size"]:
        faces = self.assets.coarse.faces
        return draw_depth(people, faces, figure.camera, box, size, self.backend)
