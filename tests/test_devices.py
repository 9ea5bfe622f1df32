"""The stream on a GPU, tried without one: no step may mix tensors of two devices, or wait often.

`Pretended` stands for a GPU. Its tensors lie in this machine's memory and are computed by this
machine's CPU, but they say that they are on `DEVICE`; functions that are given tensors of both
devices raise, as CUDA's do, and so does numpy. It keeps a list of the places where a real GPU would
have to be waited for: values read by Python, lengths that depend on values, and uploads of lists.
Kernels are not tried: everything is drawn by the torch backends.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

import plausibody
from plausibody.config import override
from plausibody.evaluate import run
from plausibody.models import edges
from plausibody.models.edges import canny
from plausibody.models.likelihood import HierprobLoss, LikelihoodLoss
from plausibody.models.losses import LiteLoss, Moment, StrapsLoss, Target
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Observation, ProxySettings, make_drawn_proxy, make_proxy
from plausibody.models.records import map_tensors, to_device
from plausibody.models.regressor import LiteRegressor
from plausibody.models.rotations import rotvec_to_rotmat
from plausibody.models.weights import find_weights, load_regressor
from plausibody.presets import preset
from plausibody.synth import chance, generator, raster
from plausibody.synth.backgrounds import load_backgrounds
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.charts import load_chart
from plausibody.synth.garments import GarmentSettings
from plausibody.synth.generator import BatchGenerator, StreamSettings
from plausibody.synth.hierprob import CHANNELS, HierprobSettings
from plausibody.synth.lasor import LasorSettings
from plausibody.synth.lite import LiteSettings
from plausibody.synth.looks import Looks
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsSettings
from plausibody.synth.texture_outfits import LOWER
from plausibody.synth.textures import SEMANTICS, TextureBank
from plausibody.training.objective import build_objective
from plausibody.training.trainer import build_model

DEVICE = torch.device("cuda", 99)
"""No machine has so many: what modules keep per device is not taken for a real GPU's."""
CPU = torch.device("cpu")
SIZE = 48

_READ = {
    *(Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__int__, Tensor.__float__),
    *(Tensor.__index__, torch.equal, Tensor.equal, torch.allclose),
}
_COUNTED = {
    *(Tensor.nonzero, torch.nonzero, Tensor.unique, torch.unique, Tensor.masked_select),
    *(torch.masked_select, torch.bincount, Tensor.bincount),
}
_REPEATED = {torch.repeat_interleave, Tensor.repeat_interleave}


class OnDevice(Tensor):
    """A tensor that is said to be on `DEVICE`."""


def put(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(OnDevice)


def take_back(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


class Pretended(TorchFunctionMode):
    """While it is entered there is a GPU, `DEVICE`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        """What had to be waited for, and where."""

    def _wait(self, why: str) -> None:
        package = str(Path(plausibody.__file__).parents[1])
        frames = [f for f in traceback.extract_stack() if f.filename.startswith(package)]
        inner = [f for f in frames if f.filename != __file__]
        at = f"{Path(inner[-1].filename).name}: {inner[-1].line}" if inner else "a test"
        self.waits.append(f"{why} in {at}")

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(isinstance(tensor, OnDevice) for tensor in tensors)
        with torch._C.DisableTorchFunctionSubclass():
            if there and function == Tensor.device.__get__:
                return DEVICE
            if there and function in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
                return function == Tensor.is_cuda.__get__
            if function in (Tensor.to, Tensor.cpu, Tensor.cuda):
                return self._move(function, args[0], list(args[1:]), kwargs)
            if kwargs.get("device") is not None:
                return self._make(function, args, kwargs)
            if there:
                return self._run(function, args, kwargs, tensors)
            return function(*args, **kwargs)

    def _move(
        self, function: Callable[..., Any], tensor: Tensor, options: list[Any], named: Any
    ) -> Tensor:
        """Does as `Tensor.to` and its kin."""
        source = DEVICE if isinstance(tensor, OnDevice) else CPU
        target = {Tensor.cpu: CPU, Tensor.cuda: DEVICE}.get(function, source)
        rest = []
        for option in [*options, named.get("device")]:
            if isinstance(option, str | torch.device):
                target = torch.device(option)
            elif isinstance(option, Tensor):
                target = DEVICE if isinstance(option, OnDevice) else CPU
                rest.append(option.dtype)
            elif isinstance(option, torch.dtype):
                rest.append(option)
        named = {name: value for name, value in named.items() if name != "device"}
        plain = take_back(tensor)
        moved = plain.to(*rest, **named) if rest or named else plain
        if target.type != source.type:
            self._wait("upload" if target.type == "cuda" else "download")
            moved = moved.clone()
        elif moved is plain:
            return tensor
        return put(moved) if target.type == "cuda" else moved

    def _make(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Makes a tensor on the device that is asked for."""
        device = torch.device(kwargs["device"])
        made = function(*args, **(kwargs | {"device": CPU}))
        if device.type == "cpu":
            return take_back(made)
        if function in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            self._wait("upload")
        return put(made)

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any, tensors: Any) -> Any:
        if function in (Tensor.numpy, Tensor.__array__):
            raise TypeError("wanted a tensor on the CPU for numpy, got one on the device")
        if function in _READ:
            self._wait("read")
        if function in _COUNTED or (function in _REPEATED and len(tensors) > 1):
            self._wait("count")
        if function is Tensor.new_tensor:
            self._wait("upload")
        mixed = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim > 0]
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            # Indices may come from the CPU, and lists do: they are uploaded.
            where = args[1] if isinstance(args[1], tuple) else (args[1],)
            for index in where:
                if isinstance(index, list) or any(index is tensor for tensor in mixed):
                    self._wait("upload of an index")
                elif isinstance(index, Tensor) and index.dtype == torch.bool:
                    self._wait("count")
            mixed = [t for t in mixed if not any(t is index for index in where)]
        if mixed and function is not Tensor.copy_:
            raise RuntimeError(
                f"{function.__name__}: wanted tensors on one device, got some on the CPU, of "
                f"shapes {[tuple(tensor.shape) for tensor in mixed]}"
            )
        made = function(*args, **kwargs)
        if function is Tensor.tolist:
            return made
        return tree_map(
            lambda leaf: (
                put(leaf) if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice) else leaf
            ),
            made,
        )


def all_on_device(record: Any) -> bool:
    found: list[bool] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(isinstance(tensor, OnDevice))
        return tensor

    map_tensors(record, note)
    return bool(found) and all(found)


def place(module: nn.Module) -> nn.Module:
    """Puts a module on the device; `Module.to` goes below what can be pretended."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(put(parameter.detach()))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else put(buffer)
    return module


@contextmanager
def torch_backends() -> Iterator[None]:
    """Draws everything by torch, also where numba and Triton are installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raster, "_has", lambda library: False)
        patch.setattr(edges, "_has", lambda library: False)
        patch.setattr(chance, "_kernels_for", lambda device: None)
        patch.setattr(generator, "BLOCK", 4)
        patch.setattr(generator, "BLOCK_CUDA", 4)
        yield


@pytest.fixture(autouse=True)
def by_torch() -> Iterator[None]:
    with torch_backends():
        yield


@pytest.fixture
def machine() -> Iterator[Pretended]:
    with Pretended() as pretended:
        yield pretended


def textures() -> TextureBank:
    """Shirts and skirts of two colours, the second without colour."""
    images = torch.zeros(2, 120, 80, 3, dtype=torch.uint8)
    images[0, ..., 0], images[1] = 255, 128
    semantics = torch.full((2, 120, 80), SEMANTICS.index("upper"), dtype=torch.uint8)
    semantics[:, 60:] = SEMANTICS.index("lower")
    garments = torch.zeros(2, 4, dtype=torch.uint8)
    garments[:, 1] = LOWER.index("skirt")
    return TextureBank(images, semantics, garments, torch.tensor([False, True]))


@pytest.fixture(scope="module")
def coloured(assets: SynthAssets) -> SynthAssets:
    looks = Looks.of(load_chart(assets.template), textures(), load_backgrounds())
    return dataclasses.replace(assets, looks=looks)


STRAPS = StrapsSettings(size=SIZE)
HIERPROB = HierprobSettings(
    size=SIZE,
    garments=GarmentSettings(),
    mass_index=(18.0, 35.0),
    supersample=2,
    channels=CHANNELS,
)
SETTINGS = StreamSettings(
    lite=LiteSettings(frame=SIZE),
    straps=STRAPS,
    hierprob=HIERPROB,
    lasor=LasorSettings(straps=dataclasses.replace(LasorSettings().straps, size=SIZE)),
)


@dataclass(frozen=True)
class Case:
    """A stream to try."""

    recipe: str
    viewpoint: str = ""
    backgrounds: str = "panoramas"
    errors: str = "published"
    waits: int = 0
    """How often a GPU may be waited for while a block is made."""

    def stream(self, assets: SynthAssets, device: str) -> BatchGenerator:
        settings = dataclasses.replace(
            SETTINGS,
            recipe=self.recipe,
            viewpoint=self.viewpoint,
            lite=dataclasses.replace(SETTINGS.lite, errors=self.errors),
            straps=dataclasses.replace(SETTINGS.straps, errors=self.errors),
        )
        channel = "edges" if self.recipe == "hierprob" else "silhouette"
        proxy = ProxySettings(size=SIZE, channel=channel)
        if assets.looks is not None:
            looks = dataclasses.replace(
                assets.looks, backgrounds=load_backgrounds(self.backgrounds)
            )
            assets = dataclasses.replace(assets, looks=looks)
        return BatchGenerator.of(settings, proxy, assets, 4, device=device)


CASES = {
    "lite": Case("lite"),
    "lite, measured": Case("lite", errors="measured"),
    "straps": Case("straps"),
    "straps, measured": Case("straps", errors="measured"),
    "straps, wide": Case("straps", "wide"),
    # The pixels to shade are counted, twice because two sizes are drawn.
    "hierprob": Case("hierprob", waits=2),
    "hierprob, wide": Case("hierprob", "wide", "procedural", waits=2),
    "lasor": Case("lasor"),
    "lasor, wide": Case("lasor", "wide"),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def same(first: Any, second: Any) -> bool:
    """Tells whether all tensors of two records are equal, wherever they are."""
    mine: list[Tensor] = []
    theirs: list[Tensor] = []
    for record, found in ((first, mine), (second, theirs)):
        map_tensors(record, lambda tensor, found=found: found.append(tensor) or tensor)
    pairs = zip(mine, theirs, strict=True)
    return bool(mine) and all(torch.equal(take_back(a), take_back(b)) for a, b in pairs)


@cases
def test_every_recipe_stays_on_its_device_and_waits_for_it_hardly_ever(
    coloured: SynthAssets, case: Case
) -> None:
    with Pretended() as machine:
        stream = case.stream(coloured, "cuda")
        assert all_on_device(stream[0])
        machine.waits.clear()  # what is kept from now on has been made
        batch = stream[1]
        waits = [wait for wait in machine.waits if "raster_torch.py" not in wait]
    assert len(waits) == case.waits, waits
    expected = case.stream(coloured, "cpu")[1]
    assert same(batch.target, expected.target), "drawn alike"


def test_the_pretended_gpu_refuses_what_cuda_refuses(machine: Pretended) -> None:
    there, here = torch.arange(3, device="cuda"), torch.arange(3)
    assert there.device == DEVICE
    assert there.is_cuda
    assert (there + 1).is_cuda
    with pytest.raises(RuntimeError, match="one device"):
        there + here
    with pytest.raises(RuntimeError, match="one device"):
        here[:2] = there[:2]
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert (there.cpu() + here).tolist() == [0, 2, 4]
    assert not machine.waits[1:], "a download, and nothing else"
    assert there[[2, 0]].tolist() == [2, 0]
    assert there[there > 0].is_cuda
    assert [wait.split(" in ")[0] for wait in machine.waits] == [
        *("download", "upload of an index", "read", "count"),
    ]


def test_proxies_and_edges_stay_on_their_device(machine: Pretended) -> None:
    some = Chance(0, torch.arange(4, device="cuda"))
    observation = Observation(
        keypoints=some.uniform("points", 17, 3, high=40.0),
        mask=some.uniform("mask", SIZE, SIZE),
        picture=some.uniform("picture", 3, SIZE, SIZE),
    )
    borders = some.uniform("borders", 4, high=40.0)
    for padding in ("replicate", "zero"):
        settings = ProxySettings(size=SIZE, channel="edges", edge_padding=padding)
        assert all_on_device(make_proxy(observation, settings))
        assert all_on_device(make_drawn_proxy(observation, settings))
        assert all_on_device(make_drawn_proxy(observation, settings, borders))
        assert canny(observation.picture, padding=padding, backend="torch").is_cuda


@pytest.mark.parametrize("method", ["lite", "straps"])
def test_objectives_and_markers_stay_on_their_device(assets: SynthAssets, method: str) -> None:
    config = preset(method)
    with Pretended() as machine:
        placed = assets.to("cuda")
        criterion = place(build_objective(config, placed))
        assert isinstance(criterion, LiteLoss | StrapsLoss)
        network = place(build_model(config, assets))
        truth = dataclasses.replace(
            config, stream=dataclasses.replace(config.stream, recipe=method)
        )
        batch: Batch = BatchGenerator(truth, placed, "cuda").samples(0, 2)
        assert all_on_device(criterion.markers(batch.target.parameters))
        for _ in range(2):  # the second time, what is kept has been made
            machine.waits.clear()
            vector = network(batch.proxy.channel(config.proxy.channel), batch.proxy.keypoints)
            loss, parts = criterion(network.read(vector), batch.target)
        assert not machine.waits
        assert loss.is_cuda
        assert all(part.is_cuda for part in parts.values())
        loss.backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(gradient is not None and gradient.is_cuda for gradient in gradients)


@pytest.mark.parametrize("name", ["hierprob-lite", "hierprob"])
def test_likelihoods_stay_on_their_device(assets: SynthAssets, name: str) -> None:
    config = override(preset(name), {"train.second_stage": 10, "regressor.gendered": False})
    small = dataclasses.replace(config.proxy, size=64)
    config = dataclasses.replace(config, proxy=small)
    with Pretended():
        placed = assets.to("cuda")
        criterion = place(build_objective(config, placed))
        assert isinstance(criterion, LikelihoodLoss | HierprobLoss)
        network = place(build_model(config, assets))
        drawn = Chance(0, torch.arange(2, device="cuda"))
        image, points = drawn.uniform("image", 64, 64), drawn.uniform("points", 17, 3)
        target = Target(
            parameters=BodyParameters(
                drawn.normal("shape", 10), rotvec_to_rotmat(drawn.normal("pose", 24, 3))
            ),
            keypoints=drawn.uniform("flat", 17, 2),
            reported=drawn.chance("reported", 0.5, 17),
        )
        moment = Moment(0, torch.Generator())  # which the first stage does not use
        loss, parts = criterion(network.read(network(image, points)), target, moment)
        assert loss.is_cuda
        assert all(part.is_cuda for part in parts.values())
        loss.backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(gradient is not None and gradient.is_cuda for gradient in gradients)


def test_validation_stays_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUICK", dataclasses.replace(run.QUICK, count=4))
    proxy = preset("lite").proxy
    network = place(load_regressor(find_weights("lite")).network)
    assert isinstance(network, LiteRegressor)
    expected = run._Quick(proxy, "neutral", "cpu").mean_body
    with Pretended():
        quick = run._Quick(proxy, "neutral", "cuda")
        assert all_on_device([proxy for proxy, _ in quick.people][0])
        found = quick.figures(network)
    assert quick.mean_body == pytest.approx(expected, rel=1e-3)
    assert found["pa_mpjpe"] < expected["pa_mpjpe"]


def test_assets_move_as_a_whole(coloured: SynthAssets, machine: Pretended) -> None:
    moved = coloured.to("cuda")
    assert all_on_device(dataclasses.replace(moved, looks=None))
    assert moved.looks is not None
    assert all_on_device(moved.looks.chart)
    assert all_on_device(moved.looks.textures)
    assert all_on_device(moved.looks.mipmaps)
    assert same(to_device(dataclasses.replace(moved, looks=None), "cpu"),
                dataclasses.replace(coloured, looks=None))  # fmt: skip
