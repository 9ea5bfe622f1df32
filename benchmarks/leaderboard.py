"""Writes the table of `open-v1` in the README, from results that were saved.

    python benchmarks/leaderboard.py README.md [--measure WEIGHTS ...]

The table stands between the lines `<!-- leaderboard -->` and `<!-- end -->`. Results are the files
benchmarks/results/open-v1_<weights>.json, each a results.json of `plausibody evaluate open`; one of
another seal than this version's benchmark is refused. With --measure, weights are measured first,
and their results written there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE
from plausibody.evaluate.markdown import markdown_table, replace_table
from plausibody.evaluate.open_v1 import OPEN_V1
from plausibody.evaluate.open_v1_measure import HELD, SAMPLES, VISIBLE
from plausibody.evaluate.open_v1_run import NEAREST_LINEAR, evaluate_weights
from plausibody.evaluate.result import Result, read_result, to_json
from plausibody.models.files import write_file
from plausibody.models.weights import find_weights

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    f"pa_mpjpe[min{SAMPLES}]": f"PA-MPJPE, best of {SAMPLES} samples",
    "pve_sc": "PVE-SC",
    "pve_t_sc": "PVE-T-SC",
    VISIBLE: "IoU, visible",
    HELD: "truth in 90 % intervals",
}
"""Metrics and their headings."""


def rows(results: dict[str, Result]) -> list[list[str]]:
    """Gives a row for each regressor, the best first, then those that have learnt nothing."""
    found = []
    for name, result in sorted(results.items(), key=lambda item: item[1].of("pa_mpjpe").value):
        found.append([f"`{name}`", *(_cell(result, metric, None) for metric in COLUMNS)])
    first = next(iter(results.values()))
    for baseline in (NEAREST_POSE, MEAN_BODY, NEAREST_LINEAR):
        found.append([baseline, *(_cell(first, metric, baseline) for metric in COLUMNS)])
    return found


def _cell(result: Result, metric: str, baseline: str | None) -> str:
    figure = result.find(metric)
    if figure is None:
        return "-"
    value = figure.value if baseline is None else figure.baselines.get(baseline)
    return "-" if value is None else f"{value:.{figure.digits}f}"


def check(path: Path, result: Result) -> None:
    """Refuses a result that is not of this version's benchmark.

    Raises:
        ValueError: If it is of another seal.
    """
    seal = OPEN_V1.seal
    wanted = "" if seal is None else seal.digest
    if not result.sealed or result.benchmark != OPEN_V1.name or result.digest != wanted:
        raise ValueError(
            f"{path}: wanted a result of {OPEN_V1.name} ({wanted[:12]}), got one of "
            f"{result.benchmark} ({result.digest[:12]}); do: measure again, with --measure"
        )


def board(folder: Path = RESULTS) -> str:
    """Gives the leaderboard of the results in a folder, as Markdown.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If one is of another seal.
    """
    results = {}
    for path in sorted(folder.glob(f"{OPEN_V1.name}_*.json")):
        result = read_result(path)
        check(path, result)
        results[path.stem.removeprefix(f"{OPEN_V1.name}_")] = result
    if not results:
        raise FileNotFoundError(f"wanted {OPEN_V1.name}_<weights>.json in {folder}, found none")
    one = next(iter(results.values()))
    table = markdown_table(["", *COLUMNS.values()], rows(results))
    return (
        f"{table}\n\n`{one.benchmark}` ({one.digest[:12]}), {one.people} people, of whom the front "
        f"end misses {len(one.missed)}; errors in mm. What each figure is: docs/open_v1.md."
    )


def measure(weights: str, folder: Path = RESULTS) -> None:
    """Measures weights, and writes the result."""
    found = evaluate_weights(weights)
    path = folder / f"{OPEN_V1.name}_{find_weights(weights).stem}.json"
    write_file(path, json.dumps(to_json(found), indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("--measure", nargs="+", default=[], metavar="WEIGHTS")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    for weights in given.measure:
        measure(weights, given.results)
    text = replace_table(given.readme.read_text("utf-8"), "leaderboard", board(given.results))
    write_file(given.readme, text)


if __name__ == "__main__":
    main()
