"""The rows of the sampling benchmark, and that what it compares draws alike; not how fast."""

from __future__ import annotations

import torch

from plausibody.bench_sampling import LIKELIHOOD, LOOP, bench_sample, draw_one_by_one
from plausibody.models.fisher import MatrixFisher


def test_rows_tell_what_was_measured() -> None:
    threads = torch.get_num_threads()
    rows = {row.part: row for row in bench_sample(images=2, joints=3, samples=4, seconds=0.0)}
    assert torch.get_num_threads() == threads
    assert rows["drawn at once"].samples == rows[LOOP].samples == 24
    assert rows[LIKELIHOOD].samples == 6 and rows[LIKELIHOOD].times_the_loop is None
    assert rows[LOOP].times_the_loop == 1 and all(row.threads == 1 for row in rows.values())
    for row in rows.values():
        assert 0 < row.milliseconds <= row.median_milliseconds


def test_the_loop_draws_from_the_same_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.tensor([[[[5.0, 1.0, 0.0], [0.0, 2.0, 0.5], [0.3, 0.0, -1.0]]]])
    drawn = draw_one_by_one(parameter, 20_000, generator)[0, 0]
    error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - MatrixFisher(parameter[0, 0]).mean()).abs() < 5 * error).all()
