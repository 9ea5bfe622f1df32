"""The torture of resumed runs: what earlier calls found stays, and says which call found it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from studied import open_script

KEPT = Path(__file__).parents[1] / "benchmarks" / "results" / "torture_resume.json"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, whose scenarios are over before they begin."""
    found = open_script("torture_resume", monkeypatch)

    def scenario(name: str) -> Any:
        return lambda method, config, *_: found.Row(
            name, method, config.train.steps, 1, 0, 0, 0, 0, 0, 0, True, ""
        )

    monkeypatch.setattr(found.multiprocessing, "set_forkserver_preload", lambda names: None)
    monkeypatch.setattr(found, "unbroken", lambda config, out: 1.0)
    for name in ("torture", "no_space", "no_number"):
        monkeypatch.setattr(found, name, scenario(name))
    return found


def test_rows_say_which_call_found_them(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, runs = tmp_path / "out.json", str(tmp_path / "runs")
    for method in ("straps", "hierprob"):
        monkeypatch.setattr(script, "commit", lambda method=method: f"commit of {method}")
        words = ["torture_resume.py", str(out), "--runs", runs, "--method", method]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            script.main()
        assert caught.value.code == 0
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert len(rows) == 6
    for row in rows:
        assert row["command"].endswith(f"--method {row['method']}")
        assert row["commit"] == f"commit of {row['method']}"


def test_rows_of_unknown_calls_are_read(script: ModuleType, tmp_path: Path) -> None:
    rows = json.loads(KEPT.read_text("utf-8"))["rows"]
    old = [{k: v for k, v in row.items() if k not in ("command", "commit")} for row in rows]
    (tmp_path / "old.json").write_text(json.dumps({"rows": old}), "utf-8")
    found = script.kept(tmp_path / "old.json", ["straps"])
    assert {(row.method, row.command, row.commit) for row in found} == {
        ("hierprob", "unknown", "unknown")
    }
