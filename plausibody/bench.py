"""How fast bodies are drawn here, stage by stage: the rows behind `plausibody bench render`."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
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
from plausibody.models.camera import PerspectiveCamera, world_to_camera
from plausibody.models.edges import canny
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.synth.charts import Chart, load_chart
from plausibody.synth.mipmaps import MipMaps
from plausibody.synth.raster import rasterize, rasterize_labels
from plausibody.synth.render import OUTPUTS, Lights, render
from plausibody.synth.stores import SynthAssets
from plausibody.training.record import commit

BODY_HEIGHT = 0.7
"""Of the picture, for a body of 1.7 m that stands upright."""
TEXTURES = 16
"""Enough that they do not all stay in the processor's caches."""


@dataclass(frozen=True)
class Row:
    """One measured way of drawing a batch."""

    output: str
    """What was drawn: ids + depth, with barycentrics, IUV, RGB, all outputs of `synth.render` (both
    with all that leads there), edges of pictures (alone), or labels."""
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
    covered: float
    """Share of the pixels that see a body: the cost of shading is in proportion."""
    memory_megabytes: float | None
    """By how much one batch raised the program's memory at most, its results included; None where
    the system does not tell."""


@dataclass(frozen=True)
class _Scene:
    pixels: Float[Tensor, "B V 3"]
    faces: Int[Tensor, "F 3"]
    labels: UInt8[Tensor, " F"]
    covered: float


@dataclass(frozen=True)
class _Shaded:
    """What the later stages need besides."""

    vertices: Float[Tensor, "B V 3"]
    chart: Chart
    mipmaps: MipMaps
    texture: Int[Tensor, " B"]
    lights: Lights
    eye: Float[Tensor, "B 3"]
    pictures: Float[Tensor, "B 3 H W"]
    """To find edges in."""


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

    PyTorch3D's rasteriser is measured too where it is installed, with few images, as one takes it
    seconds.

    Args:
        assets: Poses and meshes.
        images: In a batch, each with a pose, a light and a texture of its own.
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
                stages = _stages(fine, _shaded(assets, fine, images, size), size)
                for backend in backends:
                    for output, draw in stages.items():
                        yield _measure(output, draw, fine, size, backend, *effort)
                if importlib.util.find_spec("pytorch3d") is not None:
                    few = _fine(assets, min(images, 2), size)
                    name = "ids + depth + barycentrics"
                    draw = _stages(few, None, size)[name]
                    yield _measure(name, draw, few, size, "pytorch3d", 1, 0.0)
            coarse = _coarse(assets, images, 96)
            for backend in backends:
                yield _measure("labels", _draw_labels(coarse, 96), coarse, 96, backend, *effort)
    finally:
        torch.set_num_threads(before)


def _stages(scene: _Scene, shaded: _Shaded | None, size: int) -> dict[str, Callable[[str], object]]:
    """Gives what draws each output; it takes the backend."""
    shape = (size, size)

    def rasterized(weights: bool) -> Callable[[str], object]:
        return lambda backend: rasterize(
            scene.pixels, scene.faces, shape, barycentrics=weights, backend=backend
        )

    stages = {"ids + depth": rasterized(False), "ids + depth + barycentrics": rasterized(True)}
    if shaded is None:
        return stages

    def rendered(*outputs: str) -> Callable[[str], object]:
        return lambda backend: render(
            scene.pixels,
            shaded.vertices,
            scene.faces,
            shaded.chart,
            shape,
            outputs=outputs,
            textures=shaded.mipmaps,
            texture=shaded.texture,
            lights=shaded.lights,
            eye=shaded.eye,
            backend=backend,
        )

    return stages | {
        "IUV": rendered("iuv"),
        "RGB": rendered("rgb", "silhouette"),
        "all outputs": rendered(*OUTPUTS),
        "edges": lambda backend: canny(shaded.pictures, backend=backend),
    }


def _draw_labels(scene: _Scene, size: int) -> Callable[[str], object]:
    return lambda backend: rasterize_labels(
        scene.pixels, scene.faces, scene.labels, (size, size), backend=backend
    )


def _measure(
    output: str,
    draw: Callable[[str], object],
    scene: _Scene,
    size: int,
    backend: str,
    repeats: int,
    seconds: float,
) -> Row:
    times = list(_times(lambda: draw(backend), repeats, seconds))
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
        covered=round(scene.covered, 4),
        memory_megabytes=_memory(lambda: draw(backend)),
    )


def _memory(draw: Callable[[], object]) -> float | None:
    """Gives how much more memory the program had during a run than before, at most [MB].

    Linux alone keeps the peak and lets it be forgotten, and only its usual C library gives back
    the memory that earlier runs left at hand, which would hide all of it.
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if reset.exists() else None
    if give_back is None:
        return None
    gc.collect()
    give_back(0)
    reset.write_text("5")
    before = _status(status, "VmRSS")
    draw()
    return round((_status(status, "VmHWM") - before) * 1024 / 1e6, 1)


def _status(status: Path, name: str) -> int:
    lines = status.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _times(
    draw: Callable[[], object], repeats: int, seconds: float
) -> Iterator[tuple[float, float]]:
    """Gives each run's seconds by the clock, and of the processor."""
    draw()
    end = time.perf_counter() + seconds
    while repeats > 0 or time.perf_counter() < end:
        repeats -= 1
        start, used = time.perf_counter(), time.process_time()
        draw()
        yield time.perf_counter() - start, time.process_time() - used


def _fine(assets: SynthAssets, images: int, size: int) -> _Scene:
    return _scene(_pixels(assets, images, size), assets.template.faces, assets.part24, size)


def _coarse(assets: SynthAssets, images: int, size: int) -> _Scene:
    """The same bodies by the stream's mesh, which is the first part of its skin."""
    coarse = assets.coarse
    body = pose_body(coarse.skin, *_poses(assets, images))
    pixels = _camera(images, size).project(body.vertices[:, : coarse.drawn])
    return _scene(pixels, coarse.faces, coarse.part24, size)


def _scene(
    pixels: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    labels: UInt8[Tensor, " F"],
    size: int,
) -> _Scene:
    seen = rasterize(pixels, faces, (size, size), barycentrics=False).mask
    return _Scene(pixels, faces, labels, covered=float(seen.float().mean()))


def _shaded(assets: SynthAssets, scene: _Scene, images: int, size: int) -> _Shaded:
    """Textures of noise: what they show does not matter, but that each image has another does."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(
        0, 256, (TEXTURES, 600, 400, 3), dtype=torch.uint8, generator=generator
    )
    light = torch.rand(4, images, 3, generator=generator)
    return _Shaded(
        vertices=pose_body(assets.template, *_poses(assets, images)).vertices,
        chart=load_chart(assets.template),
        mipmaps=MipMaps.of(pictures, pictures[..., 0] // 22),
        texture=torch.arange(images) % TEXTURES,
        lights=Lights(
            ambient=0.4 + 0.4 * light[0],
            diffuse=0.4 + 0.4 * light[1],
            specular=0.5 * light[2],
            position=4 * light[3] - 2,
        ),
        eye=world_to_camera(-_camera(images, size).translation),
        pictures=torch.rand(images, 3, size, size, generator=generator),
    )


def _pixels(assets: SynthAssets, images: int, size: int) -> Float[Tensor, "B V 3"]:
    body = pose_body(assets.template, *_poses(assets, images))
    return _camera(images, size).project(body.vertices)


def _poses(
    assets: SynthAssets, images: int
) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B 24 3 3"]]:
    """Takes poses evenly from the bank, and shapes without extremes."""
    spread = torch.linspace(0, len(assets.bank) - 1, images).long()
    shape = torch.randn(images, 10, generator=torch.Generator().manual_seed(0))
    return shape, rotvec_to_rotmat(assets.bank.pick(spread))


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
