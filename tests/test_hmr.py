"""Regressors of colour pictures: published sizes, a twin of the head, what they read and ignore."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plausibody.models.encoder import IMAGENET_MEAN, IMAGENET_STD, ResNet, normalise
from plausibody.models.hmr import HmrHead, HmrRegressor, RgbEncoder, RgbLiteEncoder
from plausibody.models.mirroring import predict_both
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import FisherPrediction, PointPrediction
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.rotations import rot6d_to_rotmat, rotvec_to_rotmat
from plausibody.models.weights import TrainedRegressor, load_regressor, save_regressor
from plausibody.predict.drawing.bodies import encode_picture
from plausibody.predict.predictor import Predictor

SMALL = RegressorSettings(features=32, width=8, blocks=1)
RGB = ProxySettings(size=32, channel="rgb")
CARD = {"config": {
    "method": "hmr",
    "regressor": dataclasses.asdict(SMALL),
    "proxy": dataclasses.asdict(RGB),
}}  # fmt: skip


def mean_pose() -> Tensor:
    return rotvec_to_rotmat(0.3 * torch.randn(24, 3, generator=torch.Generator().manual_seed(0)))


def inputs(count: int = 2, size: int = 32, seed: int = 1) -> Proxy:
    generator = torch.Generator().manual_seed(seed)
    return Proxy(
        silhouette=torch.rand(count, size, size, generator=generator),
        keypoints=torch.rand(count, 17, 3, generator=generator),
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
        rgb=torch.rand(count, 3, size, size, generator=generator),
    )


@pytest.fixture(scope="module")
def network() -> HmrRegressor:
    torch.manual_seed(0)
    made = build_regressor("hmr", SMALL, RGB, mean_pose())
    assert isinstance(made, HmrRegressor)
    return made.eval()


def test_the_published_network_has_the_published_number_of_parameters() -> None:
    settings = RegressorSettings(encoder="resnet", depth=50)
    made = build_regressor("hmr", settings, ProxySettings(size=224, channel="rgb"), mean_pose())
    # ResNet-50 without its classifier: 23,508,032; the layers of the head one by one.
    head = 2206 * 1024 + 1025 * 1024 + 1025 * (144 + 10 + 3)
    assert sum(parameter.numel() for parameter in made.parameters()) == 23_508_032 + head


def test_the_head_corrects_as_a_slow_twin_does() -> None:
    torch.manual_seed(1)
    head = HmrHead(6, 144, 10).eval()
    for layer in (head.decpose, head.decshape, head.deccam):
        nn.init.normal_(layer.weight, std=0.1)
    features, initial = torch.randn(2, 6), torch.randn(157)
    camera, pose, shape = (part.repeat(2, 1) for part in initial.split((3, 144, 10)))
    for _ in range(3):
        x = torch.cat([features, pose, shape, camera], 1)
        x = head.fc2(head.fc1(x))
        pose, shape, camera = (
            pose + head.decpose(x),
            shape + head.decshape(x),
            camera + head.deccam(x),
        )
    torch.testing.assert_close(head(features, initial), torch.cat([camera, pose, shape], 1))


def test_the_head_drops_features_in_training_only(network: HmrRegressor) -> None:
    proxy = inputs()
    first, second = (network(*network.inputs(proxy)) for _ in range(2))
    assert torch.equal(first, second)
    network.train()
    torch.manual_seed(0)
    first, second = (network(*network.inputs(proxy)) for _ in range(2))
    network.eval()
    assert not torch.equal(first, second)


def test_pictures_are_normalised_inside_the_network() -> None:
    grey = torch.tensor(IMAGENET_MEAN)[:, None, None].expand(3, 4, 4)
    assert normalise(grey).abs().max() < 1e-6
    lighter = grey + torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(normalise(lighter), torch.ones(3, 4, 4))
    torch.manual_seed(0)
    encoder = RgbEncoder(18).eval()
    proxy = inputs()
    assert proxy.rgb is not None
    said = encoder(proxy.rgb, proxy.keypoints)
    torch.testing.assert_close(said, ResNet.forward(encoder, normalise(proxy.rgb)))


@pytest.mark.parametrize("method", ["hmr", "lite", "hierprob"])
def test_every_method_can_read_rgb_and_then_reads_nothing_else(method: str) -> None:
    torch.manual_seed(0)
    made = build_regressor(method, SMALL, RGB, mean_pose()).eval()
    proxy, other = inputs(), inputs(seed=2)
    blind = dataclasses.replace(other, rgb=proxy.rgb)
    said = made(*made.inputs(proxy))
    assert torch.equal(said, made(*made.inputs(blind)))
    assert not torch.equal(said, made(*made.inputs(other)))
    assert isinstance(made.predict(proxy), FisherPrediction | PointPrediction)
    assert made.image_encoder.features == 32
    assert isinstance(made.image_encoder, RgbLiteEncoder)


def test_the_small_encoder_reads_key_points_if_it_is_told_to() -> None:
    torch.manual_seed(0)
    settings = dataclasses.replace(SMALL, keypoints=True)
    made = build_regressor("lite", settings, RGB, mean_pose()).eval()
    proxy, other = inputs(), inputs(seed=2)
    blind = dataclasses.replace(other, rgb=proxy.rgb)
    assert not torch.equal(made(*made.inputs(proxy)), made(*made.inputs(blind)))
    for wrong, channel in (
        (settings, "edges"),
        (RegressorSettings("resnet", keypoints=True), "rgb"),
    ):
        with pytest.raises(ValueError, match=r"regressor\.keypoints: .* do: leave it away"):
            build_regressor("lite", wrong, ProxySettings(size=32, channel=channel), mean_pose())


def test_training_starts_near_the_mean_body(network: HmrRegressor) -> None:
    said = network.predict(inputs()).mode().rotations
    mean = rot6d_to_rotmat(network.initial[3:147].unflatten(0, (24, 6)))
    assert (said - mean).abs().max() < 0.3


def test_weights_of_rgb_regressors_are_saved_and_loaded(
    network: HmrRegressor, tmp_path: Path
) -> None:
    save_regressor(network, tmp_path / "weights.safetensors", CARD)
    again = load_regressor(tmp_path / "weights.safetensors")
    assert isinstance(again.network, HmrRegressor) and again.proxy == RGB
    proxy = inputs()
    before, after = predict_both(network, proxy), again.predict(proxy)
    torch.testing.assert_close(before.mode().shape, after.mode().shape, rtol=0, atol=1e-2)


def test_photos_reach_the_network_as_files_and_as_tensors(
    network: HmrRegressor, known_person: Any, tmp_path: Path
) -> None:
    """The square that the network sees is cut out of the photo, wherever that comes from."""
    generator = torch.Generator().manual_seed(0)
    photo = torch.randint(0, 256, (*known_person.size, 3), dtype=torch.uint8, generator=generator)
    path = tmp_path / "photo.png"
    path.write_bytes(encode_picture(photo.permute(2, 0, 1).float() / 255, ".png"))
    trained = TrainedRegressor(network, RGB, "neutral", {"sha256": "0" * 64, **CARD})
    predictor = Predictor(trained, known_person.front_end, flip=False)
    (from_file,), (from_tensor,) = predictor([path]), predictor([photo])
    (person,), (same,) = from_file.people, from_tensor.people
    torch.testing.assert_close(person.body.vertices, same.body.vertices)
    (dark,) = predictor([torch.zeros_like(photo)])
    assert not torch.allclose(dark.people[0].body.vertices, person.body.vertices, atol=1e-4)
