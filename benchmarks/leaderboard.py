"""Writes the table of `open-v1` in the README, from results that were saved.

    python benchmarks/leaderboard.py README.md [--measure WEIGHTS|NAME=FILE ...]

The table stands between the lines `<!-- leaderboard -->` and `<!-- end -->`. Results are the files
benchmarks/results/open-v1_<name>.json, each a results.json of `plausibody evaluate open`; one of
another seal than this version's benchmark is refused, or of a network that gave somebody no body.
With --measure, networks are measured first, and their results written there: weights that ship, or
any others under a name of their own. Of these the result keeps the command that trains them again,
and it is told below the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plausibody.assets.catalog import find_asset
from plausibody.config import override
from plausibody.config_file import from_json
from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE
from plausibody.evaluate.markdown import markdown_table, replace_table
from plausibody.evaluate.open_v1 import OPEN_V1
from plausibody.evaluate.open_v1_measure import HELD, SAMPLES, VISIBLE
from plausibody.evaluate.open_v1_run import NEAREST_LINEAR, evaluate_weights
from plausibody.evaluate.result import Result, read_result, to_json
from plausibody.models.checkpoint import load_weights
from plausibody.models.files import write_file
from plausibody.models.weights import find_weights
from plausibody.training.repeating import repeat_command

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
COMMAND = "command"
"""In a result's regressor: what trains it again."""


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
        raise FileNotFoundError(f"wanted {OPEN_V1.name}_<name>.json in {folder}, found none")
    one = next(iter(results.values()))
    table = markdown_table(["", *COLUMNS.values()], rows(results))
    told = "".join(f"\n- `{name}`: {line}" for name, line in trainings(results).items())
    how = f"\n\nThese do not ship; a command trains each again:\n{told}" if told else ""
    return (
        f"{table}\n\n`{one.benchmark}` ({one.digest[:12]}), {one.people} people, of whom the front "
        f"end misses {len(one.missed)}; errors in mm. What each figure is: docs/open_v1.md."
        f"{how}"
    )


def trainings(results: Mapping[str, Result]) -> dict[str, str]:
    """Says by name how those networks were trained that do not ship."""
    found = {}
    for name, result in results.items():
        told = result.regressor
        if COMMAND in told:
            spent = f"{told['samples']:,} people, {told['seconds'] / 60:.0f} minutes"
            found[name] = f"`{told[COMMAND]}` ({spent} on {told['device']})"
    return found


def measure(asked: str, folder: Path = RESULTS) -> Path:
    """Measures a network, and writes the result.

    Args:
        asked: Weights that ship, by name; or NAME=FILE, of others.

    Raises:
        ValueError: If weights have no name, or that of weights that ship.
    """
    name, _, file = asked.rpartition("=")
    path = find_weights(file)
    if ships(path) == bool(name):
        raise ValueError(
            f"--measure: wanted the name of weights that ship, or NAME=FILE of others, got {asked}"
        )
    told = training(path, f"runs/{name}") if name else {}
    found = evaluate_weights(path)
    found = replace(found, regressor={**found.regressor, **told})
    written = folder / f"{OPEN_V1.name}_{name or path.stem}.json"
    write_file(written, json.dumps(to_json(found), indent=2) + "\n")
    return written


def ships(weights: Path) -> bool:
    """Tells whether weights are among those that come with the package."""
    try:
        return find_asset(f"weights/{weights.name}").samefile(weights)
    except FileNotFoundError:
        return False


def training(weights: Path, out: str) -> dict[str, Any]:
    """Tells how a network was trained, from its card, and how the one was that it started from.

    Args:
        weights: With their card.
        out: Folder of the run in the command.

    Raises:
        ValueError: If it has none of a training.
    """
    card = load_weights(weights)[1]
    missing = [key for key in ("config", "samples", "seconds", "device") if key not in card]
    if missing:
        raise ValueError(
            f"{weights}: wanted a card of a training, got one without {', '.join(missing)}; do: "
            "take weights.safetensors and weights.json of one run"
        )
    config = from_json(card["config"])
    told = {key: card[key] for key in ("samples", "seconds", "device")}
    start, before = config.train.init_weights, ""
    if start and Path(start).is_file():
        first = training(Path(start), f"{out}-start")
        before = f"{first[COMMAND]} && "
        told |= {key: told[key] + first[key] for key in ("samples", "seconds")}
        config = override(config, {"train.init_weights": f"{out}-start/{Path(start).name}"})
    command = repeat_command(config, int(card.get("processes", 1)), out)
    return {COMMAND: f"{before}{command}", **told}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("--measure", nargs="+", default=[], metavar="WEIGHTS|NAME=FILE")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    for asked in given.measure:
        measure(asked, given.results)
    text = replace_table(given.readme.read_text("utf-8"), "leaderboard", board(given.results))
    write_file(given.readme, text)


if __name__ == "__main__":
    main()
