"""The benchmark that anyone can run: people whose truth is known, seen as the front end sees them.

`open-v0` has the poses of subjects that no training saw, in the linear shape space of the open body
but from another distribution than the training's, and the corrupted proxies of the `lite` recipe.
It says how well a regressor inverts proxies; what real pictures add to that it cannot say.

Everything that decides its people is pinned here and sealed: the settings and the files by a hash,
what the code makes of them by a few numbers of the first people. A run whose seal differs has
measured something else, and its result says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.models.body import regress
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.girths import enclosed_volume
from plausibody.models.proxy import ProxySettings
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.iuv import IuvFaults
from plausibody.synth.lite import LiteSettings
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings, draw_place
from plausibody.synth.stores import SynthAssets, load_assets

FILES = (
    "body/coarse.npz",
    "body/open_neutral.npz",
    "body/regressors.npz",
    "poses/cmu.h5",
)
"""What the people are made of."""

FRAME = 112
"""Side of the picture that the front end is thought to see, round the person [px]."""

RECIPE: dict[str, dict[str, Any]] = {
    "pose": {"mirrored": 0.5, "recombined": 0.0, "jittered": 0.0, "jitter": 0.0},
    "view": {
        "elevation_mean": math.radians(5),
        "elevation_std": math.radians(12),
        "elevation_limit": math.radians(30),
        "roll_std": math.radians(5),
        "nearest": 1.8,
        "farthest": 12.0,
        "off_axis": 0.1,
    },
    "shape": {"count": 10, "uniform": 2.5},
    "corruption": {
        "clothed": 0.85,
        "looseness": 0.055,
        "hair": 0.05,
        "truncated": 0.3,
        "box": (0.25, 0.12),
        "attached": 0.06,
        "lost_parts": 0.25,
        "lost_part": 0.06,
        "ragged": 0.6,
        "no_mask": 0.04,
        "joint_error": (0.003, 0.02),
        "joint_bias": 0.006,
        "outliers": 0.02,
        "hidden_error": 3.0,
        "hidden_lost": 0.3,
        "lost": 0.03,
        "swaps": {
            **{"eye": 0.01, "ear": 0.01, "shoulder": 0.01, "elbow": 0.02, "wrist": 0.02},
            **{"hip": 0.02, "knee": 0.03, "ankle": 0.03},
        },
        "sides": 0.01,
    },
}
"""The numbers of the recipe, written out so that the defaults of training may go on changing.

Poses are those of the subjects as they were captured, or their mirror images; training also mixes
upper and lower bodies and adds noise. Shapes are uniform in [-2.5, 2.5] for each of ten
coefficients, where training draws them from a mixture of normal distributions.
"""

IUV_FAULTS = IuvFaults(sides=0.02, fronts=0.02, shift=0.03, noise=0.03, lost=0.02)
"""What else is wrong with IUV pictures, for the networks that read them."""

WITNESS_PROXY = ProxySettings(size=96, scale=1.2, least_confidence=0.2)
"""How the inputs of the witnesses are made; a benchmarked regressor brings its own."""


@dataclass(frozen=True)
class Seal:
    """What tells a benchmark from one that was changed."""

    content: str
    """SHA-256 of the settings and of the files."""
    witnesses: tuple[float, ...]
    """Numbers that the code makes of them, see `witnesses`."""
    tolerances: tuple[float, ...] = (1e-4, 1e-4, 1e-2, 1e-2, 1e-2)
    """Of each witness. Bodies agree between machines to the last bits; a pixel at an outline may
    flip, and moves the box of its person."""

    @property
    def digest(self) -> str:
        """The benchmark's hash, of content and witnesses."""
        rounded = [f"{value:.2f}" for value in self.witnesses]
        return hashlib.sha256(json.dumps([self.content, rounded]).encode()).hexdigest()

    def agrees(self, other: Seal) -> bool:
        near = [
            abs(mine - theirs) <= tolerance
            for mine, theirs, tolerance in zip(
                self.witnesses, other.witnesses, self.tolerances, strict=True
            )
        ]
        return self.content == other.content and all(near)


def check_seal(name: str, wanted: Seal | None, now: Seal, files: str) -> tuple[bool, str, str]:
    """Compares what there is with what a benchmark's name stands for.

    Args:
        files: What, besides settings, the content is a hash of, in words.

    Returns:
        Whether they agree, the hash, and what to tell if they do not.
    """
    if wanted is None:
        return False, now.digest, f"{name} is not compared between versions: no seal."
    if wanted.agrees(now):
        return True, wanted.digest, ""
    cause = (
        f"its settings or {files} are others"
        if wanted.content != now.content
        else "this version of plausibody makes other people of the same settings and files"
    )
    return False, now.digest, (
        f"NOT {name}: {cause}; do not compare these figures with published ones. Wanted "
        f"{wanted.digest[:12]}, got {now.digest[:12]}. Do: 'plausibody assets check', and unset "
        "$PLAUSIBODY_ASSETS."
    )  # fmt: skip


@dataclass(frozen=True)
class OpenSettings:
    """One benchmark of this kind."""

    name: str
    split: str
    """Of the pose store, which is divided by subjects: train, val or test."""
    count: int
    """How many people."""
    seed: int
    seal: Seal | None = None
    """None for sets that are not compared between versions."""

    def stream(self) -> StreamSettings:
        lite = LiteSettings(
            frame=FRAME,
            pose=PoseSettings(**RECIPE["pose"]),
            view=ViewSettings(**RECIPE["view"]),
            shape=ShapeSettings(**RECIPE["shape"]),
            corruption=LiteCorruption(**RECIPE["corruption"]),
        )
        return StreamSettings(recipe="lite", seed=self.seed, lite=lite, iuv=IUV_FAULTS)

    def described(self, channel: str = "silhouette") -> dict[str, Any]:
        """The settings as JSON has them, for records and for the hash.

        Args:
            channel: What a regressor reads of the people, who are the same whatever it is.
        """
        tables = {
            **{"name": self.name, "split": self.split, "count": self.count, "seed": self.seed},
            **{"recipe": "lite", "frame": FRAME, "gender": "neutral", **RECIPE},
        }
        if channel == "iuv":
            tables["iuv"] = dataclasses.asdict(IUV_FAULTS)
        described: dict[str, Any] = json.loads(json.dumps(tables))
        return described


OPEN_V0 = OpenSettings(
    name="open-v0",
    split="test",
    count=4096,
    seed=4_096_000,
    seal=Seal(
        content="3444e69654f87e05c54f9d4c103d2df15e4b0bfeb9d11c71969e8962a8673a38",
        witnesses=(-0.097304, -0.174119, -0.612041, 0.009798, 0.179803),
    ),
)
"""Sealed with the first assets that shipped. A change on purpose is another version, not this."""
QUICK = OpenSettings(name="quick", split="val", count=512, seed=512_000)
"""For a look during training: other subjects than the benchmark's, and few."""


@dataclass(frozen=True)
class People:
    """Some people of the benchmark; the first axis of every tensor runs over them."""

    batch: Batch
    camera: PerspectiveCamera
    """What truly took the picture, over the square of the proxy: lengths in half-squares."""
    truncated: Bool[Tensor, " batch"]
    """Whether the picture's border was meant to cut them."""


class OpenBenchmark:
    """The people of a benchmark, as a regressor with some proxy settings sees them."""

    def __init__(
        self,
        settings: OpenSettings,
        proxy: ProxySettings,
        directories: Sequence[Path] | None = None,
        backend: str = "auto",
        gender: str = "neutral",
    ):
        """Args:
        settings: Which benchmark.
        proxy: How the inputs of the regressor are made.
        directories: Where assets are looked for, instead of the usual places.
        backend: Of the rasteriser.
        gender: Of the people; the benchmarks that have a seal are of neutral ones.
        """
        self.settings = settings
        self.assets: SynthAssets = load_assets(settings.split, gender, directories)
        self._files = [find_asset(name, directories) for name in FILES]
        self._stream, self._backend = settings.stream(), backend
        self._generator = BatchGenerator.of(self._stream, proxy, self.assets, 1, backend)

    def __len__(self) -> int:
        return self.settings.count

    def people(self, batch_size: int) -> Iterator[People]:
        """Yields everyone, in order; the last batch may be smaller."""
        for first in range(0, len(self), batch_size):
            yield self.some(first, min(batch_size, len(self) - first))

    def some(self, first: int, count: int) -> People:
        """Makes `count` people from number `first` on."""
        batch = self._generator.samples(first, count)
        chance = Chance(self.settings.seed, torch.arange(first, first + count))
        lite = self._stream.lite
        # The recipe keeps neither; asking for the same draws by the same names gives them back.
        truncated = chance.chance("border", lite.corruption.truncated)
        place = draw_place(chance, lite.view)
        camera = recover_camera(self._coco_joints(batch), place, batch.target.keypoints)
        return People(batch=batch, camera=camera, truncated=truncated)

    def _coco_joints(self, batch: Batch) -> Float[Tensor, "batch 17 3"]:
        vertices = batch.target.parameters.posed(self.assets.template).vertices
        return regress(self.assets.regressors.coco17, vertices)

    def check(self) -> tuple[bool, str, str]:
        """Compares what there is with what the benchmark's name stands for, see `check_seal`."""
        wanted = self.settings.seal
        return check_seal(self.settings.name, wanted, self.seal(), "asset files (poses, body)")

    def seal(self) -> Seal:
        """Computes the seal of what is there now."""
        content = hashlib.sha256(json.dumps(self.settings.described(), sort_keys=True).encode())
        for path in self._files:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        first = BatchGenerator.of(self._stream, WITNESS_PROXY, self.assets, 64, self._backend)[0]
        return Seal(content=content.hexdigest(), witnesses=witnesses(first))


def recover_camera(
    joints: Float[Tensor, "batch K 3"],
    place: Float[Tensor, "batch 3"],
    keypoints: Float[Tensor, "batch K 2"],
) -> PerspectiveCamera:
    """Finds the camera whose pictures of joints are known, exactly: a line through two unknowns.

    Args:
        joints: In the world [m].
        place: Of the world's origin in the camera's frame [m].
        keypoints: Their pictures, in half-squares.
    """
    unit = PerspectiveCamera(
        focal=torch.ones_like(place[:, 0]),
        principal=torch.zeros_like(place[:, :2]),
        translation=place,
    )
    flat = unit.project(joints)[..., :2]
    flat_rest, rest = flat - flat.mean(1, keepdim=True), keypoints - keypoints.mean(1, keepdim=True)
    focal = (flat_rest * rest).sum((1, 2)) / flat_rest.square().sum((1, 2))
    principal = keypoints.mean(1) - focal[:, None] * flat.mean(1)
    return dataclasses.replace(unit, focal=focal, principal=principal)


def witnesses(batch: Batch) -> tuple[float, ...]:
    """Condenses people to a number for each kind of data, which a change in the code would move.

    Shapes, rotations, true key points, reported key points: sums under fixed signs, over the root
    of their number; last the mean area of the silhouettes.
    """
    target, proxy = batch.target, batch.proxy
    kinds = (
        *(target.parameters.shape, target.parameters.rotations),
        *(target.keypoints.clamp(-3, 3), proxy.keypoints),
    )
    area = float(proxy.silhouette.double().mean())
    return (*(signed_sum(kind) for kind in kinds), area)


def signed_sum(numbers: Float[Tensor, "*shape"]) -> float:
    """Condenses numbers to one: their sum under fixed signs, over the root of their count."""
    count = numbers.numel()
    bit = Chance(0, torch.zeros(1, dtype=torch.int64)).bits("signs", count)[0] & 1
    return float(numbers.double().flatten() @ (2.0 * bit.double() - 1)) / math.sqrt(count)


def facing(rotations: Float[Tensor, "batch J 3 3"]) -> Int[Tensor, " batch"]:
    """Tells from where people are seen: 0 the front, 1 a side, 2 the back.

    By the angle between the direction that the pelvis faces and the one to the camera: below 45
    degrees, below 135 degrees, or more.
    """
    towards_camera = rotations[:, 0, 2, 2]
    edge = math.cos(math.radians(45))
    return (towards_camera < edge).long() + (towards_camera < -edge).long()


def stoutness(
    rest: Float[Tensor, "batch V 3"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, " batch"]:
    """Estimates the body mass index of bodies at rest [kg/m2], at the density of water."""
    volume = enclosed_volume(rest, faces)
    height = rest[..., 1].amax(-1) - rest[..., 1].amin(-1)
    return 1000 * volume / height.square()
