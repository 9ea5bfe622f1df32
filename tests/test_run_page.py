"""Runs on pages: what they show, how little they need, and that they never cost a training."""

from __future__ import annotations

import html.parser
import json
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run

from plausibody.config import RunConfig, override, parse_settings
from plausibody.config_file import to_json
from plausibody.evaluate.svg_charts import Chart, Line, draw_chart
from plausibody.models.body import regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.checkpoint import save_checkpoint
from plausibody.models.files import DiskFullError
from plausibody.models.prediction import BodyPrediction, PointPrediction
from plausibody.models.proxy import Proxy
from plausibody.models.regressor import Regressor
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.front_ends.front_end import ImageResult, Picture
from plausibody.presets import preset
from plausibody.sources import open_assets
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import SynthAssets
from plausibody.training import page as pages
from plausibody.training import validation
from plausibody.training.compare import compare_runs
from plausibody.training.history import read_history
from plausibody.training.page import TRAINING, spread_over, write_run_page
from plausibody.training.pictures import Pictures
from plausibody.training.record import RunRecord, make_card
from plausibody.training.repeating import nearest_preset, repeat_command
from plausibody.training.run import train_run
from plausibody.training.spared import Spared
from plausibody.training.trainer import build_model
from plausibody.training.validation import HELD_OUT_SEED, HeldOut

OWN: dict[str, Any] = {
    "train.steps": 4,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
}


def tiny(**changes: Any) -> RunConfig:
    return tiny_run("lite", OWN, **changes)


def silent(message: str) -> None:
    raise AssertionError(f"nothing was to be said, got {message!r}")


def make_run(out: Path, steps: int = 40, finished: bool = True, **changes: Any) -> Path:
    """Writes the folder of a run that was resumed at half of its steps."""
    config = tiny(train__steps=40, **changes)
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(to_json(config)), "utf-8")
    lines = []
    for step in range(1, steps + 1):
        seconds = {"seconds": 0.5 * step}
        lines.append({"step": step, "train/loss": 100 / step, "train/shape": -step / 10, **seconds})
        if step % 10 == 0:
            figures = {"val/pa_mpjpe": 80 + abs(step - 30), "val/pa_mpjpe_over_mean_body": 0.5}
            lines.append({"step": step, **figures, **seconds})
            picture = encode_picture(torch.full((3, 8, 64), step / 40), ".jpg")
            folder = out / "pictures" / f"step_{step}"
            folder.mkdir(parents=True)
            (folder / "synthetic.jpg").write_bytes(picture)
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "curves.jsonl").write_text(content, "utf-8")
    record = RunRecord(config, "cpu")
    record.start(0)
    record.start(20)
    told = {**record.told(), "seconds": 0.5 * steps}
    save_checkpoint(out / "checkpoints", steps, {"model": {"weight": torch.zeros(1)}}, told)
    if finished:
        card = {**make_card(told, {}, []), "steps": steps}
        (out / "weights.json").write_text(json.dumps(card), "utf-8")
    return out


class Balanced(html.parser.HTMLParser):
    """Checks that every element is closed, and notes what the page would load."""

    VOID = ("meta", "img", "br", "path", "use", "rect")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.loads = list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Leaves nothing open."""

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def assert_stands_alone(text: str) -> None:
    parsed = Balanced(text)
    assert parsed.open == []
    assert all(load.startswith("data:image/jpeg;base64,") for load in parsed.loads)
    assert "http" not in text and "url(" not in re.sub(r"url\(#\w+\)", "", text)


# The page of a run.


def test_a_page_tells_what_a_run_is_how_it_went_and_how_to_repeat_it(tmp_path: Path) -> None:
    out = make_run(tmp_path / "my <run>", train__seed=7)
    text = write_run_page(out, say=silent).read_text("utf-8")
    assert_stands_alone(text)
    assert "<h1>my &lt;run&gt;" in text and ">finished<" in text
    assert "step 40 of 40 · 320 samples · 20 s" in text
    assert "best 80 at step 30" in text and ">90<" in text, "the best, and the last"
    assert text.count("<svg") == 4 and "the mean body's" in text
    assert "resumed" in text and "<h2>Legs</h2>" in text
    assert text.count("data:image/jpeg") == 4
    assert "--set train.seed=7" in text and "Apache-2.0" in text
    assert "prefers-color-scheme: dark" in text, "it follows the screen"


def test_the_page_of_a_killed_run_is_whole_too(tmp_path: Path) -> None:
    out = make_run(tmp_path / "run", steps=25, finished=False)
    with (out / "curves.jsonl").open("a") as file:
        file.write('{"step": 26, "train/lo')
    # Of a leg that was lost: the run went back to step 25.
    (out / "pictures" / "step_20").rename(out / "pictures" / "step_30")
    text = write_run_page(out).read_text("utf-8")
    assert_stands_alone(text)
    assert "not finished, at step 25" in text and text.count("data:image/jpeg") == 1
    training = write_run_page(out, TRAINING).read_text("utf-8")
    assert 'data-until="2' in training and ">training<" in training
    assert ">stopped by SIGTERM<" in write_run_page(out, "stopped by SIGTERM").read_text("utf-8")


def test_a_run_that_has_hardly_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_json(tiny())), "utf-8")
    text = write_run_page(tmp_path).read_text("utf-8")
    assert_stands_alone(text)
    assert "nothing has been logged" in text and "No checkpoint has been finished" in text


def test_stages_skipped_steps_and_changed_settings_are_marked(tmp_path: Path) -> None:
    out = make_run(tmp_path / "run", method="hierprob", train__second_stage=15)
    (out / "skipped.json").write_text("[33]")
    state = out / "checkpoints" / "step_40" / "state.json"
    told = json.loads(state.read_text())
    told["changes"] = [{"step": 20, "settings": ["train.rate: 0.001 -> 0.0003"]}]
    state.write_text(json.dumps(told))
    text = write_run_page(out).read_text("utf-8")
    for words in ("stage 2", "resumed, settings", "skipped", "train.rate: 0.001 -&gt; 0.0003"):
        assert words in text


def test_pictures_are_spread_over_the_run() -> None:
    assert spread_over([1, 2, 3], 8) == [1, 2, 3]
    chosen = spread_over(list(range(100)), 8)
    assert len(chosen) == 8 and chosen[0] == 0 and chosen[-1] == 99
    gaps = [second - first for first, second in zip(chosen, chosen[1:], strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_no_run_no_page(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted the folder of a run, found no config.json there"):
        write_run_page(tmp_path)
    with pytest.raises(ValueError, match="found no such folder; do: check the path"):
        write_run_page(tmp_path / "missing")


def test_the_command_makes_the_same_run_again() -> None:
    config = override(
        preset("hierprob-lite"),
        {
            "train.rate": 3e-4,
            "train.init_backbone": "it's mine.safetensors",
            "sources.texture_size": [300, 200],
            "stream.lite.corruption.swaps": {"eye": 0.5},
            "regressor.gendered": False,
        },
    )
    name, changes = nearest_preset(config)
    assert name == "hierprob-lite" and len(changes) == 5
    words = shlex.split(repeat_command(config, processes=2, out="my run"))
    assert words[:6] == ["torchrun", "--nproc-per-node", "2", "-m", "plausibody", "train"]
    assert words[-2:] == ["--out", "my run"]
    settings = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    again = override(preset(words[words.index("--preset") + 1]), parse_settings(settings))
    assert again == config


# What must not cost a training.


def test_what_fails_is_told_once_and_everything_else_goes_on() -> None:
    said: list[str] = []
    spared = Spared(said.append)
    for _ in range(3):
        assert spared("charts", lambda: 1 // 0) is None
    assert spared("pictures", lambda: "drawn") == "drawn"
    assert len(said) == 1 and "charts cannot be drawn, the training goes on" in said[0]
    assert "ZeroDivisionError" in said[0]
    with pytest.raises(KeyboardInterrupt):
        spared("charts", lambda: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_page_without_charts_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(chart: Chart) -> str:
        raise RuntimeError("no fonts <here>")

    monkeypatch.setattr(pages, "draw_chart", broken)
    said: list[str] = []
    text = write_run_page(make_run(tmp_path / "run"), say=said.append).read_text("utf-8")
    assert len(said) == 1 and "charts cannot be drawn" in said[0]
    assert text.count("could not be drawn: RuntimeError: no fonts &lt;here&gt;") == 4
    assert_stands_alone(text)


def test_a_full_disk_is_not_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise DiskFullError(path)

    out = make_run(tmp_path / "run")
    monkeypatch.setattr(pages, "write_file", full)
    with pytest.raises(DiskFullError):
        write_run_page(out, say=silent)


# Pictures over time.


@pytest.fixture(scope="module")
def held_out() -> SynthAssets:
    return open_assets(tiny(), "val")


@pytest.fixture(scope="module")
def network(assets: SynthAssets) -> Regressor:
    return build_model(tiny(), assets)


def test_the_same_people_are_drawn_at_every_moment(
    network: Regressor, held_out: SynthAssets, tmp_path: Path
) -> None:
    pictures = Pictures(tiny(), held_out, tmp_path, Spared(silent))
    network.train()
    first = pictures.draw(network, 10, "cpu")
    second = pictures.draw(network, 20, "cpu")
    assert network.training, "its mode is left as it was"
    assert first.keys() == second.keys() == {"synthetic", "photos"}
    for name, picture in first.items():
        assert torch.equal(picture, second[name])
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert files == [
        *("pictures/step_10/photos.jpg", "pictures/step_10/synthetic.jpg"),
        *("pictures/step_20/photos.jpg", "pictures/step_20/synthetic.jpg", "pictures/truth.jpg"),
    ]
    assert all(path.stat().st_size < 60_000 for path in tmp_path.rglob("*.jpg"))
    # Photos have colours that neither bodies nor paper have.
    red, _, blue = first["photos"]
    assert ((red - blue).abs() > 0.2).float().mean() > 0.02


def test_a_missing_front_end_costs_the_photos_only(
    network: Regressor, held_out: SynthAssets, tmp_path: Path
) -> None:
    def missing(pictures: Sequence[Picture], max_people: int | None = None) -> list[ImageResult]:
        raise FileNotFoundError("front_end/movenet_multipose.npz: wanted it, found none")

    said: list[str] = []
    pictures = Pictures(tiny(), held_out, tmp_path, Spared(said.append), missing)
    for step in (10, 20):
        assert pictures.draw(network, step, "cpu").keys() == {"synthetic"}
    assert len(said) == 1 and said[0].startswith("pictures of photos cannot be drawn")

    def nobody(pictures: Sequence[Picture], max_people: int | None = None) -> list[ImageResult]:
        return [ImageResult(str(picture), 9, 9, "no_person", "nobody") for picture in pictures]

    said.clear()
    Pictures(tiny(), held_out, tmp_path, Spared(said.append), nobody).draw(network, 30, "cpu")
    assert len(said) == 1 and "the front end found none" in said[0]


# Validation on people who are drawn once.


class Knowing(Regressor):
    """Predicts the truth, of people who come in their order."""

    def __init__(self, config: RunConfig, held_out: SynthAssets, count: int):
        super().__init__("silhouette", 24)
        stream = override(config, {"stream.seed": HELD_OUT_SEED}).stream
        truth = BatchGenerator.of(stream, config.proxy, held_out, count)[0].target
        joints = regress(
            held_out.regressors.coco17, truth.parameters.posed(held_out.template).vertices
        )
        camera = fit_weak_perspective(joints, truth.keypoints, torch.ones(count, 17))
        self.answer = PointPrediction(camera, truth.parameters)

    def predict(self, proxy: Proxy) -> BodyPrediction:
        assert len(proxy.keypoints) == len(self.answer.camera.scale)
        return self.answer


def test_who_knows_the_truth_has_no_errors(assets: SynthAssets, held_out: SynthAssets) -> None:
    config = tiny()
    people = HeldOut(config, assets, held_out, count=6)
    found = people.figures(Knowing(config, held_out, 6), "cpu")
    for name in ("mpjpe", "pa_mpjpe", "pve", "pve_t_sc"):
        assert found[name] < 0.01, "millimetres"
    assert found["root_angle"] < 0.1
    assert 0 < found["keypoint_error"] < 8, "the true cameras have a perspective, the guess none"
    assert found["pa_mpjpe_over_mean_body"] < 1e-3


def test_held_out_people_are_the_same_for_all_seeds(
    network: Regressor, assets: SynthAssets, held_out: SynthAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = HeldOut(tiny(), assets, held_out, count=6)
    first = people.figures(network, "cpu")
    monkeypatch.setattr(validation, "CHUNK", 4)
    other = HeldOut(tiny(stream__seed=9), assets, held_out, count=6).figures(network, "cpu")
    monkeypatch.setattr(HeldOut, "_make", silent)  # they are not drawn again
    assert people.figures(network, "cpu") == first
    assert other == pytest.approx(first, rel=1e-5)
    assert first["pa_mpjpe"] > 20 and all(math.isfinite(value) for value in first.values())


# The record.


def test_a_record_goes_on_over_legs() -> None:
    first = RunRecord(tiny(), "cpu")
    first.start(0)
    told = {**first.told(), "seconds": 100.0, "started": "2020-01-01T00:00:00Z", "step": 5}
    second = RunRecord(tiny(), "cpu")
    second.recall(told)
    assert second.told() == {key: value for key, value in told.items() if key != "step"}
    second.start(5)
    again = second.told()
    assert again["seconds"] >= 100 and again["started"] == "2020-01-01T00:00:00Z"
    assert [leg["step"] for leg in again["legs"]] == [0, 5]
    wanted = {"device", "precision", "threads", "processes", "commit", "seed", "data", "packages"}
    assert wanted <= again.keys()
    assert again["precision"] == "32-true" and again["seed"] == {"network": 0, "stream": 0}


def test_a_card_tells_limits_and_terms() -> None:
    record = RunRecord(tiny(), "cpu")
    card = make_card({**record.told(), "version": 1, "smooth": {}}, {"pa_mpjpe": 1.0}, [3])
    assert card["figures"] == {"pa_mpjpe": 1.0} and card["skipped"] == [3]
    assert "version" not in card and "smooth" not in card
    assert len(card["limits"]) >= 3 and card["licence"].startswith("Apache-2.0")
    own = RunRecord(tiny(sources__poses="amass.h5"), "cpu")
    assert make_card(own.told(), {}, [])["licence"].endswith("poses amass.h5")


def test_a_training_leaves_its_page_and_its_pictures(tmp_path: Path) -> None:
    out, said = tmp_path / "run", list[str]()

    def figures(trainer: Any) -> dict[str, float]:
        return {"pa_mpjpe": 100.0 - trainer.step}

    train_run(tiny(), out, "cpu", say=said.append, validation=figures)
    assert said == []
    history = read_history(out)
    assert history.finished and history.step == 4 and history.best is not None
    assert history.best.step == 4 and history.seconds > 0
    seconds = [at.seconds for at in history.curves["train/loss"]]
    assert seconds == sorted(seconds) and seconds[0] > 0
    text = (out / "run.html").read_text("utf-8")
    assert_stands_alone(text)
    assert ">finished<" in text and text.count("data:image/jpeg") == 2 * 2 + 1
    card = json.loads((out / "weights.json").read_text("utf-8"))
    assert {"data", "limits", "licence", "seconds", "started", "legs"} <= card.keys()


# Runs beside each other.


def test_runs_are_compared_over_samples_and_time(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a" / "lite"),
        make_run(tmp_path / "b" / "lite", steps=20, finished=False, train__rate=0.5),
    ]
    out = tmp_path / "pages" / "compare.html"
    told = compare_runs(runs, out, silent)
    assert told.columns[:3] == ("run", "method", "steps")
    assert [row[0] for row in told.rows] == ["a/lite", "b/lite"], "as much as tells them apart"
    assert [row[2] for row in told.rows] == ["40", "20 of 40"]
    assert told.rows[0][told.columns.index("best")] == "80 at 30"
    assert told.settings == {"train.rate": ("0.001", "0.5")}
    text = out.read_text("utf-8")
    assert_stands_alone(text)
    assert text.count("<svg") == 2 * 4 and "samples seen" in text and "hours of training" in text


def test_runs_that_did_not_write_times_are_named(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("new", "old")]
    curves = runs[1] / "curves.jsonl"
    curves.write_text(re.sub(r', "seconds": [\d.]+', "", curves.read_text("utf-8")), "utf-8")
    compare_runs(runs, tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text("utf-8")
    assert "Not drawn over time, which they did not write: old." in text


def test_what_is_no_run_is_not_compared(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    page = tmp_path / "compare.html"
    with pytest.raises(ValueError, match="--compare: wanted two or more runs, got 1"):
        compare_runs([run], page)
    with pytest.raises(ValueError, match="got one of them twice"):
        compare_runs([run, run / ".." / "run"], page)
    with pytest.raises(ValueError, match="elsewhere: wanted the folder of a run"):
        compare_runs([run, tmp_path / "elsewhere"], page)
    assert not page.exists()


# Charts.


def lines(*values: float) -> list[Line]:
    return [Line("", [(float(n), value) for n, value in enumerate(values)])]


def test_charts_are_logarithmic_where_that_is_sensible() -> None:
    def ticks(chart: Chart) -> list[float]:
        drawn = re.findall(r"<text[^>]*text-anchor: end[^>]*>([^<]+)</text>", draw_chart(chart))
        return [float(tick.replace("−", "-")) for tick in drawn]

    high = ticks(Chart("", "step", lines(1000.0, 10.0, 1.0)))
    assert [later / tick for tick, later in zip(high, high[1:], strict=False)].count(2.0) >= 2
    low = ticks(Chart("", "step", lines(-1000.0, 10.0, 1.0)))
    gaps = {round(later - tick, 6) for tick, later in zip(low, low[1:], strict=False)}
    assert len(gaps) == 1, "evenly"


def test_a_wild_start_does_not_flatten_the_rest() -> None:
    chart = Chart("", "samples seen", lines(9e9, *(-1.0 - n / 100 for n in range(99))))
    drawn = draw_chart(chart)
    ticks = re.findall(r"<text[^>]*text-anchor: end[^>]*>([^<]+)</text>", drawn)
    heights = [float(tick.replace("−", "-")) for tick in ticks]
    assert -3 < min(heights) < max(heights) < 0
    far = draw_chart(Chart("", "samples seen", [Line("", [(0.0, 1.0), (2e6, 2.0)])]))
    assert ">2M<" in far and "1e6" not in far


def test_charts_take_the_colours_of_the_page_and_leave_out_what_is_no_number() -> None:
    chart = Chart("a <b> & c", "step", lines(1.0, math.nan, 2.0, math.inf), [(1.0, "here")])
    drawn = draw_chart(chart)
    assert "currentColor" in drawn and "var(--line)" in drawn and "http" not in drawn
    assert 'aria-label="a b> and c"' in drawn and ">here<" in drawn
    other = draw_chart(Chart("other", "step", lines(1.0, 2.0)))
    names = [set(re.findall(r'clipPath id="(\w+)"', svg)) for svg in (drawn, other)]
    assert names[0] and not names[0] & names[1], "clips of one page have names of their own"
    assert draw_chart(chart) == drawn
    assert "<svg" in draw_chart(Chart("empty", "step", lines()))
