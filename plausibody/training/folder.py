"""The folder of a run: who may write into it, and whether what is there belongs to the same run.

RUN/config.json            the configuration
RUN/lock                   held while a process trains here
RUN/checkpoints/step_N/    the newest checkpoints
RUN/skipped.json           steps that gave nothing to learn from, if any
RUN/curves.jsonl           one line per log step: loss parts, rate, validation
RUN/tensorboard/           the same for TensorBoard, with pictures
RUN/pictures/step_N/       predictions of fixed samples and photos as training went on
RUN/best.safetensors       the weights that were best at a validation, with their card best.json
RUN/weights.safetensors    the weights to use, with their card weights.json, and of distributions
                           weights.calibration.json
RUN/run.html               all of that on a page
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from plausibody.config import RunConfig, known_keys, load_config, to_json
from plausibody.models.files import write_file

PARTS = {"config.json", "lock", "holder.txt", "checkpoints", "skipped.json", "curves.jsonl",
         "tensorboard", "pictures", "best.safetensors", "best.json", "weights.safetensors",
         "weights.json", "weights.calibration.json", "run.html"}  # fmt: skip
FREE = {"train.steps", "train.checkpoint_every", "train.keep", "train.log_every",
        "train.validate_every", "train.threads", "renderer.backend"}  # fmt: skip
"""What may change when a run is resumed: more or fewer steps only bend the learning rate's
schedule from there on."""


class LockedError(ValueError):
    """Another process trains in the same folder."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder; the system lets go when this one ends.

    Raises:
        LockedError: If one does already.
        PermissionError: If nothing can be written there.
    """
    holder = out / "holder.txt"
    lock = FileLock(out / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text("utf-8").strip() if holder.exists() else "another process"
        raise LockedError(
            f"{out}: {who} is training there; do: wait for it, stop it, or give another --out"
        ) from None
    except PermissionError as error:
        raise PermissionError(
            f"{out}: wanted a folder to write into, got no permission; do: another --out"
        ) from error
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def prepare_folder(out: Path, config: RunConfig, resume: bool, force: bool) -> RunConfig:
    """Makes the folder of a run, or finds the configuration to resume with.

    Raises:
        ValueError: If there is a run already and neither `resume` nor `force` is set, or none to
            resume, or one with another configuration.
    """
    saved = out / "config.json"
    if resume:
        if not saved.exists():
            raise ValueError(f"--resume: wanted a run in {out}, found no {saved.name}")
        before = load_config(saved)
        _same_or_refuse(before, config)
        write_file(saved, json.dumps(to_json(config), indent=2))
        return config
    if out.exists() and any(out.iterdir()):
        if not force:
            raise ValueError(
                f"{out} is not empty; do: --resume to go on with the run in it, "
                "--force to delete it, or another --out"
            )
        if not _is_run(out):
            raise ValueError(
                f"--force: {out} holds more than a run of ours, nothing was deleted; "
                "do: another --out, or empty it yourself"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(saved, json.dumps(to_json(config), indent=2))
    return config


def _is_run(out: Path) -> bool:
    """Tells a run's folder from one that must not be deleted."""
    try:
        load_config(out / "config.json")
    except (FileNotFoundError, ValueError):
        return False
    return all(path.name in PARTS for path in out.iterdir())


def _same_or_refuse(before: RunConfig, now: RunConfig) -> None:
    old, new = known_keys(before), known_keys(now)
    changed = [
        f"{key}: {old.get(key)!r} -> {new[key]!r}"
        for key in new
        if key not in FREE and old.get(key) != new[key]
    ]
    if changed:
        raise ValueError(
            "--resume: the run was started with other settings:\n  " + "\n  ".join(changed)
            + "\ndo: give the same settings, or start another run"
        )  # fmt: skip
