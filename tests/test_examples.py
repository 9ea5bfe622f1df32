"""The examples run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path))
    printed = capsys.readouterr().out
    assert printed
    assert "False" not in printed


def test_the_page_of_distributions_shows_code_of_examples_and_pictures_that_are_there() -> None:
    page = (ROOT / "docs" / "distributions.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    written = [path.read_text("utf-8") for path in EXAMPLES]
    assert len(code) >= 3
    assert [part for part in code if not any(part in text for text in written)] == []
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert "rotations.png" in links
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []
