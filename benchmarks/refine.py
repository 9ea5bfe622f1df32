"""What `--refine` does to bodies: fit to what was seen, and error in three dimensions, paired.

    python benchmarks/refine.py OUT.json [WEIGHTS...]

Everybody is predicted with and without refinement, from the same words of the embedded front end:
the main people of the photos that ship, and the 200 painted people of `renders-v0`, of whom the
truth is known. WEIGHTS are files, or names of weights that ship; those of both methods if none are
named. Prints Markdown tables.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plausibody.bench import document
from plausibody.evaluate import metrics
from plausibody.evaluate.markdown import markdown_table
from plausibody.evaluate.photos import shipped_photos
from plausibody.evaluate.rendered_people import Renders
from plausibody.evaluate.rendered_sight import Sight, see
from plausibody.evaluate.renders_ruler import Errors, RendersRuler
from plausibody.models.body import pose_body, regress
from plausibody.models.files import write_file
from plausibody.models.records import take
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import FrontEnd, ImageResult, Picture
from plausibody.predict.front_ends.witness import embedded_digest
from plausibody.predict.predictor import Predictor
from plausibody.predict.result import PersonPrediction

UNITS = {
    "silhouette_iou": "0..1, with the front end's mask",
    "reprojection": "% of diagonal, to the front end's key points",
    "silhouette_iou_naked": "0..1, with the true naked body",
    "reprojection_true": "% of diagonal, to the true key points",
    "area_ratio": "of the true naked body's",
    "mpjpe": "mm",
    "pa_mpjpe": "mm",
    "pve_t_sc": "mm",
}
"""Figures, in the order of the tables; the last three are errors in three dimensions."""
FITS = ("silhouette_iou", "reprojection")
"""What can be told of photos, too."""
DEFAULTS = ("hierprob-lite", "lite")


class Recall:
    """A front end that says again what it said."""

    said: Sequence[ImageResult] = ()

    def __call__(
        self, pictures: Sequence[Picture], max_people: int | None = None
    ) -> Sequence[ImageResult]:
        return self.said


class Pair:
    """Predicts without and with refinement."""

    def __init__(self, regressor: TrainedRegressor):
        self.recall = Recall()
        self.predictors = [
            Predictor(regressor, self.recall, person="main", refine=refine)
            for refine in (False, True)
        ]

    def __call__(
        self, said: Sequence[ImageResult], pictures: Sequence[Picture]
    ) -> tuple[list[PersonPrediction], list[PersonPrediction], float]:
        """Gives the main person of each picture, and the additional time of the processor [s]."""
        self.recall.said, found, times = said, [], []
        for predictor in self.predictors:
            start = time.process_time()
            images = predictor(pictures)
            times.append(time.process_time() - start)
            found.append([image.people[0] for image in images])
        return found[0], found[1], times[1] - times[0]


def on_photos(pair: Pair, front_end: FrontEnd) -> dict[str, Any]:
    """Measures the photos that ship."""
    photos = shipped_photos()
    plain, refined, _ = pair(front_end(photos), photos)
    row = compare(_fit(plain), _fit(refined)) | verdicts(refined)
    row["photos"] = {
        photo.name: {name: [round(getattr(one.fit, name), 4) for one in two] for name in FITS}
        for photo, *two in zip(photos, plain, refined, strict=True)
    }
    return row


def on_renders(pair: Pair, renders: Renders, sights: Sequence[Sight]) -> dict[str, Any]:
    """Measures the painted people."""
    ruler, times = RendersRuler(renders.assets), []
    errors: tuple[list[Errors], list[Errors]] = ([], [])
    everybody: list[PersonPrediction] = []
    side = renders.settings.picture
    for sight in sights:
        found = take(sight, sight.evidence.found.nonzero()[:, 0])
        said = [
            ImageResult(None, side, side, "ok", people=(found.evidence.person(n),))
            for n in range(len(found.people))
        ]
        pictures = list(torch.zeros(len(said), side, side, 3, dtype=torch.uint8))
        *both, added = pair(said, pictures)
        times.append(added / len(said))
        for kept, people in zip(errors, both, strict=True):
            kept.append(_errors(ruler, found, people))
        everybody += both[1]
    first, second = ({k: torch.cat([e[k] for e in es]) for k in UNITS} for es in errors)
    row = compare(first, second) | verdicts(everybody)
    return row | {"added_cpu_ms": round(1000 * sorted(times)[len(times) // 2], 1)}


def _errors(ruler: RendersRuler, sight: Sight, people: Sequence[PersonPrediction]) -> Errors:
    assets, body = ruler.assets, sight.people.body
    errors = ruler.predicted(sight, people, assets.template)
    true = pose_body(assets.template, body.shape, body.rotations).vertices
    vertices = torch.stack([person.body.vertices for person in people])
    h36m17 = assets.regressors.h36m17
    mpjpe = metrics.mpjpe(regress(h36m17, vertices), regress(h36m17, true))
    return errors | {"mpjpe": mpjpe.double()}


def _fit(people: Sequence[PersonPrediction]) -> Errors:
    return {n: torch.tensor([getattr(p.fit, n) for p in people]).double() for n in FITS}


def compare(before: Errors, after: Errors) -> dict[str, Any]:
    """Averages figures over people, and what became of each person's."""
    figures = {}
    for name in [name for name in UNITS if name in before]:
        change = (after[name] - before[name])[(after[name] - before[name]).isfinite()]
        figures[name] = {
            "before": _mean(before[name]),
            "after": _mean(after[name]),
            "change": _mean(change),
            "standard_error": round(float(change.std()) / math.sqrt(len(change)), 4),
        }
    return {"figures": figures}


def _mean(values: Tensor) -> float:
    return round(float(values.nanmean()), 4)


def verdicts(people: Sequence[PersonPrediction]) -> dict[str, Any]:
    """Counts whose moved body was taken, and why others were not."""
    told = [person.refinement for person in people]
    reasons = Counter(one.reason.partition(" (")[0] for one in told if one and one.reason)
    kept = sum(one.kept for one in told if one)
    return {"people": len(people), "kept": kept, "not_kept": dict(reasons)}


def to_markdown(row: dict[str, Any]) -> str:
    """Gives the table of one network on one set of people."""
    cells = [
        [
            f"{name} [{UNITS[name]}]",
            *(f"{of[key]:.3f}" for key in ("before", "after")),
            f"{of['change']:+.3f} +- {of['standard_error']:.3f}",
        ]
        for name, of in row["figures"].items()
    ]
    title = f"{row['weights']}, {row['set']}: {row['kept']} of {row['people']} moved"
    if "added_cpu_ms" in row:
        title += f", {row['added_cpu_ms']:.0f} ms of one core per person (median of batches)"
    heads = ["mean over people", "without", "with --refine", "change"]
    return f"{title}\n\n{markdown_table(heads, cells)}\n"


def main(out: Path, sources: Sequence[str]) -> None:
    torch.set_num_threads(1)
    front_end, renders, rows = load_embedded(), Renders(), []
    sights = see(renders, front_end, embedded_digest())
    for source in sources or DEFAULTS:
        path = find_weights(source)
        pair = Pair(load_regressor(path))
        found = {
            "photos": on_photos(pair, front_end),
            renders.settings.name: on_renders(pair, renders, sights),
        }
        for name, row in found.items():
            rows.append({"weights": path.stem, "set": name, **row})
            print(to_markdown(rows[-1]), flush=True)
    record = document([], " ".join(["python", *sys.argv])) | {"rows": rows}
    write_file(out, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
