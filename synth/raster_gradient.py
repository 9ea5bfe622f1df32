"""Gradients of a picture with respect to where its edges lie.

Rasterising has none: a pixel keeps its face until, all at once, it has another. Yet the picture of
which it is a sample changes steadily as an edge moves: by the difference of the two colours that
meet there, times the way. "Micro-edges", the sides shared by neighbouring pixels that see different
surfaces, stand in for the edges; each hands what it would gain by moving to the vertices of the
face in front, whose edge it is.

Source: Pidhorskyi et al., "Rasterized Edge Gradients: Handling Discontinuities Differentiably",
2024 (arXiv:2405.02508), section 4. Of its cases this has occlusion; where faces cross, and edges of
both move, the nearer pixel's is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from torch.autograd.function import once_differentiable

from plausibody.synth.raster_fragments import Fragments


def edge_grad(
    image: Float[Tensor, "B C H W"],
    vertices: Float[Tensor, "B V 3"],
    fragments: Fragments,
    faces: Int[Tensor, "F 3"],
    labels: Integer[Tensor, "B H W"] | Bool[Tensor, "B H W"],
) -> Float[Tensor, "B C H W"]:
    """Gives the image as it is, with gradients to the vertices from its edges.

    The gradient is that of a picture without pixels, sampled. Against finite differences of a loss
    over 8 x 8 samples per pixel, on posed bodies at 256 px, its cosine is 0.997 or more for masks
    and 0.995 for 24 parts; at 96 px, 0.97 and 0.89. Losses should be smooth around 0 and 1 (L1, L2,
    Dice or IoU, not cross-entropy). Where the picture misses its target entirely nothing pulls:
    then use points, or blur both. On CUDA, sums over pixels have no fixed order.

    Args:
        image: Any picture made of the fragments: masks, labels one by one, colours.
        vertices: What was rasterised: x, y [px] and depth [m]. Only x and y get gradients.
        fragments: What `rasterize` found for these vertices; barycentric coordinates are not used.
        faces: Those that were rasterised.
        labels: What each pixel shows; edges are where it differs. The mask for silhouettes, parts
            for part masks. Not face numbers: the picture does not jump between faces of a surface.

    Raises:
        ValueError: If sizes do not belong to each other.
    """
    shape = fragments.face.shape
    if image.shape[:1] + image.shape[2:] != shape or labels.shape != shape:
        raise ValueError(
            f"edge_grad: wanted image and labels of the fragments' (batch, height, width) "
            f"{tuple(shape)}, got image {tuple(image.shape)} and labels {tuple(labels.shape)}"
        )
    result: Tensor = _EdgeGrad.apply(
        image, vertices, fragments.face, fragments.depth, faces, labels
    )
    return result


class _EdgeGrad(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        vertices: Tensor,
        face: Tensor,
        depth: Tensor,
        faces: Tensor,
        labels: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(image, vertices, face, depth, faces, labels)
        return image.view_as(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_vertices = None
        if ctx.needs_input_grad[1]:
            to_vertices = _to_vertices(grad, *ctx.saved_tensors)
        return grad, to_vertices, None, None, None, None


@dataclass(frozen=True)
class _Pixels:
    image: Int[Tensor, " N"]
    row: Int[Tensor, " N"]
    column: Int[Tensor, " N"]

    def of(self, values: Tensor) -> Tensor:
        """Looks up values of shape (B, ..., H, W); gives (N, ...)."""
        return values.movedim((-2, -1), (1, 2))[self.image, self.row, self.column]


@dataclass(frozen=True)
class _MicroEdges:
    """Sides between neighbouring pixels."""

    axis: int
    """Along which the neighbours lie, and the side can move: 0 for x, 1 for y."""
    front: _Pixels
    """The neighbour whose surface is nearer, and ends here."""
    rear: _Pixels
    sign: Float[Tensor, " N"]
    """1 where the front pixel is the one with the smaller coordinate, -1 elsewhere."""


def _to_vertices(
    grad: Float[Tensor, "B C H W"],
    image: Float[Tensor, "B C H W"],
    vertices: Float[Tensor, "B V 3"],
    face: Int[Tensor, "B H W"],
    depth: Float[Tensor, "B H W"],
    faces: Int[Tensor, "F 3"],
    labels: Integer[Tensor, "B H W"] | Bool[Tensor, "B H W"],
) -> Float[Tensor, "B V 3"]:
    out = vertices.new_zeros(vertices.shape)
    flat = out.view(-1, 3)
    for edges in _micro_edges(face, depth, labels):
        # If the side moves by a pixel, the front's colour replaces the rear's in a pixel; the
        # pixel at which it lies is half the one and half the other.
        jump = edges.front.of(image) - edges.rear.of(image)
        slope = (edges.front.of(grad) + edges.rear.of(grad)) / 2
        pull = ((jump * slope).sum(-1) * edges.sign).to(vertices.dtype)
        corners = faces.long()[edges.front.of(face).long()]
        share = _place_in_face(vertices.detach(), corners, edges.front) * pull[:, None]
        place = edges.front.image[:, None] * vertices.shape[1] + corners
        flat[:, edges.axis].index_add_(0, place.flatten(), share.flatten())
    return out


def _micro_edges(
    face: Int[Tensor, "B H W"],
    depth: Float[Tensor, "B H W"],
    labels: Integer[Tensor, "B H W"] | Bool[Tensor, "B H W"],
) -> Iterator[_MicroEdges]:
    """Gives the sides where labels meet, first those of neighbours in a row."""
    distance = torch.where(face >= 0, depth, torch.inf)
    for axis, dimension in ((0, 2), (1, 1)):
        length = face.shape[dimension] - 1
        differ = labels.narrow(dimension, 0, length) != labels.narrow(dimension, 1, length)
        image, row, column = differ.nonzero(as_tuple=True)
        first = _Pixels(image, row, column)
        second = _Pixels(image, row + (axis == 1), column + (axis == 0))
        to_first, to_second = first.of(distance), second.of(distance)
        # Two pixels without a face have no edge between them, whatever their labels.
        seen = torch.minimum(to_first, to_second) < torch.inf
        ahead = to_first <= to_second
        yield _MicroEdges(
            axis=axis,
            front=_choose(ahead, first, second, seen),
            rear=_choose(ahead, second, first, seen),
            sign=torch.where(ahead, 1.0, -1.0)[seen],
        )


def _choose(
    condition: Bool[Tensor, " N"], one: _Pixels, other: _Pixels, kept: Bool[Tensor, " N"]
) -> _Pixels:
    return _Pixels(
        image=one.image[kept],
        row=torch.where(condition, one.row, other.row)[kept],
        column=torch.where(condition, one.column, other.column)[kept],
    )


def _place_in_face(
    vertices: Float[Tensor, "B V 3"], corners: Int[Tensor, "N 3"], pixels: _Pixels
) -> Float[Tensor, "N 3"]:
    """Gives each pixel centre's weights in its face on the image, whatever the depth.

    Where an edge lies on the image follows from where its ends do, linearly; so these are not the
    fragments' weights, which belong to points in space.
    """
    points = vertices[pixels.image[:, None], corners]
    x = points[..., 0] - (pixels.column + 0.5)[:, None]
    y = points[..., 1] - (pixels.row + 0.5)[:, None]
    after, before = [1, 2, 0], [2, 0, 1]
    weight = x[:, after] * y[:, before] - x[:, before] * y[:, after]
    total = weight.sum(-1, keepdim=True)
    weight = torch.where(total == 0, 1 / 3, weight / total).clamp(0, 1)
    return weight / weight.sum(-1, keepdim=True)
