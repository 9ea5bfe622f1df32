"""The numbers of each person, from which figures are averaged and results are compared."""

from __future__ import annotations

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.evaluate.figures import EVERYONE, Figure
from plausibody.evaluate.protocols import Protocol, protocol_of
from plausibody.models.files import encode_arrays
from plausibody.models.naming import first_named

SEQUENCE = "sequence"
"""The attribute whose people are frames of one film, and so not independent."""
UNKNOWN = -1
"""Stands for who has none of an attribute's kinds."""


@dataclass(frozen=True)
class Attribute:
    """Which of some kinds each person is."""

    kinds: tuple[str, ...]
    """Their names, in the order in which they are shown; no two attributes share one."""
    of: Int[Tensor, " people"]
    """The number of each person's kind, or `UNKNOWN`."""

    def __post_init__(self) -> None:
        if len(self.of) and not UNKNOWN <= int(self.of.min()) <= int(self.of.max()) < len(
            self.kinds
        ):
            raise ValueError(
                f"attribute: wanted numbers of the {len(self.kinds)} kinds {self.kinds}, got "
                f"{int(self.of.min())} to {int(self.of.max())}"
            )

    @classmethod
    def of_labels(cls, labels: Sequence[str]) -> Attribute:
        """Takes each person's kind by name; they are shown in the order of the alphabet.

        Args:
            labels: Empty for who has none.
        """
        kinds = sorted(set(labels) - {""})
        number = {"": UNKNOWN, **{kind: place for place, kind in enumerate(kinds)}}
        return cls(tuple(kinds), torch.tensor([number[label] for label in labels]).long())

    @classmethod
    def thirds(cls, values: Float[Tensor, " people"], kinds: Sequence[str]) -> Attribute:
        """Cuts people into three groups alike in number, or as many as there are names.

        Args:
            values: By which they are ordered; who has NaN belongs to none.
            kinds: Of the smallest values first.
        """
        known = ~values.isnan()
        rank = values[known].argsort(stable=True).argsort()
        of = torch.full(values.shape, UNKNOWN, dtype=torch.int64)
        of[known] = rank * len(kinds) // max(len(rank), 1)
        return cls(tuple(kinds), of)


@dataclass(frozen=True)
class Values:
    """The numbers of each person, on the CPU."""

    names: tuple[str, ...]
    """Of the people, no two alike: who is who in another result."""
    errors: Mapping[str, Float[Tensor, " people"]]
    """By metric, tags included. NaN: this person has not this figure."""
    weights: Mapping[str, Float[Tensor, " people"]] = field(default_factory=dict)
    """By how much each person counts in the mean, of the metrics where not all count the same."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """By name, such as "view"; those of "sequence" are films."""

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise ValueError(f"names: wanted each person once, {first_named(twice)} came again")
        columns = {**self.errors, **{f"weight of {k}": v for k, v in self.weights.items()}}
        columns |= {name: attribute.of for name, attribute in self.attributes.items()}
        for name, column in columns.items():
            if column.shape != (len(self.names),):
                raise ValueError(
                    f"{name}: wanted a number for each of {len(self.names)} people, got "
                    f"{tuple(column.shape)}"
                )
            if column.dtype.is_floating_point and bool(column.isinf().any()):
                odd = [self.names[n] for n in column.isinf().nonzero()[:, 0].tolist()]
                raise ValueError(
                    f"{name}: wanted finite numbers or NaN, infinite of {first_named(odd)}"
                )
        for name, weight in self.weights.items():
            if name not in self.errors or not bool((weight >= 0).all()):
                raise ValueError(f"weight of {name}: wanted none negative, of one of the metrics")
        kinds = Counter(kind for each in self.attributes.values() for kind in each.kinds)
        if odd := [kind for kind, count in kinds.items() if count > 1 or kind == EVERYONE]:
            raise ValueError(
                f"attributes: wanted kinds of different names, got {first_named(odd)} again"
            )

    def __len__(self) -> int:
        return len(self.names)

    def over(self, names: Sequence[str]) -> Values:
        """Gives the numbers of people by their names: NaN of whom there are none.

        Args:
            names: In the order that is wanted; who is not among these people belongs to no kind.
        """
        place = {name: number for number, name in enumerate(self.names)}
        rows = torch.tensor([place.get(name, len(self)) for name in names], dtype=torch.long)

        def spread(column: Tensor, nothing: float | int) -> Tensor:
            return torch.cat([column, column.new_full((1,), nothing)])[rows]

        return Values(
            names=tuple(names),
            errors={name: spread(column, math.nan) for name, column in self.errors.items()},
            weights={name: spread(column, 0.0) for name, column in self.weights.items()},
            attributes={
                name: Attribute(attribute.kinds, spread(attribute.of, UNKNOWN))
                for name, attribute in self.attributes.items()
            },
        )

    def subsets(self) -> Iterator[tuple[str, str, Bool[Tensor, " people"]]]:
        """Yields group, name and members of each subset that has any; everyone first."""
        yield EVERYONE, EVERYONE, torch.ones(len(self), dtype=torch.bool)
        for group, attribute in self.attributes.items():
            for number, kind in enumerate(attribute.kinds):
                members = attribute.of == number
                if bool(members.any()):
                    yield group, kind, members

    def weight(self, metric: str) -> Float[Tensor, " people"]:
        """Gives by how much each person counts: not at all who has not this figure."""
        error = self.errors[metric].double()
        weight = self.weights.get(metric, torch.ones_like(error)).double()
        return torch.where(error.isnan(), 0.0, weight)

    def mean(self, metric: str, members: Bool[Tensor, " people"]) -> float:
        """Averages a metric over some people; NaN if none of them counts."""
        weight = self.weight(metric)[members]
        error = self.errors[metric].double()[members].nan_to_num()
        total = float(weight.sum())
        return float((error * weight).sum()) / total if total > 0 else math.nan


def summarise(
    values: Values,
    protocols: Mapping[str, Protocol] | None = None,
    baselines: Mapping[str, Values] | None = None,
) -> tuple[Figure, ...]:
    """Averages every metric over everyone and over each subset.

    Subsets of which nobody has a metric have no figure of it.

    Args:
        protocols: Of the metrics, and in their order; by `protocol_of` without it.
        baselines: The same people by estimators that have learnt nothing, by name. They may lack
            metrics.

    Raises:
        ValueError: If a protocol is pooled and there are no weights, or the reverse.
    """
    protocols = protocols or {metric: protocol_of(metric) for metric in values.errors}
    for metric, protocol in protocols.items():
        if bool(protocol.pooled) != (metric in values.weights):
            what = f"pooled by {protocol.pooled}" if protocol.pooled else "not pooled"
            raise ValueError(f"{metric}: wanted weights just where people are pooled, it is {what}")
    found = []
    for group, subset, members in values.subsets():
        for metric, protocol in protocols.items():
            value = values.mean(metric, members)
            if math.isnan(value):
                continue
            beside = {
                name: other.mean(metric, members)
                for name, other in (baselines or {}).items()
                if metric in other.errors
            }
            figure = Figure(
                metric=metric,
                subset=subset,
                group=group,
                people=int((values.weight(metric)[members] > 0).sum()),
                value=value,
                protocol=protocol,
                baselines={name: mean for name, mean in beside.items() if not math.isnan(mean)},
            )
            found.append(figure)
    return tuple(found)


def encode_values(values: Values) -> bytes:
    """Gives the content of a `people.npz`: numbers in single precision, the same each time."""
    arrays: dict[str, np.ndarray] = {"names": np.array(values.names, dtype=np.str_)}
    for kind, columns in (("error", values.errors), ("weight", values.weights)):
        arrays |= {f"{kind}/{name}": column.float().numpy() for name, column in columns.items()}
    for name, attribute in values.attributes.items():
        arrays[f"attribute/{name}"] = attribute.of.int().numpy()
        arrays[f"kinds/{name}"] = np.array(attribute.kinds, dtype=np.str_)
    return encode_arrays(arrays)


def decode_values(content: bytes) -> Values:
    """Reads what `encode_values` gave.

    Raises:
        ValueError: If it is something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            columns: dict[str, dict[str, Tensor]] = {"error": {}, "weight": {}, "attribute": {}}
            for key in arrays.files:
                kind, _, name = key.partition("/")
                if kind in columns:
                    columns[kind][name] = torch.from_numpy(arrays[key])
            attributes = {
                name: Attribute(tuple(arrays[f"kinds/{name}"].tolist()), of.long())
                for name, of in columns["attribute"].items()
            }
            names = tuple(arrays["names"].tolist())
        return Values(names, columns["error"], columns["weight"], attributes)
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"wanted values of people, got {error!r}") from error
