"""Measures what each choice of a protocol changes, on staged people of whom everything is known.

    python benchmarks/protocols.py OUT.json WEIGHTS [PEOPLE] [--only SET ...] [--document PAGE.md]

Stages SSP-3D, 3DPW, Human3.6M, MPI-INF-3DHP and COCO in their published layouts with open bodies in
painted clothes, evaluates WEIGHTS under our default protocol and with one choice changed at a time,
writes OUT.json and prints Markdown tables; --document puts them between the lines
`<!-- counted:SET -->` or `<!-- shown:SET -->` and `<!-- end -->` of a page. Textures are made the
first time, in half a minute.

Where the data has no silhouettes, networks are shown exact key points and silhouettes, as by a
front end without errors, so that its errors do not hide the choices.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plausibody.bench import document
from plausibody.evaluate.bootstrap import paired_differences
from plausibody.evaluate.datasets.asking import FromLabels, Showing, Shown, open_showing
from plausibody.evaluate.datasets.coco import open_coco
from plausibody.evaluate.datasets.h36m import open_h36m_p1
from plausibody.evaluate.datasets.measuring import measure_dataset
from plausibody.evaluate.datasets.mpi_inf import open_mpi_inf_3dhp
from plausibody.evaluate.datasets.options import Options
from plausibody.evaluate.datasets.people import Dataset, LabelledPeople
from plausibody.evaluate.datasets.pw3d import open_3dpw
from plausibody.evaluate.datasets.pw3d_import import import_3dpw
from plausibody.evaluate.datasets.pw3d_split import read_split
from plausibody.evaluate.datasets.ssp3d import open_ssp3d
from plausibody.evaluate.markdown import markdown_table, replace_table
from plausibody.evaluate.protocols import protocol_of
from plausibody.evaluate.result import Result
from plausibody.evaluate.staged.coco import TOGETHER, places, stage_coco
from plausibody.evaluate.staged.exact import Exact, exact_3dpw, exact_people
from plausibody.evaluate.staged.pw3d import Staged3DPW, stage_3dpw
from plausibody.evaluate.staged.scenes import SceneSettings
from plausibody.evaluate.staged.spin import stage_h36m, stage_mpi_inf_3dhp
from plausibody.evaluate.staged.ssp3d import stage_ssp3d
from plausibody.evaluate.values import Values
from plausibody.models.files import write_file
from plausibody.models.proxy import Box, ProxySettings
from plausibody.models.templates import load_template
from plausibody.models.weights import TrainedRegressor, find_weights, load_regressor
from plausibody.synth.looks import Looks, load_looks

PEOPLE, SAMPLES, MORE = 60, 10, 25
PIXELS = 256
"""Side of crops, of whose whole pixels published networks are told [px]."""
FILMED = (960, 540)
"""Of staged films [px]; the published ones have four times as many pixels."""


@dataclass(frozen=True)
class Way(FromLabels):
    """The published way with key points or crops changed."""

    exact: Exact | None = None
    """Shown in place of labels."""
    factor: float = 1.0
    """Of the crop's side over the published one."""
    certain: bool = False
    """Whether all key points have confidence 1."""
    thresholds: bool = False
    """Whether the regressor's thresholds leave key points out."""
    whole: bool = False
    """Whether key points are cut to whole pixels of the crop (HierProb3D)."""
    rounded: bool = False
    """Whether corners of crops lie at whole pixels (SPIN)."""

    def __call__(self, people: LabelledPeople, settings: ProxySettings) -> Shown:
        people = people if self.exact is None else self.exact.add(people)
        assert people.keypoints is not None
        box = Box(people.box.centre, people.box.side * self.factor)
        if self.rounded:
            low = (box.centre - box.side[:, None] / 2).trunc()
            side = ((box.centre + box.side[:, None] / 2).trunc() - low)[:, 0]
            box = Box(low + side[:, None] / 2, side)
        places, sure = people.keypoints[..., :2], people.keypoints[..., 2:]
        if self.whole:
            pixels = (box.to_square(places) + 1) * (PIXELS / 2)
            places = box.to_picture(pixels.trunc() / (PIXELS / 2) - 1)
        if self.certain:
            sure = torch.ones_like(sure)
        if self.thresholds:
            sure = torch.where(sure >= settings.least_confidence, sure, 0.0)
        told = replace(people, keypoints=torch.cat([places, sure], -1), box=box)
        return super().__call__(told, settings)


@dataclass(frozen=True)
class Row:
    """One choice, and what it changes."""

    dataset: str
    kind: str
    """counted: another figure; shown: the network sees something else."""
    choice: str
    metric: str
    instead: str
    """The figure that the choice gives in place of the metric's; the same name if it is another
    evaluation."""
    usual: float
    changed: float
    low: float | None
    """Of the 95 % interval of the difference; None for figures that are no means over people."""
    high: float | None


@dataclass(frozen=True)
class Staged:
    """A data set that was written, and what is asked of it."""

    dataset: Dataset
    exact: Exact | None
    """Of sets that lack what networks read."""
    counted: tuple[tuple[str, str, str], ...]
    """Choice, metric, and the metric in its place."""
    shown: tuple[str, ...]
    """Metrics of evaluations in which the network sees something else."""


def _best(metric: str, tags: str = "") -> tuple[tuple[str, str, str], ...]:
    """Gives the choices of the best among samples."""
    plain = f"{metric}[{tags}]" if tags else metric
    before = f"{metric}[{tags},min" if tags else f"{metric}[min"
    return (
        ("best of 10, the mode among them", plain, f"{before}10+mode]"),
        ("best of 10, without the mode", plain, f"{before}10]"),
        ("best of 25, the mode among them", plain, f"{before}25+mode]"),
    )


SSP3D = (
    ("coefficients on the template of the true gender", "pve_t_sc[neutral]", "pve_t_sc[gendered]"),
    ("no scale, no shift", "pve_t_sc[neutral]", "pve_t[neutral]"),
    *_best("pve_t_sc", "neutral"),
    ("mean of overlaps, not pooled", "silhouette_iou_pooled", "silhouette_iou"),
    ("overlap of samples", "silhouette_iou_pooled", "silhouette_iou_pooled[samples10]"),
    ("key points of samples", "keypoint_error", "keypoint_error[samples10]"),
)
PW3D = (
    ("nothing aligned", "mpjpe", "mpjpe_smplorigin"),
    ("scale and shift", "mpjpe", "mpjpe_sc"),
    *_best("mpjpe"),
    *_best("pa_mpjpe"),
    ("all 17 joints", "mpjpe", "mpjpe[h36m17]"),
    ("all 17 joints", "pa_mpjpe", "pa_mpjpe[h36m17]"),
    ("pelvis on pelvis", "pve", "pve_pelvis"),
    ("coefficients on the template of the true gender", "pve_t_sc[neutral]", "pve_t_sc[gendered]"),
)
H36M = (
    ("all 17 joints", "mpjpe", "mpjpe[h36m17]"),
    ("all 17 joints", "pa_mpjpe", "pa_mpjpe[h36m17]"),
    ("scale and shift", "mpjpe", "mpjpe_sc"),
)
MPI_INF = (
    ("14 joints", "mpjpe[h36m17]", "mpjpe"),
    ("14 joints", "pa_mpjpe[h36m17]", "pa_mpjpe"),
    ("scale and shift", "mpjpe[h36m17]", "mpjpe_sc[h36m17]"),
)
COCO = (
    ("kinematic joints for limbs (DaNet)", "oks/ap", "oks/danet_ap"),
    ("the surest first", "oks/ap", "oks/scored_ap"),
    ("threshold 0.5 alone", "oks/ap", "oks/ap50"),
)


def stage_set(name: str, folder: Path, people: int, looks: Looks) -> Staged:
    """Writes one of `SETS` and opens it."""
    masks = folder / "exact"
    if name == "ssp3d":
        stage_ssp3d(folder, people, looks=looks)
        shown = ("pve_t_sc[neutral]", "pa_mpjpe", "silhouette_iou_pooled", "keypoint_error")
        return Staged(open_ssp3d(folder), None, SSP3D, shown)
    if name == "3dpw":
        # Of four frames three count, see `Staged3DPW`.
        genders = tuple((("female", "male")[n % 2],) for n in range(-(-people // 3)))
        settings = Staged3DPW(genders=genders, size=FILMED)
        sequences = stage_3dpw(folder / "raw", settings, looks)
        import_3dpw(read_split(folder / "raw", labels_body="open"), folder / "test")
        bodies = {gender: load_template("open", gender) for gender in ("female", "male")}
        exact = exact_3dpw(sequences, FILMED, bodies, masks)
        shown = ("mpjpe", "pa_mpjpe", "pve", "pve_t_sc[neutral]")
        return Staged(open_3dpw(folder / "test"), exact, PW3D, shown)
    if name == "coco":
        staged = stage_coco(folder, people, looks=looks)
        coco, side = open_coco(folder), SceneSettings().size
        groups = [list(range(n, min(n + TOGETHER, people))) for n in range(0, people, TOGETHER)]
        corners = torch.cat([places(len(group), SceneSettings()) for group in groups])
        widths = [side * len(group) for group in groups for _ in group]
        exact = exact_people(
            coco.batch(range(people)).names, staged, masks, corners, widths
        )  # in the annotations' order
        return Staged(coco, exact, COCO, ("oks/ap", "oks", "keypoint_error[visible]"))
    stage, opens = STAGED_JOINTS[name]
    written = stage(folder, people, looks=looks)
    opened = opens(folder)
    exact = exact_people(opened.batch(range(people)).names, written, masks)
    tags = "[h36m17]" if name == "mpi-inf-3dhp" else ""
    counted = MPI_INF if tags else H36M
    return Staged(opened, exact, counted, (f"mpjpe{tags}", f"pa_mpjpe{tags}"))


STAGED_JOINTS: dict[str, tuple[Callable[..., Any], Callable[[Path], Dataset]]] = {
    "h36m-p1": (stage_h36m, open_h36m_p1),
    "mpi-inf-3dhp": (stage_mpi_inf_3dhp, open_mpi_inf_3dhp),
}
SETS = ("ssp3d", "3dpw", *STAGED_JOINTS, "coco")


def ways(staged: Staged, regressor: TrainedRegressor) -> Iterator[tuple[str, Showing, bool]]:
    """Gives the choices that need an evaluation each, and whether mirror images take part."""
    usual, side = Way(staged.exact), staged.dataset.about.factor
    yield "averaged with the mirror image", usual, True
    yield "key points all of confidence 1", replace(usual, certain=True), False
    yield "doubtful key points left out", replace(usual, thresholds=True), False
    yield "key points at whole pixels", replace(usual, whole=True), False
    if staged.dataset.about.name.partition("-")[0] != "3dpw":  # where crops are pictures
        yield "crops at whole pixels", replace(usual, rounded=True), False
    for share in (1 / 1.2, 1.25):
        name = f"crops of {share * side:.3g} instead of {side:.3g}"
        yield name, replace(usual, factor=share), False
    seen = open_showing(staged.dataset, regressor.proxy, "embedded")
    yield "seen by the embedded front end", seen, False


def measured(staged: Staged, name: str, regressor: TrainedRegressor) -> Iterator[Row]:
    """Evaluates one set in every way."""

    def evaluate(showing: Showing, samples: int, mirrored: bool = False) -> Result:
        options = Options(labels_body="open", samples=samples, mirrored=mirrored)
        return measure_dataset(staged.dataset, regressor, options, showing=showing).result

    bodies = staged.dataset.batch([0]).body is not None
    usual = evaluate(Way(staged.exact), SAMPLES if bodies else 0)
    more = evaluate(Way(staged.exact), MORE) if bodies else usual
    for choice, metric, instead in staged.counted:
        other = more if f"min{MORE}" in instead else usual
        if usual.find(metric) and other.find(instead):
            yield _row(name, "counted", choice, (usual, metric), (other, instead))
    for choice, showing, mirrored in ways(staged, regressor):
        other = evaluate(showing, 0, mirrored)
        for metric in staged.shown:
            yield _row(name, "shown", choice, (usual, metric), (other, metric))


def _row(
    dataset: str, kind: str, choice: str, usual: tuple[Result, str], other: tuple[Result, str]
) -> Row:
    """Compares two figures of the same people, with an interval if they are means over them."""
    low = high = None
    numbers = [result.values for result, _ in (usual, other)]
    metrics = usual[1], other[1]
    if all(v and name in v.errors for v, name in zip(numbers, metrics, strict=True)):
        one, two = (_as_one(result.values, metric) for result, metric in (usual, other))
        members = torch.ones(len(one), dtype=torch.bool).numpy()
        gap = paired_differences(one, two, ["it"], members)["it"]
        low, high = gap.low, gap.high
    values = [result.of(metric).value for result, metric in (usual, other)]
    return Row(dataset, kind, choice, usual[1], other[1], values[0], values[1], low, high)


def _as_one(values: Values | None, metric: str) -> Values:
    """Gives one metric of people under a name that two different ones can share."""
    assert values is not None
    weights = {"it": values.weights[metric]} if metric in values.weights else {}
    return replace(values, errors={"it": values.errors[metric]}, weights=weights)


def tables(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Writes Markdown tables of the rows of a result, by the name of their place in a page."""
    found = {}
    for kind in ("counted", "shown"):
        for name in dict.fromkeys(row["dataset"] for row in rows):
            some = [row for row in rows if (row["kind"], row["dataset"]) == (kind, name)]
            found[f"{kind}:{name}"] = _counted(some) if kind == "counted" else _shown(some)
    return found


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = ["choice", "figure", "instead", "from", "to", "difference, 95 % interval"]
    cells = []
    for row in rows:
        both = [_number(row[key], row["metric"]) for key in ("usual", "changed")]
        names = [f"`{row['metric']}`", f"`{row['instead']}`"]
        cells.append([row["choice"], *names, *both, _change(row)])
    return markdown_table(heads, cells)


def _shown(rows: Sequence[Mapping[str, Any]]) -> str:
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    usual = {row["metric"]: _number(row["usual"], row["metric"]) for row in rows}
    cells = [["as usual", *(usual[metric] for metric in metrics)]]
    for choice in dict.fromkeys(row["choice"] for row in rows):
        of = {row["metric"]: _change(row) for row in rows if row["choice"] == choice}
        cells.append([choice, *(of[metric] for metric in metrics)])
    return markdown_table(["what the network sees", *(f"`{name}`" for name in metrics)], cells)


def _number(value: float, metric: str, sign: str = "") -> str:
    protocol = protocol_of(metric)
    unit = "" if protocol.unit == "0..1" else f" {protocol.unit}"
    return f"{value:{sign}.{protocol.digits}f}{unit}"


def _change(row: Mapping[str, Any]) -> str:
    """Writes a difference and its interval."""
    told = _number(row["changed"] - row["usual"], row["metric"], "+")
    if row["low"] is None:
        return told
    digits = protocol_of(row["metric"]).digits
    return f"{told} ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("weights")
    parser.add_argument("people", type=int, nargs="?", default=PEOPLE)
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--document", type=Path)
    return parser


def main() -> None:
    told = make_parser().parse_args()
    weights = find_weights(told.weights)
    regressor, rows = load_regressor(weights), list[Row]()
    looks = load_looks(load_template("open"))
    for name in told.only:
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(stage_set(name, Path(folder), told.people, looks), name, regressor)
        print(name, "done", file=sys.stderr, flush=True)
    record = document(rows, " ".join(["python", *sys.argv]))
    record |= {"weights": weights.stem, "people": told.people}
    write_file(told.out, json.dumps(record, indent=2) + "\n")
    page = told.document.read_text("utf-8") if told.document else ""
    for place, table in tables(record["rows"]).items():
        print(f"\n{place}\n\n{table}")
        page = replace_table(page, place, table) if told.document else ""
    if told.document:
        write_file(told.document, page)


if __name__ == "__main__":
    main()
