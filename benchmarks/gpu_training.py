"""How fast HierProb3D trains on a GPU, and a training of 20 minutes there.

    python benchmarks/gpu_training.py [--out FILE.json] [--preset paper] [--seconds 120]
    python benchmarks/gpu_training.py --train RUN [--preset gpu-20min] [--minutes 8]

The first measures both stages of the training for `--seconds` each: synthesis, network and
optimiser together, in bf16, with the share of the time in which the network is fed, and the network
alone. From both rates follows how long the whole run would take: it is written as extrapolated.

The second trains for some minutes, saves and stops; the same command goes on with the run, until it
is done. So a GPU may be borrowed piece by piece. `RUN.pieces.jsonl` keeps what each piece did. A
run goes on with its own settings; other ones are refused where `train --resume` refuses them.

Without a GPU the first writes "not measured" with the goals, unless FILE has figures, and the
second refuses. `--device cpu --seconds 5 --out trial.json` runs all the same on the processor, in
batches of four: to try the script, not for figures.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_figures import NOT_MEASURED, choose_out

from plausibody.bench import document
from plausibody.bench_training import StepTimes, stages, time_steps
from plausibody.config import RunConfig, override, parse_settings
from plausibody.config_file import to_json
from plausibody.models.checkpoint import checkpoints
from plausibody.models.files import write_file
from plausibody.presets import preset
from plausibody.sources import open_assets
from plausibody.training.history import read_history

OUT = Path(__file__).parent / "results" / "gpu_training.json"
Goals = Mapping[int | None, int]
"""Samples per second of each stage, on a GPU of the H200's class."""
PUBLISHED: Goals = {1: 7600, 2: 5000}
GOALS = {"paper": PUBLISHED, "hierprob": PUBLISHED}
"""By preset; others have none."""
SPANS = 10
"""Into which a measurement is split, to see whether its rate is steady."""
TRIAL_BATCH = 4
"""Samples per step on a CPU."""
PATIENCE = 120
"""Seconds that a training may take to save and stop."""


@dataclass(frozen=True)
class Unmeasured:
    """One stage for which there was no device."""

    stage: int | None
    samples_per_second: str
    """Always `NOT_MEASURED`."""
    goal: int | None
    """For `samples_per_second`, if the preset has one."""
    reason: str


@dataclass(frozen=True)
class StageFigures:
    """One stage, measured."""

    stage: int | None
    batch: int
    """Samples per step."""
    seconds: float
    steps: int
    samples_per_second: float
    slowest: float
    """The same over the slowest tenth of the time."""
    fastest: float
    goal: int | None
    """For `samples_per_second`, if the preset has one."""
    fed: float
    """Share of the time in which the network does not wait for samples."""
    network_alone: float
    """Samples per second on one batch again and again: the ideal."""
    synthesis_alone: float
    """Samples per second that the stream makes with nothing beside it."""
    shares: dict[str, float]
    """Of the time: idle, forward, backward, optimiser."""
    megabytes: float | None
    """Most memory of the GPU that was allocated."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help=f"default: {OUT.name} among the results")
    parser.add_argument("--preset", help="default: paper; gpu-20min with --train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each stage")
    parser.add_argument("--train", type=Path, metavar="RUN", help="folder of a run to go on with")
    parser.add_argument("--minutes", type=float, default=8.0, help="of this piece of the training")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    given = parser.parse_args()
    missing = given.device == "cuda" and not torch.cuda.is_available()
    if given.train and missing:
        parser.exit(
            2,
            "gpu_training: --train: wanted a CUDA device, found none, so nothing was done; "
            "do: run it where there is one, or try it with --device cpu\n",
        )
    if given.train:
        sys.exit(train_piece(given))
    try:
        out = choose_out(given.out, OUT, given.device, "samples_per_second")
    except ValueError as error:
        parser.exit(2, f"gpu_training: {error}\n")
    name = given.preset or "paper"
    run, goals = preset(name), GOALS.get(name, {})
    trial = {"train.batch_size": TRIAL_BATCH} if given.device == "cpu" else {}
    config = override(run, trial | parse_settings(given.settings))
    if missing:
        record = without_device(config, goals)
    else:
        record = measure(config, given.device, given.seconds, goals)
        record["extrapolated"] = extrapolate(run, record["rows"])
    write_file(out, json.dumps(record, indent=2) + "\n")
    print(f"{out}: written", file=sys.stderr)


def without_device(config: RunConfig, goals: Goals) -> dict[str, Any]:
    """Gives the record of a machine without a CUDA device: what would be measured."""
    reason = "no CUDA device here"
    print(f"{reason}: every figure will be written as {NOT_MEASURED}", file=sys.stderr)
    rows = [Unmeasured(stage, NOT_MEASURED, goals.get(stage), reason) for stage in stages(config)]
    return {**document(rows, command_line()), "device": f"none: {reason}"}


def command_line() -> str:
    """What the user ran."""
    return " ".join(["python", "benchmarks/gpu_training.py", *sys.argv[1:]])


def measure(config: RunConfig, device: str, seconds: float, goals: Goals) -> dict[str, Any]:
    """Measures all stages of a run; gives the record."""
    figures = []
    for figure in stage_figures(config, device, seconds, goals):
        print(
            f"stage {figure.stage}: {figure.samples_per_second:,.1f} samples/s for "
            f"{figure.seconds:.0f} s, fed {figure.fed:.1%}; network alone "
            f"{figure.network_alone:,.1f}, synthesis alone {figure.synthesis_alone:,.1f}",
            file=sys.stderr,
        )
        figures.append(figure)
    record = document(figures, command_line())
    name = torch.cuda.get_device_name() if device == "cuda" else "none: a trial on the processor"
    return {
        **record,
        "processor": record["device"],
        "device": name,
        "cuda": torch.version.cuda,
        "config": to_json(config),
    }


def stage_figures(
    config: RunConfig, device: str, seconds: float, goals: Goals
) -> Iterator[StageFigures]:
    """Measures one stage after the other."""
    assets = open_assets(config, "train")
    for stage in stages(config):
        yield read_figures(time_steps(config, assets, device, seconds, stage), goals)


def read_figures(times: StepTimes, goals: Goals) -> StageFigures:
    """Gives what the record says of a stage."""
    spans = times.rates(SPANS)
    return StageFigures(
        stage=times.stage,
        batch=times.batch,
        seconds=round(times.seconds, 2),
        steps=len(times.steps),
        samples_per_second=round(times.rate, 2),
        slowest=round(min(spans), 2),
        fastest=round(max(spans), 2),
        goal=goals.get(times.stage),
        fed=round(times.fed, 4),
        network_alone=round(times.ideal, 2),
        synthesis_alone=round(times.batch / times.synthesis, 2),
        shares={part: round(each / times.seconds, 4) for part, each in times.parts.items()},
        megabytes=None if times.megabytes is None else round(times.megabytes, 1),
    )


def extrapolate(run: RunConfig, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Tells how long the whole run would take at the rates of its stages.

    Args:
        run: As its preset has it; its samples count, whatever the batches that were measured.
        rows: Of its stages.
    """
    train = run.train
    first = min(train.second_stage, train.steps) if len(rows) > 1 else 0
    steps = [first, train.steps - first] if len(rows) > 1 else [train.steps]
    samples = [count * train.batch_size for count in steps]
    seconds = sum(
        count / row["samples_per_second"] for count, row in zip(samples, rows, strict=True)
    )
    return {
        "what": "the whole run at the measured rates; it was not trained to its end",
        "samples": sum(samples),
        "samples_by_stage": samples,
        "hours": round(seconds / 3600, 3),
    }


def train_piece(given: argparse.Namespace) -> int:
    """Trains for some minutes, from where the run stopped before, and tells how far it came.

    Returns:
        0 if the run is done or was saved, else the exit code of the training.
    """
    run: Path = given.train
    resumes = (run / "config.json").exists()
    command = [sys.executable, "-m", "plausibody", "train", "--out", str(run),
               "--device", given.device]  # fmt: skip
    named = given.preset or (None if resumes else "gpu-20min")
    command += ["--resume"] if resumes else []
    command += ["--preset", named] if named else []  # a run of other settings refuses it
    for setting in given.settings:
        command += ["--set", setting]
    run.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    process = subprocess.Popen(command)
    stopped = False
    try:
        process.wait(60 * given.minutes)
    except subprocess.TimeoutExpired:
        stopped = True
        process.send_signal(signal.SIGTERM)  # it finishes its step, saves and ends
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"it did not stop within {PATIENCE} s and was killed", file=sys.stderr)
    code = process.returncode
    seconds = round(time.time() - started, 1)
    piece = {"seconds": seconds, "stopped": stopped, "exit": code, **progress(run)}
    piece["done"] &= code == 0  # else it stopped while it measured its intervals
    with run.with_name(f"{run.name}.pieces.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(piece) + "\n")
    print(json.dumps(piece, indent=2))
    saved = stopped and code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    return 0 if saved else code


def progress(run: Path) -> dict[str, Any]:
    """Tells how far a run is, and how large its newest checkpoint is."""
    if not (run / "config.json").is_file():  # its settings were refused
        return {"step": 0, "done": False}
    found = read_history(run)
    folders, done = checkpoints(run / "checkpoints"), {"done": found.finished}
    if not folders:
        return {"step": 0, **done}
    size = sum(path.stat().st_size for path in folders[-1].iterdir())
    return {
        "step": int(found.record["step"]),
        "samples_per_second": found.last("samples_per_second"),
        "checkpoint_megabytes": round(size / 1e6, 1),
        **done,
    }


if __name__ == "__main__":
    main()
