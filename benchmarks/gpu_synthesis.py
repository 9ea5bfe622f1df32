"""How fast samples are made and learnt from on a GPU: the rasteriser, the stream, a training step.

    python benchmarks/gpu_synthesis.py [--out FILE.json] [--batch 128] [--seconds 3]

What cannot be measured here, for want of a GPU or of a library, is written as "not measured" with
the reason; without a GPU only if FILE has no figures. `--device cpu --batch 4 --out trial.json`
runs all the same on the processor: to try the script, not for figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from gpu_figures import NOT_MEASURED, choose_out
from torch import Tensor

from plausibody.bench import document
from plausibody.config import RunConfig, override
from plausibody.models.body import pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.records import to_device
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.presets import stream_config
from plausibody.synth.generator import BLOCK, BLOCK_CUDA, BatchGenerator
from plausibody.synth.raster import rasterize
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.training.trainer import Trainer

OUT = Path(__file__).parent / "results" / "gpu_synthesis.json"
SIZES = (256, 512)
BACKENDS = ("triton", "torch", "pytorch3d")
SYNTHESIS = "synthesis, hierprob, 256 px"
STEP = "training step, ResNet-18 in bf16, 256 px"


@dataclass(frozen=True)
class Figure:
    """One number, or why there is none."""

    name: str
    value: float | str
    """Or "not measured"."""
    unit: str
    images: int
    """In a batch."""
    median: float | None = None
    """Of the runs, in the same unit; `value` is the best."""
    megabytes: float | None = None
    """Most memory of the GPU that was in use."""
    goal: str = ""
    reason: str = ""
    """Why it was not measured."""


@dataclass(frozen=True)
class Bench:
    """What the measurements share."""

    device: str
    batch: int
    seconds: float
    """Spent on each figure, at least."""
    missing: str = ""
    """Why there is no device, if there is none."""

    def measure(
        self,
        name: str,
        run: Callable[[], Callable[[], object]],
        images: int,
        unit: str = "ms",
        goal: str = "",
    ) -> Figure:
        """Times what `run` prepares: milliseconds of a batch, or images/s."""
        empty = Figure(name, NOT_MEASURED, unit, images, goal=goal, reason=self.missing)
        if self.missing:
            return empty
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            times = list(self._times(run()))
        except (ValueError, ImportError, RuntimeError) as error:
            return replace(empty, reason=str(error).splitlines()[0])
        best, middle = min(times), median(times)
        if unit == "images/s":
            best, middle = images / best * 1e3, images / middle * 1e3
        used = torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else None
        return replace(
            empty,
            value=round(best, 3),
            median=round(middle, 3),
            megabytes=None if used is None else round(used, 1),
        )

    def _times(self, step: Callable[[], object]) -> Iterator[float]:
        """Gives each run's milliseconds, after three that compile and warm up."""
        for _ in range(3 if self.device == "cuda" else 1):
            step()
        self.wait()
        end = time.perf_counter() + self.seconds
        runs = 0
        while runs < 5 or time.perf_counter() < end:
            runs += 1
            start = time.perf_counter()
            step()
            self.wait()
            yield (time.perf_counter() - start) * 1e3

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, help=f"default: {OUT.name} among the results")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    given = parser.parse_args()
    try:
        out = choose_out(given.out, OUT, given.device, "value")
    except ValueError as error:
        parser.exit(2, f"gpu_synthesis: {error}\n")
    missing = ""
    if given.device == "cuda" and not torch.cuda.is_available():
        missing = "no CUDA device here"
        print(f"{missing}: every figure will be written as {NOT_MEASURED}", file=sys.stderr)
    bench = Bench(given.device, given.batch, given.seconds, missing)
    figures = []
    for figure in measure_all(bench):
        print(f"{figure.name}: {figure.value} {figure.unit} {figure.reason}", file=sys.stderr)
        figures.append(figure)
    command = " ".join(["python", "benchmarks/gpu_synthesis.py", *sys.argv[1:]])
    record = document(figures, command)
    if given.device == "cuda":
        name = torch.cuda.get_device_name() if not missing else "none: no CUDA device"
        record = {**record, "processor": record["device"], "device": name}
    out.write_text(json.dumps(record, indent=2) + "\n")


def measure_all(bench: Bench) -> Iterator[Figure]:
    """Gives every figure, the raw ones first and then what they say about the goals."""
    assets = load_assets()
    found: dict[str, Figure] = {}

    def keep(figure: Figure) -> Figure:
        found[figure.name] = figure
        return figure

    yield exactness(bench, assets)
    for size in SIZES:
        for backend in BACKENDS:
            yield keep(rasterizer(bench, assets, backend, size))
    config = override(
        stream_config("hierprob"),
        {"train.batch_size": bench.batch, "train.precision": "bf16-mixed"},
    )
    yield keep(synthesis(bench, config))
    yield keep(training_step(bench, config, assets))
    yield ratio(
        found,
        "rasteriser against PyTorch3D's, 256 px",
        "raster 256 px, pytorch3d",
        "raster 256 px, triton",
        goal="at least 10",
    )
    # Of images per second; so turned round, of the time that an image takes.
    yield ratio(found, "synthesis as a share of a training step", STEP, SYNTHESIS, "at most 0.25")


def exactness(bench: Bench, assets: SynthAssets) -> Figure:
    """Counts the pixels of 8 bodies at which triton differs from torch on the CPU in any bit."""
    name, size = "pixels where triton differs from torch on the CPU", (256, 256)
    figure = Figure(name, NOT_MEASURED, "pixels", 8, goal="0", reason=bench.missing)
    if bench.missing:
        return figure
    pixels, faces = bodies(assets, 8, 256)
    try:
        ours = rasterize(*move(bench, pixels, faces), size, backend="triton")
    except ValueError as error:
        return replace(figure, reason=str(error))
    expected = rasterize(pixels, faces, size, backend="torch")
    differ = ours.face.cpu() != expected.face
    differ |= ours.depth.cpu().view(torch.int32) != expected.depth.view(torch.int32)
    assert ours.barycentric is not None and expected.barycentric is not None
    weights = ours.barycentric.cpu().view(torch.int32), expected.barycentric.view(torch.int32)
    differ |= (weights[0] != weights[1]).any(-1)
    return replace(figure, value=int(differ.sum()))


def rasterizer(bench: Bench, assets: SynthAssets, backend: str, size: int) -> Figure:
    """Times faces, depths and barycentric coordinates of a batch of bodies."""

    def run() -> Callable[[], object]:
        pixels, faces = move(bench, *bodies(assets, bench.batch, size))
        return lambda: rasterize(pixels, faces, (size, size), backend=backend)

    return bench.measure(f"raster {size} px, {backend}", run, bench.batch)


def synthesis(bench: Bench, config: RunConfig) -> Figure:
    """Times blocks of new samples, as the stream makes them: whole, and none a second time."""
    block = BLOCK_CUDA if bench.device == "cuda" else BLOCK

    def run() -> Callable[[], object]:
        generator = BatchGenerator(config, load_assets(coloured=True), bench.device)
        firsts = iter(range(0, 1_000_000_000, block))
        return lambda: generator.samples(next(firsts), block)

    return bench.measure(SYNTHESIS, run, block, "images/s", goal="at least 20,000")


def training_step(bench: Bench, config: RunConfig, assets: SynthAssets) -> Figure:
    """Times the network's step on samples that are there already."""

    def run() -> Callable[[], object]:
        # What the network is shown does not change its speed: black pictures are the cheapest.
        trainer = Trainer(config, assets, bench.device)
        stream = override(stream_config("straps"), {"train.batch_size": config.train.batch_size})
        batch = BatchGenerator(stream, assets)[0]
        picture = batch.proxy.silhouette
        batch = replace(batch, proxy=replace(batch.proxy, edges=torch.zeros_like(picture)))
        batch = to_device(batch, trainer.device)
        return lambda: trainer.train_step(batch)

    return bench.measure(STEP, run, config.train.batch_size, "images/s")


def ratio(found: dict[str, Figure], name: str, over: str, under: str, goal: str) -> Figure:
    """Divides one figure by another."""
    values = [found[over].value, found[under].value]
    empty = Figure(name, NOT_MEASURED, "times", found[over].images, goal=goal)
    if isinstance(values[0], str) or isinstance(values[1], str):
        which = over if isinstance(values[0], str) else under
        return replace(empty, reason=f"{which}: {found[which].reason}")
    return replace(empty, value=round(values[0] / values[1], 3))


def bodies(assets: SynthAssets, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Gives bodies in poses of the bank, 0.7 of the picture high, and their faces."""
    spread = torch.linspace(0, len(assets.bank.rotvecs) - 1, count).long()
    shape = torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    body = pose_body(assets.template, shape, rotvec_to_rotmat(assets.bank.rotvecs[spread]))
    distance = 2.5
    camera = PerspectiveCamera(
        focal=torch.full((count,), size * distance * 0.7 / 1.7),
        principal=torch.full((count, 2), size / 2),
        translation=torch.tensor([0.0, -0.2, distance]).expand(count, 3),
    )
    return camera.project(body.vertices), assets.template.faces


def move(bench: Bench, *tensors: Tensor) -> list[Tensor]:
    return [tensor.to(bench.device) for tensor in tensors]


if __name__ == "__main__":
    main()
