"""Regressors: published sizes and names, what goes in, what comes out, where they start."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from plausibody.models.encoder import Cells, FoldedConv2d, LiteEncoder, ResNet
from plausibody.models.networks import build_regressor
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.regressor import (
    INITIAL_CAMERA,
    LiteRegressor,
    PointRegressor,
    Regressor,
    RegressorSettings,
    StrapsRegressor,
)
from plausibody.models.rotations import rotvec_to_rotmat

SMALL = RegressorSettings(features=32, width=8, blocks=1)
RESNET = RegressorSettings(encoder="resnet")
PROXY = ProxySettings(size=32)


def mean_pose() -> Tensor:
    return rotvec_to_rotmat(0.3 * torch.randn(24, 3, generator=torch.Generator().manual_seed(0)))


def inputs(count: int = 3, size: int = 32) -> Proxy:
    generator = torch.Generator().manual_seed(1)
    return Proxy(
        silhouette=torch.rand(count, size, size, generator=generator),
        keypoints=torch.rand(count, 17, 3, generator=generator),
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
    )


@pytest.fixture(scope="module", params=["lite", "straps"])
def network(request: pytest.FixtureRequest) -> PointRegressor:
    torch.manual_seed(0)
    made = build_regressor(request.param, SMALL, PROXY, mean_pose())
    assert isinstance(made, PointRegressor)
    return made


def straps(settings: RegressorSettings) -> StrapsRegressor:
    made = build_regressor("straps", settings, ProxySettings(), mean_pose())
    assert isinstance(made, StrapsRegressor)
    return made


def test_straps_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in straps(RESNET).parameters()) == 11_909_789
    lasor = straps(dataclasses.replace(RESNET, depth=50))
    assert sum(parameter.numel() for parameter in lasor.parameters()) == 27_024_541


def test_straps_has_the_published_names_and_shapes() -> None:
    found = {name: tuple(value.shape) for name, value in straps(RESNET).state_dict().items()}
    assert found["image_encoder.conv1.weight"] == (64, 18, 7, 7)
    head = {name.removeprefix("ief_module."): s for name, s in found.items() if "ief_" in name}
    assert head == {
        **{"fc1.weight": (512, 669), "fc1.bias": (512,), "fc2.weight": (512, 512)},
        **{"fc2.bias": (512,), "fc3.weight": (157, 512), "fc3.bias": (157,)},
    }
    assert {name.split(".")[0] for name in found} == {"image_encoder", "ief_module", "initial"}


@pytest.mark.parametrize(
    ("depth", "counts", "total"),
    [
        (18, (2, 2, 2, 2), 11_689_512),
        (34, (3, 4, 6, 3), 21_797_672),
        (50, (3, 4, 6, 3), 25_557_032),
        (101, (3, 4, 23, 3), 44_549_160),
        (152, (3, 8, 36, 3), 60_192_808),
    ],
)
def test_residual_networks_have_torchvisions_names(
    depth: int, counts: tuple[int, ...], total: int
) -> None:
    """`total` is torchvision's number of parameters."""
    deep = depth >= 50
    convolutions, features = (3, 2048) if deep else (2, 512)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", *(f"bn1.{entry}" for entry in norm)}
    for stage, count in enumerate(counts, start=1):
        for block in range(count):
            at = f"layer{stage}.{block}"
            for number in range(1, convolutions + 1):
                expected |= {f"{at}.conv{number}.weight"}
                expected |= {f"{at}.bn{number}.{entry}" for entry in norm}
        if stage > 1 or deep:
            expected |= {f"layer{stage}.0.downsample.0.weight"}
            expected |= {f"layer{stage}.0.downsample.1.{entry}" for entry in norm}
    with torch.device("meta"):
        encoder = ResNet(3, depth)
    assert set(encoder.state_dict()) == expected
    assert encoder.features == features
    classifier = 1000 * features + 1000
    assert sum(each.numel() for each in encoder.parameters()) == total - classifier


def test_other_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted 18, 34, 50, 101, 152, got 20"):
        ResNet(3, 20)


def test_a_batch_of_proxies_gives_a_batch_of_bodies(network: Regressor) -> None:
    network.eval()
    prediction = network.predict(inputs())
    rotations = prediction.mode().rotations
    assert prediction.camera.scale.shape == (3,) and prediction.camera.shift.shape == (3, 2)
    assert prediction.mode().shape.shape == (3, 10) and rotations.shape == (3, 24, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(3, 24, 3, 3))


def test_half_precision_inside_gives_full_precision_outside(network: Regressor) -> None:
    network.train()
    proxy = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vector = network(proxy.silhouette, proxy.keypoints)
        prediction = network.read(vector)
    assert prediction.mode().rotations.dtype == prediction.camera.scale.dtype == torch.float32
    prediction.mode().rotations[..., 0, 1].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_vector_is_camera_then_pose_then_shape(network: PointRegressor) -> None:
    vector = network.initial[None].clone()
    vector[0, -1] = 5.0
    start = network.read(vector)
    assert start.camera.scale.item() == pytest.approx(INITIAL_CAMERA[0])
    torch.testing.assert_close(start.mode().rotations[0, 1:], mean_pose()[1:])
    torch.testing.assert_close(start.mode().rotations[0, 0], torch.eye(3))
    assert start.mode().shape[0].tolist() == [0.0] * 9 + [5.0]


def test_training_starts_near_the_mean_body() -> None:
    torch.manual_seed(0)
    network = build_regressor("lite", SMALL, PROXY, mean_pose()).eval()
    assert isinstance(network, LiteRegressor)
    proxy = inputs()
    with torch.no_grad():
        vector = network(proxy.silhouette, proxy.keypoints)
    assert (vector - network.initial).abs().max() < 0.3


def test_a_network_is_whole_in_its_state_dict(network: Regressor) -> None:
    method = "lite" if isinstance(network, LiteRegressor) else "straps"
    other = build_regressor(method, SMALL, PROXY, torch.eye(3).expand(24, 3, 3)).eval()
    other.load_state_dict(network.state_dict())
    network.eval()
    proxy = inputs()
    expected = network(proxy.silhouette, proxy.keypoints)
    assert torch.equal(other(proxy.silhouette, proxy.keypoints), expected)


def test_unseen_key_points_differ_from_seen_ones_at_the_centre() -> None:
    torch.manual_seed(0)
    encoder = LiteEncoder(size=16, features=8, width=4).eval()
    empty, unseen = torch.zeros(1, 16, 16), torch.zeros(1, 17, 3)
    seen = unseen.clone()
    seen[..., 2] = 1e-6
    assert (encoder(empty, unseen) - encoder(empty, seen)).abs().max() > 0.01


@pytest.mark.parametrize("side", [4, 8])
def test_cells_lose_no_pixel(side: int) -> None:
    picture = torch.rand(2, 1, 64, 64)
    assert torch.equal(Cells(side)(picture), functional.pixel_unshuffle(picture, side))
    assert LiteEncoder(size=64, features=8, width=4, cell=side)(
        picture[:, 0], torch.zeros(2, 17, 3)
    ).shape == (2, 8)


@pytest.mark.parametrize(("channels", "side"), [(3, 2), (16, 2), (20, 4)])
def test_folded_convolutions_see_the_cells_that_they_do_not_make(channels: int, side: int) -> None:
    torch.manual_seed(0)
    layer = FoldedConv2d(channels, 8, side)
    maps = torch.randn(2, channels, 16, 24, requires_grad=True)
    tug = torch.randn(2, 8, 16 // side, 24 // side)
    found, slow = layer(maps), layer.conv(layer.cells(maps))
    torch.testing.assert_close(found, slow, atol=1e-5, rtol=0)
    taught = (maps, layer.conv.weight)
    for own, other in zip(
        torch.autograd.grad(found, taught, tug, retain_graph=True),
        torch.autograd.grad(slow, taught, tug),
        strict=True,
    ):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=0)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16, got 40"):
        LiteEncoder(size=40)
    with pytest.raises(ValueError, match="hmr, danet, got 'pare'"):
        build_regressor("pare", SMALL, PROXY, mean_pose())
    with pytest.raises(ValueError, match="wanted the method hierprob, got lite"):
        build_regressor("lite", dataclasses.replace(SMALL, gendered=True), PROXY, mean_pose())
    with pytest.raises(ValueError, match="wanted lite or resnet, got 'vit'"):
        dataclasses.replace(SMALL, encoder="vit")
