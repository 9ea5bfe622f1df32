"""Where on the body the garments of textures lie: what each vertex wears, and how it hangs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from plausibody.models.body import BodyTemplate, vertex_normals
from plausibody.models.records import to_device
from plausibody.models.skeleton import SMPL24
from plausibody.synth.charts import COLUMNS, ROWS, Chart
from plausibody.synth.texels import LANDMARKS
from plausibody.synth.texture_canvas import SEMANTICS, label_number
from plausibody.synth.texture_outfits import LOWER
from plausibody.synth.textures import TextureBank

GARMENTS = ("hair", "upper", "lower", "shoes", "socks", "glove", "hat")
"""The labels that stand off the body."""
_BODY = ("background", "skin", "eye", "lip", "brow")
_WAVES = 8
_SMOOTHING = 2
_SPAN = 40
"""Rounds of averaging with neighbours: over some 10 cm."""


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
