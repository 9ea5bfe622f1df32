"""Everything once, small and offline: train, predict, evaluate, and a page that shows it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plausibody.assets.catalog import SHIPPED
from plausibody.evaluate.result import Result
from plausibody.evaluate.run import quick_figures, run_evaluation
from plausibody.models.weights import DEFAULT_WEIGHTS
from plausibody.predict.bulk.run import RunOptions, predict_folder
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.predictor import Predictor
from plausibody.predict.report.page import write_report_page
from plausibody.predict.report.page_parts import Curve, Report, Table
from plausibody.presets import lite_demo
from plausibody.training.fit import Progress
from plausibody.training.history import read_curves
from plausibody.training.run import train_run

SHOWN = ("mpjpe", "pa_mpjpe", "pve", "pve_t_sc")
"""Errors in the page's table."""
SAMPLES = 25
"""Bodies drawn for each person."""
PARTS = ("trained", "photos", "evaluation")
"""Folders that the demo makes, and makes anew."""
MARKER = ".plausibody_demo"
"""A file that says the folders beside it are a demo's, to be replaced by the next."""


@dataclass(frozen=True)
class Watch:
    """Whom the demo tells how it goes."""

    say: Callable[[str], None]
    training: Callable[[Progress], None]
    evaluation: Callable[[int, int], None]


def run_demo(out: Path, watch: Watch, device: str = "cpu") -> Path:
    """Trains a small regressor, predicts the bundled photos and evaluates with the shipped one.

    Args:
        out: Folder, new or empty or of an earlier demo, which is replaced.
        watch: Is told the progress.
        device: cpu or cuda.

    Returns:
        The page.

    Raises:
        FileExistsError: If there is something in the folder that no demo left.
    """
    started = time.perf_counter()
    clear_folder(out)
    config = lite_demo()
    samples = config.train.steps * config.train.batch_size
    watch.say(f"1/3 training a small regressor on {samples:,} synthetic people")
    own = train_run(
        config, out / "trained", device, watch=watch.training, say=watch.say,
        validation=quick_figures,
    )  # fmt: skip
    trained = time.perf_counter()

    watch.say("2/3 predicting the bundled photos with the shipped weights")
    options = RunOptions(save=frozenset({"params", "mesh", "overlay", "report"}))
    photos = SHIPPED / "photos"
    predictor = Predictor(DEFAULT_WEIGHTS, load_embedded(device=device), device, samples=SAMPLES)
    summary = predict_folder([photos], out / "photos", predictor, options)

    watch.say("3/3 evaluating the shipped weights and those just trained on open-v0")
    shipped = run_evaluation(
        "open-v0", Path(DEFAULT_WEIGHTS), out / "evaluation" / "shipped", device,
        watch=watch.evaluation,
    )  # fmt: skip
    fresh = run_evaluation(
        "open-v0", own, out / "evaluation" / "trained", device, watch=watch.evaluation
    )
    seconds = {"training": trained - started, "all": time.perf_counter() - started}
    report = _report(out, shipped, fresh, samples, seconds)
    return write_report_page(
        out / "photos", summary.content, page=out / "report.html", report=report
    )


def clear_folder(out: Path) -> None:
    """Makes the folder of a demo, without what an earlier one left, and nothing of the user's."""
    if out.exists() and not (out / MARKER).is_file() and any(out.iterdir()):
        raise FileExistsError(
            f"{out}: wanted a new or empty folder, or that of an earlier demo, found other files; "
            "do: choose another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
    for part in PARTS:
        if (out / part).exists():
            shutil.rmtree(out / part)


def _report(
    out: Path, shipped: Result, fresh: Result, samples: int, seconds: dict[str, float]
) -> Report:
    return Report(
        title="plausibody demo",
        introduction=[
            f"A regressor was trained on {samples:,} synthetic people in "
            f"{seconds['training']:.0f} s. The photos below were predicted by the regressor that "
            "ships, which saw many more. Both were evaluated on "
            f"{shipped.benchmark}. All of it took {seconds['all']:.0f} s, offline.",
        ],
        curves=[
            Curve(
                title="Training loss of the small regressor",
                unit="loss",
                points=_curve(out / "trained" / "curves.jsonl", "train/loss"),
            )
        ],
        tables=[_table(shipped, fresh)],
    )


def _table(shipped: Result, fresh: Result) -> Table:
    rows: list[Sequence[str | int | float]] = []
    for metric in SHOWN:
        ours, own = shipped.of(metric), fresh.of(metric)
        rows.append(
            [
                metric, ours.protocol.points, ours.protocol.alignment,
                round(ours.value, 1), round(own.value, 1),
                round(ours.nearest_pose, 1), round(ours.mean_body, 1),
            ]
        )  # fmt: skip
    return Table(
        title=f"Errors on {shipped.benchmark} [mm]",
        columns=["metric", "points", "alignment", "shipped weights", "just trained",
                 "nearest pose", "mean body"],
        rows=rows,
        note="Held-out subjects, shapes from another distribution than the training's, corrupted "
        "inputs. The last two columns are baselines that know nothing of the picture, or only "
        "its key points.",
    )  # fmt: skip


def _curve(path: Path, name: str) -> list[tuple[float, float]]:
    return [(float(at.step), at.value) for at in read_curves(path)[0].get(name, ())]
