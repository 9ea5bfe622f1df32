"""The page of ablations: made of what is kept, with a command that makes the same table."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from studied import open_script

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "results" / "ablations.json"
PAGE = ROOT / "docs" / "ablations.md"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return open_script("ablations", monkeypatch)


@pytest.fixture
def trained(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists the rows that are trained and measured, none of which is."""
    found: list[str] = []

    def measure(name: str, weights: Path) -> Any:
        found.append(name)
        figures = dict.fromkeys(("mpjpe", "pa_mpjpe", "pve_t_sc"), 80.0 + len(found))
        painted = dict.fromkeys(script.PAINTED, 0.5)
        return script.Row(name, "synth-train", script.commit(), str(weights), 9, figures, painted)

    class Weights:
        def __init__(self, path: Path):
            self.card = {"sha256": str(path)}

    monkeypatch.setattr(script, "train", lambda name, runs: runs / name)
    monkeypatch.setattr(script, "measure", measure)
    monkeypatch.setattr(script, "load_regressor", Weights)
    return found


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks/ablations.py", *map(str, words)])
    script.main()


def test_the_page_is_of_the_kept_rows(
    script: ModuleType, trained: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, page = KEPT.read_bytes(), tmp_path / "page.md"
    call(script, monkeypatch, KEPT, "--table", page)
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")
    assert KEPT.read_bytes() == before and not trained


def test_the_page_names_a_command_that_makes_its_rows(
    script: ModuleType, trained: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = next(line for line in PAGE.read_text("utf-8").splitlines() if "--only" in line)
    words = shlex.split(line)[2:]
    out, page = tmp_path / "OUT.json", tmp_path / "page.md"
    words[words.index("OUT.json")], words[words.index("docs/ablations.md")] = str(out), str(page)
    call(script, monkeypatch, *words)
    rows = json.loads(KEPT.read_text("utf-8"))["rows"]
    assert trained == [row["name"] for row in rows]
    assert line in page.read_text("utf-8")


def test_rows_within_the_spread_of_seeds_are_marked(script: ModuleType) -> None:
    def row(name: str, error: float) -> dict[str, Any]:
        figures = {"pa_mpjpe": error, "pve_t_sc": 26.0, "mpjpe": 120.0}
        painted = {"silhouette_iou": 0.7, "area_ratio": 1.0}
        return {"name": name, "command": "synth-train", "samples": 9, "open_v0": figures,
                "renders": painted}  # fmt: skip

    assert 0.4 < script.seed_spread("pa_mpjpe") < 0.42
    page = script.table([row("first", 80.0), row("near", 78.9), row("far", 81.2)])
    assert "| first | 80.0 |" in page
    assert "| near | 78.9 ≈ |" in page
    assert "| far | 81.2 |" in page


def test_rows_keep_the_commit_at_which_they_were_measured(
    script: ModuleType, trained: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, both = tmp_path / "out.json", ["as it was", "cells of 8 px"]
    monkeypatch.setattr(script, "commit", lambda: "before")
    call(script, monkeypatch, out, "--runs", tmp_path, "--only", both[0])
    monkeypatch.setattr(script, "commit", lambda: "now")
    call(script, monkeypatch, out, "--runs", tmp_path, "--only", *both)
    record = json.loads(out.read_text("utf-8"))
    assert trained == both
    assert [row["commit"] for row in record["rows"]] == ["before", "now"]
    assert record["command"].endswith("--only 'as it was' 'cells of 8 px'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "without --runs nothing is trained"),
        (["--only", "as it was", "--table", "page.md"], "without --runs nothing is trained"),
        (["--table", "page.md"], "wanted 'as it was', which others are compared with"),
        (["--runs", "runs", "--only", "wide views", "--table", "page.md"], "wanted 'as it was'"),
    ],
)
def test_pages_without_their_first_row_are_refused(
    script: ModuleType,
    trained: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch, tmp_path / "none.json", *words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err and not trained
