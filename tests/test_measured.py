"""The measured corruption: draws follow the model, fits find it again, bad files are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.models.body import PosedBody
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import take
from plausibody.models.skeleton import COCO17, mirror
from plausibody.synth import measured
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.hierprob import HierprobRecipe, HierprobSettings
from plausibody.synth.joint_sight import (
    HIDDEN,
    IN_SIGHT,
    OUTSIDE,
    STATES,
    face_in_sight,
    sight_states,
)
from plausibody.synth.lasor import LasorRecipe, LasorSettings
from plausibody.synth.lite import LiteRecipe, LiteSettings, clothe
from plausibody.synth.lite_sight import LiteCorruption
from plausibody.synth.looks import Looks
from plausibody.synth.measured import (
    KIND,
    KINDS,
    SCORES,
    KeypointErrors,
    MaskErrors,
    MeasuredModel,
    Truth,
    corrupt,
    corrupt_keypoints,
    corrupt_mask,
    facing,
    read_quantiles,
    trunk_directions,
)
from plausibody.synth.measured_file import (
    SCHEMA,
    choose_measured,
    read_measured,
    write_measured,
)
from plausibody.synth.measured_fit import fit, normal_scores, quantiles, simulate
from plausibody.synth.measured_sightings import Sightings, mistakes
from plausibody.synth.measured_stage import StageSettings, draw_scene, truth_of
from plausibody.synth.removal import HalvesSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsRecipe, StrapsSettings
from plausibody.synth.textures import TextureBank

NONE = torch.full((len(SCORES),), 0.05)
CALM = MeasuredModel(
    keypoints=KeypointErrors(
        distance=torch.zeros(9, 3, len(SCORES)),
        confidence=torch.ones(9, 3, len(SCORES)),
        bias=torch.zeros(9, 3, 2),
        distance_shared=0.0,
        confidence_shared=0.0,
        shared_tie=0.0,
        own_tie=0.0,
        swap=(0.0,) * 9,
        sides=(0.0, 0.0),
    ),
    masks=MaskErrors(
        offset=torch.zeros(len(SCORES)),
        offset_shared=0.0,
        cells=12,
        soft=torch.full((len(SCORES),), 0.002),
        claimed=0.0,
        lost=torch.zeros(25),
        spill=0.0,
        spill_radius=NONE,
        cut=0.0,
        cut_radius=NONE,
        empty=0.0,
    ),
    missed=0.0,
)
"""A front end without errors."""
_MIRROR = mirror(COCO17)


def keypoint_errors(**changes: object) -> KeypointErrors:
    return replace(CALM.keypoints, **changes)


def mask_errors(**changes: object) -> MaskErrors:
    return replace(CALM.masks, **changes)


def table(low: float, high: float) -> Tensor:
    """Quantiles of a uniform distribution."""
    return low + (high - low) * torch.special.ndtr(SCORES)


@pytest.fixture(scope="module")
def truth(assets: SynthAssets) -> Truth:
    """Of 192 people; do not change it."""
    body = assets.coarse

    def dresser(chance: Chance, posed: PosedBody) -> Tensor:
        return clothe(chance, posed.vertices[:, : body.drawn], body, LiteCorruption())

    people = Chance(3, torch.arange(192))
    scene = draw_scene(people, assets, body, StageSettings(), dresser)
    return truth_of(scene, assets.coarse, 112)


def upright(count: int, state: int = IN_SIGHT) -> Truth:
    """People like a stick, facing us, in the middle of a frame of 64 px without borders."""
    places = torch.zeros(17, 2)
    for joint, name in enumerate(COCO17):
        side, _, kind = name.rpartition("_")
        down = {"shoulder": 20, "elbow": 28, "wrist": 36, "hip": 38, "knee": 48, "ankle": 58}
        across = {"left": 6.0, "right": -6.0}.get(side, 0.0)
        places[joint] = torch.tensor([32 + across, down.get(kind, 10)])
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[7:57, 22:42] = 1
    labels[7:17, 22:42] = 23
    far = torch.tensor([-torch.inf, -torch.inf, torch.inf, torch.inf])
    return Truth(
        labels=labels.expand(count, -1, -1),
        whole=labels.expand(count, -1, -1),
        keypoints=places.expand(count, -1, -1),
        states=torch.full((count, 17), state),
        borders=far.expand(count, -1),
        side=torch.full((count,), 50.0),
    )


def chance(count: int, seed: int = 0) -> Chance:
    return Chance(seed, torch.arange(count))


# What is drawn.


def test_without_errors_nothing_changes(truth: Truth) -> None:
    seen = corrupt(chance(192), truth, CALM)
    inside = truth.states != OUTSIDE
    torch.testing.assert_close(seen.keypoints[..., :2][inside], truth.keypoints[inside])
    assert (seen.keypoints[..., 2][inside] == 1).all()
    wrong = ((seen.mask > 0.5) != (truth.labels > 0)).sum((1, 2)) / (truth.labels > 0).sum((1, 2))
    assert wrong.median() < 0.03 and wrong.max() < 0.2, "thin limbs suffer from the blur, no more"


def test_distances_confidences_and_ties_are_the_models() -> None:
    count = 10_000
    distance, sure = torch.zeros(9, 3, 25), torch.zeros(9, 3, 25)
    for kind in range(9):
        distance[kind] = table(0.0, 0.02 + 0.01 * kind)
        sure[kind] = table(0.3, 0.9)
    errors = keypoint_errors(
        distance=distance, confidence=sure,
        distance_shared=0.3, confidence_shared=0.4, shared_tie=-0.8, own_tie=-0.2,
    )  # fmt: skip
    people = upright(count)
    seen = corrupt_keypoints(chance(count), people, errors)
    offset = (seen[..., :2] - people.keypoints) / 50
    away, confidence = offset.norm(dim=-1), seen[..., 2]
    for joint, kind in enumerate(KIND):
        most = 0.02 + 0.01 * kind
        assert away[:, joint].mean().item() == pytest.approx(most / 2, rel=0.03)
        assert away[:, joint].max() <= most + 1e-6
    assert offset.mean((0, 1)).abs().max() < 5e-4, "errors point anywhere"
    assert confidence.mean().item() == pytest.approx(0.6, abs=0.01)

    one, other = COCO17.index("left_knee"), COCO17.index("right_wrist")

    def tie(first: Tensor, second: Tensor) -> float:
        both = torch.stack([normal_scores(first), normal_scores(second)])
        return float(torch.corrcoef(both)[0, 1])

    assert tie(away[:, one], away[:, other]) == pytest.approx(0.3, abs=0.03)
    assert tie(confidence[:, one], confidence[:, other]) == pytest.approx(0.4, abs=0.03)
    common = -0.8 * math.sqrt(0.3 * 0.4)
    assert tie(away[:, one], confidence[:, other]) == pytest.approx(common, abs=0.03)
    own = common - 0.2 * math.sqrt(0.7 * 0.6)
    assert tie(away[:, one], confidence[:, one]) == pytest.approx(own, abs=0.03)


def test_swaps_happen_as_often_as_the_model_says() -> None:
    count = 10_000
    swap = tuple(0.2 if kind == "knee" else 0.0 for kind in KINDS)
    people = upright(count)
    behind = replace(people, keypoints=people.keypoints * torch.tensor([-1.0, 1.0]) + 64)
    assert facing(people.keypoints).all() and not facing(behind.keypoints).any()
    for truth, rate in ((people, 0.05), (behind, 0.15)):
        errors = keypoint_errors(swap=swap, sides=(0.05, 0.15))
        seen = corrupt_keypoints(chance(count), truth, errors)[..., :2]
        crossed = (seen - truth.keypoints[:, _MIRROR]).norm(dim=-1) < 1e-3
        hip, knee = crossed[:, COCO17.index("left_hip")], crossed[:, COCO17.index("left_knee")]
        assert hip.double().mean().item() == pytest.approx(rate, abs=0.01)
        expected = 0.2 * (1 - rate) + 0.8 * rate
        assert knee.double().mean().item() == pytest.approx(expected, abs=0.012)
        assert torch.equal(
            crossed[:, COCO17.index("left_hip")], crossed[:, COCO17.index("right_hip")]
        )


def test_key_points_outside_are_placed_from_the_border_and_reported_inside_only() -> None:
    people = upright(2000, OUTSIDE)
    borders = torch.tensor([0.0, 0.0, 64.0, 40.0]).expand(2000, -1)
    people = replace(people, borders=borders)
    distance = torch.zeros(9, 3, 25)
    distance[:, OUTSIDE] = 0.1
    seen = corrupt_keypoints(chance(2000), people, keypoint_errors(distance=distance))
    ankle = seen[:, COCO17.index("left_ankle")]
    away = (ankle[:, :2] - torch.tensor([38.0, 40.0])).norm(dim=1)
    torch.testing.assert_close(away, torch.full((2000,), 5.0))
    assert torch.equal(ankle[:, 2] > 0, ankle[:, 1] <= 40)
    assert (ankle[:, 2] > 0).double().mean().item() == pytest.approx(0.5, abs=0.04)


def test_bias_points_along_the_trunk_and_outwards() -> None:
    bias = torch.zeros(9, 3, 2)
    bias[KINDS.index("hip"), HIDDEN] = torch.tensor([0.1, 0.06])
    people = upright(1, HIDDEN)
    turned = replace(people, keypoints=64 - people.keypoints)
    for truth, sign in ((people, 1.0), (turned, -1.0)):
        seen = corrupt_keypoints(chance(1), truth, keypoint_errors(bias=bias))
        moved = (seen[0, :, :2] - truth.keypoints[0]) * sign
        left, right = moved[COCO17.index("left_hip")], moved[COCO17.index("right_hip")]
        torch.testing.assert_close(left, torch.tensor([3.0, -5.0]))
        torch.testing.assert_close(right, torch.tensor([-3.0, -5.0]))
        assert moved[COCO17.index("left_knee")].abs().max() < 1e-5


def test_a_trunk_that_points_at_us_is_up() -> None:
    along, across = trunk_directions(torch.zeros(1, 17, 2))
    assert along.tolist() == [[0.0, -1.0]] and (across == 0).all()


def area(mask: Tensor) -> Tensor:
    return (mask > 0.5).sum((1, 2)).double()


def test_outlines_move_as_far_as_the_model_says() -> None:
    people = upright(200)
    still = area(corrupt_mask(chance(200), people, CALM.masks))
    assert still.unique().tolist() == pytest.approx([50 * 20], rel=0.02)
    for offset in (0.02, -0.02):  # 1 px
        moved = mask_errors(offset=torch.full((25,), offset))
        grown = area(corrupt_mask(chance(200), people, moved))
        assert (grown - still).mean().item() == pytest.approx(2 * 70 * 50 * offset, rel=0.2)
    shared = mask_errors(offset=table(-0.03, 0.03), offset_shared=1.0)
    apart = mask_errors(offset=table(-0.03, 0.03), offset_shared=0.0)
    spread = [area(corrupt_mask(chance(200), people, errors)).std() for errors in (shared, apart)]
    assert spread[0] > 2 * spread[1], "a whole outline moves together, or here out and there in"


def test_masks_lose_add_and_claim_what_the_model_says() -> None:
    people = upright(10_000)
    people = take(people, torch.arange(1000))
    lost = torch.zeros(25)
    lost[23] = 0.3
    still = area(corrupt_mask(chance(1000), people, CALM.masks))
    headless = area(corrupt_mask(chance(1000), people, mask_errors(lost=lost)))
    assert ((headless < 0.85 * still).double().mean()).item() == pytest.approx(0.3, abs=0.05)
    spill = area(corrupt_mask(chance(1000), people, mask_errors(spill=0.4, spill_radius=NONE * 2)))
    assert (spill >= still - 3).all() and 0.25 < (spill > still + 4).double().mean() < 0.41
    cut = area(corrupt_mask(chance(1000), people, mask_errors(cut=0.4, cut_radius=NONE * 2)))
    assert (cut <= still + 3).all() and 0.3 < (cut < still - 4).double().mean() < 0.41
    empty = corrupt_mask(chance(1000), people, mask_errors(empty=0.1))
    assert ((empty.sum((1, 2)) == 0).double().mean()).item() == pytest.approx(0.1, abs=0.03)
    halved = people.labels.clone()
    halved[:, 30:] = 0
    behind = replace(people, labels=halved)
    claims = area(corrupt_mask(chance(1000), behind, mask_errors(claimed=0.25)))
    assert ((claims > 900).double().mean()).item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("size", [23, 112])
def test_the_loops_soften_masks_as_the_steps_do(size: int) -> None:
    drawn = chance(30)
    blurred = (2 * drawn.uniform("blurred", size, size) - 0.5) * drawn.chance("any", 0.3, size, 1)
    noise, shared = 1.3 * drawn.normal("noise", size, size), drawn.normal("shared")
    inside, soft = drawn.chance("inside", 0.9, 2, size), 0.002 + 0.03 * drawn.uniform("soft")
    errors = choose_measured("measured", None)
    assert errors is not None
    given = (blurred, inside, noise, shared, soft, errors.masks)
    assert torch.equal(measured._soften(*given), measured._soften_all(*given))
    assert 0.1 < (measured._soften(*given) > 0).double().mean() < 0.9


def test_masks_are_cut_by_the_border_and_not_eroded_there() -> None:
    people = upright(50)
    borders = torch.tensor([0.0, 0.0, 64.0, 40.0]).expand(50, -1)
    labels = people.labels.clone()
    labels[:, 40:] = 0
    cut = replace(people, borders=borders, labels=labels, whole=labels)
    seen = corrupt_mask(chance(50), cut, mask_errors(offset=table(-0.02, 0.02)))
    assert (seen[:, 40:] == 0).all()
    assert (seen[:, 38:40, 28:36] > 0.9).all()


def test_a_person_is_corrupted_alike_in_any_company(truth: Truth) -> None:
    every = corrupt(chance(192), truth, CALM)
    some = torch.arange(50, 60)
    few = corrupt(Chance(0, some), take(truth, some), CALM)
    torch.testing.assert_close(few.keypoints, every.keypoints[some], rtol=0, atol=1e-4)
    torch.testing.assert_close(few.mask, every.mask[some], rtol=0, atol=1e-4)


# In recipes.


def lite_batch(assets: SynthAssets, model: MeasuredModel, **settings: Any) -> Batch:
    wrong = replace(LiteCorruption(), truncated=0.0, box=(0.0, 0.0), clothed=0.0)
    recipe = LiteRecipe(
        LiteSettings(errors="measured", corruption=wrong, **settings), ProxySettings(), 5,
        assets.coarse, assets.bank, assets.limits, measured=model,
    )  # fmt: skip
    return recipe(torch.arange(64))


def straps_batch(assets: SynthAssets, model: MeasuredModel, **settings: Any) -> Batch:
    recipe = StrapsRecipe(
        StrapsSettings(errors="measured", size=96, occluder=18, vertex_noise=0.0, **settings),
        ProxySettings(size=96, least_confidence=0.0), 5, assets, measured=model,
    )  # fmt: skip
    return recipe(torch.arange(64))


def lasor_batch(assets: SynthAssets, model: MeasuredModel, **settings: Any) -> Batch:
    calm = StrapsSettings(errors="measured", size=96, occluder=18, vertex_noise=0.0, occluded=0.0)
    recipe = LasorRecipe(
        replace(LasorSettings(straps=calm), **settings),
        ProxySettings(size=96, least_confidence=0.0), 5, assets,
    )  # fmt: skip
    recipe.straps.measured = model
    return recipe(torch.arange(64))


@pytest.mark.parametrize("make", [lite_batch, straps_batch])
def test_recipes_see_people_through_the_model(
    assets: SynthAssets, make: Callable[..., Batch]
) -> None:
    calm = make(assets, CALM)
    seen = calm.proxy.keypoints[..., 2] > 0
    assert seen.double().mean() > 0.98
    torch.testing.assert_close(
        calm.proxy.keypoints[..., :2][seen], calm.target.keypoints[seen], rtol=0, atol=1e-4
    )
    filled = (calm.proxy.silhouette > 0.5).double().mean((1, 2))
    assert filled.min() > 0.02
    empty = make(assets, replace(CALM, masks=mask_errors(empty=1.0)))
    assert (empty.proxy.silhouette == 0).all()
    doubt = torch.full((9, 3, 25), 0.3)
    doubt[:, HIDDEN] = 0.1
    unsure = make(assets, replace(CALM, keypoints=keypoint_errors(confidence=doubt)))
    told = unsure.proxy.keypoints[..., 2]
    assert 0.1 < (told < 0.2).double().mean() < 0.6, "the hidden ones"


def test_things_before_people_hide_key_points_and_the_mask(assets: SynthAssets) -> None:
    free = straps_batch(assets, CALM, occluded=0.0)
    behind = straps_batch(assets, CALM, occluded=1.0)
    left = behind.proxy.silhouette.sum((1, 2)) / free.proxy.silhouette.sum((1, 2))
    assert left.max() < 1.001 and (left < 0.98).double().mean() > 0.9
    claimed = straps_batch(assets, replace(CALM, masks=mask_errors(claimed=1.0)), occluded=1.0)
    torch.testing.assert_close(claimed.proxy.silhouette, free.proxy.silhouette)


def test_lasor_tells_the_model_what_hides_whom(assets: SynthAssets) -> None:
    claims = replace(CALM, masks=mask_errors(claimed=1.0))
    apart, whole = lasor_batch(assets, CALM), lasor_batch(assets, claims)
    left, amodal = apart.channels["silhouette"].sum((1, 2)), apart.channels["amodal"].sum((1, 2))
    behind = left < 0.9 * amodal
    assert 10 < behind.sum() < 50
    ratio = apart.proxy.silhouette.sum((1, 2)) / left
    assert (ratio - 1).abs().max() < 0.1, "it sees what is left"
    free = ~behind
    assert (whole.proxy.silhouette - apart.proxy.silhouette).abs().sum((1, 2))[free].mean() < 20
    assert (whole.proxy.silhouette.sum((1, 2)) > 1.05 * left)[behind].double().mean() > 0.5
    doubt = torch.zeros(9, 3, 25)
    doubt[:, IN_SIGHT] = 1
    sure = lasor_batch(assets, replace(CALM, keypoints=keypoint_errors(confidence=doubt)))
    seen = sure.channels["joint_visibility"]
    body = slice(5, 17)  # heads also hide their own
    assert torch.equal(sure.proxy.keypoints[:, body, 2] > 0, seen[:, body])


def hierprob_batch(assets: SynthAssets, errors: str, **changes: Any) -> Batch:
    images = torch.full((1, 120, 80, 3), 128, dtype=torch.uint8)
    bank = TextureBank(images, None, None, torch.tensor([False]))
    looks = Looks.of(load_chart(assets.template), bank, load_backgrounds("procedural"))
    none = HalvesSettings(bottom=0.0, top=0.0, side=0.0)
    settings = HierprobSettings(
        size=96, errors=errors, occluded=0.0, halves=none, extreme_crop=0.0,
        channels=("silhouette", "joint_visibility"),
    )  # fmt: skip
    proxy = ProxySettings(size=96, least_confidence=0.0, channel="edges")
    model = replace(CALM, keypoints=keypoint_errors(**changes))
    recipe = HierprobRecipe(settings, proxy, 5, assets, looks, measured=model)
    return recipe(torch.arange(24))


def test_hierprob_sees_key_points_through_the_model(assets: SynthAssets) -> None:
    calm = hierprob_batch(assets, "measured")
    seen = calm.proxy.keypoints[..., 2] > 0
    assert seen.double().mean() > 0.9
    right = (calm.proxy.keypoints[..., :2] - calm.target.keypoints).abs().amax(-1) < 1e-4
    assert right[seen].double().mean() > 0.99, "but for those beyond the picture's border"
    published = hierprob_batch(assets, "published")
    whole = calm.channels["silhouette"].sum((1, 2))
    assert (published.channels["silhouette"].sum((1, 2)) < 0.98 * whole).double().mean() > 0.5
    assert (published.channels["silhouette"].sum((1, 2)) <= whole).all(), "no part goes missing"
    doubt = torch.zeros(9, 3, 25)
    doubt[:, IN_SIGHT] = 1
    sure = hierprob_batch(assets, "measured", confidence=doubt)
    assert torch.equal(sure.proxy.keypoints[..., 2] > 0, sure.channels["joint_visibility"])
    away = hierprob_batch(assets, "measured", distance=torch.full((9, 3, 25), 0.05))
    both = seen & (away.proxy.keypoints[..., 2] > 0)
    moved = (away.proxy.keypoints - calm.proxy.keypoints)[..., :2][both].norm(dim=-1)
    # The person fills 1 / 1.4 to 1 / 0.9 of the crop, which is 2 half-squares wide.
    assert moved.quantile(0.02) >= 0.1 / 1.4 - 1e-3 and moved.max() <= 0.1 / 0.9 + 1e-3


@pytest.mark.parametrize("settings", [LiteSettings, StrapsSettings, HierprobSettings])
def test_unknown_errors_are_refused(settings: type) -> None:
    with pytest.raises(ValueError, match="errors: wanted one of published, measured, got 'my'"):
        settings(errors="my")


# Sight.


def test_states_tell_outside_from_hidden() -> None:
    sight = torch.tensor([[True, False, True, False] + [True] * 13])
    inside = torch.tensor([[True, True, False, False] + [True] * 13])
    assert sight_states(sight, inside)[0, :4].tolist() == [IN_SIGHT, HIDDEN, OUTSIDE, OUTSIDE]


def test_the_face_hides_what_is_turned_away() -> None:
    marks = torch.zeros(3, 17, 3)
    at = COCO17.index
    marks[1, at("nose"), 2] = 0.1  # away from us
    marks[2, at("left_eye"), 2], marks[2, at("left_ear"), 2] = 0.06, 0.15  # the right profile
    marks[2, at("nose"), 2] = 0.05
    seen = face_in_sight(marks)
    assert seen[0].all()
    hidden = [{COCO17[j] for j in (~row).nonzero()[:, 0].tolist()} for row in seen]
    assert hidden[1] == {"nose", "left_eye", "right_eye"}
    assert hidden[2] == {"left_eye", "left_ear"}


# Fits.


def test_tables_of_quantiles_give_back_what_they_were_made_of() -> None:
    values = torch.rand(5000, generator=torch.Generator().manual_seed(0)) ** 2
    drawn = read_quantiles(quantiles(values), chance(5000).normal("z"))
    assert (drawn.sort().values - values.sort().values).abs().max() < 0.04
    ends = [values.quantile(0.00135).item(), values.quantile(0.99865).item()]
    far = read_quantiles(quantiles(values), torch.tensor([-9.0, 9.0]))
    assert far.tolist() == pytest.approx(ends, rel=1e-3)
    scores = normal_scores(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    assert scores[2] == scores[3] and scores[1] < scores[2] < scores[0]
    assert scores.sum() == pytest.approx(0, abs=1e-5)


def known_model() -> MeasuredModel:
    distance, sure = torch.zeros(9, 3, 25), torch.zeros(9, 3, 25)
    for kind in range(9):
        distance[kind, IN_SIGHT] = table(0.0, 0.03)
        distance[kind, HIDDEN] = table(0.0, 0.06)
        distance[kind, OUTSIDE] = table(0.0, 0.1)
        sure[kind, IN_SIGHT] = table(0.6, 1.0)
        sure[kind, HIDDEN] = table(0.3, 0.8)
        sure[kind, OUTSIDE] = table(0.0, 0.3)
    bias = torch.zeros(9, 3, 2)
    bias[KINDS.index("hip"), IN_SIGHT] = torch.tensor([0.02, 0.01])
    swap = tuple(0.1 if kind == "knee" else 0.0 for kind in KINDS)
    lost = torch.zeros(25)
    lost[[3, 4]] = 0.2
    return MeasuredModel(
        keypoints=keypoint_errors(
            distance=distance, confidence=sure, bias=bias, swap=swap,
            distance_shared=0.3, confidence_shared=0.3, shared_tie=-0.7, own_tie=-0.3,
        ),
        masks=mask_errors(
            offset=table(-0.02, 0.03), offset_shared=0.2, soft=torch.full((len(SCORES),), 0.004),
            claimed=0.6, lost=lost, spill=0.3, spill_radius=NONE * 2,
        ),
        missed=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def refitted(truth: Truth) -> tuple[MeasuredModel, MeasuredModel, Sightings]:
    """A known model, the fit to what it made of people, and that."""
    known = known_model()
    people = Sightings(truth, corrupt(chance(192), truth, known), torch.ones(192, dtype=torch.bool))
    people = simulate(known, people, seed=5, repeats=2)
    return known, fit(people, rounds=2), people


def test_fits_find_the_key_points_errors_again(
    refitted: tuple[MeasuredModel, MeasuredModel, Sightings],
) -> None:
    known, fitted, people = refitted
    found, true = fitted.keypoints, known.keypoints
    middle = slice(6, 19)  # scores -1.5 to 1.5
    states = people.truth.states
    kinds = torch.tensor(KIND).expand_as(states)
    for k, kind in enumerate(KINDS):
        for s in (IN_SIGHT, HIDDEN):
            if ((kinds == k) & (states == s)).sum() < 200 or kind == "knee":
                continue
            high = float(true.distance[k, s].max())
            apart = (found.distance[k, s] - true.distance[k, s])[middle].abs().max()
            assert apart < 0.15 * high, (kind, STATES[s])
            assert (found.confidence[k, s] - true.confidence[k, s])[middle].abs().max() < 0.06
    hip = KINDS.index("hip")
    torch.testing.assert_close(
        found.bias[hip, IN_SIGHT], true.bias[hip, IN_SIGHT], rtol=0, atol=0.003
    )
    assert found.bias[KINDS.index("ankle"), IN_SIGHT].abs().max() < 0.003
    assert found.distance_shared == pytest.approx(0.3, abs=0.1)
    assert found.confidence_shared == pytest.approx(0.3, abs=0.1)
    assert found.shared_tie == pytest.approx(-0.7, abs=0.2)
    assert found.own_tie == pytest.approx(-0.3, abs=0.15)
    assert found.swap[KINDS.index("knee")] == pytest.approx(0.1, abs=0.04)
    assert found.swap[KINDS.index("shoulder")] < 0.02 and max(found.sides) < 0.02


def test_fits_find_the_masks_errors_again(
    refitted: tuple[MeasuredModel, MeasuredModel, Sightings],
) -> None:
    known, fitted, people = refitted
    assert fitted.masks.claimed == pytest.approx(known.masks.claimed, abs=0.15)
    assert (fitted.masks.offset - known.masks.offset)[6:19].abs().max() < 0.008
    assert fitted.masks.soft[12].item() == pytest.approx(0.004, rel=0.3)
    assert fitted.masks.lost[3].item() == pytest.approx(0.2, abs=0.1)
    assert fitted.masks.lost[[1, 2, 9, 10, 23, 24]].max() < 0.05
    # What counts is what comes out: the fit's masks are as wrong as the known model's.
    one, two = mistakes(people), mistakes(simulate(fitted, people, seed=9))
    assert two.overlap.mean().item() == pytest.approx(one.overlap.mean().item(), abs=0.02)
    assert (two.spill > 0).double().mean().item() == pytest.approx(
        (one.spill > 0).double().mean().item(), abs=0.06
    )


def test_too_few_people_are_no_fit(truth: Truth) -> None:
    nobody = torch.zeros(192, dtype=torch.bool)
    with pytest.raises(ValueError, match="wanted at least 40 people.* came 0 of 192"):
        fit(Sightings(truth, corrupt(chance(192), truth, CALM), nobody))


# Files.


def test_models_survive_their_files(tmp_path: Path) -> None:
    model = replace(known_model(), provenance={"front_end": "fake", "count": 3})
    write_measured(tmp_path / "model.json", model)
    read = read_measured(tmp_path / "model.json")
    assert read.provenance == model.provenance and read.masks.cells == 12
    for part in ("keypoints", "masks"):
        for name, value in vars(getattr(model, part)).items():
            torch.testing.assert_close(
                torch.as_tensor(getattr(getattr(read, part), name)),
                torch.as_tensor(value),
                rtol=1e-4,
                atol=1e-6,
            )


def spoil(change: Callable[[dict[str, Any]], None], path: Path) -> None:
    write_measured(path, CALM)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema="other"), f"wanted a model of schema {SCHEMA}, came other"),
        (lambda c: c["masks"].pop("soft"), "wanted the entry 'soft'"),
        (lambda c: c["masks"].update(spill=1.2), "spill: wanted 0 to 1, came 1.2"),
        (lambda c: c["masks"].update(lost=[0.0] * 24), r"lost: wanted .*\(25,\), came \(24,\)"),
        (lambda c: c["keypoints"].update(swap=[float("nan")] * 9), "swap: wanted 0 to 1, came nan"),
        (lambda c: c["masks"]["offset"].reverse() or c["masks"]["offset"].append(-0.5)
            or c["masks"]["offset"].pop(0), "offset: wanted quantiles that rise"),
        (lambda c: c.update(kinds=["nose"]), "kinds and states"),
        (lambda c: c["keypoints"].update(sides="often"), "invalid data type"),
    ],
)  # fmt: skip
def test_spoilt_files_are_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.json"
    spoil(change, path)
    with pytest.raises(ValueError, match=message) as caught:
        read_measured(path)
    assert str(path) in str(caught.value) and "do: " in str(caught.value)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    for content in (b"{", b"\xff\xfe\x00", b"[]"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="wanted a"):
            read_measured(path)
