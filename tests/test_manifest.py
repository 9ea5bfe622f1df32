"""The lists of what ships are those that the table of origins gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from plausibody.assets.builders.manifest import ASSETS, collect, licences_text, manifest_text

DO = "do: python -m plausibody.assets.builders.manifest"


def test_both_lists_are_up_to_date() -> None:
    entries = collect(ASSETS)
    assert (ASSETS / "manifest.json").read_text("utf-8") == manifest_text(entries), DO
    assert (ASSETS / "LICENSES.md").read_text("utf-8") == licences_text(entries), DO


def test_a_file_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "body").mkdir()
    (tmp_path / "body" / "stray.png").write_bytes(b"who made this?")
    with pytest.raises(ValueError, match=r"wanted an origin for body/stray\.png"):
        collect(tmp_path)


def test_the_assets_stay_small() -> None:
    """50 MB with the weights, of which one file may hold 15 MB."""
    sizes = [entry.bytes for entry in collect(ASSETS)]
    assert sum(sizes) < 50e6 and max(sizes) < 15e6
