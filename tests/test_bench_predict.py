"""The rows of the prediction benchmark; not how fast."""

from __future__ import annotations

import pytest
import torch

from plausibody import bench_predict as bench
from plausibody.assets.catalog import find_asset
from plausibody.bench_predict import (
    FRONT_END,
    ONE_PERSON,
    ONE_PHOTO,
    PEOPLE,
    REFINED,
    RUN,
    bench_predict,
)


def test_rows_tell_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WORDS", (("params",),))
    threads = torch.get_num_threads()
    photos = [find_asset("photos/grace_hopper.jpg")]
    found = bench_predict(people=2, samples=2, seconds=0.0, photos=photos, threads=1)
    rows = {row.part: row for row in found}
    assert torch.get_num_threads() == threads
    assert rows[PEOPLE].count == rows[ONE_PERSON].count == rows[FRONT_END].count == 2
    assert rows[PEOPLE].times_one_by_one and rows[FRONT_END].times_one_by_one
    assert rows[ONE_PERSON].times_one_by_one is None and rows[ONE_PHOTO].threads == 1
    assert rows[REFINED].count == 2 and rows[REFINED].times_one_by_one is None
    runs = [row for part, row in rows.items() if part.startswith(RUN)]
    assert len(runs) == 2 and all(row.count == 1 for row in runs)
    for row in rows.values():
        assert 0 < row.milliseconds <= row.median_milliseconds and row.cpu_milliseconds > 0
        assert row.per_second > 0 and row.per_core_second > 0
