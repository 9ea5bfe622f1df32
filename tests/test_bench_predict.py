"""The rows of the prediction benchmark; not how fast."""

from __future__ import annotations

import torch

from plausibody.assets.catalog import find_asset
from plausibody.bench_predict import FRONT_END, ONE_PERSON, ONE_PHOTO, PEOPLE, RUN, bench_predict


def test_rows_tell_what_was_measured() -> None:
    threads = torch.get_num_threads()
    photos = [find_asset("photos/grace_hopper.jpg")]
    rows = {row.part: row for row in bench_predict(people=2, samples=2, seconds=0.0, photos=photos)}
    assert torch.get_num_threads() == threads
    assert rows[PEOPLE].count == rows[ONE_PERSON].count == rows[FRONT_END].count == 2
    assert rows[PEOPLE].times_one_by_one and rows[FRONT_END].times_one_by_one
    assert rows[ONE_PERSON].times_one_by_one is None and rows[ONE_PHOTO].threads == 1
    assert any(part.startswith(RUN) and "report" in part for part in rows)
    for row in rows.values():
        assert 0 < row.milliseconds <= row.median_milliseconds and row.cpu_milliseconds > 0
        assert row.per_second > 0 and row.per_core_second > 0
