"""The benchmark of painted adults: who is in it, what is measured of them, its seal and table."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from known_answers import Losing
from painted import Truthful, Witness, small_stage

from plausibody.config import override
from plausibody.config_file import to_json as to_tables
from plausibody.evaluate.asked import Asked
from plausibody.evaluate.markdown import replace_table
from plausibody.evaluate.open import Seal
from plausibody.evaluate.open_v1 import (
    OPEN_V1,
    PEOPLE,
    OpenV1,
    alone,
    linear,
    naked,
    seal_of,
    whole,
)
from plausibody.evaluate.open_v1_measure import (
    HELD,
    VISIBLE,
    Answers,
    PictureRuler,
    hidden,
    outside,
    protocols,
    proxies,
    square_round,
)
from plausibody.evaluate.open_v1_run import evaluate_open_v1, oracle
from plausibody.evaluate.open_v1_sheet import draw_people
from plausibody.evaluate.rendered_people import Renders, RendersSettings
from plausibody.evaluate.rendered_sight import Sight
from plausibody.evaluate.result import Result, to_json
from plausibody.evaluate.ruler import Ruler
from plausibody.evaluate.run import summary
from plausibody.evaluate.saving import read_with_values, save_result
from plausibody.models.networks import build_regressor
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import take
from plausibody.models.regressor import RegressorSettings
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor, save_regressor
from plausibody.presets import preset
from plausibody.synth.measured_stage import Stage
from plausibody.synth.stores import SynthAssets

SIZE, COUNT, MISSED = 96, 6, 2
SMALL = replace(PEOPLE, count=COUNT, picture=SIZE)
BENCHMARK = OpenV1(SMALL)


@pytest.fixture(scope="module")
def stage(assets: SynthAssets, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return small_stage(assets, tmp_path_factory.mktemp("textures"))


@pytest.fixture(scope="module")
def renders(stage: Stage) -> Renders:
    return Renders(SMALL, stage=stage)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seen")


def untrained() -> TrainedRegressor:
    torch.manual_seed(0)
    settings = RegressorSettings(features=32, width=8, blocks=1)
    proxy = ProxySettings(size=32)
    network = build_regressor("hierprob", settings, proxy, torch.eye(3).expand(24, 3, 3)).eval()
    card = {"config": {"method": "hierprob"}, "steps": 0, "sha256": "0" * 64}
    return TrainedRegressor(network=network, proxy=proxy, gender="neutral", card=card)


def evaluate(renders: Renders, cache: Path, regressor: TrainedRegressor | None = None) -> Result:
    front_end = Witness(renders, missed=(MISSED,))
    return evaluate_open_v1(
        regressor or untrained(), BENCHMARK, renders=renders, front_end=front_end,
        front_end_name="witness", cache=cache,
    )  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(renders: Renders, cache: Path) -> Result:
    return evaluate(renders, cache)


def test_people_follow_from_their_numbers(renders: Renders) -> None:
    people, pictures = renders.both(torch.arange(COUNT))
    some = torch.tensor([4, 1])
    again = renders.people(some)
    assert torch.equal(renders.pictures(some), pictures[some])
    for name, value in vars(again).items():
        if isinstance(value, torch.Tensor):
            wanted = getattr(people, name)[some]
            torch.testing.assert_close(value, wanted, atol=1e-3, rtol=0, msg=name)


def test_the_same_people_are_shown_more_easily(stage: Stage) -> None:
    numbers = torch.arange(24)
    hard = Renders(replace(SMALL, count=24), stage=stage).people(numbers)
    for easier in (naked, alone, linear):
        easy = Renders(easier(replace(SMALL, count=24)), stage=stage).people(numbers)
        assert torch.equal(easy.body.rotations, hard.body.rotations)
        if easier is alone:
            assert bool(hard.covered.any()) and not bool(easy.covered.any())
            assert torch.equal(easy.clothed, hard.clothed)
        if easier is naked:  # but for the pixels that hair and shoes leave at the outline
            assert torch.equal(easy.naked, easy.clothed)
            assert float(hard.clothed.sum()) > 1.03 * float(easy.clothed.sum())
        if easier is linear:
            assert easy.body.shape.shape == (24, 10)
    uncut = Renders(whole(replace(SMALL, count=24)), stage=stage)
    ruler = PictureRuler(Ruler(uncut.assets))
    assert float(outside(ruler.flat(uncut.people(numbers)), SIZE).amax()) < 0.05


def test_others_hide_where_they_stand_before(stage: Stage) -> None:
    """Pictures change only where others are painted; those behind hide nothing."""
    numbers = torch.arange(8)
    empty = alone(replace(SMALL, count=8))
    bare = Renders(empty, stage=stage).pictures(numbers)
    crowd = replace(PEOPLE.people, present=1.0, second=0.0)
    before, behind = (
        Renders(replace(empty, people=replace(crowd, in_front=share)), stage=stage)
        for share in (1.0, 0.0)
    )
    shown, covered = before.pictures(numbers), before.people(numbers).covered
    changed = (shown != bare).any(-1)
    wide = torch.nn.functional.max_pool2d(covered[:, None].float(), 7, 1, 3)[:, 0] > 0
    assert bool(covered.any()) and not bool((changed & ~wide).any())
    assert float(changed[covered].double().mean()) > 0.9
    people = behind.people(numbers)
    assert not bool(people.covered.any())
    inner = -torch.nn.functional.max_pool2d(-people.clothed[:, None].float(), 3, 1, 1)[:, 0] > 0
    changed = (behind.pictures(numbers) != bare).any(-1)
    assert float(changed.sum()) > 50 and float(changed[inner].double().mean()) < 0.01


def test_the_truth_has_no_errors_but_those_of_its_camera(stage: Stage) -> None:
    settings = replace(SMALL, bodies="linear", count=4)
    renders = Renders(settings, stage=stage)
    people = renders.people(torch.arange(4))
    proxy = proxies(oracle(people), ProxySettings())
    said = Truthful(people, renders.assets).predict(proxy)
    answers = Answers.of(said, renders.assets.template, proxy.box)
    ruler = PictureRuler(Ruler(renders.assets))
    found, _ = ruler(ruler.look(people), answers, ruler.truth, 0)
    zeros = ("mpjpe", "pa_mpjpe", "pve", "pve_sc", "pve_t_sc", "root_angle", "measured/waist")
    for name in zeros:
        assert float(found[name].amax()) < 0.2, name
    assert float(found["keypoint_error"].amax()) < 25  # wide angles at less than 2 m
    assert float(found["silhouette_iou"].amin()) > 0.6 and float(found[VISIBLE].amin()) > 0.3


def test_people_are_predicted_as_by_predict(renders: Renders) -> None:
    people, regressor = renders.people(torch.arange(2)), untrained()
    seen = oracle(people)
    proxy = proxies(seen, regressor.proxy)
    found = Answers.of(regressor.predict(proxy), load_template("open"), proxy.box)
    pictures = [torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8) for _ in range(2)]
    asked = Asked.of(regressor, "cpu")(seen, pictures)
    for n, theirs in enumerate(asked):
        assert theirs is not None
        ours = take(found.prediction.mode(), torch.tensor(n))
        mode = theirs.prediction.mode()
        torch.testing.assert_close(ours.rotations, mode.rotations, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.shape, mode.shape, atol=1e-5, rtol=0)
        camera = take(found.camera, torch.tensor(n))
        torch.testing.assert_close(camera.origin, theirs.camera.origin, atol=1e-2, rtol=0)
        mine, other = found.measurements[n], theirs.measurements
        assert mine.low is not None and other.low is not None
        torch.testing.assert_close(mine.low, other.low, atol=1e-4, rtol=0)


def test_what_is_measured_of_hidden_and_cut_people(renders: Renders) -> None:
    people = renders.people(torch.arange(COUNT))
    ruler = PictureRuler(Ruler(renders.assets))
    flat = ruler.flat(people)
    square = square_round(flat)
    inside = square.to_square(flat).abs().amax((1, 2))
    torch.testing.assert_close(inside, torch.full((COUNT,), 1 / 1.2), atol=1e-5, rtol=0)
    none = dataclasses.replace(people, covered=torch.zeros_like(people.covered))
    every = dataclasses.replace(people, covered=torch.ones_like(people.covered))
    assert hidden(none).tolist() == [0.0] * COUNT and hidden(every).tolist() == [1.0] * COUNT
    half = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [1.0, 99.0], [4.0, 4.0]]])
    assert outside(half, 10).tolist() == [0.5]
    seen = oracle(people)
    kept = (people.keypoints >= 0).all(-1) & (people.keypoints < SIZE).all(-1)
    assert torch.equal(seen.keypoints[..., 2] > 0, kept)
    assert torch.equal(seen.mask > 0, people.visible)


def test_everybody_counts(evaluation: Result) -> None:
    result = evaluation
    assert result.people == COUNT and result.missed == ("0002",)
    assert not result.sealed and "no seal" in result.note
    assert {figure.people for figure in result.figures if figure.subset == "all"} == {COUNT}
    assert result.of("mpjpe", "missed by the front end").people == 1
    best = result.of("pa_mpjpe[min10]").value
    assert 0 < best <= result.of("pa_mpjpe").value + 30
    assert result.of("pa_mpjpe[min10+mode]").value <= result.of("pa_mpjpe").value
    assert 0 <= result.of(HELD).value <= 1
    floor = result.of("pve_t_sc").baselines["nearest linear body"]
    assert 5 < floor < 12 and result.of("pve_t_sc").mean_body > floor
    assert protocols(["keypoint_error[samples10]"])["keypoint_error[samples10]"].samples == 10


def test_it_is_the_same_each_time(renders: Renders, evaluation: Result, cache: Path) -> None:
    """The second time from the cache."""
    again = evaluate(renders, cache)
    assert again == evaluation
    first, second = evaluation.values, again.values
    assert first is not None and second is not None
    for name, value in first.errors.items():
        assert torch.equal(value, second.errors[name]), name


def test_who_gets_no_body_is_named_and_in_no_figure(
    renders: Renders, cache: Path, evaluation: Result
) -> None:
    found = evaluate(renders, cache, Losing(**vars(untrained()), lost=3))
    assert found.failed == ("0003",) and found.note.startswith("1 of 6 people got no body")
    assert found.benchmark == "not open-v1" and not found.sealed
    assert found.of("mpjpe").people == found.people - 1 == COUNT - 1
    assert found.values is not None and evaluation.values is not None
    kept = torch.tensor([0, 1, 2, 4, 5])
    for metric in ("mpjpe", VISIBLE):
        ours, before = found.values.errors[metric], evaluation.values.errors[metric]
        assert bool(ours[3].isnan())
        torch.testing.assert_close(ours[kept], before[kept])
    assert "0003" not in [case.name for case in found.worst]
    assert found.draw is not None and evaluation.draw is not None
    assert torch.equal(found.draw("0004"), evaluation.draw("0004"))
    with pytest.raises(ValueError, match="none of 6 people: 0000"):
        evaluate(renders, cache, Losing(**vars(untrained()), lost=slice(None)))


def test_results_are_saved_with_their_people(evaluation: Result, tmp_path: Path) -> None:
    result = read_with_values(save_result(evaluation, tmp_path))
    assert result == evaluation and result.values is not None
    assert set(result.values.attributes) == {
        *("occlusion", "border", "view", "build", "shape space", "front end")
    }
    assert "| PA-MPJPE" not in (tmp_path / "results.md").read_text()


def test_a_changed_benchmark_breaks_its_seal(renders: Renders) -> None:
    people = renders.people(torch.arange(COUNT))
    sight = Sight(people, oracle(people))
    seal = seal_of(renders, sight, "witness")
    assert seal.agrees(seal_of(renders, sight, "witness"))
    assert not seal.agrees(seal_of(renders, sight, "another front end"))
    moved = replace(seal, witnesses=(seal.witnesses[0] + 0.01, *seal.witnesses[1:]))
    assert not seal.agrees(moved)


def test_people_can_be_looked_at(renders: Renders, evaluation: Result) -> None:
    assert evaluation.draw is not None and len(evaluation.worst) == COUNT
    drawn = evaluation.draw(evaluation.worst[0].name)
    assert drawn.shape[0] == 3 and drawn.shape[2] > 3 * 150 and float(drawn.std()) > 0.05
    assert draw_people(renders, range(4), columns=2, side=64).shape == (3, 130, 130)


def test_unknown_bodies_are_refused() -> None:
    with pytest.raises(ValueError, match="bodies: wanted linear, full, fitted"):
        RendersSettings(bodies="other")


@pytest.fixture(scope="module")
def leaderboard() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "leaderboard.py"
    spec = importlib.util.spec_from_file_location("leaderboard", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_is_written_between_its_lines(
    leaderboard: ModuleType, evaluation: Result, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seal = Seal("0" * 64, ())
    monkeypatch.setattr(leaderboard, "OPEN_V1", OpenV1(PEOPLE, seal))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- leaderboard -->\nold\n<!-- end -->\nafter\n")
    with pytest.raises(FileNotFoundError, match="wanted open-v1_<name>.json"):
        leaderboard.main([str(readme), "--results", str(tmp_path)])
    saved = tmp_path / "open-v1_untrained.json"
    saved.write_text(json.dumps(to_json(evaluation)))
    with pytest.raises(ValueError, match="wanted a result of open-v1"):
        leaderboard.main([str(readme), "--results", str(tmp_path)])
    sealed = replace(evaluation, benchmark="open-v1", sealed=True, digest=seal.digest)
    saved.write_text(json.dumps(to_json(sealed)))
    leaderboard.main([str(readme), "--results", str(tmp_path)])
    text = readme.read_text()
    assert text.startswith("before\n<!-- leaderboard -->\n|") and text.endswith("-->\nafter\n")
    assert "old" not in text and "`untrained`" in text and "nearest linear body" in text
    assert f"{evaluation.of('pa_mpjpe').value:.1f}" in text
    assert "do not ship" not in text
    with pytest.raises(ValueError, match="wanted one line"):
        replace_table("nothing", "leaderboard", "table")


def test_networks_that_do_not_ship_come_with_the_command_that_trains_them(
    leaderboard: ModuleType, evaluation: Result, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = override(preset("dsr-lite"), {"train.steps": 40, "semantics.mc": 0.0})
    card = {"config": to_tables(config), "samples": 5120, "seconds": 100.0, "device": "a CPU"}
    path = tmp_path / "mine" / "weights.safetensors"
    path.parent.mkdir()
    save_regressor(untrained().network, path, card)
    seal = Seal("0" * 64, ())
    monkeypatch.setattr(leaderboard, "OPEN_V1", OpenV1(PEOPLE, seal))
    sealed = replace(
        evaluation, benchmark="open-v1", sealed=True, digest=seal.digest, regressor=summary(card)
    )
    monkeypatch.setattr(leaderboard, "evaluate_weights", lambda weights: sealed)
    written = leaderboard.measure(f"dsr-lite={path}", tmp_path)
    assert written.name == "open-v1_dsr-lite.json"
    told = leaderboard.board(tmp_path)
    assert "| `dsr-lite` |" in told and "do not ship" in told
    assert (
        "- `dsr-lite`: `plausibody train --preset dsr-lite --set train.steps=40 --set "
        "semantics.mc=0.0 --out runs/dsr-lite` (5,120 people, 2 minutes on a CPU)"
    ) in told
    started = override(config, {"train.init_weights": str(path)})
    second = tmp_path / "second.safetensors"
    save_regressor(untrained().network, second, {**card, "config": to_tables(started)})
    of_both = leaderboard.training(second, "runs/b")
    assert of_both["samples"] == 10240 and of_both["seconds"] == 200
    assert of_both["command"].startswith("plausibody train --preset dsr-lite --set train.steps=40 ")
    assert of_both["command"].endswith(
        "--out runs/b-start && plausibody train --preset dsr-lite --set train.steps=40 --set "
        "train.init_weights=runs/b-start/weights.safetensors --set semantics.mc=0.0 --out runs/b"
    )
    leaderboard.measure("lite", tmp_path)
    assert "`lite`: " not in leaderboard.board(tmp_path)
    for odd in (str(path), "lite=lite"):
        with pytest.raises(ValueError, match="wanted the name of weights that ship, or NAME=FILE"):
            leaderboard.measure(odd, tmp_path)


def test_the_benchmark_is_sealed() -> None:
    assert OPEN_V1.seal is not None and len(OPEN_V1.seal.witnesses) == 7
    assert OPEN_V1.people.described()["count"] == 512
