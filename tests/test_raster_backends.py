"""Which backend draws, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from plausibody.models import loops_numba
from plausibody.synth import raster, raster_numba, raster_torch
from plausibody.synth.raster import rasterize

SIZE = (8, 8)


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    vertices = torch.tensor([[[0.0, 0.0, 2.0], [8.0, 0.0, 2.0], [0.0, 8.0, 2.0]]])
    return vertices, torch.tensor([[0, 1, 2]])


def on_meta(scene: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Without faces nothing has to be read before the backend is chosen."""
    return scene[0].to("meta"), scene[1][:0].to("meta")


@pytest.mark.parametrize("library", ["numba", "triton"])
def test_a_library_is_imported_only_when_it_draws(library):
    program = (
        "import sys, torch, plausibody.synth.raster as raster\n"
        f"assert {library!r} not in sys.modules\n"
        "faces = torch.tensor([[0, 1, 2]])\n"
        "raster.rasterize(torch.zeros(1, 3, 3), faces, (4, 4), backend='torch')\n"
        f"assert {library!r} not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("device", "installed", "expected"),
    [
        ("cpu", {"numba", "triton"}, "numba"),
        ("cpu", {"triton"}, "torch"),
        ("cuda", {"numba", "triton"}, "triton"),
        ("cuda", {"numba"}, "torch"),
        ("mps", {"numba", "triton"}, "torch"),
    ],
)
def test_auto_takes_the_fastest_that_is_installed(monkeypatch, device, installed, expected):
    monkeypatch.setattr(raster, "_has", installed.__contains__)
    assert raster.fastest_backend(device) == expected


def test_what_is_missing_is_said_once(monkeypatch, caplog):
    raster._has.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert [raster._has("triton") for _ in range(3)] == [False] * 3
    raster._has.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "triton is not installed: rasterising with torch, many times slower"
    ]


def test_auto_on_the_cpu_is_numba():
    assert raster._engine("auto", torch.device("cpu")) is raster_numba
    assert raster._engine("auto", torch.device("mps")) is raster_torch


def test_numba_draws_on_the_cpu_only(scene):
    with pytest.raises(ValueError, match="on the CPU, got one on meta"):
        rasterize(*on_meta(scene), SIZE, backend="numba")


def test_triton_that_is_missing_is_named_with_its_extra(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "plausibody.synth.raster_triton", raising=False)
    monkeypatch.delattr("plausibody.synth.raster_triton", raising=False)
    with pytest.raises(ValueError, match=r"triton is not installed.*\[test-triton\]"):
        rasterize(*scene, SIZE, backend="triton")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize(
    ("interpret", "device", "message"),
    [("0", "cpu", "on CUDA, got one on cpu"), ("1", "meta", "TRITON_INTERPRET.*got one on meta")],
)
def test_triton_refuses_other_devices(interpret, device, message):
    """In a process of its own: Triton reads the environment when it is imported."""
    program = (
        "import re, torch\n"
        "from plausibody.synth.raster import rasterize\n"
        f"vertices = torch.zeros(1, 3, 3, device={device!r})\n"
        f"faces = torch.zeros(0, 3, dtype=torch.long, device={device!r})\n"
        "try:\n"
        "    rasterize(vertices, faces, (4, 4), backend='triton')\n"
        "except ValueError as error:\n"
        f"    assert re.search({message!r}, str(error)), error\n"
        "else:\n"
        "    raise AssertionError('was drawn')\n"
    )
    environment = os.environ | {"TRITON_INTERPRET": interpret}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_bounds_are_read_again_only_after_a_change(scene, monkeypatch):
    """As for faces on CUDA, where each reading waits for the device."""
    faces, reads = scene[1], []
    read = raster._read_bounds

    def counted(faces: Tensor) -> tuple[int, int]:
        reads.append(len(faces))
        return read(faces)

    monkeypatch.setattr(raster, "_read_bounds", counted)
    assert [raster._remembered_bounds(faces) for _ in range(3)] == [(0, 2)] * 3
    assert len(reads) == 1
    faces[0, 1] = 7
    assert raster._remembered_bounds(faces) == (0, 7)
    assert raster._remembered_bounds(faces.clone()) == (0, 7)
    with torch.inference_mode():
        kept = faces.clone()
        assert raster._remembered_bounds(kept) == (0, 7)
        kept[0, 1] = 9
        assert raster._remembered_bounds(kept) == (0, 9)


def test_without_a_place_for_its_cache_numba_still_compiles(monkeypatch):
    real = loops_numba.njit

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return real(*arguments, **options)

    monkeypatch.setattr(loops_numba, "njit", njit)
    assert loops_numba.compile_loop(lambda x: x + 1)(2) == 3
