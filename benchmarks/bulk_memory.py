"""Measures whether memory stays flat over a folder of photos, and what a name of a photo takes.

    python benchmarks/bulk_memory.py OUT.json [--photos 2000] [--every 200] [--names 200000]
        [--remember]

The photos are copies of three that ship, shrunk; each is opened, looked at by the embedded front
end and predicted by the shipped weights, and its parameters, mesh and overlay are written. After
every 200, what the process takes of the machine's memory is printed (RSS). Then as many names as
`--names` says go through a run that finds nobody, which tells what a run over a million photos
takes: for that, what Python holds is printed too (tracemalloc). With `--remember` the front end
looks at the first three photos only and says the same of the others, which saves most of the time.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plausibody.assets.catalog import find_asset
from plausibody.bench import document
from plausibody.models.files import write_file
from plausibody.predict.bulk.engine import Done, Job, Task
from plausibody.predict.bulk.inputs import Inputs
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import Progress, predict_folder
from plausibody.predict.drawing.bodies import save_picture, shrink
from plausibody.predict.front_ends.front_end import FrontEnd, ImageResult, Picture
from plausibody.predict.looking import open_picture
from plausibody.predict.predictor import load_predictor
from plausibody.predict.reading.photo import read_photo

PHOTOS = ("skier.jpg", "astronaut.png", "grace_hopper.jpg")
SIDE = 320
"""Longer side of the copies [px]."""
FOLDER = "holiday/2024-07-13 Lago di Garda"
"""In which a million photos might lie."""


@dataclass(frozen=True)
class Reading:
    """Memory after some photos."""

    run: str
    """photos: everything is done. names: nobody is found."""
    photos: int
    rss_mb: float
    python_mb: float
    """0 where it was not measured, as that takes time."""
    most_python_mb: float
    """Held at any time since the reading before."""
    seconds: float
    """Since the run began."""


class Meter:
    """Reads memory every so many photos."""

    def __init__(self, run: str, every: int):
        self.run, self.every, self.started = run, every, time.perf_counter()
        self.readings: list[Reading] = []
        self.read(0)

    def watch(self, now: Progress) -> None:
        if now.done % self.every == 0:
            self.read(now.done)

    def read(self, photos: int) -> None:
        gc.collect()
        held = most = 0
        if tracemalloc.is_tracing():
            held, most = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
        reading = Reading(
            run=self.run,
            photos=photos,
            rss_mb=round(resident() / 1e6, 1),
            python_mb=round(held / 1e6, 2),
            most_python_mb=round(most / 1e6, 2),
            seconds=round(time.perf_counter() - self.started, 1),
        )
        self.readings.append(reading)
        print(reading, flush=True)


def resident() -> int:
    """Gives what this process takes of the machine's memory [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status: wanted VmRSS, found none; do: run this on Linux")


class Remembering:
    """Says of each picture what a front end says of the first of its kind, but opens it."""

    def __init__(self, front_end: FrontEnd):
        self.front_end = front_end
        self.kinds: dict[int, ImageResult] = {}

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        results = []
        for picture in pictures:
            kind = int(open_picture(picture).sum())
            if kind not in self.kinds:
                self.kinds[kind] = self.front_end([picture], max_people)[0]
            results.append(replace(self.kinds[kind], path=str(picture)))
        return results


class NobodyEngine:
    """Says of every photo that nobody is in it."""

    name = "nobody"

    def settings(self) -> dict[str, Any]:
        return {}

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        nothing = {"message": "", "width": 0, "height": 0, "folder": "", "people": []}
        for batch in batches:
            for task in batch:
                done(task, task.blank | nothing | {"status": "no_person"})


def photos_run(root: Path, count: int, every: int, remember: bool) -> list[Reading]:
    """Does everything for some photos."""
    pictures = [shrink(read_photo(find_asset(f"photos/{name}")), SIDE) for name in PHOTOS]
    for number in range(count):
        save_picture(pictures[number % len(pictures)], root / f"photo {number:06d}.jpg")
    predictor = load_predictor()
    if remember:
        predictor.front_end = Remembering(predictor.front_end)
    meter = Meter("photos", every)
    predict_folder([root], root / "out", predictor, RunOptions(), meter.watch)
    return meter.readings


def names_run(root: Path, count: int) -> list[Reading]:
    """Does everything but looking, for many names; they are made within the measured time."""
    predictor = load_predictor()
    meter = Meter("names", count)
    names = [f"{FOLDER}/IMG_{number:08d}.jpg" for number in range(count)]
    inputs = Inputs(names, stamp=lambda name: [4_000_000, 1_700_000_000_000_000_000])
    predict_folder(inputs, root / "out", predictor, progress=meter.watch, engine=NobodyEngine())
    meter.read(count)
    return meter.readings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--names", type=int, default=200_000)
    parser.add_argument("--remember", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    readings: list[Reading] = []
    with tempfile.TemporaryDirectory() as folder:
        if given.photos:
            (Path(folder) / "photos").mkdir()
            readings += photos_run(
                Path(folder) / "photos", given.photos, given.every, given.remember
            )
        if given.names:
            (Path(folder) / "names").mkdir()
            tracemalloc.start()
            readings += names_run(Path(folder) / "names", given.names)
            first, *_, last = readings[-3:]
            most = max(reading.most_python_mb for reading in readings[-2:])
            print(
                f"{(last.python_mb - first.python_mb) * 1e6 / given.names:.0f} bytes a name after"
            )
            print(f"{(most - first.python_mb) * 1e6 / given.names:.0f} bytes a name at most")
    command = f"python benchmarks/bulk_memory.py {given.out} --photos {given.photos}"
    command += f" --every {given.every} --names {given.names}" + " --remember" * given.remember
    write_file(given.out, json.dumps(document(readings, command), indent=2) + "\n")


if __name__ == "__main__":
    main()
