"""Results of any benchmark: names of metrics, means over people, files and pages."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody.evaluate.figures import MEAN_BODY, Figure
from plausibody.evaluate.protocols import METRICS, Protocol, protocol_of, tagged, untagged
from plausibody.evaluate.report import cumulative, render_result
from plausibody.evaluate.result import Case, Result, read_result, worst_cases
from plausibody.evaluate.result_text import (
    all_rows,
    named,
    part_rows,
    protocol_lines,
    subset_rows,
    to_markdown,
)
from plausibody.evaluate.saving import PEOPLE, SHEET, read_with_values, save_result
from plausibody.evaluate.sheet import Sight, draw_sight
from plausibody.evaluate.table import result_table
from plausibody.evaluate.values import (
    Attribute,
    Values,
    decode_values,
    encode_values,
    summarise,
)
from plausibody.predict.placement import PictureCamera

NAMES = tuple(f"films/{n}.png" for n in range(8))


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.fixture
def values() -> Values:
    """Eight people of two films; one has no key points, one is in no third."""
    return Values(
        names=NAMES,
        errors={
            "pve_t_sc[gendered]": column(10, 20, 30, 40, 50, 60, 70, 80),
            "pve_t_sc[gendered,min10+mode]": column(5, 10, 15, 20, 25, 30, 35, 40),
            "keypoint_error[visible]": column(1, 2, 3, math.nan, 5, 6, 7, 8),
            "silhouette_iou_pooled": column(1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
        },
        weights={"silhouette_iou_pooled": column(300, 100, 0, 0, 0, 0, 0, 0)},
        attributes={
            "sequence": Attribute.of_labels(["b", "b", "a", "a", "a", "a", "a", "a"]),
            "build": Attribute.thirds(column(1, 2, 3, 4, 5, 6, math.nan, 0), ("thin", "", "stout")),
        },
    )


@pytest.fixture
def result(values: Values) -> Result:
    mean_body = Values(NAMES, {"pve_t_sc[gendered]": column(*[100] * 8)})
    return Result(
        benchmark="ssp3d", sealed=True, digest="abc" * 20, gender="neutral", people=8,
        settings={"proxies": "labels"}, regressor={"method": "lite", "sha256": "f" * 64},
        plausibody="0.2", figures=summarise(values, baselines={MEAN_BODY: mean_body}),
        front_end="embedded", missed=("films/3.png",), remarks=("Crops are 1.2 times the box.",),
        worst=(Case("films/7.png", 80.0), Case("films/6.png", 70.0)),
        worst_by="pve_t_sc[gendered]", values=values,
    )  # fmt: skip


def test_names_of_metrics_say_their_protocol() -> None:
    assert protocol_of("pa_mpjpe") == METRICS["pa_mpjpe"]
    least = protocol_of("pve_t_sc[gendered,min25+mode]")
    assert (least.samples, least.mode_among_samples) == (25, True)
    assert least.estimate == "best of 25 samples, the mode for the first"
    assert least.bodies == "predicted coefficients on the template of the true gender"
    assert protocol_of("pve[min10]").mode_among_samples is False
    assert protocol_of("mpjpe[h36m17]").points == "H36M17"
    flat = protocol_of("keypoint_error[visible,samples10,pooled]")
    assert flat.points == "COCO17, crop of 256 px, visible ones"
    assert (flat.estimate, flat.pooled) == ("10 samples, averaged", "points")
    assert protocol_of("measured/mass").unit == "kg"
    assert protocol_of("measured_bias/waist").best == "zero"
    assert protocol_of("coverage/chest[level90]").points == "chest in their intervals of 90 %"
    assert protocol_of("oks/ap").points == "COCO17, object key-point similarity, ap"


@pytest.mark.parametrize("name", ["mpje", "pve[old]", "pve[samples10+mode]", "pve[min0]", "pve["])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        protocol_of(name)


def test_tags_are_added_and_taken_off() -> None:
    assert tagged("pve") == "pve"
    assert tagged("pve", "min10") == "pve[min10]"
    assert tagged("pve_t[neutral]", "min10") == "pve_t[neutral,min10]"
    assert untagged("measured/waist[min10]") == "measured"
    assert named("pve_t_sc[gendered,min10]") == "PVE-T-SC [mm], gendered, min10"
    assert named("measured/waist") == "measured [mm], waist"


def test_figures_are_means_over_those_who_have_them(values: Values) -> None:
    found = {(f.metric, f.subset): f for f in summarise(values)}
    assert found["pve_t_sc[gendered]", "all"].value == 45
    assert found["pve_t_sc[gendered]", "b"].value == 15
    assert found["pve_t_sc[gendered]", "b"].group == "sequence"
    flat = found["keypoint_error[visible]", "all"]
    assert flat.people == 7 and flat.value == pytest.approx(32 / 7)
    pooled = found["silhouette_iou_pooled", "all"]
    assert pooled.value == pytest.approx((300 + 50) / 400) and pooled.people == 2
    assert ("silhouette_iou_pooled", "a") not in found, "nobody of it counts"
    # 7, 0, 1 are the least; the seventh is in no third.
    assert found["pve_t_sc[gendered]", "thin"].value == pytest.approx((80 + 10 + 20) / 3)
    assert found["pve_t_sc[gendered]", "stout"].people == 2


def test_thirds_are_alike_in_number() -> None:
    of = Attribute.thirds(column(5, 1, 3, 9, 7, 2, 8), ("low", "middle", "high")).of
    assert of.bincount().tolist() == [3, 2, 2]
    assert of.tolist() == [1, 0, 0, 2, 1, 0, 2]


def test_values_of_people_are_checked(values: Values) -> None:
    with pytest.raises(ValueError, match="each person once, a came again"):
        Values(("a", "a"), {})
    with pytest.raises(ValueError, match=r"pve: wanted a number for each of 2 people, got \(3,\)"):
        Values(("a", "b"), {"pve": column(1, 2, 3)})
    with pytest.raises(ValueError, match="pve: wanted finite numbers or NaN, infinite of b"):
        Values(("a", "b"), {"pve": column(1, math.inf)})
    with pytest.raises(ValueError, match="weight of pve: wanted none negative"):
        Values(("a",), {"pve": column(1)}, {"pve": column(-1)})
    twice = {"one": Attribute.of_labels(["x", "y"]), "two": Attribute.of_labels(["x", ""])}
    with pytest.raises(ValueError, match="kinds of different names, got x again"):
        Values(("a", "b"), {}, attributes=twice)
    with pytest.raises(ValueError, match="wanted numbers of the 2 kinds"):
        Attribute(("x", "y"), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="wanted weights just where people are pooled"):
        summarise(dataclasses.replace(values, weights={}))


def test_values_survive_as_a_file(values: Values) -> None:
    content = encode_values(values)
    assert content == encode_values(values), "the same each time"
    found = decode_values(content)
    assert found.names == NAMES
    for name, error in values.errors.items():
        torch.testing.assert_close(found.errors[name].double(), error, equal_nan=True)
    assert found.weights.keys() == values.weights.keys()
    for name, attribute in values.attributes.items():
        assert found.attributes[name].kinds == attribute.kinds
        assert torch.equal(found.attributes[name].of, attribute.of)
    for broken in (b"", content[:-40], b"PK" + content[2:200]):
        with pytest.raises(ValueError, match="wanted values of people"):
            decode_values(broken)


def test_a_result_survives_the_disk(result: Result, tmp_path: Path) -> None:
    path = save_result(result, tmp_path / "out")
    assert read_result(path) == result
    assert read_result(path).values is None
    found = read_with_values(path).values
    assert found is not None and found.names == NAMES
    tables = json.loads(path.read_text("utf-8"))
    metric = tables["metrics"]["pve_t_sc[gendered]"]
    assert metric["points"] == "vertices, at rest" and metric["alignment"] == "scale, shift"
    assert metric["figures"]["all"] == {
        "people": 8, "value": 45.0, "baselines": {"mean body": 100.0},
    }  # fmt: skip
    assert tables["subsets"] == {
        **{"all": "all", "a": "sequence", "b": "sequence"},
        **{"thin": "build", "": "build", "stout": "build"},
    }
    assert not (tmp_path / "out" / SHEET).exists()
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_files_that_are_no_results_are_refused(result: Result, tmp_path: Path) -> None:
    path = save_result(result, tmp_path)
    tables = json.loads(path.read_text("utf-8"))
    for change, message in (
        ({"version": 1}, "of version 1, this plausibody reads 2; do: evaluate again"),
        ({"metrics": []}, "wanted a result of plausibody evaluate"),
        ({"unknown": 1}, "wanted a result of plausibody evaluate"),
    ):
        path.write_text(json.dumps(tables | change))
        with pytest.raises(ValueError, match=message):
            read_result(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="wanted a result"):
        read_result(path)
    with pytest.raises(FileNotFoundError, match="wanted a results.json"):
        read_result(tmp_path / "none" / "results.json")


def test_the_worst_are_named_by_what_is_bad(values: Values) -> None:
    worst = worst_cases(values, "keypoint_error[visible]", 2)
    assert worst == (Case(NAMES[7], 8.0), Case(NAMES[6], 7.0))
    assert len(worst_cases(values, "keypoint_error[visible]")) == 7, "one has no key points"
    least = worst_cases(values, "silhouette_iou_pooled", 1)
    assert least == (Case(NAMES[1], 0.5),)
    bias = Values(("a", "b", "c"), {"measured_bias/waist": column(1, -5, 3)})
    assert worst_cases(bias, "measured_bias/waist", 1) == (Case("b", -5.0),)
    with pytest.raises(ValueError, match="wanted a metric by which some values are worse"):
        worst_cases(Values(("a",), {"diversity": column(1)}), "diversity")


def test_one_metric_has_one_protocol(result: Result, tmp_path: Path) -> None:
    other = dataclasses.replace(result.figures[0], subset="some", protocol=Protocol("elbows"))
    with pytest.raises(ValueError, match="one protocol in a result, got two"):
        save_result(dataclasses.replace(result, figures=(*result.figures, other)), tmp_path)


def test_tables_show_what_differs(result: Result) -> None:
    heads, rows = all_rows(result)
    assert heads == ["metric", "points", "alignment", "estimate", "bodies", "N", "unit", "value",
                     "mean body", "ratio"]  # fmt: skip
    assert rows[0][-3:] == ["45.0", "100.0", "0.45"] and rows[1][-2:] == ["-", "-"]
    heads, rows = subset_rows(result, "sequence")
    assert heads == ["sequence", "N", "pve_t_sc[gendered]", "silhouette_iou_pooled"]
    assert rows[0] == ["a", "6", "55.0 (100.0)", "-"]
    # Of sequences each the same, not of people: (55 + 15) / 2.
    assert rows[2] == ["mean of 2 sequences", "", "35.0", "0.875"]
    bare = [dataclasses.replace(f, baselines={}) for f in result.figures]
    heads, rows = all_rows(dataclasses.replace(result, figures=tuple(bare)))
    assert heads[-2:] == ["unit", "value"] and len(rows[0]) == len(heads)


def test_parts_have_a_table_of_their_own(result: Result) -> None:
    errors = {
        name: column(*[number] * 8)
        for name, number in (
            *(("measured/waist", 12.0), ("measured_bias/waist", -3.0), ("measured/mass", 2.5)),
            *(("coverage/waist[level90]", 0.75), ("oks/ap", 0.5)),
        )
    }
    found = dataclasses.replace(
        result, figures=(*result.figures, *summarise(Values(NAMES, errors)))
    )
    assert part_rows(found) == (
        ["part", "measured", "measured_bias", "coverage[level90]", "oks"],
        [
            ["waist", "12.0 mm", "-3.0 mm", "0.750", "-"],
            ["mass", "2.50 kg", "-", "-", "-"],
            ["ap", "-", "-", "-", "0.500"],
        ],
    )
    assert all_rows(found) == all_rows(result)
    assert "| waist | 12.0 mm | -3.0 mm | 0.750 | - |" in to_markdown(found)
    page = render_result(found)
    assert "Part by part" in page and "<td>-3.0 mm</td>" in page
    assert page.index("pve_t_sc[gendered]") < page.index("Samples of the predictions")
    assert part_rows(result)[1] == []


def test_what_must_be_known_is_told(result: Result) -> None:
    lines = protocol_lines(dataclasses.replace(result, note="NOT ssp3d: 8 people of 311."))
    assert lines[0] == "NOT ssp3d: 8 people of 311."
    assert "did not find 1 of 8" in lines[3] and "films/3.png" in lines[3]
    assert lines[-1] == "Crops are 1.2 times the box."
    text = to_markdown(result)
    assert "Worst by pve_t_sc[gendered]: films/7.png (80), films/6.png (70)." in text
    assert "| b | 2 | 15.0 (100.0) | 0.875 |" in text
    assert result_table(result) is not None


def test_a_figure_knows_its_baseline() -> None:
    figure = Figure("pve", "all", "all", 3, 50.0, METRICS["pve"], {MEAN_BODY: 200.0})
    assert figure.ratio == 0.25 and math.isnan(figure.nearest_pose)
    assert math.isnan(dataclasses.replace(figure, baselines={}).ratio)


def test_shares_of_people_rise_to_all() -> None:
    assert cumulative(column(3, 1, 2, 4)) == [(1, 0), (1, 25), (2, 50), (3, 75), (4, 100)]
    many = cumulative(torch.linspace(0, 1, 5000).double())
    assert len(many) < 200 and many[-1] == (1.0, 100.0)
    assert cumulative(column()) == []


def test_the_page_stands_alone_and_trusts_no_name(result: Result) -> None:
    odd = dataclasses.replace(result, remarks=("<script>alert(1)</script>",), sealed=False)
    page = render_result(odd)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "http" not in page
    assert "prefers-color-scheme: dark" in page
    assert "not comparable" in page and "complete" in render_result(result)
    assert page.count("<svg") == 3, "one metric over everyone, and by both attributes"
    assert "By sequence" in page and "films/7.png" in page
    assert "PVE-T-SC [mm], gendered 80.0" in page


def test_a_page_needs_neither_people_nor_pictures(result: Result) -> None:
    bare = dataclasses.replace(result, values=None, worst=(), worst_by="", front_end="")
    page = render_result(bare)
    assert "Distributions" not in page and "Worst" not in page and "<code>pve_t_sc" in page


def sight(known: bool) -> Sight:
    """A square of 0.4 m in the middle of a grey picture, 60 px wide."""
    corners = torch.tensor([[-0.2, -0.2, 0], [0.2, -0.2, 0], [0.2, 0.2, 0], [-0.2, 0.2, 0.0]])
    mask = torch.zeros(60, 80, dtype=torch.bool)
    mask[10:50, 20:60] = True
    return Sight(
        picture=torch.full((3, 60, 80), 0.5),
        mask=torch.zeros(60, 80),
        keypoints=torch.zeros(17, 3),
        true_mask=mask if known else None,
        vertices=corners,
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
        camera=PictureCamera(torch.tensor(60.0), torch.tensor([40.0, 30.0])),
    )


def test_worst_cases_are_drawn(result: Result, tmp_path: Path) -> None:
    drawn = draw_sight(sight(known=True), 48)
    assert drawn.shape == (3, 48, 3 * 48 + 4)
    body = drawn[:, 24, 2 * 50 + 24]
    assert (body - 0.5).abs().max() > 0.05, "the body covers the middle"
    plain = draw_sight(sight(known=False), 48)
    yellow = (drawn - plain).abs().amax(0)
    assert yellow[:, :100].max() == 0 and yellow[:, 100:].max() > 0.3
    asked: list[str] = []

    def draw(name: str) -> Tensor:
        asked.append(name)
        return drawn

    path = save_result(dataclasses.replace(result, draw=draw), tmp_path)
    assert asked == ["films/7.png", "films/6.png"]
    page = path.with_name("results.html").read_text("utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert path.with_name(SHEET).stat().st_size > 1000
    save_result(result, tmp_path)
    assert not path.with_name(SHEET).exists() and path.with_name(PEOPLE).exists()
