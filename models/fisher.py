"""The matrix-Fisher distribution over rotations, exact: density p(R) = exp(tr(F^T R)) / c(F).

F is any 3x3 matrix. With proper singular values F = U diag(s) V^T (U and V rotations,
s1 >= s2 >= |s3|), the mode is U V^T and s says how concentrated the rotations are round it: turns
about the k-th column of U have, if s is large, the variance 1 / (sum of the other two s) [rad^2].
F = 0 is the uniform distribution. Densities are with respect to the rotation-invariant measure of
total 1: the uniform distribution has log density and entropy 0.

All gradients are finite, for equal singular values too, as none passes through singular vectors;
and all arithmetic but the drawing is in float64, as log-densities are differences of large numbers.

Source: Downs, "Orientation Statistics", 1972; Mohlin et al., "Probabilistic Orientation Estimation
with Matrix Fisher Distributions", 2020; the constant and the draws are as in `fisher_normalizer`
and `fisher_sampler`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from plausibody.models.constants import constant
from plausibody.models.fisher_angle import AngleTable, tabulate
from plausibody.models.fisher_normalizer import hessian, log_normalizer, moments
from plausibody.models.fisher_sampler import draw_noise, envelope, turn_noise

__all__ = ["MatrixFisher", "log_normalizer"]


_LARGEST = 1e100
"""Of an entry of F: sums of a few such numbers and their products with angles do not overflow."""


@dataclass(frozen=True, eq=False)
class MatrixFisher:
    """Distributions over rotations, one for each entry of the batch."""

    parameter: Float[Tensor, "*batch 3 3"]
    """F, without unit; any finite matrices. Results have its type, or float32 if that is finer."""

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.parameter.shape), self.parameter.dtype
        if shape[-2:] != (3, 3):
            raise ValueError(f"parameter: wanted 3x3 matrices (the last two axes), got {shape}")
        if not dtype.is_floating_point:
            raise ValueError(f"parameter: wanted floating-point numbers, got {dtype}; use .float()")
        if self.parameter.requires_grad and self.parameter.device.type != "cpu":
            return  # a look would wait for the GPU at every step; whoever learns looks at the loss
        fits = (self.parameter.detach().double().abs() <= _LARGEST).flatten(-2).all(-1)
        if not fits.all():
            raise ValueError(
                f"parameter: wanted finite numbers of {_LARGEST:g} at most, got NaN, infinity or "
                f"larger ones in {int((~fits).sum())} of {fits.numel()} matrices"
            )

    @property
    def batch_shape(self) -> torch.Size:
        return self.parameter.shape[:-2]

    @property
    def dtype(self) -> torch.dtype:
        """Of the results."""
        return torch.promote_types(self.parameter.dtype, torch.float32)

    @cached_property
    def _frames(self) -> tuple[Tensor, Tensor]:
        """U and V, rotations, in float64; constants to every gradient."""
        if self.parameter.device.type != "cpu":
            return _frames(self.parameter)
        from plausibody.models import fisher_frames_numba

        return fisher_frames_numba.frames(self.parameter)

    @property
    def singular_values(self) -> Float[Tensor, "*batch 3"]:
        """Proper ones, s1 >= s2 >= |s3|, in float64.

        Their gradient by F is that of u_i^T F v_i with u and v held: it is right for every function
        that is symmetric in them, as those here are, and needs no derivative of u and v.
        """
        left, right = self._frames
        return (left * (self.parameter.double() @ right)).sum(-2)

    def _change(self) -> Float[Tensor, "*batch 3 3"] | None:
        """U^T dF V: zero in value, the way to F in gradient. None if no gradient is wanted."""
        if not (torch.is_grad_enabled() and self.parameter.requires_grad):
            return None
        left, right = self._frames
        return left.mT @ (self.parameter - self.parameter.detach()).double() @ right

    def mode(self) -> Float[Tensor, "*batch 3 3"]:
        """Gives the likeliest rotation, U V^T: the one nearest to F.

        It is unique unless s2 + s3 = 0, as for F = 0; its gradient ~ 1/(s_i + s_j) is held to 1e6.
        """
        left, right = self._frames
        rotmat = left @ right.mT
        if (change := self._change()) is not None:
            values = self.singular_values.detach()
            sums = values[..., :, None] + values[..., None, :]
            turn = (change - change.mT) / sums.clamp(min=1e-6)
            rotmat = rotmat + left @ turn @ right.mT
        return rotmat.to(self.dtype)

    def mean(self) -> Float[Tensor, "*batch 3 3"]:
        """Gives the mean of the rotations, U diag(d log c / ds) V^T, which is no rotation itself.

        Its gradient is the covariance of the rotations, which for off-diagonal entries in the
        singular frame are fourth moments of the quaternion: no quotient can vanish.
        """
        left, right = self._frames
        _, gradient = moments(self.singular_values)
        mean = left @ torch.diag_embed(gradient) @ right.mT
        if (change := self._change()) is not None:
            values = self.singular_values.detach()
            fourth = 8 * _fourth_moments(gradient.detach(), hessian(values))
            axes = constant(_AXIS_OF_TURN, torch.long, fourth.device)
            skew, even = (change - change.mT) / 2, (change + change.mT) / 2
            step = _off_diagonal(fourth[..., 0, :][..., axes]) * skew
            step = step + _off_diagonal(fourth[..., 1:, 1:]) * even
            mean = mean + left @ step @ right.mT
        return mean.to(self.dtype)

    def log_prob(self, rotmat: Float[Tensor, "*samples 3 3"]) -> Float[Tensor, ...]:
        """Gives the log-density at rotations, 0 everywhere for F = 0.

        Args:
            rotmat: The batch's axes come last: what `sample` gives will do.

        Raises:
            ValueError: If the axes do not broadcast with the batch's.
        """
        wanted, came = (*self.batch_shape, 3, 3), tuple(rotmat.shape)
        try:
            fits = torch.broadcast_shapes(wanted, came)[-2:] == came[-2:] == (3, 3)
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(f"rotmat: wanted (..., {', '.join(map(str, wanted))}), got {came}")
        log_c, _ = moments(self.singular_values)
        inner = (self.parameter.double() * rotmat.double()).sum((-2, -1))
        return (inner - log_c).to(self.dtype)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Gives the differential entropy [nats]: 0 if uniform, negative otherwise."""
        values = self.singular_values
        log_c, gradient = moments(values)
        return (log_c - (values * gradient).sum(-1)).to(self.dtype)

    def sample(
        self, count: int, generator: torch.Generator | None = None, reparameterized: bool = False
    ) -> Float[Tensor, "count *batch 3 3"]:
        """Draws independent rotations, exactly.

        Args:
            count: Of rotations from each distribution; the first axis of the result.
            generator: On the parameter's device; torch's own where None.
            reparameterized: Lets gradients pass from the rotations to F along the accepted
                proposals. The choice of what is accepted has no gradient, as in published
                training. The gradient of a mean over samples then points where the exact one does
                (measured: cosine over 0.98), but is shorter: 0.54 of it at worst, where singular
                values are near 3, and as long for F = 0 and in the limit of large F.

        Raises:
            ValueError: If the count is negative.
        """
        if count < 0:
            raise ValueError(f"count: wanted a number of rotations, 0 or more, got {count}")
        left, right = (frame.to(self.dtype) for frame in self._frames)
        with torch.no_grad():
            shape = envelope(self.singular_values.reshape(-1, 3))
            noise = draw_noise(shape, count, self.dtype, generator)
        change = self._change() if reparameterized else None
        with torch.autocast(self.parameter.device.type, enabled=False):  # else no rotations
            frames = left.reshape(-1, 3, 3), right.reshape(-1, 3, 3)
            moved = None if change is None else change.reshape(-1, 3, 3)
            rotmat = turn_noise(noise, shape, moved, *frames)
            return rotmat.reshape(count, *self.batch_shape, 3, 3)

    def credible_radius(self, probability: float) -> Float[Tensor, "*batch"]:
        """Gives the radius [rad] of the ball round the mode that holds this probability.

        The ball is geodesic: all rotations that differ from the mode by a smaller angle. The error
        is 1e-5 of the radius for probabilities of 0.05 to 0.999, and below that 1e-4.

        Raises:
            ValueError: If the probability is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ValueError(f"probability: wanted a number between 0 and 1, got {probability}")
        table = self._angles
        wanted = torch.full_like(table.reach, probability)
        return table.quantile(wanted).to(self.dtype)

    def probability_within(self, radius: Float[Tensor, "*samples"]) -> Float[Tensor, ...]:
        """Gives the probability of a smaller angle to the mode than this [rad].

        Of the angles of rotations that the distribution describes well, it is uniform over 0..1.

        Args:
            radius: The batch's axes come last.
        """
        return self._angles.probability(radius.double()).to(self.dtype)

    def product(self, other: MatrixFisher) -> MatrixFisher:
        """Gives the normalised product of the densities: what two independent sources say.

        Batches broadcast as tensors do.
        """
        return MatrixFisher(self.parameter + other.parameter)

    @cached_property
    def _angles(self) -> AngleTable:
        with torch.no_grad():
            return tabulate(self.singular_values)


_AXIS_OF_TURN = ((0, 3, 2), (3, 0, 1), (2, 1, 0))
"""Which of the quaternion's x, y, z = 1, 2, 3 turns one coordinate axis into another."""
_SQUARES = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
"""4 q_a^2 by 1, R_11, R_22 and R_33."""


def _fourth_moments(
    gradient: Float[Tensor, "*batch 3"], hessian: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Gives E[q_a^2 q_b^2] of the quaternion in the singular frame.

    Its squares are linear in the rotation's diagonal, of which mean and covariance are known.
    """
    first = functional.pad(gradient, (1, 0), value=1.0)
    second = first[..., :, None] * first[..., None, :] + functional.pad(hessian, (1, 0, 1, 0))
    squares = constant(_SQUARES, gradient.dtype, gradient.device) / 4
    return squares @ second @ squares.mT


def _frames(
    parameter: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3 3"]]:
    """Gives rotations U and V by torch: the reference of the compiled loop, which CPUs use."""
    left, _, right = torch.linalg.svd(parameter.detach().double())
    left = torch.cat([left[..., :2], left[..., 2:] * _determinant(left)], -1)
    right = torch.cat([right[..., :2, :], right[..., 2:, :] * _determinant(right)], -2)
    return left, right.mT


def _determinant(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 1 1"]:
    """Gives the determinant of orthogonal matrices, exactly 1 or -1."""
    cross = torch.linalg.cross(rotmat[..., 0], rotmat[..., 1], dim=-1)
    return (cross * rotmat[..., 2]).sum(-1).sign()[..., None, None]


def _off_diagonal(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
