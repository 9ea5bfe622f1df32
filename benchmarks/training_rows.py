"""What benchmarks of several trainings share: each is made by a command that anyone can repeat."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from plausibody.config import override, parse_settings
from plausibody.models.files import write_file
from plausibody.presets import PRESETS
from plausibody.sources import open_assets
from plausibody.synth.generator import BatchGenerator
from plausibody.training.estimates import estimate
from plausibody.training.trainer import Trainer


def train_words(preset: str, settings: str, seed: int, steps: int, out: Path) -> list[str]:
    """Gives the words of the command of a training.

    Args:
        settings: What differs from the preset, `key=value` with blanks between.
        seed: Of network and stream.
        out: Folder of the run.
    """
    pairs = [part for pair in settings.split() for part in ("--set", pair)]
    numbers = ["--seed", str(seed), "--steps", str(steps)]
    return ["synth-train", "--preset", preset, *numbers, *pairs, "--out", str(out)]


def train(words: list[str], say: Callable[[str], None] = print) -> Path:
    """Trains, goes on with a training that was stopped, or takes what is finished.

    Args:
        words: From `train_words`.

    Returns:
        The weights.

    Raises:
        subprocess.CalledProcessError: If the training fails; its folder stays for another call.
    """
    out = Path(words[-1])
    weights = out / "weights.safetensors"
    if not weights.is_file():
        resume = ["--resume"] if (out / "config.json").is_file() else []
        say(f"$ {shlex.join([*words, *resume])}")
        program = Path(sys.executable).with_name(words[0])
        started = time.monotonic()
        subprocess.run([str(program), *words[1:], "--quiet", *resume], check=True)
        say(f"  done in {(time.monotonic() - started) / 60:.1f} minutes")
    return weights


def steps_within(preset: str, settings: str, minutes: float) -> int:
    """Gives how many steps of a training fit into a time on this machine, from a few of them."""
    config = override(PRESETS[preset](), parse_settings(settings.split()))
    assets = open_assets(config, "train")
    trainer = Trainer(config, assets)
    told = estimate(trainer, BatchGenerator(config, assets, trainer.device))
    slowest = max(plan.seconds for plan in told.stages)
    return max(int(60 * minutes / slowest), 1)


def decide_steps(runs: Path, preset: str, steps: int | None, minutes: float) -> int:
    """Gives the steps of all trainings: those of the folder's first call, if there was one.

    Args:
        runs: The folder.
        preset: Of the trainings.
        steps: Of each, if they are told.
        minutes: Of each, if not.
    """
    plan = runs / "plan.json"
    if plan.is_file():
        planned = int(json.loads(plan.read_text("utf-8"))["steps"])
        if steps not in (None, planned):
            raise SystemExit(
                f"--steps: wanted the {planned} that {runs} was begun with, got {steps}; "
                "do: another --runs"
            )
        return planned
    steps = steps or steps_within(preset, "", minutes)
    runs.mkdir(parents=True, exist_ok=True)
    write_file(plan, json.dumps({"steps": steps}))
    return steps
