"""Writes the tables of the README that show results, from the files in benchmarks/results.

    python benchmarks/readme_tables.py README.md [--only TABLE ...]

A table stands between the lines `<!-- NAME -->` and `<!-- end -->`. `benchmarks/remeasure.py` makes
the files; the table of `open-v1` is that of `benchmarks/leaderboard.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plausibody.evaluate.figures import MEAN_BODY, NEAREST_POSE
from plausibody.evaluate.markdown import markdown_table, replace_table
from plausibody.evaluate.result import read_result
from plausibody.models.files import write_file

RESULTS = Path(__file__).parent / "results"
SHIPPED = ("hierprob-lite", "lite")
KNOWN = {
    "plain": "nothing but the photo",
    "height": "height",
    "gender": "gender",
    "height+gender": "height and gender",
}
SHIFTS = {
    "open-v0: uniform shapes": "shapes uniform in +-2.5 deviations (`open-v0`)",
    "lite.errors=measured": "errors as measured of the front end (`lite.errors=measured`)",
    "recipe=straps": "another recipe of people (`straps`)",
}
OPEN = {
    ("mpjpe", "all"): "MPJPE, LSP14, pelvis aligned [mm]",
    ("pa_mpjpe", "all"): "PA-MPJPE, LSP14 [mm]",
    ("pa_mpjpe", "untruncated"): "- of whole people",
    ("pa_mpjpe", "truncated"): "- of people cut by the border",
    ("pve", "all"): "PVE, no alignment [mm]",
    ("pve_t_sc", "all"): "PVE-T-SC (shape) [mm]",
    ("silhouette_iou", "all"): "silhouette IoU, naked body",
}
"""Metrics and subsets of `open-v0`, and what the table calls them."""
RENDERS = {
    "silhouette_iou": "IoU with the front end's mask, median",
    "reprojection": "key points [% of diagonal], median",
    "area_ratio": "area over the true body's, median",
    "pa_mpjpe": "PA-MPJPE [mm], mean",
    "pve_t_sc": "PVE-T-SC [mm], mean",
}
"""Metrics of painted people, and what the table calls them."""
REFINED = {
    "silhouette_iou": ("silhouette IoU", 3),
    "reprojection": ("key points [% of diagonal]", 2),
    "mpjpe": ("MPJPE [mm]", 1),
    "pa_mpjpe": ("PA-MPJPE [mm]", 1),
    "pve_t_sc": ("PVE-T-SC [mm]", 1),
}
"""Metrics of refined bodies, what the table calls them, and digits."""


def read(name: str) -> dict[str, Any]:
    """Reads a file of results."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text("utf-8"))
    return found


def calibration() -> str:
    """Coverage, widths and errors of intervals, by what is known; subsets and shifts."""
    found = read("calibration.json")
    of = {(row["condition"], row["quantity"]): row for row in found["coverage"]}
    errors = {row["condition"]: row["pve_t_sc"] for row in found["errors"]}
    lengths = ("height", "chest", "waist", "hips", "inseam")
    heads = ["known", "90 % intervals hold, raw", "corrected", "width over the mean body's"]
    rows = [
        [
            *(label, percent(of[key, "all measurements"]["raw"][2])),
            *(percent(of[key, "all measurements"]["conformal"][2]),),
            *(f"{of[key, 'all measurements']['ratio']:.3f}",),
            *(f"{100 * of[key, length]['error']:.1f} cm" for length in lengths),
            *(f"{of[key, 'mass']['error']:.1f} kg", f"{errors[key]:.1f} mm"),
        ]
        for key, label in KNOWN.items()
    ]
    levels = [
        [f"{what}, {label}", *map(percent, of["plain", f"all {what}"][kind])]
        for what in ("measurements", "coefficients")
        for kind, label in (("raw", "raw"), ("conformal", "corrected"))
    ]
    held = [
        [row["name"] + " (by true body mass index)" * ("third" in row["name"]),
         percent(row["conformal"])]
        for row in found["subsets"] if row["condition"] == "plain"
    ]  # fmt: skip
    held += [
        ["drawn otherwise, not corrected for it: " + SHIFTS.get(row["name"], row["name"]),
         percent(row["conformal"][2])]
        for row in found["shifts"]
    ]  # fmt: skip
    people = of["plain", "all measurements"]["people"]
    return "\n\n".join(
        [
            "**Do they hold?** `plausibody evaluate calibration --out DIR` with the shipped "
            f"`hierprob-lite`: corrected by\n{found['fitted']:,} people of validation subjects, "
            f"measured on {people:,} of test subjects, men and women, drawn and clothed as\nthe "
            "training draws them, three in ten cut by the border "
            "(`benchmarks/results/calibration.json`; mean\nabsolute errors).",
            markdown_table([*heads, *lengths, "mass", "PVE-T-SC"], rows),
            markdown_table(["intervals (nothing known)", "50 %", "80 %", "90 %", "95 %"], levels),
            markdown_table(["corrected 90 % intervals of measurements hold, of", ""], held),
        ]
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def open_v0() -> str:
    """Shipped weights and baselines on `open-v0`."""
    results = [read_result(RESULTS / f"open-v0_{name}.json") for name in SHIPPED]
    rows = []
    for (metric, subset), label in OPEN.items():
        found = [result.of(metric, subset) for result in results]
        first = found[0]
        values = [*(one.value for one in found), *(first.baselines[b] for b in BASELINES)]
        ratio = f"{first.value / first.baselines[MEAN_BODY]:.3f}"
        rows.append([label, *(f"{value:.{first.digits}f}" for value in values), ratio])
    shipped = [f"shipped `{name}`" for name in SHIPPED]
    heads = ["error", *shipped, "nearest of 500 poses", "mean body", "ratio to mean body"]
    return markdown_table(heads, rows)


BASELINES = (NEAREST_POSE, MEAN_BODY)


def renders() -> str:
    """Shipped weights on painted people through the embedded front end."""
    found = {row["weights"]: row for row in read("renders.json")["rows"]}
    heads = ["200 painted people", *(f"`{name}`" for name in SHIPPED)]
    heads += ["the true body", "under an orthographic camera", "mean body"]
    rows = []
    subsets = [("all", "")] + [(f"{third} third", f", {third} third") for third in THIRDS]
    for metric, label in RENDERS.items():
        for subset, suffix in subsets if metric == "area_ratio" else subsets[:1]:
            cells = [_figure(found[name], metric, subset) for name in SHIPPED]
            others = [cells[0][key] for key in ("truth", "truth_orthographic", "mean_body")]
            values = [*(cell["value"] for cell in cells), *others]
            digits = 1 if cells[0]["unit"] == "mm" else 3 - (metric == "reprojection")
            rows.append([label + suffix, *(f"{value:.{digits}f}" for value in values)])
    return markdown_table(heads, rows)


THIRDS = ("thinnest", "middle", "stoutest")


def _figure(row: dict[str, Any], metric: str, subset: str) -> dict[str, Any]:
    for figure in row["figures"]:
        if (figure["metric"], figure["subset"]) == (metric, subset):
            return dict(figure)
    raise KeyError(f"wanted {metric} of {subset}, renders.json has no such figure")


def photos() -> str:
    """How well shipped weights fit the photos that ship."""
    rows = read("photos.json")["rows"]
    fits = {(Path(row["regressor"]).stem, row["photo"]): row for row in rows}
    heads = ["photo", *(f"IoU, `{name}`" for name in SHIPPED)]
    heads += [f"key points [%], `{name}`" for name in SHIPPED]
    named = sorted({photo for _, photo in fits})
    table = [
        [
            photo,
            *(f"{fits[name, photo]['silhouette_iou']:.2f}" for name in SHIPPED),
            *(f"{fits[name, photo]['reprojection']:.1f}" for name in SHIPPED),
        ]
        for photo in named
    ]
    return markdown_table(heads, table)


def refine() -> str:
    """What `--refine` does to bodies."""
    rows = []
    for row in read("refine.json")["rows"]:
        kind = "bundled photos" if row["set"] == "photos" else "painted people"
        who = f"`{row['weights']}`, {row['people']} {kind}"
        cells = [_change(row["figures"], metric) for metric in REFINED]
        rows.append([who, str(row["kept"]), *cells])
    heads = ["weights, people", "moved", *(label for label, _ in REFINED.values())]
    return markdown_table(heads, rows)


def _change(figures: dict[str, dict[str, float]], metric: str) -> str:
    if metric not in figures:
        return ""
    one, digits = figures[metric], REFINED[metric][1]
    if one["change"] == 0:
        return f"{one['before']:.{digits}f}, unchanged"
    return (
        f"{one['before']:.{digits}f} to {one['after']:.{digits}f} "
        f"({one['change']:+.{digits}f} +- {one['standard_error']:.{digits}f})"
    )


TABLES: dict[str, Callable[[], str]] = {
    "calibration": calibration,
    "open-v0": open_v0,
    "renders": renders,
    "photos": photos,
    "refine": refine,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    given = parser.parse_args(arguments)
    text = given.readme.read_text("utf-8")
    for name in given.only:
        text = replace_table(text, name, TABLES[name]())
    write_file(given.readme, text)


if __name__ == "__main__":
    main()
