"""Does the photos of a run, batch by batch, in this process."""

from __future__ import annotations

import copy
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from plausibody.models.shapes import ShapeGaussian
from plausibody.predict.bulk.ahead import ReadAhead
from plausibody.predict.bulk.keeping import RECORD, Record, keep
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.drawing.surface import Surface
from plausibody.predict.export import remove
from plausibody.predict.front_ends.front_end import FrontEnd, ImageResult, Picture
from plausibody.predict.predictor import Predictor
from plausibody.predict.reading.photo import note_of_frames, opened_by
from plausibody.predict.result import ImagePrediction

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One photo of a batch."""

    number: int
    """Place among the photos of the run."""
    blank: Record
    """What its record says whatever becomes of it: `path`, `file` and `settings`."""
    folder: str
    """Name of the folder of its results."""
    is_wanted: bool
    """Whether it is to be written; else it is there only to make the batch what it was before."""
    doubt: str = ""
    """What to warn of the person who is in all photos, in this one."""

    @property
    def name(self) -> str:
        """Of the picture."""
        path: str = self.blank["path"]
        return path


@dataclass
class Job:
    """What an engine needs besides the photos."""

    out: Path
    predictor: Predictor
    options: RunOptions
    open: Callable[[Path], UInt8[Tensor, "H W 3"]]
    """Gives a picture by its name."""
    shape: ShapeGaussian | None = None
    """Of the one person who is in all photos, if it is known."""
    surface: Surface | None = None
    """Of bodies, where it is drawn."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Spent so far on finding people (`front_end`), on bodies (`network`) and on `writing`."""


Done = Callable[[Task, Record], None]
"""Is told what became of a photo as soon as its results are on the disk; may raise, to stop."""


@runtime_checkable
class Engine(Protocol):
    """Does the photos of a run."""

    name: str

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        """Predicts batches of photos, and writes the results of those that are wanted.

        The photos of a batch are predicted together. Batches may be done in any order.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Gives by name what results depend on because this engine makes them."""
        ...


class LocalEngine:
    """Does one batch after the other, and opens the pictures of the next one meanwhile."""

    name = "local"

    def settings(self) -> dict[str, Any]:
        """Gives none."""
        return {}

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        """Does them in their order; see `Engine`."""
        predictor = timed(job)
        with ReadAhead(job.open) as ahead, opened_by(ahead):
            for batch in ahead.batches(batches, lambda task: task.name):
                do_batch(batch, job, predictor, done)


def do_batch(batch: Sequence[Task], job: Job, predictor: Predictor, done: Done) -> None:
    """Predicts the photos of one batch together and writes them one by one."""
    started, seeing = time.perf_counter(), job.seconds["front_end"]
    names = [task.name for task in batch]
    images = list(predictor.stream_given(names, job.shape, max(1, len(names))))
    looked = time.perf_counter() - started
    job.seconds["network"] += looked - (job.seconds["front_end"] - seeing)
    for task, image in zip(batch, images, strict=True):
        if task.is_wanted:
            write_result(image, task, job, predictor, done)


def write_result(
    image: ImagePrediction, task: Task, job: Job, predictor: Predictor, done: Done
) -> None:
    """Writes what became of one photo, and tells so."""
    started = time.perf_counter()
    folder = job.out / task.folder
    record = _keep_or_explain(_annotated(image, task), task, folder, predictor, job)
    if record["status"] != "ok" and (folder / RECORD).is_file():
        remove(folder, RECORD)  # of an earlier state of the photo, or of other settings
    job.seconds["writing"] += time.perf_counter() - started
    done(task, record)


def _annotated(image: ImagePrediction, task: Task) -> ImagePrediction:
    """Adds what is known of the photo besides what was seen in it."""
    if image.status != "ok":
        return image
    people = image.people
    if task.doubt:
        people = tuple(
            replace(person, warnings=(*person.warnings, task.doubt))
            if person.told.same_person
            else person
            for person in people
        )
    note = note_of_frames(task.name)
    message = image.message or (note and task.name)
    return replace(image, people=people, message=f"{message}: {note}" if note else message)


def _keep_or_explain(
    image: ImagePrediction, task: Task, folder: Path, predictor: Predictor, job: Job
) -> Record:
    """Writes the results of a photo; if that fails otherwise than for the disk, only they are lost.

    Raises:
        OSError: If nothing can be written; it would be the same with the next photo.
    """
    try:
        return keep(image, task.blank, folder, predictor, job.options, job.surface)
    except OSError:
        raise
    except Exception as error:  # whatever it is, it must not cost the other photos
        log.debug("results could not be written", exc_info=error)
        why = f"{task.name}: wanted to write its results, got {type(error).__name__}: {error}"
        nothing = {"width": image.width, "height": image.height, "folder": "", "people": []}
        return task.blank | {"status": "failed", "message": why} | nothing


def timed(job: Job) -> Predictor:
    """Gives the predictor with a front end whose time is noted."""
    predictor = copy.copy(job.predictor)
    predictor.front_end = _Timed(job.predictor.front_end, job.seconds)
    return predictor


@dataclass(frozen=True)
class _Timed:
    """A front end, and how long it took."""

    front_end: FrontEnd
    seconds: defaultdict[str, float]

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        started = time.perf_counter()
        try:
            return self.front_end(pictures, max_people)
        finally:
            self.seconds["front_end"] += time.perf_counter() - started
