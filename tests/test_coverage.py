"""Coverage: known bodies give known numbers, and the card draws them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from plausibody.coverage import JOINTS, Coverage, measure_coverage, nearest_distances
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import to_device
from plausibody.models.rotations import axis_rotation
from plausibody.plots import draw_coverage
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.scene import PoseSettings, ShapeSettings, ViewSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsSettings

COUNT = 96


def coverage(assets: SynthAssets, stream: StreamSettings, size: int = 96) -> Coverage:
    proxy = ProxySettings(size=size, least_confidence=0.0)
    generator = BatchGenerator.of(stream, proxy, assets, 32)
    return measure_coverage(generator, assets, COUNT)


@pytest.fixture(scope="module")
def straps(assets: SynthAssets) -> Coverage:
    calm = StrapsSettings(size=96, part_removed=(0.0,) * 6, occluded=0.0, shape_std=0.0)
    return coverage(assets, StreamSettings(recipe="straps", straps=calm))


def test_bodies_of_the_mean_shape_have_its_size(assets: SynthAssets, straps: Coverage) -> None:
    height = assets.template.vertices[:, 1].amax() - assets.template.vertices[:, 1].amin()
    torch.testing.assert_close(straps.height, height.expand(COUNT), rtol=0, atol=1e-4)
    assert straps.index.std() < 1e-3 and 20 < straps.index.mean() < 32


def test_whole_people_are_shown_whole(straps: Coverage) -> None:
    assert straps.shown.min() > 0.9 and straps.shown.max() <= 1
    assert straps.outside.mean() < 0.01 and straps.unreported.mean() < 0.02
    assert 0.5 < straps.breadth.min() and straps.breadth.max() < 4


def test_people_face_everywhere(straps: Coverage) -> None:
    counts = torch.histc(straps.yaw, 4, -math.pi, math.pi)
    assert counts.min() > COUNT / 10
    assert straps.angles.shape == (COUNT, len(JOINTS)) and straps.angles.max() <= math.pi + 1e-4
    knees = straps.angles[:, [JOINTS.index("left_knee"), JOINTS.index("right_knee")]]
    assert knees.amax() > 1.0


def test_cut_and_covered_people_show_less(assets: SynthAssets, straps: Coverage) -> None:
    cut = LiteSettings(
        corruption=LiteCorruption(truncated=1.0, clothed=0.0),
        view=ViewSettings(elevation_mean=0.5, elevation_std=0.0, roll_std=0.0),
        pose=PoseSettings(),
        shape=ShapeSettings(std=2.0, wide=0.0),
    )
    less = coverage(assets, StreamSettings(lite=cut))
    assert less.shown.mean() < straps.shown.mean() - 0.2
    assert less.outside.mean() > 0.15 and less.unreported.mean() > 0.2
    assert less.index.std() > 1 and less.height.std() > 0.02
    assert less.elevation.median() == pytest.approx(0.5, abs=0.15)


def test_distances_are_those_of_the_nearest_pose() -> None:
    turn = axis_rotation(0, torch.tensor([0.0, 0.1, 0.5]))
    rotations = torch.eye(3).repeat(3, 4, 1, 1)
    rotations[:, 2] = turn
    found = nearest_distances(rotations)
    torch.testing.assert_close(found, torch.tensor([0.1, 0.1, 0.4]) / 4, rtol=0, atol=1e-3)


def test_samples_are_the_stream_s(assets: SynthAssets) -> None:
    generator = BatchGenerator.of(StreamSettings(), ProxySettings(), assets, 32)
    whole = measure_coverage(generator, assets, 70)
    part = measure_coverage(generator, assets, 6, first=64)
    torch.testing.assert_close(whole.yaw[64:], part.yaw)
    assert len(whole.distances) == len(whole.index) == 70
    with pytest.raises(ValueError, match="wanted at least 2 samples, got 1"):
        measure_coverage(generator, assets, 1)


def test_the_card_is_a_picture_with_panels(straps: Coverage) -> None:
    card = draw_coverage(straps, "straps")
    assert card.shape == (3, 1200, 1680) and card.min() >= 0 and card.max() == 1
    ink = (card.amin(0) < 0.9).float()
    panels = ink.unflatten(0, (3, -1)).unflatten(2, (4, -1)).mean((1, 3))
    assert (panels > 0.01).all(), "no part of the card is empty"
    shifted = dataclasses.replace(straps, height=straps.height + torch.linspace(0, 1, COUNT))
    assert not torch.equal(draw_coverage(to_device(shifted, "cpu"), "straps"), card)
