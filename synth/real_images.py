"""Photos of real people among the drawn ones: squares round them, key points, fits, label maps.

Who is in which photo is told by labels, such as `plausibody.real_labels` reads of SPIN's
files. Of every person the box is told; key points, a body, joints in space and a parser's label map
may be. What is not known does not count: `Target.labelled` says whose bodies are known,
`Target.joints` which joints of the others, `Target.annotated` which key points (of those that
OpenPose found, the sure ones), and people without a label map have none of their pixels compared.
Of the surface there are the points that annotators set, where they did, and no IUV picture; joints
are at key points.

As SPIN does, squares are scaled by 0.75 to 1.25, half of them are mirrored, and colours are
brighter or darker by up to 40 %, and four of ten pictures are turned, by up to 60 degrees. Labels
and bodies are mirrored and turned along. People whose surface was annotated are not mirrored, as
charts are not symmetric, nor turned.

Source of the augmentation: Kolotouros et al., "Learning to Reconstruct 3D Human Pose and Shape via
Model-fitting in the Loop", 2019, and its released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.crop import Box
from plausibody.models.iuv import DenseTarget
from plausibody.models.losses import Target
from plausibody.models.mirroring import mirror_proxy, mirror_rotations
from plausibody.models.naming import NAMED
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Observation, Proxy, ProxySettings, make_proxy
from plausibody.models.records import concatenate, map_tensors, take, to_device
from plausibody.models.skeleton import COCO17, H36M17, mirror
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.iuv import DenseSettings
from plausibody.synth.picture_file import PictureError, read_picture
from plausibody.synth.real_maps import SURE, photo_maps
from plausibody.synth.real_people import RealLabels
from plausibody.synth.real_surfaces import (
    mirror_surface,
    photo_surface,
    points_in,
    told,
    with_points,
)
from plausibody.synth.semantic_labels import mirror_labels
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.turning import Turn


@dataclass(frozen=True)
class RealSettings:
    """How photos come into the stream."""

    share: float = 0.0
    """Of the samples that are photos; the others are drawn."""
    mirrored: float = 0.5
    """Probability of a mirror image."""
    scale: tuple[float, float] = (0.75, 1.25)
    """Range of the factor of the square's side; normal with deviation 0.25, cut there."""
    turned: float = 0.4
    """Probability of a picture that is turned about the middle of the square."""
    turn_std: float = math.radians(30)
    """Of the angle of these: normal, cut at twice as much [rad]."""
    gain: float = 0.4
    """Half range of the factor of each colour, about 1."""
    files: tuple[float, ...] = ()
    """Weight of each file of people, whatever it holds; empty to draw all people alike."""

    def __post_init__(self) -> None:
        if self.files and not (min(self.files) >= 0 and sum(self.files) > 0):
            raise ValueError(f"real.files: wanted weights of 0 or more, got {self.files}")
        if not 0 <= self.turn_std <= math.pi / 2:
            raise ValueError(f"real.turn_std: wanted 0 to pi / 2, got {self.turn_std}")
        for name in ("share", "mirrored", "turned", "gain"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"real.{name}: wanted 0 to 1, got {value}")


class RealImages:
    """A recipe whose samples are photos."""

    def __init__(
        self,
        labels: RealLabels,
        proxy: ProxySettings,
        seed: int,
        settings: RealSettings | None = None,
        targets: MapSettings | None = None,
        dense: DenseSettings | None = None,
    ):
        """Args:
        labels: Of at least one person.
        proxy: Of a network that reads pictures.
        seed: Of the stream.
        settings: How squares are varied.
        targets: Which label maps are handed over.
        dense: Which IUV pictures the drawn people have; photos have none.

        Raises:
            ValueError: If there is nobody, or the network does not read pictures.
        """
        if not len(labels):
            raise ValueError(
                "photos: wanted people in photos that exist, got none; " + "; ".join(labels.told())
            )
        if not proxy.reads_pictures:
            raise ValueError(
                f"stream.real.share: wanted a network that reads photos, got one of "
                f"{proxy.channel}; do: set proxy.channel=rgb"
            )
        self.labels, self.proxy, self.seed = to_device(labels, "cpu"), proxy, seed
        self.settings, self.targets = settings or RealSettings(), targets or MapSettings()
        self.dense = dense or DenseSettings()
        self._check_files()

    @property
    def annotated(self) -> bool:
        """Whether points of surfaces are handed over."""
        return bool(self.dense.size and any(self.labels.surfaces))

    def _check_files(self) -> None:
        weights, counts = self.settings.files, self.labels.counts or (len(self.labels),)
        if weights and len(weights) != len(counts):
            raise ValueError(
                f"stream.real.files: wanted a weight for each of the {len(counts)} files of "
                f"people, got {len(weights)}"
            )
        for n, weight in enumerate(weights):
            if weight and not counts[n]:
                raise ValueError(
                    f"stream.real.files: wanted people in files that count, got none in file {n} "
                    "(from 0) of sources.real_labels; do: give it the weight 0"
                )

    def _choose(self, chance: Chance) -> Int[Tensor, " batch"]:
        """Draws who is shown: a file by its weight, then one of its people."""
        if not self.settings.files:
            return chance.integer("real/person", len(self.labels))
        counts = torch.tensor(self.labels.counts or (len(self.labels),))
        shares = torch.tensor(self.settings.files, dtype=torch.float64)
        ends = shares.cumsum(0) / shares.sum()
        last = int(shares.nonzero()[-1])  # rounding may leave the last end below 1
        file = torch.searchsorted(ends, chance.uniform("real/file").double(), right=True)
        file = file.clamp(max=last)
        place = (chance.uniform("real/person").double() * counts[file]).long()
        return (counts.cumsum(0) - counts)[file] + torch.minimum(place, counts[file] - 1)

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        chance, settings = Chance(self.seed, numbers.cpu()), self.settings
        who = self._choose(chance).tolist()
        low, high = settings.scale
        scale = (1 + chance.normal("real/scale", std=0.25)).clamp(low, high)
        angle = chance.normal("real/angle").clamp(-2, 2) * settings.turn_std
        angle = angle * chance.chance("real/turned", settings.turned)
        looks = zip(who, scale.tolist(), angle.tolist(), strict=True)
        batch = concatenate([self._look(n, zoom, turn) for n, zoom, turn in looks])
        gain = chance.uniform("real/gain", 3, 1, 1, low=1 - settings.gain, high=1 + settings.gain)
        if batch.proxy.rgb is not None:
            rgb = (batch.proxy.rgb * gain).clamp(max=1)
            batch = replace(batch, proxy=replace(batch.proxy, rgb=rgb))
        mirrored = chance.chance("real/mirrored", settings.mirrored)
        if batch.target.dense is not None:
            mirrored = mirrored & ~told(batch.target.dense)
        there = mirrored.nonzero()[:, 0], (~mirrored).nonzero()[:, 0]
        parts = [mirror_batch(take(batch, there[0])), take(batch, there[1])]
        made = take(concatenate(parts), torch.cat(there).argsort())
        return to_device(made, numbers.device)

    def _look(self, person: int, zoom: float, angle: float) -> Batch:
        """Makes the sample of a person, or of the next one whose files can be read."""
        for place in range(len(self.labels)):
            number = (person + place) % len(self.labels)
            path = self.labels.pictures[number]
            try:
                picture = read_picture(path)
            except PictureError as error:
                self.labels.unread.reasons[str(path)] = str(error)
                continue
            return self._sample(number, picture, zoom, angle)
        reasons = list(self.labels.unread.reasons.values())
        raise ValueError(
            f"photos: wanted one that can be read, got {len(reasons)} broken ones, such as "
            + "; ".join(reasons[:NAMED])
        )

    def _sample(
        self, number: int, picture: UInt8[np.ndarray, "H W 3"], zoom: float, angle: float
    ) -> Batch:
        labels, row = self.labels, slice(number, number + 1)
        box = Box(labels.box.centre[row], labels.box.side[row] * zoom)
        colours = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        keypoints, body, turn = labels.keypoints[row], take(labels.body, row), None
        joints = None if labels.joints is None else labels.joints[row]
        if angle and not (self.annotated and labels.surfaces[number] is not None):
            turn = Turn.about(box, angle, self.targets.reach, self.proxy.size)
            colours, body, box = turn.picture(colours[0])[None], turn.body(body), turn.turned_box
            keypoints = torch.cat([turn.points(keypoints[..., :2]), keypoints[..., 2:]], -1)
            joints = None if joints is None else turn.joints(joints)
        nothing = torch.zeros(1, *colours.shape[-2:])
        proxy = make_proxy(Observation(keypoints, nothing, colours), self.proxy, box)
        places, known = proxy.box.to_square(keypoints[..., :2]), keypoints[..., 2] > SURE
        target = Target(
            parameters=body,
            keypoints=places,
            maps=photo_maps(
                labels.label_maps[number] if labels.label_maps else None,
                picture.shape[:2],
                box,
                turn,
                torch.cat([places, keypoints[..., 2:]], -1),
                self.targets,
            ),
            labelled=labels.fitted[row],
            joints=joints,
            annotated=known,
            dense=self._surface(number, box, places, known),
        )
        return Batch(proxy=proxy, target=target)

    def _surface(
        self,
        number: int,
        box: Box,
        keypoints: Float[Tensor, "1 17 2"],
        known: Bool[Tensor, "1 17"],
    ) -> DenseTarget | None:
        side, points = self.dense.size, None
        if not side:
            return None
        if self.annotated:
            points = points_in(self.labels.surfaces[number], box, side)
        return photo_surface(keypoints, known, points, side)


def mirror_batch(batch: Batch) -> Batch:
    """Reflects samples: pictures, key points, bodies and labels; left becomes right.

    Raises:
        TypeError: If something is known of somebody's surface but joints.
    """
    target, proxy = batch.target, mirror_proxy(batch.proxy)
    swapped = torch.tensor(mirror(COCO17), device=target.keypoints.device)
    maps = target.maps
    if maps is not None:
        flipped = map_tensors(replace(maps, labels=None, occluded=None), lambda one: one.flip(-1))
        labels = None if maps.labels is None else mirror_labels(maps.labels)
        maps = replace(flipped, labels=labels, occluded=maps.occluded)
    mirrored = replace(
        target,
        parameters=BodyParameters(
            shape=target.parameters.shape, rotations=mirror_rotations(target.parameters.rotations)
        ),
        keypoints=target.keypoints[:, swapped] * target.keypoints.new_tensor([-1.0, 1.0]),
        maps=maps,
        joints=None if target.joints is None else _mirror_joints(target.joints),
        annotated=None if target.annotated is None else target.annotated[:, swapped],
        dense=None if target.dense is None else mirror_surface(target.dense),
    )
    return Batch(proxy=proxy, target=mirrored, channels=batch.channels)


def _mirror_joints(joints: Float[Tensor, "batch 17 4"]) -> Float[Tensor, "batch 17 4"]:
    return joints[:, mirror(H36M17)] * joints.new_tensor([-1.0, 1, 1, 1])


class MixedRecipe:
    """Drawn people and photos by turns, as chance decides sample by sample."""

    def __init__(
        self, drawn: Callable[[Tensor], Batch], real: RealImages, seed: int, labelled: float = 1.0
    ):
        """Args:
        drawn: Of the drawn people.
        real: Of the photos; its `settings.share` of the samples are.
        seed: Of the stream.
        labelled: Share of the drawn people whose bodies are known.
        """
        self.drawn, self.real, self.seed, self.labelled = drawn, real, seed, labelled

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch:
        photo = Chance(self.seed, numbers).chance("real", self.real.settings.share)
        turns = (~photo).nonzero()[:, 0], photo.nonzero()[:, 0]
        recipes: tuple[Callable[[Tensor], Batch], ...] = (self._draw, self.real)
        parts = [
            recipe(numbers[rows]) for recipe, rows in zip(recipes, turns, strict=True) if len(rows)
        ]
        return take(concatenate(parts), torch.cat(turns).argsort())

    def _draw(self, numbers: Int[Tensor, " batch"]) -> Batch:
        """Gives drawn people what photos have as well."""
        batch = self.drawn(numbers)
        target, chance = batch.target, Chance(self.seed, numbers)
        maps = target.maps
        if maps is not None:
            uncovered = torch.ones_like(maps.whole, dtype=torch.bool)
            uncovered = uncovered if maps.uncovered is None else maps.uncovered
            maps = replace(maps, uncovered=uncovered, occluded=None)
        dense = target.dense
        if dense is not None:
            dense = with_points(dense, self.real.annotated)
        known = chance.chance("labelled", self.labelled)
        everywhere = torch.ones_like(target.keypoints[..., 0], dtype=torch.bool)
        joints = None
        if self.real.labels.joints is not None:
            joints = target.keypoints.new_zeros(len(numbers), len(H36M17), 4)
        return Batch(
            proxy=_bare(batch.proxy),
            target=replace(
                target, maps=maps, labelled=known, joints=joints, annotated=everywhere, dense=dense
            ),
        )


def _bare(proxy: Proxy) -> Proxy:
    """Leaves out what is said of genders, of which photos' labels say nothing."""
    return replace(proxy, gender=None)
