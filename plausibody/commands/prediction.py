"""`predict`, `evaluate` and `demo`: using and measuring regressors."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console

from plausibody.commands.terminal import (
    counting,
    helpful_errors,
    pick_device,
    prepare_cpu,
    tell,
    teller,
    training_progress,
    usage_errors,
)


@click.command("predict")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@click.option("--weights", help="A file, or the name of weights.  [default: hierprob-lite]")
@click.option(
    "--front-end",
    type=click.Choice(["embedded"]),
    default="embedded",
    help="What finds people, key points and masks.",
)
@click.option("--person", default="all", help="all, main, or a number from 0.  [default: all]")
@click.option("--fov", type=float, help="Angle of view of the photo's diagonal [degrees].")
@click.option(
    "--samples", type=int, default=0, help="Bodies drawn from the distribution of each person."
)
@click.option("--height-cm", type=float, help="Height of the main person, barefoot.")
@click.option("--gender", type=click.Choice(["female", "male"]), help="Of the main person.")
@click.option("--same-person", is_flag=True, help="All photos show the same main person.")
@click.option(
    "--save",
    default="overlay,mesh,params",
    help="Some of overlay,mesh,params,samples,proxies,report.  [default: overlay,mesh,params]",
)
@click.option("--mesh-format", type=click.Choice(["glb", "obj", "ply"]), default="glb")
@click.option("--batch-size", type=int, default=8, help="Photos opened at a time.")
@click.option("--force", is_flag=True, help="Do again what an earlier run has finished.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--quiet", is_flag=True)
def predict_command(
    paths: tuple[Path, ...],
    out: Path,
    weights: str | None,
    front_end: str,
    person: str,
    fov: float | None,
    samples: int,
    height_cm: float | None,
    gender: Literal["female", "male"] | None,
    same_person: bool,
    save: str,
    mesh_format: str,
    batch_size: int,
    force: bool,
    device: str,
    quiet: bool,
) -> None:
    """Turn photos (files and folders) into bodies."""
    with helpful_errors():
        from plausibody.models.weights import DEFAULT_WEIGHTS
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
        prepare_cpu(0)
        place = pick_device(device)
        eyes = load_embedded(device=place)
        with usage_errors():
            predictor = Predictor(
                weights or DEFAULT_WEIGHTS,
                eyes,
                place,
                person=chosen,
                diagonal_view=DIAGONAL_VIEW if fov is None else math.radians(fov),
                samples=samples,
                height=None if height_cm is None else height_cm / 100,
                gender=gender,
                same_person=same_person,
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


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def demo_command(out: Path, device: str) -> None:
    """Train small, predict the bundled photos, evaluate, write one page; offline, minutes."""
    with helpful_errors():
        from plausibody.demo import Watch, run_demo

        prepare_cpu(0)
        say = teller(quiet=False)
        with training_progress(False) as training, counting("people", False) as evaluation:
            page = run_demo(out, Watch(say, training, evaluation), pick_device(device))
        tell(f"open {page}")


@click.command("evaluate")
@click.argument("dataset", default="open")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A file, or the name of weights.  [default: hierprob-lite]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for what is found (.json, .md)."
)
@click.option(
    "--compare", nargs=2, type=click.Path(path_type=Path), help="Two results.json of open."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--batch-size", type=int, default=256, help="People at a time (open).")
@click.option("--quiet", is_flag=True)
def evaluate_command(
    dataset: str,
    weights: Path | None,
    out: Path | None,
    compare: tuple[Path, Path] | None,
    device: str,
    batch_size: int,
    quiet: bool,
) -> None:
    """Measure a regressor on DATASET: open (proxies), renders (painted people through the front
    end) or calibration (of intervals); none of them needs data."""
    with helpful_errors():
        from plausibody.evaluate.result import read_result
        from plausibody.evaluate.run import check_dataset, run_evaluation
        from plausibody.evaluate.table import comparison_table, result_table
        from plausibody.models.weights import DEFAULT_WEIGHTS

        if compare is not None:
            first, second = (read_result(path) for path in compare)
            Console().print(comparison_table(first, second))
            return
        chosen = weights or Path(DEFAULT_WEIGHTS)
        if dataset == "calibration":
            from plausibody.calibrate import measure_calibration
            from plausibody.evaluate.table import calibration_table

            prepare_cpu(0)
            with counting("people", quiet) as watch:
                found = measure_calibration(chosen, out, pick_device(device), watch=watch)
            if not quiet:
                Console().print(calibration_table(found))
            return
        if dataset == "renders":
            _renders(chosen, out, pick_device(device), quiet)
            return
        with usage_errors():
            check_dataset(dataset)
        with counting("people", quiet) as watch:
            result = run_evaluation(dataset, chosen, out, pick_device(device), batch_size, watch)
        if not quiet:
            Console().print(result_table(result))


def _renders(weights: Path, out: Path | None, device: str, quiet: bool) -> None:
    """Measures a regressor on painted people, and draws those whom it fits worst."""
    from plausibody.evaluate.renders import evaluate_renders
    from plausibody.evaluate.renders_result import save_renders
    from plausibody.evaluate.renders_sheet import draw_worst
    from plausibody.evaluate.table import renders_table
    from plausibody.models.weights import find_weights, load_regressor
    from plausibody.predict.drawing import save_picture
    from plausibody.predict.embedded import load_embedded

    prepare_cpu(0)
    regressor = load_regressor(find_weights(weights), device)
    with counting("people", quiet) as watch:
        found = evaluate_renders(regressor, load_embedded(), watch=watch, device=device)
    if out is not None:
        save_renders(found.result, out)
        save_picture(draw_worst(found), out / "worst.jpg")
    if not quiet:
        Console().print(renders_table(found.result))
