"""Benchmarks of several trainings: what they train, keep, go on with, compare and tell."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from studied import open_script, stand_in, trained

from plausibody.config import RunConfig, override
from plausibody.config_file import to_json
from plausibody.evaluate import baselines
from plausibody.evaluate.ablation import by_kind
from plausibody.evaluate.bootstrap import Difference
from plausibody.evaluate.values import Attribute, Values
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import TrainedRegressor, load_regressor
from plausibody.presets import preset
from plausibody.synth import generator
from plausibody.synth.stores import SynthAssets

LITE: dict[str, Any] = {
    **{"train.steps": 1, "train.threads": 1, "train.batch_size": 2, "stream.lite.frame": 40},
    **{"proxy.size": 32, "regressor.features": 16, "regressor.width": 8, "regressor.blocks": 1},
}
DSR: dict[str, Any] = {
    **{"train.batch_size": 12, "train.warm_up": 0, "train.precision": "32-true"},
    **{"proxy.size": 32, "stream.hierprob.size": 32, "stream.maps.size": 32},
    **{"regressor.features": 32, "regressor.width": 8, "regressor.blocks": 1},
}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


KINDS = ("near", "far")


class Ruler:
    """Says how wrong networks are without looking: by as much as their seed and width tell."""

    def __init__(self) -> None:
        self.asked: list[TrainedRegressor] = []

    def __call__(self, estimator: TrainedRegressor, proxy: ProxySettings) -> Values:
        assert proxy.size == 32
        self.asked.append(estimator)
        config = estimator.card["config"]
        level = config["train"]["seed"] + 10.0 * config["regressor"]["width"]
        errors = level + torch.tensor([0.0, 0.2, 5.0, 5.2])
        kind = Attribute(KINDS, torch.tensor([0, 0, 1, 1]))
        return Values(tuple("abcd"), {"error": errors}, attributes={"kind": kind})


@pytest.fixture
def ruler() -> Ruler:
    return Ruler()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return open_script("training_rows", monkeypatch)


def study(rows: ModuleType, ruler: Ruler, **changes: Any) -> Any:
    made = rows.Study(
        preset="lite",
        variants={"narrow": "regressor.width=8", "wide, very": "regressor.width=16"},
        kept="found",
        people=4,
        settings={"count": 4},
        measure=ruler,
        summarise=lambda values: {"error": by_kind(values, "error", "kind")},
        leading="error",
    )
    return dataclasses.replace(made, **changes)


def test_studies_train_seed_by_seed_and_print_each_row(
    rows: ModuleType,
    ruler: Ruler,
    assets: SynthAssets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = stand_in(monkeypatch, LITE, assets)
    lines, variants = [], ("wide, very", "narrow")
    for each in rows.run_study(study(rows, ruler), tmp_path, 7, (0, 1), variants):
        found = each
        lines.append(capsys.readouterr().out)
    assert trained(commands) == ["wide_very-0", "narrow-0", "wide_very-1", "narrow-1"]
    assert lines[:2] == ["wide, very 0 [160.1, 165.1]\n", "narrow 0 [80.1, 85.1]\n"]
    assert [(row.variant, row.seed) for row in found.rows] == [
        ("narrow", 0), ("wide, very", 0), ("narrow", 1), ("wide, very", 1),
    ]  # fmt: skip
    assert found.rows[0].command == (
        "synth-train --preset lite --seed 0 --steps 7 --set regressor.width=8 --out runs/narrow-0"
    )
    assert found.means()["narrow"].errors["error"].tolist() == pytest.approx(
        [80.5, 80.7, 85.5, 85.7]
    )
    effect = found.compare({"width": ("narrow", "wide, very"), "?": ("narrow", "other")},
                           ("error",), "kind")  # fmt: skip
    assert list(effect) == ["width"]
    assert effect["width"]["far"]["error"].difference == pytest.approx(80)


def test_studies_take_what_a_folder_holds_and_grow(
    rows: ModuleType,
    ruler: Ruler,
    assets: SynthAssets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = stand_in(monkeypatch, LITE, assets)
    (first,) = rows.run_study(study(rows, ruler), tmp_path, 7, (1,), ("wide, very",))
    assert first.compare({"width": ("narrow", "wide, very")}, ("error",), "kind") == {}
    # Of another variant and seed alone: the first is in the result, measured once.
    *_, last = rows.run_study(study(rows, ruler), tmp_path, 7, (0,), ("narrow",))
    assert trained(commands) == ["wide_very-1", "narrow-0"] and len(ruler.asked) == 2
    assert [row.variant for row in last.rows] == ["narrow", "wide, very"] and last.seeds == [0, 1]
    assert last.rows[1] == first.rows[0]
    assert last.pair("narrow", "wide, very") is None, "of the same seed there are not both"
    assert last.pair("narrow", "narrow") is not None

    # Of other networks and other people all is measured anew.
    mark = tmp_path / "narrow-0" / "found.json"
    sha, settings = read(mark)
    assert settings == {"count": 4}
    for content, asked in ((["other", settings], 3), ([sha, {"count": 5}], 4)):
        mark.write_text(json.dumps(content))
        *_, again = rows.run_study(study(rows, ruler), tmp_path, 7, (0,), ("narrow",))
        assert len(ruler.asked) == asked and again.rows == last.rows
    other = study(rows, ruler, variants={"narrow": "regressor.width=4"})
    with pytest.raises(ValueError, match=r"narrow-0: wanted .* regressor.width = 4, found 8; do"):
        next(rows.run_study(other, tmp_path, 7, (0,), ("narrow",)))
    before = rows.PRESETS["lite"]
    monkeypatch.setitem(rows.PRESETS, "lite", lambda: override(before(), {"train.rate": 0.5}))
    with pytest.raises(ValueError, match=r"wide_very-1: wanted .* train.rate = 0.5, found"):
        next(rows.run_study(study(rows, ruler), tmp_path, 7, (0,), ("narrow",)))


def test_steps_of_a_folder_are_those_of_its_first_call(rows: ModuleType, tmp_path: Path) -> None:
    assert rows.decide_steps(tmp_path, "lite", 7, 1.0) == 7
    assert rows.decide_steps(tmp_path, "lite", None, 1.0) == 7
    assert rows.decide_steps(tmp_path, "lite", 9, 1.0, "other") == 9
    with pytest.raises(SystemExit, match="wanted the 7 that"):
        rows.decide_steps(tmp_path, "lite", 8, 1.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few people a whole block would be drawn; a mean body of a few poses will do."""
    monkeypatch.setattr(generator, "BLOCK", 12)
    monkeypatch.setattr(baselines, "SPREAD", 100)


def test_lasors_script_tells_what_it_finds(
    quick: None,
    assets: SynthAssets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, commands = open_script("lasor", monkeypatch), stand_in(monkeypatch, LITE, assets)
    monkeypatch.setattr(script, "load_assets", lambda split: assets)
    monkeypatch.setattr(script, "training_bank", lambda device: assets.bank)
    out, page = tmp_path / "found.json", tmp_path / "docs" / "lasor.md"
    script.main([str(out), "--runs", str(tmp_path / "runs"), "--people", "24", "--steps", "7",
                 "--seeds", "0", "--variants", "neither", "both", "--page", str(page)])  # fmt: skip
    assert trained(commands) == ["neither-0", "both-0"]
    told = read(out)
    assert set(told["effects"]) == {"both"} and len(told["rows"]) == 2 and told["seeds"] == [0]
    assert "stream.maps.size=0" in told["rows"][0]["command"]
    assert set(told["rows"][0]["errors"]) == {"mpjpe", "pa_mpjpe", "pve_t_sc", "overlap"}
    printed = capsys.readouterr().out
    assert printed.startswith("neither 0 [") and told["at_forty"][0] in printed
    written = page.read_text("utf-8")
    assert "![errors by the share that is hidden](lasor.png)" in written
    assert (tmp_path / "docs" / "lasor.png").stat().st_size > 10_000


def test_lasors_variants_differ_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    script = open_script("lasor", monkeypatch)
    for name, settings in script.VARIANTS.items():
        pairs = dict(pair.split("=", 1) for pair in settings.split())
        config = override(preset(script.PRESET), pairs)
        occluded = name in ("occlusion", "both", "both, visible")
        assert config.stream.lite.occlusion.anything == occluded
        assert (max(config.stream.lite.corruption.box) > 0) == occluded
        drawn = name in ("silhouettes", "both", "both, visible")
        assert (config.supervision.weight > 0) == (config.stream.maps.size > 0) == drawn
    assert {name for pair in script.COMPARED.values() for name in pair} == set(script.VARIANTS)


def test_dsrs_script_tells_what_it_finds(
    quick: None,
    assets: SynthAssets,
    clothed: SynthAssets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, commands = open_script("dsr", monkeypatch), stand_in(monkeypatch, DSR, clothed)
    monkeypatch.setattr(script, "load_assets", lambda split, coloured: clothed)
    monkeypatch.setattr(script, "training_bank", lambda device: assets.bank)
    out = tmp_path / "out.json"
    script.main([str(out), "--runs", str(tmp_path / "runs"), "--steps", "3", "--people", "4",
                 "--seeds", "0", "--variants", "key points", "MC",
                 "--page", str(tmp_path / "page.md")])  # fmt: skip
    assert trained(commands) == ["start", "key_points-0", "MC-0"]
    start, first, _ = (
        load_regressor(Path(words[-1]) / "weights.safetensors") for words in commands
    )
    for name, value in start.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name])
    record = read(out)
    assert [row["variant"] for row in record["rows"]] == ["key points", "MC"]
    assert record["start"][0].startswith("synth-train --preset dsr-lite-start --seed 100")
    assert "--init-weights runs/start/weights.safetensors" in record["rows"][0]["command"]
    assert set(record["rows"][0]["errors"]) == {
        "pa_mpjpe", "pve_t_sc", "volume_bias", "volume_added",
    }  # fmt: skip
    assert list(record["effects"]) == ["MC"] and len(record["mean_body"]["pve_t_sc"]) == 5
    assert all("at 2 x" in sentence for sentence in record["in_the_loosest"])
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "synth-train --preset dsr-lite" in page and "| MC | 0 |" in page
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_where_a_training_started_counts_and_not_where_its_folder_lies(rows: ModuleType) -> None:
    def begun(start: str) -> RunConfig:
        return override(preset("lite"), {"train.init_weights": start})

    card = {"config": to_json(begun("/somewhere/start/weights.safetensors"))}
    rows.check_training(Path("run"), card, begun("start/weights.safetensors"))
    for other in ("", "other/weights.safetensors"):
        with pytest.raises(ValueError, match=r"run: wanted a training with train\.init_weights = "):
            rows.check_training(Path("run"), card, begun(other))


def test_effects_are_told_with_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    telling = open_script("telling", monkeypatch)
    sure = Difference(people=9, drawn=9, first=50.0, second=47.5, low=-3.0, high=-2.0)
    unsure, alone = (
        dataclasses.replace(sure, low=-5.0, high=0.5),
        dataclasses.replace(sure, low=None, high=None),
    )
    assert telling.told("this", sure, "mm") == (
        "this: -2.5 mm (95 % -3.0 to -2.0; from 50.0 to 47.5 mm, 9 people), the interval leaves "
        "out 0"
    )
    assert telling.told("this", unsure, "%", 2).endswith(", which may be chance")
    rows = {"a": {"m": sure}, "b": {"m": alone}, "c": {}}
    found = torch.tensor(telling.spans(rows, "m", ("a", "b", "c", "d")))
    assert found[0].tolist() == [-2.5, -3.0, -2.0] and bool(found[1:].isnan().all())
    told = telling.effects_json({"x": rows})["x"]
    assert told["a"]["m"]["certain"] and not told["b"]["m"]["certain"] and told["c"] == {}
    lines = telling.table(
        [{"variant": "v", "seed": 1, "errors": {"m": [1.04, math.nan]}},
         {"variant": "w", "seed": 1, "errors": {}}],
        "m", ("a", "b"), [2.0, 3.0],
    )  # fmt: skip
    assert lines == ["| variant | seed | a | b |", "|---|---|---|---|", "| v | 1 | 1.0 | nan |",
                     "| mean body | | 2.0 | 3.0 |"]  # fmt: skip
