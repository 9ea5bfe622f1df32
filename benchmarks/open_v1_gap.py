"""Tells what keeps a regressor from better figures on `open-v1`: one cause taken away at a time.

    python benchmarks/open_v1_gap.py OUT.json [--weights hierprob-lite] [--people 192]

The first people of the benchmark are measured as they are, and again with one thing made easier:
linear bodies, clothes that are paint, nothing before or beside them, pictures that cut nobody, or
proxies without errors in the front end's place; last with all of it. Prints a table, writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plausibody.bench import document
from plausibody.evaluate.bootstrap import paired_differences
from plausibody.evaluate.markdown import markdown_table
from plausibody.evaluate.open_v1 import PEOPLE, OpenV1, alone, linear, naked, whole
from plausibody.evaluate.open_v1_measure import VISIBLE
from plausibody.evaluate.open_v1_run import evaluate_seen, oracle
from plausibody.evaluate.rendered_people import Renders, RendersSettings, load_clothed_looks
from plausibody.evaluate.rendered_sight import BLOCK, Sight, see
from plausibody.models.calibration import calibration_path, load_calibration
from plausibody.models.files import write_file
from plausibody.models.records import concatenate
from plausibody.models.weights import find_weights, load_regressor
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.witness import embedded_digest
from plausibody.synth.measured_stage import build_stage
from plausibody.synth.stores import load_assets

METRICS = ("mpjpe", "pa_mpjpe", "pve_sc", "pve_t_sc", "keypoint_error", VISIBLE)
"""What the table shows."""


@dataclass(frozen=True)
class Case:
    """One way in which the same people are shown."""

    name: str
    people: RendersSettings
    oracle: bool = False
    """Whether the front end's errors are taken away."""


def cases(people: RendersSettings) -> list[Case]:
    """Lists the benchmark as it is, each thing that is made easier, and all of them together."""
    easy = whole(alone(naked(linear(people))))
    return [
        Case("as it is", people),
        Case("linear bodies", linear(people)),
        Case("painted clothes", naked(people)),
        Case("nothing and nobody before or beside", alone(people)),
        Case("uncut", whole(people)),
        Case("true proxies", people, oracle=True),
        Case("true proxies, uncut, nobody hidden", whole(alone(people)), oracle=True),
        Case("the same with painted clothes", whole(alone(naked(people))), oracle=True),
        Case("the same with linear bodies", easy, oracle=True),
    ]


def look(renders: Renders, case: Case, tell: Callable[[str], None]) -> Sight:
    """Shows the people of a case to the front end, or says what it should have said."""
    if case.oracle:
        count, parts = renders.settings.count, []
        for numbers in torch.arange(count).split(BLOCK):
            people = renders.people(numbers)
            parts.append(Sight(people, oracle(people)))
        return concatenate(parts)

    def watch(done: int, total: int) -> None:
        tell(f"{case.name}: {done} of {total} seen")

    return concatenate(see(renders, load_embedded(), embedded_digest(), watch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="hierprob-lite")
    parser.add_argument("--people", type=int, default=192)
    given = parser.parse_args()
    path = find_weights(given.weights)
    regressor, beside = load_regressor(path), calibration_path(path)
    calibration = load_calibration(beside) if beside.is_file() else None
    settings = replace(PEOPLE, count=given.people)
    linear_assets = load_assets(settings.split)
    looks = load_clothed_looks(settings, linear_assets.template)
    stage = build_stage(linear_assets, looks)
    rows, first = [], None
    for case in cases(settings):
        renders = Renders(case.people, stage=stage)
        seen = look(renders, case, lambda text: print(text, file=sys.stderr))
        found = evaluate_seen(
            regressor, OpenV1(case.people), renders, seen, embedded_digest(),
            calibration=calibration, samples=0,
        )  # fmt: skip
        assert found.values is not None
        first = first or found.values
        everyone = np.ones(len(first), dtype=bool)
        gone = paired_differences(first, found.values, METRICS, everyone)
        rows.append(
            {
                "case": case.name,
                "missed": len(found.missed),
                "value": {name: found.of(name).value for name in METRICS},
                "mean body": {name: found.of(name).mean_body for name in METRICS},
                "difference": {n: [d.difference, d.low, d.high] for n, d in gone.items()},
            }
        )
        record = document([], " ".join(["python", *sys.argv]))
        record |= {"weights": path.stem, "people": given.people, "rows": rows}
        write_file(given.out, json.dumps(record, indent=2) + "\n")
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Gives the figures of each case, over the mean body's in brackets, and what changed."""
    body = []
    for row in rows:
        cells = []
        for name in METRICS:
            value, other = row["value"][name], row["mean body"][name]
            digits = 3 if name == VISIBLE else 1
            change, low, high = row["difference"][name]
            half = (high - low) / 2
            gone = "" if row is rows[0] else f", {change:+.{digits}f} +- {half:.{digits}f}"
            cells.append(f"{value:.{digits}f} ({value / other:.2f}x{gone})")
        body.append([row["case"], str(row["missed"]), *cells])
    return markdown_table(["shown", "missed", *METRICS], body)


if __name__ == "__main__":
    main()
