"""How fast the rasteriser is here: the rows behind `plausibody bench render`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.synth.raster import rasterize, rasterize_labels
from plausibody.synth.stores import SynthAssets
from plausibody.train import commit

BODY_HEIGHT = 0.7
"""Of the picture, for a body of 1.7 m that stands upright."""


@dataclass(frozen=True)
class Row:
    """One measured way of drawing a batch."""

    output: str
    """What was drawn: ids + depth, with barycentrics, or labels."""
    backend: str
    size: int
    """Height and width of an image [px]."""
    faces: int
    images: int
    """In a batch."""
    threads: int
    milliseconds: float
    """Per batch: the fastest run, which other programs disturbed least."""
    median_milliseconds: float
    cpu_milliseconds: float
    """Per batch, over all cores, of the run that took least."""
    images_per_second: float
    """Of the fastest run."""
    images_per_core_second: float
    """Of the run that took least of the processor: time spent waiting for it does not count."""


@dataclass(frozen=True)
class _Scene:
    pixels: Float[Tensor, "B V 3"]
    faces: Int[Tensor, "F 3"]
    labels: UInt8[Tensor, " F"]


def bench_render(
    assets: SynthAssets,
    images: int = 32,
    sizes: Sequence[int] = (256,),
    repeats: int = 5,
    seconds: float = 2.0,
    backends: Sequence[str] = ("numba", "torch"),
    threads: Sequence[int] = (1,),
) -> Iterator[Row]:
    """Measures drawing posed bodies, row by row: the fine mesh, then the stream's coarse one.

    Args:
        assets: Poses and meshes.
        images: In a batch, each with a pose of its own.
        sizes: Of the fine mesh's images [px]; the coarse one is drawn at 96 px.
        repeats: Runs of each row, at least, after one that compiles and warms up.
        seconds: Spent on each row, at least: short runs need many to meet a quiet moment.
        threads: Torch may use as many, and the numba backend draws as many images at a time.
    """
    before, effort = torch.get_num_threads(), (repeats, seconds)
    try:
        for count in threads:
            torch.set_num_threads(count)
            for size in sizes:
                fine = _fine(assets, images, size)
                for backend in backends:
                    yield _measure("ids + depth", fine, size, backend, *effort)
                    yield _measure("ids + depth + barycentrics", fine, size, backend, *effort)
            coarse = _coarse(assets, images, 96)
            for backend in backends:
                yield _measure("labels", coarse, 96, backend, *effort)
    finally:
        torch.set_num_threads(before)


def _measure(
    output: str, scene: _Scene, size: int, backend: str, repeats: int, seconds: float
) -> Row:
    shape = (size, size)

    def labels() -> None:
        rasterize_labels(scene.pixels, scene.faces, scene.labels, shape, backend=backend)

    def fragments() -> None:
        weights = output.endswith("barycentrics")
        rasterize(scene.pixels, scene.faces, shape, barycentrics=weights, backend=backend)

    times = list(_times(labels if output == "labels" else fragments, repeats, seconds))
    clock = sorted(wall for wall, _ in times)
    processor = min(used for _, used in times)
    return Row(
        output=output,
        backend=backend,
        size=size,
        faces=len(scene.faces),
        images=len(scene.pixels),
        threads=torch.get_num_threads(),
        milliseconds=round(clock[0] * 1e3, 3),
        median_milliseconds=round(clock[len(clock) // 2] * 1e3, 3),
        cpu_milliseconds=round(processor * 1e3, 3),
        images_per_second=round(len(scene.pixels) / clock[0], 1),
        images_per_core_second=round(len(scene.pixels) / processor, 1),
    )


def _times(draw: Callable[[], None], repeats: int, seconds: float) -> Iterator[tuple[float, float]]:
    """Gives each run's seconds by the clock, and of the processor."""
    draw()
    end = time.perf_counter() + seconds
    while repeats > 0 or time.perf_counter() < end:
        repeats -= 1
        start, used = time.perf_counter(), time.process_time()
        draw()
        yield time.perf_counter() - start, time.process_time() - used


def _fine(assets: SynthAssets, images: int, size: int) -> _Scene:
    return _Scene(_pixels(assets, images, size), assets.template.faces, assets.part24)


def _coarse(assets: SynthAssets, images: int, size: int) -> _Scene:
    """The same bodies by the stream's mesh, which is the first part of its skin."""
    coarse = assets.coarse
    body = pose_body(coarse.skin, *_poses(assets, images))
    pixels = _camera(images, size).project(body.vertices[:, : coarse.drawn])
    return _Scene(pixels, coarse.faces, coarse.part24)


def _pixels(assets: SynthAssets, images: int, size: int) -> Float[Tensor, "B V 3"]:
    body = pose_body(assets.template, *_poses(assets, images))
    return _camera(images, size).project(body.vertices)


def _poses(
    assets: SynthAssets, images: int
) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B 24 3 3"]]:
    """Takes poses evenly from the bank, and shapes without extremes."""
    spread = torch.linspace(0, len(assets.bank.rotvecs) - 1, images).long()
    shape = torch.randn(images, 10, generator=torch.Generator().manual_seed(0))
    return shape, rotvec_to_rotmat(assets.bank.rotvecs[spread])


def _camera(images: int, size: int) -> PerspectiveCamera:
    distance = 2.5
    return PerspectiveCamera(
        focal=torch.full((images,), size * distance * BODY_HEIGHT / 1.7),
        principal=torch.full((images, 2), size / 2),
        translation=torch.tensor([0.0, -0.2, distance]).expand(images, 3),
    )


def document(rows: Sequence[Any], command: str) -> dict[str, Any]:
    """Gives rows as JSON, with what it takes to measure them again.

    Args:
        rows: Dataclasses.
        command: What the user ran.
    """
    return {
        "command": command,
        "commit": commit(),
        "device": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "numba": version("numba"),
        "rows": [asdict(row) for row in rows],
    }


def _processor() -> str:
    """Names the processor; Linux tells its model only in a file."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
