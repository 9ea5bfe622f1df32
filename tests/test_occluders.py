"""Occluders: shapes within their extents, people on one floor, layers that hide what they cover."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.models.camera import PerspectiveCamera
from plausibody.models.proxy import Box
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import COCO17
from plausibody.synth.chance import Chance
from plausibody.synth.occluder_objects import (
    FURNITURE,
    KINDS,
    LOOSE,
    Objects,
    ObjectSettings,
    draw_objects,
)
from plausibody.synth.occluder_people import MOST, PeopleSettings, draw_depth, draw_people
from plausibody.synth.occluders import (
    Occluders,
    beyond,
    covered,
    facing,
    in_front,
    lay_over,
    over,
    paint,
    visible,
    within,
)
from plausibody.synth.stores import SynthAssets

COUNT = 200
LOW, HIGH = torch.tensor([[60.0, 20.0]]), torch.tensor([[120.0, 220.0]])
"""Of a person who is 60 px wide and 200 px high."""
FRAME = Box(centre=torch.tensor([[100.0, 120.0]]), side=torch.tensor([400.0]))


def chance(count: int = COUNT, first: int = 0) -> Chance:
    return Chance(7, torch.arange(first, first + count))


def only(kind: str, count: int = COUNT, **changes: object) -> Objects:
    """Draws exactly one thing of a kind before everybody."""
    kinds = {name: float(name == kind) for name in KINDS}
    settings = ObjectSettings(present=1.0, most=1, kinds=kinds, **changes)
    return draw_objects(chance(count), LOW.expand(count, 2), HIGH.expand(count, 2), settings)


def drawn(things: Objects, size: int = 200) -> Tensor:
    count = len(things.there)
    return things.draw(Box(FRAME.centre.expand(count, 2), FRAME.side.expand(count)), size)


def area(things: Objects, size: int = 200) -> Tensor:
    """Pixels of the picture that are covered."""
    return (drawn(things, size) > 0).sum((1, 2)) * (400 / size) ** 2


@pytest.mark.parametrize("kind", LOOSE)
def test_loose_things_stay_within_their_extents(kind: str) -> None:
    things = only(kind)
    reach = (things.vertices - things.vertices.unflatten(1, (-1, 61))[:, :, 28]).norm(dim=-1)
    largest = things.extent[:, 0].norm(dim=-1) / 2
    assert (reach.amax(1) <= largest * 1.0001).all()
    share = area(things) / things.extent[:, 0].prod(-1)
    least, most = {
        "box": (0.9, 1.1), "ellipse": (0.7, 0.87), "polygon": (0.05, 0.9), "blob": (0.1, 0.9),
    }[kind]  # fmt: skip
    assert (share > least).all() and (share < most).all()


def test_ellipses_and_boxes_cover_their_area() -> None:
    for kind, factor in (("box", 1.0), ("ellipse", math.pi / 4)):
        things = only(kind, 50)
        expected = factor * things.extent[:, 0].prod(-1)
        # The ellipse has 32 corners: 0.6 % less.
        assert ((area(things, 800) - expected).abs() / expected).max() < 0.03


def test_half_of_the_boxes_stand_upright() -> None:
    corners = only("box", 4000).vertices[:, :4]
    level = (corners[:, 0, 1] - corners[:, 1, 1]).abs() < 1e-3
    assert abs(level.double().mean() - 0.5) < 0.05


@pytest.mark.parametrize("kind", FURNITURE)
def test_furniture_stands_on_the_floor(kind: str) -> None:
    things = only(kind, tilt=0.0)
    low, high = things.vertices.amin(1), things.vertices.amax(1)
    if kind == "pole":
        assert (low[:, 1] < 20).all() and (high[:, 1] > 220).all()
        assert ((high - low)[:, 0] < 0.1 * 200).all()
    else:
        floor = (high[:, 1] - 220) / 200
        assert floor.min() >= -0.0501 and floor.max() <= 0.1001
        height = (high - low)[:, 1] / 200
        assert height.min() >= 0.249 and height.max() <= 0.601
    share = area(things) / things.extent[:, 0].prod(-1)
    assert (share > (0.7 if kind in ("counter", "pole") else 0.1)).all() or kind == "pole"


def test_tables_and_chairs_let_one_look_between_their_legs() -> None:
    for kind in ("table", "chair"):
        share = area(only(kind, tilt=0.0)) / only(kind, tilt=0.0).extent[:, 0].prod(-1)
        assert share.median() < 0.75


def test_nothing_is_drawn_of_what_is_not_there() -> None:
    settings = ObjectSettings(present=0.5)
    things = draw_objects(chance(), LOW.expand(COUNT, 2), HIGH.expand(COUNT, 2), settings)
    numbers = drawn(things)
    there = things.there.any(1)
    assert 0.3 < there.double().mean() < 0.7
    assert not numbers[~there].any() and (numbers[there].flatten(1).any(1)).double().mean() > 0.98
    for number in range(3):
        assert not (numbers[~things.there[:, number]] == number + 1).any()
    gone = things.only(torch.arange(COUNT) % 2 == 0)
    assert torch.equal(drawn(gone)[::2], numbers[::2]) and not drawn(gone)[1::2].any()
    assert not gone.there[1::2].any()


def test_scenes_do_not_depend_on_the_batch() -> None:
    whole = draw_objects(chance(), LOW.expand(COUNT, 2), HIGH.expand(COUNT, 2), ObjectSettings())
    part = draw_objects(chance(7, first=90), LOW.expand(7, 2), HIGH.expand(7, 2), ObjectSettings())
    assert torch.equal(whole.there[90:97], part.there)
    assert torch.equal(whole.kind[90:97], part.kind)
    assert torch.equal(whole.vertices[90:97], part.vertices)


def test_every_kind_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="wanted a weight of at least 0 for each of box"):
        ObjectSettings(kinds={"box": 1.0})


# Other people.


@pytest.fixture(scope="module")
def crowd(assets: SynthAssets) -> dict[str, Tensor]:
    """Everybody has two others beside them; elevation 20 degrees, 8 m away."""
    count = 48
    turn = axis_rotation(0, torch.full((count,), math.radians(20)))
    person = assets.coarse.skin.vertices[: assets.coarse.drawn] @ turn.mT
    settings = PeopleSettings(present=1.0, second=1.0, in_front=0.5)
    people = draw_people(chance(count), assets.bank, assets.coarse.skin, turn, person, settings)
    camera = PerspectiveCamera(
        focal=torch.full((count,), 500.0),
        principal=torch.full((count, 2), 100.0),
        translation=torch.tensor([0.0, 0.0, 8.0]).expand(count, 3),
    )
    return {"turn": turn, "person": person, "people": people, "camera": camera}  # type: ignore


def test_people_stand_on_the_same_floor(crowd: dict) -> None:
    up = crowd["turn"][:, :, 1]
    floor = (crowd["person"] @ up[..., None])[..., 0].amin(1)
    theirs = (crowd["people"].vertices @ up[:, None, :, None])[..., 0].amin(-1)
    torch.testing.assert_close(theirs, floor[:, None].expand(-1, MOST), rtol=0, atol=1e-4)


def test_people_in_front_are_nearer(crowd: dict) -> None:
    people, ahead = crowd["people"], crowd["turn"][:, :, 2]
    # Along the floor towards the camera; arms may reach either way.
    place = (people.vertices @ ahead[:, None, :, None])[..., 0].mean(-1)
    own = (crowd["person"] @ ahead[..., None])[..., 0].mean(1)
    nearer = place - own[:, None]
    assert (nearer[people.in_front] > 0).double().mean() > 0.95
    assert (nearer[~people.in_front] < 0).double().mean() > 0.95
    assert 20 < people.in_front.sum() < 76


def test_people_hide_the_person_only_where_they_are_nearer(
    crowd: dict, assets: SynthAssets
) -> None:
    people, camera = crowd["people"], crowd["camera"]
    box = Box(camera.principal, torch.full((len(camera.focal),), 200.0))
    others = draw_depth(people, assets.coarse.faces, camera, box, 64)
    assert ((others > 6) | (others == -1)).all() and (others > 0).flatten(1).any(1).all()
    own = torch.full_like(others, 8.0)
    hiding = in_front(others, own)
    assert (others[hiding] < 8).all() and hiding.flatten(1).any(1).double().mean() > 0.6
    nobody = in_front(others, torch.full_like(others, -1.0))
    assert torch.equal(nobody, others > 0), "beside the person they are seen anyway"
    gone = draw_depth(
        people.only(torch.zeros(len(others), dtype=torch.bool)),
        assets.coarse.faces, camera, box, 64,
    )  # fmt: skip
    assert (gone == -1).all()


# Layers.


def test_layers_hide_and_paint() -> None:
    left = torch.zeros(1, 2, 3, dtype=torch.bool)
    left[..., 0] = True
    top = torch.zeros(1, 2, 3, dtype=torch.bool)
    top[:, 0] = True
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 1])
    near = Occluders(left, red[:, None, None] * left[:, None])
    far = Occluders(top, blue[:, None, None] * top[:, None])
    both = over(near, far)
    assert visible(torch.ones(1, 2, 3), both).tolist() == [[[0, 0, 0], [0, 1, 1]]]
    picture = lay_over(torch.full((1, 3, 2, 3), 0.5), both)[0].permute(1, 2, 0)
    assert picture[0, 0].tolist() == picture[1, 0].tolist() == [1, 0, 0]
    assert picture[0, 2].tolist() == [0, 0, 1] and picture[1, 2].tolist() == [0.5] * 3
    with pytest.raises(ValueError, match="wanted colours in both"):
        over(near, Occluders(top))
    with pytest.raises(ValueError, match="paint it first"):
        lay_over(torch.zeros(1, 3, 2, 3), Occluders(top))


def test_things_have_colours_of_their_own_over_the_texture() -> None:
    numbers = torch.zeros(20, 8, 8, dtype=torch.uint8)
    numbers[:, :4], numbers[:, 4:, :4] = 1, 2
    fill = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = paint(chance(20), numbers, fill)
    assert layer.rgb is not None and torch.equal(layer.mask, numbers > 0)
    assert (layer.rgb[:, :, 4:, 4:] == 0).all(), "no colour where nothing is"
    assert layer.rgb.min() >= 0 and layer.rgb.max() <= 1
    first, second = layer.rgb[:, :, :4].mean((2, 3)), layer.rgb[:, :, 4:, :4].mean((2, 3))
    assert (first - second).abs().amax(1).median() > 0.1
    assert layer.rgb[:, :, :4].std((2, 3)).min() > 0.01, "the texture shows"
    plain = paint(chance(20), numbers, None)
    assert plain.rgb is not None and plain.rgb[:, :, :4].std((2, 3)).min() > 1e-3


def test_beyond_the_border_there_is_nothing() -> None:
    borders = torch.tensor([[2.0, -math.inf, math.inf, 5.0]])
    layer = beyond(borders, (8, 6), colours=True)
    inside = [[row < 5 and column >= 2 for column in range(6)] for row in range(8)]
    assert (~layer.mask[0]).tolist() == inside
    assert layer.rgb is not None and not layer.rgb.any()
    points = torch.tensor([[[2.0, 4.9], [1.9, 4.0], [90.0, -90.0], [3.0, 5.0]]])
    assert within(points, borders).tolist() == [[True, False, True, False]]


def test_points_are_covered_by_what_is_nearer() -> None:
    things = torch.zeros(1, 4, 4, dtype=torch.uint8)
    things[0, 0, 0] = 2
    others = torch.full((1, 4, 4), -1.0)
    others[0, 1, 2] = 3.0
    points = torch.tensor(
        [[[0.5, 0.5, 9.0], [2.5, 1.5, 3.1], [2.5, 1.5, 2.9], [3.5, 3.5, 9], [-1.0, 0.5, 9]]]
    )
    assert covered(points, things, others).tolist() == [[True, True, False, False, False]]


def test_hips_lie_deeper_than_wrists() -> None:
    joints = torch.full((1, 17, 3), 2.0)
    joints[..., 2] = 5.14
    seen = facing(joints, torch.full((1, 4, 4), 5.0), 0.06)[0]
    assert [COCO17[i] for i in seen.nonzero()[:, 0]] == ["left_hip", "right_hip"]
    joints[..., 2] = 5.03
    assert facing(joints, torch.full((1, 4, 4), 5.0), 0.06).all()
