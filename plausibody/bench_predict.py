"""How fast photos become bodies here: `plausibody bench predict`.

The reference is the same work done for one person, or one photo, at a time, as the published
demonstrations of STRAPS and HierProb3D do. Bodies, samples and figures are the same in both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from plausibody.assets.catalog import find_asset
from plausibody.models.proxy import Proxy
from plausibody.models.records import concatenate, map_tensors, to_device
from plausibody.models.weights import DEFAULT_WEIGHTS
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import predict_folder
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd, ImageResult, Picture
from plausibody.predict.looking import look_at, open_picture
from plausibody.predict.predictor import Predictor

PHOTOS = ("skier.jpg", "astronaut.png", "grace_hopper.jpg")
"""Bundled, with one person each."""
PEOPLE = "crop to samples and measurements"
ONE_PERSON = "the same, one person at a time"
FRONT_END = "embedded front end"
ONE_PHOTO = "embedded front end, one photo at a time"
REFINED = "  with refinement"
RUN = "whole run"
WORDS = (
    ("params",),
    ("overlay", "mesh", "params"),
    ("overlay", "mesh", "params", "samples", "report"),
)
"""Of `--save`, for whole runs."""


@dataclass(frozen=True)
class PredictionSpeed:
    """One measured part of a prediction."""

    part: str
    """What was done. Indented parts are within the one before."""
    count: int
    """People or photos in one run of it; each photo shows one person."""
    threads: int
    """As many as torch may use."""
    milliseconds: float
    """Per run: the fastest, which other programs disturbed least."""
    median_milliseconds: float
    cpu_milliseconds: float
    """Per run, over all cores, of the run that took least."""
    per_second: float
    """People or photos, of the fastest run."""
    per_core_second: float
    """Of the run that took least of the processor: time spent waiting for it does not count."""
    times_one_by_one: float | None
    """How many times as fast as one at a time; None where that was not measured."""


class Remembered:
    """A front end that has looked at some pictures and says again what it saw: it costs nothing."""

    def __init__(self, front_end: FrontEnd, pictures: Sequence[Picture]):
        seen = front_end(pictures, 1)
        self.seen = {result.path: result for result in seen}

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        return [self.seen[str(picture)] for picture in pictures]


def bench_predict(
    people: int = 24,
    samples: int = 25,
    seconds: float = 4.0,
    weights: str | Path = DEFAULT_WEIGHTS,
    photos: Sequence[Path] = (),
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Iterator[PredictionSpeed]:
    """Measures predicting, part by part.

    Args:
        people: Looked at together; the photos are taken again from the first after the last.
        samples: Bodies drawn for each.
        seconds: Spent on each row, at least, after a run that warms up. With 0, one cold run each.
        weights: With a distribution.
        photos: With one person each; none for the bundled ones.
        device: Of networks and bodies.
        threads: As many as torch may use, but for the front end, which gets one; None: one for
            each core.
    """
    before, cores = torch.get_num_threads(), threads or os.cpu_count() or 1
    paths = list(photos) or [find_asset(f"photos/{name}") for name in PHOTOS]
    pictures = [paths[n % len(paths)] for n in range(people)]
    eyes = load_embedded(device=device)
    predictor = Predictor(weights, Remembered(eyes, paths), device, samples=samples)
    try:
        torch.set_num_threads(cores)
        yield from _people(predictor, pictures, seconds)
        torch.set_num_threads(1)
        yield from _front_end(eyes, pictures[:8], seconds)
        torch.set_num_threads(cores)
        predictor.front_end = eyes
        yield from _runs(predictor, pictures[: max(1, people // 2)], seconds)
    finally:
        torch.set_num_threads(before)


def _people(
    predictor: Predictor, pictures: Sequence[Path], seconds: float
) -> Iterator[PredictionSpeed]:
    """From what the front end saw to bodies, samples and measurements."""
    each = len(pictures)
    one_by_one = _measure(
        ONE_PERSON, each, lambda: [predictor([picture]) for picture in pictures], seconds
    )
    yield _measure(PEOPLE, each, lambda: predictor(pictures), seconds, one_by_one)
    yield from _stages(predictor, pictures, seconds)
    yield one_by_one


def _stages(
    predictor: Predictor, pictures: Sequence[Path], seconds: float
) -> Iterator[PredictionSpeed]:
    each, regressor = len(pictures), predictor.regressor
    seen = predictor.front_end(pictures, 1)
    reads = regressor.proxy.reads_pictures

    def look() -> list[Proxy]:
        return [
            look_at(result.people[0], regressor.proxy, open_picture(picture) if reads else None)
            for picture, result in zip(pictures, seen, strict=True)
        ]

    yield _measure("  what the network reads", each, look, seconds)
    proxies = [map_tensors(proxy, lambda tensor: tensor[None]) for proxy in look()]
    batch = to_device(concatenate(proxies), predictor.device)
    with torch.no_grad():
        yield _measure("  network", each, lambda: regressor.predict(batch), seconds)
    eyes, device, samples = predictor.front_end, predictor.device, predictor.samples
    plain = Predictor(regressor, eyes, device, samples=0)
    yield _measure("  all but samples", each, lambda: plain(pictures), seconds)
    refining = Predictor(regressor, eyes, device, samples=samples, refine=True)
    yield _measure(REFINED, each, lambda: refining(pictures), seconds)


def _front_end(
    eyes: FrontEnd, pictures: Sequence[Path], seconds: float
) -> Iterator[PredictionSpeed]:
    """From files to key points and masks."""
    each = len(pictures)
    one_by_one = _measure(
        ONE_PHOTO, each, lambda: [eyes([picture], 1) for picture in pictures], seconds
    )
    yield _measure(FRONT_END, each, lambda: eyes(pictures, 1), seconds, one_by_one)
    yield one_by_one


def _runs(
    predictor: Predictor, pictures: Sequence[Path], seconds: float
) -> Iterator[PredictionSpeed]:
    """From files to files, on the disk of temporary files."""
    refining = Predictor(
        predictor.regressor,
        predictor.front_end,
        predictor.device,
        samples=predictor.samples,
        refine=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [folder / f"{n}_{picture.name}" for n, picture in enumerate(pictures)]
        for picture, photo in zip(pictures, photos, strict=True):
            shutil.copy(picture, photo)
        for words in WORDS:
            run = _run(predictor, photos, folder / "out", words)
            yield _measure(f"{RUN}: {','.join(words)}", len(photos), run, seconds)
        run = _run(refining, photos, folder / "out", words)
        yield _measure(f"{RUN}: the same with refinement", len(photos), run, seconds)


def _run(
    predictor: Predictor, photos: Sequence[Path], out: Path, words: Sequence[str]
) -> Callable[[], object]:
    options = RunOptions(save=frozenset(words), force=True)
    return lambda: predict_folder(photos, out, predictor, options)


def _measure(
    part: str,
    count: int,
    work: Callable[[], object],
    seconds: float,
    reference: PredictionSpeed | None = None,
) -> PredictionSpeed:
    times = list(_times(work, seconds))
    clock = sorted(wall for wall, _ in times)
    processor = max(min(used for _, used in times), 1e-6)
    return PredictionSpeed(
        part=part,
        count=count,
        threads=torch.get_num_threads(),
        milliseconds=round(clock[0] * 1e3, 3),
        median_milliseconds=round(clock[len(clock) // 2] * 1e3, 3),
        cpu_milliseconds=round(processor * 1e3, 3),
        per_second=round(count / clock[0], 2),
        per_core_second=round(count / processor, 2),
        times_one_by_one=(
            round(reference.milliseconds / clock[0] / 1e3, 2) if reference is not None else None
        ),
    )


def _times(work: Callable[[], object], seconds: float) -> Iterator[tuple[float, float]]:
    """Gives each run's seconds by the clock, and of the processor."""
    if seconds > 0:
        work()
    end = time.perf_counter() + seconds
    while True:
        start, used = time.perf_counter(), time.process_time()
        work()
        stop = time.perf_counter()
        yield stop - start, time.process_time() - used
        if stop >= end:
            return
