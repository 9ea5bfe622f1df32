"""The normalising constant of the matrix-Fisher distribution, its gradient and its Hessian.

c(F) is the mean of exp(tr(F^T R)) over all rotations R, so that c(0) = 1; it depends only on the
singular values of F. With x = 1 - u it is a one-dimensional integral,

    log c(s) = s1 + s2 + s3
             + log 1/2 Int_0^2 I0e[(s2 - s3) x/2] I0e[(s2 + s3)(2 - x)/2] exp[-(s1 + s3) x] dx,

I0e(a) = exp(-a) I0(a). Nothing in it overflows; what falls steeply does so at x = 0, on the scales
1/(s1 + s3) and 1/(s2 - s3). Nodes at x = L z^4 see all scales at once, and L = 2 shrinks with the
exponential once that leaves nothing (exp(-40)) further out: 64 Gauss-Legendre nodes then err by
less than 1e-12 up to singular values of 300, 1e-11 to 3,000, 1e-9 to 10,000 and 1e-6 to 1,000,000,
isotropic and degenerate ones included.

Tensors on a CPU go through the compiled loop of `fisher_normalizer_numba`, of which the code here
is the reference; those on other devices, and all Hessians, are computed here.

Source: Lee, "Bayesian Attitude Estimation with the Matrix Fisher Distribution on SO(3)", 2018,
arXiv:1710.03746, equation 86. The nodes are ours; a trapezoid of 512 equal steps in u, as published
code has, errs by 0.04 nats at (100, 80, 60) and by 1.2 at (1000, 800, 700).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from plausibody.models.constants import constant

NODES = 64
REACH = 40.0
"""Exponents beyond which exp(-x) counts as nothing next to 1."""


def log_normalizer(singular_values: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Gives log c, 0 for the uniform distribution; differentiable once.

    The arithmetic is in float64 and the result in the type that came: log c is a small difference
    of large numbers where the distribution is concentrated, and of small ones where it is not.

    Args:
        singular_values: Proper ones: s1 >= s2 >= |s3|, the last negative where F has a negative
            determinant. Others are taken for the proper ones with the same c: it changes neither
            with their order nor with the signs of two of them.

    Raises:
        ValueError: If there are not three, or one is not a finite number.
    """
    if singular_values.ndim == 0 or singular_values.shape[-1] != 3:
        raise ValueError(
            f"singular_values: wanted a last axis of 3, got shape {tuple(singular_values.shape)}"
        )
    if not singular_values.isfinite().all():
        raise ValueError("singular_values: wanted finite numbers, got NaN or infinity among them")
    order = singular_values.detach().abs().argsort(-1, descending=True)
    signs = torch.where(singular_values.detach() < 0, -1.0, 1.0)
    proper = (singular_values * signs).gather(-1, order).double()
    third = proper[..., 2:] * signs.prod(-1, keepdim=True).double()
    log_c, _ = moments(torch.cat([proper[..., :2], third], -1))
    return log_c.to(singular_values.dtype)


def moments(
    proper: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
    """Gives log c and its gradient d, from the same nodes; each is differentiable once.

    U diag(d) V^T is the mean of the rotations for F = U diag(s) V^T.

    Args:
        proper: Singular values, s1 >= s2 >= |s3|, in float64.
    """
    return _Moments.apply(proper)


def hessian(proper: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Gives the second derivatives of log c, the covariance of the rotation's diagonal.

    Args:
        proper: Singular values, s1 >= s2 >= |s3|, in float64.
    """
    return _Nodes(proper).hessian()


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, proper: Tensor) -> tuple[Tensor, Tensor]:
        log_c, gradient = _forward(proper)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(proper, gradient)
        return log_c, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_log_c: Tensor | None, by_gradient: Tensor | None) -> Tensor:
        proper, gradient = ctx.saved_tensors
        total = torch.zeros_like(proper)
        if by_log_c is not None:
            total = total + by_log_c[..., None] * gradient
        if by_gradient is not None:
            total = total + (hessian(proper) @ by_gradient[..., None]).squeeze(-1)
        return total


def _forward(proper: Tensor) -> tuple[Tensor, Tensor]:
    if proper.device.type != "cpu":
        return _Nodes(proper).moments()
    from plausibody.models import fisher_normalizer_numba

    return fisher_normalizer_numba.moments(proper)


class _Nodes:
    """The integrand at the nodes, which are along the last axis, and ratios of its derivatives."""

    def __init__(self, proper: Float[Tensor, "*batch 3"]):
        s1, s2, s3 = (value[..., None] for value in proper.unbind(-1))
        powers, weights = constant(rule(), proper.dtype, proper.device)
        fall, less, more = (total.clamp(min=0) for total in (s1 + s3, s2 - s3, s2 + s3))  # rounding
        reach = (REACH / fall).clamp(max=2.0)  # 2 where fall = 0: infinity is cut too
        x = reach * powers
        self.half, self.rest = x / 2, 1 - x / 2
        self.first, self.second = less * self.half, more * self.rest
        self.i0 = torch.special.i0e(self.first), torch.special.i0e(self.second)
        mass = weights * self.i0[0] * self.i0[1] * torch.exp(-fall * x)
        total = mass.sum(-1, keepdim=True)
        self.log_c = (torch.log(total * reach / 2) + s1 + s2 + s3).squeeze(-1)
        self.share = mass / total
        # I1(a) / I0(a) and I1(b) / I0(b): with them, derivatives of the integrand over itself.
        ratio_a = torch.special.i1e(self.first) / self.i0[0]
        ratio_b = torch.special.i1e(self.second) / self.i0[1]
        self.ratios = ratio_a, ratio_b
        a, b = ratio_a * self.half, ratio_b * self.rest
        self.slopes = torch.stack([1 - x, b + a, b - a], -2)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.log_c, (self.slopes @ self.share[..., None]).squeeze(-1)

    def hessian(self) -> Float[Tensor, "*batch 3 3"]:
        centred = self.slopes - self.slopes @ self.share[..., None]
        covariance = (centred * self.share[..., None, :]) @ centred.mT
        # I0'' = I0 - I1/a adds, to the products of first derivatives, their own derivatives.
        a = self._bend(0) * self.half.square()
        b = self._bend(1) * self.rest.square()
        same, cross = ((b + a) * self.share).sum(-1), ((b - a) * self.share).sum(-1)
        nothing = torch.zeros_like(same)
        rows = [nothing, nothing, nothing, nothing, same, cross, nothing, cross, same]
        return covariance + torch.stack(rows, -1).unflatten(-1, (3, 3))

    def _bend(self, which: int) -> Tensor:
        """Gives the derivative of the ratio r = I1(a) / I0(a): 1 - r/a - r^2, 1/2 at a = 0."""
        argument, ratio = (self.first, self.second)[which], self.ratios[which]
        small = argument < 1e-6
        return torch.where(small, 0.5, 1 - ratio / argument.where(~small, 1.0) - ratio.square())


@lru_cache(maxsize=1)
def rule() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gives z^4 and the weights of dx/L = 4 z^3 dz for Gauss-Legendre nodes z of 0..1."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z = (nodes + 1) / 2
    return tuple((z**4).tolist()), tuple((weights / 2 * 4 * z**3).tolist())
