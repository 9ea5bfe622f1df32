"""Kills a training at random moments, resumes it, and compares its end with an unbroken run's.

    python benchmarks/torture_resume.py OUT.json --runs DIR [--kills 20] [--method straps hierprob]

Runs are real processes, killed by SIGKILL after a random time: while they start, as they go on, or
aimed at the middle of a checkpoint, which is written every second step. One scenario more gives a
run no space for its files (RLIMIT_FSIZE), and one a loss that is no number. Each run ends in
another process, and is the same as the unbroken one if every file of tensors in its last
checkpoint, its shared weights and its curves are, bit for bit. Networks are small: what is tortured
is the saving. DIR is emptied of earlier tortures of the same methods; OUT.json keeps what was found
of others, with the calls that found it.

Processes come from a server that has imported everything already, as that takes longer than the
training; they share nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody.bench import document
from plausibody.config import RunConfig, override
from plausibody.models.checkpoint import load_latest
from plausibody.models.files import DiskFullError, write_file
from plausibody.presets import preset
from plausibody.synth.batch import Batch
from plausibody.training.fit import Progress
from plausibody.training.folder import prepare_folder
from plausibody.training.record import commit
from plausibody.training.run import train_run
from plausibody.training.showing import Showing
from plausibody.training.trainer import Trainer

PRESETS = {"straps": "straps", "hierprob": "hierprob-lite"}
"""What is trained: learned weights of losses, and distributions that cross into stage 2."""
EVERY = 2
"""Steps between checkpoints."""
AIMS, WEIGHTS = ("start", "anywhere", "checkpoint"), (0.15, 0.45, 0.4)
"""What kills are aimed at, and how often."""
LARGEST = 20_000
"""Bytes that a file may have in the run without space: a checkpoint needs more."""


def settings(method: str, steps: int) -> RunConfig:
    """Gives the configuration of a small training."""
    values: dict[str, Any] = {
        "train.batch_size": 8,
        "train.steps": steps,
        "train.rate": 1e-3,
        "train.warm_up": 2,
        "train.average": 0.99,
        "train.precision": "32-true",
        "train.checkpoint_every": EVERY,
        "train.validate_every": 5,
        "train.log_every": 1,
        "train.threads": 1,
        "train.second_stage": steps // 2,
        "proxy.size": 32,
        "regressor.encoder": "lite",
        "regressor.features": 48,
        "regressor.width": 8,
        "regressor.blocks": 1,
    }
    own: dict[str, dict[str, Any]] = {
        "straps": {"stream.straps.size": 32},
        "hierprob": {"stream.lite.frame": 40, "stream.lite.shape.gendered": 0.0,
                     "regressor.gendered": False},
    }  # fmt: skip
    return override(preset(PRESETS[method]), values | own[method])


# In the process that trains.


def train(
    config: RunConfig, out: Path, resume: bool, short_at: int, bad: int, tell: Connection
) -> None:
    """Trains, and tells each step.

    Args:
        short_at: Step after which files may not grow beyond `LARGEST`; never if negative.
        bad: Step whose loss is no number; none if negative.
    """
    torch.set_num_threads(1)
    honest = Trainer.loss

    def loss(trainer: Trainer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        found, parts = honest(trainer, batch)
        return (found * float("nan") if trainer.step == bad else found), parts

    def watch(progress: Progress) -> None:
        tell.send(progress.step)
        if progress.step == short_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, resource.RLIM_INFINITY))

    Trainer.loss = loss  # type: ignore[method-assign]
    # Each process would look for people on photos, and draw charts, longer than it trains.
    Showing.pictures = lambda *_: {}  # type: ignore[method-assign]
    Showing.page = lambda *_: None  # type: ignore[method-assign]
    try:
        train_run(config, out, "cpu", resume, watch, validation=_figures)
    except DiskFullError as error:
        tell.send(str(error))
        sys.exit(1)


def _figures(trainer: Trainer) -> dict[str, float]:
    """Stands for a validation, so that the best weights are kept; the first is not the last."""
    return {"pa_mpjpe": float(abs(trainer.step - 15))}


# In the process that tortures.


@dataclass(frozen=True)
class Row:
    """One scenario."""

    scenario: str
    """killed, no space, or no number."""
    method: str
    steps: int
    """Of a run."""
    runs: int
    """That were killed until they were finished."""
    kills: int
    at_start: int
    """Kills before the first step of a process."""
    in_checkpoint: int
    """Kills that left an unfinished checkpoint, or one half removed."""
    second_stage: int
    """Kills after the first step of the second stage."""
    steps_repeated: int
    """Of all runs together, because they came after the last checkpoint."""
    most_repeated: int
    """After one kill; a checkpoint was written every second step."""
    same: bool
    """Whether every run ended bit for bit like the unbroken one."""
    told: str
    """What the run said, without its folder."""
    command: str = "unknown"
    """The call that found it; unknown of rows that were kept without."""
    commit: str = "unknown"
    """At which it was found."""


class Leg:
    """One process of a run."""

    def __init__(
        self, config: RunConfig, out: Path, resume: bool, short_at: int = -1, bad: int = -1
    ):
        context = multiprocessing.get_context("forkserver")
        self._heard, tell = context.Pipe(duplex=False)
        arguments = (config, out, resume, short_at, bad, tell)
        self.process: BaseProcess = context.Process(target=train, args=arguments)
        self.process.start()
        tell.close()
        self.steps: list[int] = []
        self.error = ""

    def listen(self, seconds: float | None = None) -> None:
        """Notes what the process tells, for some time or until it ends."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            left = None if end is None else max(end - time.monotonic(), 0)
            try:
                if self._heard.poll(left):
                    heard = self._heard.recv()
                    self.steps += [heard] if isinstance(heard, int) else []
                    self.error = heard if isinstance(heard, str) else self.error
            except EOFError:
                return

    def first_step(self) -> None:
        """Waits for a step, or the end."""
        while not self.steps and self.process.is_alive():
            self.listen(0.02)

    def writing(self, out: Path, old: set[tuple[str, int]]) -> None:
        """Waits until a checkpoint is being written that was not before, or the end."""
        while self.process.is_alive() and not unfinished_checkpoints(out) - old:
            self.listen(0.001)

    def finish(self) -> int:
        """Lets the process come to its end, and gives its exit code."""
        self.listen()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> bool:
        """Ends the process by SIGKILL; tells whether it was still training."""
        self.process.kill()
        return self.finish() < 0


def ending(out: Path) -> dict[str, Any]:
    """Gives all that a run ends with, apart from how long it took."""
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        for name in ("samples_per_second", "seconds"):
            line.pop(name, None)
    _, state, passed = load_latest(out / "checkpoints")
    weights = {name: json.loads((out / f"{name}.json").read_text("utf-8"))["sha256"]
               for name in ("weights", "best")}  # fmt: skip
    kept = ("step", "files", "smooth", "stage", "figures", "best", "skipped")
    state = {name: state[name] for name in kept}
    return {"curves": lines, "passed": passed, "weights": weights, **state}


def unbroken(config: RunConfig, out: Path) -> float:
    """Trains in one process, and gives the time from its first step to its last [s]."""
    leg = Leg(config, out, resume=False)
    leg.first_step()
    started = time.monotonic()
    if leg.finish():
        raise RuntimeError(f"{out}: the unbroken run ended with {leg.process.exitcode}")
    return time.monotonic() - started


def unfinished_checkpoints(out: Path) -> set[tuple[str, int]]:
    """Lists by name and time what is left of checkpoints that were being written or removed."""
    found = set()
    for path in (out / "checkpoints").glob(".step_*"):
        with contextlib.suppress(FileNotFoundError):  # finished in the meantime
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def torture(
    method: str, config: RunConfig, runs: Path, kills: int, seconds: float, chance: random.Random
) -> Row:
    """Kills runs until there were so many kills, and compares each with the unbroken one.

    Args:
        seconds: The unbroken run's, between its first step and its last.
    """
    wanted, same, done = ending(runs / "unbroken"), True, 0
    at_start = in_checkpoint = second_stage = number = 0
    repeated: list[int] = []
    out = runs / "killed"
    while True:
        shutil.rmtree(out, ignore_errors=True)
        number, reached, finished = number + 1, 0, False
        while not finished:
            old = unfinished_checkpoints(out)
            leg = Leg(config, out, resume=(out / "config.json").exists())
            if done == kills:
                finished = leg.finish() == 0
                if not finished:
                    raise RuntimeError(f"{out}: a resumed run ended with {leg.process.exitcode}")
            else:
                aim = chance.choices(AIMS, WEIGHTS)[0]
                if aim != "start":
                    leg.first_step()
                if aim == "checkpoint":
                    leg.writing(out, old)
                    leg.listen(chance.uniform(0, 0.02))
                else:
                    leg.listen(chance.uniform(0, seconds / 5))
                finished = not leg.kill()
                done += not finished
            if leg.steps and reached:
                repeated.append(reached - leg.steps[0] + 1)
            if not finished:
                at_start += not leg.steps
                second_stage += max(leg.steps, default=reached) > config.train.second_stage
                in_checkpoint += bool(unfinished_checkpoints(out) - old)
            reached = max(leg.steps, default=reached)
        same = same and ending(out) == wanted
        print(f"{method}: {done} kills, run {number}, same: {same}", file=sys.stderr)
        if done == kills:
            break
    stages = second_stage if config.method == "hierprob" else 0
    return Row("killed", method, config.train.steps, number, done, at_start, in_checkpoint, stages,
               sum(repeated), max(repeated, default=0), same, "")  # fmt: skip


def no_space(method: str, config: RunConfig, runs: Path) -> Row:
    """Lets files not grow from some step on, and later again."""
    out = runs / "no_space"
    leg = Leg(config, out, resume=False, short_at=config.train.steps // 2 + 1)
    stopped = leg.finish() == 1 and bool(leg.error)
    last = load_latest(out / "checkpoints")[1]["step"]
    again = Leg(config, out, resume=True)
    ended = again.finish() == 0
    same = stopped and ended and ending(out) == ending(runs / "unbroken")
    repeated = max(leg.steps) - last
    return Row("no space", method, config.train.steps, 1, 0, 0, 0, 0, repeated, repeated, same,
               leg.error.replace(f"{out}/", ""))  # fmt: skip


def no_number(method: str, config: RunConfig, runs: Path) -> Row:
    """Gives one step a loss that is no number; compares with a run that is told to skip it."""
    bad = config.train.steps // 2 + 1
    told = runs / "told"
    prepare_folder(told, config, resume=False, force=False)
    (told / "skipped.json").write_text(f"[{bad}]", "utf-8")
    ended = Leg(config, told, resume=True).finish() == 0
    out = runs / "no_number"
    leg = Leg(config, out, resume=False, bad=bad)
    same = leg.finish() == 0 and ended and ending(out) == ending(told)
    repeated = len(leg.steps) - len(set(leg.steps))
    skipped = f"skipped: {ending(out)['skipped']}"
    return Row("no number", method, config.train.steps, 1, 0, 0, 0, 0, repeated, repeated, same,
               skipped)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Shows what was found."""
    lines = [
        "| scenario | method | steps | kills | at the start, in a checkpoint, in stage 2 | steps "
        "done again, at most | bit for bit the same |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        where = f"{row.at_start}, {row.in_checkpoint}, {row.second_stage}"
        again = f"{row.steps_repeated}, {row.most_repeated}"
        same = "yes" if row.same else "**no**"
        lines.append(
            f"| {row.scenario} | {row.method} | {row.steps} | {row.kills} | {where} | {again} | "
            f"{same} |"
        )
    return "\n".join(lines)


def kept(out: Path, done: Sequence[str]) -> list[Row]:
    """Reads what earlier calls found of other methods."""
    if not out.is_file():
        return []
    found = [Row(**row) for row in json.loads(out.read_text("utf-8"))["rows"]]
    return [row for row in found if row.method not in done]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20, help="Of both methods together.")
    parser.add_argument("--method", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    multiprocessing.set_forkserver_preload(["plausibody.training.run", "plausibody.bench"])
    rows = kept(given.out, given.method)
    command = shlex.join(["python", *sys.argv])
    for method in given.method:
        chance = random.Random(f"{given.seed} {method}")
        config, runs = settings(method, given.steps), given.runs / f"torture_{method}"
        shutil.rmtree(runs, ignore_errors=True)
        seconds = unbroken(config, runs / "unbroken")
        kills = -(-given.kills // len(PRESETS))
        found = [torture(method, config, runs, kills, seconds, chance)]
        found += [no_space(method, config, runs), no_number(method, config, runs)]
        rows += [replace(row, command=command, commit=commit()) for row in found]
        rows = kept(given.out, [row.method for row in rows]) + rows
        write_file(given.out, json.dumps(document(rows, command), indent=2) + "\n")
    print(table(rows))
    sys.exit(not all(row.same for row in rows))


if __name__ == "__main__":
    main()
