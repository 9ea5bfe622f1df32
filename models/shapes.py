"""Normal distributions over the coefficients of a body's shape.

The covariance is whole, not diagonal: what one image leaves open of a shape is above all its size,
in which many coefficients take part. A known height then narrows all of them at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ShapeGaussian:
    """Distributions over shapes, one for each entry of the batch."""

    mean: Float[Tensor, "*batch S"]
    """Coefficients, in standard deviations of the population."""
    factor: Float[Tensor, "*batch S S"]
    """Lower triangular, with a positive diagonal; the covariance is factor factor^T."""

    @classmethod
    def independent(
        cls, mean: Float[Tensor, "*batch S"], std: Float[Tensor, "*batch S"]
    ) -> ShapeGaussian:
        """Gives every coefficient a standard deviation of its own (HierProb3D)."""
        return cls(mean=mean, factor=torch.diag_embed(std))

    @classmethod
    def of_covariance(
        cls, mean: Float[Tensor, "*batch S"], covariance: Float[Tensor, "*batch S S"]
    ) -> ShapeGaussian:
        """Args:
        covariance: Symmetric and positive definite.
        """
        return cls(mean=mean, factor=torch.linalg.cholesky(covariance))

    @property
    def covariance(self) -> Float[Tensor, "*batch S S"]:
        return self.factor @ self.factor.mT

    @property
    def std(self) -> Float[Tensor, "*batch S"]:
        """Of each coefficient by itself."""
        return self.factor.square().sum(-1).sqrt()

    def sample(
        self, count: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "count *batch S"]:
        """Draws independent shapes; gradients pass to mean and covariance.

        Args:
            count: Of shapes from each distribution; the first axis of the result.
            generator: On the distribution's device; torch's own where None.
        """
        noise = torch.randn(
            count, *self.mean.shape, generator=generator, dtype=self.mean.dtype,
            device=self.mean.device,
        )  # fmt: skip
        return self.mean + (self.factor @ noise[..., None])[..., 0]

    def log_prob(self, shape: Float[Tensor, "*samples S"]) -> Float[Tensor, ...]:
        """Gives the log-density [nats].

        Args:
            shape: The batch's axes come last: what `sample` gives will do.
        """
        gap = (shape - self.mean)[..., None]
        score = torch.linalg.solve_triangular(self.factor, gap, upper=False)[..., 0]
        return -0.5 * score.square().sum(-1) - self._log_volume()

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Gives the differential entropy [nats]."""
        return self._log_volume() + 0.5 * self.mean.shape[-1]

    def _log_volume(self) -> Float[Tensor, "*batch"]:
        stds = self.factor.diagonal(dim1=-2, dim2=-1)
        return stds.log().sum(-1) + 0.5 * math.log(2 * math.pi) * self.mean.shape[-1]

    def product(self, other: ShapeGaussian) -> ShapeGaussian:
        """Gives the normalised product of the densities: what two independent sources say.

        With C = A + B: mean B C^-1 a + A C^-1 b and covariance A C^-1 B, which stay exact where
        one of the two is nearly certain.
        """
        first, second = self.covariance, other.covariance
        weight = torch.linalg.solve(first + second, first).mT  # A C^-1, of symmetric A and C
        mean = self.mean + (weight @ (other.mean - self.mean)[..., None])[..., 0]
        covariance = weight @ second
        return ShapeGaussian.of_covariance(mean, (covariance + covariance.mT) / 2)

    def given(
        self,
        direction: Float[Tensor, "*#batch S"],
        value: Float[Tensor, "*#batch"],
        std: float,
    ) -> ShapeGaussian:
        """Conditions on a measured linear function of the shape: direction . shape = value.

        Args:
            direction: May have fewer axes than the batch.
            value: What was measured.
            std: Of the measurement's error, in the value's unit; positive.

        Raises:
            ValueError: If `std` is not positive.
        """
        if not std > 0:
            raise ValueError(f"std: wanted a positive standard deviation, got {std}")
        covariance = self.covariance
        cross = (covariance @ direction[..., None])[..., 0]
        spread = (direction * cross).sum(-1) + std**2
        gain = cross / spread[..., None]
        miss = value - (direction * self.mean).sum(-1)
        # Joseph's form: symmetric and positive whatever the rounding.
        kept = torch.eye(self.mean.shape[-1], dtype=gain.dtype, device=gain.device)
        kept = kept - gain[..., :, None] * direction[..., None, :]
        noise = gain[..., :, None] * gain[..., None, :] * std**2
        return ShapeGaussian.of_covariance(
            self.mean + gain * miss[..., None], kept @ covariance @ kept.mT + noise
        )
