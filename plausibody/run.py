"""A training run on disk: its folder, its record, its curves, and how it goes on after a stop.

RUN/config.json          the configuration
RUN/checkpoints/step_N/  the newest checkpoints
RUN/curves.jsonl         one line per log step: loss parts, rate
RUN/tensorboard/         the same for TensorBoard, with pictures
RUN/weights.safetensors  the weights to use, with their card weights.json, and of distributions
                         weights.calibration.json
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from plausibody.config import RunConfig, known_keys, load_config, to_json
from plausibody.models.checkpoint import CheckpointError
from plausibody.models.files import write_file
from plausibody.preview import draw_predictions
from plausibody.synth.generator import COLOURED, BatchGenerator, draws_genders, prefetch
from plausibody.synth.looks import Looks, skipped_lines
from plausibody.synth.stores import SynthAssets, load_assets
from plausibody.train import Progress, Trainer, export, fit, start_record

_PARTS = {"config.json", "checkpoints", "curves.jsonl", "tensorboard", "weights.safetensors",
          "weights.json", "weights.calibration.json"}  # fmt: skip

PICTURED = 16
"""Synthetic people whose predictions are drawn as training goes on."""


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
    return all(path.name in _PARTS for path in out.iterdir())


def _same_or_refuse(before: RunConfig, now: RunConfig) -> None:
    old, new = known_keys(before), known_keys(now)
    # More or fewer steps only bend the learning rate's schedule from here on.
    free = {"train.steps", "train.checkpoint_every", "train.keep", "train.log_every",
            "train.validate_every", "train.threads", "renderer.backend"}  # fmt: skip
    changed = [
        f"{key}: {old.get(key)!r} -> {new[key]!r}"
        for key in new
        if key not in free and old.get(key) != new[key]
    ]
    if changed:
        raise ValueError(
            "--resume: the run was started with other settings:\n  " + "\n  ".join(changed)
            + "\ndo: give the same settings, or start another run"
        )  # fmt: skip


def open_assets(
    config: RunConfig,
    split: str,
    looks: Looks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SynthAssets:
    """Opens what the stream of a run draws from.

    Args:
        split: Of the poses.
        looks: Textures and backgrounds, where they are open already.
        progress: Is told how many textures of how many are made, the first time they are needed.
    """
    coloured = config.stream.recipe in COLOURED and looks is None
    assets = load_assets(
        split, config.gender, sources=config.sources, coloured=coloured, progress=progress,
        gendered=draws_genders(config.stream),
    )  # fmt: skip
    return assets if looks is None else dataclasses.replace(assets, looks=looks)


def train_run(
    config: RunConfig,
    out: Path,
    device: str = "auto",
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda message: None,
    validation: Callable[[Trainer], dict[str, float]] | None = None,
) -> Path:
    """Trains, from the start or from the newest checkpoint, and exports the weights.

    Args:
        config: Of the run.
        out: Its folder, made by `prepare_folder`.
        device: auto, cpu or cuda.
        resume: Whether to go on from the newest checkpoint that is whole.
        watch: Is told the progress.
        say: Is told what a person should know.
        validation: Measures the trainer's best network; its figures go into curves and card.

    Returns:
        The weights.
    """

    def made(done: int, total: int) -> None:
        if done % 16 == 0 and done < total:
            say(f"textures, made once: {done} of {total}")

    assets = open_assets(config, "train", progress=made)
    trainer = Trainer(config, assets, device)
    checkpoints = out / "checkpoints"
    figures = _resume(trainer, checkpoints, say) if resume else {}
    backend = config.renderer.backend
    batches = BatchGenerator(config, assets, trainer.device)
    held_out = open_assets(config, "val", assets.looks)
    shown = BatchGenerator.of(config.stream, config.proxy, held_out, PICTURED, backend)[0]
    record = start_record(config)
    started = time.time()
    with _Curves(out, trainer.step) as curves:

        def log(progress: Progress) -> None:
            rate = {"samples_per_second": progress.samples_per_second}
            curves.write(progress.step, {f"train/{k}": v for k, v in progress.parts.items()} | rate)
            watch(progress)

        def validate(now: Trainer) -> None:
            curves.show(now.step, draw_predictions(now.best, shown, assets, now.device))
            if validation is not None:
                figures.update(validation(now))
                curves.write(now.step, {f"val/{k}": v for k, v in figures.items()})

        def state() -> dict[str, Any]:
            return {**record, "figures": figures, "seconds": time.time() - started}

        stream = prefetch(batches, trainer.step, config.train.steps, finish=trainer.prepare)
        fit(trainer, stream, checkpoints, state, log, validate)
    for line in skipped_lines(assets.looks):
        say(line)
    weights = out / "weights.safetensors"
    export(trainer, weights, {**record, "figures": figures})
    return weights


def _resume(trainer: Trainer, checkpoints: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Goes back to the newest whole checkpoint, if any; gives the figures of the validation."""
    try:
        before, messages = trainer.restore(checkpoints)
    except CheckpointError as error:
        if any(checkpoints.glob("step_*")):
            raise
        say(f"no finished checkpoint yet, starting over ({error})")
        return {}
    for message in messages:
        say(message)
    say(f"resumed at step {trainer.step} of {trainer.config.train.steps}")
    figures: dict[str, float] = before.get("figures", {})
    return figures


class _Curves:
    """Keeps a run's figures, in a file and for TensorBoard, and its pictures for TensorBoard."""

    def __init__(self, out: Path, step: int):
        """Args:
        step: After which a run goes on; later figures are dropped.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import, needed only here

        _forget_after(out / "curves.jsonl", step)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step)
        self._file = (out / "curves.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> _Curves:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def show(self, step: int, picture: Float[Tensor, "3 height width"]) -> None:
        self._board.add_image("predictions", picture, step, dataformats="CHW")


def _forget_after(curves: Path, step: int) -> None:
    """Drops what a stopped run wrote after its last checkpoint: those steps are done again."""
    if not curves.exists():
        return
    kept = []
    for line in curves.read_text("utf-8").splitlines(keepends=True):
        # A stopped process may leave half a line at the end.
        if line.endswith("}\n") and json.loads(line)["step"] <= step:
            kept.append(line)
    write_file(curves, "".join(kept))
