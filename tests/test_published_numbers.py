"""Frequencies and ranges of the recipes' tables, each over 10,000 samples and without pictures."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from frequencies import COUNT, chance, close
from torch import Tensor

from plausibody.models.proxy import ProxySettings
from plausibody.models.rotations import axis_rotation
from plausibody.synth.chance import Chance
from plausibody.synth.lasor import LasorRecipe, LasorSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.occluder_objects import KINDS, LOOSE, draw_objects
from plausibody.synth.occluder_people import draw_people
from plausibody.synth.occluders import draw_borders
from plausibody.synth.scene import draw_camera, draw_tilt, draw_view, stand_back
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsRecipe, StrapsSettings
from plausibody.synth.views import VIEWPOINTS, seen_from

LOW, HIGH = torch.zeros(COUNT, 2), torch.tensor([80.0, 200.0]).expand(COUNT, 2)


def uniform(values: Tensor, low: float, high: float) -> None:
    """Demands a uniform distribution over a range, by its ends and its tenths."""
    slack = 1e-5 * max(abs(low), abs(high), 1)
    assert values.min() >= low - slack and values.max() <= high + slack
    tenths = torch.histc((values.double() - low) / (high - low), 10, 0, 1) / values.numel()
    assert (tenths - 0.1).abs().max() < 5 * math.sqrt(0.09 / values.numel()) + 1e-4


def normal(values: Tensor, mean: float, std: float) -> None:
    count = values.numel()
    assert abs(values.double().mean() - mean) < 5 * std / math.sqrt(count) + 1e-6
    assert values.double().std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count) + 1e-4)


@pytest.fixture(scope="module")
def small(assets: SynthAssets) -> StrapsRecipe:
    """STRAPS in 16 px; a square of 48 px has 3 there."""
    settings = StrapsSettings(size=16, occluder=3)
    return StrapsRecipe(settings, ProxySettings(size=16, least_confidence=0.0), 0, assets)


# STRAPS.


def test_straps_removes_each_part_as_often_as_published(small: StrapsRecipe) -> None:
    never = dataclasses.replace(small.settings, occluded=0.0)
    recipe = StrapsRecipe(never, small.proxy, 0, small.assets)
    labels = torch.arange(7, dtype=torch.uint8)[:, None].expand(COUNT, 7, 16)
    labels = torch.cat([labels, torch.zeros(COUNT, 9, 16, dtype=torch.uint8)], 1)
    mask = recipe.corrupt_mask(chance(), labels)
    for part, probability in enumerate((0.1, 0.1, 0.1, 0.1, 0.05, 0.05), start=1):
        assert close(mask[:, part, 0] == 0, probability)
    assert not mask[:, 0].any() and not mask[:, 7:].any()


def test_straps_occludes_half_of_the_people_where_published(small: StrapsRecipe) -> None:
    whole = dataclasses.replace(small.settings, part_removed=(0.0,) * 6)
    recipe = StrapsRecipe(whole, small.proxy, 0, small.assets)
    hole = recipe.corrupt_mask(chance(), torch.ones(COUNT, 16, 16, dtype=torch.uint8)) == 0
    hit = hole.flatten(1).any(1)
    assert close(hit, 0.5)
    assert (hole[hit].sum((1, 2)) >= 4).all() and (hole[hit].sum((1, 2)) <= 9).all()
    # Centres uniform in 89.6 .. 166.4 of 256 px.
    rows = torch.arange(16) + 0.5
    centre = (hole[hit].any(2) * rows).sum(1) / hole[hit].any(2).sum(1)
    assert centre.min() >= 16 * 0.35 - 0.5 and centre.max() <= 16 * 0.65 + 0.5
    assert centre.mean().item() == pytest.approx(8, abs=0.1)
    settings = StrapsSettings()
    assert (settings.occluder, settings.occluder_range) == (48, (89.6 / 256, 166.4 / 256))


def test_straps_key_points_boxes_and_cameras(small: StrapsRecipe) -> None:
    noise = small.corrupt_keypoints(chance(), torch.full((COUNT, 17, 2), 8.0))[..., :2] - 8
    uniform(noise[:, 3, 0], -8, 8)
    uniform(noise[:, 11:13], -8, 8)
    box = small.draw_box(chance(), LOW, HIGH)
    uniform(box.side / 200, 1.0, 1.4)
    uniform(box.centre - torch.tensor([40.0, 100.0]), -5, 5)
    camera = draw_camera(chance(), StrapsSettings().camera)
    assert (camera.focal == 5000).all() and (camera.principal == 128).all()
    normal(camera.translation[:, 0], 0.0, 0.05)
    normal(camera.translation[:, 1], 0.2, 0.05)
    uniform(camera.translation[:, 2], 37, 47)
    normal(chance().normal("shape", 10, std=StrapsSettings().shape_std), 0.0, 1.5)


def test_straps_shapes_may_be_uniform(small: StrapsRecipe) -> None:
    wide = dataclasses.replace(small.settings, shape_uniform=3.0)
    recipe = StrapsRecipe(wide, small.proxy, 0, small.assets)
    uniform(recipe.draw_figure(Chance(0, torch.arange(200))).parameters.shape, -3, 3)
    normal(small.draw_figure(Chance(0, torch.arange(200))).parameters.shape, 0, 1.5)
    with pytest.raises(ValueError, match=r"straps\.shape_uniform: wanted half a range, 0 or more"):
        StrapsSettings(shape_uniform=-1.0)


# LASOR-style.


def test_lasor_puts_people_where_its_table_says(assets: SynthAssets) -> None:
    settings = LasorSettings().people
    skin = assets.template.subset(torch.arange(0, 6890, 700))
    turn = torch.eye(3).expand(COUNT, 3, 3)
    person = torch.tensor([[-0.3, -1.1, 0.0], [0.3, 0.5, 0.0]]).expand(COUNT, 2, 3)
    people = draw_people(chance(), assets.bank, skin, turn, person, settings)
    assert close(people.there[:, 0], 0.3)
    assert close(people.there[people.there[:, 0], 1], 0.5)
    assert not people.there[~people.there[:, 0]].any()
    uniform(people.aside.abs(), 0.3, 0.8)
    assert close(people.aside < 0, 0.5)
    uniform(people.apart, 0.3, 1.0)
    assert people.in_front.all() and len(people.parameters.shape[0]) == 2
    normal(people.parameters.shape, 0.0, 1.5)
    # The root at the origin of the template stands 0.6 m times the share aside.
    pelvis = people.vertices.mean(2)
    assert (pelvis[..., 0] - 0.6 * people.aside).abs().max() < 0.6
    behind = dataclasses.replace(settings, in_front=0.25)
    some = draw_people(chance(), assets.bank, skin, turn, person, behind)
    assert close(some.in_front, 0.25)
    assert torch.equal(some.in_front, some.apart > 0)


def test_lasor_puts_things_where_its_table_says() -> None:
    settings = LasorSettings().objects
    things = draw_objects(chance(), LOW, HIGH, settings)
    there = things.there[:, 0]
    assert close(there, 0.3)
    for number in range(1, 4):
        assert close(things.there[there].sum(1) == number, 1 / 3)
    for place, kind in enumerate(KINDS):
        assert close(things.kind == place, settings.kinds[kind])
    uniform(things.extent[things.kind < len(LOOSE)] / 200, 0.1, 0.5)


def test_lasor_cuts_where_its_table_says() -> None:
    borders = draw_borders(chance(), LOW, HIGH, LasorSettings().border)
    left, right = borders[:, 0].isfinite(), borders[:, 2].isfinite()
    bottom = borders[:, 3].isfinite()
    assert close(left | right | bottom, 0.2)
    assert close(bottom, 0.1)
    assert close(left, 0.05)
    assert close(right, 0.05)
    assert not (bottom & (left | right)).any() and (borders[:, 1] == -math.inf).all()
    uniform(1 - borders[bottom, 3] / 200, 0, 0.5)
    uniform(torch.cat([borders[left, 0] / 80, 1 - borders[right, 2] / 80]), 0, 0.5)


def test_lasor_drops_half_of_the_hidden_joints_and_doubts_the_others(assets: SynthAssets) -> None:
    settings = LasorSettings()
    recipe = LasorRecipe(settings, ProxySettings(size=256, least_confidence=0.0), 0, assets)
    assert close(recipe.draw_kept(chance()), 0.5)
    truth = torch.full((COUNT, 17, 2), 128.0)
    doubt = torch.full((COUNT, 17, 1), settings.doubt)
    uniform(recipe.straps.corrupt_keypoints(chance(), truth, doubt)[..., :2] - truth, -16, 16)


def test_lasor_looks_from_everywhere() -> None:
    view = LasorSettings().straps.view
    tilt = draw_tilt(chance(), dataclasses.replace(view, roll_std=0.0))
    uniform(torch.asin(tilt[:, 2, 1]), -math.radians(30), math.radians(30))
    turn = draw_view(chance(), dataclasses.replace(view, roll_std=0.0, elevation_uniform=1e-6))
    uniform(torch.atan2(turn[:, 0, 2], turn[:, 2, 2]), -math.pi, math.pi)


# Views by name.


def test_cameras_of_the_viewpoints() -> None:
    hierprob = draw_camera(chance(), VIEWPOINTS["hierprob"].camera)
    assert (hierprob.focal == 300).all()
    normal(hierprob.translation[:, 1], -0.2, 0.05)
    uniform(hierprob.translation[:, 2], 2.0, 3.0)
    wide = VIEWPOINTS["wide"].camera
    camera = draw_camera(chance(), wide)
    depth = camera.translation[:, 2]
    uniform(torch.log(depth), math.log(0.8), math.log(12))
    fill = camera.focal * 1.7 / depth / wide.size
    assert camera.focal.min() >= 128 and camera.focal.max() <= 2000
    free = (camera.focal > 128) & (camera.focal < 2000)
    assert free.double().mean() > 0.8
    assert fill[free].min() >= 0.499 and fill[free].max() <= 1.601
    # In pictures, the middle of the body is off the centre by a tenth of the width.
    across = camera.translation[:, 0] * camera.focal / depth / wide.size
    assert across.std().item() == pytest.approx(0.125, abs=0.03)


def test_wide_views_are_wider_than_the_others() -> None:
    spread = {}
    for name, viewpoint in VIEWPOINTS.items():
        tilt = draw_tilt(chance(), viewpoint.view)
        spread[name] = torch.asin(tilt[:, 2, 1].clamp(-1, 1)).abs().max().item()
    assert math.degrees(spread["wide"]) == pytest.approx(60, abs=1)
    assert max(spread[name] for name in ("straps", "hierprob", "lasor")) < math.radians(31)


def test_elevations_are_uniform_where_that_is_asked_for() -> None:
    view = dataclasses.replace(
        VIEWPOINTS["straps"].view, elevation_uniform=0.3, elevation_mean=0.1, roll_std=0.0
    )
    tilt = draw_tilt(chance(), view)
    uniform(torch.asin(tilt[:, 2, 1]), -0.2, 0.4)
    torch.testing.assert_close(
        draw_view(chance(), view)[:, :, 1], (tilt @ axis_rotation(1, torch.tensor(0.7)))[:, :, 1]
    )


def test_any_recipe_can_be_seen_from_any_viewpoint() -> None:
    wide = VIEWPOINTS["wide"]
    assert seen_from(StrapsSettings(), "wide") == StrapsSettings(view=wide.view, camera=wide.camera)
    lasor = seen_from(LasorSettings(), "wide")
    assert lasor.straps.view == wide.view and lasor.people == LasorSettings().people
    assert seen_from(LiteSettings(), "wide").view == wide.view
    assert seen_from(seen_from(LasorSettings(), "wide"), "lasor") == LasorSettings()
    with pytest.raises(ValueError, match="wanted one of straps, hierprob, lasor, wide, got 'far'"):
        seen_from(StrapsSettings(), "far")
    with pytest.raises(ValueError, match="CameraSettings, which has no view"):
        seen_from(wide.camera, "straps")


def test_who_reaches_behind_the_camera_stands_back() -> None:
    camera = draw_camera(chance(), dataclasses.replace(VIEWPOINTS["wide"].camera, depth=(0.8, 2.0)))
    # An arm of 1 m towards the camera, which looks along the world's -z.
    reach = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, -0.2]]).expand(COUNT, 2, 3)
    moved = stand_back(camera, reach)
    depth = moved.project(reach)[..., 2]
    assert depth.min() >= 0.3 - 1e-6
    far = camera.translation[:, 2] > 1.3
    assert far.any() and torch.equal(moved.translation[far], camera.translation[far])
    assert torch.equal(moved.translation[:, :2], camera.translation[:, :2])
