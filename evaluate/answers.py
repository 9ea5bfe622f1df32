"""What a regressor says of the shape of people whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.evaluate.open import facing
from plausibody.evaluate.run import Estimator
from plausibody.models.body import BodyTemplate
from plausibody.models.calibration import CONDITIONS
from plausibody.models.conditioning import SHORTEST, TALLEST, given_height
from plausibody.models.intervals import (
    QUANTITIES,
    MeasurementDistribution,
    body_mass_index,
    measure_distribution,
    measure_table,
)
from plausibody.models.prediction import FisherPrediction
from plausibody.models.proxy import Proxy, ProxySettings
from plausibody.models.records import concatenate, to_device
from plausibody.synth.batch import Batch
from plausibody.synth.generator import COLOURED, BatchGenerator, StreamSettings, draws_genders
from plausibody.synth.stores import SourceSettings, SynthAssets, load_assets

ROUNDED = 0.01
"""To what people round their height [m]."""
MANY = 6
"""Of the 17 key points out of the box, with which a person counts as seen in part only."""

HEIGHT = QUANTITIES.index("height")


@dataclass(frozen=True)
class Answers:
    """Predictions of people and the truth, on the CPU."""

    predicted: Mapping[str, MeasurementDistribution]
    """By condition, for the same people in the same order."""
    measured: Float[Tensor, "people 13"]
    """True measurements [m; kg]."""
    shape: Float[Tensor, "people S"]
    """True coefficients."""
    gender: Float[Tensor, " people"]
    """True: -1 male, +1 female, 0 neither."""
    outside: Int[Tensor, " people"]
    """How many of the 17 key points truly lie outside the box."""
    facing: Int[Tensor, " people"]
    """Whether they are seen from the front (0), a side (1) or the back (2)."""

    def __len__(self) -> int:
        return len(self.measured)

    def members(self, condition: str) -> Bool[Tensor, " people"]:
        """Tells of whom the condition can be known: they have a gender, and an adult's height."""
        height = self.measured[:, HEIGHT]
        can = torch.ones_like(height, dtype=torch.bool)
        if "gender" in condition:
            can = can & (self.gender != 0)
        if "height" in condition:  # a stream of wide shapes has some that nobody would believe
            can = can & (height >= SHORTEST) & (height <= TALLEST)
        return can

    def subsets(self) -> dict[str, Bool[Tensor, " people"]]:
        """Who belongs to which subset: thirds by true body mass index, cuts and views."""
        index = body_mass_index(self.measured)
        third = index.argsort().argsort() * 3 // max(len(index), 1)
        found = {
            **{f"{name} third": third == n for n, name in enumerate(("thinnest", "middle"))},
            "stoutest third": third == 2,
            "wholly in the box": self.outside == 0,
            f"1 to {MANY - 1} joints outside": (self.outside > 0) & (self.outside < MANY),
            f"{MANY} or more outside": self.outside >= MANY,
            "from the front": self.facing == 0,
            "from a side": self.facing == 1,
            "from the back": self.facing == 2,
        }
        return {name: members for name, members in found.items() if bool(members.any())}


def open_sources(
    stream: StreamSettings, split: str, gender: str, sources: SourceSettings | None = None
) -> SynthAssets:
    """Opens what a stream draws from, with the poses of a split."""
    coloured = stream.recipe in COLOURED
    return load_assets(
        split, gender, sources=sources, coloured=coloured, gendered=draws_genders(stream)
    )


def draw_people(
    stream: StreamSettings,
    proxy: ProxySettings,
    assets: SynthAssets,
    count: int,
    batch_size: int = 256,
    backend: str = "auto",
) -> Iterator[Batch]:
    """Yields the first people of a stream.

    Args:
        stream: With a seed of its own, or these are people of the training.
        proxy: How the regressor's inputs are made.
        assets: With the poses of subjects whom no training saw.
        count: Of people.
        backend: Of the rasteriser.
    """
    generator = BatchGenerator.of(stream, proxy, assets, batch_size, backend)
    for first in range(0, count, batch_size):
        yield generator.samples(first, min(batch_size, count - first))


def known_conditions(gendered: bool) -> tuple[str, ...]:
    """Lists under which conditions a network can answer."""
    return CONDITIONS if gendered else tuple(name for name in CONDITIONS if "gender" not in name)


@torch.no_grad()
def ask(
    regressor: Estimator,
    template: BodyTemplate,
    batches: Iterable[Batch],
    conditions: Sequence[str],
    watch: Callable[[int], None] = lambda done: None,
) -> Answers:
    """Asks a regressor about people: with nothing known, and with what each condition says.

    Heights are told as people tell them, rounded to a centimetre.

    Args:
        regressor: Whose predictions are distributions.
        template: Of the body that it predicts; decides the device.
        batches: Of people.
        conditions: Some of `CONDITIONS`.
        watch: Is told how many people are done.

    Raises:
        TypeError: If the regressor gives single bodies.
    """
    parts = []
    done = 0
    for batch in batches:
        here = to_device(batch, template.vertices.device)
        parts.append(to_device(_ask(regressor, template, here, conditions), "cpu"))
        done += len(parts[-1])
        watch(done)
    return concatenate(parts)


def _ask(
    regressor: Estimator, template: BodyTemplate, batch: Batch, conditions: Sequence[str]
) -> Answers:
    target = batch.target
    shape = target.parameters.shape
    measured = measure_table(template, shape)
    height = (measured[:, HEIGHT] / ROUNDED).round() * ROUNDED
    gender = torch.zeros_like(height) if target.gender is None else target.gender
    told = {"gender": gender, "": torch.zeros_like(gender)}
    answers = {
        name: _distribution(regressor, dataclasses.replace(batch.proxy, gender=value))
        for name, value in told.items()
        if any(("gender" in condition) == bool(name) for condition in conditions)
    }
    predicted = {}
    for condition in conditions:
        answer = answers["gender" if "gender" in condition else ""]
        if "height" in condition:
            answer = given_height(answer, template, height.clamp(SHORTEST, TALLEST))
        predicted[condition] = measure_distribution(template, answer.shape)
    return Answers(
        predicted=predicted,
        measured=measured,
        shape=shape,
        gender=gender,
        outside=(target.keypoints.abs() > 1).any(-1).sum(-1),
        facing=facing(target.parameters.rotations),
    )


def _distribution(regressor: Estimator, proxy: Proxy) -> FisherPrediction:
    answer = regressor.predict(proxy)
    if not isinstance(answer, FisherPrediction):
        raise TypeError(
            "calibration: wanted a regressor that predicts distributions, got one that predicts "
            "single bodies; do: use weights of the method hierprob"
        )
    return answer
