"""From a training of distributions to calibrated weights, and what refuses to be calibrated."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from plausibody.calibrate import calibrate_weights, measure_calibration
from plausibody.cli import main
from plausibody.config import override
from plausibody.config_file import from_json
from plausibody.models.calibration import calibration_path, load_calibration
from plausibody.models.checkpoint import CheckpointError, load_weights
from plausibody.models.networks import build_regressor
from plausibody.models.proxy import ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.weights import load_backbone, load_regressor
from plausibody.presets import hierprob, hierprob_lite

TINY = {
    **{"regressor.features": 32, "regressor.width": 8, "regressor.blocks": 1},
    **{"train.batch_size": 4, "train.threads": 1, "train.calibrated": 64},
    **{"train.second_stage": 1, "train.validate_every": 100, "train.checkpoint_every": 1},
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def train(out: Path) -> Result:
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    return run(
        *("train", "--preset", "hierprob-lite", "--quiet", "--steps", "3"),
        *("--out", str(out), *settings),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has seen twelve people, in both stages."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plausibody.evaluate.run.quick_figures", lambda trainer: {})
        result = train(out)
    assert result.exit_code == 0, result.output
    return out / "weights.safetensors"


def test_a_training_ends_with_calibrated_intervals(trained: Path) -> None:
    _, card = load_weights(trained)
    calibration = load_calibration(calibration_path(trained), card["sha256"])
    assert calibration.people == 64
    assert set(calibration.factors) == {"plain", "height", "gender", "height+gender"}
    assert card["parents"][:4] == [-1, 0, 0, 0]


def test_both_stages_are_in_the_curves(trained: Path) -> None:
    lines = (trained.parent / "curves.jsonl").read_text().splitlines()
    last = next(json.loads(line) for line in lines if "train/loss" in line)
    for name in ("pose_nll", "pose_overregularised", "shape_nll", "sampled_keypoints"):
        assert f"train/{name}" in last


def test_an_encoder_is_taken_over_and_the_head_is_not(trained: Path, tmp_path: Path) -> None:
    regressor = load_regressor(trained)
    config = from_json(regressor.card["config"])
    start = torch.eye(3).expand(24, 3, 3)
    torch.manual_seed(1)
    same = dataclasses.replace(config.regressor, gendered=False)
    other = build_regressor("lite", same, config.proxy, start)
    load_backbone(other, trained)
    mine, theirs = other.state_dict(), regressor.network.state_dict()
    for name, value in mine.items():
        if name.startswith("image_encoder."):
            assert torch.equal(value, theirs[name])
    wider = build_regressor("lite", RegressorSettings(features=64, width=8, blocks=1),
                            ProxySettings(), start)  # fmt: skip
    with pytest.raises(CheckpointError, match="an image encoder of .* tensors"):
        load_backbone(wider, trained)


def test_measuring_uses_the_calibration_beside_the_weights(trained: Path, tmp_path: Path) -> None:
    before = calibration_path(trained).read_bytes()
    result = measure_calibration(trained, tmp_path, people=64)
    assert calibration_path(trained).read_bytes() == before
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"calibration.{suffix}" for suffix in ("json", "md", "png")}
    assert {row.condition for row in result.coverage} >= {"plain", "height+gender"}


def test_weights_in_a_folder_of_others_are_refused_before_the_work(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("weights.safetensors", "weights.json"):
        (tmp_path / name).write_bytes((trained.parent / name).read_bytes())
    monkeypatch.setattr("os.access", lambda folder, mode: Path(folder) != tmp_path)
    for calibrate in (calibrate_weights, measure_calibration):
        with pytest.raises(PermissionError, match=r"do: copy weights.safetensors and weights.json"):
            calibrate(tmp_path / "weights.safetensors", people=64)
    assert not calibration_path(tmp_path / "weights.safetensors").exists()


def test_calibrating_again_gives_the_same_file(trained: Path) -> None:
    before = calibration_path(trained).read_bytes()
    assert calibrate_weights(trained, people=64) == calibration_path(trained)
    assert calibration_path(trained).read_bytes() == before


def test_single_bodies_have_no_intervals_to_calibrate() -> None:
    with pytest.raises(ValueError, match="wanted weights that predict distributions"):
        calibrate_weights("lite")
    result = run("evaluate", "calibration", "--weights", "lite")
    assert result.exit_code == 1
    assert "hierprob-lite" in result.output


def test_presets_are_of_the_published_and_of_the_small_network() -> None:
    published, small = hierprob(), hierprob_lite()
    assert published.proxy.channel == "edges" and published.stream.recipe == "hierprob"
    assert published.train.batch_size == 72 and published.train.rate == 1e-4
    share = published.train.second_stage / published.train.steps
    assert share == pytest.approx(66 / 300, abs=1e-3)
    assert not published.regressor.whole_covariance and small.regressor.whole_covariance
    assert small.stream.lite.shape.gendered == 1.0 and small.regressor.gendered
    with pytest.raises(ValueError, match="objective: hierprob learns distributions"):
        override(small, {"method": "lite", "objective": "hierprob", "regressor.gendered": False})


def test_what_single_bodies_cannot_do_is_refused(tmp_path: Path) -> None:
    for option in (("--samples", "5"), ("--height-cm", "170"), ("--same-person",)):
        result = run("predict", "assets/photos", "--weights", "lite", "--out",
                     str(tmp_path / "out"), *option)  # fmt: skip
        assert result.exit_code == 2, result.output
        assert option[0] in result.output
    result = run("predict", "assets/photos", "--out", str(tmp_path / "out"), "--height-cm", "17")
    assert result.exit_code == 2
    assert "centimetres" in result.output
