"""How joints hear of each other: features of rotations refined by way of features of positions.

Features of rotations are gathered along each chain to features of positions, as forward kinematics
would; these are refined among neighbours, whose ties are learnt; and features of rotations are read
off each joint and its neighbours again. Parameters have the published names.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.3;
Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.part_tables import ancestors, links, relatives


class GraphLinear(nn.Module):
    """A linear layer whose results are mixed between joints: A X W + b."""

    def __init__(self, features_in: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features_in, features))
        self.bias = nn.Parameter(torch.zeros(features))
        nn.init.xavier_uniform_(self.weight)

    def forward(
        self, x: Float[Tensor, "batch J C"], mix: Float[Tensor, "J J"]
    ) -> Float[Tensor, "batch J C2"]:
        return mix.to(x.dtype) @ (x @ self.weight) + self.bias


class GraphLayers(nn.Module):
    """Graph layers, each followed by a norm of each joint's features over the batch and a ReLU."""

    def __init__(self, joints: int, widths: Sequence[int]):
        """Args:
        joints: How many there are.
        widths: Features of each joint before the first layer and after each.
        """
        super().__init__()
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.gc = nn.ModuleList(GraphLinear(*pair) for pair in pairs)
        self.act = nn.ModuleList(nn.Sequential(nn.BatchNorm1d(joints), nn.ReLU()) for _ in pairs)

    def forward(
        self, x: Float[Tensor, "batch J C"], mix: Float[Tensor, "J J"]
    ) -> Float[Tensor, "batch J C2"]:
        for layer, act in zip(self.gc, self.act, strict=True):
            x = act(layer(x, mix))
        return x


class Refined(NamedTuple):
    """What the graph makes of features of rotations."""

    rotations: Float[Tensor, "batch J C"]
    positions: Float[Tensor, "batch J C"]
    """Before their refinement."""
    refined: Float[Tensor, "batch J C"]
    """After it."""


class PositionAidedGraph(nn.Module):
    """The three steps."""

    r2p_A: Tensor
    p2r_A: Tensor
    A_mask: Tensor

    def __init__(
        self, features: int, parents: Sequence[int], joints: Sequence[str], refine: bool = True
    ):
        """Args:
        features: Of each joint.
        parents: Of each joint, -1 for the root.
        joints: Their names.
        refine: Whether positions are refined between the other two steps.
        """
        super().__init__()
        count = len(parents)
        self.register_buffer("r2p_A", ancestors(parents)[None])
        self.register_buffer("p2r_A", relatives(parents)[None])
        self.register_buffer("A_mask", links(parents, joints)[None])
        self.r2p_gcn = GraphLayers(count, (features, features))
        self.p2r_gcn = GraphLayers(count, (features, features))
        self.refine_gcn = None
        if refine:
            self.edge_importance = nn.Parameter(torch.ones(1, count, count))
            self.refine_gcn = GraphLayers(count, (features, 2 * features, 2 * features, features))

    def ties(self) -> Float[Tensor, "J J"]:
        """Gives how much joints hear of each other when positions are refined."""
        own = torch.eye(self.A_mask.shape[-1], device=self.A_mask.device)
        table = own + self.A_mask[0] * functional.relu(self.edge_importance[0])
        root = table.sum(0).rsqrt()
        return root[:, None] * table * root

    def forward(self, rotations: Float[Tensor, "batch J C"]) -> Refined:
        positions = self.r2p_gcn(rotations, self.r2p_A[0])
        refined = positions
        if self.refine_gcn is not None:
            refined = positions + self.refine_gcn(positions, self.ties())
        return Refined(self.p2r_gcn(refined, self.p2r_A[0]), positions, refined)
