"""Measures what each choice of a protocol changes, on staged people of whom everything is known.

    python benchmarks/protocols.py OUT.json WEIGHTS [PEOPLE]

Stages SSP-3D in its published layout with open bodies in painted clothes, evaluates WEIGHTS under
the published protocol and with one choice changed at a time, prints a Markdown table and writes
OUT.json. Textures are made the first time, in half a minute.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from plausibody.bench import document
from plausibody.evaluate.datasets.asking import FromLabels, Showing, Shown, open_showing
from plausibody.evaluate.datasets.measuring import measure_dataset
from plausibody.evaluate.datasets.options import Options
from plausibody.evaluate.datasets.people import LabelledPeople
from plausibody.evaluate.datasets.ssp3d import Ssp3d, open_ssp3d
from plausibody.evaluate.markdown import markdown_table
from plausibody.evaluate.result import Result
from plausibody.evaluate.staged.ssp3d import stage_ssp3d
from plausibody.models.crop import Box
from plausibody.models.files import write_file
from plausibody.models.proxy import ProxySettings
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.synth.looks import load_looks

PEOPLE, SAMPLES = 24, 10


@dataclass(frozen=True)
class Changed(FromLabels):
    """The published way with key points or crops changed."""

    certain: bool = False
    """Whether all key points have confidence 1."""
    thresholds: bool = False
    """Whether the regressor's thresholds leave key points out."""
    factor: float | None = None
    """Of the crop over the tight square, instead of 1.2."""

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        points, box = people.keypoints, people.box
        assert points is not None
        sure = points[..., 2:]
        if self.certain:
            sure = torch.ones_like(sure)
        if self.thresholds:
            sure = torch.where(sure >= settings.least_confidence, sure, 0.0)
        if self.factor is not None:
            box = Box(box.centre, box.side * self.factor / 1.2)
        shown = replace(people, keypoints=torch.cat([points[..., :2], sure], -1), box=box)
        return super().__call__(shown, settings)


@dataclass(frozen=True)
class Row:
    """One choice, and what it changes."""

    choice: str
    metric: str
    instead: str
    """The figure that the choice gives in place of the metric's; the same name if it is another
    evaluation."""
    published: float
    changed: float
    unit: str


WITHIN = (
    ("predicted coefficients on the labelled gender", "pve_t_sc[neutral]", "pve_t_sc[gendered]"),
    ("mean of overlaps instead of pooled ones", "silhouette_iou_pooled", "silhouette_iou"),
    ("no alignment at the pelvis (HierProb3D)", "mpjpe", "mpjpe_smplorigin"),
    ("vertices aligned at the pelvis", "pve", "pve_pelvis"),
    ("all 17 joints of the H36M regressor", "pa_mpjpe", "pa_mpjpe[h36m17]"),
    ("best of 10, the mode among them", "pve_t_sc[neutral]", "pve_t_sc[neutral,min10+mode]"),
    ("best of 10, without the mode", "pve_t_sc[neutral]", "pve_t_sc[neutral,min10]"),
    ("best of 10, the mode among them", "pa_mpjpe", "pa_mpjpe[min10+mode]"),
    ("best of 10, without the mode", "pa_mpjpe", "pa_mpjpe[min10]"),
    ("mean over samples", "keypoint_error", "keypoint_error[samples10]"),
)  # fmt: skip
"""Choices that are figures of one evaluation."""
SHOWN = ("pve_t_sc[neutral]", "mpjpe", "pa_mpjpe", "silhouette_iou_pooled", "keypoint_error")
"""Figures of evaluations that differ in what the network is shown."""


def showings(dataset: Ssp3d, regressor: TrainedRegressor) -> Iterator[tuple[str, Showing, Options]]:
    """Gives the choices that need an evaluation each."""
    options = Options(labels_body="open", samples=0)
    yield "with mirror images", FromLabels(), replace(options, mirrored=True)
    yield "key points all of confidence 1", Changed(certain=True), options
    yield "key points left out below the network's threshold", Changed(thresholds=True), options
    yield "crops of 1.0 times the tight square", Changed(factor=1.0), options
    yield "crops of 1.5 times the tight square", Changed(factor=1.5), options
    seen = open_showing(dataset, regressor.proxy, "embedded")
    yield "embedded front end instead of labels", seen, options


def value(result: Result, metric: str) -> float | None:
    figure = result.find(metric)
    return None if figure is None else figure.value


def rows(dataset: Ssp3d, regressor: TrainedRegressor) -> Iterator[Row]:
    options = Options(labels_body="open", samples=SAMPLES)
    published = measure_dataset(dataset, regressor, options).result
    for choice, metric, instead in WITHIN:
        pair = value(published, metric), value(published, instead)
        if pair[0] is not None and pair[1] is not None:
            unit = published.of(metric).protocol.unit
            yield Row(choice, metric, instead, *pair, unit)
    for choice, showing, changed in showings(dataset, regressor):
        other = measure_dataset(dataset, regressor, changed, showing=showing).result
        for metric in SHOWN:
            figure = published.of(metric)
            yield Row(
                choice,
                metric,
                metric,
                figure.value,
                value(other, metric) or 0.0,
                figure.protocol.unit,
            )


def table(found: list[Row]) -> str:
    heads = ["choice", "metric", "published", "changed", "difference", "unit"]
    cells = []
    for row in found:
        digits = 3 if row.unit == "0..1" else 1
        numbers = row.published, row.changed, row.changed - row.published
        instead = row.metric if row.metric == row.instead else f"{row.metric} -> {row.instead}"
        written = [f"{number:.{digits}f}" for number in numbers[:2]]
        cells.append([row.choice, instead, *written, f"{numbers[2]:+.{digits}f}", row.unit])
    return markdown_table(heads, cells)


def main(out: Path, weights: str, people: int) -> None:
    regressor = load_regressor(find_weights(weights))
    with tempfile.TemporaryDirectory() as folder:
        looks = load_looks(load_template("open"))
        stage_ssp3d(Path(folder), people, looks=looks)
        found = list(rows(open_ssp3d(Path(folder)), regressor))
    print(table(found))
    record = document(found, " ".join(["python", *sys.argv]))
    record |= {"weights": find_weights(weights).stem, "people": people}
    write_file(out, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("wanted: python benchmarks/protocols.py OUT.json WEIGHTS [PEOPLE]")
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else PEOPLE)
