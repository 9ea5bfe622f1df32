"""Does the photos of a run on several processes or machines, by Ray Data.

The machines share a file system: each photo's results are written by who made them, under the same
name and in the same way as by `LocalEngine`. Batches hold the same photos too, so that the results
are the same as on one such machine alone. An optional extra: `pip install plausibody[ray]`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plausibody.models.files import DiskFullError
from plausibody.predict.bulk.engine import Done, Job, Task, do_batch, timed
from plausibody.predict.bulk.keeping import Record
from plausibody.predict.reading.photo import opened_by

AT_A_TIME = 4096
"""Batches handed to the cluster together; what they are is in memory, their pictures are not."""

NOBODY = -1
"""Number of a row that is about no photo."""

Row = dict[str, Any]


@dataclass(frozen=True)
class RayEngine:
    """Does batches on the workers of a cluster, in any order."""

    workers: int | None = None
    """Processes, each with a predictor of its own; None for as many as there is room for."""
    threads: int = 1
    """Of each worker. A result's last digits may depend on it."""

    name = "ray"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers: wanted at least 1, got {self.workers}")
        _require_ray()

    def settings(self) -> dict[str, Any]:
        """Gives none: results are those of `LocalEngine`."""
        return {}

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        """Does them; see `Engine`. Starts Ray on this machine unless it runs or is told where to.

        A predictor on a GPU has one for each worker.

        Raises:
            ImportError: If Ray is not installed.
            ValueError: If the cluster is too small.
        """
        ray = _require_ray()
        gpus = int(job.predictor.device.type == "cuda")
        with _cluster(ray, (self.workers or 1) * self.threads):
            workers = _room(ray, self.workers, {"CPU": self.threads, "GPU": gpus})
            here = replace(job, out=job.out.absolute(), seconds=defaultdict(float))
            shared = ray.put((here, str(Path.cwd()), self.threads))
            for some in _chunks(batches, AT_A_TIME):
                tasks = {task.number: task for batch in some for task in batch}
                rows = [{"batch": json.dumps([asdict(task) for task in batch])} for batch in some]
                answers = ray.data.from_items(rows, override_num_blocks=len(rows)).flat_map(
                    _Worker,
                    fn_constructor_args=(shared,),
                    concurrency=min(workers, len(rows)),
                    num_cpus=self.threads,
                    num_gpus=gpus,
                )
                for row in answers.iter_rows():
                    if row["full"]:
                        raise DiskFullError(job.out, 0, row["full"])
                    for stage, seconds in json.loads(row["seconds"]).items():
                        job.seconds[stage] += seconds
                    if row["record"]:
                        done(tasks[row["number"]], json.loads(row["record"]))


@contextlib.contextmanager
def _cluster(ray: Any, least: int) -> Iterator[None]:
    """Connects to the cluster that `RAY_ADDRESS` names, or makes one of this machine.

    Args:
        least: Processors that a cluster of our own has at least, one more for Ray itself.
    """
    if ray.is_initialized():
        is_ours = False
    else:
        is_ours = True
        processors = max(least, os.cpu_count() or 1) + 1
        size = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": processors}
        ray.init(log_to_driver=False, include_dashboard=False, **size)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    finally:
        if is_ours:
            ray.shutdown()


def _room(ray: Any, workers: int | None, needs: Mapping[str, int]) -> int:
    """Gives the number of workers, as many as there is room for if none is wanted.

    Args:
        needs: Of a worker, by the name of the resource.

    Raises:
        ValueError: If there are too few resources, for which a run would wait for ever.
    """
    there = ray.cluster_resources()
    room = min(int(there.get(name, 0) // need) for name, need in needs.items() if need)
    if room < (workers or 1):
        raise ValueError(
            f"--engine ray: wanted a cluster with room for {workers or 1} workers of "
            f"{', '.join(f'{need} {name}' for name, need in needs.items())}, came one for {room}; "
            "do: fewer --workers, or a larger cluster"
        )
    return workers or max(1, room - 1)


class _Worker:
    """A process of the cluster, which keeps its predictor from batch to batch."""

    def __init__(self, shared: Any):
        """Args:
        shared: Reference to a job, the folder that paths are relative to, and the threads.
        """
        job, folder, threads = _require_ray().get(shared)
        os.chdir(folder)
        torch.set_num_threads(threads)
        self.job: Job = job
        self.predictor = timed(job)

    def __call__(self, row: Row) -> list[Row]:
        batch = [Task(**fields) for fields in json.loads(row["batch"])]
        rows: list[Row] = []
        self.job.seconds.clear()

        def note(task: Task, record: Record) -> None:
            rows.append(_row(task.number, json.dumps(record)))

        full = 0
        with opened_by(self.job.open):
            try:
                do_batch(batch, self.job, self.predictor, note)
            except DiskFullError as error:
                full = error.errno or errno.ENOSPC
        return [*rows, _row(NOBODY, seconds=json.dumps(self.job.seconds), full=full)]


def _row(number: int, record: str = "", seconds: str = "{}", full: int = 0) -> Row:
    """Makes a row of an answer.

    Args:
        number: Of a photo.
        record: What became of it, as JSON.
        seconds: Spent by stage, as JSON.
        full: The system's number of the error if there is no space left.
    """
    return {"number": number, "record": record, "seconds": seconds, "full": full}


def _chunks(batches: Iterable[Sequence[Task]], size: int) -> Iterator[list[Sequence[Task]]]:
    some: list[Sequence[Task]] = []
    for batch in batches:
        some.append(batch)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _require_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            "--engine ray: wanted the library Ray, which is not installed; do: "
            "pip install 'plausibody[ray]', or --engine local"
        ) from error
    return ray
