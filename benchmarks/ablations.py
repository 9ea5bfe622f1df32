"""What each choice of the shipped training is worth: one short training per choice, the rest alike.

    python benchmarks/ablations.py OUT.json --runs DIR [--only NAME ...] [--table docs/ablations.md]
    python benchmarks/ablations.py OUT.json --table docs/ablations.md

The first trains and measures. Each row is made by the command it prints. DIR keeps the trainings; a
second call goes on where the first stopped. All are measured on `open-v0` and, through the embedded
front end, on the painted people of `renders-v0`. The second writes the page of the rows that
OUT.json has, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from plausibody.bench import document
from plausibody.evaluate.renders import evaluate_renders
from plausibody.evaluate.run import evaluate_open
from plausibody.models.files import write_file
from plausibody.models.weights import load_regressor
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.training.record import commit

STEPS = 2500
COMMON = f"synth-train --preset lite --steps {STEPS} --set train.threads=1"
ROWS = {
    "as it was": "",
    "cells of 8 px": "regressor.cell=8",
    "cells of 8 px, wider and deeper": "regressor.cell=8 regressor.width=48 "
    "regressor.features=768 regressor.blocks=6",
    "errors as measured": "stream.lite.errors=measured",
    "errors of both kinds": "stream.lite.errors=both",
    "no recombined poses": "stream.lite.pose.recombined=0",
    "more recombined poses": "stream.lite.pose.recombined=0.7",
    "no noise on poses": "stream.lite.pose.jittered=0",
    "wide views": "stream.viewpoint=wide",
    "everybody on the camera's axis": "stream.lite.view.off_axis=0",
    "nobody cut": "stream.lite.corruption.truncated=0",
    "nobody clothed": "stream.lite.corruption.clothed=0",
    "shapes of one normal distribution": "stream.lite.shape.wide=0",
    "masks of 64 px": "proxy.size=64",
    "flat rate, cooled down": "train.schedule=flat",
}
"""What differs, by name; the first row is what others are compared with."""
FIRST = next(iter(ROWS))
HEADS = Path(__file__).parent / "results" / "heads.json"
"""Trainings that differ in their seeds alone, of two heads."""
PAINTED = ("silhouette_iou", "silhouette_iou_naked", "reprojection", "area_ratio")
"""Figures of painted people that a row keeps."""


@dataclass(frozen=True)
class Row:
    """A training and its figures."""

    name: str
    command: str
    """Of the training."""
    commit: str
    """At which it was measured."""
    weights: str
    """SHA-256."""
    samples: int
    open_v0: dict[str, float]
    """Of `open-v0`: mpjpe, pa_mpjpe, pve_t_sc [mm]."""
    renders: dict[str, float]
    """Of `renders-v0`, medians."""


def command(name: str, runs: Path) -> list[str]:
    """Gives the command that trains a row."""
    settings = [part for pair in ROWS[name].split() for part in ("--set", pair)]
    return [*COMMON.split(), *settings, "--out", str(runs / name.replace(" ", "_"))]


def train(name: str, runs: Path) -> Path:
    """Trains a row, goes on with its training, or takes what is finished; gives its weights."""
    words = command(name, runs)
    out = Path(words[-1])
    weights = out / "weights.safetensors"
    if not weights.is_file():
        resume = ["--resume"] if (out / "config.json").is_file() else []
        print("$", shlex.join([*words, *resume]), flush=True)
        program = Path(sys.executable).with_name(words[0])
        subprocess.run([str(program), *words[1:], "--quiet", *resume], check=True)
    return weights


def measure(name: str, weights: Path) -> Row:
    """Measures the weights of a row."""
    regressor = load_regressor(weights)
    figures = {
        figure.metric: figure.value
        for figure in evaluate_open(regressor).figures
        if figure.subset == "all" and figure.metric in ("mpjpe", "pa_mpjpe", "pve_t_sc")
    }
    painted = evaluate_renders(regressor, load_embedded()).result
    return Row(
        name=name,
        command=shlex.join(command(name, Path("runs"))),
        commit=commit(),
        weights=regressor.card["sha256"],
        samples=regressor.card["samples"],
        open_v0=figures,
        renders={metric: painted.of(metric).value for metric in PAINTED},
    )


def seed_spread(metric: str) -> float:
    """Gives the standard deviation over seeds of an error, of the head where it is larger [mm]."""
    rows = json.loads(HEADS.read_text("utf-8"))["rows"]
    return max(stdev(row["errors"][head][metric] for row in rows) for head in rows[0]["errors"])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Writes the rows as a page."""
    first = rows[0]
    spread = seed_spread("pa_mpjpe")
    chance = 2 * 2**0.5 * spread
    names = [row["name"] for row in rows]
    again = ["python", "benchmarks/ablations.py", "OUT.json", "--runs", "runs", "--only", *names]
    lines = [
        "# What each choice is worth",
        "",
        f"Each row is one training of {first['samples']:,} people that differs from the first row "
        "in one thing. Measured on `open-v0` (4,096 people, proxies; mm, less is better) and on "
        "`renders-v0` (200 painted and clothed people seen through the embedded front end; median "
        "overlap with the front end's mask, median body area over the true body's). Short "
        "trainings flatter what is easy to learn, and do not tell what a long one ends with. "
        "Clothes teach that a body is smaller than its outline, which costs overlap and keeps the "
        "area of the body.",
        "",
        "One seed each. What seeds alone change is not known of these trainings, but of two others "
        "with the same encoder, with a head of distributions and one of one body "
        "(`benchmarks/results/heads.json`; three seeds of 2,000 steps each, measured on 2,048 "
        f"people): standard deviations of at most {spread:.1f} mm in PA-MPJPE and "
        f"{seed_spread('pve_t_sc'):.1f} mm in PVE-T-SC. ≈ marks a PA-MPJPE within {chance:.1f} mm "
        "of the first row's, twice the standard deviation of a difference of two such trainings: "
        "it may be chance.",
        "",
        "| what differs | PA-MPJPE | PVE-T-SC | MPJPE | IoU, painted | area, painted |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        found, painted = row["open_v0"], row["renders"]
        near = abs(found["pa_mpjpe"] - first["open_v0"]["pa_mpjpe"]) < chance
        mark = " ≈" if near and row is not first else ""
        lines.append(
            f"| {row['name']} | {found['pa_mpjpe']:.1f}{mark} | {found['pve_t_sc']:.1f} | "
            f"{found['mpjpe']:.1f} | {painted['silhouette_iou']:.3f} | "
            f"{painted['area_ratio']:.3f} |"
        )
    lines += ["", "The command of all rows, and of the training of each:", "", "```sh"]
    lines += [shlex.join([*again, "--table", "docs/ablations.md"])]
    lines += [row["command"] for row in rows]
    return "\n".join([*lines, "```", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, help="without it nothing is trained")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", help="rows to train")
    parser.add_argument("--table", type=Path, help="page to write, of all rows of OUT.json")
    options = parser.parse_args()
    if options.runs is None and (options.only or options.table is None):
        parser.error("without --runs nothing is trained: wanted --table alone; do: --runs DIR")
    wanted = [] if options.runs is None else options.only or list(ROWS)
    done = {}
    if options.out.exists():
        done = {row["name"]: row for row in json.loads(options.out.read_text("utf-8"))["rows"]}
    if options.table and FIRST not in {*done, *wanted}:
        parser.error(f"--table: wanted {FIRST!r}, which others are compared with; do: train it")
    for name in wanted:
        weights = train(name, options.runs)
        if name not in done or done[name]["weights"] != load_regressor(weights).card["sha256"]:
            done[name] = asdict(measure(name, weights))
            rows = [done[row] for row in ROWS if row in done]
            record = document([], shlex.join(["python", *sys.argv])) | {"rows": rows}
            write_file(options.out, json.dumps(record, indent=2) + "\n")
        print(done[name], flush=True)
    if options.table:
        write_file(options.table, table([done[row] for row in ROWS if row in done]))


if __name__ == "__main__":
    main()
