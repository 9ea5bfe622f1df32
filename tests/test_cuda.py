"""The stream on a real GPU: the same scenes as on the CPU, nearly the same pictures, every time.

What chance decides is equal bit for bit. Vertices are not: matrix products differ in their last
bits, so that now and then a pixel at an edge shows the other side of it, and colours differ a
little. What these tests say of a device they do not say of this machine, if it has none; the steps
themselves are tried by `test_devices.py` everywhere.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from plausibody.config import RunConfig, override
from plausibody.models.proxy import ProxySettings
from plausibody.models.records import map_tensors, take, to_device
from plausibody.presets import preset, stream_config
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.generator import BLOCK_CUDA, BatchGenerator, StreamSettings
from plausibody.synth.hierprob import CHANNELS, HierprobSettings
from plausibody.synth.hierprob_scene import Scenes
from plausibody.synth.lasor import LasorSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.looks import Looks
from plausibody.synth.occluder_people import PeopleSettings, draw_people
from plausibody.synth.scene import draw_camera, draw_tilt
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsSettings
from plausibody.synth.texture_outfits import LOWER
from plausibody.synth.textures import SEMANTICS, TextureBank
from plausibody.synth.views import VIEWPOINTS
from plausibody.training.run import train_run

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICES = ("cpu", "cuda")
RECIPES = ("lite", "straps", "hierprob", "lasor")
SIZE = 128
COUNT = 32


def textures() -> TextureBank:
    """Clouds of colours on shirts and skirts."""
    noise = Chance(3, torch.arange(4)).uniform("texture", 3, 12, 8)
    smooth = functional.interpolate(noise, (600, 400), mode="bilinear")
    images = (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    semantics = torch.full((4, 600, 400), SEMANTICS.index("upper"), dtype=torch.uint8)
    semantics[:, 300:] = SEMANTICS.index("lower")
    garments = torch.zeros(4, 4, dtype=torch.uint8)
    garments[:2, 1] = LOWER.index("skirt")
    return TextureBank(images, semantics, garments, torch.tensor([False, False, False, True]))


@pytest.fixture(scope="module")
def coloured(assets: SynthAssets) -> SynthAssets:
    looks = Looks.of(load_chart(assets.template), textures(), load_backgrounds())
    return dataclasses.replace(assets, looks=looks)


SETTINGS = StreamSettings(
    lite=LiteSettings(frame=SIZE),
    straps=StrapsSettings(size=SIZE),
    hierprob=HierprobSettings(size=SIZE, garments=GarmentSettings(), channels=CHANNELS),
    lasor=LasorSettings(straps=dataclasses.replace(LasorSettings().straps, size=SIZE)),
)


def stream(
    assets: SynthAssets, recipe: str, device: str, batch_size: int = COUNT, **settings: Any
) -> BatchGenerator:
    proxy = ProxySettings(size=SIZE, channel="edges" if recipe == "hierprob" else "silhouette")
    changed = dataclasses.replace(SETTINGS, recipe=recipe, **settings)
    return BatchGenerator.of(changed, proxy, assets, batch_size, device=device)


def listed(record: Any) -> dict[str, Tensor]:
    """Gives all tensors of a record, on the CPU, numbered as they come."""
    found: dict[str, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        found[str(len(found))] = tensor.cpu()
        return tensor

    map_tensors(record, keep)
    return found


def same(first: Any, second: Any) -> bool:
    mine, theirs = listed(first), listed(second)
    assert mine
    assert mine.keys() == theirs.keys()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def share(agreeing: Tensor) -> float:
    return float(agreeing.double().mean())


def test_chance_draws_the_same() -> None:
    seed, numbers = 2**40 + 5, torch.arange(10**12, 10**12 + 1000)
    here, there = (Chance(seed, numbers.to(device)) for device in DEVICES)
    assert same({"bits": here.bits("a", 7, 3)}, {"bits": there.bits("a", 7, 3)})
    assert torch.equal(here.uniform("b", 9, low=-0.3, high=7.1),
                       there.uniform("b", 9, low=-0.3, high=7.1).cpu())  # fmt: skip
    assert torch.equal(here.normal("c", 9, mean=3.3, std=0.7),
                       there.normal("c", 9, mean=3.3, std=0.7).cpu())  # fmt: skip
    assert torch.equal(here.chance("d", 0.3, 9), there.chance("d", 0.3, 9).cpu())
    assert torch.equal(here.integer("e", 12345, 9), there.integer("e", 12345, 9).cpu())


@pytest.mark.parametrize("viewpoint", ["", "wide"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_draws_the_same_people(
    coloured: SynthAssets, recipe: str, viewpoint: str
) -> None:
    count = 512
    here, there = (
        stream(coloured, recipe, device, count, viewpoint=viewpoint)[0] for device in DEVICES
    )
    assert here.proxy.silhouette.device.type == "cpu"
    assert there.proxy.silhouette.is_cuda
    assert same(here.target.parameters, there.target.parameters)


@pytest.mark.parametrize("viewpoint", VIEWPOINTS)
def test_cameras_are_the_same(viewpoint: str) -> None:
    numbers, camera = torch.arange(512), VIEWPOINTS[viewpoint].camera
    here, there = (draw_camera(Chance(1, numbers.to(device)), camera) for device in DEVICES)
    assert same(here, there)


@pytest.mark.parametrize("mass_index", [None, (18.0, 35.0)])
def test_scenes_are_the_same(coloured: SynthAssets, mass_index: tuple[float, float] | None) -> None:
    settings = dataclasses.replace(SETTINGS.hierprob, mass_index=mass_index)
    scenes = []
    for device in DEVICES:
        placed = coloured.to(device)
        assert placed.looks is not None
        drawn = Scenes(settings, placed, placed.looks).draw(
            Chance(2, torch.arange(512, device=device))
        )
        scenes.append(to_device(drawn, "cpu"))
    here, there = scenes
    assert same(here.crop.parameters, there.crop.parameters)
    assert same(here.lights, there.lights)
    assert torch.equal(here.texture, there.texture)
    assert torch.equal(here.gain, there.gain)
    for name in ("removed", "square", "body", "picture"):
        assert torch.equal(getattr(here.damage, name), getattr(there.damage, name)), name
    # What depends on vertices differs in last bits.
    assert torch.allclose(here.crop.vertices, there.crop.vertices, atol=1e-5)
    assert torch.allclose(here.crop.truth, there.crop.truth, rtol=1e-5, atol=1e-2)
    assert share(here.damage.seen == there.damage.seen) >= 0.999


def test_other_people_are_the_same(assets: SynthAssets) -> None:
    view, found = VIEWPOINTS["lasor"].view, []
    for device in DEVICES:
        chance, placed = Chance(4, torch.arange(256, device=device)), assets.to(device)
        person = torch.zeros(256, 2, 3, device=device)
        people = draw_people(
            chance, placed.bank, placed.coarse.skin, draw_tilt(chance, view), person,
            PeopleSettings(),
        )  # fmt: skip
        found.append(to_device(people, "cpu"))
    here, there = found
    assert same(here.parameters, there.parameters)
    for name in ("there", "in_front", "aside", "apart"):
        assert torch.equal(getattr(here, name), getattr(there, name)), name
    assert torch.allclose(here.vertices, there.vertices, atol=1e-5)


@pytest.mark.parametrize("recipe", ["lite", "straps", "lasor"])
def test_silhouettes_and_key_points_agree(coloured: SynthAssets, recipe: str) -> None:
    here, there = (to_device(stream(coloured, recipe, device)[0], "cpu") for device in DEVICES)
    # A pixel at an outline may differ, and where it is the outermost it moves the person's box.
    gap = (here.proxy.silhouette - there.proxy.silhouette).abs()
    assert share(gap <= 0.02) >= 0.999
    alike = (here.proxy.keypoints - there.proxy.keypoints).abs().amax(-1) <= 0.01
    assert share(alike) >= 0.99
    for name, channel in here.channels.items():
        assert share(channel == there.channels[name]) >= 0.999, name


@pytest.mark.parametrize("supersample", [1, 2])
def test_rendered_channels_agree(coloured: SynthAssets, supersample: int) -> None:
    hierprob = dataclasses.replace(SETTINGS.hierprob, supersample=supersample)
    here, there = (
        to_device(stream(coloured, "hierprob", device, hierprob=hierprob)[0], "cpu")
        for device in DEVICES
    )
    ours, theirs = here.channels, there.channels
    for name in ("part24", "part14", "part6", "semantics"):
        assert share(ours[name] == theirs[name]) >= 0.999, name
    assert share(ours["joint_visibility"] == theirs["joint_visibility"]) >= 0.99
    assert share((ours["silhouette"] - theirs["silhouette"]).abs() <= 0.01) >= 0.999
    assert share((ours["depth"] - theirs["depth"]).abs() <= 1e-3) >= 0.999
    assert share(ours["iuv"][:, 0] == theirs["iuv"][:, 0]) >= 0.999
    assert share((ours["iuv"][:, 1:] - theirs["iuv"][:, 1:]).abs() <= 0.01) >= 0.99
    assert share((ours["normals"] - theirs["normals"]).abs() <= 0.01) >= 0.99
    assert share((ours["rgb"] - theirs["rgb"]).abs() <= 2 / 255) >= 0.99
    assert here.proxy.edges is not None
    assert there.proxy.edges is not None
    # A strict maximum that is a maximum by a last bit may be none.
    assert share((here.proxy.edges - there.proxy.edges).abs() <= 0.05) >= 0.99


@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_repeats_are_identical(coloured: SynthAssets, recipe: str) -> None:
    first = stream(coloured, recipe, "cuda", BLOCK_CUDA)[0]
    for _ in range(19):
        assert same(stream(coloured, recipe, "cuda", BLOCK_CUDA)[0], first)


@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_are_the_same_in_any_order(coloured: SynthAssets, recipe: str) -> None:
    steps, length = 3 * BLOCK_CUDA // 96, 96
    forwards = stream(coloured, recipe, "cuda", length)
    in_turn = [to_device(forwards[step], "cpu") for step in range(steps)]
    backwards = stream(coloured, recipe, "cuda", length)
    for step in reversed(range(steps)):
        assert same(backwards[step], in_turn[step])
    others = stream(coloured, recipe, "cuda", 7)
    for step in (0, BLOCK_CUDA // 7, 5):
        first = 7 * step
        batch, at = in_turn[first // length], first % length
        if at + 7 <= length:
            assert same(others[step], take(batch, slice(at, at + 7)))


@contextmanager
def waiting_refused() -> Iterator[None]:
    """Lets torch raise where it would wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("recipe", ["lite", "straps", "lasor"])
def test_making_samples_does_not_wait_for_the_gpu(coloured: SynthAssets, recipe: str) -> None:
    generator = stream(coloured, recipe, "cuda", BLOCK_CUDA)
    first = generator[0]  # tables that are kept are made now
    with waiting_refused():
        second: Batch = generator[1]
    assert not torch.equal(first.proxy.silhouette, second.proxy.silhouette)


def small(config: RunConfig, method: str) -> RunConfig:
    changes: dict[str, Any] = {
        "train.batch_size": 16, "train.steps": 6, "train.warm_up": 2, "train.log_every": 1,
        "train.validate_every": 6, "train.checkpoint_every": 3,
    }  # fmt: skip
    if method == "lite":
        changes |= {"stream.lite.frame": 64, "proxy.size": 64}
    return override(config, changes)


@pytest.mark.parametrize("method", ["lite", "straps", "hierprob"])
def test_training_on_cuda_learns_saves_and_goes_on(method: str, tmp_path: Path) -> None:
    config = preset("lite") if method == "lite" else stream_config(method)
    config = small(config, method)
    out = tmp_path / "run"
    losses: list[float] = []
    weights = train_run(
        config, out, "cuda", watch=lambda progress: losses.append(progress.parts["loss"])
    )
    assert weights.exists()
    assert len(losses) == 6
    assert all(torch.tensor(losses).isfinite())
    longer = override(config, {"train.steps": 8})
    train_run(longer, out, "cuda", resume=True)
    lines = [json.loads(line) for line in (out / "curves.jsonl").read_text("utf-8").splitlines()]
    assert max(line["step"] for line in lines) == 8
