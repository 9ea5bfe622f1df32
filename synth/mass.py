"""Shapes by body mass index: as many heavy and light people as medium ones.

Coefficients from a normal distribution pile up about the mean body, and regressors learn to say
the mean. Here the index is drawn evenly from a range, and a normal draw is moved along the one
direction that changes the index until it has it; everything else about the shape stays normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.body import BodyTemplate
from plausibody.models.genders import ShapeMap
from plausibody.models.girths import enclosed_volume
from plausibody.models.records import map_tensors, to_device
from plausibody.synth.chance import Chance
from plausibody.synth.exact import rounded

DENSITY = 1010.0
"""Of a body, lungs partly filled [kg/m^3]."""


@dataclass(frozen=True)
class MassIndex:
    """The logarithm of a body's mass index, as a quadratic function of its shape coefficients.

    Volume is of third degree in the vertices and height of first; over the shapes that occur, this
    fits to within about one percent.
    """

    constant: Float[Tensor, ""]
    slope: Float[Tensor, " S"]
    curvature: Float[Tensor, "S S"]
    """Symmetric."""

    def to(self, device: torch.device | str) -> MassIndex:
        return to_device(self, device)

    @classmethod
    def of(cls, template: BodyTemplate, count: int = 10, spread: float = 1.5) -> MassIndex:
        """Takes differences over `spread` to both sides of the mean shape, in every pair.

        On the CPU wherever the template is: the index is the same to the last bit.
        """
        device, template = template.vertices.device, template.to("cpu")
        step = spread * torch.eye(count)
        pairs = step[:, None] + step
        shapes = torch.cat([torch.zeros_like(step[:1]), step, -step, pairs.reshape(-1, count)])
        value = mass_index(template, shapes).log()
        centre, plus, minus, both = value.split([1, count, count, count * count])
        curvature = (both.reshape(count, count) - plus[:, None] - plus + centre) / spread**2
        straight = (plus + minus - 2 * centre) / spread**2
        curvature = curvature - curvature.diag().diag() + straight.diag()
        slope = (plus - minus) / (2 * spread)
        return cls(constant=centre[0], slope=slope, curvature=curvature).to(device)

    def after(self, mapped: ShapeMap) -> MassIndex:
        """Gives the same index as a function of what is mapped: of another body's shapes."""
        index, other = map_tensors(self, Tensor.double), map_tensors(mapped, Tensor.double)
        gradient = index.slope + index.curvature @ other.offset
        composed = MassIndex(
            constant=index.constant + other.offset @ (index.slope + gradient) / 2,
            slope=other.matrix @ gradient,
            curvature=other.matrix @ index.curvature @ other.matrix.T,
        )
        return map_tensors(composed, Tensor.float)

    def __call__(self, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """Gives the index [kg/m^2]."""
        quadratic = ((shape @ self.curvature) * shape).sum(-1) / 2
        return (self.constant + shape @ self.slope + quadratic).exp()

    def draw_shape(
        self, chance: Chance, low: float, high: float, std: float
    ) -> Float[Tensor, "batch S"]:
        """Draws shapes whose indices are uniform.

        Args:
            low: Smallest index [kg/m^2].
            high: Largest index [kg/m^2].
            std: Standard deviation of the coefficients across the index's direction.
        """
        shape = chance.normal("shape", len(self.slope), std=std)
        wanted = chance.uniform("shape/index", low=low, high=high)
        return rounded(map_tensors(self, Tensor.double)._move, shape, wanted)

    def _move(
        self, shape: Float[Tensor, "batch S"], wanted: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch S"]:
        """Changes shapes along the index's direction until they have the index that is wanted."""
        for _ in range(6):  # Newton's steps along the slope; the curvature is slight
            gradient = self.slope + shape @ self.curvature
            gap = wanted.log() - self(shape).log()
            along = (gradient * self.slope).sum(-1).clamp(min=0.2 * self.slope.square().sum())
            shape = shape + (gap / along)[:, None] * self.slope
        return shape


def mass_index(template: BodyTemplate, shape: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
    """Gives mass over the square of the height of rest bodies [kg/m^2].

    Args:
        shape: Coefficients of the first shape directions.
    """
    directions = template.shape_directions[..., : shape.shape[-1]]
    vertices = template.vertices + torch.einsum("vds,...s->...vd", directions, shape)
    volume = enclosed_volume(vertices, template.faces)
    height = vertices[..., 1].amax(-1) - vertices[..., 1].amin(-1)
    return DENSITY * volume / height.square()
