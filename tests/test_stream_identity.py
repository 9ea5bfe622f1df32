"""Sample n of every recipe is the same bit for bit, however many are made, where and by how many.

`test_generator` holds the stream itself to that; here are all recipes, with everything switched on
that draws or renders more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from plausibody.config import RunConfig, override
from plausibody.presets import stream_config
from plausibody.synth.batch import Batch
from plausibody.synth.generator import BatchGenerator, keep_channels
from plausibody.synth.looks import load_looks
from plausibody.synth.stores import SynthAssets
from plausibody.synth.texture_cache import TextureSettings

ALL_ON = {
    "lite": {"stream.lite.errors": "measured", "stream.lite.frame": 40},
    "straps": {"stream.straps.errors": "measured", "stream.straps.size": 48},
    "lasor": {"stream.lasor.straps.errors": "measured", "stream.lasor.straps.size": 48},
    "hierprob": {
        "stream.hierprob.errors": "measured",
        "stream.hierprob.size": 48,
        "stream.hierprob.garments.worn": 1.0,
        "stream.hierprob.mass_index": (17.0, 38.0),
        "stream.hierprob.supersample": 2,
    },
}


@pytest.fixture(scope="module")
def everything(
    assets: SynthAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SynthAssets]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        looks = load_looks(assets.template, TextureSettings(count=3, size=(240, 160)))
        yield dataclasses.replace(assets, looks=looks)


def config(recipe: str, batch_size: int, assets: SynthAssets) -> RunConfig:
    values = {"train.batch_size": batch_size, "proxy.size": 48, "stream.viewpoint": "wide"}
    made = override(stream_config(recipe), values | ALL_ON[recipe])
    return dataclasses.replace(made, stream=keep_channels(made.stream, assets))


def tensors(batch: Batch) -> dict[str, Tensor]:
    made = {
        "silhouette": batch.proxy.silhouette,
        "keypoints": batch.proxy.keypoints,
        "centre": batch.proxy.box.centre,
        "shape": batch.target.parameters.shape,
        "rotations": batch.target.parameters.rotations,
        "places": batch.target.keypoints,
    }
    if batch.proxy.edges is not None:
        made["edges"] = batch.proxy.edges
    return made | batch.channels


@pytest.mark.parametrize("recipe", ["lite", "straps", "lasor", "hierprob"])
def test_a_sample_is_the_same_wherever_it_is_made(everything: SynthAssets, recipe: str) -> None:
    whole = tensors(BatchGenerator(config(recipe, 70, everything), everything)[0])
    assert recipe != "hierprob" or {"edges", "rgb", "iuv", "semantics"} <= whole.keys()
    # Another process of a run with batches of seven, started anew at its ninth, on two threads.
    torch.set_num_threads(2)
    try:
        batch = BatchGenerator(config(recipe, 7, everything), everything)[9]
    finally:
        torch.set_num_threads(1)
    assert len(batch) == 7
    for name, tensor in tensors(batch).items():
        assert torch.equal(tensor, whole[name][63:70]), name
