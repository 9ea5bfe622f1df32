"""DaNet's network: what is dropped, and what it gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from iuv_pictures import picture
from torch import Tensor

from plausibody.models.crop import Box
from plausibody.models.danet import DanetRegressor, draw_kept
from plausibody.models.danet_estimate import DanetEstimate
from plausibody.models.danet_settings import DanetSettings
from plausibody.models.mirroring import mirror_proxy, predict_both
from plausibody.models.networks import build_regressor
from plausibody.models.part_tables import (
    part_tables,
)
from plausibody.models.prediction import PointPrediction
from plausibody.models.proxy import Observation, Proxy, ProxySettings, make_proxy
from plausibody.models.regressor import RegressorSettings
from plausibody.models.rotations import rot6d_to_rotmat
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
