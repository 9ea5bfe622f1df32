"""Painted people: the same each time, whole, seen once; what is measured of them, and drawn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from plausibody.evaluate.photos import fit_photos, is_whole, shipped_photos
from plausibody.evaluate.rendered_people import Renders, RendersSettings, dressing
from plausibody.evaluate.rendered_sight import BLOCK, Sight, see
from plausibody.evaluate.renders import MEAN, REGRESSOR, TRUTH, WEAK, Evaluation, evaluate_renders
from plausibody.evaluate.renders import figures as figures_of
from plausibody.evaluate.renders_result import (
    RendersResult,
    read_renders,
    save_renders,
    to_markdown,
)
from plausibody.evaluate.renders_ruler import PROTOCOLS, RendersRuler, diagonals, turn_to_ray
from plausibody.evaluate.renders_sheet import draw_worst
from plausibody.evaluate.sheet import choose, draw_outline
from plausibody.evaluate.table import renders_table
from plausibody.models.body import regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import BodyParameters, PointPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.records import concatenate, take
from plausibody.models.regressor import RegressorSettings
from plausibody.models.weights import TrainedRegressor
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.charts import load_chart
from plausibody.synth.looks import Looks
from plausibody.synth.measured_stage import build_stage
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_cache import TextureSettings, load_textures
from plausibody.synth.textures import TextureBank

SIZE, COUNT, MISSED = 128, 20, 3
SETTINGS = RendersSettings(count=COUNT, picture=SIZE)


@pytest.fixture(scope="module")
def renders(assets: SynthAssets, tmp_path_factory: pytest.TempPathFactory) -> Renders:
    """Small pictures, two small textures; do not change it."""
    bank = load_textures(
        TextureSettings(count=2, size=(300, 200)),
        template=assets.template,
        cache=tmp_path_factory.mktemp("textures"),
        threads=1,
    )
    looks = Looks.of(load_chart(assets.template), bank, load_backgrounds("procedural"))
    return Renders(SETTINGS, stage=build_stage(assets, looks))


def person(mask: Tensor, keypoints: Tensor) -> Person:
    logits = (mask.float() - 0.5) * 20
    points = torch.cat([keypoints, torch.ones(17, 1)], 1)
    box = torch.tensor([0.0, 0.0, *mask.shape[::-1]])
    return Person(0.9, box, points, SoftMask(logits, torch.eye(3)[:2], *mask.shape))


class KnowingFrontEnd:
    """Says what is true, with a false person before each true one; misses one, as it was told."""

    def __init__(self, renders: Renders):
        self.renders, self.shown = renders, 0

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        numbers = torch.arange(self.shown, self.shown + len(pictures))
        people = self.renders.people(numbers)
        self.shown += len(pictures)
        results = []
        for n, number in enumerate(numbers.tolist()):
            true = person(people.clothed[n], people.keypoints[n])
            false = person(torch.eye(SIZE) > 0, torch.zeros(17, 2))
            found = (false,) if number == MISSED else (false, true)
            results.append(ImageResult(None, SIZE, SIZE, "ok", people=found))
        return results


@pytest.fixture(scope="module")
def seen_in(renders: Renders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everybody was seen, by the front end "knowing"."""
    folder = tmp_path_factory.mktemp("seen")
    see(renders, KnowingFrontEnd(renders), "knowing", cache=folder)
    return folder


def untrained(channel: str = "silhouette") -> TrainedRegressor:
    torch.manual_seed(0)
    settings = RegressorSettings(features=32, width=8, blocks=1)
    proxy = ProxySettings(channel=channel)
    network = build_regressor("lite", settings, proxy, torch.eye(3).expand(24, 3, 3)).eval()
    card = {"config": {"method": "lite"}, "steps": 0, "sha256": "0" * 64}
    return TrainedRegressor(network=network, proxy=proxy, gender="neutral", card=card)


class Knowing:
    """Predicts the truth of the next people, as they appear along the ray; of the first it gives
    no numbers."""

    def __init__(self, sight: Sight, assets: SynthAssets):
        self.sight, self.assets, self.asked, self.edges = sight, assets, 0, 0.0

    def __call__(self, proxy: Proxy) -> PointPrediction:
        people = take(self.sight, slice(self.asked, self.asked + len(proxy.keypoints))).people
        turned = turn_to_ray(people, self.joints(people.body))
        fitted = fit_weak_perspective(
            self.joints(turned), proxy.box.to_square(people.keypoints), torch.ones(len(people), 17)
        )
        shape = turned.shape.clone()
        if self.asked == 0:
            shape[0] = math.nan
        self.asked += len(people)
        if proxy.edges is not None:
            self.edges += float(proxy.edges.sum())
        return PointPrediction(camera=fitted, parameters=BodyParameters(shape, turned.rotations))

    def joints(self, body: BodyParameters) -> Tensor:
        return regress(self.assets.regressors.coco17, body.posed(self.assets.template).vertices)


@dataclass(frozen=True)
class KnowingRegressor(TrainedRegressor):
    knowing: Knowing

    def predict(self, proxy: Proxy) -> PointPrediction:
        return self.knowing(proxy)


def knowing_regressor(renders: Renders, seen_in: Path, channel: str) -> KnowingRegressor:
    sight = concatenate(see(renders, KnowingFrontEnd(renders), "knowing", cache=seen_in))
    knowing = Knowing(take(sight, sight.evidence.found), renders.assets)
    return KnowingRegressor(**vars(untrained(channel)), knowing=knowing)


@pytest.fixture(scope="module")
def evaluation(renders: Renders, seen_in: Path) -> Evaluation:
    """Of somebody who knows the truth."""
    regressor = knowing_regressor(renders, seen_in, "silhouette")
    return evaluate_renders(
        regressor, KnowingFrontEnd(renders), renders, cache=seen_in, front_end_name="knowing"
    )


@pytest.fixture(scope="module")
def result(evaluation: Evaluation) -> RendersResult:
    return evaluation.result


# The people.


def test_people_are_the_same_each_time_and_in_any_company(renders: Renders) -> None:
    numbers = torch.arange(6)
    together, apart = renders.people(numbers), renders.people(numbers[2:4])
    assert torch.equal(renders.pictures(numbers), renders.pictures(numbers))
    same = take(together, slice(2, 4))
    assert torch.equal(same.body.shape, apart.body.shape)
    assert torch.equal(same.body.rotations, apart.body.rotations)
    torch.testing.assert_close(same.keypoints, apart.keypoints, atol=1e-3, rtol=0)
    for name in ("clothed", "naked"):
        flipped = getattr(same, name) ^ getattr(apart, name)
        assert flipped.sum() <= 2, "a pixel on an outline may flip"
    gap = renders.pictures(numbers)[2:4].int() - renders.pictures(numbers[2:4]).int()
    assert (gap.abs() > 1).double().mean() < 1e-3


def test_people_are_whole_clothed_and_where_their_pictures_show_them(renders: Renders) -> None:
    numbers = torch.arange(12)
    people, pictures = renders.people(numbers), renders.pictures(numbers)
    assert pictures.shape == (12, SIZE, SIZE, 3)
    inner = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    assert not (people.clothed & ~inner).any()
    longer = torch.stack([people.clothed.any(1).sum(-1), people.clothed.any(2).sum(-1)]).amax(0)
    assert (longer > SIZE / 1.9).all() and (longer < SIZE / 1.1).all()
    clothed, naked = (mask.sum((1, 2)) for mask in (people.clothed, people.naked))
    assert (clothed > 0.99 * naked).all() and (clothed > 1.02 * naked).sum() > 8
    template = renders.assets.template
    vertices = people.body.posed(template).vertices
    coco = people.camera.project(regress(renders.assets.regressors.coco17, vertices))[..., :2]
    torch.testing.assert_close(coco, people.keypoints, atol=1e-2, rtol=0)
    assert people.body.shape.abs().max() < 2.5, "as of open-v0"


def test_another_setting_is_another_benchmark(renders: Renders) -> None:
    other = dataclasses.replace(SETTINGS, seed=1)
    assert Renders(other, stage=renders._stage).digest != renders.digest
    assert Renders(SETTINGS, stage=renders._stage).digest == renders.digest
    with pytest.raises(ValueError, match="wanted at least 1 person, got 0"):
        RendersSettings(count=0)


def test_everybody_wears_clothes(renders: Renders) -> None:
    kinds = [(3, 3, 0, 0), (0, 3, 0, 0), (3, 0, 0, 0), (1, 5, 0, 0), (2, 1, 0, 0), (3, 3, 0, 0)]
    bank = TextureBank(
        images=torch.zeros(6, 2, 2, 3, dtype=torch.uint8),
        semantics=None,
        garments=torch.tensor(kinds, dtype=torch.uint8),
        grey=torch.tensor([False] * 5 + [True]),
    )
    assert dressing(SETTINGS, bank).tolist() == [True, False, False, False, True, False]
    with pytest.raises(ValueError, match="wanted textures with clothes, got none among 6"):
        dressing(dataclasses.replace(SETTINGS, upper=("jacket",)), bank)


# What is seen of them.


def test_everybody_is_seen_once_and_the_right_one_is_taken(
    renders: Renders, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    front_end = KnowingFrontEnd(renders)
    first = see(renders, front_end, "knowing", lambda *at: told.append(at), tmp_path)
    assert told == [(BLOCK, COUNT), (COUNT, COUNT)]
    assert [len(block.people) for block in first] == [BLOCK, COUNT - BLOCK]
    assert front_end.shown == 2 * BLOCK
    again = see(renders, front_end, "knowing", cache=tmp_path)
    assert front_end.shown == 2 * BLOCK, "nobody is looked at twice"
    sight, kept = concatenate(first), concatenate(again)
    assert (~sight.evidence.found).nonzero()[:, 0].tolist() == [MISSED]
    for name in ("found", "score", "box", "keypoints", "mask"):
        assert torch.equal(getattr(sight.evidence, name), getattr(kept.evidence, name))
    assert torch.equal(sight.people.naked, kept.people.naked)
    assert torch.equal(sight.people.camera.translation, kept.people.camera.translation)
    one = kept.evidence.person(0)
    assert torch.equal(one.mask() > 0.5, sight.people.clothed[0])
    assert torch.equal(one.keypoints[:, :2], sight.people.keypoints[0])

    (file,) = tmp_path.glob("*/00000.npz")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"00000\.npz: wanted an \.npz file"):
        see(renders, front_end, "knowing", cache=tmp_path)


# What is measured.


def test_who_knows_the_truth_is_as_good_as_an_orthographic_camera(result: RendersResult) -> None:
    # All but the person who was missed and the one of whom there were no numbers.
    assert (result.shown, result.missed, result.failed) == (COUNT, (MISSED,), (0,))
    assert result.of("pa_mpjpe").people == COUNT - 2
    for metric in ("pa_mpjpe", "pve_t_sc"):
        assert result.of(metric).value == pytest.approx(0, abs=0.01)
        assert result.of(metric).mean_body > 10
    for metric in ("silhouette_iou_clothed", "silhouette_iou_naked", "reprojection", "area_ratio"):
        figure = result.of(metric)
        assert figure.value == pytest.approx(figure.truth_orthographic, abs=0.02), metric
    # Reported at another resolution than the picture's.
    overlap = result.of("silhouette_iou")
    assert overlap.value == pytest.approx(overlap.truth_orthographic, abs=0.04)
    assert overlap.mean_body < 0.7 < overlap.value < overlap.truth < 1
    for metric, perfect in (("silhouette_iou_naked", 1), ("area_ratio", 1), ("reprojection", 0)):
        assert result.of(metric).truth == pytest.approx(perfect, abs=1e-3), metric
    stout = [result.of("body_mass_index", third) for third in result.subsets()[1:]]
    assert [row.value for row in stout] == pytest.approx([row.truth for row in stout], rel=1e-3)
    assert stout[0].value < 24 < 28 < stout[2].value and stout[0].mean_body < 28


def test_turning_to_the_ray_is_what_an_orthographic_camera_needs(
    renders: Renders, seen_in: Path
) -> None:
    sight = concatenate(see(renders, KnowingFrontEnd(renders), "knowing", cache=seen_in))
    sight = take(sight, sight.evidence.found)
    ruler, people = RendersRuler(renders.assets), sight.people
    unturned = Knowing(sight, renders.assets)
    fitted = ruler.orthographic(sight)
    aside = dataclasses.replace(people, body=people.body)
    coco = unturned.joints(aside.body)
    camera = fit_weak_perspective(coco, people.keypoints, torch.ones(len(people), 17))
    flat = coco[..., :2] * torch.tensor([1.0, -1.0]) + camera.shift[:, None]
    gap = (flat * camera.scale[:, None, None] - people.keypoints).norm(dim=-1).mean(-1)
    gap = 100 * gap / diagonals(sight.evidence)
    assert fitted["reprojection_true"].mean() < 0.8 * gap.mean()


def test_edges_are_those_of_the_pictures_painted_again(renders: Renders, seen_in: Path) -> None:
    regressor = knowing_regressor(renders, seen_in, "edges")
    few = Renders(dataclasses.replace(SETTINGS, count=2), stage=renders._stage)
    evaluate_renders(regressor, KnowingFrontEnd(few), few, cache=seen_in, front_end_name="few")
    assert regressor.knowing.edges > 100


def test_an_untrained_regressor_is_seen_to_be_one(renders: Renders, seen_in: Path) -> None:
    told: list[tuple[int, int]] = []
    found = evaluate_renders(
        untrained(), KnowingFrontEnd(renders), renders, lambda *at: told.append(at),
        cache=seen_in, front_end_name="knowing",
    ).result  # fmt: skip
    assert told[-1] == (2 * COUNT - 1, 2 * COUNT), "one was not found"
    assert found.failed == () and found.of("pa_mpjpe").value > 0.7 * found.of("pa_mpjpe").mean_body
    assert found.worst[0].silhouette_iou <= found.worst[-1].silhouette_iou < 0.9


def test_who_cannot_be_measured_is_refused(renders: Renders, tmp_path: Path) -> None:
    smpl = dataclasses.replace(untrained(), card={"config": {"sources": {"body": "smpl"}}})
    with pytest.raises(ValueError, match="wanted a regressor of the open body, got one of 'smpl'"):
        evaluate_renders(smpl, KnowingFrontEnd(renders), renders)

    def blind(pictures: Sequence[Picture], max_people: int | None = None) -> list[ImageResult]:
        return [ImageResult(None, SIZE, SIZE, "no_person") for _ in pictures]

    with pytest.raises(ValueError, match="got none of 20 people, of whom the front end found 0"):
        evaluate_renders(untrained(), blind, renders, cache=tmp_path, front_end_name="blind")


def test_figures_are_medians_or_means_of_those_who_have_them() -> None:
    values = {name: torch.tensor([1.0, 2.0, 9.0, math.nan]) for name in PROTOCOLS}
    measured = {name: values for name in (REGRESSOR, TRUTH, WEAK, MEAN)}
    found = figures_of(measured, torch.tensor([0, 0, 2, 2]))
    table = {(figure.metric, figure.subset): figure for figure in found}
    assert (table["reprojection", "all"].value, table["reprojection", "all"].people) == (2, 3)
    assert table["pa_mpjpe", "all"].value == 4
    assert table["area_ratio", "thinnest third"].value == 1.5
    assert ("area_ratio", "middle third") not in table, "there is nobody"


def test_results_are_laid_out_for_a_terminal(result: RendersResult) -> None:
    with (console := Console(width=200)).capture() as capture:
        console.print(renders_table(result))
    text = capture.get()
    assert f"renders-v0 ({result.digest[:12]}), {COUNT} people" in text
    assert "silhouette_iou_naked" in text and "stoutest third" in text and "Not found: 1" in text


def test_results_survive_the_disk_and_name_who_is_missing(
    result: RendersResult, tmp_path: Path
) -> None:
    path = save_renders(result, tmp_path / "out")
    assert read_renders(path) == result
    text = path.with_suffix(".md").read_text()
    assert text == to_markdown(result)
    assert f"Not found: 1 (number {MISSED}) of {COUNT}. Found, but without a body: 1" in text
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(ValueError, match="a version other than 1"):
        read_renders(path)
    with pytest.raises(FileNotFoundError, match="wanted a result on painted people"):
        read_renders(tmp_path / "none.json")


# What is drawn.


def test_the_worst_are_drawn_first_and_then_the_typical(evaluation: Evaluation) -> None:
    assert choose(torch.tensor([0.5, 0.1, 0.9, 0.3, 0.7, 0.8, 0.6]), 2, 1) == [1, 3, 6]
    assert choose(torch.tensor([0.5, 0.1]), 4, 2) == [1, 0]
    sheet = draw_worst(evaluation, worst=2, typical=1, side=64)
    assert sheet.shape == (3, 2 * 84 + 8, 2 * 196 + 8)
    painted = sheet[:, :64, :64]
    number = evaluation.bodies.number[evaluation.errors["silhouette_iou"].argmin()]
    small = evaluation.renders.pictures(number[None])[0].permute(2, 0, 1).float() / 255
    small = torch.nn.functional.interpolate(small[None], size=64, mode="bilinear", antialias=True)
    torch.testing.assert_close(painted, small[0], atol=1e-4, rtol=0)


def test_outlines_run_along_the_border_of_a_mask() -> None:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = True
    drawn = draw_outline(torch.zeros(3, 20, 20), mask, (1.0, 1.0, 0.0), width=3)
    assert drawn[0, 5, 10] == drawn[0, 4, 10] == 1 and drawn[2].max() == 0
    assert drawn[0, 10, 10] == drawn[0, 2, 10] == 0


# Photos.


def test_photos_are_measured_by_their_main_person(renders: Renders, tmp_path: Path) -> None:
    assert all(path.is_file() for path in shipped_photos())
    people = renders.people(torch.arange(1))
    whole = person(people.clothed[0], people.keypoints[0])
    cut = dataclasses.replace(whole, flags=frozenset({"truncated"}))
    unsure = dataclasses.replace(whole, keypoints=whole.keypoints * torch.tensor([1, 1, 0.1]))
    assert is_whole(whole) and not is_whole(cut) and not is_whole(unsure)

    def front_end(pictures: Sequence[Picture], max_people: int | None = None) -> list[ImageResult]:
        some = ImageResult("some.jpg", SIZE, SIZE, "ok", people=(whole,))
        none = ImageResult("none.jpg", SIZE, SIZE, "no_person", "nobody")
        return [some if "some" in str(picture) else none for picture in pictures]

    found, missed = fit_photos(untrained(), front_end, [Path("some.jpg"), Path("none.jpg")])
    assert found.full_body and 0 < found.silhouette_iou < 1 and found.reprojection > 0
    assert not missed.full_body and math.isnan(missed.silhouette_iou)
    assert missed.message == "none.jpg: nobody"
