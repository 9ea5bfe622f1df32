"""The page on protocols names figures, options and files that exist, and shows what was measured;
the script behind it changes what it says, and nothing else."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import torch

from plausibody.cli import main
from plausibody.evaluate.datasets.asking import read_mask
from plausibody.evaluate.datasets.bodies import LabelBodies
from plausibody.evaluate.datasets.coco import STATISTICS
from plausibody.evaluate.datasets.people import LabelledPeople
from plausibody.evaluate.datasets.pw3d import open_3dpw
from plausibody.evaluate.datasets.pw3d_labels import CROP, SCALE
from plausibody.evaluate.datasets.registry import READERS
from plausibody.evaluate.markdown import replace_table
from plausibody.evaluate.protocols import METRICS, protocol_of, untagged
from plausibody.evaluate.staged.exact import DOUBT, FromExact, exact_3dpw, exact_people
from plausibody.evaluate.staged.scenes import SceneSettings, stage_people, tight_boxes
from plausibody.models.proxy import Box, ProxySettings
from plausibody.models.templates import load_template

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "protocols.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
OTHERS_FILES = {
    *("h36m_valid_protocol1.npz", "h36m_valid_protocol2.npz", "mpi_inf_3dhp_valid.npz"),
    "lsp_dataset_test.npz",
    *("coco_2014_val.npz", "person_keypoints_val2014.json", "imageFiles/"),
    *("results.json", "results.md", "results.html"),
}
"""Of data sets, of which readers are told elsewhere, and of every evaluation."""
WORDS = {"PVE-T-SC", "MPJPE", "SC", "lite", "hierprob-lite", "predict", "plausibody predict",
         "open-v0", "open-v1"}  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "protocols", raising=False)
    module = importlib.import_module("protocols")
    monkeypatch.delitem(sys.modules, "protocols")
    return module


def test_every_name_on_the_page_exists() -> None:
    text = BLOCK.sub("", PAGE)
    evaluate = main.commands["evaluate"]
    options = {option for one in evaluate.params for option in one.opts}
    figures = set()
    for span in SPAN.findall(text):
        if untagged(span) in METRICS:
            protocol_of(span)
            figures.add(span)
        elif span.startswith("["):
            protocol_of(f"pve{span}")
        elif span.startswith("--"):
            assert span in options, span
        elif span == "evaluate/staged/":
            assert (ROOT / span).is_dir()
        else:
            assert span in OTHERS_FILES | WORDS, span
    assert len(figures) >= 30
    for span in figures:
        if span.startswith("oks/"):
            assert re.sub("/(danet|scored)_", "/", span) in STATISTICS


def test_the_page_tells_of_every_data_set_and_what_it_prints_first() -> None:
    for name, reader in READERS.items():
        assert f"evaluate {name} --data" in PAGE
        for metric in reader.describe().headline:
            assert f"`{metric}`" in PAGE, (name, metric)


def test_every_command_is_understood(script: ModuleType) -> None:
    lines = [line for block in BLOCK.findall(PAGE) for line in block.splitlines()]
    assert len(lines) >= 10
    for line in lines:
        program, *words = shlex.split(line)
        if program == "python":
            assert words.pop(0) == "benchmarks/protocols.py"
            told = script.make_parser().parse_args(words)
            assert (ROOT / told.document).is_file() and (ROOT / told.out).is_file()
            continue
        assert program == "plausibody", line
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        told = command.make_context(command.name, words).params
        assert told["out"], line
        assert command.name != "evaluate" or told["dataset"] in (*READERS, "open", "open-v0")


def test_the_pages_tables_are_what_was_measured(script: ModuleType) -> None:
    rows = json.loads((ROOT / "benchmarks/results/protocols.json").read_text())["rows"]
    tables = script.tables(rows)
    assert sorted(tables) == sorted(f"{k}:{n}" for k in ("counted", "shown") for n in script.SETS)
    page = PAGE
    for place, table in tables.items():
        assert table.count("\n") >= 3
        page = replace_table(page, place, table)
    assert page == PAGE


def test_compared_figures_have_one_unit_and_differ(script: ModuleType) -> None:
    choices = (*script.SSP3D, *script.PW3D, *script.H36M, *script.MPI_INF, *script.COCO)
    for choice, usual, instead in choices:
        assert choice and usual != instead
        assert protocol_of(usual).unit == protocol_of(instead).unit, (usual, instead)


def test_tables_show_differences_with_their_intervals(script: ModuleType) -> None:
    row = dict(dataset="x", kind="counted", choice="nothing", metric="mpjpe", usual=50.0,
               instead="mpjpe_smplorigin", changed=52.25, low=-1.0, high=5.5)  # fmt: skip
    shown = row | dict(kind="shown", metric="oks/ap", instead="oks/ap", usual=0.5, changed=0.25)
    tables = script.tables([row, shown | {"low": None, "high": None}])
    assert "| 50.0 mm | 52.2 mm | +2.2 mm (-1.0 to +5.5) |" in tables["counted:x"]
    assert tables["shown:x"].splitlines()[2:] == ["| as usual | 0.500 |", "| nothing | -0.250 |"]
    page = "before\n<!-- shown:x -->\nold\n<!-- end -->\nafter\n"
    assert "old" not in replace_table(page, "shown:x", tables["shown:x"])
    with pytest.raises(ValueError, match="counted:x"):
        replace_table(page, "counted:x", "")


def settings() -> ProxySettings:
    return ProxySettings(size=48, least_confidence=0.2)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledPeople, Any]:
    """Two people side by side in a picture, and what is exactly seen of them."""
    bodies = LabelBodies.load("open", ("neutral",))
    drawn = SceneSettings(size=96, focal=900.0)
    staged = stage_people(torch.arange(2), bodies, drawn, ("neutral", "neutral"))
    corners = torch.tensor([[0.0, 0.0], [96.0, 0.0]])
    folder = tmp_path_factory.mktemp("exact")
    exact = exact_people(("one", "two"), staged, folder, corners, (192, 192))
    low, high = tight_boxes(staged.masks)
    box = Box((low + high) / 2 + corners, 1.2 * (high - low).amax(1))
    people = LabelledPeople(("one", "two"), (None, None), staged.genders, box)
    assert read_mask(exact.masks["two"]).shape == (96, 192)
    assert torch.equal(read_mask(exact.masks["two"])[:, 96:], staged.masks[1])
    marks = exact.keypoints["two"]
    assert torch.equal(marks[:, :2], staged.keypoints[1] + corners[1])
    assert torch.equal(marks[:, 2] == 1, staged.visible[1]) and marks[:, 2].min() >= DOUBT - 1e-6
    return people, exact


def test_exact_people_are_shown_in_their_boxes(scene: tuple[LabelledPeople, Any]) -> None:
    people, exact = scene
    shown = FromExact(exact)(people, settings())
    torch.testing.assert_close(shown.proxy.box.side, people.box.side)
    share = shown.proxy.silhouette.mean((1, 2))
    assert not shown.missed.any() and bool((share > 0.05).all())
    assert bool((shown.proxy.keypoints[..., :2].abs() < 1).all())


def test_ways_change_what_they_say_and_nothing_else(
    script: ModuleType, scene: tuple[LabelledPeople, Any]
) -> None:
    people, exact = scene
    usual = script.Way(exact)(people, settings()).proxy
    torch.testing.assert_close(
        usual.keypoints, FromExact(exact)(people, settings()).proxy.keypoints
    )

    wide = script.Way(exact, factor=1.25)(people, settings()).proxy
    torch.testing.assert_close(wide.box.side, 1.25 * usual.box.side)
    torch.testing.assert_close(1.25 * wide.keypoints[..., :2], usual.keypoints[..., :2])

    certain = script.Way(exact, certain=True)(people, settings()).proxy
    assert bool((certain.keypoints[..., 2] == 1).all())
    assert bool((usual.keypoints[..., 2] < 1).any()), "nobody hides anything: the test says nothing"

    whole = script.Way(exact, whole=True)(people, settings()).proxy
    pixels = (whole.keypoints[..., :2] + 1) * script.PIXELS / 2
    torch.testing.assert_close(pixels, pixels.round(), atol=2e-3, rtol=0)
    gap = usual.keypoints[..., :2] - whole.keypoints[..., :2]
    assert -1e-4 < float(gap.min()) and float(gap.max()) < 2 / script.PIXELS + 1e-4

    rounded = script.Way(exact, rounded=True)(people, settings()).proxy.box
    ends = torch.stack([rounded.centre - rounded.side[:, None] / 2,
                        rounded.centre + rounded.side[:, None] / 2])  # fmt: skip
    torch.testing.assert_close(ends, ends.round(), atol=1e-4, rtol=0)
    assert float((rounded.centre - usual.box.centre).abs().max()) <= 1

    left_out = script.Way(exact, thresholds=True)(people, settings()).proxy
    doubted = torch.stack([exact.keypoints[name][:, 2] < 0.2 for name in people.names])
    assert torch.equal(left_out.keypoints[..., 2] == 0, doubted)


def test_exact_people_of_3dpw_fill_their_crops(
    staged_3dpw: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    folder, sequences = staged_3dpw
    templates = {gender: load_template("open", gender) for gender in ("female", "male")}
    exact = exact_3dpw(sequences, (256, 192), templates, tmp_path / "exact")
    dataset = open_3dpw(folder / "test")
    people = dataset.batch(range(len(dataset)))
    assert set(people.names) == set(exact.masks)
    whole = 0
    for name, cut in zip(people.names, people.attributes["truncated"], strict=True):
        mask, marks = read_mask(exact.masks[name]), exact.keypoints[name]
        assert mask.shape == (CROP, CROP) and bool(mask.any())
        if cut == "no":
            low, high = tight_boxes(mask[None])
            side = float((high - low).max())
            assert side == pytest.approx(CROP / SCALE, abs=3)
            torch.testing.assert_close((low + high)[0] / 2, torch.full((2,), 256.5), atol=2, rtol=0)
            seen = marks[marks[:, 2] == 1, :2].long()
            assert float(mask[seen[:, 1], seen[:, 0]].float().mean()) > 0.9
            whole += 1
    assert whole >= 1
