"""The stream: the same samples bit for bit, however one asks for them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from plausibody.models.proxy import ProxySettings
from plausibody.models.records import concatenate, take
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BLOCK, BatchGenerator, StreamSettings, prefetch
from plausibody.synth.lite import LiteSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsSettings

SETTINGS = StreamSettings(
    lite=LiteSettings(frame=40), straps=dataclasses.replace(StrapsSettings(), size=32)
)
PROXY = ProxySettings(size=32)
LAST = 3 * BLOCK


def stream(
    assets: SynthAssets,
    batch_size: int = 32,
    recipe: str = "lite",
    seed: int = 0,
    viewpoint: str = "",
) -> BatchGenerator:
    settings = dataclasses.replace(SETTINGS, recipe=recipe, seed=seed, viewpoint=viewpoint)
    return BatchGenerator.of(settings, PROXY, assets, batch_size)


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {
        "silhouette": batch.proxy.silhouette,
        "keypoints": batch.proxy.keypoints,
        "centre": batch.proxy.box.centre,
        "side": batch.proxy.box.side,
        "shape": batch.target.parameters.shape,
        "rotations": batch.target.parameters.rotations,
        "places": batch.target.keypoints,
    }


def assert_same(first: Batch, second: Batch) -> None:
    for name, tensor in tensors(first).items():
        assert torch.equal(tensor, tensors(second)[name]), name


@pytest.fixture(scope="module")
def whole(assets: SynthAssets) -> Batch:
    return stream(assets, LAST)[0]


@pytest.mark.parametrize("batch_size", [7, 32, 64, 100])
def test_samples_do_not_depend_on_the_batch_size(
    assets: SynthAssets, whole: Batch, batch_size: int
) -> None:
    generator = stream(assets, batch_size)
    batches = [generator[step] for step in range(LAST // batch_size)]
    assert all(len(batch) == batch_size for batch in batches)
    assert_same(concatenate(batches), take(whole, slice(0, LAST // batch_size * batch_size)))


def test_samples_one_by_one(assets: SynthAssets, whole: Batch) -> None:
    generator = stream(assets, 1)
    for step in (0, 1, BLOCK - 1, BLOCK, LAST - 1):
        assert_same(generator[step], take(whole, slice(step, step + 1)))


def test_the_straps_recipe_does_not_depend_on_the_batch_size_either(assets: SynthAssets) -> None:
    large = stream(assets, BLOCK + 6, "straps")[0]
    small = stream(assets, 7, "straps")
    for step in (0, 9):
        assert_same(small[step], take(large, slice(7 * step, 7 * step + 7)))


@pytest.mark.parametrize("step", [0, 3, 13, 26])
def test_a_restart_at_any_step_goes_on_alike(assets: SynthAssets, whole: Batch, step: int) -> None:
    assert_same(stream(assets, 7)[step], take(whole, slice(7 * step, 7 * step + 7)))


def test_steps_may_be_asked_for_in_any_order(assets: SynthAssets, whole: Batch) -> None:
    generator = stream(assets, 32)
    for step in (5, 0, 3, 0, 5):
        assert_same(generator[step], take(whole, slice(32 * step, 32 * step + 32)))


def test_the_number_of_threads_does_not_matter(assets: SynthAssets, whole: Batch) -> None:
    torch.set_num_threads(2)
    try:
        assert_same(stream(assets, BLOCK)[0], take(whole, slice(0, BLOCK)))
    finally:
        torch.set_num_threads(1)


def test_both_rasterisers_give_the_same_stream(assets: SynthAssets, whole: Batch) -> None:
    generator = BatchGenerator.of(SETTINGS, PROXY, assets, 8, "torch")
    assert_same(generator[1], take(whole, slice(8, 16)))


def test_samples_and_seeds_differ(assets: SynthAssets, whole: Batch) -> None:
    shape = whole.target.parameters.shape
    assert len(shape.unique(dim=0)) == LAST
    other = stream(assets, BLOCK, seed=1)[0]
    assert not (other.target.parameters.shape == shape[:BLOCK]).any()


def test_chosen_samples(assets: SynthAssets, whole: Batch) -> None:
    generator = stream(assets)
    assert_same(generator.samples(60, 10), take(whole, slice(60, 70)))
    for first, count in ((-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="wanted samples from 0 on"):
            generator.samples(first, count)


def test_unknown_recipes_are_refused(assets: SynthAssets) -> None:
    with pytest.raises(ValueError, match="recipe: wanted one of lite, .*, got 'surreal'"):
        stream(assets, recipe="surreal")


def test_prefetched_batches_are_the_same(assets: SynthAssets, whole: Batch) -> None:
    steps = []
    for step, batch in prefetch(stream(assets, 32), 1, 6, ahead=2):
        assert_same(batch, take(whole, slice(32 * step, 32 * step + 32)))
        steps.append(step)
    assert steps == [1, 2, 3, 4, 5]
    assert not synthesising()


def test_nothing_to_prefetch(assets: SynthAssets) -> None:
    assert list(prefetch(stream(assets), 4, 4)) == []


class Troubled(BatchGenerator):
    """Fails at a step, or hands out one batch for ever."""

    def __init__(self, batch: Batch, fails_at: int | None = None):
        self.batch, self.fails_at, self.made = batch, fails_at, 0
        self.device = torch.device("cpu")

    def __getitem__(self, step: int) -> Batch:
        if step == self.fails_at:
            raise FloatingPointError(f"no batch at {step}")
        self.made += 1
        return self.batch


def synthesising() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "synthesis"]


def test_errors_of_the_thread_arrive_at_their_step(whole: Batch) -> None:
    batches: Iterator[tuple[int, Batch]] = prefetch(Troubled(whole, fails_at=3), 0, 9)
    assert [next(batches)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(FloatingPointError, match="no batch at 3"):
        next(batches)
    assert not synthesising()


def test_a_consumer_that_stops_early_stops_the_thread(whole: Batch) -> None:
    generator = Troubled(whole)
    batches = prefetch(generator, 0, 10**9, ahead=3)
    assert next(batches)[0] == 0
    batches.close()
    assert not synthesising()
    assert generator.made < 10


def test_a_consumer_that_fails_stops_the_thread(whole: Batch) -> None:
    with pytest.raises(RuntimeError, match="consumer"):  # noqa: PT012
        for _ in prefetch(Troubled(whole), 0, 10**9):
            raise RuntimeError("consumer")
    assert not synthesising()


def test_people_can_be_seen_from_another_recipes_viewpoint(assets: SynthAssets) -> None:
    own, wide = stream(assets), stream(assets, viewpoint="wide")
    first, second = own.samples(0, 16).target, wide.samples(0, 16).target
    assert torch.equal(first.parameters.shape, second.parameters.shape)
    assert not torch.equal(first.parameters.rotations[:, 0], second.parameters.rotations[:, 0])
    assert torch.equal(first.parameters.rotations[:, 1:], second.parameters.rotations[:, 1:])
    with pytest.raises(ValueError, match="viewpoint: wanted one of .*wide.*, got 'moon'"):
        stream(assets, viewpoint="moon")


def test_recipes_with_colours_ask_for_them(assets: SynthAssets) -> None:
    with pytest.raises(ValueError, match="wanted assets with textures"):
        stream(assets, recipe="hierprob")
