"""Stateless chance: the same numbers for ever, whoever asks, and no pattern in them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.synth import chance_numba
from plausibody.synth.chance import Chance, _mix

COUNT = 1 << 15

GOLDEN_BITS = [4157219737, 1256323603, 1118820762, 2398419196]
GOLDEN_PAIR = [2841987101, 1474963985]
GOLDEN_UNIFORM = [0.07302159070968628, 0.2669702172279358, 0.46591293811798096, 0.1803264021873474]
GOLDEN_NORMAL = [1.8840733766555786, 0.41712090373039246, -0.7738134264945984, 0.7392881512641907]
GOLDEN_NEGATIVE_SEED = [1373454182]


def chance(seed: int = 0, first: int = 0, count: int = COUNT) -> Chance:
    return Chance(seed, torch.arange(first, first + count))


def correlation(first: Tensor, second: Tensor) -> float:
    both = torch.stack([first.flatten().double(), second.flatten().double()])
    return abs(torch.corrcoef(both)[0, 1].item())


def test_the_numbers_are_those_of_the_first_release() -> None:
    """Trained weights name a stream by its seed alone: these values must never change."""
    drawn = Chance(7, torch.tensor([0, 1, 2_000_000, 2**33]))
    assert drawn.bits("pose").tolist() == GOLDEN_BITS
    assert drawn.bits("shape", 2)[1].tolist() == GOLDEN_PAIR
    assert drawn.uniform("view/yaw").tolist() == GOLDEN_UNIFORM
    assert drawn.normal("shape").tolist() == GOLDEN_NORMAL
    assert Chance(-1, torch.tensor([5])).bits("pose").tolist() == GOLDEN_NEGATIVE_SEED


def test_streams_of_different_seeds_are_no_shifts_of_each_other() -> None:
    def start(seed: int) -> int:
        return int(_mix(_mix(torch.tensor(seed))))

    shift = (start(0) - start(1)) % 2**32
    first, second = chance(0, count=64), chance(1, first=shift, count=64)
    assert torch.equal(first._key, second._key)  # one key alone would give the same samples
    assert not (first.bits("x", 8) == second.bits("x", 8)).any()


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 5, -1])
@pytest.mark.parametrize("first", [0, 2**32 - 3, 10**12])
def test_the_loop_draws_as_the_steps_do(
    seed: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws() -> list[Tensor]:
        drawn = chance(seed, first, 50)
        return [
            *(drawn.bits(f"name/{number}") for number in range(20)),
            *(drawn.bits("several", 7, 300), drawn.bits("none", 0)),
            *(drawn.uniform("uniform", 9), drawn.uniform("uniform", 9, low=-0.3, high=7.1)),
            *(drawn.normal("normal", 9, mean=3.3, std=0.7), drawn.integer("integer", 12345, 9)),
        ]

    assert chance()._kernels() is chance_numba
    at_once = draws()
    monkeypatch.setattr(Chance, "_kernels", lambda self: None)
    for one, other in zip(draws(), at_once, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_any_subset_in_any_order_draws_the_same(shape: tuple[int, ...]) -> None:
    whole = chance(count=1000).normal("x", *shape)
    some = torch.tensor([999, 3, 500, 3])
    assert torch.equal(Chance(0, some).normal("x", *shape), whole[some])
    assert torch.equal(chance(first=700, count=100).normal("x", *shape), whole[700:800])


def test_asking_twice_or_for_other_names_between_changes_nothing() -> None:
    drawn = chance(count=10)
    before = drawn.bits("x", 3)
    drawn.uniform("y", 100)
    assert torch.equal(drawn.bits("x", 3), before)


def test_uniforms_are_uniform() -> None:
    drawn = chance().uniform("x", 4)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = torch.histc(drawn, 256, 0, 1)
    expected = drawn.numel() / 256
    surprise = ((counts - expected).square() / expected).sum().item()
    assert abs(surprise - 255) < 5 * math.sqrt(2 * 255), "chi-squared with 255 degrees of freedom"


@pytest.mark.parametrize("bit", range(32))
def test_every_bit_is_fair(bit: int) -> None:
    ones = ((chance().bits("x") >> bit) & 1).double().mean().item()
    assert abs(ones - 0.5) < 5 * 0.5 / math.sqrt(COUNT)


def test_consecutive_samples_do_not_share_bits() -> None:
    bits = chance().bits("x")
    changed = bits[1:] ^ bits[:-1]
    flips = torch.stack([((changed >> bit) & 1).double().mean() for bit in range(32)])
    assert (flips - 0.5).abs().max() < 6 * 0.5 / math.sqrt(COUNT)


def test_names_samples_entries_and_seeds_are_independent() -> None:
    drawn, bound = chance().normal("x", 2), 5 / math.sqrt(COUNT)
    assert correlation(drawn[:, 0], drawn[:, 1]) < bound
    assert correlation(drawn[1:, 0], drawn[:-1, 0]) < bound
    assert correlation(drawn[1:, 0], drawn[:-1, 1]) < bound
    for other in (chance().normal("y", 2), chance(seed=1).normal("x", 2)):
        assert correlation(drawn, other) < bound
        assert correlation(drawn[1:], other[:-1]) < bound
    assert correlation(chance().normal("box/0"), chance().normal("box/1")) < bound


def test_seeds_use_all_their_bits() -> None:
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**40, -1]
    drawn = {tuple(chance(seed, count=4).bits("x").tolist()) for seed in seeds}
    assert len(drawn) == len(seeds)


def test_samples_beyond_32_bits_are_new() -> None:
    low, high = chance(count=100), chance(first=2**32, count=100)
    assert not (low.bits("x") == high.bits("x")).any()


def test_no_two_samples_draw_alike() -> None:
    assert len(chance(count=1 << 17).bits("x", 2).unique(dim=0)) == 1 << 17


def test_normals_have_the_moments_of_normals() -> None:
    drawn = chance().normal("x", 8, mean=2.0, std=3.0).double()
    unit = (drawn - 2) / 3
    error = 5 / math.sqrt(unit.numel())
    assert abs(unit.mean()) < error
    assert abs(unit.var() - 1) < 2 * error
    assert abs(unit.pow(3).mean()) < 4 * error
    assert abs(unit.pow(4).mean() - 3) < 10 * error
    assert unit.abs().max() < 4.33
    within = (unit.abs() < 1).double().mean().item()
    assert within == pytest.approx(math.erf(math.sqrt(0.5)), abs=error)


def test_ranges() -> None:
    drawn = chance().uniform("x", low=-3.0, high=5.0)
    assert -3 <= drawn.min() < -2.99 and 4.99 < drawn.max() <= 5
    assert drawn.mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("below", [1, 2, 7, 38_810, 2**31 - 1])
def test_integers_stay_in_range_and_reach_both_ends(below: int) -> None:
    drawn = chance().integer("x", below, 3)
    assert drawn.min() >= 0 and drawn.max() < below
    if below <= 7:
        counts = drawn.flatten().bincount(minlength=below).double()
        expected = drawn.numel() / below
        assert (counts - expected).abs().max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("below", [0, -1, 2**31])
def test_impossible_bounds_are_refused(below: int) -> None:
    with pytest.raises(ValueError, match=f"pose: wanted a bound .* got {below}"):
        chance(count=1).integer("pose", below)


@pytest.mark.parametrize("probability", [0.0, 0.06, 0.5, 1.0])
def test_probabilities(probability: float) -> None:
    hits = chance().chance("x", probability).double().mean().item()
    spread = math.sqrt(probability * (1 - probability) / COUNT)
    assert abs(hits - probability) <= 5 * spread
