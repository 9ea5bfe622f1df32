"""The LASOR-style recipe: what is visible is part of the whole, and boxes hold what is left."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import COCO17
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.lasor import LasorRecipe, LasorSettings
from plausibody.synth.occluder_objects import ObjectSettings
from plausibody.synth.occluder_people import PeopleSettings
from plausibody.synth.occluders import BorderSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsSettings
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.views import VIEWPOINTS, seen_from

COUNT = 48
SIZE = 96
CLEAN = StrapsSettings(size=SIZE, part_removed=(0.0,) * 6, occluded=0.0, joint_noise=0.0)
"""STRAPS without anything that goes wrong."""
NOBODY, NOTHING = PeopleSettings(present=0.0), ObjectSettings(present=0.0)
OPEN = BorderSettings(truncated=0.0)


def recipe(assets: SynthAssets, **changes: object) -> LasorRecipe:
    view = LasorSettings().straps.view
    settings = LasorSettings(straps=dataclasses.replace(CLEAN, view=view))
    settings = dataclasses.replace(settings, **changes)
    proxy = ProxySettings(size=settings.straps.size, least_confidence=0.0)
    return LasorRecipe(settings, proxy, 3, assets)


def lasor(assets: SynthAssets, **changes: object) -> Batch:
    return recipe(assets, **changes)(torch.arange(COUNT))


def share(batch: Batch) -> Tensor:
    """How much of each whole silhouette is visible."""
    seen, whole = batch.channels["silhouette"].sum((1, 2)), batch.channels["amodal"].sum((1, 2))
    return seen / whole


def at(picture: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Values at places in half-squares, and whether those lie in the picture."""
    pixel = ((flat + 1) * SIZE / 2).floor().long()
    inside = ((pixel >= 0) & (pixel < SIZE)).all(-1)
    pixel = pixel.clamp(0, SIZE - 1)
    return picture[torch.arange(len(flat))[:, None], pixel[..., 1], pixel[..., 0]], inside


@pytest.fixture(scope="module")
def batch(assets: SynthAssets) -> Batch:
    return lasor(assets)


def test_the_visible_is_a_part_of_the_whole(batch: Batch) -> None:
    seen, whole = batch.channels["silhouette"], batch.channels["amodal"]
    assert set(seen.unique().tolist()) == set(whole.unique().tolist()) == {0.0, 1.0}
    assert (seen <= whole).all() and torch.equal(batch.proxy.silhouette, seen)
    hidden = share(batch) < 0.99
    assert 0.35 < hidden.double().mean() < 0.85
    assert share(batch).min() > 0.02


def test_without_occluders_it_is_straps(assets: SynthAssets) -> None:
    calm = recipe(assets, people=NOBODY, objects=NOTHING, border=OPEN)
    batch, straps = calm(torch.arange(COUNT)), calm.straps(torch.arange(COUNT))
    assert torch.equal(batch.channels["silhouette"], batch.channels["amodal"])
    # The box holds the joints too, some of which lie a few millimetres outside the surface.
    torch.testing.assert_close(batch.target.keypoints, straps.target.keypoints, rtol=0, atol=0.02)
    assert torch.equal(batch.target.parameters.shape, straps.target.parameters.shape)
    changed = (batch.proxy.silhouette - straps.proxy.silhouette).abs().mean((1, 2))
    assert changed.max() < 0.02


@pytest.mark.parametrize("what", ["people", "objects", "border"])
def test_each_kind_of_occlusion_hides_people(assets: SynthAssets, what: str) -> None:
    never = {"people": NOBODY, "objects": NOTHING, "border": OPEN}
    always = {
        "people": PeopleSettings(present=1.0),
        "objects": ObjectSettings(present=1.0),
        "border": BorderSettings(truncated=1.0),
    }
    batch = lasor(assets, **(never | {what: always[what]}))
    assert (share(batch) < 0.99).double().mean() > 0.7
    assert 0.4 < share(batch).mean() < 0.9


def test_people_behind_hide_nothing(assets: SynthAssets) -> None:
    behind = PeopleSettings(present=1.0, in_front=0.0, apart=(1.5, 2.0))
    batch = lasor(assets, people=behind, objects=NOTHING, border=OPEN)
    assert (share(batch) > 0.97).all()


def test_boxes_hold_what_is_left_and_little_else(assets: SynthAssets) -> None:
    exact = dataclasses.replace(
        CLEAN, box_scale=1.2, box_scale_range=0.0, box_shift=0.0, vertex_noise=0.0
    )
    batch = lasor(assets, dropped=1.0, straps=exact)
    seen = batch.channels["silhouette"] > 0
    place = torch.arange(SIZE)
    spans = []
    for axis in (1, 2):
        occupied = seen.any(axis)
        last = torch.where(occupied, place, -1).amax(1)
        spans.append(last - torch.where(occupied, place, SIZE).amin(1) + 1)
    longer = torch.maximum(*spans)
    # A finger that peeks out by less than a pixel counts for the box, not for the picture.
    assert longer.max() <= SIZE / 1.2 + 2
    assert ((longer - SIZE / 1.2).abs() < 3).double().mean() > 0.8


def test_hidden_joints_are_dropped_or_doubted(assets: SynthAssets) -> None:
    kept, lost = lasor(assets, dropped=0.0), lasor(assets, dropped=1.0)
    for batch in (kept, lost):
        seen, flat = batch.channels["joint_visibility"], batch.target.keypoints
        shown, inside = at(batch.channels["silhouette"], flat)
        # What is in sight shows the body at its pixel, but for noses and ears at the outline.
        assert (shown[seen & inside] > 0).double().mean() > 0.95
        reported = batch.proxy.keypoints[..., 2] > 0
        assert reported[seen & inside].all()
    assert not (lost.proxy.keypoints[..., 2] > 0)[~lost.channels["joint_visibility"]].any()
    visible = kept.channels["joint_visibility"].double().mean(0)
    assert 0.3 < visible.min() and visible.max() < 0.95
    knee, hip = COCO17.index("left_knee"), COCO17.index("left_hip")
    assert abs(visible[knee] - visible[hip]) < 0.35


def test_noise_of_hidden_joints_is_doubled(assets: SynthAssets) -> None:
    noisy = dataclasses.replace(CLEAN, joint_noise=4.0)
    batch = lasor(assets, dropped=0.0, straps=noisy)
    error = (batch.proxy.keypoints[..., :2] - batch.target.keypoints).abs() * SIZE / 2
    seen, reported = batch.channels["joint_visibility"], batch.proxy.keypoints[..., 2] > 0
    assert error[seen & reported].max() <= 4.001
    assert 7 < error[~seen & reported].max() <= 8.001


def test_joints_beyond_the_border_are_never_reported(assets: SynthAssets) -> None:
    cut = BorderSettings(truncated=1.0, bottom=1.0, most=0.5)
    batch = lasor(assets, people=NOBODY, objects=NOTHING, border=cut, dropped=0.0)
    whole = lasor(assets, people=NOBODY, objects=NOTHING, border=OPEN, dropped=0.0)
    assert batch.proxy.keypoints[..., 2].sum() < 0.9 * whole.proxy.keypoints[..., 2].sum()
    bottom = (batch.channels["silhouette"].any(2) * torch.arange(SIZE)).amax(1)
    low = (batch.proxy.keypoints[..., 1] + 1) * SIZE / 2 > bottom[:, None] + 1.5
    low = low & (batch.proxy.keypoints[..., 1] <= 1)
    assert not (low & (batch.proxy.keypoints[..., 2] > 0)).any()
    beyond = (batch.target.keypoints[..., 1] + 1) * SIZE / 2 > bottom[:, None] + 1.5
    assert beyond.any(), "the target keeps them"


def test_wide_views_cut_people_where_the_picture_ends(assets: SynthAssets) -> None:
    wide = seen_from(recipe(assets, people=NOBODY, objects=NOTHING).settings, "wide")
    assert wide.border.truncated == 0.2 and wide.straps.camera == VIEWPOINTS["wide"].camera
    calm = dataclasses.replace(wide, border=OPEN)
    make = LasorRecipe(calm, ProxySettings(size=SIZE, least_confidence=0.0), 3, assets)
    batch, scene = make(torch.arange(COUNT)), make.draw_scene(Chance(3, torch.arange(COUNT)))
    cut = share(batch) < 0.98
    assert 0.1 < cut.double().mean() < 0.8 and share(batch).min() > 0.02
    ends = scene.borders[cut]
    assert ((ends == 0) | (ends == 256)).any(1).all()
    assert scene.figure.surface[..., 2].min() > 0.25, "nobody reaches behind the camera"
    assert (batch.channels["amodal"].sum((1, 2)) > 100).all()


def test_nobody_is_hidden_entirely(assets: SynthAssets) -> None:
    wall = ObjectSettings(present=1.0, most=3, extent=(2.0, 3.0), kinds={
        name: float(name == "box") for name in ObjectSettings().kinds
    })  # fmt: skip
    batch = lasor(assets, objects=wall, people=NOBODY, border=OPEN)
    assert share(batch).min() > 0.05
    scene = recipe(assets, objects=wall).draw_scene(Chance(3, torch.arange(COUNT)))
    assert not scene.objects.there.all(), "things that would hide everything are taken away"
    assert not scene.covered[~scene.objects.there.any(1) & ~scene.people.there.any(1)].any()


def test_beyond_the_box_maps_know_what_is_hidden(assets: SynthAssets) -> None:
    """The box is round what is left: nothing outside it may count as seen, however far maps go."""
    targets = MapSettings(size=48, reach=1.5)
    large = ObjectSettings(present=1.0, extent=(0.3, 0.8))
    made = recipe(assets, border=OPEN, objects=large, dropped=1.0)
    made = LasorRecipe(made.settings, made.straps.proxy, 3, assets, targets=targets)
    maps = made(torch.arange(COUNT)).target.maps
    assert maps is not None
    inner = torch.zeros(48, 48, dtype=torch.bool)
    inner[8:40, 8:40] = True
    beyond, seen = (each[:, ~inner].sum() for each in (maps.whole, maps.visible))
    assert beyond > 300 and seen < 0.02 * beyond


def test_samples_do_not_depend_on_the_batch(assets: SynthAssets) -> None:
    """Scenes are equal bit for bit; bodies as far as matrix products of other lengths are."""
    make = recipe(assets)
    whole = make.draw_scene(Chance(3, torch.arange(COUNT)))
    part = make.draw_scene(Chance(3, torch.arange(10, 17)))
    for name in ("there", "in_front", "aside", "apart"):
        assert torch.equal(getattr(whole.people, name)[10:17], getattr(part.people, name))
    assert torch.equal(whole.objects.there[10:17], part.objects.there)
    torch.testing.assert_close(whole.objects.vertices[10:17], part.objects.vertices)
    torch.testing.assert_close(whole.box.side[10:17], part.box.side, rtol=1e-3, atol=0.0)
    first, again = make(torch.arange(8)), make(torch.arange(8))
    assert torch.equal(first.channels["silhouette"], again.channels["silhouette"])
    assert torch.equal(first.proxy.keypoints, again.proxy.keypoints)


def test_streams_are_the_same_in_batches_of_any_size(assets: SynthAssets) -> None:
    stream = StreamSettings(recipe="lasor", lasor=recipe(assets).settings, seed=4)
    proxy = ProxySettings(size=SIZE, least_confidence=0.0)
    large = BatchGenerator.of(stream, proxy, assets, 80)[0]
    small = BatchGenerator.of(stream, proxy, assets, 10)
    for step in (0, 6, 7):
        batch, rows = small[step], slice(10 * step, 10 * step + 10)
        for name, values in batch.channels.items():
            assert torch.equal(values, large.channels[name][rows])
        assert torch.equal(batch.proxy.silhouette, large.proxy.silhouette[rows])
        assert torch.equal(batch.proxy.keypoints, large.proxy.keypoints[rows])
        assert torch.equal(batch.target.keypoints, large.target.keypoints[rows])


def test_sizes_must_agree(assets: SynthAssets) -> None:
    with pytest.raises(ValueError, match="set .* to the same number"):
        LasorRecipe(LasorSettings(), ProxySettings(size=96), 0, assets)
