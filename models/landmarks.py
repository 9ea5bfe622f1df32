"""Where a tape goes round a body, found on the mean body of any template of SMPL's joints.

Nothing here knows a vertex by its number. Places are found once for a template, from its joints,
its skinning weights and the form of its mean body; after that they belong to the skin: each is a
weighted mean of vertices, as joints are, and moves with them when the shape changes. So the open
body, SMPL and whatever else has these joints are measured in the same way, at the same anatomical
levels for thin and heavy people, and without jumps from one shape to the next.

Names of places are those of ISO 8559-1:2017, *Size designation of clothes: anthropometric
definitions for body measurement*; each docstring says what stands for the standard's landmark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.girths import girth, part_edges
from plausibody.models.skeleton import SMPL24

SIDES = ("left", "right")
TRUNK = (
    "pelvis left_hip right_hip spine1 spine2 spine3 left_collar right_collar".split()
)  # thighs too: above the crotch, they are the hips
NECK = "neck head spine3 left_collar right_collar".split()
LEVELS = 65
"""How many places are compared in a search."""


@dataclass(frozen=True)
class Tape:
    """A closed tape in one plane."""

    skin: Int[Tensor, " N"]
    """Vertices of the part of the body that it goes round."""
    edges: Int[Tensor, "E 2"]
    """Between these, by their places in `skin`."""
    place: Float[Tensor, " V"]
    """Weights of a point of the plane."""
    bone: Float[Tensor, " V"] | None
    """Weights of a vector across the plane; none for horizontal planes."""

    def __call__(self, vertices: Float[Tensor, "*batch V 3"]) -> Float[Tensor, "*batch"]:
        """Measures bodies [m]."""
        origin, normal = self.plane(vertices)
        part = vertices.index_select(-2, self.skin)
        return girth(part, self.edges, origin[..., None, :], normal[..., None, :])[..., 0]

    def plane(
        self, vertices: Float[Tensor, "*batch V 3"]
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"]]:
        """Gives a point of the plane [m] and its normal."""
        origin = self.place @ vertices
        if self.bone is None:
            return origin, vertices.new_tensor([0.0, 1.0, 0.0]).expand_as(origin)
        bone = self.bone @ vertices
        return origin, bone / bone.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Landmarks:
    """The tapes and points of one template."""

    tapes: dict[str, tuple[Tape, ...]]
    """By measurement; of limbs the left one, then the right one."""
    crotch: Float[Tensor, " V"]
    """Weights of the lowest point of the trunk's middle line."""
    acromions: Float[Tensor, "2 V"]
    """Weights of the highest skin over the shoulder joints, left and right."""
    elbows: Float[Tensor, "2 V"]
    wrists: Float[Tensor, "2 V"]

    @classmethod
    def of(cls, template: BodyTemplate) -> Landmarks:
        """Finds them on the mean body of a template that has the 24 joints of SMPL."""
        return _Surveyor(template).landmarks()


class _Surveyor:
    """Walks over one template."""

    def __init__(self, template: BodyTemplate):
        if len(template.parents) != len(SMPL24):
            raise ValueError(
                f"wanted a template with the {len(SMPL24)} joints of SMPL, "
                f"came one with {len(template.parents)}"
            )
        self.template = template
        self.vertices = template.vertices
        self.owner = template.skinning_weights.argmax(1)

    def landmarks(self) -> Landmarks:
        crotch = self.crotch()
        waist = self.waist()
        return Landmarks(
            tapes={
                "chest": (self.chest(),),
                "waist": (waist,),
                "hips": (self.hips(crotch, waist),),
                "neck": (self.neck(),),
                "thigh": tuple(self.thigh(side, crotch) for side in SIDES),
                "calf": tuple(self.calf(side) for side in SIDES),
                "upper_arm": tuple(self.upper_arm(side) for side in SIDES),
                "wrist": tuple(self.wrist(side) for side in SIDES),
            },
            crotch=crotch,
            acromions=torch.stack([self.acromion(side) for side in SIDES]),
            elbows=torch.stack([self.row(f"{side}_elbow") for side in SIDES]),
            wrists=torch.stack([self.row(f"{side}_wrist") for side in SIDES]),
        )

    def crotch(self) -> Float[Tensor, " V"]:
        """The lowest point where skin of the trunk passes from left to right.

        Only skin that bridges the legs passes, however near to each other the thighs are.
        """
        zero = torch.zeros_like(self.vertices[0, 0])
        return self.extreme(["pelvis", "left_hip", "right_hip"], zero, sign=-1)

    def chest(self) -> Tape:
        """Horizontal, at the bust points: the foremost skin of the chest beside its middle."""
        x, y, z = self.vertices.unbind(1)
        low, high = self.spine(0.50), self.spine(0.80)
        beside = x.abs() > 0.1 * (high - low)
        chest = self.part(TRUNK) & beside & (y > low) & (y < high)
        point = torch.where(chest, z, -torch.inf).argmax()
        return self.horizontal(TRUNK, y[point])

    def waist(self) -> Tape:
        """Horizontal, where the trunk is slimmest between the lowest ribs and the iliac crests.

        These are taken to lie 48 % and 28 % of the way up from the hip joints to the neck joint.
        """
        return self.slimmest(TRUNK, self.spine(0.28), self.spine(0.48))

    def hips(self, crotch: Float[Tensor, " V"], waist: Tape) -> Tape:
        """Horizontal, where the trunk is stoutest between crotch and waist."""
        low, high = (row @ self.vertices[:, 1] for row in (crotch, waist.place))
        return self.slimmest(TRUNK, low, high, sign=-1)

    def thigh(self, side: str, crotch: Float[Tensor, " V"]) -> Tape:
        """Horizontal, a tenth of the way from the crotch down to the knee joint."""
        level = torch.lerp(crotch @ self.vertices[:, 1], self.joint(f"{side}_knee")[1], 0.1)
        return self.horizontal([f"{side}_hip", f"{side}_knee"], level)

    def calf(self, side: str) -> Tape:
        """Horizontal, where it is stoutest in the second to sixth tenth of the lower leg."""
        knee, ankle = self.joint(f"{side}_knee")[1], self.joint(f"{side}_ankle")[1]
        low, high = torch.lerp(knee, ankle, 0.6), torch.lerp(knee, ankle, 0.2)
        return self.slimmest([f"{side}_knee", f"{side}_ankle"], low, high, sign=-1)

    def neck(self) -> Tape:
        """Across the line from neck joint to head joint, where the neck is slimmest."""
        return self.across(NECK, "neck", "head", 0.0, 0.8)

    def upper_arm(self, side: str) -> Tape:
        """Across the bone, midway between shoulder and elbow joint."""
        shoulder, elbow = f"{side}_shoulder", f"{side}_elbow"
        return self.across([shoulder, elbow], shoulder, elbow, 0.5, 0.5)

    def wrist(self, side: str) -> Tape:
        """Across the forearm, where it is slimmest about the wrist joint."""
        elbow, wrist = f"{side}_elbow", f"{side}_wrist"
        return self.across([elbow, wrist, f"{side}_hand"], elbow, wrist, 0.85, 1.05)

    def acromion(self, side: str) -> Float[Tensor, " V"]:
        """The highest skin in the sagittal plane through the shoulder joint."""
        return self.extreme(
            [f"{side}_collar", f"{side}_shoulder"], self.joint(f"{side}_shoulder")[0]
        )

    def extreme(self, parts: list[str], x: Float[Tensor, ""], sign: int = 1) -> Float[Tensor, " V"]:
        """Gives the highest skin in the plane of one x; the lowest with a sign of -1."""
        edges = part_edges(self.template.faces, self.part(parts))
        aside = self.vertices[:, 0] - x
        met, share = _crossing(aside, edges)
        first, second = self.vertices[met, 1].unbind(1)
        height = torch.lerp(first, second, share)
        best = (sign * height).argmax()
        row = torch.zeros_like(aside)
        row[met[best, 0]], row[met[best, 1]] = 1 - share[best], share[best]
        return row

    def horizontal(self, parts: list[str], level: Float[Tensor, ""]) -> Tape:
        return self.slimmest(parts, level, level)

    def slimmest(
        self,
        parts: list[str],
        low: Float[Tensor, ""],
        high: Float[Tensor, ""],
        sign: int = 1,
    ) -> Tape:
        """Searches horizontal planes between two heights; for the stoutest with a sign of -1."""
        up = torch.zeros_like(self.vertices[0])
        up[1] = 1
        origins = torch.lerp(low, high, self.shares())[:, None] * up
        return self.search(parts, origins, up, None, sign)

    def across(self, parts: list[str], start: str, end: str, first: float, last: float) -> Tape:
        """Searches planes across a bone between two shares of the way along it."""
        bone = self.row(end) - self.row(start)
        shares = first + (last - first) * self.shares()[:, None]
        origins = torch.lerp(self.joint(start), self.joint(end), shares)
        return self.search(parts, origins, bone @ self.vertices, bone)

    def search(
        self,
        parts: list[str],
        origins: Float[Tensor, "L 3"],
        normal: Float[Tensor, " 3"],
        bone: Float[Tensor, " V"] | None,
        sign: int = 1,
    ) -> Tape:
        edges = part_edges(self.template.faces, self.part(parts))
        normal = normal / normal.norm()
        lengths = girth(self.vertices, edges, origins, normal.expand_as(origins))
        if lengths.isnan().any():
            raise ValueError(
                f"wanted a template whose {', '.join(parts)} can be measured round, came one that "
                f"has no skin there; do: use a body in SMPL's rest pose"
            )
        origin = origins[(sign * lengths).argmin()]
        place = self.skin_at(edges, origin, normal)
        skin, ends = edges.unique(return_inverse=True)
        return Tape(skin=skin, edges=ends, place=place, bone=bone)

    def skin_at(
        self, edges: Int[Tensor, "E 2"], origin: Float[Tensor, " 3"], normal: Float[Tensor, " 3"]
    ) -> Float[Tensor, " V"]:
        """Gives the weights of the mean of the points where a plane meets edges."""
        above = (self.vertices - origin) @ normal
        met, share = _crossing(above, edges)
        row = torch.zeros_like(above)
        row = row.index_add(0, met[:, 0], 1 - share).index_add(0, met[:, 1], share)
        return row / len(met)

    def spine(self, share: float) -> Float[Tensor, ""]:
        """The height at a share of the way up from the hip joints to the neck joint."""
        hip = (self.joint("left_hip") + self.joint("right_hip"))[1] / 2
        return torch.lerp(hip, self.joint("neck")[1], share)

    def part(self, names: list[str]) -> Bool[Tensor, " V"]:
        """The vertices that follow some of these joints most."""
        joints = [SMPL24.index(name) for name in names]
        return torch.isin(self.owner, self.owner.new_tensor(joints))

    def row(self, name: str) -> Float[Tensor, " V"]:
        return self.template.joint_regressor[SMPL24.index(name)]

    def joint(self, name: str) -> Float[Tensor, " 3"]:
        return self.row(name) @ self.vertices

    def shares(self) -> Float[Tensor, " L"]:
        return torch.linspace(0, 1, LEVELS).to(self.vertices)


def _crossing(
    above: Float[Tensor, " V"], edges: Int[Tensor, "E 2"]
) -> tuple[Int[Tensor, "M 2"], Float[Tensor, " M"]]:
    """Gives the edges that a plane meets, and at which share of each."""
    ends = above[edges]
    met = (ends[:, 0] >= 0) != (ends[:, 1] >= 0)
    first, second = ends[met].unbind(1)
    return edges[met], first / (first - second)
