"""Photos turned in their plane: what is seen, marked and known of a body turns alike."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plausibody.models.body import pose_body
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.crop import Box
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import ProxySettings
from plausibody.models.rotations import geodesic_angle, rotvec_to_rotmat
from plausibody.models.skeleton import COCO17
from plausibody.synth.real_images import RealImages, RealSettings
from plausibody.synth.real_people import RealLabels
from plausibody.synth.semantic_labels import NAMES
from plausibody.synth.stores import SynthAssets
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.turning import Turn

ALWAYS = RealSettings(share=1.0, mirrored=0.0, scale=(1.0, 1.0), turned=1.0, gain=0.0)
WRIST = COCO17.index("right_wrist")
SIZE = 32


@pytest.fixture
def marked(tmp_path: Path) -> RealLabels:
    """One person in a photo that is black but for a white wrist, which a label map marks too."""
    picture, labels = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    picture[20:24, 48:52], labels[20:24, 48:52] = 255, NAMES.index("right arm")
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(labels).save(tmp_path / "labels.png")
    keypoints = torch.zeros(1, 17, 3)
    keypoints[0, WRIST] = torch.tensor([50.0, 22.0, 1.0])
    body = BodyParameters(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3).clone())
    return RealLabels(
        pictures=(tmp_path / "photo.png",),
        box=Box(centre=torch.tensor([[36.0, 30.0]]), side=torch.tensor([40.0])),
        keypoints=keypoints,
        body=body,
        fitted=torch.ones(1, dtype=torch.bool),
        label_maps=(tmp_path / "labels.png",),
    )


def test_picture_labels_and_key_points_turn_alike(marked: RealLabels) -> None:
    recipe = RealImages(marked, ProxySettings(size=SIZE, channel="rgb"), 1, ALWAYS,
                        MapSettings(size=SIZE))  # fmt: skip
    batch = recipe(torch.arange(12))
    maps, rgb = batch.target.maps, batch.proxy.rgb
    assert rgb is not None and maps is not None and maps.labels is not None
    place = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    for seen in (rgb.mean(1), (maps.labels == NAMES.index("right arm")).float()):
        weight = seen / seen.sum((1, 2), keepdim=True)
        middle = torch.stack([(weight.sum(1) * place).sum(1), (weight.sum(2) * place).sum(1)], -1)
        torch.testing.assert_close(middle, batch.target.keypoints[:, WRIST], atol=0.05, rtol=0)
    angles = geodesic_angle(batch.target.parameters.rotations[:, 0], torch.eye(3).expand(12, 3, 3))
    assert angles.max() <= 2 * ALWAYS.turn_std + 1e-3 and angles.std() > 0.1
    still = torch.tensor([14.0, -8.0]) / 20
    moved = batch.target.keypoints[:, WRIST] - still
    wanted = 2 * (angles / 2).sin() * still.norm()  # the chord of the turn
    torch.testing.assert_close(moved.norm(dim=-1), wanted, atol=2e-3, rtol=0)


def test_the_turned_body_is_where_its_turned_key_points_are(assets: SynthAssets) -> None:
    generator = torch.Generator().manual_seed(0)
    rotations = rotvec_to_rotmat(0.3 * torch.randn(1, 24, 3, generator=generator))
    body = BodyParameters(shape=torch.zeros(1, 10), rotations=rotations)
    posed = pose_body(assets.template, body.shape, body.rotations).vertices
    flat = (assets.regressors.coco17 @ posed)[..., :2] * torch.tensor([30.0, -30.0]) + 40
    box = Box(centre=torch.tensor([[40.0, 40.0]]), side=torch.tensor([80.0]))
    turn = Turn.about(box, 0.7, 1.0, SIZE)
    turned = turn.body(body)
    again = (
        assets.regressors.coco17
        @ pose_body(assets.template, turned.shape, turned.rotations).vertices
    )
    target = turn.turned_box.to_square(turn.points(flat))
    camera = fit_weak_perspective(again, target, torch.ones(1, 17))
    assert (camera.project(again) - target).abs().max() < 1e-3
    wrong = Turn.about(box, -0.7, 1.0, SIZE).body(body)
    other = (
        assets.regressors.coco17 @ pose_body(assets.template, wrong.shape, wrong.rotations).vertices
    )
    camera = fit_weak_perspective(other, target, torch.ones(1, 17))
    assert (camera.project(other) - target).abs().max() > 0.1


def test_pixels_are_turned_clockwise_and_back() -> None:
    picture = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(1))
    box = Box(centre=torch.tensor([[4.5, 4.5]]), side=torch.tensor([9.0]))
    quarter = Turn(math.pi / 2, box, 9)
    torch.testing.assert_close(quarter.picture(picture), picture.rot90(-1, (1, 2)))
    assert torch.equal(Turn(0.0, box, 9).picture(picture, labels=True), picture)


def test_four_of_ten_are_turned_as_published(marked: RealLabels) -> None:
    settings = replace(ALWAYS, turned=RealSettings().turned)
    recipe = RealImages(marked, ProxySettings(size=8, channel="rgb"), 5, settings)
    root = recipe(torch.arange(400)).target.parameters.rotations[:, 0]
    turned = (root - torch.eye(3)).abs().amax((1, 2)) > 0
    assert turned.float().mean() == pytest.approx(0.4, abs=0.08)
    with pytest.raises(ValueError, match=r"real.turn_std: wanted 0 to pi / 2"):
        RealSettings(turn_std=30.0)
