"""The command line: parses, picks the device, prints and exits; the work is done elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

console = Console(stderr=True)
MOST_SHAPES = 8
"""Arrays of a file that are told one by one; networks have hundreds."""


@contextlib.contextmanager
def helpful_errors() -> Iterator[None]:
    """Prints what was wanted, what came and what to do, without a traceback; exit code 1."""
    try:
        yield
    except (ValueError, FileNotFoundError, FloatingPointError, OSError) as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        if os.environ.get("PLAUSIBODY_TRACEBACK"):
            raise
        sys.exit(1)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns what is wrong with the options themselves into click's usage error; exit code 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="plausibody")
def main() -> None:
    """Plausible bodies from a photo: a distribution, not a guess."""


@main.command("train")
@click.option("--method", type=click.Choice(["straps", "lite"]), help="Which system to train.")
@click.option("--preset", "preset_name", help="lite, lite-demo or straps.  [default: the method]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="JSON file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Overrides a setting.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--steps", type=int, help="Same as --set train.steps=N.")
@click.option("--seed", type=int, help="Of the network and the stream.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@click.option("--force", is_flag=True, help="Delete the run in --out first.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--precision", help="Same as --set train.precision=... (32-true, bf16-mixed).")
@click.option("--quiet", is_flag=True, help="No progress.")
def train_command(
    method: str | None,
    preset_name: str | None,
    config_file: Path | None,
    settings: tuple[str, ...],
    out: Path,
    steps: int | None,
    seed: int | None,
    resume: bool,
    force: bool,
    device: str,
    precision: str | None,
    quiet: bool,
) -> None:
    """Train a regressor on synthetic people (the same as `synth-train`)."""
    with helpful_errors():
        from plausibody import config as configs
        from plausibody.evaluate.run import quick_figures
        from plausibody.run import prepare_folder, train_run

        with usage_errors():
            before = out / "config.json"
            if config_file:
                config = configs.load_config(config_file)
            elif resume and not preset_name and before.exists():
                # Else a run of its own length would go on with the length of the preset.
                config = configs.load_config(before)
            else:
                config = configs.preset(preset_name or method or "lite")
            values: dict[str, Any] = dict(configs.parse_settings(settings))
            values |= {"train.steps": steps} if steps is not None else {}
            values |= {"train.seed": seed, "stream.seed": seed} if seed is not None else {}
            values |= {"train.precision": precision} if precision else {}
            config = configs.override(config, values)
            if method and config.method != method:
                raise ValueError(f"--method {method}, but the preset or file is of {config.method}")
        config = prepare_folder(out, config, resume, force)
        pick_threads(config.train.threads)
        with training_progress(quiet) as watch:
            weights = train_run(
                config,
                out,
                device,
                resume,
                watch,
                _say(quiet),
                lambda trainer: quick_figures(trainer),
            )
        if not quiet:
            tell(f"weights: {weights}")


def synth_train() -> None:
    """The console script `synth-train`."""
    train_command(prog_name="synth-train")


def pick_threads(threads: int) -> None:
    """Leaves one core to the synthesis unless told otherwise."""
    import torch

    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))


def tell(message: str) -> None:
    """Prints a line as it is: paths may hold brackets, which rich would take for markup."""
    console.print(message, highlight=False, markup=False, soft_wrap=True)


def _say(quiet: bool) -> Any:
    return (lambda message: None) if quiet else tell


@contextlib.contextmanager
def training_progress(quiet: bool) -> Iterator[Any]:
    """A bar with samples per second and the time left."""
    bar = Progress(
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[rate]:.0f} samples/s  loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    )
    with bar:
        task = bar.add_task("train", total=0, visible=False, rate=0.0, loss=float("nan"))

        def watch(progress: Any) -> None:
            bar.update(
                task,
                visible=True,
                total=progress.steps,
                completed=progress.step,
                rate=progress.samples_per_second,
                loss=progress.parts["loss"],
            )

        yield watch


@main.command("preview")
@click.option("--method", type=click.Choice(["straps", "lite"]), default="lite")
@click.option("--step", type=int, default=0, help="Which training step to show.")
@click.option("--seed", type=int, default=0)
@click.option("--count", type=int, default=32, help="How many of its samples.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="config.json of a run."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("preview.png"))
def preview_command(
    method: str, step: int, seed: int, count: int, config_file: Path | None, out: Path
) -> None:
    """Draw what training sees: a contact sheet of any batch of the stream."""
    with helpful_errors():
        from plausibody import config as configs
        from plausibody.predict.drawing import save_picture, tile
        from plausibody.preview import draw_proxies
        from plausibody.synth.generator import BatchGenerator
        from plausibody.synth.stores import load_assets

        config = configs.load_config(config_file) if config_file else configs.preset(method)
        if config_file is None:
            config = configs.override(config, {"stream.seed": seed})
        size = config.train.batch_size
        generator = BatchGenerator(config, load_assets("train", config.gender))
        batch = generator.samples(step * size, min(count, size))
        save_picture(tile(list(draw_proxies(batch)), columns=8), out)
        tell(f"{out}: samples {step * size} to {step * size + len(batch) - 1}")


@main.command("predict")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@click.option("--weights", default="lite", help="A file, or the name of weights that ship.")
@click.option(
    "--front-end",
    type=click.Choice(["embedded"]),
    default="embedded",
    help="What finds people, key points and masks.",
)
@click.option("--person", default="all", help="all, main, or a number from 0.  [default: all]")
@click.option("--fov", type=float, help="Angle of view of the photo's diagonal [degrees].")
@click.option(
    "--save",
    default="overlay,mesh,params",
    help="Some of overlay,mesh,params,proxies,report.  [default: overlay,mesh,params]",
)
@click.option("--mesh-format", type=click.Choice(["glb", "obj", "ply"]), default="glb")
@click.option("--batch-size", type=int, default=8, help="Photos opened at a time.")
@click.option("--force", is_flag=True, help="Do again what an earlier run has finished.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--quiet", is_flag=True)
def predict_command(
    paths: tuple[Path, ...],
    out: Path,
    weights: str,
    front_end: str,
    person: str,
    fov: float | None,
    save: str,
    mesh_format: str,
    batch_size: int,
    force: bool,
    device: str,
    quiet: bool,
) -> None:
    """Turn photos (files and folders) into bodies."""
    with helpful_errors():
        from plausibody.models.weights import find_weights, load_regressor
        from plausibody.predict.embedded import load_embedded
        from plausibody.predict.placement import DIAGONAL_VIEW
        from plausibody.predict.predictor import Predictor
        from plausibody.predict.run import RunOptions, predict_folder

        with usage_errors():
            wanted = frozenset(word.strip() for word in save.split(",") if word.strip())
            options = RunOptions(
                save=wanted, mesh_format=mesh_format, batch_size=batch_size, force=force
            )
            chosen = _person(person)
            if fov is not None and not 0 < fov < 180:
                raise ValueError(f"--fov: wanted degrees above 0 and below 180, got {fov:g}")
        pick_threads(0)
        place = pick_device(device)
        predictor = Predictor(
            load_regressor(find_weights(weights), place),
            load_embedded(device=place),
            place,
            person=chosen,
            diagonal_view=DIAGONAL_VIEW if fov is None else math.radians(fov),
        )
        with counting("photos", quiet) as watch:
            summary = predict_folder(
                paths, out, predictor, options, lambda now: watch(now.done, now.total)
            )
        for entry in summary.content["inputs"]:
            if entry["status"] != "ok":
                tell(f"{entry['status']}: {entry['message']}")
        if not quiet:
            counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items())
            tell(f"{summary.path}: {counts}")
        if not summary.usable:
            sys.exit(1)


def _person(text: str) -> Any:
    """Reads all, main or a number."""
    if text in ("all", "main"):
        return text
    if text.isdecimal():
        return int(text)
    raise click.BadParameter(f"wanted all, main or a number from 0, got {text!r}")


@main.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def demo_command(out: Path, device: str) -> None:
    """Train small, predict the bundled photos, evaluate, write one page; offline, minutes."""
    with helpful_errors():
        from plausibody.demo import Watch, run_demo

        pick_threads(0)
        say = _say(quiet=False)
        with training_progress(False) as training, counting("people", False) as evaluation:
            page = run_demo(out, Watch(say, training, evaluation), pick_device(device))
        tell(f"open {page}")


@main.command("evaluate")
@click.argument("dataset", default="open")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=Path("lite"),
    help="A file, or the name of weights that ship.  [default: lite]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results.json and .md.")
@click.option("--compare", nargs=2, type=click.Path(path_type=Path), help="Two results.json.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--batch-size", type=int, default=256)
@click.option("--quiet", is_flag=True)
def evaluate_command(
    dataset: str,
    weights: Path,
    out: Path | None,
    compare: tuple[Path, Path] | None,
    device: str,
    batch_size: int,
    quiet: bool,
) -> None:
    """Measure a regressor on DATASET: open (needs no data) in this version."""
    with helpful_errors():
        from plausibody.evaluate.result import read_result
        from plausibody.evaluate.run import check_dataset, run_evaluation
        from plausibody.evaluate.table import comparison_table, result_table

        if compare is not None:
            first, second = (read_result(path) for path in compare)
            Console().print(comparison_table(first, second))
            return
        with usage_errors():
            check_dataset(dataset)
        with counting("people", quiet) as watch:
            result = run_evaluation(dataset, weights, out, pick_device(device), batch_size, watch)
        if not quiet:
            Console().print(result_table(result))


@contextlib.contextmanager
def counting(what: str, quiet: bool) -> Iterator[Any]:
    """A bar for something that is counted."""
    columns = (TextColumn(what + " {task.completed:.0f}/{task.total:.0f}"), BarColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(what, total=0, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def pick_device(device: str) -> str:
    """Resolves "auto": CUDA where there is one."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: no CUDA device is available here; do: --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@main.command("doctor")
@click.option("--picture", type=click.Path(path_type=Path), help="Save the rendered test pose.")
def doctor_command(picture: Path | None) -> None:
    """Check the installation, the assets, and that up, left and front are where they belong."""
    with helpful_errors():
        from plausibody import doctor

        checks = [*doctor.environment(), *doctor.conventions(), *doctor.assets()]
        for check in checks:
            mark = "[green]ok[/]  " if check.ok else "[bold red]FAIL[/]"
            told = escape(f"{check.name}: {check.detail}")
            console.print(f"{mark} {told}", highlight=False, soft_wrap=True)
        if picture is not None:
            from plausibody.models.templates import load_template
            from plausibody.predict.drawing import save_picture

            drawn, _ = doctor.render_pose(load_template("open"), doctor.asymmetric_pose(), 512)
            save_picture(drawn, picture)
        if not all(check.ok for check in checks):
            sys.exit(1)


@main.command("bench")
@click.argument("what", type=click.Choice(["render", "synth", "step"]))
@click.option(
    "--method",
    type=click.Choice(["straps", "lite"]),
    default="lite",
    help="Whose stream and step (synth, step).",
)
@click.option("--size", "sizes", type=int, multiple=True, default=(256,), help="Pixels (render).")
@click.option("--threads", type=int, multiple=True, default=(1,), help="As many as torch may use.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the figures.")
def bench_command(
    what: str,
    method: str,
    sizes: tuple[int, ...],
    threads: tuple[int, ...],
    device: str,
    file: Path | None,
) -> None:
    """Measure speed here: of the rasteriser, of the stream, or of training."""
    with helpful_errors():
        import torch

        from plausibody import bench, bench_training
        from plausibody.config import preset
        from plausibody.models.checkpoint import write_text
        from plausibody.synth.stores import load_assets

        assets, config = load_assets(), preset(method)
        rows: list[Any] = []
        if what == "render":
            rows += bench.bench_render(assets, sizes=sizes, threads=threads)
        for count in threads if what != "render" else ():
            torch.set_num_threads(count)
            rows += (
                [bench_training.bench_synth(config, assets)]
                if what == "synth"
                else bench_training.bench_step(config, assets, device)
            )
        # The JSON file has the rest.
        shown = "output backend size threads images_per_second images_per_core_second"
        shown += " part samples seconds samples_per_second"
        names = [field.name for field in dataclasses.fields(rows[0]) if field.name in shown.split()]
        table = Table(*names)
        for row in rows:
            values = [getattr(row, name) for name in names]
            table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in values))
        Console().print(table)
        if file is not None:
            record = bench.document(rows, " ".join(["plausibody", *sys.argv[1:]]))
            write_text(file, json.dumps(record, indent=2) + "\n")


@main.group("assets")
def assets_group() -> None:
    """Where each asset comes from, and whether it is whole."""


@assets_group.command("list")
def assets_list() -> None:
    """List what ships: size, licence, source."""
    with helpful_errors():
        from plausibody.assets.catalog import list_assets

        table = Table("file", "kB", "licence", "source")
        for asset in list_assets():
            table.add_row(asset.path, f"{asset.bytes / 1000:.0f}", asset.licence, asset.source)
        Console().print(table)


@assets_group.command("check")
@click.option("--assets", "directory", type=click.Path(path_type=Path), help="Looked in first.")
def assets_check(directory: Path | None) -> None:
    """Compare each file with the manifest, and all topologies with the body's."""
    with helpful_errors():
        from plausibody.assets.catalog import check_assets, search_directories

        findings = check_assets(search_directories(directory))
        for finding in findings:
            good = finding.state in ("ok", "replaced")
            mark = "[green]ok[/]  " if good else "[bold red]FAIL[/]"
            shapes = ", ".join(f"{name} {shape}" for name, shape in finding.shapes.items())
            if len(finding.shapes) > MOST_SHAPES:
                shapes = f"{len(finding.shapes)} arrays"
            told = escape(f"{finding.asset.path}: {finding.state} {finding.detail} {shapes}")
            console.print(f"{mark} {told}", highlight=False, soft_wrap=True)
        if not all(finding.state in ("ok", "replaced") for finding in findings):
            sys.exit(1)


if __name__ == "__main__":
    main()
