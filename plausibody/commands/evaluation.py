"""`evaluate` and `demo`: measuring regressors, and everything once."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from plausibody.commands.predict import FRONT_ENDS, MOST_SAMPLES
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

FILE = click.Path(path_type=Path)


@click.command("demo")
@click.option("--out", type=FILE, default=Path("demo"), show_default=True)
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
@click.option("--data", type=FILE, help="Folder of a published data set.")
@click.option(
    "--weights",
    type=FILE,
    help="A file, or the name of weights.  [default: hierprob-lite]",
)
@click.option("--out", type=FILE, help="Folder for what is found: JSON, Markdown, a page.")
@click.option(
    "--compare", nargs=2, type=FILE, help="Two results of the same people, files or folders."
)
@click.option(
    "--samples",
    type=int,
    help="Drawn from each prediction, for the best of N.  [default: as published; open-v0: none]",
)
@click.option("--seed", type=int, default=0, help="Of samples of data sets.")
@click.option(
    "--proxies",
    type=click.Choice(["labels", "front-end"]),
    help="Show people by the data's own key points and masks, or as a front end sees them in "
    "the published boxes.  [default: labels where the data has what the network reads]",
)
@click.option(
    "--front-end",
    type=click.Choice(FRONT_ENDS),
    help="Which; means --proxies front-end.  [default: embedded]",
)
@click.option(
    "--front-end-weights", metavar="FILE|DIR", help="Of hrnet or hq; see plausibody predict."
)
@click.option(
    "--files", type=FILE, help="Folder with key points and masks of the pictures (files)."
)
@click.option(
    "--labels-body",
    default="smpl",
    metavar="smpl|open|PATH",
    help="Of which the data's bodies are: SMPL's files in train_files/smpl, the body that ships, "
    "or a file or folder.  [default: smpl]",
)
@click.option(
    "--across-bodies",
    is_flag=True,
    help="Compare a network of another body by joints and pictures alone.",
)
@click.option(
    "--flip", is_flag=True, help="Average with mirror images, as predict does (data sets)."
)
@click.option(
    "--people", type=int, help="Measure only so many, for a look (data sets, validation)."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--batch-size", type=int, default=256, help="People at a time (open-v0).")
@click.option("--quiet", is_flag=True)
def evaluate_command(
    dataset: str,
    data: Path | None,
    weights: Path | None,
    out: Path | None,
    compare: tuple[Path, Path] | None,
    samples: int | None,
    seed: int,
    proxies: str | None,
    front_end: str | None,
    front_end_weights: str | None,
    files: Path | None,
    labels_body: str,
    across_bodies: bool,
    flip: bool,
    people: int | None,
    device: str,
    batch_size: int,
    quiet: bool,
) -> None:
    """Measure a regressor on DATASET.

    open (painted adults through the front end), open-v0 (proxies), renders (silhouettes of painted
    people), validation (more people of its own training's stream, whatever it reads) and
    calibration (of intervals) need no data. ssp3d, 3dpw, h36m-p1, h36m-p2, mpi-inf-3dhp,
    coco and lsp want --data: without it, they say where the data comes from and which files are
    read.
    """
    with helpful_errors():
        from plausibody.evaluate.comparing import compare_results, save_comparison
        from plausibody.evaluate.datasets.options import Options
        from plausibody.evaluate.result import NAME
        from plausibody.evaluate.run import BENCHMARKS, VALIDATION, check_dataset, run_evaluation
        from plausibody.evaluate.table import comparison_table, result_table
        from plausibody.models.weights import DEFAULT_WEIGHTS

        if compare is not None:
            with usage_errors():
                _check_alone("compare", "out", "quiet")
            first, second = (path / NAME if path.is_dir() else path for path in compare)
            comparison = compare_results(first, second)
            if out is not None:
                save_comparison(comparison, out)
            if not quiet:
                Console().print(comparison_table(comparison))
            return
        chosen = weights or Path(DEFAULT_WEIGHTS)
        with usage_errors():
            check_dataset(dataset)
            if samples is not None and samples > MOST_SAMPLES:
                raise ValueError(f"--samples: wanted at most {MOST_SAMPLES}, got {samples}")
            options = Options(
                samples=samples,
                seed=seed,
                mirrored=flip,
                shown=_shown(proxies, front_end, front_end_weights, files),
                files=files,
                front_end_weights=front_end_weights,
                labels_body=labels_body,
                across_bodies=across_bodies,
                people=people,
            )
            plain = Options(samples=samples, people=people if dataset == VALIDATION else None)
            if dataset in BENCHMARKS and (data is not None or options != plain):
                raise ValueError(
                    f"{dataset}: wanted only --weights, --samples, --out, --device and "
                    "--batch-size, came options of published data sets; do: leave them out, or "
                    "name a data set"
                )
            if samples is not None and dataset in ("renders", "calibration", VALIDATION):
                raise ValueError(
                    f"--samples: wanted open or a data set, came {dataset}, which draws none; do: "
                    "leave it out"
                )
        prepare_cpu(0)
        place = pick_device(device)
        if dataset == "calibration":
            _calibration(chosen, out, place, quiet)
            return
        if dataset == "renders":
            _renders(chosen, out, place, quiet)
            return
        if dataset == VALIDATION:
            _validation(chosen, out, place, people, quiet)
            return
        with counting("people", quiet) as watch:
            result = run_evaluation(
                dataset, chosen, out, place, batch_size, watch, samples, data, options
            )
        if not quiet:
            Console().print(result_table(result))


def _check_alone(*wanted: str) -> None:
    """Refuses options that would be passed over.

    Raises:
        ValueError: If any but those wanted were given.
    """
    context = click.get_current_context()
    others = [
        name
        for name in context.params
        if name not in wanted
        and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if others:
        raise ValueError(
            f"--compare: wanted only --out and --quiet beside it, came {', '.join(others)}; do: "
            "leave them out"
        )


def _shown(
    proxies: str | None, front_end: str | None, weights: str | None, files: Path | None
) -> str | None:
    """Joins the options that say how people are shown; None leaves it to the data."""
    if proxies == "labels":
        if front_end or weights or files:
            raise ValueError(
                "--proxies labels: wanted it without a front end, came options of one; do: leave "
                "one out"
            )
        return proxies
    if proxies is None and front_end is None and weights is None and files is None:
        return None
    return front_end or ("files" if files else "embedded")


def _calibration(weights: Path, out: Path | None, device: str, quiet: bool) -> None:
    """Measures how often intervals hold the truth."""
    from plausibody.calibrate import measure_calibration
    from plausibody.evaluate.table import calibration_table

    with counting("people", quiet) as watch:
        found = measure_calibration(weights, out, device, watch=watch)
    if not quiet:
        Console().print(calibration_table(found))


def _validation(
    weights: Path, out: Path | None, device: str, people: int | None, quiet: bool
) -> None:
    """Measures a regressor on people of its own stream."""
    from plausibody.evaluate.table import result_table
    from plausibody.validate import PEOPLE, validate_weights

    with counting("people", quiet) as watch:
        found = validate_weights(weights, out, device, people or PEOPLE, watch)
    if not quiet:
        Console().print(result_table(found))


def _renders(weights: Path, out: Path | None, device: str, quiet: bool) -> None:
    """Measures a regressor on painted people, and draws those whom it fits worst."""
    from plausibody.evaluate.renders import evaluate_renders
    from plausibody.evaluate.renders_result import save_renders
    from plausibody.evaluate.renders_sheet import draw_worst
    from plausibody.evaluate.table import renders_table
    from plausibody.models.weights import find_weights, load_regressor
    from plausibody.predict.drawing.bodies import save_picture
    from plausibody.predict.front_ends.embedded import load_embedded

    regressor = load_regressor(find_weights(weights), device)
    with counting("people", quiet) as watch:
        found = evaluate_renders(regressor, load_embedded(), watch=watch, device=device)
    if out is not None:
        save_renders(found.result, out)
        save_picture(draw_worst(found), out / "worst.jpg")
    if not quiet:
        Console().print(renders_table(found.result))
