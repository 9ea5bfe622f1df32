"""Settings: overridden by path, refused with help, whole through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from plausibody.config import RunConfig, TrainSettings, known_keys, override, parse_settings
from plausibody.config_file import from_json, load_config, to_json
from plausibody.presets import PRESETS, preset
from plausibody.training.optimiser import rate_at


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = preset(name)
    again = from_json(json.loads(json.dumps(to_json(config))))
    assert again == config
    assert known_keys(again) == known_keys(config)


def test_changed_settings_survive_json() -> None:
    changes = {
        "train.steps": 5,
        "stream.lite.corruption.box": [0.5, 0.25],
        "stream.lite.corruption.swaps": {"knee": 1.0},
        "stream.straps.part_removed": [0.0] * 6,
        "gender": "male",
    }
    config = override(preset("lite"), changes)
    assert config.stream.lite.corruption.box == (0.5, 0.25)
    assert config.stream.lite.corruption.swaps == {"knee": 1.0}
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_names_that_others_rely_on_exist() -> None:
    keys = known_keys(RunConfig())
    promised = {"train.batch_size", "train.steps", "train.checkpoint_every", "renderer.backend"}
    assert promised <= set(keys)


@pytest.mark.parametrize("name", PRESETS)
def test_every_key_can_be_set_to_its_own_value_as_text(name: str) -> None:
    config = preset(name)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in known_keys(config).items()
    }
    assert override(config, texts) == config


@pytest.mark.parametrize("key", ["train.step", "steps", "train", "stream.lite", "train.steps.x"])
def test_an_unknown_key_lists_the_known_ones(key: str) -> None:
    with pytest.raises(ValueError) as caught:
        override(preset("lite"), {key: "1"})
    message = str(caught.value)
    assert f"unknown configuration key {key!r}" in message
    assert all(f"\n  {known}" in message for known in known_keys(preset("lite")))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("train.steps", "many", "int"),
        ("train.steps", "1.5", "int"),
        ("train.rate", "fast", "float"),
        ("train.rate", [1.0], "float"),
        ("stream.lite.corruption.box", "[0.1]", "tuple"),
        ("stream.lite.corruption.swaps", "3", "dict"),
        ("train.schedule", 3, "str"),
    ],
)
def test_a_wrong_type_says_what_was_wanted(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ValueError) as caught:
        override(preset("lite"), {key: value})
    message = str(caught.value)
    assert message.startswith(f"{key}: wanted") and wanted in message and repr(value) in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "pare"),
        ("train.schedule", "linear"),
        ("train.batch_size", 0),
        ("train.steps", -1),
        ("train.checkpoint_every", 0),
        ("train.log_every", 0),
        ("train.keep", 0),
        ("train.calibrated", 38),
        ("train.calibrated", -1),
    ],
)
def test_values_that_make_no_sense_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{key}: wanted .* got {value!r}"):
        override(preset("lite"), {key: value})


def spoilt(value: Any, by: float) -> Any:
    """Puts a number in the place of another; gives nothing where there is none."""
    if isinstance(value, float):
        return by
    if isinstance(value, dict):
        return dict.fromkeys(value, by)
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return [*value[:-1], by]
    return None


def test_no_setting_anywhere_takes_what_is_no_number() -> None:
    config = preset("hierprob-lite")
    known = {key: spoilt(value, math.nan) for key, value in known_keys(config).items()}
    values = {key: value for key, value in known.items() if value}
    assert len(values) > 200 and {"train.rate", "stream.lite.corruption.box"} <= values.keys()
    for key, value in values.items():
        with pytest.raises(ValueError, match="nan"):
            override(config, {key: value})


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e999", "Infinity"])
def test_infinite_settings_are_refused_too(text: str) -> None:
    for key in ("train.rate", "train.clip", "loss.root"):
        with pytest.raises(ValueError, match=f"{key}: wanted finite numbers only, got (nan|-?inf)"):
            override(preset("lite"), {key: text})
    with pytest.raises(ValueError, match="train.rate: wanted finite numbers only"):
        RunConfig(train=TrainSettings(rate=float(text)))


def test_several_overrides_meet_in_one_section() -> None:
    config = override(preset("lite"), {"train.steps": "7", "train.rate": "1e-4", "proxy.size": 64})
    assert (config.train.steps, config.train.rate, config.proxy.size) == (7, 1e-4, 64)
    expected = dataclasses.replace(preset("lite").train, steps=7, rate=1e-4)
    assert config.train == expected
    assert preset("lite").train.steps != 7, "presets stay as they are"


def test_settings_are_pairs() -> None:
    assert parse_settings(["a.b=1", " c = x=y "]) == {"a.b": "1", "c": "x=y"}
    with pytest.raises(ValueError, match="wanted key=value, got 'train.steps'"):
        parse_settings(["train.steps"])


def test_unknown_presets_are_refused() -> None:
    names = "lite, lite-demo, straps, hierprob, .*lasor, lasor-lite, dsr, dsr-lite, .*paper"
    with pytest.raises(ValueError, match=f"one of {names}, got 'big'"):
        preset("big")


def test_paper_is_the_published_run_in_larger_batches() -> None:
    published, ours = preset("hierprob"), preset("paper")
    samples = [config.train.steps * config.train.batch_size for config in (published, ours)]
    assert samples[0] == pytest.approx(27.3e6, rel=2e-3)
    assert samples[1] == pytest.approx(samples[0], rel=1e-5)
    firsts = [config.train.second_stage / config.train.steps for config in (published, ours)]
    assert firsts == pytest.approx([66 / 300, 66 / 300], rel=1e-4)
    before, after = known_keys(published), known_keys(ours)
    assert {key for key in after if after[key] != before[key]} == {
        "train.batch_size", "train.steps", "train.second_stage", "train.rate", "train.warm_up",
        "regressor.conditioning",
    }  # fmt: skip


def test_twenty_minutes_end_with_a_fall_of_the_rate_after_the_second_stage_began() -> None:
    config = preset("gpu-20min")
    settings = config.train
    assert settings.second_stage == pytest.approx(2 / 3 * settings.steps)
    flat = round((1 - settings.cool_down) * settings.steps)
    rates = [rate_at(step, settings) for step in (settings.warm_up, flat, settings.steps - 1)]
    assert rates[0] == rates[1] == settings.rate and rates[2] < 1e-3 * settings.rate
    assert config.stream.lite.frame / config.proxy.size == pytest.approx(
        preset("lite").stream.lite.frame / preset("lite").proxy.size, rel=0.02
    ), "as sharp as the small network's"


def test_a_file_changes_the_preset_of_its_method(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"method": "straps", "train": {"steps": 3}}', encoding="utf-8")
    expected = override(preset("straps"), {"train.steps": 3})
    assert load_config(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "wanted a configuration in JSON, came something that is no JSON .*; do: correct it"),
        ("[1]", "wanted a configuration in JSON, an object, came JSON of another .*; do: correct"),
        ('{"train": {"stepz": 1}}', "unknown configuration key 'train.stepz'"),
        ('{"train": 5}', "unknown configuration key 'train'"),
        ('{"train": {"rate": NaN}}', "train.rate: wanted finite numbers only, got nan"),
        ('{"method": "pare"}', "preset: wanted .* got 'pare'"),
        ('{"method": ["lite"]}', "preset: wanted .* got"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"run.json: {message}"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.json: wanted .*found no file; do:"):
        load_config(tmp_path / "none.json")
