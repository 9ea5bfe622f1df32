"""DaNet's network: its tables and graph, squares, maps, what is dropped, and what it gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody.models.crop import Box, nearest_square
from plausibody.models.danet import (
    DanetEstimate,
    DanetRegressor,
    DanetSettings,
    draw_kept,
)
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
from plausibody.models.mirroring import mirror_proxy, predict_both
from plausibody.models.networks import build_regressor
from plausibody.models.part_tables import (
    MIRROR25,
    PARTS24,
    ancestors,
    links,
    part_tables,
    relatives,
)
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Observation, Proxy, ProxySettings, make_proxy
from plausibody.models.regressor import RegressorSettings
from plausibody.models.rotations import rot6d_to_rotmat
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS, mirror
from plausibody.models.weights import load_regressor, save_regressor
from plausibody.predict.drawing.iuv import colour_iuv
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.looking import look_at
from plausibody.predict.reading.mask_files import soft_mask
from plausibody.training.pictures import draw_evidence

SMALL = DanetSettings(
    backbone="light", width=8, stride=2, streams="light", crop=8, features=8, places=True,
    estimator_steps=2,
)  # fmt: skip
RGB, IUV = (ProxySettings(size=32, channel=channel) for channel in ("rgb", "iuv"))
LINKS = """0:1-6 1:0,2,3,4,7 2:0,1,3,5,8 3:0,1,2,6,9 4:0,1,7,10 5:0,2,8,11 6:0,3,9,12,13,14
7:1,4,10 8:2,5,11 9:3,6,12-17 10:4,7 11:5,8 12:6,9,13-17 13:6,9,12,14,16,18
14:6,9,12,13,17,19 15:9,12 16:9,12,13,18,20 17:9,12,14,19,21 18:13,16,20,22 19:14,17,21,23
20:16,18,22 21:17,19,23 22:18,20 23:19,21"""
"""Who hears of whom, as published."""


def picture(batch: int = 2, size: int = 32, seed: int = 0) -> Tensor:
    """A random IUV picture, of the background in a quarter of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    part = torch.randint(1, 25, (batch, 1, size, size), generator=generator)
    part = part * (torch.rand(part.shape, generator=generator) > 0.25)
    place = torch.rand(batch, 2, size, size, generator=generator)
    return torch.cat([part.float(), place * (part > 0)], 1)


def build(proxy: ProxySettings = RGB, **changes: object) -> DanetRegressor:
    torch.manual_seed(0)
    settings = dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    start = torch.eye(3).expand(24, 3, 3)
    made = build_regressor("danet", RegressorSettings(), proxy, start, danet=settings)
    assert isinstance(made, DanetRegressor)
    return made


def inputs(proxy: ProxySettings, count: int = 2) -> Proxy:
    colours = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Proxy(
        silhouette=torch.zeros(count, 32, 32),
        keypoints=torch.zeros(count, 17, 3),
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
        rgb=colours if proxy.channel == "rgb" else None,
        iuv=picture(count) if proxy.channel == "iuv" else None,
    )


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


# What is dropped


def test_as_many_parts_are_dropped_as_the_rate_says_and_never_the_background() -> None:
    kept = draw_kept(4000, 0.3, torch.Generator().manual_seed(0))
    assert kept[:, 0].eq(1).all()
    assert float(kept[:, 1:].mean()) == pytest.approx(0.7, abs=0.01)
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("stage", ["post", "published"])
def test_the_same_parts_are_dropped_from_the_whole_and_round_joints(stage: str) -> None:
    network = build(IUV, partdrop=0.5, partdrop_stage=stage)
    estimate, whole, partial = network.estimate(picture())
    fewer, near = network._drop(estimate, whole, partial, torch.Generator().manual_seed(3))
    kept = draw_kept(2, 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(fewer.index, whole.index * kept[..., None, None])
    assert torch.equal(fewer.u, whole.u * kept[..., None, None])
    round_joints = kept[:, part_tables().shown][..., None, None]
    assert torch.equal(near.index[:, :, 1:], partial.index[:, :, 1:] * round_joints)
    assert torch.equal(near.index[:, :, 0], partial.index[:, :, 0])


def test_dropped_parts_win_as_published_and_not_here() -> None:
    network = build(RGB, partdrop=0.5)
    estimate, whole, partial = network.estimate(torch.rand(2, 3, 32, 32))
    assert estimate.maps is not None
    below = dataclasses.replace(estimate.maps, index=estimate.maps.index * 0 - 1.0)
    estimate = dataclasses.replace(estimate, maps=below)
    kept = draw_kept(2, 0.5, torch.Generator().manual_seed(3))
    dropped = (1 - kept)[..., None, None]
    fewer, _ = network._drop(estimate, below.clean(), partial, torch.Generator().manual_seed(3))
    assert not (fewer.index * dropped).any()
    network.settings = dataclasses.replace(network.settings, partdrop_stage="published")
    odd, _ = network._drop(estimate, below.clean(), partial, torch.Generator().manual_seed(3))
    assert (odd.index * dropped).sum((1, 2, 3)).eq(16 * 16).all()


# The network


def test_the_published_network_has_the_published_sizes() -> None:
    with torch.device("meta"):
        made = DanetRegressor(
            DanetSettings(), ProxySettings(size=224, channel="rgb"), torch.zeros(24, 3, 3), 10
        )
    shapes = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    assert shapes["heads.predict_partial_iuv.weight"] == (504, 48, 3, 3)
    assert shapes["streams.limb_net.limb_reslayer.layer4.0.conv1.weight"] == (3072, 256, 3, 3)
    assert shapes["streams.body_net.3.final_layer.weight"] == (13, 512)
    assert shapes["streams.pose_regressors.1.1.weight"] == (144, 128, 1, 1)
    assert shapes["streams.coord_regressors.0.1.weight"] == (72, 128, 1, 1)
    assert shapes["streams.graph.refine_gcn.gc.1.weight"] == (256, 256)
    assert shapes["initial"] == (157,)


@pytest.mark.parametrize("proxy", [RGB, IUV], ids=["rgb", "iuv"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"graph": False}, {"refine": False, "places": False}, {"local": False}],
    ids=["whole", "no graph", "no refinement", "no local streams"],
)
def test_every_variant_predicts_rotations_and_learns_everything_it_has(
    proxy: ProxySettings, changes: dict[str, object]
) -> None:
    network = build(proxy, **changes)
    prediction = network.eval().predict(inputs(proxy))
    assert isinstance(prediction, PointPrediction)
    turns = prediction.parameters.rotations
    eye = torch.eye(3).expand_as(turns)
    torch.testing.assert_close(turns @ turns.mT, eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(2, 24))

    network.train()
    read = network.lesson(inputs(proxy, 3), 5, torch.Generator().manual_seed(0))
    answer = network(*read)
    assert isinstance(answer, dict)
    torch.stack([each.square().sum() for each in answer.values()]).sum().backward()
    estimate = network.read_lesson(answer, answer["vector"]).estimate
    assert isinstance(estimate, DanetEstimate)
    assert {"vector": 0, **estimate.table()}.keys() == answer.keys()
    for name, each in estimate.table().items():
        assert torch.equal(each, answer[name])
    assert [name for name, each in network.named_parameters() if each.grad is None] == []


def test_the_first_steps_learn_maps_alone_and_leave_the_rest_as_it_is() -> None:
    network = build(RGB)
    generator = torch.Generator().manual_seed(0)
    first = network(*network.lesson(inputs(RGB), 1, generator))
    assert isinstance(first, dict)
    torch.testing.assert_close(first["vector"], network.initial.expand(2, -1))
    first["vector"].sum().backward()
    assert all(
        each.grad is not None and not each.grad.any() for each in network.streams.parameters()
    )
    assert build(IUV).lesson(inputs(IUV), 1, generator)[2:] == (generator, False)


def test_chance_is_the_generators() -> None:
    network = build(RGB).train()
    vectors = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        answer = network(*network.lesson(inputs(RGB), 5, generator))
        vectors.append(network.vector_of(answer))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_networks_of_iuv_look_once_and_those_of_colours_at_the_mirror_image_too() -> None:
    network = build(IUV).eval()
    proxy = inputs(IUV)
    once = network.predict(proxy).mode()
    assert torch.equal(predict_both(network, proxy).mode().rotations, once.rotations)
    with pytest.raises(TypeError, match="IUV"):
        mirror_proxy(proxy)
    colours = build(RGB).eval()
    both = predict_both(colours, inputs(RGB)).mode()
    assert not torch.equal(both.rotations, colours.predict(inputs(RGB)).mode().rotations)


def test_a_proxy_takes_the_nearest_pixels_of_iuv_and_wants_them() -> None:
    iuv = picture(1, 40)[0]
    seen = Observation(keypoints=torch.zeros(17, 3), mask=(iuv[0] > 0).float(), iuv=iuv)
    box = Box(centre=torch.tensor([20.0, 20.0]), side=torch.tensor(32.0))
    proxy = make_proxy(seen, IUV, box)
    assert proxy.iuv is not None and torch.equal(proxy.iuv, iuv[:, 4:36, 4:36])
    with pytest.raises(ValueError, match="silhouette-from parts"):
        make_proxy(dataclasses.replace(seen, iuv=None), IUV, box)


@pytest.mark.parametrize("proxy", [RGB, IUV], ids=["rgb", "iuv"])
def test_saved_weights_are_the_same_network(tmp_path: Path, proxy: ProxySettings) -> None:
    network, path = build(proxy).eval(), tmp_path / "weights.safetensors"
    config = {
        "method": "danet",
        "regressor": dataclasses.asdict(RegressorSettings()),
        "proxy": dataclasses.asdict(proxy),
        "danet": dataclasses.asdict(SMALL),
    }
    save_regressor(network, path, {"config": config})
    again = load_regressor(path).network
    found = again.predict(inputs(proxy)).mode().rotations
    wanted = network.predict(inputs(proxy)).mode().rotations
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)  # stored in half precision


def test_the_start_is_read_as_rotations_in_the_published_layout() -> None:
    network = build(RGB)
    pose = network.initial[3:147].unflatten(0, (24, 6))
    assert pose[1].tolist() == [1, 0, 0, 1, 0, 0]  # two columns, row by row
    torch.testing.assert_close(torch.linalg.det(rot6d_to_rotmat(pose)), torch.ones(24))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"backbone": "vit"}, "danet.backbone"),
        ({"streams": "big"}, "danet.streams"),
        ({"partdrop_stage": "pre"}, "danet.partdrop_stage"),
        ({"partdrop": 1.0}, "danet.partdrop"),
        ({"crop": 10}, "multiple of 4"),
        ({"features": 0}, "danet.features"),
        ({"estimator_steps": -1}, "danet.estimator_steps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]


def test_other_channels_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="rgb or iuv"):
        build(ProxySettings(size=32))
    with pytest.raises(ValueError, match="only danet reads iuv"):
        build_regressor("lite", RegressorSettings(), IUV, torch.eye(3).expand(24, 3, 3))
    with pytest.raises(ValueError, match="multiples of 16"):
        build(RGB).estimate(torch.rand(1, 3, 40, 40))


# Predicting from files


def found_person(mask: Tensor, extras: dict[str, Tensor]) -> Person:
    """A person whose mask is known, and what came with it."""
    height, width = mask.shape
    return Person(
        score=1.0,
        box=torch.tensor([0.0, 0.0, width, height]),
        keypoints=torch.zeros(17, 3),
        soft_mask=soft_mask(mask, width, height),
        extras=extras,
    )


def test_people_are_seen_by_the_iuv_maps_that_came_with_their_masks() -> None:
    iuv = torch.zeros(3, 40, 40, dtype=torch.uint8)
    iuv[:, 8:32, 8:32] = torch.tensor([2, 51, 255], dtype=torch.uint8)[:, None, None]
    mask = torch.zeros(40, 40)
    mask[8:32, 8:20] = 1  # somebody else has the other half
    proxy = look_at(found_person(mask, {"iuv": iuv}), IUV)
    assert proxy.iuv is not None and proxy.iuv[0].unique().tolist() == [0, 2]
    seen = proxy.iuv[0] > 0
    torch.testing.assert_close(proxy.iuv[1][seen], torch.full((int(seen.sum()),), 0.2))
    assert proxy.iuv[2][seen].eq(1).all()
    covered = proxy.silhouette > 0.9
    assert bool(seen[covered].all()) and not seen[proxy.silhouette < 0.1].any()


@pytest.mark.parametrize(
    ("extras", "complaint"),
    [({}, "got none"), ({"parts": torch.zeros(1, 8, 8)}, "has no u and v")],
)
def test_people_without_iuv_maps_are_not_guessed(extras: dict[str, Tensor], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        look_at(found_person(torch.ones(8, 8), extras), IUV)


def test_iuv_is_drawn_in_a_colour_for_each_part() -> None:
    iuv = torch.zeros(3, 5, 5)
    iuv[0] = torch.arange(25.0).view(5, 5)
    iuv[2] = 1.0
    colours = colour_iuv(iuv).flatten(1).T
    assert colours.min() >= 0 and colours.max() <= 1
    assert len({tuple(round(value, 3) for value in colour) for colour in colours.tolist()}) == 25
    shown = draw_evidence(inputs(IUV), "iuv")
    assert shown.shape[:2] == (2, 3) and shown.std() > 0.1
