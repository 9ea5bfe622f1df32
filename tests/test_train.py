"""Training: it learns, and stopping in any way costs little and changes nothing."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import tiny_run
from torch import Tensor, nn

from plausibody.config import RunConfig, TrainSettings, override
from plausibody.config_file import from_json, load_config, to_json
from plausibody.models.checkpoint import checkpoints, load_checkpoint
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import load_regressor
from plausibody.presets import preset
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, prefetch
from plausibody.synth.stores import SynthAssets
from plausibody.training.curves import _forget_after
from plausibody.training.fit import Progress, Watchers, fit
from plausibody.training.folder import prepare_folder
from plausibody.training.optimiser import build_optimiser, rate_at
from plausibody.training.record import export
from plausibody.training.run import train_run
from plausibody.training.trainer import AVERAGE_EVERY, Trainer

OWN: dict[str, Any] = {
    "train.batch_size": 16,
    "train.steps": 12,
    "train.rate": 3e-3,
    "train.checkpoint_every": 4,
    "train.validate_every": 12,
}


def tiny(**changes: Any) -> RunConfig:
    return tiny_run("lite", OWN, **changes)


def run(trainer: Trainer, assets: SynthAssets, folder: Path, until: int) -> list[Progress]:
    """Trains up to a step as if the process was stopped there."""
    config, told = trainer.config, list[Progress]()
    batches = BatchGenerator.of(config.stream, config.proxy, assets, config.train.batch_size)
    stream = prefetch(batches, trainer.step, until)
    fit(trainer, stream, folder, Watchers(progress=told.append))
    return told


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    groups = {"model": trainer.model, "objective": trainer.objective, "average": trainer.average}
    return {
        f"{group}.{name}": value.clone()
        for group, module in groups.items()
        if module is not None
        for name, value in module.state_dict().items()
    }


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_sixty_steps_lower_the_loss(assets: SynthAssets, tmp_path: Path) -> None:
    steps = 60
    trainer = Trainer(tiny(train__steps=steps), assets, "cpu")
    told = run(trainer, assets, tmp_path, steps)
    assert [progress.step for progress in told] == list(range(1, steps + 1))
    assert told[-1].parts["loss"] < 0.95 * told[0].parts["loss"], "smoothed"
    assert told[-1].parts["keypoints"] < told[0].parts["keypoints"]
    assert told[-1].seconds_left == 0 and told[-1].samples_per_second > 0


def test_a_resumed_run_is_the_unbroken_run(assets: SynthAssets, tmp_path: Path) -> None:
    unbroken = Trainer(tiny(), assets, "cpu")
    curve = run(unbroken, assets, tmp_path / "unbroken", 12)
    run(Trainer(tiny(), assets, "cpu"), assets, tmp_path / "stopped", 7)
    resumed = Trainer(tiny(), assets, "cpu")
    state, passed = resumed.restore(tmp_path / "stopped")
    assert state["step"] == resumed.step == 4 and not passed
    again = run(resumed, assets, tmp_path / "stopped", 12)
    assert_equal(weights_of(resumed), weights_of(unbroken))
    assert [progress.parts for progress in again] == [progress.parts for progress in curve[4:]]
    names = [path.name for path in checkpoints(tmp_path / "stopped")]
    assert names == ["step_8", "step_12"], "the newest two stay"


def test_straps_resumes_with_its_learned_weights(assets: SynthAssets, tmp_path: Path) -> None:
    changes = {"train.precision": "32-true", "train.rate": 1e-2,
               "proxy.size": 32, "stream.straps.size": 32}  # fmt: skip
    config = override(preset("straps"), changes)
    batches = BatchGenerator.of(config.stream, config.proxy, assets, 4)
    unbroken = Trainer(config, assets, "cpu")
    assert unbroken.average is None and unbroken.best is unbroken.model.module
    start = weights_of(unbroken)
    unbroken.train_step(batches[0])
    unbroken.save(tmp_path, {})
    resumed = Trainer(config, assets, "cpu")
    resumed.restore(tmp_path)
    for trainer in (unbroken, resumed):
        trainer.train_step(batches[1])
    assert_equal(weights_of(resumed), weights_of(unbroken))
    name = "objective.log_variances.vertices"
    assert weights_of(resumed)[name] != start[name]


def test_an_unfinished_or_damaged_checkpoint_is_passed_over(
    assets: SynthAssets, tmp_path: Path
) -> None:
    trainer = Trainer(tiny(), assets, "cpu")
    run(trainer, assets, tmp_path, 8)
    (tmp_path / "step_8").rename(tmp_path / ".step_8.unfinished")
    damaged = tmp_path / "step_7"
    shutil.copytree(tmp_path / "step_4", damaged)
    (damaged / "model.safetensors").write_bytes(b"cut")
    _, passed = trainer.restore(tmp_path)
    assert trainer.step == 4
    assert any("step_8" in message for message in passed)
    assert any("step_7" in message for message in passed)


def test_batches_must_be_those_of_the_next_steps(assets: SynthAssets, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), assets, "cpu")
    config = trainer.config
    batch = BatchGenerator.of(config.stream, config.proxy, assets, 16)[3]
    with pytest.raises(ValueError, match="wanted the batch of step 0, got that of 3"):
        fit(trainer, [(3, batch)], tmp_path, Watchers())


def test_a_broken_sample_stops_the_run_at_once(assets: SynthAssets) -> None:
    trainer = Trainer(tiny(), assets, "cpu")
    batch: Batch = BatchGenerator.of(trainer.config.stream, trainer.config.proxy, assets, 16)[0]
    batch.target.parameters.shape[3] = math.nan
    before = [value.clone() for value in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match="step 0: the loss .* nan; .*preview --step 0"):
        trainer.train_step(batch)
    after = list(trainer.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_average_follows_the_weights(assets: SynthAssets, tmp_path: Path) -> None:
    trainer = Trainer(tiny(train__average=0.9), assets, "cpu")
    assert trainer.average is not None

    def floats(network: nn.Module) -> list[Tensor]:
        values = [*network.parameters(), *network.buffers()]
        return [value.detach() for value in values if value.is_floating_point()]

    expected = [value.clone() for value in floats(trainer.model)]
    torch.testing.assert_close(floats(trainer.average), expected)
    batches = BatchGenerator.of(trainer.config.stream, trainer.config.proxy, assets, 16)
    for step in range(AVERAGE_EVERY + 2):
        trainer.train_step(batches[step])
        if step % AVERAGE_EVERY:
            continue
        decay = min(0.9, step / (step + 20)) ** AVERAGE_EVERY
        for mean, new in zip(expected, floats(trainer.model), strict=True):
            mean.mul_(decay).add_(new, alpha=1 - decay)
    torch.testing.assert_close(floats(trainer.average), expected)
    assert trainer.best is trainer.average


def test_rates_rise_then_fall() -> None:
    settings = TrainSettings(steps=1000, rate=1.0, warm_up=100)
    assert rate_at(0, settings) == pytest.approx(0.01, rel=1e-3)
    assert rate_at(99, settings) == pytest.approx(1, abs=0.03)
    assert rate_at(500, settings) == pytest.approx(0.5)
    assert 0 < rate_at(999, settings) < 1e-5
    constant = TrainSettings(steps=10, rate=1e-4, schedule="constant", warm_up=0)
    assert {rate_at(step, constant) for step in range(10)} == {1e-4}


def test_norms_and_biases_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, free = build_optimiser([network], TrainSettings(weight_decay=0.5)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert decayed["weight_decay"] == 0.5 and free["weight_decay"] == 0
    assert len(free["params"]) == 3


def test_shared_weights_predict_like_the_network(assets: SynthAssets, tmp_path: Path) -> None:
    trainer = Trainer(tiny(), assets, "cpu")
    config, path = trainer.config, tmp_path / "weights.safetensors"
    export(trainer, path, {"config": to_json(config), "figures": {}})
    loaded = load_regressor(path)
    assert loaded.proxy == ProxySettings(size=32) and loaded.gender == "neutral"
    assert from_json(loaded.card["config"]) == config
    proxy = BatchGenerator.of(config.stream, config.proxy, assets, 16)[0].proxy
    with torch.no_grad():
        expected, found = (n.eval().predict(proxy).mode() for n in (trainer.best, loaded.network))
    # Weights are shared in half precision.
    torch.testing.assert_close(found.rotations, expected.rotations, atol=2e-3, rtol=0)
    torch.testing.assert_close(found.shape, expected.shape, atol=5e-3, rtol=0)


# The folder of a run.


def test_a_run_leaves_weights_record_and_curves(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny(train__steps=3, train__checkpoint_every=2)
    weights = train_run(config, out, "cpu", validation=lambda trainer: {"pa_mpjpe": 0.1})
    card = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    assert card["steps"] == 3 and card["samples"] == 48 and card["figures"] == {"pa_mpjpe": 0.1}
    assert from_json(card["config"]) == config
    state = load_checkpoint(out / "checkpoints" / "step_3")[1]
    assert {"config", "commit", "plausibody", "torch", "figures", "seconds"} <= state.keys()
    curves = [json.loads(line) for line in (out / "curves.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in curves] == [1, 2, 3, 3]
    assert any((out / "tensorboard").iterdir())

    # Resuming a finished run changes nothing, and its figures stay.
    said: list[str] = []
    train_run(config, out, "cpu", True, say=said.append)
    assert said == ["resumed at step 3 of 3"]
    assert json.loads(weights.with_suffix(".json").read_text("utf-8")) == card


def test_curves_forget_what_a_stopped_run_did_after_its_checkpoint(tmp_path: Path) -> None:
    curves = tmp_path / "curves.jsonl"
    curves.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste', encoding="utf-8")
    _forget_after(curves, 2)
    assert curves.read_text("utf-8") == '{"step": 1}\n{"step": 2}\n'
    _forget_after(tmp_path / "none.jsonl", 0)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not empty; do: --resume .* --force .* another --out"):
        prepare_folder(tmp_path, tiny(), False, False)
    with pytest.raises(ValueError, match="more than a run of ours, nothing was deleted"):
        prepare_folder(tmp_path, tiny(), False, True)
    (tmp_path / "config.json").write_text(json.dumps(to_json(tiny())), encoding="utf-8")
    with pytest.raises(ValueError, match="more than a run of ours, nothing was deleted"):
        prepare_folder(tmp_path, tiny(), False, True)
    assert (tmp_path / "thesis.tex").exists()


def test_force_deletes_a_run_of_ours(tmp_path: Path) -> None:
    prepare_folder(tmp_path, tiny(), False, False)
    (tmp_path / "curves.jsonl").touch()
    prepare_folder(tmp_path, tiny(train__steps=99), False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_force_deletes_nothing_before_the_new_run_has_been_put_together(tmp_path: Path) -> None:
    prepare_folder(tmp_path, tiny(), False, False)
    (tmp_path / "curves.jsonl").write_text("precious\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        train_run(tiny(train__init_backbone="no/such.safetensors"), tmp_path, force=True)
    with pytest.raises(ValueError, match=r"train\.init_weights: wanted one, got both"):
        tiny(train__init_backbone="lite", train__init_weights="lite")
    assert (tmp_path / "curves.jsonl").read_text("utf-8") == "precious\n"
    assert load_config(tmp_path / "config.json") == tiny()


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--resume: wanted a run in .*found no config.json"):
        prepare_folder(tmp_path, tiny(), True, False)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="config.json: wanted a configuration in JSON"):
        prepare_folder(tmp_path, tiny(), True, False)


def test_a_run_resumes_with_its_own_settings_only(tmp_path: Path) -> None:
    prepare_folder(tmp_path, tiny(), False, False)
    changed = tiny(train__rate=1.0, stream__lite__pose__jitter=0.5, train__keep=9)
    with pytest.raises(ValueError) as caught:
        prepare_folder(tmp_path, changed, True, False)
    message = str(caught.value)
    assert "train.rate: 0.003 -> 1.0" in message
    assert "stream.lite.pose.jitter: 0.08 -> 0.5" in message and "keep" not in message
    prepare_folder(tmp_path, changed, True, True)
    prepare_folder(tmp_path, tiny(train__keep=9, renderer__backend="torch"), True, False)
    assert load_config(tmp_path / "config.json") == tiny(), "until its checkpoint is found to fit"
    with pytest.raises(ValueError, match="is of the method lite, came straps; do: leave out"):
        prepare_folder(tmp_path, override(preset("straps"), {}), True, True)
    with pytest.raises(ValueError, match="train.batch_size: 16 -> 8: .*numbered by step; do:"):
        prepare_folder(tmp_path, tiny(train__batch_size=8), True, True)
    with pytest.raises(ValueError, match="renderer.backend: 'auto' -> 'pytorch3d'"):
        prepare_folder(tmp_path, tiny(renderer__backend="pytorch3d"), True, False)
