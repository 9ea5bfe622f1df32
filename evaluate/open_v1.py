"""`open-v1`: painted adults that anyone can be measured on, through the front end that ships.

Poses are those of subjects that no training saw, bodies are whole MakeHuman adults from outside the
linear shape space, dressed in clothes that no training painted; some are cut by the border of the
picture, behind things or beside other people. What a regressor is shown is what the embedded front
end says of the pictures, just as `predict` shows it.

Everything that decides this is written out here and sealed: settings, files and the front end's
weights by a hash, what the code makes of them by a few numbers of the first people. A result whose
seal differs is of something else, and says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plausibody.assets.catalog import find_asset
from plausibody.evaluate.open import Seal, signed_sum
from plausibody.evaluate.rendered_people import Renders, RendersSettings
from plausibody.evaluate.rendered_sight import Sight
from plausibody.models.records import take
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.occluder_objects import ObjectSettings
from plausibody.synth.occluder_people import PeopleSettings
from plausibody.synth.texture_cache import TextureSettings

PEOPLE = RendersSettings(
    name="open-v1",
    split="test",
    count=512,
    seed=1_000_000,
    picture=512,
    room=(1.1, 2.0),
    textures=TextureSettings(count=64, seed=1, size=(600, 400)),
    upper=("tank", "t-shirt", "long", "jacket"),
    lower=("shorts", "knee", "trousers", "leggings", "skirt"),
    bodies="full",
    truncated=0.2,
    things=ObjectSettings(
        present=0.25,
        most=3,
        kinds={
            **{"box": 0.2, "ellipse": 0.1, "polygon": 0.2, "blob": 0.2},
            **{"table": 0.1, "chair": 0.1, "counter": 0.05, "pole": 0.05},
        },
        extent=(0.1, 0.5),
        furniture=(0.25, 0.8),
        tilt=math.radians(5),
    ),
    people=PeopleSettings(
        present=0.25,
        second=0.5,
        in_front=0.5,
        aside=(0.3, 0.8),
        apart=(0.3, 1.0),
        shape_std=1.5,
    ),
    garments=GarmentSettings(
        worn=1.0,
        upper={
            **{"none": (0.0, 0.0), "bra": (0.001, 0.006), "tank": (0.002, 0.022)},
            **{"t-shirt": (0.004, 0.042), "long": (0.003, 0.042), "jacket": (0.012, 0.06)},
        },
        lower={
            **{"briefs": (0.001, 0.005), "shorts": (0.006, 0.04), "knee": (0.006, 0.04)},
            **{"trousers": (0.003, 0.034), "leggings": (0.001, 0.004), "skirt": (0.004, 0.05)},
        },
        hair={
            **{"bald": (0.001, 0.004), "buzz": (0.001, 0.005), "short": (0.008, 0.03)},
            **{"medium": (0.015, 0.045), "long": (0.012, 0.045)},
        },
        shoes={"none": (0.0, 0.0), "low": (0.005, 0.016), "boots": (0.008, 0.02)},
        socks=(0.001, 0.004),
        glove=(0.001, 0.005),
        hat=(0.006, 0.03),
        tightness=1.6,
        folds=0.28,
        stride=0.9,
    ),
)
"""Written out so that defaults may go on changing. Poses, views and the pinhole cameras are those
of `open-v0`, by its table."""

FILES = ("body/charts.npz", "body/coarse.npz", "backgrounds", "fabrics")
"""What pictures are made of besides the files of `Renders`; all files of a folder."""
SEALED = "asset files (poses, bodies, textures, backgrounds) or front end"
"""The same in words."""
WITNESSED = 8
"""How many people tell what the code makes of settings and files."""


@dataclass(frozen=True)
class OpenV1:
    """A benchmark of this kind."""

    people: RendersSettings = PEOPLE
    seal: Seal | None = None
    """None for sets that are not compared between versions."""

    @property
    def name(self) -> str:
        return self.people.name


TOLERANCES = (1e-4, 1e-4, 1e-2, 1e-3, 1e-2, 2e-2, 1e-2)
"""Of each of `witnesses`: bodies agree between machines to the last bits, pixels at outlines and
the front end's last digits do not."""

OPEN_V1 = OpenV1(
    PEOPLE,
    Seal(
        content="6588131d8f9fad7024d072c1eb6334f3ea777febf75e8c38cd493de94a3edf0c",
        witnesses=(-0.554901, -0.217488, 0.106074, 0.092374, 0.547472, 0.118533, 0.066659),
        tolerances=TOLERANCES,
    ),
)
"""Sealed with the first assets that shipped. A change on purpose is another version, not this."""


def witnesses(renders: Renders, seen: Sight) -> tuple[float, ...]:
    """Condenses the first people to a number for each kind of data.

    Shapes, rotations, key points in the picture, mean areas of what is seen of them, mean
    brightness of their pictures, key points as the front end saw them, mean area of its masks.

    Args:
        seen: Everybody, or the first people.
    """
    count = min(WITNESSED, renders.settings.count)
    numbers, size = torch.arange(count), renders.settings.picture
    people = renders.people(numbers)
    first = take(seen, slice(0, count)).evidence
    told = first.keypoints / first.keypoints.new_tensor([size, size, 1.0])
    return (
        signed_sum(people.body.shape),
        signed_sum(people.body.rotations),
        signed_sum((people.keypoints / size).clamp(-1, 2)),
        float(people.visible.double().mean()),
        float(renders.pictures(numbers).double().mean() / 255),
        signed_sum(told),
        float(first.mask.double().mean() / 255),
    )


def seal_of(
    renders: Renders,
    seen: Sight,
    front_end: str,
    directories: Sequence[Path] | None = None,
) -> Seal:
    """Computes the seal of what is there now.

    Args:
        seen: Everybody, or the first people.
        front_end: What tells the front end from others.
        directories: Where assets are looked for, instead of the usual places.
    """
    content = hashlib.sha256(json.dumps([renders.digest, front_end]).encode())
    for name in FILES:
        path = find_asset(name, directories)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            content.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return Seal(content.hexdigest(), witnesses(renders, seen), TOLERANCES)


def naked(settings: RendersSettings) -> RendersSettings:
    """The same people without clothes that stand off: what their textures show is paint."""
    tight = dataclasses.replace(settings.garments, worn=0.0)
    return dataclasses.replace(settings, garments=tight)


def alone(settings: RendersSettings) -> RendersSettings:
    """The same people with nothing before them and nobody beside."""
    return dataclasses.replace(
        settings,
        things=dataclasses.replace(settings.things, present=0.0),
        people=dataclasses.replace(settings.people, present=0.0),
    )


def whole(settings: RendersSettings) -> RendersSettings:
    """The same people, uncut by the border of the picture."""
    return dataclasses.replace(settings, truncated=0.0)


def linear(settings: RendersSettings) -> RendersSettings:
    """The same people with the nearest bodies that a regressor of ten coefficients can say."""
    return dataclasses.replace(settings, bodies="fitted")
