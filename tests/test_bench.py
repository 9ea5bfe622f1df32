"""The rows of the benchmark; not how fast anything is."""

from __future__ import annotations

import json

import torch

from plausibody.bench import bench_render, document
from plausibody.synth.stores import load_assets


def test_rows_tell_what_was_measured():
    threads = torch.get_num_threads()
    rows = list(bench_render(load_assets("val"), images=2, sizes=(32,), repeats=1, seconds=0.0))
    assert torch.get_num_threads() == threads
    drawn = {(row.output, row.backend, row.faces) for row in rows}
    assert ("ids + depth", "numba", 13776) in drawn
    assert ("labels", "torch", rows[-1].faces) in drawn
    outputs = {"ids + depth", "ids + depth + barycentrics", "IUV", "RGB", "all outputs", "edges"}
    for backend in ("numba", "torch"):
        assert {output for output, drew, _ in drawn if drew == backend} == outputs | {"labels"}
    assert all(0.02 < row.covered < 0.5 for row in rows)
    assert all(row.memory_megabytes is None or row.memory_megabytes >= 0 for row in rows)
    assert all(row.images_per_second > 0 and row.images == 2 for row in rows)
    record = json.loads(json.dumps(document(rows, "plausibody bench render")))
    assert record["rows"][0]["size"] == 32
    assert record["command"] == "plausibody bench render" and record["commit"]
