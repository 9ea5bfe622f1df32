"""Runs of `predict_folder` in processes of their own, some of which kill themselves.

`python bulk_run.py PERSON RUNS` reads what `test_bulk_killed` prepares: a known person, and a list
of runs. Modules are imported once; each run is a fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody.cli import main as main_command
from plausibody.predict.bulk import keeping
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import predict_folder
from plausibody.predict.front_ends.front_end import ImageResult, Picture
from plausibody.predict.looking import open_or_explain


class ReadingFrontEnd:
    """Opens each picture and finds in it as many people as its name says.

    What it sees depends on the other pictures of the batch, as of nets the last digits do.
    """

    def __init__(self, known: Any, die_at: int):
        self.known, self.die_at, self.calls = known, die_at, 0

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> list[ImageResult]:
        self.calls += 1
        if self.calls == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        batch = sum(len(str(picture)) for picture in pictures) + len(pictures)
        return [self._look(picture, batch, max_people) for picture in pictures]

    def _look(self, picture: Picture, batch: int, most: int | None) -> ImageResult:
        opened = open_or_explain(picture)
        if not isinstance(opened, Tensor):
            return opened
        count = {"nobody": 0, "crowd": 3}.get(Path(str(picture)).stem, 1)
        person = replace(self.known.person, box=self.known.person.box + batch / 64)
        height, width = self.known.size
        status, message = ("ok", "") if count else ("no_person", "nobody here")
        return ImageResult(str(picture), width, height, status, message, ((person,) * count)[:most])


def run(known: Any, spec: dict[str, Any]) -> None:
    """Does one run; never returns if it is to die."""
    _obey_permissions()
    _end_while_writing(spec.get("end_writing", 0), spec.get("by", signal.SIGKILL))
    if "command" in spec:
        main_command(spec["command"])
    predictor = known.doubting_predictor(same_person=spec["same_person"], person="main")
    if not spec["same_person"]:
        predictor.person = "all"
    predictor.front_end = ReadingFrontEnd(known, spec.get("die_looking", 0))
    options = RunOptions(save=frozenset(spec["save"]), batch_size=4, recursive=True)
    predict_folder([Path(spec["photos"])], Path(spec["out"]), predictor, options)


def _end_while_writing(at: int, by: int) -> None:
    """Sends a signal to this process when it writes so many files of photos."""
    write, written = keeping.write_file, 0

    def writing(path: Path, content: Any) -> None:
        nonlocal written
        written += 1
        if written == at:
            path.write_bytes(b"half of it")
            os.kill(os.getpid(), by)
        write(path, content)

    keeping.write_file = writing


def _obey_permissions() -> None:
    """Takes from root the right to read what nobody may read."""
    if os.geteuid() != 0:
        return
    system = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if system.capget(header, data) == 0:
        data[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        system.capset(header, data)


def main(person: str, runs: str) -> None:
    torch.set_num_threads(1)
    sys.path.append(str(Path(__file__).parents[1]))  # for tests.conftest; the package comes first
    known = pickle.loads(Path(person).read_bytes())
    for spec in json.loads(Path(runs).read_text()):
        child = os.fork()
        if child == 0:
            run(known, spec)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(-status if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
