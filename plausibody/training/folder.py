"""The folder of a run: who may write into it, and whether what is there belongs to the same run.

RUN/config.json            the configuration
RUN/lock                   held while a process trains here, which holder.txt names
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
import shutil
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from plausibody.config import RunConfig, known_keys
from plausibody.config_file import load_config, to_json
from plausibody.models.files import unfinished, write_file
from plausibody.models.locks import locked
from plausibody.models.weights import find_weights
from plausibody.training import repeating
from plausibody.training.origins import started_from

CHECKPOINTS = "checkpoints"
PARTS = {"config.json", "lock", "holder.txt", CHECKPOINTS, "skipped.json", "curves.jsonl",
         "tensorboard", "pictures", "best.safetensors", "best.json", "weights.safetensors",
         "weights.json", "weights.calibration.json", "run.html"}  # fmt: skip
FREE = {"train.steps", "train.checkpoint_every", "train.keep", "train.log_every",
        "train.validate_every", "train.threads", "train.stored", "renderer.backend"}  # fmt: skip
"""What may change when a run is resumed: more or fewer steps only bend the learning rate's
schedule from there on. Our own backends draw the same pictures; PyTorch3D does not."""
FIXED = {"train.batch_size"}
"""What no run can change: its samples are numbered by step."""
HARMLESS = FREE - {"train.steps"}
"""Of these, those that leave the weights as they are, or whose effect (of threads) is told."""
FOREIGN = "pytorch3d"
"""The backend whose pictures are not those of the others."""
LOCK = {"lock", "holder.txt"}
DOING = "training"
"""What whoever holds the lock does."""


@contextlib.contextmanager
def claimed(
    out: Path,
    config: RunConfig,
    resume: bool = False,
    force: bool = False,
) -> Iterator[None]:
    """Gives a folder to one run, for as long as the context lasts; nothing is deleted yet.

    Args:
        out: The folder, which need not exist.
        config: Of the run.
        resume: Whether to go on with the run in it.
        force: Without `resume`, whether a run in it may be deleted. With `resume`, whether the run
            may go on with other settings.

    Raises:
        LockedError: If another process trains there.
        PermissionError: If nothing can be written there.
        ValueError: As of `prepare_folder`.
    """
    check_folder(out, config, resume, force)  # before a lock appears in a folder that is not ours
    with locked(out, DOING):
        check_folder(out, config, resume, force)  # as the last one to hold the lock left it
        yield


def prepare_folder(out: Path, config: RunConfig, resume: bool, force: bool) -> None:
    """Empties the folder of a new run and writes its configuration; leaves a resumed run as it is.

    The configuration of a resumed run is written by `write_config` once its checkpoint fits.

    Raises:
        ValueError: If there is a run already and neither `resume` nor `force` is set, or none to
            resume, or one of another method, or without `force` one with other settings.
    """
    check_folder(out, config, resume, force)
    if resume:
        return
    out.mkdir(parents=True, exist_ok=True)
    for path in out.iterdir():
        if path.name in LOCK:  # it must stay the same file, or it would not lock others out
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_config(out, config)


def write_config(out: Path, config: RunConfig) -> None:
    """Writes the configuration of a run into its folder."""
    write_file(out / "config.json", json.dumps(to_json(config), indent=2))


def check_folder(out: Path, config: RunConfig, resume: bool, force: bool) -> None:
    """Looks whether a run may begin or go on in a folder, and changes nothing.

    Raises:
        ValueError: As of `prepare_folder`.
    """
    saved = out / "config.json"
    if resume:
        if not saved.exists():
            raise ValueError(f"--resume: wanted a run in {out}, found no {saved.name}")
        _require_same(out, load_config(saved), config, force)
    elif out.is_dir() and any(_matters(path) for path in out.iterdir()):
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
        start = started_from(config)
        if start and find_weights(start).resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"--force: {start} is in {out}, which would be deleted before the new run has a "
                "checkpoint; do: another --out, or copy these weights elsewhere"
            )


def _matters(path: Path) -> bool:
    """Tells what a run left from its lock and from files whose writing did not finish."""
    return path.name not in LOCK and not _is_draft(path)


def _is_draft(path: Path) -> bool:
    return any(unfinished(path.with_name(name)) == path for name in PARTS)


def _is_run(out: Path) -> bool:
    """Tells a run's folder from one that must not be deleted."""
    try:
        load_config(out / "config.json")
    except (FileNotFoundError, ValueError):
        return False
    return all(path.name in PARTS or _is_draft(path) for path in out.iterdir())


def differences(before: RunConfig, now: RunConfig, free: Set[str] = FREE) -> list[str]:
    """Lists the settings that two configurations do not share, apart from those that are free."""
    changes = _changes(before, now)
    return _lines(changes, {k for k, both in changes.items() if k not in free or FOREIGN in both})


def _changes(before: RunConfig, now: RunConfig) -> dict[str, tuple[Any, Any]]:
    return repeating.differences(known_keys(before), known_keys(now))


def _lines(changes: Mapping[str, tuple[Any, Any]], keys: Set[str]) -> list[str]:
    """Tells what some settings were and are."""
    return [f"{key}: {old!r} -> {new!r}" for key, (old, new) in changes.items() if key in keys]


def _require_same(out: Path, before: RunConfig, now: RunConfig, force: bool) -> None:
    if before.method != now.method:
        raise ValueError(
            f"--resume: the run in {out} is of the method {before.method}, came {now.method}; "
            "do: leave out --method and --preset, or give another --out"
        )
    if fixed := _lines(_changes(before, now), FIXED):
        raise ValueError(
            f"--resume: {'; '.join(fixed)}: wanted the same as before, as samples are numbered by "
            "step; do: give the old value, or start a new run with another --out, which "
            "--init-weights lets start from the weights of this one"
        )
    changed = differences(before, now)
    if changed and not force:
        raise ValueError(
            "--resume: the run was started with other settings:\n  " + "\n  ".join(changed)
            + "\ndo: give the same settings, or --resume --force to go on with the new ones from "
            "the newest checkpoint, or another --out"
        )  # fmt: skip
