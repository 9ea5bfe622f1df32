"""The proxy gap, and the way to it: a front end looks at staged people, a model is fitted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody import fit_corruption as fitting
from plausibody.evaluate.proxy_gap import GROUPS, measure, perfect, proxy_gap
from plausibody.evaluate.published import published
from plausibody.fit_corruption import FitSettings, fit_corruption
from plausibody.models.body import PosedBody
from plausibody.models.proxy import Observation
from plausibody.models.records import take
from plausibody.plots import draw_gap
from plausibody.predict.front_ends.crop import inverse
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.front_ends.witness import BLOCK, Session, show, witness
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.joint_sight import OUTSIDE
from plausibody.synth.lite import clothe
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.looks import Looks
from plausibody.synth.measured import Truth
from plausibody.synth.measured_file import load_measured, read_measured
from plausibody.synth.measured_fit import fit, simulate
from plausibody.synth.measured_sightings import Sightings, corrupted, mistakes
from plausibody.synth.measured_stage import (
    Stage,
    StagedPeople,
    StageSettings,
    build_stage,
    draw_scene,
    stage_people,
    truth_of,
)
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_cache import TextureSettings, load_textures

SMALL = StageSettings(picture=128)


@pytest.fixture(scope="module")
def truth(assets: SynthAssets) -> Truth:
    """Of 160 people; do not change it."""
    body = assets.coarse

    def dresser(chance: Chance, posed: PosedBody) -> Tensor:
        return clothe(chance, posed.vertices[:, : body.drawn], body, LiteCorruption())

    scene = draw_scene(Chance(4, torch.arange(160)), assets, body, StageSettings(), dresser)
    return truth_of(scene, body, 112)


@pytest.fixture(scope="module")
def looks(assets: SynthAssets, tmp_path_factory: pytest.TempPathFactory) -> Looks:
    """Two small textures; do not change them."""
    settings = TextureSettings(count=2, size=(300, 200))
    bank = load_textures(
        settings,
        template=assets.template,
        cache=tmp_path_factory.mktemp("textures"),
        threads=1,
    )
    return Looks.of(load_chart(assets.template), bank, load_backgrounds("procedural"))


def sightings(truth: Truth, seen: Observation) -> Sightings:
    return Sightings(truth, seen, torch.ones(len(truth.side), dtype=torch.bool))


class KnowingFrontEnd:
    """Says what is true of staged people, 1 px to the right and with a slip, for it was told."""

    def __init__(self, stage: Stage, settings: StageSettings, seed: int):
        self.stage, self.settings, self.seed = stage, settings, seed
        self.looks, self.shown = 0, 0

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        numbers = torch.arange(self.shown, self.shown + len(pictures))
        self.shown += len(pictures)
        self.looks += 1
        told = stage_people(Chance(self.seed, numbers), self.stage, self.settings)
        results = []
        for number, picture in enumerate(pictures):
            assert isinstance(picture, Tensor) and picture.dtype == torch.uint8
            expected = told.pictures[number].permute(1, 2, 0) * 255
            assert (picture.float() - expected).abs().max() <= 0.51
            people = () if number % 8 == 7 else (self.person(told, number),)
            size = picture.shape[0]
            results.append(ImageResult(None, size, size, "ok", people=people))
        return results

    def person(self, told: StagedPeople, number: int) -> Person:
        truth, zoom, corner = told.truth, told.zoom[number], told.corner[number]
        places = truth.keypoints[number] / zoom + corner + torch.tensor([1.0, 0.0])
        sure = torch.where(truth.states[number] == OUTSIDE, 0.0, 0.8)
        logits = torch.where(truth.labels[number] > 0, 8.0, -8.0)
        scale = 1 / float(zoom)
        to_picture = torch.tensor([[scale, 0.0, float(corner[0])], [0.0, scale, float(corner[1])]])
        assert inverse(to_picture).isfinite().all()
        mask = SoftMask(logits, to_picture, self.settings.picture, self.settings.picture)
        box = torch.tensor([0.0, 0.0, 10.0, 10.0])
        return Person(0.9, box, torch.cat([places, sure[:, None]], 1), mask)


# Staging.


def test_pictures_show_people_where_the_truth_says(assets: SynthAssets, looks: Looks) -> None:
    stage = build_stage(assets, looks)
    people = stage_people(Chance(1, torch.arange(12)), stage, SMALL)
    assert people.pictures.shape == (12, 3, 128, 128)
    assert 0 <= people.pictures.min() and people.pictures.max() <= 1
    front_end = KnowingFrontEnd(stage, SMALL, seed=1)
    wrong = mistakes(witness(front_end, people))
    assert wrong.overlap.min() > 0.75 and wrong.overlap.median() > 0.9
    # The background shows beside the person and the things, and nowhere else.
    background = looks.backgrounds.draw(Chance(1, torch.arange(12)), (128, 128)) / 255
    same = ((people.pictures - background).abs() < 2e-3).all(1)
    free = (people.truth.labels == people.truth.whole).all(2).all(1)
    assert free[:7].sum() >= 3
    for number in free[:7].nonzero()[:, 0].tolist():
        mask = front_end.person(people, number).mask() > 0.5
        assert same[number][mask].double().mean() < 0.1
        assert same[number][~mask].double().mean() > 0.8


def test_truths_are_within_the_picture(truth: Truth) -> None:
    size = truth.labels.shape[-1]
    place = torch.arange(size) + 0.5
    low, high = truth.borders[:, None, 0], truth.borders[:, None, 2]
    outside = (place < low) | (place >= high)
    assert outside.any() and not (truth.labels * outside[:, None]).any()
    assert ((truth.labels == truth.whole) | (truth.labels == 0)).all()
    hidden = (truth.labels != truth.whole).any(2).any(1).double().mean()
    assert 0.1 < hidden < 0.45, "things stand before three in ten, and often miss"
    cut = (truth.states == OUTSIDE).any(1).double().mean()
    assert 0.2 < cut < 0.5


# Looking.


def test_what_was_seen_is_kept_and_goes_on(
    assets: SynthAssets, looks: Looks, tmp_path: Path
) -> None:
    stage = build_stage(assets, looks)
    session = Session(count=20, seed=2, settings=SMALL, front_end="knowing", cast="two")
    front_end = KnowingFrontEnd(stage, SMALL, seed=2)
    told: list[tuple[int, int]] = []
    first = show(front_end, stage, session, tmp_path, lambda *at: told.append(at))
    assert len(first) == 2 * BLOCK and front_end.looks == 2
    assert told == [(BLOCK, 2 * BLOCK), (2 * BLOCK, 2 * BLOCK)]
    assert int(first.found.sum()) == 2 * BLOCK * 7 // 8
    again = show(front_end, stage, session, tmp_path, lambda *at: None)
    assert front_end.looks == 2, "nobody is looked at twice"
    torch.testing.assert_close(again.seen.keypoints, first.seen.keypoints)
    torch.testing.assert_close(again.seen.mask, first.seen.mask, rtol=0, atol=0.002)
    other = replace(session, front_end="another")
    assert other.folder != session.folder and replace(session, count=40).folder == session.folder

    (block,) = tmp_path.glob("*/00000.npz")
    block.write_bytes(block.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"00000\.npz: wanted an \.npz file"):
        show(front_end, stage, session, tmp_path, lambda *at: None)


def test_key_points_come_back_in_the_frame(assets: SynthAssets, looks: Looks) -> None:
    stage = build_stage(assets, looks)
    people = stage_people(Chance(3, torch.arange(8)), stage, SMALL)
    seen = witness(KnowingFrontEnd(stage, SMALL, seed=3), people)
    assert seen.found.tolist() == [True] * 7 + [False]
    moved = seen.seen.keypoints[:7, :, :2] - people.truth.keypoints[:7]
    torch.testing.assert_close(
        moved[..., 0], people.zoom[:7, None].expand(-1, 17), atol=1e-3, rtol=0
    )
    assert moved[..., 1].abs().max() < 1e-3


# The gap.


def test_the_gap_is_0_for_the_same_and_1_for_no_errors(truth: Truth, assets: SynthAssets) -> None:
    model = load_measured()
    flawless = perfect(truth)
    real = corrupted(lambda chance, people: simulate_one(model, chance, people), flawless)
    without = measure(flawless)
    same = proxy_gap(measure(real), measure(real), without)
    assert same.total == 0 and set(same.groups) == set(GROUPS)
    none = proxy_gap(measure(real), without, without)
    assert 0.8 < none.total <= 1
    again = measure(simulate(model, flawless, seed=8, repeats=2))
    half = proxy_gap(measure(real), again, without, bootstrap=8)
    assert half.total < 0.25, "the same model, other draws"
    low, high = half.interval
    assert 0 < low < high < 0.5 and math.isnan(same.interval[0])


def simulate_one(model: object, chance: Chance, truth: Truth) -> Observation:
    from plausibody.synth.measured import MeasuredModel, corrupt

    assert isinstance(model, MeasuredModel)
    return corrupt(chance, truth, model)


def test_published_corruptions_are_those_of_the_recipes(truth: Truth, assets: SynthAssets) -> None:
    chance = Chance(0, torch.arange(160))
    side = float(truth.side[0])
    seen = {name: corruption(chance, truth) for name, corruption in published(assets).items()}
    assert list(seen) == ["straps", "hierprob", "lite"]
    moved = (seen["straps"].keypoints[..., :2] - truth.keypoints).abs() / side
    assert moved.max() <= 8 * 1.2 / 256 + 1e-6 and moved.max() > 0.95 * 8 * 1.2 / 256
    told = seen["hierprob"].keypoints[..., 2]
    assert set(told.unique().tolist()) == {0.0, 1.0}
    for observation in seen.values():
        extra = (observation.mask > 0.5) & (truth.labels == 0)
        assert extra.double().mean() < 0.03
    # Parts go missing, squares and halves of the picture do not.
    whole = (seen["straps"].mask.sum((1, 2)) == (truth.labels > 0).sum((1, 2))).double().mean()
    assert whole.item() == pytest.approx(0.9**4 * 0.95**2, abs=0.12)


def test_the_shipped_model_is_of_this_front_end() -> None:
    model = load_measured()
    assert model.provenance["front_end"] == "embedded"
    assert model.provenance["front_end_weights"] == fitting.embedded_digest()
    assert 0 <= model.missed < 0.3
    error = model.keypoints.distance
    in_sight, hidden = error[:, 0, 12], error[:, 1, 12]
    assert (in_sight > 0.003).all() and (in_sight < 0.04).all(), "medians, over the side"
    assert (hidden > in_sight).all()
    assert model.keypoints.shared_tie < -0.5, "whose errors are large, of them it is less sure"


def test_fitting_writes_the_model_and_the_gap(
    assets: SynthAssets, looks: Looks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = FitSettings(count=200, stage=SMALL)
    known = load_measured()

    def look(front_end: object, there: SynthAssets, *rest: object) -> Sightings:
        """A front end whose errors are those of the shipped model."""
        session = rest[1]
        assert isinstance(session, Session)
        scene = draw_scene(
            Chance(session.seed, torch.arange(session.count)), there, there.coarse, SMALL,
            lambda chance, posed: posed.vertices[:, : there.coarse.drawn],
        )  # fmt: skip
        people = perfect(truth_of(scene, there.coarse, 112))
        return simulate(known, people, seed=session.seed)

    monkeypatch.setattr(fitting, "_look", look)
    monkeypatch.setattr(fitting, "load_looks", lambda *_: looks)
    monkeypatch.setattr(fitting, "SAMPLES", 10)
    monkeypatch.setattr(fitting, "REPEATS", 1)
    monkeypatch.setattr(fitting, "fit", partial(fit, rounds=1))
    out = tmp_path / "sub" / "model.json"
    report = fit_corruption(out, lambda pictures, max_people=None: [], settings, lambda *_: None)
    assert read_measured(out).provenance["people"] == 150
    told = json.loads(out.with_suffix(".gap.json").read_text())
    assert told["fitted"] == 150 and told["held_out"] == 50
    assert set(told["gaps"]) == {"straps", "hierprob", "lite", "measured", "front end"}
    gaps = {name: gap["total"] for name, gap in told["gaps"].items()}
    assert gaps["measured"] < 0.6 * min(gaps["straps"], gaps["hierprob"], gaps["lite"])
    card = draw_gap(report, "gap")
    assert card.shape == (3, 1080, 1680) and card.std() > 0.05
    lines = report.lines()
    assert len(lines) == 1 + 5 + 3 and "measured leaves" in lines[-1]


def test_too_few_people_are_refused() -> None:
    with pytest.raises(ValueError, match="count: wanted at least 200 people, got 10"):
        FitSettings(count=10)
    with pytest.raises(ValueError, match="wanted at least 40 people"):
        fit(take_some())


def take_some() -> Sightings:
    truth = Truth(
        labels=torch.zeros(3, 8, 8, dtype=torch.uint8),
        whole=torch.zeros(3, 8, 8, dtype=torch.uint8),
        keypoints=torch.zeros(3, 17, 2),
        states=torch.zeros(3, 17, dtype=torch.long),
        borders=torch.zeros(3, 4),
        side=torch.ones(3),
    )
    return take(perfect(truth), torch.arange(3))
