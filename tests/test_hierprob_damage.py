"""What the hierprob recipe spoils: published numbers, and counts of what is left."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from frequencies import COUNT, chance, close, share
from hierprob_people import CALM, LIMBS
from torch import Tensor

from plausibody.models.crop import inside_borders
from plausibody.models.skeleton import COCO17
from plausibody.synth.charts import PART14_OF_24
from plausibody.synth.hierprob import HierprobSettings
from plausibody.synth.hierprob_scene import Damage, damage
from plausibody.synth.removal import (
    GOES_WITH,
    SHOWN_BY,
    HalvesSettings,
    count_parts,
    draw_halves,
    draw_removed,
    keep_labels,
    lose_joints,
    too_little_seen,
)

# Published numbers.


@pytest.fixture(scope="module")
def damaged() -> tuple[Damage, Tensor]:
    truth = chance().uniform("truth", 17, 2, low=64.0, high=192.0)
    settings = HierprobSettings()
    return damage(chance(), truth, torch.ones(COUNT, 17, dtype=torch.bool), settings), truth


def test_parts_go_missing_as_published(damaged: tuple[Damage, Tensor]) -> None:
    removed = damaged[0].removed
    assert not removed[:, 0].any()
    often = [*range(1, 7), *range(11, 15), *range(19, 23)]
    rarely = [*range(7, 11), *range(15, 19), 23, 24]
    assert sorted(often + rarely) == list(range(1, 25))
    assert all(close(removed[:, part], 0.1) for part in often)
    assert all(close(removed[:, part], 0.05) for part in rarely)
    both = removed[:, 3] & removed[:, 4]
    assert close(both, 0.01), "independent of each other"


def test_joints_vanish_with_their_parts_half_of_the_time() -> None:
    removed = draw_removed(chance(), HierprobSettings().part_removed)
    lost = lose_joints(chance(), removed, 0.5)
    assert not lost[:, [n for n in range(17) if n not in LIMBS]].any()
    for part, joint in GOES_WITH.items():
        others = [p for p, j in GOES_WITH.items() if j == joint and p != part]
        alone = removed[:, part] & ~removed[:, others].any(1)
        assert close(lost[alone, COCO17.index(joint)], 0.5)
    untied = ~removed[:, list(GOES_WITH)].any(1)
    assert not lost[untied].any()


def test_joints_go_with_parts_of_their_own_side() -> None:
    left, right = {4, 5, 8, 10, 12, 14, 15, 17, 19, 21}, {3, 6, 7, 9, 11, 13, 16, 18, 20, 22}
    for part, joint in GOES_WITH.items():
        assert part in (left if joint.startswith("left") else right)
    for joint, number in SHOWN_BY.items():
        parts = {part for part in range(25) if PART14_OF_24[part] == number}
        assert parts and parts <= (left if joint.startswith("left") else right)
    assert set(SHOWN_BY) == {COCO17[n] for n in LIMBS} == set(GOES_WITH.values())


def test_squares_lie_before_one_in_ten(damaged: tuple[Damage, Tensor]) -> None:
    square = damaged[0].square
    present = square[:, 0] > 0
    assert close(present, 0.1) and (square[~present] < -1000).all()
    inner = square[present]
    assert inner.min() >= 0.35 * 256 and inner.max() <= 0.65 * 256
    assert inner.double().mean().item() == pytest.approx(128, abs=2)


def test_key_points_swap_move_and_drop_as_published(damaged: tuple[Damage, Tensor]) -> None:
    wrong, truth = damaged
    step = wrong.places - truth
    pairs = {"shoulder": 0.1, "hip": 0.1}
    for kind in ("shoulder", "hip", "elbow", "knee", "eye"):
        left, right = COCO17.index(f"left_{kind}"), COCO17.index(f"right_{kind}")
        across = wrong.places[:, left] - truth[:, right]
        swapped = (across.abs() <= 6).all(-1) & (step[:, left].abs() > 6).any(-1)
        # In 100 of 16,384 the two are too near to each other to tell.
        assert share(swapped).item() == pytest.approx(pairs.get(kind, 0.0), abs=0.012)
    still = step[(step.abs() <= 6.001).all(-1)]
    assert still.std().item() == pytest.approx(12 / math.sqrt(12), rel=0.01)
    assert abs(still.mean().item()) < 0.05 and still.abs().max() > 5.99


def test_limbs_drop_out_once_in_ten() -> None:
    settings = dataclasses.replace(CALM, size=256, dropped=0.1)
    truth = torch.full((COUNT, 17, 2), 100.0)
    seen = damage(chance(), truth, torch.ones(COUNT, 17, dtype=torch.bool), settings).seen
    assert all(close(~seen[:, joint], 0.1) for joint in LIMBS)
    assert seen[:, [n for n in range(17) if n not in LIMBS]].all()


@pytest.mark.parametrize("name", ["halves/body", "halves/picture"])
def test_halves_go_missing_as_published(name: str) -> None:
    left, top, right, bottom = draw_halves(chance(), name, 256, HalvesSettings()).unbind(1)
    assert close(bottom < 256, 0.02) and close(top > 0, 0.005)
    assert close((left > 0) | (right < 256), 0.05)
    assert close(left > 0, 0.025) and close(right < 256, 0.025)
    assert not ((left > 0) & (right < 256)).any()
    for edge, gone, reach in ((bottom, 256, 51), (top, 0, 51), (left, 0, 8), (right, 256, 8)):
        drawn = edge[edge != gone]
        assert drawn.min() >= 128 - reach and drawn.max() < 128 + reach
        assert len(drawn) < 40 or drawn.std() > 0.4 * reach


def test_joints_in_missing_halves_are_not_seen(damaged: tuple[Damage, Tensor]) -> None:
    wrong, _ = damaged
    for left in (wrong.body, wrong.picture):
        outside = (wrong.places < left[:, None, :2]) | (wrong.places >= left[:, None, 2:])
        assert outside.any() and not (wrong.seen & outside.any(-1)).any()


def test_an_uncut_picture_hides_no_joint() -> None:
    truth = torch.full((50, 17, 2), -20.0)
    visible = torch.ones(50, 17, dtype=torch.bool)
    assert damage(chance(50), truth, visible, CALM).seen.all()
    assert not damage(chance(50), truth, ~visible, CALM).seen.any(), "what is hidden stays hidden"


# Counting and cutting.


def test_pixels_of_parts_are_counted() -> None:
    labels = torch.randint(0, 25, (3, 40, 50), generator=torch.Generator().manual_seed(0)).byte()
    inside = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(1)) > 0.3
    counts = count_parts(labels, inside)
    for n in range(3):
        for part in range(1, 15):
            parts = [p for p in range(25) if PART14_OF_24[p] == part]
            expected = sum(int(((labels[n] == p) & inside[n]).sum()) for p in parts)
            assert counts[n, part] == expected
    assert torch.equal(count_parts(labels).sum(1), torch.full((3,), 2000))


def test_joints_with_fifty_pixels_are_hidden_and_with_more_are_not() -> None:
    counts = torch.full((2, 15), 51)
    counts[1] = 50
    hidden = too_little_seen(counts, 50)
    assert not hidden[0].any() and hidden[1].nonzero()[:, 0].tolist() == LIMBS


def test_kept_labels_are_those_not_removed() -> None:
    labels = torch.tensor([[0, 1, 2], [3, 24, 24]], dtype=torch.uint8).expand(2, 2, 3)
    removed = torch.zeros(2, 25, dtype=torch.bool)
    removed[1, [2, 24]] = True
    kept = keep_labels(labels, removed)
    assert kept[0].all() and kept[1].tolist() == [[True, True, False], [True, False, False]]


def test_pixels_inside_borders() -> None:
    inside = inside_borders(torch.tensor([[1.0, 2.0, 3.6, 9.0], [-torch.inf] * 2 + [4, 4]]), 4)
    assert inside[0].nonzero().tolist() == [[2, 1], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3]]
    assert inside[1].all()
