"""Men and women in the stream, as shapes of the neutral body.

A man's coefficients are drawn as anybody's, for the male body, and mapped to those of the neutral
body that come nearest. So targets of all genders live in one shape space, and one template poses
them. What is left of the gendered bodies is where men and women are in that space, and what the
network is told of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.genders import FEMALE, MALE, NEUTRAL, ShapeMap, shape_map
from plausibody.models.records import map_tensors
from plausibody.synth.batch import Batch
from plausibody.synth.chance import Chance
from plausibody.synth.exact import rounded


@dataclass(frozen=True)
class GenderedBodies:
    """The male and the female sibling of a neutral body."""

    male: BodyTemplate
    female: BodyTemplate


@dataclass(frozen=True)
class Genders:
    """Of some people: -1 male, +1 female."""

    true: Float[Tensor, " batch"]
    """0 for who is drawn as a neutral body."""
    told: Float[Tensor, " batch"]
    """What the network is told; 0 for nothing."""


@dataclass(frozen=True)
class GenderMaps:
    """From the shapes of male and of female bodies to those of the neutral one."""

    male: ShapeMap
    female: ShapeMap

    def to_neutral(
        self, shape: Float[Tensor, "batch S"], gender: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch S"]:
        """Gives coefficients of the neutral body.

        Args:
            shape: Of each person's own body.
            gender: -1 male, 0 neutral, +1 female.
        """
        exact = map_tensors(self, Tensor.double)
        men, women = rounded(exact.male, shape), rounded(exact.female, shape)
        return by_gender(gender, shape, men, women)


def by_gender(
    gender: Float[Tensor, " batch"],
    neutral: Float[Tensor, "batch S"],
    male: Float[Tensor, "batch S"],
    female: Float[Tensor, "batch S"],
) -> Float[Tensor, "batch S"]:
    """Chooses one of three rows for each person."""
    sign = gender[:, None]
    return torch.where(sign == MALE, male, torch.where(sign == FEMALE, female, neutral))


def gender_maps(
    gendered: float, bodies: GenderedBodies | None, template: BodyTemplate, count: int
) -> GenderMaps | None:
    """Makes the maps that a recipe needs; None if it draws nobody as male or female.

    Args:
        gendered: The recipe's probability of that.
        bodies: The gendered bodies of the stream's assets.
        template: The body that the stream poses.
        count: How many shape coefficients the recipe draws.

    Raises:
        ValueError: If the assets were opened without gendered bodies, or for another body than the
            neutral one.
    """
    if gendered == 0:
        return None
    if bodies is None:
        raise ValueError(
            f"gendered={gendered:g}: wanted assets with a male and a female body, got none; "
            "do: load_assets(..., gendered=True)"
        )
    if template.gender != "neutral":
        raise ValueError(
            f"gendered={gendered:g}: wanted a neutral body, to whose shapes those of men and women "
            f"are mapped, came a {template.gender} one; do: set gender=neutral"
        )
    return GenderMaps(
        male=shape_map(bodies.male, template, count, count),
        female=shape_map(bodies.female, template, count, count),
    )


def draw_genders(chance: Chance, gendered: float, known: float) -> Genders | None:
    """Draws who is a man, who a woman, and of whom the network is told.

    Nothing is kept: who asks again gets the same.

    Args:
        gendered: Probability of being either, half each. With 0 nobody has a gender: None.
        known: Probability of being told.
    """
    if gendered == 0:
        return None
    drawn = chance.uniform("shape/gender")
    true = torch.full_like(drawn, NEUTRAL)
    true = torch.where(drawn < gendered, FEMALE, true)
    true = torch.where(drawn < gendered / 2, MALE, true)
    return Genders(true=true, told=true * chance.chance("shape/gender/known", known))


def with_genders(batch: Batch, genders: Genders | None) -> Batch:
    """Writes what is told into the proxy and the truth into the target."""
    if genders is None:
        return batch
    return replace(
        batch,
        proxy=replace(batch.proxy, gender=genders.told),
        target=replace(batch.target, gender=genders.true),
    )


def check_genders(where: str, gendered: float, known: float) -> None:
    """Refuses what is no probability.

    Args:
        where: Name of the settings, for the message.
    """
    for name, value in (("gendered", gendered), ("known", known)):
        if not 0 <= value <= 1:
            raise ValueError(f"{where}.{name}: wanted a probability, 0 to 1, got {value}")
