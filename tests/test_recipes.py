"""The recipes: inputs show the people of their targets, and published numbers are kept."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from plausibody.models.body import pose_body, regress
from plausibody.models.camera import fit_weak_perspective
from plausibody.models.proxy import ProxySettings
from plausibody.models.skeleton import COCO17, SMPL24
from plausibody.synth import corrupt
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import PART6_OF_24
from plausibody.synth.corrupt import (
    PAIRS,
    MaskFaults,
    draw_noise,
    ragged_edge,
    rectangles,
    remove_labels,
    spoil_mask,
    swap_pairs,
    swap_sides,
)
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.joint_sight import HIDDEN_BY, PARTS24
from plausibody.synth.lite import LiteRecipe, LiteSettings, clothe, frame_round
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.scene import ViewSettings, draw_camera
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsRecipe, StrapsSettings

COUNT = 64
NEVER = LiteCorruption(
    clothed=0.0,
    truncated=0.0,
    box=(0.0, 0.0),
    attached=0.0,
    lost_parts=0.0,
    ragged=0.0,
    no_mask=0.0,
    joint_error=(1e-9, 1e-9),
    joint_bias=0.0,
    outliers=0.0,
    hidden_lost=1.0,
    lost=0.0,
    swaps={},
    sides=0.0,
)
"""Nothing goes wrong, and what is out of sight is not reported."""
FAR = ViewSettings(nearest=60.0, farthest=80.0, off_axis=0.0)


def lite(
    assets: SynthAssets, view: ViewSettings | None = None, count: int = COUNT, **wrong: object
) -> Batch:
    settings = LiteSettings(
        view=view or ViewSettings(), corruption=dataclasses.replace(NEVER, **wrong)
    )
    recipe = LiteRecipe(settings, ProxySettings(), 5, assets.coarse, assets.bank, assets.limits)
    return recipe(torch.arange(count))


def straps(assets: SynthAssets, count: int = COUNT, **changes: object) -> Batch:
    calm = StrapsSettings(
        size=96, part_removed=(0.0,) * 6, occluded=0.0, joint_noise=0.0, occluder=18
    )
    settings = dataclasses.replace(calm, **changes)
    proxy = ProxySettings(size=settings.size, least_confidence=0.0)
    return StrapsRecipe(settings, proxy, 5, assets)(torch.arange(count))


def shown(batch: Batch, flat: Tensor) -> Tensor:
    """Silhouette at places in half-squares; 0 outside."""
    size = batch.proxy.silhouette.shape[-1]
    pixel = ((flat + 1) * size / 2).floor().long()
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    pixel = pixel.clamp(0, size - 1)
    people = torch.arange(len(flat))[:, None]
    return batch.proxy.silhouette[people, pixel[..., 1], pixel[..., 0]] * inside


def coco(assets: SynthAssets, batch: Batch) -> Tensor:
    body = batch.target.parameters
    vertices = pose_body(assets.coarse.skin, body.shape, body.rotations).vertices
    return regress(assets.coarse.coco17, vertices)


def reprojection(assets: SynthAssets, batch: Batch) -> Tensor:
    """Distance of the target's body, under the best camera, from the target's key points."""
    points = coco(assets, batch)
    flat = batch.target.keypoints
    camera = fit_weak_perspective(points, flat, torch.ones(len(points), 17))
    return (camera.project(points) - flat).norm(dim=-1)


def left_of_facing(batch: Batch) -> tuple[Tensor, Tensor]:
    """How far a person's left shoulder is to the right in the picture; how much they face us."""
    flat = batch.target.keypoints
    left, right = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
    spine = batch.target.parameters.rotations[:, 0]
    for joint in ("spine1", "spine2", "spine3"):
        spine = spine @ batch.target.parameters.rotations[:, SMPL24.index(joint)]
    # Who stands on their hands has left and right the other way round.
    facing = torch.where(spine[:, 1, 1] > 0.5, spine[:, 2, 2], 0.0)
    return flat[:, left, 0] - flat[:, right, 0], facing


@pytest.mark.parametrize("recipe", ["lite", "straps"])
def test_the_target_body_lands_on_its_key_points(assets: SynthAssets, recipe: str) -> None:
    # A pinhole at 60 m shows what a weak-perspective camera shows; STRAPS's stands at 42 m.
    batch = lite(assets, FAR) if recipe == "lite" else straps(assets)
    assert reprojection(assets, batch).max() < 0.02


def test_near_people_are_seen_in_perspective_but_no_more_than_that(assets: SynthAssets) -> None:
    error = reprojection(assets, lite(assets))
    assert error.median() < 0.03 and error.max() < 0.4


def test_nobody_reaches_behind_the_camera(assets: SynthAssets) -> None:
    """Who would is moved back: no part of a person is missing, or projected upside down."""
    batch = lite(assets, ViewSettings(nearest=0.1, farthest=0.4, off_axis=0.0))
    flat = batch.target.keypoints
    assert (flat.abs() < 1.3).all()
    inner = [COCO17.index(name) for name in COCO17 if name.endswith(("hip", "shoulder"))]
    assert shown(batch, flat)[:, inner].mean() > 0.97


@pytest.mark.parametrize("recipe", ["lite", "straps"])
def test_the_left_of_who_faces_us_is_on_the_right(assets: SynthAssets, recipe: str) -> None:
    batch = lite(assets) if recipe == "lite" else straps(assets)
    across, facing = left_of_facing(batch)
    front, back = facing > 0.6, facing < -0.6
    assert front.sum() > 5 and back.sum() > 5
    assert (across[front] > 0).all() and (across[back] < 0).all()


def test_people_stand_on_their_feet(assets: SynthAssets) -> None:
    """Most of the bank's poses are upright: heads above hips above ankles, as pictures count."""
    flat = lite(assets).target.keypoints
    nose, hip, ankle = (flat[:, COCO17.index(n), 1] for n in ("nose", "left_hip", "left_ankle"))
    assert ((nose < hip) & (hip < ankle)).double().mean() > 0.8


def test_reported_key_points_are_true_and_lie_on_the_silhouette(assets: SynthAssets) -> None:
    batch = lite(assets)
    seen = batch.proxy.keypoints[..., 2] > 0
    assert 0.4 < seen.double().mean() < 0.95, "some are hidden, most are not"
    torch.testing.assert_close(
        batch.proxy.keypoints[..., :2][seen], batch.target.keypoints[seen], rtol=0, atol=1e-4
    )
    assert (shown(batch, batch.target.keypoints)[seen] > 0).double().mean() > 0.99


def test_the_box_is_round_what_is_seen(assets: SynthAssets) -> None:
    batch = lite(assets)
    mask = batch.proxy.silhouette > 0.5
    rows, columns = mask.any(2), mask.any(1)
    longest = torch.maximum(rows.sum(1), columns.sum(1)) / mask.shape[-1]
    assert longest.min() > 0.75 and longest.max() < 0.9, "1 / 1.2 of the side"
    assert batch.proxy.silhouette.min() >= 0 and batch.proxy.silhouette.max() < 1 + 1e-5


def test_clothes_only_add(assets: SynthAssets) -> None:
    naked, dressed = lite(assets, FAR), lite(assets, FAR, clothed=1.0)

    def area(batch: Batch) -> Tensor:
        """Of the mask, in pixels of the frame over the body's own size."""
        spread = batch.target.keypoints.std(1).norm(dim=-1)
        return batch.proxy.silhouette.sum((1, 2)) / spread.square()

    growth = area(dressed) / area(naked)
    assert growth.min() > 0.97 and 1.05 < growth.mean() < 1.8


def test_cloth_moves_the_surface_outwards_and_leaves_hands_bare(assets: SynthAssets) -> None:
    body, wrong = assets.coarse, LiteCorruption(clothed=1.0)
    vertices = body.skin.vertices[: body.drawn].expand(8, -1, -1)
    moved = clothe(Chance(0, torch.arange(8)), vertices, body, wrong) - vertices
    distance = moved.norm(dim=-1)
    assert distance.max() <= max(wrong.looseness, wrong.hair) + 1e-6
    weights = body.skin.skinning_weights[: body.drawn]
    hands = weights[:, [SMPL24.index("left_hand"), SMPL24.index("right_hand")]].sum(1) > 0.99
    assert hands.any() and distance[:, hands].max() < 1e-6
    assert distance[:, ~hands].mean() > 0.005
    # Away from the axis of the body, where that has a meaning: on the trunk.
    trunk = weights[:, SMPL24.index("spine2")] > 0.6
    outward = vertices[0, trunk] - vertices[0, trunk].mean(0)
    assert ((moved[:, trunk] * outward).sum(-1) > -1e-6).double().mean() > 0.9


def test_truncated_people_are_cut_at_the_picture(assets: SynthAssets) -> None:
    batch = lite(assets, truncated=1.0)
    outside = (batch.target.keypoints.abs() > 1).any(-1)
    assert outside.any(1).double().mean() > 0.8
    assert (batch.proxy.keypoints[..., 2][batch.target.keypoints.abs().amax(-1) > 1] == 0).all()
    assert (batch.proxy.silhouette.sum((1, 2)) > 0).all()


def test_borders_cut_only_who_is_truncated() -> None:
    flat = torch.rand(2000, 30, 2, generator=torch.Generator().manual_seed(0))
    borders, frame = frame_round(flat, Chance(0, torch.arange(2000)), 0.3)
    cut = borders.isfinite().any(1)
    assert abs(cut.double().mean() - 0.3) < 0.05
    assert (borders.isfinite().sum(1)[cut] == 1).all()
    low, high = flat.amin(1), flat.amax(1)
    whole = ~cut
    torch.testing.assert_close(frame[whole, :2], ((low + high) / 2)[whole])
    torch.testing.assert_close(frame[whole, 2], 1.3 * (high - low).amax(1)[whole])
    share = (cut & borders[:, 3].isfinite()).sum() / cut.sum()
    assert share.item() == pytest.approx(0.8, abs=0.07), "most are cut below"


def test_no_mask_leaves_key_points_alone(assets: SynthAssets) -> None:
    with_mask, without = lite(assets), lite(assets, no_mask=1.0)
    assert (without.proxy.silhouette == 0).all()
    seen = without.proxy.keypoints[..., 2]
    assert torch.equal(seen > 0, with_mask.proxy.keypoints[..., 2] > 0)


def test_things_in_the_way_hide_key_points_too(assets: SynthAssets) -> None:
    free, hidden = lite(assets), lite(assets, box=(1.0, 1.0))
    seen, left = free.proxy.keypoints[..., 2] > 0, hidden.proxy.keypoints[..., 2] > 0
    assert (left <= seen).all() and left.sum() < 0.97 * seen.sum()
    lost = seen & ~left
    places = hidden.target.keypoints
    assert (shown(hidden, places)[lost] < 1).double().mean() > 0.95


def test_every_part_of_the_chart_has_one_side_and_one_kind() -> None:
    for side, other in (("left", "right"), ("right", "left")):
        numbers = [n for part, sides in PARTS24.items() if part != "torso" for n in sides[side]]
        assert len(numbers) == 11 and len(set(numbers)) == 11
        others = {n for part, sides in PARTS24.items() if part != "torso" for n in sides[other]}
        assert not set(numbers) & others
    assert {part for parts in HIDDEN_BY.values() for part in parts} <= set(PARTS24)
    arms, legs = ("hand", "upper_arm", "lower_arm"), ("foot", "upper_leg", "lower_leg")
    for part, sides in PARTS24.items():
        for side, numbers in sides.items():
            expected = 6 if part == "torso" else 3
            expected = 1 + (side == "right") if part in arms else expected
            expected = 4 + (side == "right") if part in legs else expected
            assert {PART6_OF_24[number] for number in numbers} == {expected}


# The corruptions, one by one.


def chance(count: int = 4000) -> Chance:
    return Chance(0, torch.arange(count))


def test_pairs_swap_as_often_as_set_and_only_they() -> None:
    points = torch.arange(17.0)[None, :, None].expand(4000, 17, 2)
    swapped = swap_pairs(chance(), points, {"knee": 0.25})[..., 0]
    left, right = COCO17.index("left_knee"), COCO17.index("right_knee")
    changed = swapped[:, left] == right
    assert abs(changed.double().mean() - 0.25) < 0.04
    assert (swapped[changed, right] == left).all()
    others = [joint for joint in range(17) if joint not in (left, right)]
    assert torch.equal(swapped[:, others], points[:, others, 0])
    assert {(COCO17[i], COCO17[j].replace("right", "left")) for i, j in PAIRS} == {
        (name, name) for name in COCO17 if name.startswith("left")
    }


def test_sides_swap_whole() -> None:
    points = torch.arange(17.0)[None, :, None].expand(4000, 17, 1)
    swapped = swap_sides(chance(), points, 0.1)
    changed = (swapped != points).any(1)[:, 0]
    assert abs(changed.double().mean() - 0.1) < 0.03
    assert torch.equal(swap_sides(chance(), swapped, 0.1), points)
    assert (swapped[:, 0] == 0).all(), "the nose has no side"


def test_rectangles_cover_pixel_centres_inside() -> None:
    marked = rectangles(
        torch.tensor([[3.0, 2.0]] * 2), torch.tensor([[2.0, 1.0], [-1, -1]]), (5, 7)
    )
    assert marked[0].nonzero().tolist() == [[i, j] for i in (1, 2) for j in (1, 2, 3, 4)]
    assert not marked[1].any()


def test_removed_labels_leave_the_mask() -> None:
    labels = torch.tensor([[0, 1, 2], [3, 24, 24]], dtype=torch.uint8).expand(2, 2, 3)
    removed = torch.zeros(2, 25, dtype=torch.bool)
    removed[1, [0, 2, 24]] = True
    mask = remove_labels(labels, removed)
    assert mask[0].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert mask[1].tolist() == [[0, 1, 0], [1, 0, 0]], "the background stays background"


def test_ragged_edges_stay_near_the_outline() -> None:
    mask = torch.zeros(50, 32, 32)
    mask[:, 8:24, 8:24] = 1
    ragged = ragged_edge(mask, draw_noise(chance(50), 0.2, 1.0))
    assert (ragged[:, 10:22, 10:22] == 1).all() and (ragged[:, :6] == 0).all()
    assert ((ragged - mask).abs().sum((1, 2)) > 0).double().mean() > 0.9
    calm = ragged_edge(mask, draw_noise(chance(50), 0.2, 0.0))
    assert (calm - mask).abs().sum() <= 50 * 4, "at most the corners"


@pytest.mark.parametrize("size", [21, 112])
def test_the_loop_spoils_masks_as_the_steps_do(size: int) -> None:
    drawn = chance(300)
    coarse = drawn.integer("labels", 25, 7, 7) * drawn.chance("body", 0.6, 7, 7)
    labels = coarse.repeat_interleave(size // 7, 1).repeat_interleave(size // 7, 2).byte()
    centre, half = (
        size * drawn.uniform("centre", 5, 2),
        size * drawn.normal("half", 5, 2, std=0.2),
    )
    half[:, 0] += size / 2
    faults = MaskFaults(
        removed=drawn.chance("removed", 0.1, 25),
        noise=draw_noise(drawn, 0.3, 0.8),
        rectangles=torch.cat([centre, half], -1),
    )
    spoilt = spoil_mask(labels, faults)
    assert torch.equal(spoilt, corrupt._spoil(labels, faults))
    assert 0.1 < spoilt.mean() < 0.9


# STRAPS as published.


def test_straps_draws_shapes_and_cameras_as_published(assets: SynthAssets) -> None:
    recipe = StrapsRecipe(StrapsSettings(), ProxySettings(size=256), 0, assets)
    camera = draw_camera(chance(4000), StrapsSettings().camera)
    x, y, z = camera.translation.double().unbind(-1)
    assert (camera.focal == 5000).all() and (camera.principal == 128).all()
    assert abs(x.mean()) < 0.005 and abs(y.mean() - 0.2) < 0.005
    assert x.std().item() == pytest.approx(0.05, rel=0.06)
    assert y.std().item() == pytest.approx(0.05, rel=0.06)
    assert z.min() >= 37 and z.max() <= 47 and z.mean().item() == pytest.approx(42, abs=0.25)
    assert z.std().item() == pytest.approx(10 / math.sqrt(12), rel=0.06)
    shape = recipe.draw_figure(chance(500)).parameters.shape
    assert shape.shape == (500, 10) and abs(shape.mean()) < 0.1
    assert shape.std().item() == pytest.approx(1.5, rel=0.05)


def test_straps_boxes_are_as_published(assets: SynthAssets) -> None:
    recipe = StrapsRecipe(StrapsSettings(), ProxySettings(size=256), 0, assets)
    surface = torch.tensor([[100.0, 50.0], [140.0, 250.0]]).expand(4000, 2, 2)
    box = recipe.draw_box(chance(), surface.amin(1), surface.amax(1))
    centre, scale = box.centre, box.side / 200
    assert scale.min() >= 1 and scale.max() <= 1.4 + 1e-5
    assert scale.mean().item() == pytest.approx(1.2, abs=0.01)
    shift = centre - torch.tensor([120.0, 150.0])
    assert shift.abs().max() <= 5 and shift.std().item() == pytest.approx(10 / 12**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("part", "joint", "other"),
    [
        (0, "left_elbow", "right_elbow"),
        (1, "right_elbow", "left_elbow"),
        (2, "nose", "left_knee"),
        (3, "left_knee", "right_knee"),
        (4, "right_knee", "left_knee"),
        (5, "left_hip", "nose"),
    ],
)
def test_straps_removes_the_parts_that_its_numbers_name(
    assets: SynthAssets, part: int, joint: str, other: str
) -> None:
    odds = tuple(1.0 if number == part else 0.0 for number in range(6))
    whole, without = straps(assets, 24), straps(assets, 24, part_removed=odds)
    flat = whole.target.keypoints
    before, after = shown(whole, flat), shown(without, flat)
    gone = (before > 0.5) & (after < 0.5)
    # A joint may lie behind another part, which stays.
    assert gone[:, COCO17.index(joint)].double().mean() > 0.5
    assert gone[:, COCO17.index(other)].double().mean() < 0.25
    assert (without.proxy.silhouette <= whole.proxy.silhouette).all()


def test_straps_occludes_half_of_the_people_with_a_square(assets: SynthAssets) -> None:
    whole, covered = straps(assets), straps(assets, occluded=0.5)
    missing = whole.proxy.silhouette - covered.proxy.silhouette
    hit = missing.flatten(1).any(1)
    assert 0.25 < hit.double().mean() < 0.75
    places = missing[hit].nonzero()
    assert places[:, 1:].min() >= math.floor(96 * 0.35 - 9)
    assert places[:, 1:].max() <= math.ceil(96 * 0.65 + 9)
    for person in missing[hit]:
        rows, columns = person.nonzero().unbind(1)
        assert rows.max() - rows.min() < 18 and columns.max() - columns.min() < 18


def test_straps_moves_key_points_by_up_to_eight_pixels(assets: SynthAssets) -> None:
    batch = straps(assets, joint_noise=8.0)
    drawn = batch.proxy.keypoints[..., 2] > 0
    noise = (batch.proxy.keypoints[..., :2] - batch.target.keypoints)[drawn] * 48
    assert noise.abs().max() < 8 + 1e-3
    assert noise.std().item() == pytest.approx(16 / math.sqrt(12), rel=0.05)
    calm = straps(assets)
    torch.testing.assert_close(
        calm.proxy.keypoints[..., :2][drawn], calm.target.keypoints[drawn], rtol=0, atol=1e-5
    )
    assert set(calm.proxy.keypoints[..., 2].unique().tolist()) <= {0.0, 1.0}


def test_straps_shows_whole_bodies_in_square_boxes(assets: SynthAssets) -> None:
    batch = straps(assets)
    torch.testing.assert_close(batch.proxy.box.side, torch.full((COUNT,), 96.0))
    area = batch.proxy.silhouette.mean((1, 2))
    assert 0.05 < area.min() and area.max() < 0.6
    assert set(batch.proxy.silhouette.unique().tolist()) == {0.0, 1.0}
    assert (shown(batch, batch.target.keypoints) > 0.5).double().mean() > 0.95


def test_straps_sizes_must_agree(assets: SynthAssets) -> None:
    with pytest.raises(ValueError, match="renders 256 px, the proxy wants 96"):
        StrapsRecipe(StrapsSettings(), ProxySettings(), 0, assets)


def test_errors_of_both_kinds_come_by_turns(assets: SynthAssets) -> None:
    def samples(errors: str) -> Batch:
        stream = StreamSettings(lite=LiteSettings(frame=48, errors=errors))
        return BatchGenerator.of(stream, ProxySettings(size=32), assets, 8)[0]

    both, published, measured = (samples(kind) for kind in ("both", "published", "measured"))
    for number in range(8):
        same, other = (measured, published) if number % 2 else (published, measured)
        assert torch.equal(both.proxy.keypoints[number], same.proxy.keypoints[number])
        assert torch.equal(both.proxy.silhouette[number], same.proxy.silhouette[number])
        assert not torch.equal(both.proxy.keypoints[number], other.proxy.keypoints[number])
    torch.testing.assert_close(both.target.parameters.shape, published.target.parameters.shape)
