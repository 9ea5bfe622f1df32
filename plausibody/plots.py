"""Plots as pictures, drawn without a screen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from torch import Tensor

from plausibody.coverage import JOINTS, Coverage
from plausibody.evaluate.calibration_result import SHOWN, CalibrationResult
from plausibody.evaluate.figures import MEAN_BODY
from plausibody.evaluate.proxy_gap import Measured
from plausibody.fit_corruption import FitReport
from plausibody.models.calibration import LEVELS
from plausibody.models.fisher import MatrixFisher
from plausibody.models.intervals import QUANTITIES
from plausibody.synth.joint_sight import HIDDEN, IN_SIGHT, OUTSIDE

COLOUR, PALE, DARK = "#3b6ea8", "#a9c3e2", "#1d3b5f"
GAP_COLOURS = ("#d1782f", "#8a5aa8", "#4f9a5b", "#c0392b")
"""Of the corruptions beside the front end, which is black."""
ABLATION_COLOURS = (
    "#4d4d4d", "#3b6ea8", "#d1782f", "#4f9a5b", "#8a5aa8", "#c0392b", "#2aa5a0", "#c9a227",
)  # fmt: skip
"""Of variants, and of what is changed from one to another."""
AXIS_COLOURS = ("#c0392b", "#4f9a5b", "#3b6ea8")
"""Of the x, y and z axes of a joint."""
EYE = (0.62, 0.40, 0.67)
"""From where spheres are seen."""


def draw_coverage(coverage: Coverage, title: str) -> Float[Tensor, "3 height width"]:
    """Draws a card of what a stream covers, 1680 x 1200 px, 0..1.

    Every panel names its unit and gives the mean and the range that 90 % of the samples are in.
    """
    figure = Figure(figsize=(14, 10), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=15, fontweight="bold")
    grid = figure.add_gridspec(3, 4)

    polar = figure.add_subplot(grid[0, 0], projection="polar")
    assert isinstance(polar, PolarAxes)
    _rose(polar, coverage.yaw)
    degrees = 180 / math.pi
    seventeenths = (-1 / 34, 35 / 34)
    panels = [
        ("camera above the pelvis [degrees]", coverage.elevation * degrees, (-90.0, 90.0), 45),
        ("body mass index [kg/m²]", coverage.index, None, 40),
        ("height [m]", coverage.height, None, 40),
        ("share of the body that is shown", coverage.shown, (0.0, 1.0), 40),
        ("share of joints outside the box", coverage.outside, seventeenths, 18),
        ("distance to the nearest pose [degrees]", coverage.distances * degrees, None, 40),
        ("share of joints not reported", coverage.unreported, seventeenths, 18),
        ("side of the box [m]", coverage.breadth, None, 40),
    ]
    places = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    for (row, column), panel in zip(places, panels, strict=True):
        _histogram(figure.add_subplot(grid[row, column]), *panel)
    _ranges(figure.add_subplot(grid[1:, 3]), coverage.angles * degrees)
    _shapes(figure.add_subplot(grid[2, 2]), coverage)

    return _picture(canvas)


def _picture(canvas: FigureCanvasAgg) -> Float[Tensor, "3 height width"]:
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


def _histogram(
    axes: Axes,
    name: str,
    values: Float[Tensor, " N"],
    limits: tuple[float, float] | None,
    bins: int,
) -> None:
    # The far tail goes into the last bins, so that one sample does not squeeze all others.
    low, high = limits or tuple(values.quantile(torch.tensor([0.002, 0.998])).tolist())
    high = max(high, low + 1e-3)
    axes.hist(values.clamp(low, high).numpy(), bins=bins, range=(low, high), color=COLOUR)
    mean, first, last = values.mean(), *values.quantile(torch.tensor([0.05, 0.95]))
    axes.axvline(float(mean), color=DARK, linewidth=1.5)
    axes.axvspan(float(first), float(last), color=PALE, alpha=0.35, zorder=0)
    axes.set_title(f"{name}\nmean {mean:.3g}, 90 % in {first:.3g} to {last:.3g}", fontsize=10)
    axes.set_yticks([])
    axes.tick_params(labelsize=9)


def _rose(axes: PolarAxes, yaw: Float[Tensor, " N"]) -> None:
    """Draws where people face, seen from above with the camera at the bottom."""
    bins = 24
    counts = torch.histc(yaw, bins, -math.pi, math.pi)
    middles = (torch.arange(bins) + 0.5) * (2 * math.pi / bins) - math.pi
    axes.set_theta_zero_location("S")
    axes.bar(middles.numpy(), counts.numpy(), width=2 * math.pi / bins, color=COLOUR)
    axes.set_xticks([0, math.pi / 2, math.pi, 3 * math.pi / 2])
    axes.set_xticklabels(["camera", "right", "away", "left"], fontsize=9)
    axes.set_yticks([])
    axes.set_title("where the pelvis faces, from above", fontsize=10)


def _ranges(axes: Axes, angles: Float[Tensor, "N J"]) -> None:
    """Draws how far each joint turns: 98 % thin, half thick, the median as a mark."""
    marks = angles.quantile(torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99]), dim=0).numpy()
    rows = np.arange(len(JOINTS))[::-1]
    axes.hlines(rows, marks[0], marks[4], color=PALE, linewidth=4)
    axes.hlines(rows, marks[1], marks[3], color=COLOUR, linewidth=6)
    axes.plot(marks[2], rows, "o", color=DARK, markersize=4)
    axes.set_yticks(rows, [name.replace("_", " ") for name in JOINTS], fontsize=9)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("turn of each joint [degrees]\n1, 25, 50, 75 and 99 % of samples", fontsize=10)


def _shapes(axes: Axes, coverage: Coverage) -> None:
    """Draws shapes by height and mass: which bodies there are together."""
    axes.scatter(coverage.height, coverage.index, s=4, color=COLOUR, alpha=0.5, linewidths=0)
    axes.set_xlabel("height [m]", fontsize=9)
    axes.set_ylabel("body mass index [kg/m²]", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.set_title("shapes", fontsize=10)


def draw_gap(report: FitReport, title: str) -> Float[Tensor, "3 height width"]:
    """Draws how far each corruption's errors are from the front end's, 1680 x 1080 px, 0..1.

    The bars are the proxy gap with 95 % of bootstrap samples; the curves tell which share of the
    held-out people, key points or places is below a value.
    """
    figure = Figure(figsize=(14, 9), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=15, fontweight="bold")
    grid = figure.add_gridspec(2, 3)
    colours = dict(zip(report.synthetic, GAP_COLOURS, strict=False))

    _gaps(figure.add_subplot(grid[0, 0]), report, colours)
    everyone = {"front end": report.real, **report.synthetic}
    panels = [
        ("distance of key points in sight, over the person's side", (0.0, 0.08)),
        ("the same of hidden ones", (0.0, 0.15)),
        ("confidence of key points in the picture", (0.0, 1.0)),
        ("intersection over union of the masks", (0.6, 1.0)),
        ("outline's offset from the true one, over the person's side", (-0.03, 0.03)),
    ]
    for number, (name, limits) in enumerate(panels, start=1):
        axes = figure.add_subplot(grid[number // 3, number % 3])
        for who, measured in everyone.items():
            values = _told(measured)[number - 1].sort().values
            share = np.linspace(0, 1, len(values))
            wide, colour = (3.5, "black") if who == "front end" else (1.8, colours[who])
            axes.plot(values.numpy(), share, color=colour, linewidth=wide, label=who)
        axes.set_xlim(*limits)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=9)
        axes.set_title(name, fontsize=10)
        if number == 1:
            axes.legend(fontsize=9)
    return _picture(canvas)


def _gaps(axes: Axes, report: FitReport, colours: Mapping[str, str]) -> None:
    names = list(report.synthetic)
    for row, name in enumerate(names):
        gap = report.gaps[name]
        axes.barh(row, gap.total, color=colours[name])
        axes.plot(gap.interval, [row, row], color="black", linewidth=1.5)
        axes.text(0.02, row, f"{gap.total:.2f}", va="center", fontsize=10, color="white")
    rest = report.gaps["front end"].total
    axes.axvline(rest, color="black", linestyle=":", linewidth=1.5)
    axes.set_yticks(range(len(names)), names, fontsize=10)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_title(
        "proxy gap: 0 as the front end, 1 as no errors\n"
        f"dotted: the front end on other people, {rest:.2f}",
        fontsize=10,
    )


def _told(measured: Measured) -> list[Float[Tensor, " n"]]:
    """Gives what the curves of `draw_gap` are of."""
    wrong, states = measured.mistakes, measured.states
    distance = wrong.offset.norm(dim=-1)
    outline = wrong.outline[wrong.outline.isfinite().all(1)]
    return [
        distance[wrong.reported & (states == IN_SIGHT)],
        distance[wrong.reported & (states == HIDDEN)],
        wrong.confidence[states != OUTSIDE],
        wrong.overlap,
        outline.flatten(),
    ]


def draw_reliability(result: CalibrationResult, title: str) -> Float[Tensor, "3 height width"]:
    """Draws how often intervals hold the truth, 1680 x 1080 px, 0..1.

    Above: coverage over level, of intervals as predicted and corrected, a thin line for each
    measurement and a thick one for all; on the diagonal they hold what they say. Below: coverage of
    subsets and of other people at 90 %, and widths over those of intervals round the mean body.
    """
    figure = Figure(figsize=(14, 9), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=15, fontweight="bold")
    above, below = figure.subplots(2, 3, width_ratios=[1, 1, 1])
    _reliability(above[0], result, "raw", "measurements, as predicted", "measurements")
    _reliability(above[1], result, "conformal", "measurements, corrected", "measurements")
    _reliability(above[2], result, "conformal", "coefficients of shape, corrected", "coefficients")
    subsets = [(s.name, s.raw, s.conformal) for s in result.subsets if s.condition == "plain"]
    _dots(below[0], subsets, "coverage of some people alone, at 90 %")
    shifts = [(s.name, s.raw[SHOWN], s.conformal[SHOWN]) for s in result.shifts]
    _dots(below[1], shifts, "coverage of people drawn otherwise, at 90 %")
    _widths(below[2], result)
    return _picture(canvas)


def _reliability(
    axes: Axes, result: CalibrationResult, kind: str, name: str, quantities: str
) -> None:
    levels = 100 * np.array(LEVELS)
    axes.plot([40, 100], [40, 100], color="black", linestyle=":", linewidth=1.5)
    for row in result.coverage:
        if row.condition != "plain":
            continue
        shares = 100 * np.array(getattr(row, kind))
        whole = row.quantity == f"all {quantities}"
        if whole:
            axes.plot(levels, shares, "o-", color=DARK, linewidth=3, zorder=3, label="all")
        elif row.quantity.startswith("coefficient") == (quantities == "coefficients"):
            if not row.quantity.startswith("all"):
                axes.plot(levels, shares, color=COLOUR, linewidth=1, alpha=0.6)
    axes.set_xlim(45, 100)
    axes.set_ylim(40, 100)
    axes.set_xlabel("level [%]", fontsize=9)
    axes.set_ylabel("people whose truth is in the interval [%]", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.3)
    axes.set_title(name, fontsize=10)


def _dots(axes: Axes, rows: list[tuple[str, float, float]], name: str) -> None:
    """Draws raw coverage pale and corrected coverage dark, one line for each kind of people."""
    if not rows:
        axes.set_axis_off()
        return
    places = np.arange(len(rows))
    axes.axvline(90, color="black", linestyle=":", linewidth=1.5)
    for value, colour, label in ((1, PALE, "as predicted"), (2, DARK, "corrected")):
        shares = [100 * row[value] for row in rows]
        axes.plot(shares, places, "o", color=colour, markersize=8, label=label)
    axes.set_yticks(places, [row[0] for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    low = min(100 * min(row[1:]) for row in rows)
    axes.set_xlim(min(low - 2, 80), 100)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=9, loc="lower right")
    axes.set_title(f"{name} [%]", fontsize=10)


def _widths(axes: Axes, result: CalibrationResult) -> None:
    """Draws how much narrower intervals are than round the mean body, by what is known."""
    conditions = [error.condition for error in result.errors]
    colours = (DARK, COLOUR, *GAP_COLOURS)
    places = np.arange(len(QUANTITIES))
    height = 0.8 / max(len(conditions), 1)
    for number, condition in enumerate(conditions):
        ratios = [result.of(name, condition).ratio for name in QUANTITIES]
        label = "nothing" if condition == "plain" else condition
        axes.barh(
            places + (number + 0.5) * height - 0.4, ratios, height,
            color=colours[number], label=f"known: {label}",
        )  # fmt: skip
    axes.axvline(1, color="black", linestyle=":", linewidth=1.5)
    axes.set_yticks(places, [name.replace("_", " ") for name in QUANTITIES], fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(labelsize=9)
    axes.set_xlim(0, 2.5)  # with room for the legend
    axes.legend(fontsize=9, loc="lower right")
    axes.set_title("width at 90 %, over that round the mean body", fontsize=10)


@dataclass(frozen=True)
class AblationPlot:
    """What an ablation found, over something that gets harder from left to right."""

    title: str
    across: str
    """What gets harder."""
    places: Sequence[str]
    """Its values."""
    measured: str
    """The metric, with its unit."""
    curves: Mapping[str, Sequence[float]]
    """Mean of the metric at each place, by variant; that of `MEAN_BODY` is dotted."""
    effects: Mapping[str, Sequence[tuple[float, float, float]]]
    """Difference of two variants at each place, and the ends of its interval, by name; the second
    variant's name gives it that one's colour."""


def draw_ablation(found: AblationPlot) -> Float[Tensor, "3 height width"]:
    """Draws variants side by side, and below what each change is worth, 1200 x 1200 px, 0..1."""
    figure = Figure(figsize=(10, 10), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(found.title, fontsize=14, fontweight="bold")
    above, below = figure.subplots(2, 1)
    at = np.arange(len(found.places))
    names = dict.fromkeys(name for name in found.curves if name != MEAN_BODY)
    names |= dict.fromkeys(found.effects)
    colours = dict(zip(names, itertools.cycle(ABLATION_COLOURS), strict=False))
    for name, values in found.curves.items():
        if name == MEAN_BODY:
            above.plot(at, np.array(values), ":", color="black", linewidth=2, label=name)
        else:
            above.plot(at, np.array(values), "o-", color=colours[name], linewidth=2, label=name)
    above.set_ylabel(found.measured, fontsize=10)
    width = 0.7 / max(len(found.effects), 1)
    for number, (name, rows) in enumerate(found.effects.items()):
        middle, low, high = np.array(rows, dtype=float).reshape(-1, 3).T
        below.errorbar(
            at + (number - (len(found.effects) - 1) / 2) * width, middle,
            np.abs(np.stack([middle - low, high - middle])),
            fmt="o", color=colours[name], capsize=3, label=name,
        )  # fmt: skip
    below.axhline(0, color="black", linewidth=1)
    below.set_ylabel(f"difference in {found.measured},\nwith 95 % intervals", fontsize=10)
    for axes in (above, below):
        axes.set_xticks(at, found.places)
        axes.set_xlabel(found.across, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return _picture(canvas)


def draw_rotations(
    cases: Mapping[str, MatrixFisher], generator: torch.Generator, shown: int = 250
) -> Float[Tensor, "3 height width"]:
    """Draws distributions over rotations side by side, 1120 px wide, 0..1.

    Above: where samples turn the three axes of a joint, as dots on a sphere. Below: the angle to
    the mode, exact as a line and of 20,000 samples as bars, with the ball that holds 90 %.

    Args:
        cases: Single distributions, without batch axes, by what is written above them.
        generator: For the samples.
        shown: How many of them are dots.
    """
    figure = Figure(figsize=(14, 6.6), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, len(cases), height_ratios=[1.35, 1], squeeze=False)
    for number, (name, fisher) in enumerate(cases.items()):
        drawn = fisher.sample(20_000, generator)
        _sphere(above[number], drawn[:shown], fisher.mode())
        values = ", ".join(f"{value:.3g}" for value in fisher.singular_values.tolist())
        above[number].set_title(f"{name}\nsingular values {values}", fontsize=11)
        _angles(below[number], fisher, drawn)
    below[0].set_ylabel("share per degree", fontsize=10)
    below[0].legend(fontsize=9, loc="upper right")
    return _picture(canvas)


def _sphere(axes: Axes, rotations: Float[Tensor, "N 3 3"], mode: Float[Tensor, "3 3"]) -> None:
    """Draws the axes of rotations as dots on a sphere, those behind it pale."""
    across, up, towards = _frame()
    angle = np.linspace(0, 2 * np.pi, 181)
    axes.fill(np.cos(angle), np.sin(angle), color="#f2f2f2", zorder=0)
    axes.plot(np.cos(angle), np.sin(angle), color="#999999", linewidth=1)
    for level in (-60, -30, 0, 30, 60):
        ring = np.cos(np.radians(level)) * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
        ring[:, 1] = np.sin(np.radians(level))
        _curve(axes, ring, across, up, towards)
    for level in range(0, 180, 30):
        turn = np.radians(level)
        ring = np.stack([np.cos(turn) * np.cos(angle), np.sin(angle), np.sin(turn) * np.cos(angle)])
        _curve(axes, ring.T, across, up, towards)
    for axis, colour in enumerate(AXIS_COLOURS):
        points = rotations[:, :, axis].numpy()
        front = points @ towards >= 0
        for part, alpha, order in ((~front, 0.25, 1), (front, 0.65, 2)):
            flat = points[part]
            axes.scatter(
                flat @ across, flat @ up, s=7, color=colour, alpha=alpha, linewidths=0,
                zorder=order,
            )  # fmt: skip
        tip = mode[:, axis].numpy()
        ends = [0, tip @ across], [0, tip @ up]
        axes.plot(*ends, color="black", linewidth=2.6, zorder=3)
        axes.plot(*ends, color=colour, linewidth=1.6, zorder=4)
        place = 1.13 * tip
        axes.text(place @ across, place @ up, "xyz"[axis], fontsize=11, ha="center", va="center")
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-1.2, 1.2)
    axes.set_aspect("equal")
    axes.axis("off")


def _frame() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives right, up and forward of who looks at a sphere from `EYE`, with y up."""
    towards = np.array(EYE) / np.linalg.norm(EYE)
    across = np.cross([0.0, 1.0, 0.0], towards)
    across /= np.linalg.norm(across)
    return across, np.cross(towards, across), towards


def _curve(
    axes: Axes, ring: np.ndarray, across: np.ndarray, up: np.ndarray, towards: np.ndarray
) -> None:
    seen = np.where((ring @ towards >= 0)[:, None], ring, np.nan)
    axes.plot(seen @ across, seen @ up, color="#cfcfcf", linewidth=0.6, zorder=1)


def _angles(axes: Axes, fisher: MatrixFisher, drawn: Float[Tensor, "N 3 3"]) -> None:
    """Draws the density of the angle to the mode, by samples and exactly."""
    degrees = 180 / math.pi
    trace = (drawn * fisher.mode()).sum((-2, -1)).double()
    angle = torch.acos(((trace - 1) / 2).clamp(-1, 1)) * degrees
    radius = float(fisher.credible_radius(0.9)) * degrees
    most = min(180.0, 1.8 * radius)
    axes.hist(
        angle.numpy(), bins=45, range=(0, most), color=PALE,
        weights=np.full(len(angle), 45 / most / len(angle)), label="20,000 samples",
    )  # fmt: skip
    edges = torch.linspace(0, most, 181, dtype=torch.float64)
    inside = fisher.probability_within(edges / degrees).double()
    density = inside.diff() / edges.diff()
    axes.plot(((edges[1:] + edges[:-1]) / 2).numpy(), density.numpy(), color=DARK, label="exact")
    axes.axvline(radius, color="black", linestyle=":", label="90 % within")
    side = "right" if radius > 0.9 * most else "left"
    axes.text(radius, axes.get_ylim()[1] * 0.5, f" {radius:.0f}° ", fontsize=10, ha=side)
    axes.set_xlim(0, most)
    axes.set_yticks([])
    axes.set_xlabel("angle to the mode [degrees]", fontsize=10)
    axes.tick_params(labelsize=9)
