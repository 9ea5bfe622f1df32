"""Small painted people for tests, and front ends and estimators that know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plausibody.evaluate.rendered_people import RenderedPeople, Renders
from plausibody.models.body import pose_body, regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.records import take
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.charts import load_chart
from plausibody.synth.looks import Looks
from plausibody.synth.measured_stage import Stage, build_stage
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_cache import TextureSettings, load_textures


def small_stage(assets: SynthAssets, cache: Path) -> Stage:
    """Two small textures before procedural backgrounds."""
    bank = load_textures(
        TextureSettings(count=2, size=(300, 200)), template=assets.template, cache=cache, threads=1
    )
    looks = Looks.of(load_chart(assets.template), bank, load_backgrounds("procedural"))
    return build_stage(assets, looks)


def person(mask: Tensor, keypoints: Tensor) -> Person:
    """Somebody seen for sure."""
    logits = (mask.float() - 0.5) * 20
    points = torch.cat([keypoints, torch.ones(17, 1)], 1)
    box = torch.tensor([0.0, 0.0, *mask.shape[::-1]])
    return Person(0.9, box, points, SoftMask(logits, torch.eye(3)[:2], *mask.shape))


@dataclass
class Witness:
    """A front end that says what is true of the next pictures; it misses some people."""

    renders: Renders
    missed: tuple[int, ...] = ()
    shown: int = 0

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        numbers = torch.arange(self.shown, self.shown + len(pictures))
        people, size = self.renders.people(numbers), self.renders.settings.picture
        self.shown += len(pictures)
        return [
            ImageResult(
                None, size, size, "ok",
                people=() if number in self.missed
                else (person(people.visible[n], people.keypoints[n]),),
            )
            for n, number in enumerate(numbers.tolist())
        ]  # fmt: skip


@dataclass
class Truthful:
    """An estimator that gives the true bodies of the next people, under orthographic cameras."""

    people: RenderedPeople
    assets: SynthAssets
    asked: int = 0

    def predict(self, proxy: Proxy) -> PointPrediction:
        some = slice(self.asked, self.asked + len(proxy.keypoints))
        self.asked += len(proxy.keypoints)
        people = take(self.people, some)
        skin = self.assets.template.skin
        vertices = pose_body(skin, people.body.shape, people.body.rotations).vertices
        joints = regress(self.assets.regressors.coco17, vertices)
        flat = proxy.box.to_square(people.keypoints)
        camera = fit_weak_perspective(joints, flat, torch.ones(len(people), 17))
        return PointPrediction(camera=camera, parameters=people.body)
