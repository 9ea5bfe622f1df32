"""What a run learns from is known by content, said on its card, and the same after a resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from tiny_runs import tiny_run

from plausibody.assets.catalog import SHIPPED, replaced_assets
from plausibody.config import RunConfig
from plausibody.config_file import load_config
from plausibody.synth.poses import PoseBank
from plausibody.synth.stores import SynthAssets
from plausibody.training.folder import prepare_folder
from plausibody.training.origins import describe_data, digests, licence, start_facts
from plausibody.training.record import RunRecord, make_card
from plausibody.training.run import train_run

POSES = "poses/cmu.h5"


def tiny(**changes: Any) -> RunConfig:
    small = {"train.steps": 2, "train.checkpoint_every": 2, "train.threads": 1}
    return tiny_run("lite", small, **changes)


class Opening:
    """Stands for the files of a run: they are open already, and may change."""

    def __init__(self, assets: SynthAssets):
        self.assets = assets

    def __call__(self, config: RunConfig, split: str, *more: Any, **options: Any) -> SynthAssets:
        return self.assets

    def exchange(self) -> None:
        """Puts other poses under the old name."""
        bank = PoseBank(self.assets.bank.rotvecs.flip(0))
        self.assets = dataclasses.replace(self.assets, bank=bank)


@pytest.fixture
def files(assets: SynthAssets, monkeypatch: pytest.MonkeyPatch) -> Opening:
    opening = Opening(assets)
    monkeypatch.setattr("plausibody.training.run.open_assets", opening)
    monkeypatch.setattr("plausibody.training.run.Showing", MagicMock())
    return opening


def card_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "weights.json").read_text("utf-8")))


def test_files_that_replace_shipped_ones_are_named_and_their_terms_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = RunRecord(tiny(), "cpu").told()
    assert replaced_assets(("poses/",)) == [] and licence(shipped).startswith("Apache-2.0")
    own = tmp_path / "train_files" / POSES
    own.parent.mkdir(parents=True)
    shutil.copy(SHIPPED / POSES, own)
    assert replaced_assets(("poses/",)) == [POSES] and replaced_assets(("body/",)) == []
    nowhere = [tmp_path / "nothing"]
    assert replaced_assets(("poses/",), nowhere) == [], "what is nowhere replaces nothing"
    assert describe_data(tiny())["own_files"] == POSES
    told = RunRecord(tiny(), "cpu").told()
    assert licence(told).endswith(f"trained on: {POSES}")


def test_weights_bring_their_terms_along(tmp_path: Path) -> None:
    start = tmp_path / "resnet18.pth"
    torch.save({}, start)
    config = tiny(train__init_backbone=str(start))
    facts = start_facts(config)
    assert len(facts["started_from"]) == 16 and facts["start_licence"] == "terms unknown"
    told = RunRecord(config, "cpu", facts).told()
    assert licence(told).endswith(f"trained on: {start} (terms unknown)")
    ours = tiny(train__init_weights="hierprob-lite")
    assert licence(RunRecord(ours, "cpu", start_facts(ours)).told()).startswith("Apache-2.0")
    assert start_facts(tiny()) == {}


def test_other_poses_under_the_old_name_are_noticed(tmp_path: Path, files: Opening) -> None:
    out, said = tmp_path / "run", list[str]()
    train_run(tiny(), out, "cpu")
    first = card_of(out)["origins"]["poses"]
    files.exchange()
    longer = tiny(train__steps=4)
    with pytest.raises(ValueError, match=f"--resume: poses: {first} -> .*do: put the old ones"):
        train_run(longer, out, "cpu", resume=True)
    assert load_config(out / "config.json") == tiny(), "nothing was changed"
    train_run(longer, out, "cpu", resume=True, force=True, say=said.append)
    second = digests(longer, files.assets)["poses"]
    assert f"from here on poses: {first} -> {second}" in said
    card = card_of(out)
    assert card["origins"] == {"poses": second}
    settings = ["train.steps: 2 -> 4", f"poses: {first} -> {second}"]
    assert card["changes"] == [{"step": 2, "settings": settings}]


def test_a_run_goes_on_when_the_weights_it_started_from_are_gone(
    tmp_path: Path, files: Opening
) -> None:
    start, out = tmp_path / "start", tmp_path / "run"
    train_run(tiny(), start, "cpu")
    config = tiny(train__init_weights=str(start / "weights.safetensors"))
    train_run(config, out, "cpu")
    begun = card_of(out)["origins"]
    assert begun["start_licence"].startswith("Apache-2.0")
    shutil.rmtree(start)
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=4))
    train_run(longer, out, "cpu", resume=True)
    card = card_of(out)
    assert card["steps"] == 4 and card["origins"] == begun, "which weights it was stays known"


def test_weights_in_the_folder_that_would_be_deleted_are_no_start(
    tmp_path: Path, files: Opening
) -> None:
    train_run(tiny(), tmp_path / "run", "cpu")
    weights = tmp_path / "run" / "weights.safetensors"
    config = tiny(train__init_weights=str(weights))
    with pytest.raises(ValueError, match="--force: .* which would be deleted .*do: another --out"):
        prepare_folder(tmp_path / "run", config, False, True)
    assert weights.is_file()


def test_settings_that_come_too_late_change_nothing(tmp_path: Path, files: Opening) -> None:
    out, said = tmp_path / "run", list[str]()
    train_run(tiny(), out, "cpu")
    late = tiny(train__rate=0.5, train__stored="int8")
    train_run(late, out, "cpu", resume=True, force=True, say=said.append)
    rate = tiny().train.rate
    assert f"no step is left, so this changes nothing: train.rate: {rate} -> 0.5" in said
    card = card_of(out)
    assert card["config"]["train"]["rate"] == rate and card["changes"] == []
    assert card["stored"] == card["config"]["train"]["stored"] == "int8"
    assert load_config(out / "config.json") == tiny(train__stored="int8")


def test_other_conditions_are_said_and_kept(tmp_path: Path, files: Opening) -> None:
    out, said = tmp_path / "run", list[str]()
    train_run(tiny(), out, "cpu")
    threads = torch.get_num_threads()
    try:
        train_run(tiny(train__steps=4, train__threads=2), out, "cpu", resume=True, say=said.append)
    finally:
        torch.set_num_threads(threads)
    assert any(line.startswith("from here on threads: 1 -> 2: last bits differ") for line in said)
    assert [leg["threads"] for leg in card_of(out)["legs"]] == [1, 2]


def test_a_card_of_before_is_read() -> None:
    told = RunRecord(tiny(), "cpu").told()
    del told["origins"]
    assert make_card(told, {}, [])["licence"].startswith("Apache-2.0")
    assert RunRecord(tiny(), "cpu", {"poses": "1"}).unlike(told) == []
