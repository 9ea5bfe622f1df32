"""What counts as which mistake of a front end, on people made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from plausibody.evaluate.proxy_gap import perfect
from plausibody.models.proxy import Observation
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth.joint_sight import IN_SIGHT, OUTSIDE
from plausibody.synth.measured import Truth
from plausibody.synth.measured_sightings import Mistakes, Sightings, mistakes

_MIRROR = mirror(COCO17)
SIDE = 80.0


@pytest.fixture(scope="module")
def truth() -> Truth:
    """One person like a cross of two bars, 20 px wide, in a frame of 100 px."""
    labels = torch.zeros(1, 100, 100, dtype=torch.uint8)
    labels[:, 10:90, 40:60] = 1
    labels[:, 30:50, 20:40] = 15
    labels[:, 30:50, 60:80] = 16
    places = torch.zeros(1, 17, 2)
    for joint, name in enumerate(COCO17):
        across = {"left": 8.0, "right": -8.0}.get(name.partition("_")[0], 0.0)
        places[:, joint] = torch.tensor([50 + across, 15.0 + 4 * (joint // 2)])
    return Truth(
        labels=labels,
        whole=labels,
        keypoints=places,
        states=torch.full((1, 17), IN_SIGHT),
        borders=torch.tensor([[-torch.inf, -torch.inf, torch.inf, torch.inf]]),
        side=torch.tensor([SIDE]),
    )


def see(truth: Truth, keypoints: Tensor | None = None, mask: Tensor | None = None) -> Mistakes:
    seen = perfect(truth).seen
    keypoints = seen.keypoints if keypoints is None else keypoints
    mask = seen.mask if mask is None else mask
    return mistakes(Sightings(truth, Observation(keypoints, mask), torch.ones(1, dtype=torch.bool)))


def test_who_is_seen_as_they_are_has_no_mistakes(truth: Truth) -> None:
    wrong = see(truth)
    assert wrong.reported.all() and (wrong.offset == 0).all() and wrong.overlap == 1
    assert not wrong.swapped.any() and not wrong.sides and wrong.facing
    assert (wrong.outline == 0).all() and wrong.soft == 0
    assert wrong.part_seen[0].nonzero()[:, 0].tolist() == [1, 15, 16]
    for name in ("part_lost", "spill", "cut", "empty", "hidden"):
        assert not getattr(wrong, name).any(), name


def test_nobody_makes_no_mistakes(truth: Truth) -> None:
    nobody = replace(perfect(truth), found=torch.zeros(1, dtype=torch.bool))
    with pytest.raises(ValueError, match="came none of 1"):
        mistakes(nobody)


def test_swaps_are_put_right_before_errors_are_measured(truth: Truth) -> None:
    keypoints = perfect(truth).seen.keypoints
    knees = [COCO17.index("left_knee"), COCO17.index("right_knee")]
    swapped = keypoints.clone()
    swapped[:, knees] = keypoints[:, knees[::-1]]
    wrong = see(truth, swapped)
    assert wrong.swapped[0].nonzero()[:, 0].tolist() == knees
    assert (wrong.offset == 0).all() and not wrong.sides
    wrong = see(truth, keypoints[:, _MIRROR])
    assert wrong.sides and not wrong.swapped.any() and (wrong.offset == 0).all()
    near = replace(truth, keypoints=truth.keypoints * 0.1)
    assert not see(near, near.keypoints.new_ones(1, 17, 3)).separable.any()


def test_key_points_outside_are_measured_from_the_border(truth: Truth) -> None:
    borders = torch.tensor([[0.0, 0.0, 100.0, 40.0]])
    states = torch.where(truth.keypoints[..., 1] >= 40, OUTSIDE, IN_SIGHT)
    cut = replace(truth, borders=borders, states=states)
    keypoints = torch.cat([truth.keypoints, torch.full((1, 17, 1), 0.7)], -1)
    ankle = COCO17.index("left_ankle")
    keypoints[:, ankle] = torch.tensor([58.0, 36.0, 0.1])
    wrong = see(cut, keypoints)
    torch.testing.assert_close(wrong.offset[0, ankle], torch.tensor([0.0, -4 / SIDE]))
    assert not wrong.reported[0, ankle] and wrong.reported[0].sum() == 16


def test_outlines_are_measured_outwards(truth: Truth) -> None:
    mask = (truth.labels > 0).float()
    wider = torch.nn.functional.max_pool2d(mask, 3, 1, 1)
    narrower = 1 - torch.nn.functional.max_pool2d(1 - mask, 3, 1, 1)
    for moved, pixels in ((wider, 1.0), (narrower, -1.0)):
        outline = see(truth, mask=moved).outline[0]
        assert outline.median().item() == pytest.approx(pixels / SIDE)
        assert ((outline - pixels / SIDE).abs() < 1e-6).double().mean() > 0.9


def test_outlines_are_not_measured_along_the_border(truth: Truth) -> None:
    borders = torch.tensor([[0.0, 0.0, 100.0, 60.0]])
    labels = truth.labels.clone()
    labels[:, 60:] = 0
    cut = replace(truth, borders=borders, labels=labels, whole=labels)
    mask = (labels > 0).float()
    mask[:, 58:60] = 0
    outline = see(cut, mask=mask).outline[0]
    assert (outline == 0).double().mean() > 0.9


def test_patches_parts_and_claims_are_told_apart(truth: Truth) -> None:
    mask = (truth.labels > 0).float()
    added = mask.clone()
    added[:, 60:90, 65:95] = 1
    wrong = see(truth, mask=added)
    # All but what lies within 0.04 of the side, 3.2 px, of the person: here, nothing.
    assert wrong.spill.item() * SIDE == pytest.approx((900 / torch.pi) ** 0.5, abs=0.1)
    assert wrong.cut == 0 and not wrong.part_lost.any()

    armless = mask.clone()
    armless[truth.labels == 15] = 0
    wrong = see(truth, mask=armless)
    assert wrong.part_lost[0].nonzero()[:, 0].tolist() == [15] and wrong.cut == 0
    holed = mask.clone()
    holed[:, 60:80, 40:60] = 0
    wrong = see(truth, mask=holed)
    assert not wrong.part_lost.any() and wrong.cut.item() * SIDE > 5
    assert see(truth, mask=0 * mask).empty and not see(truth, mask=0 * mask).part_lost.any()

    labels = truth.labels.clone()
    labels[:, 60:75] = 0
    behind = replace(truth, labels=labels)
    claimed, left = see(behind, mask=mask), see(behind, mask=(labels > 0).float())
    assert claimed.hidden and claimed.claimed and claimed.spill == 0
    assert left.hidden and not left.claimed


def test_soft_masks_have_wide_outlines(truth: Truth) -> None:
    mask = (truth.labels > 0).float()
    wider = torch.nn.functional.max_pool2d(mask, 5, 1, 2)
    soft = see(truth, mask=0.3 * wider + 0.7 * mask).soft.item() * SIDE
    assert soft == pytest.approx(2, abs=0.2), "corners have more"
