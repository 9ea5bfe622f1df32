"""What DaNet's network is made of: its tables and graph, maps, and squares round joints."""

from __future__ import annotations

import pytest
import torch
from iuv_pictures import picture

from plausibody.models.crop import Box, nearest_square
from plausibody.models.danet_crops import (
    CropSettings,
    JointSquares,
    Squares,
    cut_squares,
    soft_argmax,
)
from plausibody.models.danet_graph import PositionAidedGraph
from plausibody.models.iuv import (
    CLASSES,
    IuvMaps,
    annotated,
    predicted_picture,
    shown_maps,
    to_maps,
    to_picture,
)
from plausibody.models.part_tables import (
    MIRROR25,
    PARTS24,
    ancestors,
    links,
    part_tables,
    relatives,
)
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS, mirror

LINKS = """0:1-6 1:0,2,3,4,7 2:0,1,3,5,8 3:0,1,2,6,9 4:0,1,7,10 5:0,2,8,11 6:0,3,9,12,13,14
7:1,4,10 8:2,5,11 9:3,6,12-17 10:4,7 11:5,8 12:6,9,13-17 13:6,9,12,14,16,18
14:6,9,12,13,17,19 15:9,12 16:9,12,13,18,20 17:9,12,14,19,21 18:13,16,20,22 19:14,17,21,23
20:16,18,22 21:17,19,23 22:18,20 23:19,21"""
"""Who hears of whom, as published."""


# Tables


def test_parts_of_joints_and_their_mirror_images_are_as_published() -> None:
    tables = part_tables()
    assert tables.shown[SMPL24.index("left_wrist")].tolist() == [15, 17, 19, 21, 4, 4]
    assert tables.shown[SMPL24.index("right_knee")].tolist() == [1, 2, 7, 9, 11, 13]
    assert tables.shown[0].tolist() == [7, 8, 9, 10, 1, 2]
    assert tables.telling[SMPL24.index("left_ankle")].nonzero()[:, 0].tolist() == [5, 12, 14]
    assert tables.onward[[0, 9, 10, 15]].tolist() == [3, 12, 10, 15]
    ids = "1,2,4,3,6,5,8,7,10,9,12,11,14,13,16,15,18,17,20,19,22,21,24,23"
    assert list(MIRROR25[1:]) == [int(number) for number in ids.split(",")]
    swapped = torch.tensor(MIRROR25)[tables.shown[mirror(SMPL24)]]
    assert (swapped.sort(1)[0] == tables.shown.sort(1)[0]).all()


def test_the_graph_has_the_published_links_and_rows_that_sum_to_one() -> None:
    wanted = torch.zeros(24, 24)
    for entry in LINKS.split():
        joint, others = entry.split(":")
        for other in others.split(","):
            low, _, high = other.partition("-")
            wanted[int(joint), int(low) : int(high or low) + 1] = 1
    found = links()
    assert torch.equal(found, wanted) and torch.equal(found, found.T) and found.sum() == 102
    above, near = ancestors(SMPL24_PARENTS), relatives(SMPL24_PARENTS)
    torch.testing.assert_close(above.sum(1), torch.cat([torch.zeros(1), torch.ones(23)]))
    torch.testing.assert_close(near.sum(1), torch.ones(24))
    assert above[4].nonzero()[:, 0].tolist() == [0, 1]
    assert near[4].nonzero()[:, 0].tolist() == [1, 4, 7]


def test_joints_of_another_skeleton_are_named() -> None:
    with pytest.raises(ValueError, match="tail"):
        part_tables(("pelvis", "tail"), (-1, 0))


def test_a_graph_without_learnt_edges_mixes_with_the_normalised_links() -> None:
    graph = PositionAidedGraph(4, SMPL24_PARENTS, SMPL24)
    table = torch.eye(24) + links()
    root = table.sum(0).rsqrt().diag()
    torch.testing.assert_close(graph.ties(), root @ table @ root)
    with torch.no_grad():
        graph.edge_importance.fill_(-1.0)  # ties do not get negative
    torch.testing.assert_close(graph.ties(), torch.eye(24))


# Maps


def test_pictures_become_maps_and_the_same_pictures_again() -> None:
    iuv = picture()
    maps = to_maps(iuv)
    assert maps.index.sum(1).eq(1).all() and maps.u[:, 0].eq(0).all()
    assert torch.equal(to_picture(maps), iuv)
    assert torch.equal(predicted_picture(maps), iuv)
    again = maps.clean()
    assert all(torch.equal(getattr(again, name), getattr(maps, name)) for name in "uv")
    assert torch.equal(again.index, maps.index)


def test_maps_round_joints_are_the_channels_of_their_parts() -> None:
    iuv, shown = picture(), part_tables().shown
    whole, size = to_maps(iuv), iuv.shape[-1]
    everything = Squares(torch.zeros(2, 24, 2), torch.ones(2, 24))
    partial = shown_maps(cut_squares(iuv, everything, size, nearest=True), shown)
    assert torch.equal(partial.index[:, :, 1:], whole.index[:, shown])
    assert torch.equal(partial.u[:, :, 1:], whole.u[:, shown])
    assert torch.equal(partial.v[:, :, 1:], whole.v[:, shown])
    assert torch.equal(partial.index[:, :, 0], 1 - whole.index[:, shown].amax(2))


def test_cleaning_keeps_the_best_class_and_the_gradients_of_its_place() -> None:
    scores = torch.randn(1, CLASSES, 4, 4, generator=torch.Generator().manual_seed(0))
    u = torch.rand(1, CLASSES, 4, 4).requires_grad_()
    clean = IuvMaps(u=u, v=u, index=scores.requires_grad_()).clean()
    clean.u.sum().backward()
    best = scores.argmax(1, keepdim=True)
    assert torch.equal(clean.index, torch.zeros_like(scores).scatter(1, best, 1.0))
    assert u.grad is not None and torch.equal(u.grad, clean.index) and scores.grad is None


def test_annotators_tell_no_front_from_back() -> None:
    every = torch.arange(CLASSES).view(1, 1, CLASSES)
    classes = dict(zip(["", *PARTS24], annotated(every)[0, 0].tolist(), strict=True))
    assert classes["left_thigh_back"] == classes["left_thigh_front"] == 7
    assert classes["right_hand"] == 2 and classes["left_head"] == 14 and classes[""] == 0


def test_the_nearest_pixels_of_a_square_are_labels_of_the_picture() -> None:
    iuv = picture(1, 8)[0]
    same = nearest_square(iuv, Box(torch.tensor([4.0, 4.0]), torch.tensor(8.0)), 8)
    assert torch.equal(same, iuv)
    beside = nearest_square(iuv, Box(torch.tensor([8.0, 4.0]), torch.tensor(8.0)), 8)
    assert torch.equal(beside[:, :, :4], iuv[:, :, 4:]) and not beside[:, :, 4:].any()
    halved = nearest_square(iuv, Box(torch.tensor([4.0, 4.0]), torch.tensor(8.0)), 4)
    assert torch.equal(halved, iuv[:, 1::2, 1::2])


# Squares


@pytest.mark.parametrize("published", [False, True])
def test_squares_that_hold_everything_give_the_map_itself(published: bool) -> None:
    maps = torch.rand(2, 3, 8, 8)
    everything = Squares(torch.zeros(2, 24, 2), torch.ones(2, 24))
    cut = cut_squares(maps, everything, 8, published)
    torch.testing.assert_close(cut, maps[:, None].expand_as(cut))


def test_a_square_shows_its_surroundings_and_nothing_beyond_the_map() -> None:
    maps = torch.arange(64.0).view(1, 1, 8, 8) + 1
    corner = Squares(torch.full((1, 1, 2), 1.0), torch.full((1, 1), 0.5))  # of 4 px at the corner
    cut = cut_squares(maps, corner, 4, nearest=True)[0, 0, 0]
    assert torch.equal(cut[:2, :2], maps[0, 0, 6:, 6:]) and not cut[2:].any()


def test_a_peak_of_a_heatmap_is_a_place_in_half_squares() -> None:
    heatmaps = torch.zeros(1, 1, 8, 8)
    heatmaps[0, 0, 6, 1] = 100.0
    torch.testing.assert_close(soft_argmax(heatmaps)[0, 0], torch.tensor([-0.625, 0.625]))
    torch.testing.assert_close(soft_argmax(heatmaps, True)[0, 0], torch.tensor([-0.75, 0.5]))


def test_squares_grow_with_bones_and_with_all_where_nothing_is_seen() -> None:
    squares = JointSquares(part_tables(), CropSettings())
    centre = torch.rand(1, 24, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    index = torch.zeros(1, CLASSES, 8, 8)
    index[:, 8] = 1  # the back of the left thigh everywhere: hips and knees of the left are seen
    found = squares(centre, index)
    extent = float((centre.amax(1) - centre.amin(1)).max()) / 2
    knee, hip, ankle = (SMPL24.index(f"left_{name}") for name in ("knee", "hip", "ankle"))
    bone = max(float((centre[0, knee] - centre[0, other]).norm()) for other in (hip, ankle))
    ratio, offset = part_tables().crops[knee].tolist()
    assert float(found.half[0, knee]) == pytest.approx(ratio * bone + offset)
    assert float(found.half[0, SMPL24.index("right_knee")]) == pytest.approx(0.8 * extent)
    assert torch.equal(found.centre, centre)
    moved = squares(centre, index, torch.Generator().manual_seed(0))
    assert 0 < float((moved.centre - centre).abs().max()) <= 0.05
    assert ((moved.half / found.half - 1).abs() < 0.211).all() and (moved.half != found.half).all()
