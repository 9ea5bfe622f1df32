"""The stream: batch number -> batch, the same on every machine, in any order, after any restart.

Samples are made in blocks of fixed length at fixed places of the stream, because a matrix product
over 7 rows rounds otherwise than one over 32. A batch cuts what it needs out of the blocks, so
sample n is the same bit for bit whatever the batch size.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from plausibody.models.proxy import ProxySettings
from plausibody.models.records import concatenate, take
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.genders import gender_maps
from plausibody.synth.hierprob import CHANNELS, HierprobRecipe, HierprobSettings
from plausibody.synth.iuv import DenseSettings, IuvFaults, coarse_chart
from plausibody.synth.lane import Lane
from plausibody.synth.lasor import LasorRecipe, LasorSettings
from plausibody.synth.lite import LiteRecipe, LiteSettings
from plausibody.synth.real_images import MixedRecipe, RealImages, RealSettings
from plausibody.synth.stores import SynthAssets
from plausibody.synth.straps import StrapsRecipe, StrapsSettings
from plausibody.synth.target_maps import MapSettings
from plausibody.synth.views import VIEWPOINTS, seen_from

BLOCK = 64
"""Samples made at once on a CPU. Part of the stream's definition: another value gives other last
bits of what is posed and rendered; what is drawn stays the same."""
BLOCK_CUDA = 256
"""The same on a GPU, where launching kernels costs more than their work."""


RECIPES = ("lite", "straps", "hierprob", "lasor")
COLOURED = ("hierprob",)
"""Those that draw textures and backgrounds."""


@runtime_checkable
class Recipe(Protocol):
    """Makes samples from their numbers."""

    def __call__(self, numbers: Int[Tensor, " batch"]) -> Batch: ...


@dataclass(frozen=True)
class StreamSettings:
    """What the stream is made of."""

    recipe: str = "lite"
    """lite, straps, hierprob or lasor: where poses, shapes and cameras come from, and what goes
    wrong."""
    seed: int = 0
    viewpoint: str = ""
    """Where people are seen from: straps, hierprob, lasor or wide; the recipe's own if empty."""
    lite: LiteSettings = field(default_factory=LiteSettings)
    straps: StrapsSettings = field(default_factory=StrapsSettings)
    hierprob: HierprobSettings = field(default_factory=HierprobSettings)
    lasor: LasorSettings = field(default_factory=LasorSettings)
    maps: MapSettings = field(default_factory=MapSettings)
    """Pictures of the true bodies, for losses that look at pictures."""
    dense: DenseSettings = field(default_factory=DenseSettings)
    """IUV pictures of the true bodies, for networks that estimate such."""
    iuv: IuvFaults = field(default_factory=IuvFaults)
    """What goes wrong with IUV pictures where the network reads them (`proxy.channel=iuv`)."""
    real: RealSettings = field(default_factory=RealSettings)
    """Photos among the drawn people; which, `sources.real_labels` says."""
    labelled: float = 1.0
    """Share of the people whose bodies are known; of the others there are key points and maps
    only, as of most photos."""

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe: wanted one of {', '.join(RECIPES)}, got {self.recipe!r}")
        if not 0 <= self.labelled <= 1:
            raise ValueError(f"stream.labelled: wanted a share of 0 to 1, got {self.labelled}")
        if self.viewpoint and self.viewpoint not in VIEWPOINTS:
            raise ValueError(
                f"viewpoint: wanted one of {', '.join(VIEWPOINTS)}, got {self.viewpoint!r}"
            )


def draws_genders(stream: StreamSettings) -> bool:
    """Tells whether a stream draws men and women: `load_assets(gendered=True)` opens for it."""
    gendered = {
        "lite": stream.lite.shape.gendered,
        "straps": stream.straps.gendered,
        "hierprob": stream.hierprob.shape.gendered,
        "lasor": stream.lasor.straps.gendered,
    }
    return gendered[stream.recipe] > 0


def keep_channels(stream: StreamSettings, assets: SynthAssets) -> StreamSettings:
    """Asks the recipe to keep in its batches everything that it can render of these assets."""
    labelled = assets.looks is not None and assets.looks.textures.semantics is not None
    channels = tuple(name for name in CHANNELS if labelled or name != "semantics")
    everything = dataclasses.replace(stream.hierprob, channels=channels)
    return dataclasses.replace(stream, hierprob=everything)


@runtime_checkable
class _Train(Protocol):
    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class _Renderer(Protocol):
    @property
    def backend(self) -> str: ...


@runtime_checkable
class StreamConfig(Protocol):
    """The part of a run's configuration that decides its batches; `RunConfig` has it."""

    @property
    def stream(self) -> StreamSettings: ...
    @property
    def proxy(self) -> ProxySettings: ...
    @property
    def train(self) -> _Train: ...
    @property
    def renderer(self) -> _Renderer: ...


class BatchGenerator:
    """An endless sequence of batches: `generator[step]`."""

    def __init__(
        self, config: StreamConfig, assets: SynthAssets, device: torch.device | str = "cpu"
    ):
        """Args:
        config: Of a run, as `plausibody.presets.preset` gives it.
        assets: What the recipe draws from; moved to the device.
        device: Where samples are made.
        """
        self.batch_size, self.device = config.train.batch_size, torch.device(device)
        self._block_length = BLOCK if self.device.type == "cpu" else BLOCK_CUDA
        self._recipe = _build_recipe(
            config.stream, config.proxy, assets.to(self.device), config.renderer.backend
        )
        self._backgrounds = None if assets.looks is None else assets.looks.backgrounds
        self._seed, self._labelled = config.stream.seed, config.stream.labelled
        self._blocks: OrderedDict[int, Batch] = OrderedDict()

    @classmethod
    def of(
        cls,
        stream: StreamSettings,
        proxy: ProxySettings,
        assets: SynthAssets,
        batch_size: int,
        backend: str = "auto",
        device: torch.device | str = "cpu",
    ) -> BatchGenerator:
        """Makes a generator from the pieces of a configuration.

        Args:
            proxy: What the regressor reads.
            batch_size: Samples per step.
            backend: Of the rasteriser.
            device: Where samples are made.
        """
        pieces = _Pieces(stream, proxy, _BatchSize(batch_size), _Backend(backend))
        return cls(pieces, assets, device)

    def __getitem__(self, step: int) -> Batch:
        """Makes the batch of a step: samples step * batch_size and after."""
        return self.samples(step * self.batch_size, self.batch_size)

    def samples(self, first: int, count: int) -> Batch:
        """Makes `count` samples from number `first` on."""
        if first < 0 or count < 1:
            raise ValueError(f"wanted samples from 0 on and at least one, got {first}, {count}")
        parts, length = [], self._block_length
        for number in range(first // length, (first + count - 1) // length + 1):
            start = number * length
            low, high = max(first - start, 0), min(first + count - start, length)
            parts.append(take(self._block(number), slice(low, high)))
        return parts[0] if len(parts) == 1 else concatenate(parts)

    @torch.no_grad()
    def _block(self, number: int) -> Batch:
        if number not in self._blocks:
            if self._backgrounds is not None:  # decoded while this block is made
                # Their numbers on the CPU, which decodes them: nobody waits for a GPU to tell them.
                self._backgrounds.expect(Chance(self._seed, self._numbers(number + 1, "cpu")))
            numbers = self._numbers(number, self.device)
            self._blocks[number] = self._with_unknown(self._recipe(numbers), numbers)
            if len(self._blocks) > 2:
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _with_unknown(self, block: Batch, numbers: Int[Tensor, " length"]) -> Batch:
        """Draws whose bodies are known, unless all are."""
        if self._labelled == 1 or block.target.labelled is not None:
            return block
        known = Chance(self._seed, numbers).chance("labelled", self._labelled)
        return dataclasses.replace(block, target=dataclasses.replace(block.target, labelled=known))

    def _numbers(self, block: int, device: torch.device | str) -> Int[Tensor, " length"]:
        first = block * self._block_length
        return torch.arange(first, first + self._block_length, device=device)


@dataclass(frozen=True)
class _BatchSize:
    batch_size: int


@dataclass(frozen=True)
class _Backend:
    backend: str


@dataclass(frozen=True)
class _Pieces:
    """A configuration of the stream alone."""

    stream: StreamSettings
    proxy: ProxySettings
    train: _BatchSize
    renderer: _Backend


def _build_recipe(
    stream: StreamSettings, proxy: ProxySettings, assets: SynthAssets, backend: str
) -> Recipe:
    """Makes the recipe of a stream; photos are mixed in where the assets have some."""
    drawn = _build_drawn(stream, proxy, assets, backend)
    if not stream.real.share or assets.real is None:
        return drawn
    photos = RealImages(assets.real, proxy, stream.seed, stream.real, stream.maps, stream.dense)
    return MixedRecipe(drawn, photos, stream.seed, stream.labelled)


def _build_drawn(
    stream: StreamSettings, proxy: ProxySettings, assets: SynthAssets, backend: str
) -> Recipe:
    if stream.viewpoint:
        own = getattr(stream, stream.recipe)
        stream = dataclasses.replace(stream, **{stream.recipe: seen_from(own, stream.viewpoint)})
    if stream.recipe == "lite":
        shape = stream.lite.shape
        maps = gender_maps(shape.gendered, assets.genders, assets.template, shape.count)
        chart = None
        if (stream.dense.size or proxy.channel == "iuv") and assets.chart is not None:
            chart = coarse_chart(assets.chart, assets.template, assets.coarse)
        return LiteRecipe(
            stream.lite, proxy, stream.seed, assets.coarse, assets.bank, assets.limits, backend,
            maps=maps, targets=stream.maps, dense=stream.dense, iuv=stream.iuv, chart=chart,
        )  # fmt: skip
    if stream.dense.size and stream.recipe != "hierprob":
        raise ValueError(
            f"stream.dense.size: the recipe {stream.recipe} draws no IUV pictures, wanted 0, "
            f"got {stream.dense.size}; do: stream.recipe=lite or hierprob"
        )
    if stream.recipe == "straps":
        return StrapsRecipe(stream.straps, proxy, stream.seed, assets, backend, targets=stream.maps)
    if stream.recipe == "lasor":
        return LasorRecipe(stream.lasor, proxy, stream.seed, assets, backend, stream.maps)
    if assets.looks is None:
        raise ValueError(
            f"recipe {stream.recipe}: wanted assets with textures and backgrounds, got none; "
            "do: load_assets(..., coloured=True)"
        )
    return HierprobRecipe(
        stream.hierprob, proxy, stream.seed, assets, assets.looks, backend,
        targets=stream.maps, dense=stream.dense, iuv=stream.iuv,
    )  # fmt: skip


_Made = tuple[int, Batch, torch.cuda.Event | None]
"""Step, batch, and what to wait for before it can be read."""


def prefetch(
    generator: BatchGenerator,
    first: int,
    last: int,
    ahead: int = 4,
    threads: int = 1,
    finish: Callable[[Batch], Batch] = lambda batch: batch,
    part: tuple[int, int] | None = None,
) -> Generator[tuple[int, Batch], None, None]:
    """Yields (step, batch) for steps first .. last - 1, made by a background thread.

    Args:
        ahead: How many batches may wait.
        threads: How many threads torch may use for making batches.
        finish: What else the thread does to a batch.
        part: Of several processes, the number of this one and its share of the samples: process r
            gets samples r * share .. (r + 1) * share - 1 of each batch. All of it if None. What is
            made is whole blocks: unless the share is a multiple of one, some are made twice.

    An error in the thread is raised here, at the step it belongs to.
    """
    waiting: queue.Queue[_Made | BaseException] = queue.Queue(maxsize=ahead)
    stopped, lane = threading.Event(), Lane(generator.device)

    def hand_over(item: _Made | BaseException) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.2)
            except queue.Full:
                continue

    def make(step: int) -> Batch:
        if part is None:
            return generator[step]
        rank, share = part
        return generator.samples(step * generator.batch_size + rank * share, share)

    def work() -> None:
        torch.set_num_threads(threads)
        try:
            with lane.entered():
                for step in range(first, last):
                    if stopped.is_set():
                        return
                    batch = finish(make(step))
                    hand_over((step, batch, lane.mark()))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            hand_over(error)

    worker = threading.Thread(target=work, name="synthesis", daemon=True)
    worker.start()
    try:
        for _ in range(first, last):
            item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            step, batch, mark = item
            yield step, lane.leave(batch, mark)
    finally:
        stopped.set()
        worker.join()
