"""What LASOR's two ideas are worth: occlusion in the synthesis, and silhouettes in the loss.

    python benchmarks/lasor.py OUT.json --runs DIR [--minutes 30 | --steps N] [--seeds 0 1]
        [--page docs/lasor.md]

Four variants of `lasor-lite` are trained, with and without each idea, by the commands that the
result names; twice each, with other seeds. Their errors are taken on a fixed stream of people of
whom up to 65 % is hidden (`plausibody.evaluate.occlusion`), and compared person by person. DIR
keeps trainings and numbers; a second call goes on where the first stopped, and adds `--variants` to
those that are there. A whole run takes at most 8 x 30 minutes on two cores, and two minutes of
measuring for each training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from telling import CAUTION, Effects, effects_json, page, save_page, spans, table, told
from training_rows import Findings, Study, command_of, decide_steps, run_study, study_parser

from plausibody.bench import document
from plausibody.evaluate.ablation import by_kind
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.occlusion import (
    FORTY,
    HIDDEN,
    METRICS,
    SHARES,
    OccludedSettings,
    measure_occluded,
)
from plausibody.evaluate.run import training_bank
from plausibody.evaluate.values import Values
from plausibody.models.files import write_file
from plausibody.plots import AblationPlot, draw_ablation
from plausibody.synth.stores import load_assets

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
TOLD = {LEADING: ("mm", 1), "mpjpe": ("mm", 1), "pve_t_sc": ("mm", 2), "overlap": ("", 3)}
"""Metrics of which sentences are made, their units, and digits after the point."""


def by_share(values: Values) -> dict[str, list[float]]:
    """Gives the mean of each metric at `SHARES`."""
    return {metric: by_kind(values, metric, HIDDEN) for metric in METRICS}


def drawn(found: Findings, effects: Effects) -> torch.Tensor:
    """Draws the leading metric."""
    return draw_ablation(
        AblationPlot(
            title="People behind things and other people",
            across="share of the person that is hidden",
            places=SHARES,
            measured="PA-MPJPE [mm]",
            curves={name: by_kind(mean, LEADING, HIDDEN) for name, mean in found.means().items()},
            effects={name: spans(rows, LEADING, SHARES) for name, rows in effects.items()},
        )
    )


def written(record: dict[str, Any], picture: str) -> str:
    """Writes what was found as a page."""
    rows = record["rows"]
    intro = (
        f"Trainings of `{PRESET}` with and without each of LASOR's ideas, "
        f"{rows[0]['samples']:,} synthetic people each, seeds "
        f"{', '.join(map(str, record['seeds']))}; measured on {record['people']:,} people of whom "
        "up to 65 % is hidden (`plausibody.evaluate.occlusion`; poses that no training saw). "
        f"Differences are {CAUTION}"
    )
    parts = (
        [f"At {FORTY} hidden; `overlap` is that of the whole silhouettes, hidden parts included:"],
        [f"- {sentence}" for sentence in record["at_forty"]],
        ["PA-MPJPE [mm] by the share that is hidden:"],
        table(rows, LEADING, SHARES, record["mean_body"][LEADING]),
        ["Overlap of whole silhouettes by the share that is hidden:"],
        table(rows, "overlap", SHARES, record["mean_body"]["overlap"], 3),
    )
    title = "What occlusion and silhouettes are worth"
    return page(title, intro, ("errors by the share that is hidden", picture), parts, record)


def summary(found: Findings, effects: Effects) -> dict[str, Any]:
    """Gives what the file says besides its rows."""
    assert found.baseline is not None
    return {
        "people": found.study.people,
        "seeds": found.seeds,
        "shares": SHARES,
        "mean_body": by_share(found.baseline),
        "effects": effects_json(effects),
        "at_forty": [
            told(f"{name}, {metric}", kinds[FORTY][metric], *how)
            for name, kinds in effects.items()
            for metric, how in TOLD.items()
            if metric in kinds.get(FORTY, {})
        ],
    }


def main(words: Sequence[str] | None = None) -> None:
    people = OccludedSettings().count
    options = study_parser(str(__doc__), list(VARIANTS), DEFAULT, 27.0, people).parse_args(words)
    steps = decide_steps(options.runs, PRESET, options.steps, options.minutes)
    settings = OccludedSettings(count=options.people)
    assets = load_assets(settings.split)
    study = Study(
        preset=PRESET,
        variants=VARIANTS,
        kept=f"occluded-{settings.count}",
        people=settings.count,
        settings=asdict(settings),
        measure=lambda estimator, proxy: measure_occluded(estimator, proxy, assets, settings),
        summarise=by_share,
        leading=LEADING,
        baseline=MeanBody.of(training_bank("cpu"), assets),
    )
    for found in run_study(
        study, options.runs, steps, options.seeds, options.variants, options.changes
    ):
        effects = found.compare(COMPARED, METRICS, HIDDEN)
        ours = command_of("lasor.py", options, [found], {"--steps": steps})
        record = document(found.rows, ours) | summary(found, effects)
        write_file(options.out, json.dumps(record, indent=2) + "\n")
    for sentence in record["at_forty"]:
        print(sentence)
    if options.page:
        save_page(options.page, drawn(found, effects), lambda name: written(record, name))


if __name__ == "__main__":
    main()
