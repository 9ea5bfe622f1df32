"""What DSR's losses are worth in clothes: shapes and volumes by how far garments stand off.

    python benchmarks/dsr.py OUT.json --runs DIR [--minutes 28 | --steps N] [--seeds 0 1]
        [--page docs/dsr.md]

Variants of `dsr-lite` are trained by the commands that the result names, twice each with other
seeds: key points only, with the silhouette of the dressed person, with either of DSR's losses, and
with both; of one person in five the body is known in all of them. Their errors are taken on fixed
people, each drawn in garments of none to twice their usual thickness
(`plausibody.evaluate.looseness`), and compared person by person. DIR keeps trainings and numbers; a
second call goes on where the first stopped. A whole run takes at most 10 x 30 minutes on two cores,
and some minutes of measuring for each training.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from training_rows import decide_steps, train, train_words

from plausibody.bench import document
from plausibody.evaluate.ablation import by_kind, certain, effects, mean_values
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.bootstrap import Difference
from plausibody.evaluate.looseness import (
    LOOSENESS,
    METRICS,
    LooseSettings,
    inflation,
    measure_loose,
)
from plausibody.evaluate.run import training_bank
from plausibody.evaluate.values import Values, decode_values, encode_values
from plausibody.models.files import write_file
from plausibody.models.weights import load_regressor
from plausibody.plots import AblationPlot, draw_ablation
from plausibody.predict.drawing.bodies import save_picture
from plausibody.synth.stores import SynthAssets, load_assets

PRESET = "dsr-lite"
VARIANTS = {
    "key points": "semantics.mc=0 semantics.c=0 stream.maps.size=0",
    "silhouette": "semantics.mc=0 semantics.c=0 supervision.weight=1 supervision.kind=visible "
    "supervision.first_step=800",
    "MC": "semantics.c=0",
    "C": "semantics.mc=0",
    "MC and C": "",
    "C as released": "semantics.mc=0 semantics.c_error=released",
}
"""What differs from the preset."""
DEFAULT = ("key points", "silhouette", "MC", "C", "MC and C")
FIRST = "key points"
SHOWN = (*METRICS, "volume_added")
"""volume_added: by how much more volume is predicted of a person in cloth than without [%]."""
PICTURES = {
    "pve_t_sc": "PVE-T-SC [mm]",
    "volume_bias": "volume over the true one [%]",
}
LOOSEST = LOOSENESS[-1]


@dataclass(frozen=True)
class Row:
    """One training, and its errors by looseness."""

    variant: str
    seed: int
    command: str
    weights: str
    """SHA-256."""
    samples: int
    minutes: float
    errors: dict[str, list[float]]
    """By metric, at `LOOSENESS`."""


def folder(runs: Path, variant: str, seed: int) -> Path:
    return runs / f"{variant.replace(' ', '_')}-{seed}"


def measure(out: Path, assets: SynthAssets, settings: LooseSettings) -> tuple[Values, Any]:
    """Gives each person's errors, from the folder where they were measured before."""
    regressor = load_regressor(out / "weights.safetensors")
    mark = [regressor.card["sha256"], settings.count]
    kept, made = out / "loose.npz", out / "loose.json"
    if kept.is_file() and made.is_file() and json.loads(made.read_text("utf-8")) == mark:
        values = decode_values(kept.read_bytes())
    else:
        values = measure_loose(regressor, regressor.proxy, assets, settings)
        write_file(kept, encode_values(values))
        write_file(made, json.dumps(mark))
    return inflation(values), regressor.card


def compared(values: Mapping[str, Sequence[Values]]) -> dict[str, Any]:
    """Gives what each variant changes against key points alone, errors averaged over the seeds."""
    means = {name: mean_values(several) for name, several in values.items() if several}
    if FIRST not in means:
        return {}
    return {
        name: effects(means[FIRST], mean, SHOWN, "looseness")
        for name, mean in means.items()
        if name != FIRST
    }


def told(name: str, metric: str, unit: str, difference: Difference) -> str:
    """Says in a sentence what a variant changes in the loosest clothes."""
    low, high = difference.low or 0.0, difference.high or 0.0
    verdict = "the interval leaves out 0" if certain(difference) else "which may be chance"
    return (
        f"{name}, {metric} at {LOOSEST}: {difference.difference:+.2f} {unit} (95 % {low:+.2f} to "
        f"{high:+.2f}; from {difference.first:.2f} to {difference.second:.2f} {unit}, "
        f"{difference.people} people), {verdict}"
    )


def sentences(found: Mapping[str, Any]) -> list[str]:
    units = {"pve_t_sc": "mm", "volume_added": "%"}
    return [
        told(name, metric, unit, rows[LOOSEST][metric])
        for name, rows in found.items()
        for metric, unit in units.items()
        if metric in rows[LOOSEST]
    ]


def drawn(values: Mapping[str, Sequence[Values]], mean_body: Values) -> torch.Tensor:
    """Draws shapes' errors and volumes, one picture beside the other."""
    means = {name: mean_values(several) for name, several in values.items() if several}
    found, pictures = compared(values), []
    for metric, label in PICTURES.items():
        rows = {}
        for name, kinds in found.items():
            chosen = [kinds[kind].get(metric) for kind in LOOSENESS]
            rows[name] = [
                (math.nan,) * 3
                if each is None or each.low is None or each.high is None
                else (each.difference, each.low, each.high)
                for each in chosen
            ]
        curves = {name: by_kind(mean, metric, "looseness") for name, mean in means.items()}
        curves["mean body"] = by_kind(mean_body, metric, "looseness")
        pictures.append(
            draw_ablation(
                AblationPlot(
                    title="People in clothes",
                    across="thickness of garments over the usual one",
                    places=LOOSENESS,
                    measured=label,
                    curves=curves,
                    effects=rows,
                )
            )
        )
    return torch.cat(pictures, 2)


def page(record: dict[str, Any], picture: str) -> str:
    """Writes what was found as a page."""
    rows = record["rows"]
    lines = [
        "# What semantic losses are worth in clothes",
        "",
        f"Trainings of `{PRESET}` with and without DSR's losses, {rows[0]['samples']:,} synthetic "
        f"people each, seeds {', '.join(map(str, record['seeds']))}; measured on "
        f"{record['people']:,} people, each in garments of {LOOSENESS[0]} to {LOOSEST} the usual "
        "thickness (`plausibody.evaluate.looseness`; poses that no training saw). Differences are "
        "against key points alone, taken person by person, of errors averaged over the seeds; "
        "intervals are of a paired bootstrap over people. They say nothing of what other seeds "
        "would give: the rows tell how far two are apart.",
        "",
        f"![errors by looseness]({picture})",
        "",
        *(f"- {sentence}" for sentence in record["in_the_loosest"]),
        "",
    ]
    for metric in SHOWN:
        lines += [
            f"`{metric}` by thickness:",
            "",
            "| variant | seed | " + " | ".join(LOOSENESS) + " |",
            "|---|---|" + "---|" * len(LOOSENESS),
        ]
        for row in rows:
            values = " | ".join(f"{value:.1f}" for value in row["errors"][metric])
            lines.append(f"| {row['variant']} | {row['seed']} | {values} |")
        mean = " | ".join(f"{value:.1f}" for value in record["mean_body"][metric])
        lines += [f"| mean body | | {mean} |", ""]
    lines += ["The commands:", "", "```sh", *(row["command"] for row in rows)]
    return "\n".join([*lines, record["command"], "```", ""])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=28.0, help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, instead of --minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(DEFAULT))
    parser.add_argument("--people", type=int, default=LooseSettings().count)
    parser.add_argument("--page", type=Path, help="with a picture of the same name beside it")
    parser.add_argument(
        "--set", nargs="+", default=[], dest="changes", help="of all trainings, KEY=VALUE"
    )
    options = parser.parse_args(words)
    steps = decide_steps(options.runs, PRESET, options.steps, options.minutes)
    settings = LooseSettings(count=options.people)
    assets = load_assets(settings.split, coloured=True)
    rows: list[Row] = []
    values: dict[str, list[Values]] = {name: [] for name in options.variants}
    baseline = MeanBody.of(training_bank("cpu"), assets)
    mean_body: Values | None = None
    for seed in options.seeds:
        for variant in options.variants:
            out = folder(options.runs, variant, seed)
            changes = " ".join([VARIANTS[variant], *options.changes])
            train(train_words(PRESET, changes, seed, steps, out))
            found, card = measure(out, assets, settings)
            if mean_body is None:
                proxy = load_regressor(out / "weights.safetensors").proxy
                mean_body = inflation(measure_loose(baseline, proxy, assets, settings))
            values[variant].append(found)
            shown = train_words(PRESET, changes, seed, steps, Path("runs") / out.name)
            rows.append(
                Row(
                    variant=variant,
                    seed=seed,
                    command=shlex.join(shown),
                    weights=card["sha256"],
                    samples=card["samples"],
                    minutes=round(card.get("seconds", math.nan) / 60, 1),
                    errors={metric: by_kind(found, metric, "looseness") for metric in SHOWN},
                )
            )
            print(variant, seed, [round(value, 1) for value in rows[-1].errors["pve_t_sc"]])
            ours = f"python benchmarks/dsr.py {options.out.name} --runs runs"
            effect = compared(values)
            record = document(rows, ours) | {
                "people": options.people,
                "seeds": options.seeds,
                "looseness": LOOSENESS,
                "mean_body": {metric: by_kind(mean_body, metric, "looseness") for metric in SHOWN},
                "effects": {
                    name: {
                        kind: {
                            metric: asdict(each) | {"certain": certain(each)}
                            for metric, each in row.items()
                        }
                        for kind, row in kinds.items()
                    }
                    for name, kinds in effect.items()
                },
                "in_the_loosest": sentences(effect),
            }
            write_file(options.out, json.dumps(record, indent=2) + "\n")
    for sentence in record["in_the_loosest"]:
        print(sentence)
    if options.page and mean_body is not None:
        picture = options.page.with_suffix(".png")
        save_picture(drawn(values, mean_body), picture)
        write_file(options.page, page(record, picture.name))


if __name__ == "__main__":
    main()
