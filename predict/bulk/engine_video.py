"""Does the frames of a video, one after the other, and smooths the bodies of its main person."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from plausibody.predict.bulk.engine import Done, Job, Task, timed, write_result
from plausibody.predict.reading.photo import opened_by
from plausibody.predict.result import ImagePrediction
from plausibody.predict.smoothing import smooth


@dataclass(frozen=True)
class VideoEngine:
    """Does all frames in their order in this process.

    A run that goes on where another was stopped predicts the frames of before again, since who is
    followed and how follows from them; it writes only what is missing.
    """

    names: Sequence[str]
    """Of all frames of the run."""
    radius: int
    """Frames before and after that count."""
    name: str = "local"

    def settings(self) -> dict[str, Any]:
        return {"smoothed": self.radius}

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        """Predicts the frames, and writes those that are wanted; see `Engine`."""
        tasks = (task for batch in batches for task in batch if task.is_wanted)
        task = next(tasks, None)
        recent = _Recent(job)
        predictor = timed(job)
        with opened_by(recent):
            images = predictor.stream_given(self.names, job.shape, job.options.batch_size)
            for number, image in enumerate(
                self._timed(smooth(images, predictor, self.radius), job)
            ):
                if task is None:
                    return
                if number == task.number:
                    write_result(image, task, job, predictor, done)
                    task = next(tasks, None)
                recent.forget(self.names[number])

    def _timed(self, images: Iterator[ImagePrediction], job: Job) -> Iterator[ImagePrediction]:
        """Notes how long bodies take, without the time for finding people."""
        while True:
            started, seeing = time.perf_counter(), job.seconds["front_end"]
            image = next(images, None)
            spent = time.perf_counter() - started
            job.seconds["network"] += spent - (job.seconds["front_end"] - seeing)
            if image is None:
                return
            yield image


@dataclass
class _Recent:
    """Frames by name, kept until their results are written."""

    job: Job
    held: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, path: Path) -> UInt8[Tensor, "H W 3"]:
        """Gives a picture, which nobody may change."""
        if str(path) not in self.held:
            self.held[str(path)] = self.job.open(path)
        return self.held[str(path)]

    def forget(self, name: str) -> None:
        self.held.pop(str(Path(name)), None)
