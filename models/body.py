"""The body: from shape and pose parameters to vertices and joints.

Pure functions and frozen dataclasses; no files, no device choices. Lengths are metres, rotations
are 3x3 matrices, and every function takes any number of leading batch axes.

Source: Loper et al., "SMPL: A Skinned Multi-Person Linear Model", 2015, sections 3.1-3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.profiler import record_function

from plausibody.models.constants import constant
from plausibody.models.records import to_device


@dataclass(frozen=True)
class BodyTemplate:
    """The constants of one body: V vertices, F faces, J joints, S shape directions."""

    vertices: Float[Tensor, "V 3"]
    """Rest pose [m]; y up, facing +z."""
    shape_directions: Float[Tensor, "V 3 S"]
    """Offset of each vertex per unit of each shape coefficient [m]."""
    pose_directions: Float[Tensor, "V 3 P"]
    """Offset of each vertex per entry of (R_j - I), joints 1.. row by row [m]; P = 9 (J - 1)."""
    joint_regressor: Float[Tensor, "J V"]
    """Joints as weighted means of vertices; rows sum to one."""
    skinning_weights: Float[Tensor, "V J"]
    """How much each joint moves each vertex; rows sum to one."""
    parents: tuple[int, ...]
    """Parent of each joint, -1 for the root. A parent comes before its children."""
    faces: Int[Tensor, "F 3"]
    """Vertex indices of the triangles, anticlockwise seen from outside."""
    topology: str
    """Hash of the faces: vertex-indexed files must carry the same."""
    gender: str
    """neutral, male or female."""

    def __post_init__(self) -> None:
        if self.parents[0] != -1 or any(p >= j for j, p in enumerate(self.parents)):
            raise ValueError(f"parents must begin with -1 and precede children, got {self.parents}")

    def to(self, device: torch.device | str) -> BodyTemplate:
        return to_device(self, device)

    @cached_property
    def skin(self) -> Skin:
        """Everything that posing needs, for all vertices."""
        return self.subset(torch.arange(len(self.vertices), device=self.vertices.device))

    def subset(self, vertices: Int[Tensor, " N"]) -> Skin:
        """The same body restricted to some vertices: posing them costs in proportion."""
        return Skin(
            vertices=self.vertices[vertices],
            shape_directions=self.shape_directions[vertices],
            pose_directions=self.pose_directions[vertices],
            skinning_weights=self.skinning_weights[vertices],
            joints=self.joint_regressor @ self.vertices,
            joint_directions=torch.einsum(
                "jv,vds->jds", self.joint_regressor, self.shape_directions
            ),
            parents=self.parents,
        )


@dataclass(frozen=True)
class Skin:
    """Some or all vertices of a body, ready to be shaped and posed."""

    vertices: Float[Tensor, "V 3"]
    shape_directions: Float[Tensor, "V 3 S"]
    pose_directions: Float[Tensor, "V 3 P"]
    skinning_weights: Float[Tensor, "V J"]
    joints: Float[Tensor, "J 3"]
    """Joints of the mean shape [m]."""
    joint_directions: Float[Tensor, "J 3 S"]
    """Offset of each joint per unit of each shape coefficient [m]."""
    parents: tuple[int, ...]

    def to(self, device: torch.device | str) -> Skin:
        return to_device(self, device)

    @cached_property
    def shape_matrix(self) -> Float[Tensor, "S V3"]:
        """Shape directions as a matrix; columns run over x of all vertices, then y, then z."""
        return self.shape_directions.permute(2, 1, 0).flatten(1).contiguous()

    @cached_property
    def pose_matrix(self) -> Float[Tensor, "P V3"]:
        """Pose directions as a matrix, in the same order."""
        return self.pose_directions.permute(2, 1, 0).flatten(1).contiguous()

    @cached_property
    def tree(self) -> Tree:
        """Joints by their distance from the root, so that each level is one product."""
        depth = [0] * len(self.parents)
        for joint, parent in enumerate(self.parents[1:], start=1):
            depth[joint] = depth[parent] + 1
        levels = [
            [joint for joint, at in enumerate(depth) if at == distance]
            for distance in range(max(depth) + 1)
        ]
        order = [joint for level in levels for joint in level]
        origins = []
        for upper, lower in zip(levels, levels[1:], strict=False):
            places = [upper.index(self.parents[joint]) for joint in lower]
            same = places == list(range(len(upper)))
            origins.append(None if same else self._index(places))
        return Tree(
            order=self._index(order),
            parents=self._index([order.index(max(self.parents[joint], 0)) for joint in order]),
            sizes=[len(level) for level in levels],
            origins=tuple(origins),
            back=self._index([order.index(joint) for joint in range(len(order))]),
        )

    def _index(self, joints: list[int]) -> Int[Tensor, " N"]:
        return constant(tuple(joints), torch.long, self.joints.device)


@dataclass(frozen=True)
class Tree:
    """A skin's joints as indices on its device, level by level."""

    order: Int[Tensor, " J"]
    """The joints, by their distance from the root."""
    parents: Int[Tensor, " J"]
    """Place in that order of each one's parent; the root's own."""
    sizes: list[int]
    """How many joints each level has, from the root's on."""
    origins: tuple[Int[Tensor, " _"] | None, ...]
    """For each level after the root's, the parents' places in the level above; None where the two
    correspond one to one."""
    back: Int[Tensor, " J"]
    """Place of each joint in the order."""


@dataclass(frozen=True)
class PosedBody:
    """A body in the world [m]."""

    vertices: Float[Tensor, "*batch V 3"]
    joints: Float[Tensor, "*batch J 3"]


def rest_vertices(
    template: BodyTemplate | Skin, shape: Float[Tensor, "*batch S"]
) -> Float[Tensor, "*batch V 3"]:
    """Shapes the template without posing it: vertices at rest [m].

    Args:
        template: A whole body, or a `Skin` of some of its vertices.
        shape: Coefficients of the first shape directions, in standard deviations.
    """
    skin = template.skin if isinstance(template, BodyTemplate) else template
    offsets = shape @ skin.shape_matrix[: shape.shape[-1]]
    return (skin.vertices.mT + offsets.unflatten(-1, (3, -1))).mT


@record_function("stage: bodies")
def pose_body(
    template: BodyTemplate | Skin,
    shape: Float[Tensor, "*#batch S"],
    rotations: Float[Tensor, "*#batch J 3 3"],
    translation: Float[Tensor, "*#batch 3"] | None = None,
) -> PosedBody:
    """Shapes the template, bends it at the joints and moves it into the world.

    Batch axes broadcast: one shape may take many poses, one pose many shapes.

    Args:
        template: A whole body, or a `Skin` of some of its vertices.
        shape: Coefficients of the first shape directions, in standard deviations; there may be
            fewer than the template has.
        rotations: Of each joint relative to its parent; of the root relative to the world.
        translation: Added to everything [m]; none leaves the template's origin in place.

    Source: Loper et al. 2015, equations 2-11.
    """
    skin = template.skin if isinstance(template, BodyTemplate) else template
    count = shape.shape[-1]
    if count > skin.shape_directions.shape[-1]:
        raise ValueError(
            f"shape: this body has {skin.shape_directions.shape[-1]} coefficients, got {count}"
        )
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    bend = (rotations[..., 1:, :, :] - identity).flatten(-3)
    # Vertices travel as (3, V): one long product per step instead of many small ones.
    offsets = shape @ skin.shape_matrix[:count] + bend @ skin.pose_matrix
    rest = skin.vertices.mT + offsets.unflatten(-1, (3, -1))
    joint_directions = skin.joint_directions[..., :count].flatten(0, 1)
    joints = skin.joints + (shape @ joint_directions.T).unflatten(-1, (-1, 3))

    batch = torch.broadcast_shapes(shape.shape[:-1], rotations.shape[:-3])
    joints = joints.expand(*batch, -1, -1)
    orientation, position = _walk(skin, rotations.expand(*batch, -1, -1, -1), joints)
    # A vertex follows every joint by its weight: sum_j w_vj (R_j (x_v - rest_j) + p_j).
    offset = position - _rotate(orientation, joints)
    moves = torch.cat([orientation, offset[..., None]], dim=-1).flatten(-2).mT
    blended = (moves.reshape(-1, moves.shape[-1]) @ skin.skinning_weights.T).reshape(
        *moves.shape[:-2], 3, 4, -1
    )
    vertices = _move(blended, rest).mT
    if translation is not None:
        vertices = vertices + translation[..., None, :]
        position = position + translation[..., None, :]
    return PosedBody(vertices=vertices, joints=position)


def _move(
    blended: Float[Tensor, "*batch 3 4 V"], points: Float[Tensor, "*batch 3 V"]
) -> Float[Tensor, "*batch 3 V"]:
    """Moves each point by a 3x4 matrix of its own."""
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1, :])], -2)
    moved: Tensor = _Move.apply(blended, homogeneous)
    return moved


class _Move(torch.autograd.Function):
    """The same as `(blended * points[..., None, :, :]).sum(-2)` without its large temporaries."""

    @staticmethod
    def forward(blended: Tensor, points: Tensor) -> Tensor:
        x, y, z, shift = blended.unbind(-2)
        out = torch.addcmul(shift, x, points[..., None, 0, :])
        return out.addcmul_(y, points[..., None, 1, :]).addcmul_(z, points[..., None, 2, :])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        blended, points = ctx.saved_tensors
        gradient = gradient.contiguous()  # the order of memory decides over a factor of three
        first, second, third = gradient[..., None, :].unbind(-3)
        towards = blended[..., 0, :, :] * first
        towards = towards.addcmul_(blended[..., 1, :, :], second)
        towards = towards.addcmul_(blended[..., 2, :, :], third)
        return gradient[..., None, :] * points[..., None, :, :], towards


def _walk(
    skin: Skin, rotations: Float[Tensor, "*batch J 3 3"], joints: Float[Tensor, "*batch J 3"]
) -> tuple[Float[Tensor, "*batch J 3 3"], Float[Tensor, "*batch J 3"]]:
    """Composes each joint's transform with its parent's, one level of the tree at a time."""
    tree = skin.tree
    rest = joints.index_select(-2, tree.order)
    bones = rest - rest.index_select(-2, tree.parents)
    moves = torch.cat([rotations.index_select(-3, tree.order), bones[..., None]], -1)
    root, *levels = moves.split(tree.sizes, -3)
    orientation, position = root[..., :3], rest[..., :1, :]
    orientations, positions = [orientation], [position]
    for level, origins in zip(levels, tree.origins, strict=True):
        if origins is not None:
            orientation = orientation.index_select(-3, origins)
            position = position.index_select(-2, origins)
        turned = orientation @ level
        orientation, position = turned[..., :3], position + turned[..., 3]
        orientations.append(orientation)
        positions.append(position)
    orientation, position = torch.cat(orientations, -3), torch.cat(positions, -2)
    return orientation.index_select(-3, tree.back), position.index_select(-2, tree.back)


def _rotate(
    rotation: Float[Tensor, "*batch 3 3"], vector: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    return (rotation @ vector[..., None])[..., 0]


def regress(
    regressor: Float[Tensor, "K V"], vertices: Float[Tensor, "*batch V 3"]
) -> Float[Tensor, "*batch K 3"]:
    """Gives joints as weighted means of vertices.

    The same as `regressor @ vertices`, in the memory order that `pose_body` leaves.
    """
    return (vertices.mT @ regressor.T).mT


def vertex_normals(
    vertices: Float[Tensor, "*batch V 3"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, "*batch V 3"]:
    """Averages the normals of the faces round each vertex, by their area; unit length."""
    # (V, 3, batch): gathering and adding then move whole rows.
    rows = vertices.reshape(-1, *vertices.shape[-2:]).permute(1, 2, 0)
    count, _, batch = rows.shape
    flat = rows.reshape(count, 3 * batch)
    shape = (len(faces), 3, batch)
    a, b, c = (flat.index_select(0, faces[:, corner]).view(shape) for corner in range(3))
    (x1, y1, z1), (x2, y2, z2) = (b - a).unbind(1), (c - a).unbind(1)
    normal = torch.stack([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2], 1)
    total = torch.zeros_like(flat)
    for corner in range(3):
        total = _add_rows(total, faces[:, corner], normal.flatten(1))
    x, y, z = total.view(count, 3, batch).unbind(1)
    length = (x * x + y * y + z * z).sqrt().clamp(min=1e-12)
    total = total.view(count, 3, batch) / length[:, None]
    return total.permute(2, 0, 1).reshape(vertices.shape)


def _add_rows(
    total: Float[Tensor, "V C"], index: Int[Tensor, " F"], rows: Float[Tensor, "F C"]
) -> Float[Tensor, "V C"]:
    """Adds rows in one order on every run: on CUDA, `index_add` takes any, `index_put` sorts."""
    if total.is_cuda:
        return total.index_put((index,), rows, accumulate=True)
    return total.index_add(0, index, rows)
