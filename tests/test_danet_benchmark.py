"""DaNet's benchmark: variants differ as they say, hidden parts are missing, all is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from studied import chosen, open_script, stand_in, trained

from plausibody.config import override
from plausibody.evaluate import baselines
from plausibody.evaluate.answers import draw_people
from plausibody.evaluate.joint_errors import JOINT_METRICS, JOINTS
from plausibody.evaluate.occlusion import METRICS, SHARES, OccludedSettings
from plausibody.models.proxy import ProxySettings
from plausibody.presets import preset
from plausibody.synth import generator
from plausibody.synth.stores import SynthAssets

TINY: dict[str, Any] = {
    **{"train.batch_size": 2, "train.threads": 1, "proxy.size": 32, "stream.hierprob.size": 32},
    **{"stream.dense.size": 16, "danet.width": 8, "danet.features": 8, "danet.crop": 4},
    "danet.estimator_steps": 1,
}


def test_variants_differ_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    script = open_script("danet", monkeypatch)
    for name, settings in script.BODIES.items():
        pairs = dict(pair.split("=", 1) for pair in settings.split())
        found = override(preset(script.PRESET), pairs).danet
        rate = float(name.removeprefix("PartDrop ")) if name.startswith("PartDrop") else 0.15
        assert found.partdrop == rate
        assert (found.local, found.graph) == (name != "global only", name != "no graph")
    assert override(preset(script.PRESET), {"danet.partdrop": 0.15}) == preset(script.PRESET)
    named = {name for pair in (script.DROPPED | script.ADDED).values() for name in pair}
    assert named == set(script.BODIES)


def test_what_is_hidden_is_missing_in_iuv_pictures(
    assets: SynthAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "BLOCK", 24)
    proxy, people = ProxySettings(size=32, channel="iuv"), OccludedSettings(count=24)
    lite = people.lite
    calm = dataclasses.replace(lite.corruption, clothed=0.0, lost_parts=0.0, ragged=0.0)
    nothing = dataclasses.replace(
        lite.occlusion,
        people=dataclasses.replace(lite.occlusion.people, present=0.0),
        objects=dataclasses.replace(lite.occlusion.objects, present=0.0),
    )
    (hidden,), (open_,) = (
        list(draw_people(dataclasses.replace(people, lite=settings).stream(), proxy, assets, 24))
        for settings in (
            dataclasses.replace(lite, corruption=calm),
            dataclasses.replace(lite, corruption=calm, occlusion=nothing),
        )
    )
    assert hidden.proxy.iuv is not None and open_.proxy.iuv is not None
    areas = [
        (batch.proxy.iuv[:, 0] > 0).sum((1, 2)) * batch.proxy.box.side**2
        for batch in (hidden, open_)
        if batch.proxy.iuv is not None
    ]
    maps = hidden.target.maps
    assert maps is not None and maps.occluded is not None
    gap = (1 - areas[0] / areas[1] - maps.occluded).abs()
    assert maps.occluded.max() > 0.3 and gap.median() < 0.05


def test_the_script_tells_what_it_finds(
    assets: SynthAssets,
    clothed: SynthAssets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(generator, "BLOCK", 16)  # of a few people a whole block would be drawn
    monkeypatch.setattr(baselines, "SPREAD", 100)
    script, commands = open_script("danet", monkeypatch), stand_in(monkeypatch, TINY, clothed)
    monkeypatch.setattr(script, "load_assets", lambda split, coloured=False: clothed)
    monkeypatch.setattr(script, "training_bank", lambda device: assets.bank)
    out, page = tmp_path / "found.json", tmp_path / "danet.md"
    words = [str(out), "--runs", str(tmp_path / "runs"), "--steps", "7", "--picture-steps", "9",
             "--people", "16", "--iuv-people", "4", "--seeds", "0"]  # fmt: skip
    script.main([*words, "--variants", "PartDrop 0.15", "pictures", "PartDrop 0"])
    assert trained(commands) == ["PartDrop_0.15-0", "PartDrop_0-0", "pictures-0"]
    assert [words[words.index("--steps") + 1] for words in commands] == ["7", "7", "9"]
    assert [chosen(words, TINY).proxy.channel for words in commands] == ["iuv", "iuv", "rgb"]
    first = json.loads(out.read_text("utf-8"))
    assert first["joints"] == {} and set(first["effects"]) == {"PartDrop 0.15"}

    script.main([*words, "--variants", "global only", "no graph", "--page", str(page)])
    assert trained(commands)[3:] == ["global_only-0", "no_graph-0"]
    told = json.loads(out.read_text("utf-8"))
    assert [row["variant"] for row in told["rows"]] == [
        "PartDrop 0", "PartDrop 0.15", "global only", "no graph", "pictures",
    ]  # fmt: skip
    assert told["command"] == (
        "python benchmarks/danet.py found.json --runs runs --steps 7 --picture-steps 9 --people 16 "
        "--seeds 0 --variants 'PartDrop 0' 'PartDrop 0.15' 'global only' 'no graph' pictures"
    )
    bodies, pictures = told["rows"][0]["errors"], told["rows"][-1]["errors"]
    assert set(bodies) == {*METRICS, *JOINT_METRICS} == set(told["mean_body"])
    assert {len(bodies[name]) for name in METRICS} == {len(SHARES)}
    assert set(pictures) == set(script.IUV_TITLES) and len(pictures["uv_error"]) == 3
    assert 0 <= pictures["part_accuracy"][2] < 60, "it has learnt nothing"
    assert set(told["effects"]) == {"PartDrop 0.15", *script.ADDED}
    assert set(told["joints"]) == set(script.ADDED)
    wrist = told["joints"]["graph"]["rotation/wrist"]
    ours, before = (
        row["errors"]["rotation/wrist"][0]
        for row in told["rows"]
        if row["variant"] in ("PartDrop 0.15", "no graph")
    )
    assert wrist["first"] == pytest.approx(before) and wrist["second"] == pytest.approx(ours)
    assert wrist["low"] <= wrist["second"] - wrist["first"] <= wrist["high"]
    assert told["told"][-1] in capsys.readouterr().out
    written = page.read_text("utf-8")
    assert "![errors by what is hidden, and by joint](danet.png)" in written
    assert all(f"| {joint} | " in written for joint in JOINTS)
    assert all(title in written for title in script.IUV_TITLES.values())
    assert "synth-train --preset danet-lite --seed 0 --steps 9" in written
    assert (tmp_path / "danet.png").stat().st_size > 10_000


def test_joints_are_compared_person_by_person(monkeypatch: pytest.MonkeyPatch) -> None:
    script = open_script("danet", monkeypatch)
    lines = script.joint_table(
        {"graph": {f"rotation/{joint}": {"first": 20.0, "second": 19.0, "low": -1.5, "high": -0.5,
                                         "certain": joint != "knee"} for joint in JOINTS}},
        "rotation",
    )  # fmt: skip
    assert lines[:3] == ["| joint | graph |", "|---|---|",
                         "| pelvis | -1.00 [-1.50, -0.50] of 20.0 |"]  # fmt: skip
    assert lines[5] == "| knee | -1.00 [-1.50, -0.50] of 20.0 (?) |"
    assert len(lines) == 2 + len(JOINTS) - 1, "how fingers are bent nobody knows"
    assert script.joints_with("position") == list(JOINTS[1:])
