"""What DSR's losses are worth in clothes: shapes and volumes by how far garments stand off.

    python benchmarks/dsr.py OUT.json --runs DIR [--minutes 10 | --steps N] [--seeds 0 1]
        [--page docs/dsr.md]

As DSR starts from the weights of SPIN or EFT, all trainings start from one of `dsr-lite-start`, in
which every body is known. From there variants of `dsr-lite` are trained by the commands that the
result names, twice each with other seeds: key points only, with the silhouette of the dressed
person, with either of DSR's losses, and with both; silhouettes and both losses also of people in
looser clothes. Of one person in four the body is known in all of them. Their errors are taken on
fixed people, each drawn in garments of none to twice their usual thickness
(`plausibody.evaluate.looseness`), and compared person by person. DIR keeps trainings and numbers; a
second call goes on where the first stopped, and adds `--variants` to those that are there. A whole
run takes a quarter of an hour and 14 x 10 minutes on two cores, and some minutes of measuring for
each training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from telling import CAUTION, Effects, effects_json, page, save_page, spans, table, told
from training_rows import (
    Findings,
    Study,
    command_of,
    decide_steps,
    run_study,
    start_command,
    study_parser,
)

from plausibody.bench import document
from plausibody.evaluate.ablation import by_kind
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.figures import MEAN_BODY
from plausibody.evaluate.looseness import (
    LOOSENESS,
    METRICS,
    LooseSettings,
    inflation,
    measure_loose,
)
from plausibody.evaluate.run import training_bank
from plausibody.evaluate.values import Values
from plausibody.models.files import write_file
from plausibody.plots import AblationPlot, draw_ablation
from plausibody.synth.stores import load_assets

PRESET, START = "dsr-lite", "dsr-lite-start"
SILHOUETTE = "semantics.mc=0 semantics.c=0 supervision.weight=1 supervision.kind=visible"
LOOSE_CLOTH = "stream.hierprob.garments.tightness=0.1"
"""Nearly all garments are the loosest of their kind: twice as far off the body as usual ones."""
VARIANTS = {
    "key points": "semantics.mc=0 semantics.c=0 stream.maps.size=0",
    "silhouette": SILHOUETTE,
    "MC": "semantics.c=0",
    "C": "semantics.mc=0",
    "MC and C": "",
    "C as released": "semantics.mc=0 semantics.c_error=released",
    "silhouette, loose": f"{SILHOUETTE} {LOOSE_CLOTH}",
    "MC and C, loose": LOOSE_CLOTH,
}
"""What differs from the preset."""
FIRST = "key points"
ALONE = ("silhouette", "MC", "C", "MC and C")
LOOSENED = ("silhouette", "MC and C")
"""Trained in looser cloth too."""
DEFAULT = (FIRST, *ALONE, *(f"{name}, loose" for name in LOOSENED))
COMPARED = {name: (FIRST, name) for name in (*ALONE, "C as released")} | {
    f"{name}, loose instead of usual cloth": (name, f"{name}, loose") for name in LOOSENED
}
"""Names of effects: the second variant against the first."""
SHOWN = (*METRICS, "volume_added")
"""volume_added: by how much more volume is predicted of a person in cloth than without [%]."""
LOOSE = "looseness"
PICTURES = {
    "pve_t_sc": "PVE-T-SC [mm]",
    "volume_bias": "volume over the true one [%]",
}
TOLD = {"pve_t_sc": "mm", "volume_bias": "%", "volume_added": "%"}
"""Metrics of which sentences are made, and their units."""
LOOSEST = LOOSENESS[-1]


def by_looseness(values: Values) -> dict[str, list[float]]:
    """Gives the mean of each metric at `LOOSENESS`."""
    return {metric: by_kind(values, metric, LOOSE) for metric in SHOWN}


def drawn(found: Findings, effects: Effects) -> torch.Tensor:
    """Draws shapes' errors and volumes, one picture beside the other.

    There are curves of variants that were trained with all seeds.
    """
    whole = {name for name, each in found.values.items() if len(each) == len(found.seeds)}
    means = {name: each for name, each in found.means().items() if name in {*whole, MEAN_BODY}}
    pictures = [
        draw_ablation(
            AblationPlot(
                title="People in clothes",
                across="thickness of garments over the usual one",
                places=LOOSENESS,
                measured=label,
                curves={name: by_kind(mean, metric, LOOSE) for name, mean in means.items()},
                effects={name: spans(rows, metric, LOOSENESS) for name, rows in effects.items()},
            )
        )
        for metric, label in PICTURES.items()
    ]
    return torch.cat(pictures, 2)


def written(record: dict[str, Any], picture: str) -> str:
    """Writes what was found as a page."""
    rows = record["rows"]
    intro = (
        f"Trainings of `{PRESET}` with and without DSR's losses, {rows[0]['samples']:,} synthetic "
        f"people each, seeds {', '.join(map(str, record['seeds']))}; measured on "
        f"{record['people']:,} people, each in garments of {LOOSENESS[0]} to {LOOSEST} the usual "
        "thickness (`plausibody.evaluate.looseness`; poses that no training saw). Differences are "
        f"against key points alone unless they say otherwise, {CAUTION}"
    )
    parts = [[f"- {sentence}" for sentence in record["in_the_loosest"]]]
    for metric in SHOWN:
        parts.append([f"`{metric}` by thickness:"])
        parts.append(table(rows, metric, LOOSENESS, record["mean_body"][metric]))
    title = "What semantic losses are worth in clothes"
    return page(title, intro, ("errors by looseness", picture), parts, record)


def summary(found: Findings, effects: Effects) -> dict[str, Any]:
    """Gives what the file says besides its rows."""
    assert found.baseline is not None
    return {
        "people": found.study.people,
        "seeds": found.seeds,
        "looseness": LOOSENESS,
        "mean_body": by_looseness(found.baseline),
        "effects": effects_json(effects),
        "in_the_loosest": [
            told(f"{name}, {metric} at {LOOSEST}", kinds[LOOSEST][metric], unit, 2)
            for name, kinds in effects.items()
            for metric, unit in TOLD.items()
            if metric in kinds[LOOSEST]
        ],
    }


def main(words: Sequence[str] | None = None) -> None:
    people = LooseSettings().count
    options = study_parser(str(__doc__), list(VARIANTS), DEFAULT, 10.0, people).parse_args(words)
    steps = decide_steps(options.runs, PRESET, options.steps, options.minutes)
    settings = LooseSettings(count=options.people)
    assets = load_assets(settings.split, coloured=True)
    study = Study(
        preset=PRESET,
        variants=VARIANTS,
        kept="loose",
        people=settings.count,
        settings=asdict(settings),
        measure=lambda estimator, proxy: measure_loose(estimator, proxy, assets, settings),
        summarise=by_looseness,
        leading="pve_t_sc",
        baseline=MeanBody.of(training_bank("cpu"), assets),
        complete=inflation,
        start=START,
    )
    for found in run_study(
        study, options.runs, steps, options.seeds, options.variants, options.changes
    ):
        effects = found.compare(COMPARED, SHOWN, LOOSE)
        ours = command_of("dsr.py", options, [found], {"--steps": steps})
        record = document(found.rows, ours) | summary(found, effects)
        record |= {"start": start_command(study)}
        write_file(options.out, json.dumps(record, indent=2) + "\n")
    for sentence in record["in_the_loosest"]:
        print(sentence)
    if options.page:
        save_page(options.page, drawn(found, effects), lambda name: written(record, name))


if __name__ == "__main__":
    main()
