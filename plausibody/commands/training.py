"""`train`, `preview` and `bench`: making regressors."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from plausibody.commands.terminal import (
    counting,
    helpful_errors,
    pick_device,
    prepare_cpu,
    stoppable,
    tell,
    teller,
    training_progress,
    usage_errors,
)

METHODS = ("straps", "hierprob", "lasor", "danet", "dsr", "lite")
"""Presets that are called by their systems."""
LEAST_FOR_CARD = 1000
"""Samples; fewer say little about what a stream covers."""


@click.command("train")
@click.option("--method", type=click.Choice(METHODS), help="Which system to train.")
@click.option(
    "--preset",
    "preset_name",
    help="A method; or lite-demo, hierprob-lite, lasor-lite, dsr-lite-start, dsr-lite, danet-lite, "
    "danet-lite-iuv, paper or gpu-20min.  [default: the method]",
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="JSON file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Overrides a setting.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the run; with --compare the page to write.",
)
@click.option("--steps", type=int, help="Same as --set train.steps=N.")
@click.option("--seed", type=int, help="Of the network and the stream.")
@click.option(
    "--init-backbone", help="Weights, by file or name, whose image encoder to start from."
)
@click.option("--init-weights", help="Weights, by file or name, to start from, the head too.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@click.option(
    "--force",
    is_flag=True,
    help="Delete the run in --out first; with --resume, go on with other settings.",
)
@click.option(
    "--compare", is_flag=True, help="Train nothing: draw the curves of RUN... on one page, --out."
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN...]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--precision", help="Same as --set train.precision=... (32-true, bf16-mixed).")
@click.option("--quiet", is_flag=True, help="Print errors only; RUN/run.html tells the rest.")
def train_command(
    method: str | None,
    preset_name: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    out: Path,
    steps: int | None,
    seed: int | None,
    init_backbone: str | None,
    init_weights: str | None,
    resume: bool,
    force: bool,
    compare: bool,
    runs: tuple[Path, ...],
    device: str,
    precision: str | None,
    quiet: bool,
) -> None:
    """Train a regressor on synthetic people (the same as `synth-train`)."""
    with helpful_errors():
        from plausibody.calibrate import calibrate_weights
        from plausibody.config import override, parse_settings
        from plausibody.config_file import load_config
        from plausibody.evaluate.run import quick_figures
        from plausibody.models.locks import locked
        from plausibody.presets import preset
        from plausibody.training.fit import StoppedError
        from plausibody.training.folder import DOING
        from plausibody.training.launch import check_launch, first_process
        from plausibody.training.run import train_run

        if compare:
            return _compare(runs, out)
        with usage_errors():
            if runs:
                raise ValueError(f"{runs[0]}: RUN... are for --compare; a run is named by --out")
            if config_file and preset_name:
                raise ValueError("--config and --preset: wanted one of them, got both")
            before = out / "config.json"
            if config_file:
                config = load_config(config_file)
            elif resume and not preset_name and before.exists():
                # Else a run of its own length would go on with the length of the preset.
                config = load_config(before)
            else:
                config = preset(preset_name or method or "lite")
            values: dict[str, Any] = dict(parse_settings(settings))
            values |= {"train.steps": steps} if steps is not None else {}
            values |= {"train.seed": seed, "stream.seed": seed} if seed is not None else {}
            values |= {"train.precision": precision} if precision else {}
            values |= {"train.init_backbone": init_backbone} if init_backbone else {}
            values |= {"train.init_weights": init_weights} if init_weights else {}
            config = override(config, values)
            if method and config.method != preset(method).method:
                raise ValueError(f"--method {method}, but the preset or file is of {config.method}")
            check_launch(device, config.train.batch_size)
        quiet = quiet or not first_process()
        prepare_cpu(config.train.threads)
        again = "the same command with --resume goes on from the last checkpoint"
        with stoppable(StoppedError, again), training_progress(quiet) as watch:
            weights = train_run(
                config,
                out,
                device,
                resume,
                watch,
                teller(quiet),
                lambda trainer: quick_figures(trainer),
                force,
                plan=True,
            )
        if config.method == "hierprob" and config.train.calibrated and first_process():
            with locked(out, DOING), counting("people, for the intervals", quiet) as count:
                calibrate_weights(weights, pick_device(device), config.train.calibrated, count)
        if not quiet:
            tell(f"weights: {weights}")


def _compare(runs: tuple[Path, ...], out: Path) -> None:
    """Draws runs on one page and tells their last figures."""
    from plausibody.training.compare import compare_runs

    with usage_errors():
        if out.suffix != ".html":
            raise ValueError(
                f"--compare: wanted the name of a page as --out, such as compared.html, got {out}"
            )
    compared = compare_runs(runs, out, tell)
    table = Table(*compared.columns)
    for row in compared.rows:
        table.add_row(*row)
    Console().print(table)
    for key, values in compared.settings.items():
        tell(f"{key}: {', '.join(values)}")
    tell(f"open {out}")


@click.command("preview")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="lite",
    help="Whose stream to show.",
)
@click.option("--preset", "preset_name", help="Whose instead, by the name of a preset of `train`.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Overrides a setting.")
@click.option("--step", type=click.IntRange(min=0), default=0, help="Which training step to show.")
@click.option("--seed", type=int, help="Of the stream.")
@click.option("--count", type=click.IntRange(min=1), default=8, help="How many of its samples.")
@click.option("--card", is_flag=True, help="Plot what many samples cover instead.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="config.json of a run."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("preview.png"))
def preview_command(
    method: str,
    preset_name: str | None,
    settings: tuple[str, ...],
    step: int,
    seed: int | None,
    count: int,
    card: bool,
    config_file: Path | None,
    out: Path,
) -> None:
    """Draw what training sees: every channel of any batch of the stream, or what it covers."""
    with helpful_errors():
        from plausibody.config import override, parse_settings
        from plausibody.config_file import load_config
        from plausibody.contact_sheet import contact_sheet
        from plausibody.coverage import measure_coverage
        from plausibody.plots import draw_coverage
        from plausibody.predict.drawing.bodies import save_picture
        from plausibody.presets import preset, stream_config
        from plausibody.sources import open_assets
        from plausibody.synth.generator import BatchGenerator, keep_channels
        from plausibody.synth.looks import skipped_lines

        with usage_errors():
            if config_file and preset_name:
                raise ValueError("--config and --preset: wanted one of them, got both")
            if config_file:
                config = load_config(config_file)
            else:
                config = preset(preset_name) if preset_name else stream_config(method)
            values: dict[str, Any] = dict(parse_settings(settings))
            values |= {"stream.seed": seed} if seed is not None else {}
            config = override(config, values)
        prepare_cpu(0)
        with counting("textures", quiet=False) as made:
            assets = open_assets(config, "train", progress=made)
        if not card:
            config = dataclasses.replace(config, stream=keep_channels(config.stream, assets))
        generator = BatchGenerator(config, assets)
        first = step * config.train.batch_size
        if card:
            count = max(count, LEAST_FOR_CARD)
            coverage = measure_coverage(generator, assets, count, first)
            picture = draw_coverage(coverage, f"{config.stream.recipe}, {count} samples")
        else:
            picture = contact_sheet(generator.samples(first, count))
        save_picture(picture, out)
        for line in skipped_lines(assets.looks):
            tell(line)
        tell(f"{out}: samples {first} to {first + count - 1}")


def _told(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


@click.command("bench")
@click.argument("what", type=click.Choice(["render", "synth", "step", "sample", "predict"]))
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="lite",
    help="Whose stream and step (synth, step).",
)
@click.option("--preset", "preset_name", help="Whose instead, by the name of a preset of `train`.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Overrides a setting.")
@click.option("--size", "sizes", type=int, multiple=True, default=(256,), help="Pixels (render).")
@click.option("--threads", type=int, multiple=True, default=(1,), help="As many as torch may use.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures.")
def bench_command(
    what: str,
    method: str,
    preset_name: str | None,
    settings: tuple[str, ...],
    sizes: tuple[int, ...],
    threads: tuple[int, ...],
    device: str,
    file: Path | None,
) -> None:
    """Measure speed here: of drawing, the stream, training, sampling, predicting photos."""
    for notice in ("KINETO_LOG_LEVEL", "TORCH_CPP_LOG_LEVEL"):  # of the profiler's start and stop
        os.environ.setdefault(notice, "6" if notice.startswith("KINETO") else "ERROR")
    with helpful_errors():
        from plausibody import bench, bench_predict, bench_sampling, bench_training
        from plausibody.config import override, parse_settings
        from plausibody.models.files import write_file
        from plausibody.presets import preset, stream_config
        from plausibody.sources import open_assets

        rows: list[Any] = []
        with usage_errors():
            config = preset(preset_name) if preset_name else stream_config(method)
            config = override(config, parse_settings(settings))
        if what not in ("sample", "predict"):
            with counting("textures", quiet=False) as made:
                assets = open_assets(config, "train", progress=made)
        if what == "render":
            rows += bench.bench_render(assets, sizes=sizes, threads=threads)
        if what == "predict":
            prepare_cpu(0)
            rows += bench_predict.bench_predict(device=pick_device(device))
        for count in threads if what not in ("render", "predict") else ():
            prepare_cpu(count)
            if what == "synth":
                rows += bench_training.bench_synth(config, assets)
            elif what == "step":
                rows += bench_training.bench_step(config, assets, device)
            else:
                rows += bench_sampling.bench_sample(device=pick_device(device))
        # The JSON file has the rest.
        shown = "output backend size threads images_per_second images_per_core_second"
        shown += " part samples milliseconds megabytes samples_per_second memory_megabytes covered"
        shown += " median_milliseconds times_the_loop stage share per_second per_core_second"
        shown += " times_one_by_one"
        names = [
            field.name
            for field in dataclasses.fields(rows[0])
            if field.name in shown.split()
            and any(getattr(row, field.name) is not None for row in rows)
        ]
        table = Table(*names)
        for row in rows:
            values = [getattr(row, name) for name in names]
            table.add_row(*(_told(value) for value in values))
        Console().print(table)
        if file is not None:
            record = bench.document(rows, " ".join(["plausibody", *sys.argv[1:]]))
            write_file(file, json.dumps(record, indent=2) + "\n")
