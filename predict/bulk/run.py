"""Predicts many photos: writes results, accounts for every input, goes on after a stop."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from plausibody.models.files import DiskFullError, explained
from plausibody.models.locks import locked
from plausibody.predict.bulk import common_shape
from plausibody.predict.bulk.engine import Engine, Job, LocalEngine, Task
from plausibody.predict.bulk.inputs import Inputs, find_inputs
from plausibody.predict.bulk.journal import Entry, Journal
from plausibody.predict.bulk.keeping import RECORD, Record
from plausibody.predict.bulk.naming import folder_names
from plausibody.predict.bulk.options import SAVE, RunOptions
from plausibody.predict.bulk.settings import SHAPE_SETTINGS, digest_of, settings_of_run
from plausibody.predict.bulk.summary import (
    LOG,
    SUMMARY,
    Summary,
    check_out,
    earlier_entries,
    read_timing,
    write_summary,
    wrote_report,
)
from plausibody.predict.dense import finds_maps
from plausibody.predict.drawing.surface import Surface, open_surface
from plausibody.predict.front_ends.opening import check_photos
from plausibody.predict.predictor import Predictor
from plausibody.predict.report.page import NAME as REPORT
from plausibody.predict.report.page import write_report_page
from plausibody.predict.semantics import LabelMaps

__all__ = [
    "LOG", "SAVE", "SUMMARY", "Progress", "RunOptions", "StoppedError", "Summary", "predict_folder",
]  # fmt: skip

log = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", ".holder.txt"
TOLD = 5
"""Photos whose doubts are told at once; the summary has those of all."""


class StoppedError(Exception):
    """A run was asked to stop, and has. What is finished stays."""

    def __init__(self, why: str, done: int, total: int):
        """Args:
        why: Such as the name of a signal.
        done: Photos that are finished, of `total`.
        """
        super().__init__(
            f"{why}: stopped with {done / total:.0%} of the photos finished; do: give the same "
            "command again to do the rest, without --force if it had that"
        )
        self.why = why


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    done: int
    """Photos, with those that were finished before; each counts twice if it is looked at twice."""
    total: int
    people: int
    """Found so far."""


def predict_folder(
    paths: Sequence[Path | str] | Inputs,
    out: Path,
    predictor: Predictor,
    options: RunOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    *,
    stop: Callable[[], str] = lambda: "",
    engine: Engine | None = None,
) -> Summary:
    """Predicts photos and writes one folder for each, and one summary.

    A photo that cannot be used is listed with the reason and does not stop the rest. What is
    finished is not done again if neither the photo nor the settings have changed. A run that was
    stopped or killed, and is finished by the same call, gives the same files, byte for byte, as
    one that was not; but for `timing` in the summary. Memory does not grow with the number of
    photos, except for their names and some ten bytes for each.

    Args:
        paths: Photos, folders of photos, patterns and lists, see `find_inputs`; or what comes of
            them, or of a video.
        progress: Called after each photo.
        stop: Is asked after each photo whether to stop; says why if so.
        engine: Does the photos; in this process unless told otherwise.

    Raises:
        ValueError: If samples are to be written and the predictor draws none, or `out` holds a run
            over other photos, or files that the front end reads are of others; of kind
            `LockedError` if another run is writing there.
        FileNotFoundError: If a path does not exist or a folder has no photo.
        FileExistsError: If `out` holds something of the user's under one of our names.
        DiskFullError: If there is no space left; what is finished stays.
        StoppedError: If `stop` said so; what is finished stays.
    """
    options = options or RunOptions()
    options.check_samples(predictor.samples)
    if not isinstance(paths, Inputs):
        paths = find_inputs(paths, options.recursive, leave_out=out)
    check_photos(predictor.front_end, paths.paths)
    if options.labels is not None:
        LabelMaps(options.labels).check(paths.paths)
    surface = open_surface(predictor.regressor, predictor.template, options.save, options.labels)
    if "iuv" in options.save and not finds_maps(predictor.regressor.network):
        log.warning(
            "--save iuv: the weights %r find no IUV maps on their way to a body: only those of "
            "the predicted bodies are drawn; do: nothing, or take weights of the method danet",
            predictor.weights_name,
        )
    if os.path.isdir(out):
        check_out(out)  # before a lock appears in a folder that is not ours
    if paths.unreadable:
        log.warning(
            "folders that could not be listed, in which no photos were searched: %s; do: change "
            "their permissions", ", ".join(paths.unreadable)
        )  # fmt: skip
    _make_folder(out)
    with locked(out, "predicting", LOCK, HOLDER):
        check_out(out)
        run = _Run(paths, out, predictor, options, progress, stop, surface)
        return run.finish(engine or LocalEngine())


@dataclass
class _Run:
    """One call of `predict_folder`."""

    inputs: Inputs
    out: Path
    predictor: Predictor
    options: RunOptions
    progress: Callable[[Progress], None] | None
    stop: Callable[[], str]
    surface: Surface | None

    def finish(self, engine: Engine) -> Summary:
        """Does everything, or what is left of it."""
        started = time.perf_counter()
        settings = settings_of_run(self.predictor, self.options) | engine.settings()
        if self.surface is not None and self.surface.prior is not None:
            settings["semantic_prior"] = self.surface.prior.digest()
        looked, common = 0, common_shape.CommonShape(None)
        if self.predictor.told.same_person:
            looked = len(self.inputs.names)
            common = self._common_shape(digest_of({key: settings[key] for key in SHAPE_SETTINGS}))
            settings["common_shape"] = common.digest
            for number in sorted(common.doubts)[:TOLD]:
                log.warning("%s: %s", self.inputs.names[number], common.doubts[number])
            if len(common.doubts) > TOLD:
                log.warning("--same-person: %d more such photos", len(common.doubts) - TOLD)
        journal = self._journal(digest_of(settings))
        job = Job(
            self.out, self.predictor, self.options, self.inputs.open, common.shape, self.surface
        )
        with journal:
            names = self._folder_names(journal)
            people = sum(len(entry["people"]) for entry in journal)
            skipped = journal.count()
            done, found = skipped, people

            def note(task: Task, record: Record) -> None:
                nonlocal done, found
                journal.add(task.number, record)
                done, found = done + 1, found + len(record["people"])
                self._tell(Progress(looked + done, looked + len(self.inputs.names), found))

            tasks = self._batches(journal, names, digest_of(settings), common.doubts)
            engine(tasks, job, note)
            head = {
                "versions": {"plausibody": version("plausibody"), "torch": torch.__version__},
                "settings": settings,
                "files_ignored": self.inputs.ignored,
                "folders": {
                    "not_searched": self.inputs.not_searched,
                    "unreadable": list(self.inputs.unreadable),
                },
                "timing": _timing(done - skipped, found - people, started, job, engine)
                if done > skipped
                else read_timing(self.out / SUMMARY),
            }
            if "report" not in self.options.save and wrote_report(self.out):
                (self.out / REPORT).unlink(missing_ok=True)  # its numbers would be old ones
            content = write_summary(self.out / SUMMARY, head, lambda: iter(journal))
        if "report" in self.options.save:
            write_report_page(self.out, content)
        (self.out / LOG).unlink()
        return Summary(self.out / SUMMARY, content, skipped)

    def _journal(self, digest: str) -> Journal:
        """Opens the journal with what earlier runs have finished."""

        def still_holds(record: Entry) -> bool:
            folder = record["folder"]
            return (
                record["settings"] == digest
                and record["file"] == self.inputs.stamp(record["path"])
                and record["status"] != "failed"
                # A run with other settings may have replaced the results, and been killed then.
                and (not folder or self._written(folder).get("settings") == digest)
            )

        journal = Journal(self.out / LOG, self.inputs.names)
        self._refuse_others(journal)
        forget = self.options.force
        journal.begin(lambda: iter(()) if forget else earlier_entries(self.out), still_holds)
        return journal

    def _refuse_others(self, journal: Journal) -> None:
        """Keeps what the summary says of other photos from being lost, unless these are gone."""
        if self.options.force:
            return
        others, shared = set(), False
        for entry, _ in earlier_entries(self.out):
            if entry["path"] in journal:
                shared = True
            else:
                others.add(os.path.abspath(entry["path"]))
        others -= {os.path.abspath(name) for name in self.inputs.names} if others else set()
        if shared:  # of a folder from which photos were taken away
            others = {path for path in others if not _is_gone(path)}
        if others:
            raise ValueError(
                f"{self.out}: wanted a folder without results, or with those of the same photos, "
                f"found {len(others)} of others, such as {min(others)}; do: choose another --out, "
                "name those photos too, or --force to give up their summary"
            )

    def _folder_names(self, journal: Journal) -> list[str]:
        names = self.inputs.names
        finished = {
            number: folder
            for number in range(len(names))
            if journal.is_done(number) and (folder := journal.read(number)["folder"])
        }
        return folder_names(names, finished, self._is_of_another)

    def _is_of_another(self, name: str, path: str) -> bool:
        """Whether an earlier run gave a folder's name to another photo, and results are there."""
        record = self._written(name)
        return bool(
            record
            and os.path.abspath(record["path"]) != os.path.abspath(path)
            and record["file"] != self.inputs.stamp(path)
        )

    def _written(self, folder: str) -> Record:
        """Gives the record in a folder of results; an empty one if there is none."""
        try:
            record = json.loads((self.out / folder / RECORD).read_bytes())
        except (OSError, ValueError):
            return {}
        is_ours = isinstance(record, dict) and {"path", "file", "settings"} <= record.keys()
        return record if is_ours else {}

    def _batches(
        self,
        journal: Journal,
        folders: Sequence[str],
        digest: str,
        doubts: Mapping[int, str],
    ) -> Iterator[list[Task]]:
        for batch in journal.batches(self.options.batch_size):
            yield [
                Task(
                    number=number,
                    blank={"path": name, "file": self.inputs.stamp(name), "settings": digest},
                    folder=folders[number],
                    is_wanted=not journal.is_done(number),
                    doubt=doubts.get(number, ""),
                )
                for number in batch
                for name in [self.inputs.names[number]]
            ]

    def _common_shape(self, settings: str) -> common_shape.CommonShape:
        """Makes the first pass over photos of one person."""
        if self.options.force:
            (self.out / common_shape.NAME).unlink(missing_ok=True)
        total = 2 * len(self.inputs.names)
        return common_shape.common_shape(
            self.out, self.inputs, self.predictor, settings, self.options.batch_size,
            lambda done: self._tell(Progress(done, total, 0)),
        )  # fmt: skip

    def _tell(self, now: Progress) -> None:
        if self.progress:
            self.progress(now)
        if now.done < now.total and (why := self.stop()):
            raise StoppedError(why, now.done, now.total)


def _make_folder(out: Path) -> None:
    """Makes the folder of the results; what `locked` says better is left to it.

    Raises:
        ValueError: If the system has no such folders.
        DiskFullError: If there is no space.
    """
    try:
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
    except DiskFullError:
        raise
    except (FileExistsError, NotADirectoryError, PermissionError):
        return
    except OSError as error:
        raise ValueError(
            f"--out {out}: wanted a folder to write into, the system makes none there "
            f"({error.strerror}); do: another --out"
        ) from error


def _is_gone(path: str) -> bool:
    """Whether a photo is not there any more; a frame of a video is, as long as the video is."""
    return not os.path.lexists(path) and not os.path.isfile(os.path.dirname(path))


def _timing(photos: int, people: int, started: float, job: Job, engine: Engine) -> dict[str, Any]:
    """Tells how fast it went; what was finished before does not count."""
    seconds = time.perf_counter() - started
    return {
        "engine": engine.name,
        "photos": photos,
        "people": people,
        "seconds": round(seconds, 3),
        "photos_per_second": round(photos / seconds, 3),
        "people_per_second": round(people / seconds, 3),
        "seconds_by_stage": {name: round(spent, 3) for name, spent in sorted(job.seconds.items())},
    }
