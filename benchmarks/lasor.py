"""What LASOR's two ideas are worth: occlusion in the synthesis, and silhouettes in the loss.

    python benchmarks/lasor.py OUT.json --runs DIR [--minutes 30 | --steps N] [--seeds 0 1]
        [--page docs/lasor.md]

Four variants of `lasor-lite` are trained, with and without each idea, by the commands that the
result names; twice each, with other seeds. Their errors are taken on a fixed stream of people of
whom up to 65 % is hidden (`plausibody.evaluate.occlusion`), and compared person by person. DIR
keeps trainings and numbers; a second call goes on where the first stopped. A whole run takes at
most 8 x 30 minutes on two cores, and two minutes of measuring for each training.
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
from plausibody.evaluate.ablation import certain, mean_values
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.bootstrap import Difference
from plausibody.evaluate.occlusion import (
    FORTY,
    METRICS,
    SHARES,
    OccludedSettings,
    by_share,
    effects,
    measure_occluded,
)
from plausibody.evaluate.run import training_bank
from plausibody.evaluate.values import Values, decode_values, encode_values
from plausibody.models.files import write_file
from plausibody.models.weights import load_regressor
from plausibody.plots import AblationPlot, draw_ablation
from plausibody.predict.drawing.bodies import save_picture
from plausibody.synth.stores import SynthAssets, load_assets

PRESET = "lasor-lite"
NOBODY_BEFORE = (
    "stream.lite.occlusion.people.present=0 stream.lite.occlusion.objects.present=0 "
    "stream.lite.corruption.box=[0,0]"
)
NO_SILHOUETTES = "supervision.weight=0 stream.maps.size=0"
VARIANTS = {
    "neither": f"{NOBODY_BEFORE} {NO_SILHOUETTES}",
    "silhouettes": NOBODY_BEFORE,
    "occlusion": NO_SILHOUETTES,
    "both": "",
    "both, visible": "supervision.kind=visible",
}
"""What differs from the preset. Without occlusion nothing stands before anybody in training, not
even the boxes of `lite`; borders cut people all the same."""
DEFAULT = ("neither", "silhouettes", "occlusion", "both")
COMPARED = {
    "occlusion in the synthesis": ("neither", "occlusion"),
    "the same, with silhouettes": ("silhouettes", "both"),
    "silhouettes in the loss": ("neither", "silhouettes"),
    "the same, with occlusion": ("occlusion", "both"),
    "both": ("neither", "both"),
    "visible instead of whole silhouettes": ("both", "both, visible"),
}
"""Names of effects: the second variant against the first."""
LEADING = "pa_mpjpe"


@dataclass(frozen=True)
class Row:
    """One training, and its errors by the share that is hidden."""

    variant: str
    seed: int
    command: str
    weights: str
    """SHA-256."""
    samples: int
    minutes: float
    errors: dict[str, list[float]]
    """By metric, at `SHARES`."""


def folder(runs: Path, variant: str, seed: int) -> Path:
    return runs / f"{variant.replace(', ', '_')}-{seed}"


def measure(out: Path, assets: SynthAssets, settings: OccludedSettings) -> tuple[Values, Any]:
    """Gives each person's errors, from the folder where they were measured before."""
    regressor = load_regressor(out / "weights.safetensors")
    mark, kept = regressor.card["sha256"], out / f"occluded-{settings.count}.npz"
    made = out / f"occluded-{settings.count}.json"
    if kept.is_file() and made.is_file() and json.loads(made.read_text("utf-8")) == mark:
        return decode_values(kept.read_bytes()), regressor.card
    values = measure_occluded(regressor, regressor.proxy, assets, settings)
    write_file(kept, encode_values(values))
    write_file(made, json.dumps(mark))
    return values, regressor.card


def compared(values: Mapping[str, Sequence[Values]]) -> dict[str, Mapping[str, Any]]:
    """Gives the effects that can be told, each person's errors averaged over the seeds."""
    means = {name: mean_values(several) for name, several in values.items() if several}
    return {
        name: effects(means[first], means[second])
        for name, (first, second) in COMPARED.items()
        if first in means and second in means
    }


def told(name: str, difference: Difference) -> str:
    """Says in a sentence what an effect is at 40 %, of the leading metric."""
    low, high = difference.low or 0.0, difference.high or 0.0
    verdict = "the interval leaves out 0" if certain(difference) else "which may be chance"
    return (
        f"{name}: {difference.difference:+.1f} mm (95 % {low:+.1f} to {high:+.1f}; from "
        f"{difference.first:.1f} to {difference.second:.1f} mm, {difference.people} people), "
        f"{verdict}"
    )


def drawn(curves: Mapping[str, Sequence[float]], found: Mapping[str, Any]) -> torch.Tensor:
    """Draws the leading metric."""
    rows = {}
    for name, bins in found.items():
        chosen = [bins.get(share, {}).get(LEADING) for share in SHARES]
        rows[name] = [
            (math.nan,) * 3
            if each is None or each.low is None or each.high is None
            else (each.difference, each.low, each.high)
            for each in chosen
        ]
    return draw_ablation(
        AblationPlot(
            title="People behind things and other people",
            across="share of the person that is hidden",
            places=SHARES,
            measured="PA-MPJPE [mm]",
            curves=curves,
            effects=rows,
        )
    )


def page(record: dict[str, Any], picture: str) -> str:
    """Writes what was found as a page."""
    rows = record["rows"]
    first = rows[0]
    lines = [
        "# What occlusion and silhouettes are worth",
        "",
        f"Trainings of `{PRESET}` with and without each of LASOR's ideas, {first['samples']:,} "
        f"synthetic people each, seeds {', '.join(map(str, record['seeds']))}; measured on "
        f"{record['people']:,} people of whom up to 65 % is hidden (`plausibody.evaluate.occlusion`"
        "; poses that no training saw). Differences are taken person by person, of errors averaged "
        "over the seeds; intervals are of a paired bootstrap over people. They say nothing of what "
        "other seeds would give: the rows tell how far two are apart.",
        "",
        f"![errors by the share that is hidden]({picture})",
        "",
        f"At {FORTY} hidden, PA-MPJPE:",
        "",
        *(f"- {sentence}" for sentence in record["at_forty"]),
        "",
        "PA-MPJPE [mm] by the share that is hidden:",
        "",
        "| variant | seed | " + " | ".join(SHARES) + " |",
        "|---|---|" + "---|" * len(SHARES),
    ]
    for row in rows:
        values = " | ".join(f"{value:.1f}" for value in row["errors"][LEADING])
        lines.append(f"| {row['variant']} | {row['seed']} | {values} |")
    mean = " | ".join(f"{value:.1f}" for value in record["mean_body"][LEADING])
    lines += [f"| mean body | | {mean} |", "", "The commands:", "", "```sh"]
    lines += [row["command"] for row in rows]
    return "\n".join([*lines, record["command"], "```", ""])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=27.0, help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, instead of --minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(DEFAULT))
    parser.add_argument("--people", type=int, default=OccludedSettings().count)
    parser.add_argument("--page", type=Path, help="with a picture of the same name beside it")
    options = parser.parse_args(words)
    steps = decide_steps(options.runs, PRESET, options.steps, options.minutes)
    settings = OccludedSettings(count=options.people)
    assets = load_assets(settings.split)
    rows: list[Row] = []
    values: dict[str, list[Values]] = {name: [] for name in options.variants}
    baseline = MeanBody.of(training_bank("cpu"), assets)
    mean_body: dict[str, list[float]] = {}
    for seed in options.seeds:
        for variant in options.variants:
            out = folder(options.runs, variant, seed)
            trained = train_words(PRESET, VARIANTS[variant], seed, steps, out)
            train(trained)
            found, card = measure(out, assets, settings)
            if not mean_body:
                proxy = load_regressor(out / "weights.safetensors").proxy
                of_mean = measure_occluded(baseline, proxy, assets, settings)
                mean_body = {metric: by_share(of_mean, metric) for metric in METRICS}
            values[variant].append(found)
            shown = train_words(PRESET, VARIANTS[variant], seed, steps, Path("runs") / out.name)
            rows.append(
                Row(
                    variant=variant,
                    seed=seed,
                    command=shlex.join(shown),
                    weights=card["sha256"],
                    samples=card["samples"],
                    minutes=round(card.get("seconds", math.nan) / 60, 1),
                    errors={metric: by_share(found, metric) for metric in METRICS},
                )
            )
            print(variant, seed, [round(value, 1) for value in rows[-1].errors[LEADING]])
            ours = f"python benchmarks/lasor.py {options.out.name} --runs runs"
            record = document(rows, ours) | _summary(values, options, mean_body)
            write_file(options.out, json.dumps(record, indent=2) + "\n")
    curves = {name: by_share(mean_values(several), LEADING) for name, several in values.items()} | {
        "mean body": mean_body[LEADING]
    }
    for sentence in record["at_forty"]:
        print(sentence)
    if options.page:
        picture = options.page.with_suffix(".png")
        save_picture(drawn(curves, compared(values)), picture)
        write_file(options.page, page(record, picture.name))


def _summary(
    values: Mapping[str, Sequence[Values]],
    options: argparse.Namespace,
    mean_body: dict[str, list[float]],
) -> dict[str, Any]:
    found = compared(values)
    return {
        "people": options.people,
        "seeds": options.seeds,
        "shares": SHARES,
        "mean_body": mean_body,
        "effects": {
            name: {
                share: {
                    metric: asdict(each) | {"certain": certain(each)}
                    for metric, each in row.items()
                }
                for share, row in bins.items()
            }
            for name, bins in found.items()
        },
        "at_forty": [
            told(name, bins[FORTY][LEADING])
            for name, bins in found.items()
            if LEADING in bins.get(FORTY, {})
        ],
    }


if __name__ == "__main__":
    main()
