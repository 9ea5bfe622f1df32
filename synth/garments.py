"""Clothes as geometry: the body's surface moved outwards where a texture wears something.

Painted clothes alone leave the outline naked, and a regressor that learns from such outlines takes
everybody's coat for flesh. Here each label of a texture moves its vertices along the normals: a
little for leggings, centimetres for hair and coats. Skin stays where it is, and so does the truth:
joints, shape and vertices to learn are those of the naked body. A skirt, moreover, closes the gap
between the legs.

The mesh is the body's own, so pictures, labels and outlines of a dressed body agree by
construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.profiler import record_function

from plausibody.models.constants import constant
from plausibody.models.skeleton import SMPL24
from plausibody.synth.chance import Chance
from plausibody.synth.texture_outfits import HAIR, LOWER, SHOES, UPPER
from plausibody.synth.wardrobe import GARMENTS, Wardrobe

Range = tuple[float, float]


@dataclass(frozen=True)
class GarmentSettings:
    """How far garments stand off the body [m], from the tightest to the loosest of each kind."""

    worn: float = 1.0
    """Probability that garments have any thickness; else they are paint."""
    upper: dict[str, Range] = field(
        default_factory=lambda: {
            "none": (0.0, 0.0), "bra": (0.001, 0.006), "tank": (0.002, 0.022),
            "t-shirt": (0.004, 0.042), "long": (0.003, 0.042), "jacket": (0.012, 0.06),
        }
    )  # fmt: skip
    lower: dict[str, Range] = field(
        default_factory=lambda: {
            "briefs": (0.001, 0.005), "shorts": (0.006, 0.04), "knee": (0.006, 0.04),
            "trousers": (0.003, 0.034), "leggings": (0.001, 0.004), "skirt": (0.004, 0.05),
        }
    )  # fmt: skip
    hair: dict[str, Range] = field(
        default_factory=lambda: {
            "bald": (0.001, 0.004), "buzz": (0.001, 0.005), "short": (0.008, 0.03),
            "medium": (0.015, 0.045), "long": (0.012, 0.045),
        }
    )  # fmt: skip
    shoes: dict[str, Range] = field(
        default_factory=lambda: {
            "none": (0.0, 0.0), "low": (0.005, 0.016), "boots": (0.008, 0.02),
        }
    )  # fmt: skip
    socks: Range = (0.001, 0.004)
    glove: Range = (0.001, 0.005)
    hat: Range = (0.006, 0.03)
    tightness: float = 1.6
    """Power that bends the uniform share between tightest and loosest: above 1, tight ones are
    more common."""
    folds: float = 0.28
    """Deviation of the thickness over a garment, as a share of it."""
    stride: float = 0.9
    """Distance between the legs at which a skirt no longer spans them [m]."""

    def __post_init__(self) -> None:
        for name, kinds in (("upper", UPPER), ("lower", LOWER), ("hair", HAIR), ("shoes", SHOES)):
            ranges = getattr(self, name)
            if set(ranges) != set(kinds):
                raise ValueError(
                    f"garments.{name}: wanted {', '.join(kinds)}, got {', '.join(ranges)}"
                )
            for kind, (low, high) in ranges.items():
                if not 0 <= low <= high <= 0.2:
                    raise ValueError(
                        f"garments.{name}.{kind}: wanted 0 <= tightest <= loosest <= 0.2 m, "
                        f"got {low} and {high}"
                    )


@record_function("stage: garments")
def dress(
    chance: Chance,
    vertices: Float[Tensor, "batch V 3"],
    normals: Float[Tensor, "batch V 3"],
    joints: Float[Tensor, "batch 24 3"],
    wardrobe: Wardrobe,
    texture: Int[Tensor, " batch"],
    settings: GarmentSettings | None = None,
) -> Float[Tensor, "batch V 3"]:
    """Moves the surface of posed bodies outwards, to where their clothes and hair are.

    Args:
        vertices: In any frame [m]; those that the wardrobe was built or cut for.
        normals: Outwards, of unit length, in the same frame.
        joints: `SMPL24` in the same frame [m].
        texture: Which texture of the bank each body wears.

    Returns:
        Vertices for drawing; those on bare skin are where they were.
    """
    settings = settings or GarmentSettings()
    dressed = vertices + _thickness(chance, wardrobe, texture, settings)[..., None] * normals
    skirts = wardrobe.skirts[texture] & chance.chance("garments/worn", settings.worn)
    # To count skirts is to wait for a GPU: there, everybody's legs are moved or stay.
    everybody = torch.arange(len(skirts), device=skirts.device)
    which = everybody if skirts.is_cuda else skirts.nonzero()[:, 0]
    if not len(which):
        return dressed
    legs = (which[:, None], wardrobe.legs)
    shift = _span_legs(vertices[legs], joints[which], wardrobe, texture[which], settings)
    # Legs are not round: what would be drawn into one slides over it instead.
    inwards = (shift * normals[legs]).sum(-1, keepdim=True).clamp(max=0)
    moved = shift - inwards * normals[legs]
    dressed[legs] += torch.where(skirts[which][:, None, None], moved, 0.0)
    return dressed


def _thickness(
    chance: Chance, wardrobe: Wardrobe, texture: Int[Tensor, " batch"], settings: GarmentSettings
) -> Float[Tensor, "batch V"]:
    """Draws how far each vertex moves outwards [m]; never negative."""
    worn = chance.chance("garments/worn", settings.worn)
    loose = chance.uniform("garments/loose", len(GARMENTS)) ** settings.tightness
    tightest, loosest = _ranges(wardrobe.garments[texture].long(), settings).unbind(-1)
    full = (tightest + loose * (loosest - tightest)) * worn[:, None] / 255
    thickness = torch.einsum("bg,bgv->bv", full, wardrobe.cover[texture].float())
    # The looser the cloth, the deeper the hollows that it spans.
    thickness = thickness + torch.minimum(wardrobe.hollow, thickness)
    waves = len(wardrobe.waves)
    mixture = chance.normal("garments/folds", waves, std=settings.folds / waves**0.5)
    return thickness * (1 + mixture @ wardrobe.waves).clamp(min=0.2)


def _ranges(kinds: Int[Tensor, "batch 4"], settings: GarmentSettings) -> Float[Tensor, "batch G 2"]:
    """Looks up the tightest and loosest fit of each garment of each body."""
    only = torch.zeros_like(kinds[:, 0])
    by_kind = {
        "upper": ([settings.upper[kind] for kind in UPPER], kinds[:, 0]),
        "lower": ([settings.lower[kind] for kind in LOWER], kinds[:, 1]),
        "hair": ([settings.hair[kind] for kind in HAIR], kinds[:, 2]),
        "shoes": ([settings.shoes[kind] for kind in SHOES], kinds[:, 3]),
        "socks": ([settings.socks], only),
        "glove": ([settings.glove], only),
        "hat": ([settings.hat], only),
    }
    return torch.stack(
        [
            constant(tuple(ranges), torch.float32, kinds.device)[kind]
            for ranges, kind in (by_kind[name] for name in GARMENTS)
        ],
        1,
    )


def _span_legs(
    vertices: Float[Tensor, "batch L 3"],
    joints: Float[Tensor, "batch 24 3"],
    wardrobe: Wardrobe,
    texture: Int[Tensor, " batch"],
    settings: GarmentSettings,
) -> Float[Tensor, "batch L 3"]:
    """Moves the vertices `wardrobe.legs`: widens both legs of a skirt to halves of one tube.

    Across the legs, at the same place along both, lie two round sections. Cloth round both is their
    convex hull: two outer half circles and two straight lines. The outer half of each leg stays;
    of its inner half, the quarter next to the outer one is drawn out along the straight line as far
    as the middle between the legs, and the rest closes the half tube there.
    """
    left, right = _leg_axes(joints, "left"), _leg_axes(joints, "right")
    place = wardrobe.leg[wardrobe.legs]
    along = place.clamp(0, 2)
    first = (along >= 1).long()
    part = (along - first)[:, None]
    is_left = (wardrobe.side[wardrobe.legs] > 0)[:, None]
    centres = [start[:, first] + part * bones[:, first] for start, bones in (left, right)]
    here = torch.where(is_left, centres[0], centres[1])
    there = torch.where(is_left, centres[1], centres[0])
    bone = torch.where(is_left, left[1][:, first], right[1][:, first])
    bone = torch.nn.functional.normalize(bone, dim=-1)
    across = there - here
    across = across - (across * bone).sum(-1, keepdim=True) * bone
    distance = across.norm(dim=-1)
    across = across / distance.clamp(min=1e-6)[..., None]
    front = torch.linalg.cross(bone, across, dim=-1)

    offset = vertices - here
    inner, height = (offset * across).sum(-1), (offset * front).sum(-1)
    radius = torch.hypot(inner, height)
    turn = torch.atan2(inner, height.abs()) / (torch.pi / 4)  # 0 at the line, 2 at the middle
    half = distance / 2
    line = torch.maximum(inner, turn * half)
    closing = torch.maximum(inner, half)
    new_inner = torch.where(turn < 1, line, closing)
    new_height = radius * torch.where(turn < 1, 1.0, 2 - turn)
    new_height = torch.maximum(new_height, height.abs()) * torch.where(height < 0, -1.0, 1.0)

    # Legs far apart tear no cloth: the skirt slides up, and its halves part.
    spans = ((settings.stride - distance) / (0.3 * settings.stride)).clamp(0, 1)
    below = ((place - 0.05) / 0.15).clamp(0, 1)
    lower = wardrobe.cover[texture, GARMENTS.index("lower")][:, wardrobe.legs]
    amount = (turn > 0) * below * spans * (lower / 100).clamp(max=1)
    shift = (new_inner - inner)[..., None] * across + (new_height - height)[..., None] * front
    return amount[..., None] * shift


def _leg_axes(
    joints: Float[Tensor, "batch 24 3"], side: str
) -> tuple[Float[Tensor, "batch 2 3"], Float[Tensor, "batch 2 3"]]:
    """Gives the upper ends of thigh and shank, and the bones from there."""
    hip, knee, ankle = (
        joints[:, SMPL24.index(f"{side}_{name}")] for name in ("hip", "knee", "ankle")
    )
    return torch.stack([hip, knee], 1), torch.stack([knee - hip, ankle - knee], 1)
