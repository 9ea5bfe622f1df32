"""`evaluate` and `demo`: measuring regressors, and everything once."""

from __future__ import annotations

from pathlib import Path

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
