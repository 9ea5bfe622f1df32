"""Two results compared: the bootstrap against scipy's, and who may be compared with whom."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from plausibody.evaluate.bootstrap import clusters_of, paired_differences, share_better
from plausibody.evaluate.comparing import (
    Comparison,
    compare,
    compare_results,
    save_comparison,
    to_markdown,
)
from plausibody.evaluate.protocols import METRICS
from plausibody.evaluate.result import Result
from plausibody.evaluate.saving import PEOPLE, save_result
from plausibody.evaluate.table import comparison_table
from plausibody.evaluate.values import Attribute, Values, summarise

PEOPLE_COUNT = 60
MANY = 4000
"""Resamples."""


def numbers(seed: int, mean: float = 80.0, count: int = PEOPLE_COUNT) -> Tensor:
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(seed)).double()
    return mean + 20 * drawn


def values(shift: float = 0.0, films: int = 0, seed: int = 5) -> Values:
    """Errors of people, some of them known to nobody; the overlap is pooled."""
    error = numbers(1) + shift + 0.3 * (numbers(seed) - 80)
    error[3] = math.nan
    overlap = (numbers(2, 70) + 0.2 * (numbers(seed) - 80)) / 200 - shift / 100
    attributes = {"view": Attribute(("front", "back"), torch.arange(PEOPLE_COUNT) % 2)}
    if films:
        of = torch.arange(PEOPLE_COUNT) % films
        attributes["sequence"] = Attribute(tuple(f"film {n}" for n in range(films)), of)
    return Values(
        names=tuple(f"{n:03d}.png" for n in range(PEOPLE_COUNT)),
        errors={"pve": error, "silhouette_iou_pooled": overlap, "measured_bias/waist": error - 80},
        weights={"silhouette_iou_pooled": numbers(3).abs()},
        attributes=attributes,
    )


def result(of: Values) -> Result:
    return Result(
        benchmark="ssp3d", sealed=True, digest="d" * 64, gender="neutral", people=len(of),
        settings={}, regressor={"method": "lite"}, plausibody="0", figures=summarise(of),
        values=of,
    )  # fmt: skip


EVERYONE = np.ones(PEOPLE_COUNT, dtype=bool)


@pytest.mark.parametrize("films", [0, 12])
@pytest.mark.parametrize("metric", ["pve", "silhouette_iou_pooled"])
def test_intervals_are_those_of_scipy(metric: str, films: int) -> None:
    """Of people, and of whole sequences, whose sums scipy is given."""
    one, two = values(films=films), values(shift=4, films=films, seed=6)
    found = paired_differences(one, two, [metric], EVERYONE, MANY)[metric]
    clusters = clusters_of(one)
    known = ~(one.errors[metric].isnan() | two.errors[metric].isnan()).numpy()
    sums = []
    for each in (one, two):
        weight = each.weight(metric).numpy() * known
        error = np.nan_to_num(each.errors[metric].numpy()) * weight
        sums += [np.bincount(clusters, column) for column in (error, weight)]

    def gap(a: np.ndarray, w: np.ndarray, b: np.ndarray, v: np.ndarray, axis: int) -> np.ndarray:
        return b.sum(axis) / v.sum(axis) - a.sum(axis) / w.sum(axis)

    twin = stats.bootstrap(
        sums, gap, paired=True, vectorized=True, n_resamples=MANY, method="percentile",
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.difference == pytest.approx(float(gap(*sums, axis=0)))
    assert found.drawn == (films or int(known.sum())) and found.people == known.sum()
    assert found.low is not None and found.high is not None
    low, high = twin.confidence_interval
    # Ends of two runs of 4,000 draws differ by some percent of the width; measured 3 %.
    assert abs(found.low - low) < 0.1 * (high - low)
    assert abs(found.high - high) < 0.1 * (high - low)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    one, two = values(), values(shift=4, seed=6)
    found = paired_differences(one, two, ["pve"], EVERYONE, MANY)["pve"]
    gap = two.errors["pve"] - one.errors["pve"]
    gap = gap[~gap.isnan()]
    assert found.difference == pytest.approx(gap.mean().item())
    assert found.low is not None and found.high is not None
    expected = 2 * 1.96 * gap.std().item() / math.sqrt(len(gap))
    assert found.high - found.low == pytest.approx(expected, rel=0.08)  # measured 0.02


def test_frames_of_one_film_are_drawn_together() -> None:
    """All frames of a film have the same gap: as single people they would seem far surer."""
    of = torch.arange(PEOPLE_COUNT) % 6
    films = {"sequence": Attribute(tuple("abcdef"), of)}
    one = Values(values().names, {"pve": torch.full((PEOPLE_COUNT,), 80.0)}, attributes=films)
    two = dataclasses.replace(one, errors={"pve": 80.0 + of.double()})
    alone = dataclasses.replace(one, attributes={})
    widths = []
    for first in (one, alone):
        found = paired_differences(first, two, ["pve"], EVERYONE, MANY)["pve"]
        assert found.low is not None and found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(10), rel=0.15)  # measured 3.3
    # Who is in no film is drawn alone.
    half = {"sequence": Attribute(("a",), torch.tensor([0] * 30 + [-1] * 30))}
    assert len(set(clusters_of(dataclasses.replace(one, attributes=half)).tolist())) == 31


def test_draws_are_the_same_each_time_and_one_person_gives_no_interval() -> None:
    one, two = values(), values(shift=4, seed=6)
    metrics = ["pve", "measured_bias/waist"]
    found = [paired_differences(one, two, metrics, EVERYONE, 200, seed=s) for s in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    # The bias is the error shifted: drawn alike, their intervals are alike.
    assert found[0]["pve"].low == pytest.approx(found[0]["measured_bias/waist"].low)
    single = np.arange(PEOPLE_COUNT) == 7
    alone = paired_differences(one, two, metrics, single, 200)["pve"]
    assert (alone.people, alone.low, alone.high) == (1, None, None)
    nobody = np.arange(PEOPLE_COUNT) == 3
    assert paired_differences(one, two, ["pve"], nobody, 200) == {}
    with pytest.raises(ValueError, match="between 0 and 1, got 95.0"):
        paired_differences(one, two, metrics, EVERYONE, level=95.0)


def test_better_is_counted_person_by_person() -> None:
    names = ("a", "b", "c", "d")
    one = Values(names, {"pve": torch.tensor([1.0, 2.0, -3.0, math.nan])})
    two = Values(names, {"pve": torch.tensor([0.5, 2.0, 2.0, 1.0])})
    all_four = np.ones(4, dtype=bool)
    shares = {best: share_better(one, two, "pve", best, all_four) for best in
              ("less", "more", "zero", "neither")}  # fmt: skip
    assert shares == {"less": 0.5, "more": 0.5, "zero": pytest.approx(2.5 / 3), "neither": None}
    assert share_better(one, two, "pve", "less", np.array([False] * 3 + [True])) is None


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    one, two = values(films=12), values(shift=-9, films=12, seed=6)
    return compare(result(one), result(two), resamples=500)


def test_a_comparison_has_every_figure_of_every_subset(comparison: Comparison) -> None:
    rows = {(row.metric, row.subset): row for row in comparison.rows}
    assert len(rows) == 3 * (1 + 2 + 12)
    everyone = rows["pve", "all"]
    assert everyone.people == PEOPLE_COUNT - 1
    assert everyone.clear and everyone.difference == pytest.approx(-9, abs=4)
    assert everyone.better is not None and everyone.better > 0.6
    assert rows["pve", "film 2"].low is None, "of one sequence"
    assert rows["pve", "front"].low is not None
    overlap = rows["silhouette_iou_pooled", "all"]
    assert overlap.difference == pytest.approx(0.09, abs=0.02) and overlap.better > 0.9


def test_a_comparison_is_told(comparison: Comparison, tmp_path: Path) -> None:
    path = save_comparison(comparison, tmp_path / "out")
    assert path.name == "comparison.json"
    text = (tmp_path / "out" / "comparison.md").read_text("utf-8")
    assert text == to_markdown(comparison)
    assert "# ssp3d (dddddddddddd), 60 people: two results" in text
    assert "95 % of 500 draws of sequences" in text
    assert "| view: front | 30 |" in text
    assert comparison_table(comparison) is not None


def test_files_are_compared_by_name_whatever_their_order(tmp_path: Path) -> None:
    one, two = values(), values(shift=4, seed=6)
    back = torch.arange(PEOPLE_COUNT).flip(0)
    turned = Values(
        names=two.names[::-1],
        errors={name: column[back] for name, column in two.errors.items()},
        weights={name: column[back] for name, column in two.weights.items()},
        attributes={"view": Attribute(("front", "back"), two.attributes["view"].of[back])},
    )
    paths = [save_result(result(of), tmp_path / str(n)) for n, of in enumerate((one, turned))]
    found = compare_results(*paths, resamples=100)
    straight = compare(result(one), result(two), resamples=100)
    for ours, theirs in zip(found.rows, straight.rows, strict=True):
        assert ours.difference == pytest.approx(theirs.difference, abs=1e-4)
        assert ours.low == pytest.approx(theirs.low, abs=1e-4)
        assert ours.better == theirs.better


def test_evaluations_with_other_settings_say_so() -> None:
    usual = dataclasses.replace(
        result(values()), settings={"mirrored": False, "proxy": {"size": 96}}
    )
    other = dataclasses.replace(usual, settings={"mirrored": True, "proxy": {"size": 64}})
    assert compare(usual, other, resamples=10).notes == (
        "They were evaluated otherwise (first, second): mirrored (False, True), "
        "proxy.size (96, 64).",
    )
    other = dataclasses.replace(usual, settings={"labels_body": "smpl"})
    with pytest.raises(ValueError, match="wanted results of one labelled body, got None and smpl"):
        compare(usual, other)


def test_only_what_compares_is_compared(tmp_path: Path) -> None:
    one = values()
    fewer = Values(one.names[1:], {"pve": one.errors["pve"][1:]})
    with pytest.raises(ValueError, match="got 60 and 59: only first has 000.png; do:"):
        compare(result(one), result(fewer))
    other = dataclasses.replace(result(one), digest="e" * 64)
    with pytest.raises(ValueError, match="not the same truth or settings"):
        compare(result(one), other)
    protocol = dataclasses.replace(METRICS["pve"], alignment="pelvis")
    figures = tuple(
        dataclasses.replace(figure, protocol=protocol) if figure.metric == "pve" else figure
        for figure in result(one).figures
    )
    with pytest.raises(ValueError, match="the same protocol, those of pve differ"):
        compare(result(one), dataclasses.replace(result(one), figures=figures))
    lean = dataclasses.replace(one, errors={"pve": one.errors["pve"]}, weights={})
    notes = compare(result(one), result(lean), resamples=10).notes
    assert notes == (
        "Not compared, the first alone has them: silhouette_iou_pooled, measured_bias/waist.",
    )


def test_few_to_draw_are_told() -> None:
    films = result(values(films=4))
    told = "There are only 4 sequences to draw: intervals are too narrow."
    assert told in compare(films, films, resamples=10).notes
    assert compare(result(values()), result(values()), resamples=10).notes == ()


def test_results_without_their_people_are_refused(tmp_path: Path) -> None:
    path = save_result(result(values()), tmp_path / "whole")
    bare = save_result(dataclasses.replace(result(values()), values=None), tmp_path / "bare")
    with pytest.raises(ValueError, match="saved without; do: evaluate again with --out"):
        compare_results(path, bare)
    other = save_result(result(values(shift=1)), tmp_path / "other")
    other.with_name(PEOPLE).write_bytes(path.with_name(PEOPLE).read_bytes())
    with pytest.raises(ValueError, match="wanted the file that results.json names"):
        compare_results(path, other)
    other.with_name(PEOPLE).unlink()
    with pytest.raises(FileNotFoundError, match="found no .*people.npz"):
        compare_results(path, other)
