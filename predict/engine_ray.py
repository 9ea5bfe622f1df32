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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plausibody.models.files import DiskFullError
from plausibody.predict.engine import Done, Job, Task, do_batch, timed
from plausibody.predict.keeping import Record
from plausibody.predict.photo import opened_by

AT_A_TIME = 4096
"""Batches handed to the cluster together; what they are is in memory, their pictures are not."""

NOBODY = -1
"""Number of a row that is about no photo."""

Row = dict[str, Any]


@dataclass(frozen=True)
class RayEngine:
    """Does batches on the workers of a cluster, in any order."""

    workers: int = 2
    """Processes, each with a predictor of its own."""
    gpus: float = 0
    """Of each worker."""
    threads: int = 0
    """Of each worker; 0 for as many as this process uses, with which results are the same."""

    name = "ray"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"--workers: wanted at least 1, got {self.workers}")
        _require_ray()

    def __call__(self, batches: Iterable[Sequence[Task]], job: Job, done: Done) -> None:
        """Does them; see `Engine`. Starts Ray on this machine unless it runs or is told where to.

        Raises:
            ImportError: If Ray is not installed.
        """
        ray = _require_ray()
        threads = self.threads or torch.get_num_threads()
        with self._cluster(ray, threads):
            here = replace(job, out=job.out.absolute(), seconds=defaultdict(float))
            shared = ray.put((here, str(Path.cwd()), threads))
            for some in _chunks(batches, AT_A_TIME):
                tasks = {task.number: task for batch in some for task in batch}
                for row in self._answers(ray, some, shared, threads):
                    if row["full"]:
                        raise DiskFullError(job.out, 0, row["full"])
                    for stage, seconds in json.loads(row["seconds"]).items():
                        job.seconds[stage] += seconds
                    if row["record"]:
                        done(tasks[row["number"]], json.loads(row["record"]))

    def _answers(
        self, ray: Any, batches: Sequence[Sequence[Task]], shared: Any, threads: int
    ) -> Iterator[Row]:
        """Gives the rows of the workers as they come."""
        rows = [{"batch": json.dumps([asdict(task) for task in batch])} for batch in batches]
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).flat_map(
            _Worker,
            fn_constructor_args=(shared,),
            concurrency=self.workers,
            num_cpus=threads,
            num_gpus=self.gpus,
        )
        yield from answers.iter_rows()

    @contextlib.contextmanager
    def _cluster(self, ray: Any, threads: int) -> Iterator[None]:
        """Connects to the cluster that `RAY_ADDRESS` names, or makes one of this machine.

        Raises:
            ValueError: If the cluster is too small, on which the run would wait for ever.
        """
        wanted, is_ours = self.workers * threads, not ray.is_initialized()
        if is_ours:
            size = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": wanted + 1}
            ray.init(log_to_driver=False, include_dashboard=False, **size)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            for name, amount in (("CPU", wanted), ("GPU", self.workers * self.gpus)):
                there = ray.cluster_resources().get(name, 0)
                if there < amount:
                    raise ValueError(
                        f"--engine ray: wanted a cluster of {amount:g} {name} for {self.workers} "
                        f"workers, came one of {there:g}; do: fewer workers"
                    )
            yield
        finally:
            if is_ours:
                ray.shutdown()


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
