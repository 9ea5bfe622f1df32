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
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.profiler import record_function

from plausibody.models.body import BodyTemplate, vertex_normals
from plausibody.models.constants import constant
from plausibody.models.records import to_device
from plausibody.models.skeleton import SMPL24
from plausibody.synth.chance import Chance
from plausibody.synth.charts import COLUMNS, ROWS, Chart
from plausibody.synth.texels import LANDMARKS
from plausibody.synth.texture_canvas import SEMANTICS, label_number
from plausibody.synth.texture_outfits import HAIR, LOWER, SHOES, UPPER
from plausibody.synth.textures import TextureBank

GARMENTS = ("hair", "upper", "lower", "shoes", "socks", "glove", "hat")
"""The labels that stand off the body."""
_BODY = ("background", "skin", "eye", "lip", "brow")
_WAVES = 8
_SMOOTHING = 2
_SPAN = 40
"""Rounds of averaging with neighbours: over some 10 cm."""

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


@dataclass(frozen=True)
class Wardrobe:
    """What the T textures of a bank wear at each of V vertices."""

    labels: UInt8[Tensor, "T V"]
    """Index into `SEMANTICS`."""
    cover: UInt8[Tensor, "T G V"]
    """How much of its thickness each of `GARMENTS` has at a vertex, in 255ths: less at borders
    and where it rests on the body, nothing on skin."""
    garments: UInt8[Tensor, "T 4"]
    """Kinds in `texture_outfits.UPPER`, `LOWER`, `HAIR` and `SHOES`."""
    hollow: Float[Tensor, " V"]
    """How deep a vertex lies between its surroundings [m]: cloth spans what skin follows."""
    waves: Float[Tensor, "W V"]
    """Smooth functions on the body that folds are mixed of."""
    leg: Float[Tensor, " V"]
    """Place along the leg: 0 at the hip, 1 at the knee, 2 at the ankle."""
    side: Float[Tensor, " V"]
    """Of the leg: 1 left, -1 right, 0 elsewhere."""

    def to(self, device: torch.device | str) -> Wardrobe:
        return to_device(self, device)

    def subset(self, vertices: Int[Tensor, " N"]) -> Wardrobe:
        """The same clothes at some of the vertices, for a coarser mesh."""
        return Wardrobe(
            labels=self.labels[:, vertices],
            cover=self.cover[..., vertices],
            garments=self.garments,
            hollow=self.hollow[vertices],
            waves=self.waves[:, vertices],
            leg=self.leg[vertices],
            side=self.side[vertices],
        )

    @cached_property
    def legs(self) -> Int[Tensor, " L"]:
        """Vertices of the legs, from a little below the hips."""
        return ((self.side != 0) & (self.leg > 0.05)).nonzero()[:, 0]

    @cached_property
    def skirts(self) -> Bool[Tensor, " T"]:
        return self.garments[:, 1] == LOWER.index("skirt")


def vertex_labels(bank: TextureBank, template: BodyTemplate, chart: Chart) -> UInt8[Tensor, "T V"]:
    """Looks up what each texture shows at each vertex; skin where the sides of a seam disagree."""
    if bank.semantics is None:
        raise ValueError(
            "garments: wanted textures with labels, got published ones, which have none; "
            "do: take procedural textures, or switch the garments off"
        )
    height, width = bank.semantics.shape[1:]
    # A point on a cell's border is looked up on its own side of it.
    cell = torch.zeros(len(chart.u), dtype=torch.int64)
    cell[chart.faces_uv.flatten()] = chart.face_part.long().repeat_interleave(3) - 1
    column, row = cell // ROWS, cell % ROWS
    x = (chart.atlas[:, 0] * width).long()
    y = (chart.atlas[:, 1] * height).long()
    wide, tall = width // COLUMNS, height // ROWS
    x = torch.minimum(torch.maximum(x, column * wide), column * wide + wide - 1)
    y = torch.minimum(torch.maximum(y, row * tall), row * tall + tall - 1)
    seen = bank.semantics[:, y, x]

    owner = torch.empty(len(chart.u), dtype=torch.int64)
    owner[chart.faces_uv.flatten()] = template.faces.flatten()
    labels = bank.semantics.new_zeros(len(bank), len(template.vertices))
    labels[:, owner] = seen
    for name in _BODY:
        number = label_number(name)
        labels[:, owner] = torch.where(seen == number, seen, labels[:, owner])
        bare = torch.zeros_like(labels).index_add(1, owner, (seen == number).to(torch.uint8))
        labels = torch.where(bare > 0, number, labels)
    return labels


def build_wardrobe(bank: TextureBank, template: BodyTemplate, chart: Chart) -> Wardrobe:
    """Prepares the clothes of a bank for a body; once, some milliseconds a texture.

    Made on the CPU wherever the bank is, so that everybody wears the same to the last bit.

    Raises:
        ValueError: If the bank has no labels.
    """
    device = template.vertices.device
    bank, template, chart = bank.to("cpu"), template.to("cpu"), chart.to("cpu")
    labels = vertex_labels(bank, template, chart)
    assert bank.garments is not None
    numbers = torch.tensor([label_number(name) for name in GARMENTS])
    bodily = torch.tensor([name in _BODY for name in SEMANTICS])[labels.long()]
    place = template.vertices
    joints = template.joint_regressor @ place
    hip, knee, ankle = (joints[SMPL24.index(f"left_{name}"), 1] for name in
                        ("hip", "knee", "ankle"))  # fmt: skip
    leg = (hip - place[:, 1]) / (hip - knee)
    leg = torch.where(leg > 1, 1 + (knee - place[:, 1]) / (knee - ankle), leg).clamp(-1, 2)
    follows = [
        template.skinning_weights[:, [k for k, name in enumerate(SMPL24) if name in names]].sum(1)
        for names in ([f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "foot")]
                      for side in ("left", "right"))
    ]  # fmt: skip
    near = place[:, 0].abs() < 0.3
    below = place[:, 1] < hip + 0.08
    on_leg = (follows[0] + follows[1] > 0.2) | (near & below)

    hang = _hang(place, joints)
    flared = hang.clone()
    flared[GARMENTS.index("lower")] = (0.3 + 0.7 * leg / 1.5).clamp(0.3, 1.0)
    cover = torch.empty(len(bank), len(GARMENTS), labels.shape[1], dtype=torch.uint8)
    for texture, kinds in enumerate(bank.garments.tolist()):  # all at once would fill the memory
        share = (labels[texture] == numbers[:, None]).float()
        for _ in range(_SMOOTHING):
            share = _averaged(share, template.faces)
        share = share * (flared if kinds[1] == LOWER.index("skirt") else hang)
        cover[texture] = (share * ~bodily[texture] * 255).round().to(torch.uint8)
    return Wardrobe(
        labels=labels,
        cover=cover,
        garments=bank.garments,
        hollow=_hollow(place, template.faces),
        waves=_waves(place),
        leg=leg,
        side=torch.where(on_leg, place[:, 0].sign(), 0.0),
    ).to(device)


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
    mixture = chance.normal("garments/folds", _WAVES, std=settings.folds / _WAVES**0.5)
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


def _averaged(values: Float[Tensor, "C V"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "C V"]:
    """Averages each vertex with its neighbours, those of two common faces twice."""
    a, b, c = faces.T
    total = values.index_add(1, a, values[:, b] + values[:, c])
    total = total.index_add(1, b, values[:, a] + values[:, c])
    total = total.index_add(1, c, values[:, a] + values[:, b])
    return total / (1 + 2 * torch.bincount(faces.flatten(), minlength=values.shape[1]))


def _hollow(place: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, " V"]:
    """Measures how far a smoothed body rises above the body itself [m]."""
    smooth = place.T
    for _ in range(_SPAN):
        smooth = _averaged(smooth, faces)
    depth = ((smooth.T - place) * vertex_normals(place, faces)).sum(1).clamp(min=0)
    return _averaged(depth[None], faces)[0]


def _waves(place: Float[Tensor, "V 3"]) -> Float[Tensor, "W V"]:
    """Gives plane waves of 10 to 30 cm on the body in its rest pose."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(_WAVES, 3, generator=generator)
    direction = direction / direction.norm(dim=1, keepdim=True)
    frequency = 3 + 7 * torch.rand(_WAVES, 1, generator=generator)
    phase = 2 * torch.pi * torch.rand(_WAVES, 1, generator=generator)
    return 2**0.5 * torch.sin(2 * torch.pi * frequency * direction @ place.T + phase)


def _hang(place: Float[Tensor, "V 3"], joints: Float[Tensor, "24 3"]) -> Float[Tensor, "G V"]:
    """Gives how loose garments hang at each vertex, 0..1: least where they rest on the body."""
    height, reach = place[:, 1], place[:, 0].abs()
    shoulder = joints[SMPL24.index("left_shoulder")]
    pelvis, hip = joints[SMPL24.index("pelvis"), 1], joints[SMPL24.index("left_hip"), 1]
    elbow = joints[SMPL24.index("left_elbow"), 0]
    trunk = 0.3 + 0.7 * ((shoulder[1] - height) / 0.28).clamp(0, 1)
    sleeve = 0.4 + 0.4 * ((reach - shoulder[0]) / (elbow - shoulder[0])).clamp(0, 1)
    upper = torch.where(reach > shoulder[0] + 0.02, sleeve, trunk)
    lower = 0.35 + 0.65 * ((pelvis - height) / (pelvis - hip + 0.15)).clamp(0, 1)
    eye, ear = place[LANDMARKS["left_eye"]], place[LANDMARKS["left_ear"]]
    # Beards are shorter than hair: below the eyes, and before the ears.
    above, behind = (height - eye[1] + 0.04) / 0.04, (ear[2] + 0.04 - place[:, 2]) / 0.04
    hair = 0.35 + 0.65 * torch.maximum(above, behind).clamp(0, 1)
    others = {"upper": upper, "lower": lower, "hair": hair}
    return torch.stack([others.get(name, torch.ones_like(height)) for name in GARMENTS])
