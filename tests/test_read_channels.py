"""Networks that read colours or IUV pictures in the standard evaluations: measured, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from dressed_looks import plain_looks
from known_answers import Losing
from PIL import Image
from tiny_runs import tiny_run

from plausibody.cli import main
from plausibody.config import RunConfig
from plausibody.config_file import to_json
from plausibody.evaluate.comparing import compare_results
from plausibody.evaluate.datasets.asking import FromLabels, lacks, open_showing
from plausibody.evaluate.datasets.people import About, LabelledPeople
from plausibody.evaluate.open import OpenBenchmark, OpenSettings
from plausibody.evaluate.open_v1_run import evaluate_open_v1
from plausibody.evaluate.renders import evaluate_renders
from plausibody.evaluate.run import evaluate_open
from plausibody.models.crop import Box
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import TrainedRegressor, save_regressor
from plausibody.predict.front_ends.front_end import ImageResult, Picture
from plausibody.predict.front_ends.opening import FrontEndSettings
from plausibody.predict.predictor import Predictor
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.training.trainer import build_model
from plausibody.training.validation import HeldOut
from plausibody.validate import validate

COUNT = 5
FEW = OpenSettings(name="few", split="test", count=COUNT, seed=77)
DRESSED: dict[str, Any] = {
    "stream.hierprob.size": 32,
    "stream.hierprob.supersample": 1,
    "stream.maps.size": 16,
}
IUV: dict[str, Any] = {"danet.width": 8, "danet.features": 8, "stream.dense.size": 32}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams make no more people at once than these tests look at."""
    monkeypatch.setattr("plausibody.synth.generator.BLOCK", COUNT)


@pytest.fixture(scope="module")
def held_out(assets: SynthAssets) -> SynthAssets:
    return replace(load_assets("val"), looks=plain_looks(assets))


def untrained(config: RunConfig, assets: SynthAssets) -> TrainedRegressor:
    network = build_model(config, assets).eval()
    card = {"config": to_json(config), "steps": 0, "sha256": "0" * 64}
    return TrainedRegressor(network=network, proxy=config.proxy, gender="neutral", card=card)


@pytest.fixture(scope="module")
def of_colours(assets: SynthAssets) -> tuple[RunConfig, TrainedRegressor]:
    config = tiny_run("dsr-lite", DRESSED)
    return config, untrained(config, assets)


@pytest.fixture(scope="module")
def of_iuv(assets: SynthAssets) -> tuple[RunConfig, TrainedRegressor]:
    config = tiny_run("danet-lite-iuv", IUV)
    return config, untrained(config, assets)


# People of a network's own stream.


@pytest.mark.parametrize("which", ["of_colours", "of_iuv"])
def test_validation_gives_the_figures_of_the_training_whatever_is_read(
    which: str, request: pytest.FixtureRequest, assets: SynthAssets, held_out: SynthAssets
) -> None:
    config, regressor = request.getfixturevalue(which)
    found = validate(regressor, config, held_out, assets, COUNT)
    wanted = HeldOut(config, assets, held_out, COUNT).figures(regressor.network, "cpu")
    figure = found.of("pa_mpjpe")
    assert figure.value == pytest.approx(wanted["pa_mpjpe"], rel=1e-5)
    assert figure.ratio == pytest.approx(wanted["pa_mpjpe_over_mean_body"], rel=1e-5)
    assert found.of("root_angle").value == pytest.approx(wanted["root_angle"], rel=1e-5)
    assert found.people == COUNT and found.sealed and len(found.worst) == COUNT
    losing = Losing(**vars(regressor), lost=0)
    assert validate(losing, config, held_out, assets, COUNT).digest == found.digest


def test_validation_asks_for_a_card_of_a_training(
    of_iuv: tuple[RunConfig, TrainedRegressor], tmp_path: Path
) -> None:
    config, regressor = of_iuv
    card = {"config": {key: to_json(config)[key] for key in ("method", "regressor", "proxy")}}
    card["config"]["danet"] = to_json(config)["danet"]
    save_regressor(regressor.network, tmp_path / "bare.safetensors", card)
    command = ["evaluate", "validation", "--weights", str(tmp_path / "bare.safetensors")]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 1 and "whose card has the configuration of their training" in (
        told.output.replace("\n", " ")
    )
    save_regressor(regressor.network, tmp_path / "whole.safetensors", regressor.card)
    out = tmp_path / "found"
    command = ["evaluate", "validation", "--weights", str(tmp_path / "whole.safetensors")]
    told = CliRunner().invoke(main, [*command, "--people", "4", "--out", str(out)])
    assert told.exit_code == 0 and "pa_mpjpe" in told.output and "mean body" in told.output
    same = compare_results(out / "results.json", out / "results.json")
    assert same.rows[0].difference == 0 and same.rows[0].people == 4
    told = CliRunner().invoke(main, [*command, "--samples", "3"])
    assert told.exit_code == 2 and "wanted open or a data set" in told.output


# The people of open-v0.


def test_open_v0_shows_the_same_people_as_iuv_pictures(
    of_iuv: tuple[RunConfig, TrainedRegressor],
) -> None:
    _, regressor = of_iuv
    plain = OpenBenchmark(FEW, ProxySettings(size=32)).some(0, COUNT).batch
    shown = OpenBenchmark(FEW, regressor.proxy).some(0, COUNT).batch
    assert torch.equal(shown.target.parameters.rotations, plain.target.parameters.rotations)
    assert torch.equal(shown.proxy.silhouette, plain.proxy.silhouette)
    assert plain.proxy.iuv is None and shown.proxy.iuv is not None
    there = shown.proxy.iuv[:, 0] > 0
    assert float((there & (shown.proxy.silhouette == 0)).sum()) < 0.1 * float(there.sum())
    found = evaluate_open(regressor, settings=FEW)
    assert found.of("pa_mpjpe").people == COUNT and found.settings["iuv"]["noise"] == 0.03
    assert "iuv" not in FEW.described()


def test_who_reads_colours_is_told_where_the_same_people_are_painted(
    of_colours: tuple[RunConfig, TrainedRegressor],
) -> None:
    with pytest.raises(ValueError, match=r"got one of rgb.*do: evaluate renders, which paints"):
        evaluate_open(of_colours[1], settings=FEW)


# Where nobody gives IUV pictures.


class Named:
    """Calls itself a front end of ours; nobody may ask it anything."""

    def __init__(self, name: str):
        self.name = name

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        raise AssertionError("it was asked")

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def test_iuv_is_asked_for_before_anybody_is_shown_to_a_front_end(
    of_iuv: tuple[RunConfig, TrainedRegressor],
) -> None:
    _, regressor = of_iuv
    for evaluate in (
        lambda: evaluate_open_v1(regressor, front_end=Named("embedded")),
        lambda: evaluate_renders(regressor, Named("embedded")),
    ):
        with pytest.raises(ValueError, match="got one of iuv.*do: evaluate open-v0 or validation"):
            evaluate()
    with pytest.raises(ValueError, match="--front-end files --files DIR --silhouette-from parts"):
        Predictor(regressor, Named("embedded"))
    assert Predictor(regressor, Named("of a user")).regressor is regressor


# Data sets.


@dataclass(frozen=True)
class Pictured:
    """A data set of one picture, of whose person nothing but the box is labelled."""

    path: Path
    about: About = About(name="pictured", source="", layout="", protocol=(), headline=("pa_mpjpe",))

    def __len__(self) -> int:
        return 1

    def batch(self, numbers: Sequence[int]) -> LabelledPeople:
        return LabelledPeople(
            names=("a",),
            pictures=(self.path,),
            genders=("neutral",),
            box=Box(centre=torch.tensor([[30.0, 20.0]]), side=torch.tensor([20.0])),
        )


@pytest.fixture
def pictured(tmp_path: Path) -> Pictured:
    path = tmp_path / "a.png"
    picture = Image.new("RGB", (60, 40), (255, 0, 0))
    picture.paste((0, 0, 255), (20, 10, 40, 30))
    picture.save(path)
    return Pictured(path)


def test_who_reads_colours_is_shown_the_published_crop(pictured: Pictured) -> None:
    settings = ProxySettings(size=8, channel="rgb")
    assert lacks(pictured, settings, keypoints=False) == ""
    assert lacks(pictured, settings) == "key points"
    showing = open_showing(pictured, settings, keypoints=False)
    assert isinstance(showing, FromLabels)
    shown = showing(pictured.batch([0]), settings)
    assert shown.proxy.rgb is not None and shown.proxy.box.side.tolist() == [20.0]
    torch.testing.assert_close(shown.proxy.rgb[0, 2, 1:-1, 1:-1], torch.ones(6, 6))
    assert not shown.missed.any() and not shown.proxy.keypoints.any()


def test_who_reads_iuv_is_told_which_front_end_gives_it(
    pictured: Pictured, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ProxySettings(size=8, channel="iuv")
    with pytest.raises(ValueError, match=r"--front-end embedded: .*--front-end files --files DIR"):
        open_showing(pictured, settings)
    with pytest.raises(ValueError, match="wanted IUV maps for a regressor of iuv, pictured comes"):
        open_showing(pictured, settings, "labels", keypoints=False)
    asked: list[FrontEndSettings] = []

    def opened(name: str, device: str, given: FrontEndSettings) -> Named:
        asked.append(given)
        return Named(name)

    monkeypatch.setattr("plausibody.evaluate.datasets.asking.open_front_end", opened)
    for channel, masks in (("iuv", "parts"), ("silhouette", "mask")):
        open_showing(pictured, ProxySettings(channel=channel), "files", files=pictured.path.parent)
        assert asked[-1].silhouette_from == masks and asked[-1].files == pictured.path.parent


def test_networks_say_whether_they_read_key_points(
    of_colours: tuple[RunConfig, TrainedRegressor], of_iuv: tuple[RunConfig, TrainedRegressor]
) -> None:
    regressor = of_colours[1]

    def reads(**changes: Any) -> bool:
        config = {**regressor.card["config"], "regressor": changes}
        return replace(regressor, card={"config": config}).reads_keypoints

    assert not reads() and not reads(keypoints=False) and reads(keypoints=True)
    assert not of_iuv[1].reads_keypoints
    assert replace(regressor, proxy=ProxySettings(), card={}).reads_keypoints
