"""What DaNet's ideas are worth: PartDrop, local streams and the graph; and how it sees parts.

    python benchmarks/danet.py OUT.json --runs DIR [--minutes 12 | --steps N --picture-steps N]
        [--seeds 0 1] [--page docs/danet.md]

Variants of `danet-lite-iuv`, which reads IUV pictures, are trained by the commands that the result
names, twice each with other seeds: parts dropped with four probabilities, and without local streams
or without the graph. Their errors are taken on a fixed stream of people of whom up to 65 % is
hidden (`plausibody.evaluate.occlusion`), joint by joint too, and compared person by person.
`danet-lite`, which reads colours, is trained as it is (the variant "pictures"), and its IUV
pictures are held against true ones (`plausibody.evaluate.iuv_accuracy`). DIR keeps trainings and
numbers; a second call goes on where the first stopped, and adds `--variants` to those that are
there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from telling import CAUTION, Effects, effects_json, page, save_page, spans, table, told
from training_rows import Findings, Study, command_of, decide_steps, run_study, study_parser

from plausibody.bench import document
from plausibody.evaluate import iuv_accuracy
from plausibody.evaluate.ablation import by_kind, certain
from plausibody.evaluate.baselines import MeanBody
from plausibody.evaluate.bootstrap import Difference, paired_differences
from plausibody.evaluate.figures import MEAN_BODY
from plausibody.evaluate.iuv_accuracy import IuvSettings, measure_iuv
from plausibody.evaluate.joint_errors import JOINT_METRICS, JOINTS
from plausibody.evaluate.occlusion import (
    FORTY,
    HIDDEN,
    METRICS,
    SHARES,
    OccludedSettings,
    measure_occluded,
)
from plausibody.evaluate.run import Estimator, training_bank
from plausibody.evaluate.values import Values
from plausibody.models.files import write_file
from plausibody.models.proxy import ProxySettings
from plausibody.models.weights import TrainedRegressor
from plausibody.plots import AblationPlot, draw_ablation
from plausibody.synth.stores import load_assets

PRESET, PICTURES_PRESET = "danet-lite-iuv", "danet-lite"
WHOLE = "PartDrop 0.15"
"""The preset as it is."""
BODIES = {
    "PartDrop 0": "danet.partdrop=0",
    WHOLE: "danet.partdrop=0.15",
    "PartDrop 0.3": "danet.partdrop=0.3",
    "PartDrop 0.5": "danet.partdrop=0.5",
    "global only": "danet.partdrop=0.15 danet.local=false",
    "no graph": "danet.partdrop=0.15 danet.graph=false",
}
"""What differs from the preset. Without local streams there is no graph either."""
PICTURES = {"pictures": ""}
DROPPED = {name: ("PartDrop 0", name) for name in BODIES if name.startswith("PartDrop 0.")}
ADDED = {
    "local streams": ("global only", "no graph"),
    "graph": ("no graph", WHOLE),
    "local streams and graph": ("global only", WHOLE),
}
"""Names of effects: the second variant against the first."""
LEADING = "pa_mpjpe"
CLEAR = SHARES[0]
JOINT_UNITS = {"rotation": "degrees", "position": "mm"}
SEEN = (*iuv_accuracy.SIGHTS, "everybody")
IUV_TITLES = {
    "part_accuracy": "Pixels that can be seen whose part is right [%]",
    "hidden_part_accuracy": "Hidden pixels whose part is right [%]",
    "part_iou": "Intersection over union of parts, mean over parts [%]",
    "uv_error": "Distance on the chart where the part is right [% of a chart's width]",
    "foreground_iou": "Intersection over union of whole persons [%]",
}


def summarise_bodies(values: Values) -> dict[str, list[float]]:
    """Gives the mean of each metric at `SHARES`, and of each joint's over everybody."""
    shares = {metric: by_kind(values, metric, HIDDEN) for metric in METRICS}
    everybody = torch.ones(len(values), dtype=torch.bool)
    return shares | {metric: [values.mean(metric, everybody)] for metric in JOINT_METRICS}


def summarise_pictures(values: Values) -> dict[str, list[float]]:
    """Gives the mean of each metric at `SEEN`."""
    everybody = torch.ones(len(values), dtype=torch.bool)
    return {
        metric: [*by_kind(values, metric, iuv_accuracy.SIGHT), values.mean(metric, everybody)]
        for metric in iuv_accuracy.METRICS
    }


def joint_effects(found: Findings) -> dict[str, dict[str, Difference]]:
    """Tells by joint what local streams and the graph change, of everybody."""
    both = {name: found.pair(*variants) for name, variants in ADDED.items()}
    return {
        name: paired_differences(*pair, JOINT_METRICS, np.ones(len(pair[0]), dtype=np.bool_))
        for name, pair in both.items()
        if pair
    }


def joints_with(kind: str) -> list[str]:
    """Lists the joints that have an error of a kind, rotation or position."""
    return [joint for joint in JOINTS if f"{kind}/{joint}" in JOINT_METRICS]


def drawn(found: Findings, effects: Effects, joints: Mapping[str, Any]) -> torch.Tensor:
    """Draws curves over what is hidden, and errors by joint: four pictures in a square."""
    means = found.means()
    pictures = []
    for pairs, title in ((DROPPED, "Parts dropped in training"), (ADDED, "What bodies come from")):
        shown = [*dict.fromkeys(name for pair in pairs.values() for name in pair), MEAN_BODY]
        plot = AblationPlot(
            title=title,
            across="share of the person that is hidden",
            places=SHARES,
            measured="PA-MPJPE [mm]",
            curves={name: by_kind(means[name], LEADING, HIDDEN) for name in shown if name in means},
            effects={
                name: spans(rows, LEADING, SHARES)
                for name, rows in effects.items()
                if name in pairs
            },
        )
        pictures.append(draw_ablation(plot))
    built = {name for pair in ADDED.values() for name in pair}
    shown = [name for name in BODIES if name in built and name in means]
    for kind, unit in JOINT_UNITS.items():
        names = joints_with(kind)
        plot = AblationPlot(
            title=f"Joint by joint: {kind}",
            across="joint, both sides together",
            places=names,
            measured=f"error of {kind} [{unit}]",
            curves={
                name: [float(means[name].errors[f"{kind}/{joint}"].mean()) for joint in names]
                for name in shown
            },
            effects={
                name: spans({joint: {kind: row[f"{kind}/{joint}"]} for joint in names}, kind, names)
                for name, row in joints.items()
            },
        )
        pictures.append(draw_ablation(plot))
    rows = [torch.cat(pictures[at : at + 2], 2) for at in (0, 2)]
    return torch.cat(rows, 1)


def sentences(effects: Effects, joints: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    """Says what changes where nothing is hidden and at 40 %, and for how many joints."""
    found = [
        told(f"{name} at {share} hidden", kinds[share][LEADING], "mm")
        for name, kinds in effects.items()
        for share in (CLEAR, FORTY)
        if LEADING in kinds.get(share, {})
    ]
    for name, row in joints.items():
        for kind in JOINT_UNITS:
            every = [each for metric, each in row.items() if metric.startswith(kind)]
            sure = [each for each in every if certain(each)]
            better = sum(each.difference < 0 for each in sure)
            found.append(
                f"{name}, {kind} joint by joint: better of {better}, worse of "
                f"{len(sure) - better} of {len(every)} joints; of the others it may be chance"
            )
    return found


def joint_table(joints: Mapping[str, Mapping[str, Any]], kind: str) -> list[str]:
    """Writes effects by joint, as lines of Markdown.

    Args:
        joints: By effect and metric, as files have them.
        kind: rotation or position.
    """
    lines = ["| joint | " + " | ".join(joints) + " |", "|---|" + "---|" * len(joints)]
    for joint in joints_with(kind):
        cells = []
        for row in joints.values():
            each = row[f"{kind}/{joint}"]
            gap, sure = each["second"] - each["first"], "" if each["certain"] else " (?)"
            low, high = each["low"] or 0.0, each["high"] or 0.0
            cells.append(f"{gap:+.2f} [{low:+.2f}, {high:+.2f}] of {each['first']:.1f}{sure}")
        lines.append(f"| {joint} | " + " | ".join(cells) + " |")
    return lines


def written(record: dict[str, Any], picture: str) -> str:
    """Writes what was found as a page."""
    bodies = [row for row in record["rows"] if LEADING in row["errors"]]
    pictures = [row for row in record["rows"] if LEADING not in row["errors"]]
    samples = sorted({f"{row['samples']:,}" for row in bodies})
    intro = (
        f"Trainings of `{PRESET}`, which reads IUV pictures, with parts dropped by four "
        "probabilities, without local streams and without the graph, "
        f"{' and '.join(samples) or 'no'} synthetic people each, seeds "
        f"{', '.join(map(str, record['seeds']))}; measured on {record['people']:,} people of whom "
        "up to 65 % is hidden (`plausibody.evaluate.occlusion`; poses that no training saw): what "
        f"is hidden is missing in their IUV pictures. Differences are {CAUTION}"
    )
    seen = (
        f"`{PICTURES_PRESET}`, which reads colours, is measured by its IUV pictures of "
        f"{record['iuv_people']:,} people (`plausibody.evaluate.iuv_accuracy`)."
    )
    parts = [[f"- {sentence}" for sentence in record["told"]]]
    if bodies:
        parts.append(["PA-MPJPE [mm] by the share that is hidden:"])
        parts.append(table(bodies, LEADING, SHARES, record["mean_body"][LEADING]))
    for kind, unit in JOINT_UNITS.items() if record["joints"] else ():
        what = f"Change of the error of {kind} [{unit}], its interval, and what it was; both sides"
        parts.append([f"{what} of a joint together, (?) where the interval holds 0:"])
        parts.append(joint_table(record["joints"], kind))
    parts += [[seen]] if pictures else []
    for metric, title in IUV_TITLES.items() if pictures else ():
        parts.append([f"{title}:"])
        parts.append(table(pictures, metric, SEEN))
    title = "What local streams, the graph and dropped parts are worth"
    return page(title, intro, ("errors by what is hidden, and by joint", picture), parts, record)


def summary(
    bodies: Findings, pictures: Findings, effects: Effects, joints: Mapping[str, Any]
) -> dict[str, Any]:
    """Gives what the file says besides its rows."""
    baseline = bodies.baseline
    return {
        "people": bodies.study.people,
        "iuv_people": pictures.study.people,
        "seeds": sorted({*bodies.seeds, *pictures.seeds}),
        "shares": SHARES,
        "seen": SEEN,
        "mean_body": {} if baseline is None else summarise_bodies(baseline),
        "effects": effects_json(effects),
        "joints": effects_json({"": joints})[""],
        "told": sentences(effects, joints),
    }


def body_study(people: int) -> Study:
    """Makes the study of bodies from IUV pictures."""
    settings = OccludedSettings(count=people, joints=True)
    assets = load_assets(settings.split)
    return Study(
        preset=PRESET,
        variants=BODIES,
        kept=f"occluded-{people}",
        people=people,
        settings=asdict(settings),
        measure=lambda estimator, proxy: measure_occluded(estimator, proxy, assets, settings),
        summarise=summarise_bodies,
        leading=LEADING,
        baseline=MeanBody.of(training_bank("cpu"), assets),
    )


def picture_study(people: int) -> Study:
    """Makes the study of IUV pictures from colours."""
    settings = IuvSettings(count=people)

    def measure(estimator: Estimator, proxy: ProxySettings) -> Values:
        assert isinstance(estimator, TrainedRegressor), "there is no baseline"
        return measure_iuv(estimator, load_assets(settings.split, coloured=True), settings)

    return Study(
        preset=PICTURES_PRESET,
        variants=PICTURES,
        kept=f"iuv-{people}",
        people=people,
        settings=asdict(settings),
        measure=measure,
        summarise=summarise_pictures,
        leading="part_accuracy",
    )


def main(words: Sequence[str] | None = None) -> None:
    names = [*BODIES, *PICTURES]
    parser = study_parser(str(__doc__), names, names, 12.0, 4096)
    parser.add_argument("--picture-steps", type=int, help="of the trainings that read colours")
    parser.add_argument("--iuv-people", type=int, default=IuvSettings().count)
    options = parser.parse_args(words)
    studies = body_study(options.people), picture_study(options.iuv_people)
    plans = (
        ("--steps", options.steps, "plan"),
        ("--picture-steps", options.picture_steps, "plan-pictures"),
    )
    steps: dict[str, int] = {}
    found = [Findings(study) for study in studies]
    for number, (study, (option, given, plan)) in enumerate(zip(studies, plans, strict=True)):
        variants = [name for name in options.variants if name in study.variants]
        if not variants and not study.finished(options.runs):
            continue
        count = decide_steps(options.runs, study.preset, given, options.minutes, plan)
        steps[option] = count
        for each in run_study(study, options.runs, count, options.seeds, variants, options.changes):
            found[number] = each
            _save(options, found, steps, {})
    joints = joint_effects(found[0])
    effects, record = _save(options, found, steps, joints)
    for sentence in record["told"]:
        print(sentence)
    if options.page:
        save_page(
            options.page, drawn(found[0], effects, joints), lambda name: written(record, name)
        )


def _save(
    options: argparse.Namespace,
    found: Sequence[Findings],
    steps: Mapping[str, int],
    joints: Mapping[str, Any],
) -> tuple[Effects, dict[str, Any]]:
    bodies, pictures = found
    effects = bodies.compare(DROPPED | ADDED, METRICS, HIDDEN)
    ours = command_of("danet.py", options, found, steps)
    record = document([*bodies.rows, *pictures.rows], ours)
    record |= summary(bodies, pictures, effects, joints)
    write_file(options.out, json.dumps(record, indent=2) + "\n")
    return effects, record


if __name__ == "__main__":
    main()
