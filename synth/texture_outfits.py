"""What a person wears: kinds and cuts of garments, drawn for each texture.

Source of the kinds: what adults wear on public photos, by judgement; none is fitted to data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from plausibody.synth.chance import Chance

UPPER = ("none", "bra", "tank", "t-shirt", "long", "jacket")
LOWER = ("briefs", "shorts", "knee", "trousers", "leggings", "skirt")
HAIR = ("bald", "buzz", "short", "medium", "long")
SHOES = ("none", "low", "boots")


class Draw:
    """The random numbers of one texture, by name, as plain values."""

    def __init__(self, seed: int, number: int):
        self._chance = Chance(seed, torch.tensor([number]))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        return float(self._chance.uniform(name)) * (high - low) + low

    def chance(self, name: str, probability: float) -> bool:
        return self.uniform(name) < probability

    def below(self, name: str, count: int) -> int:
        return int(self._chance.integer(name, count))

    def pick(self, name: str, odds: dict[str, float]) -> str:
        """Picks a key by its share of all odds."""
        left = self.uniform(name) * sum(odds.values())
        for key, share in odds.items():
            left -= share
            if left < 0:
                return key
        return key

    def mixture(self, name: str) -> tuple[int, int, float]:
        """Draws which noise to take, for `texels.Noise.band`."""
        return (
            self.below(f"{name}/first", 1 << 16),
            self.below(f"{name}/second", 1 << 16),
            self.uniform(f"{name}/angle", 0.0, 2 * math.pi),
        )


@dataclass(frozen=True)
class Outfit:
    """One person's clothes and hair; lengths as shares of the limbs they cover."""

    feminine: bool
    grey: bool
    """A body scan without colours, in underwear."""
    upper: str
    """One of `UPPER`."""
    lower: str
    """One of `LOWER`."""
    dress: bool
    """Upper and lower of one piece and one fabric; the lower one is a skirt."""
    sleeve: float
    """0 ends at the shoulder, 1 at the wrist."""
    waist: float
    """Height of the lower garment's upper border above its usual place [m]."""
    overlap: float
    """How far the upper garment hangs below that border [m]; negative for a bare midriff."""
    leg: float
    """0 ends at the hip, 1 at the ankle."""
    shoes: str
    """One of `SHOES`."""
    socks: float
    """How far they reach above the ankle [m]; 0 without socks."""
    gloves: bool
    hat: bool
    hair: str
    """One of `HAIR`."""
    beard: bool

    @property
    def kinds(self) -> tuple[int, int, int, int]:
        """Upper, lower, hair and shoes as numbers."""
        return (
            UPPER.index(self.upper),
            LOWER.index(self.lower),
            HAIR.index(self.hair),
            SHOES.index(self.shoes),
        )


def draw_outfit(draw: Draw, *, grey: bool = False) -> Outfit:
    """Dresses a person; some things are for women or for men only, most are for all."""
    feminine = draw.chance("feminine", 0.5)
    upper = draw.pick("upper", _UPPER_ODDS[feminine])
    lower = draw.pick("lower", _LOWER_ODDS[feminine])
    if grey or lower == "briefs":
        # Whoever wears no more below is at the beach, or in a body scanner.
        lower, upper = "briefs", "bra" if feminine else "none"
    dress = lower == "skirt" and draw.chance("dress", 0.5)
    if dress:
        upper = draw.pick("dress/upper", {"tank": 0.4, "t-shirt": 0.4, "long": 0.2})
    sleeve = {
        "t-shirt": draw.uniform("sleeve", 0.16, 0.5),
        "long": draw.uniform("sleeve", 0.82, 0.99),
        "jacket": draw.uniform("sleeve", 0.93, 1.0),
    }.get(upper, 0.0)
    leg = {
        "briefs": 0.0,
        "shorts": draw.uniform("leg", 0.12, 0.3),
        "knee": draw.uniform("leg", 0.38, 0.56),
        "trousers": draw.uniform("leg", 0.93, 1.0),
        "leggings": draw.uniform("leg", 0.85, 0.98),
        "skirt": draw.uniform("leg", 0.2, 0.8),
    }[lower]
    hair = draw.pick("hair", _HAIR_ODDS[feminine])
    overlap = draw.uniform("overlap", 0.0, 0.12)
    if upper == "jacket":
        overlap += 0.04
    elif upper in ("tank", "t-shirt") and feminine and draw.chance("cropped", 0.15):
        overlap = -draw.uniform("cropped/by", 0.02, 0.1)
    shoes = draw.pick("shoes", {"none": 0.12, "low": 0.74, "boots": 0.14})
    if grey or lower == "briefs":
        shoes = "none"
    return Outfit(
        feminine=feminine,
        grey=grey,
        upper=upper,
        lower=lower,
        dress=dress,
        sleeve=sleeve,
        waist=draw.uniform("waist", -0.03, 0.035) + (0.06 if dress else 0.0),
        overlap=0.01 if dress else overlap,
        leg=leg,
        shoes=shoes,
        socks=draw.uniform("socks/height", 0.03, 0.16)
        if shoes != "none" and draw.chance("socks", 0.5)
        else 0.0,
        gloves=not grey and draw.chance("gloves", 0.04),
        hat=not grey and draw.chance("hat", 0.08),
        hair=hair,
        beard=not feminine and draw.chance("beard", 0.35),
    )


_UPPER_ODDS: dict[bool, dict[str, float]] = {
    True: {"bra": 0.06, "tank": 0.2, "t-shirt": 0.36, "long": 0.24, "jacket": 0.14},
    False: {"none": 0.06, "tank": 0.07, "t-shirt": 0.42, "long": 0.27, "jacket": 0.18},
}
_LOWER_ODDS: dict[bool, dict[str, float]] = {
    True: {
        "briefs": 0.05, "shorts": 0.13, "knee": 0.08, "trousers": 0.36, "leggings": 0.18,
        "skirt": 0.2,
    },
    False: {"briefs": 0.05, "shorts": 0.13, "knee": 0.2, "trousers": 0.58, "leggings": 0.04},
}  # fmt: skip
_HAIR_ODDS: dict[bool, dict[str, float]] = {
    True: {"bald": 0.01, "buzz": 0.02, "short": 0.2, "medium": 0.32, "long": 0.45},
    False: {"bald": 0.14, "buzz": 0.2, "short": 0.52, "medium": 0.1, "long": 0.04},
}
