"""The compiled normalising constant: against the one that torch computes from the same nodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.models import fisher_normalizer_numba
from plausibody.models.fisher_normalizer import _Nodes, log_normalizer, moments


def proper(size: float) -> Tensor:
    """Singular values s1 >= s2 >= |s3| up to a size: spread, equal, degenerate, of either sign."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(60, 3, generator=generator, dtype=torch.float64)
    spread = spread.sort(descending=True).values * torch.tensor([1.0, 1.0, 0.999]).double()
    signs = torch.tensor([1.0, 1.0, -1.0]).double()
    corners = [(1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 0.0, 0.0)]
    near = torch.tensor([(1.0, 1 - 1e-9, -1 + 2e-9), (1.0, 1e-9, -1e-9)]).double()
    return size * torch.cat([spread, spread * signs, torch.tensor(corners).double(), near])


@pytest.mark.parametrize("size", [0.1, 3.0, 8.0, 16.1, 100.0, 1e3, 1e4, 1e6])
def test_the_compiled_loop_is_the_reference(size: float) -> None:
    """Measured: 4e-16 of log c and 4e-14 of its gradient, whatever the size."""
    values = proper(size)
    log_c, gradient = fisher_normalizer_numba.moments(values)
    expected, slope = _Nodes(values).moments()
    torch.testing.assert_close(log_c, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-12)


def test_arguments_on_both_sides_of_the_split_meet() -> None:
    """s2 - s3 and s2 + s3 around 8, where one polynomial takes over from the other."""
    step = torch.linspace(-1e-3, 1e-3, 101, dtype=torch.float64)
    for second, third in ((8.0, 0.0), (4.0, 4.0), (4.0, -4.0)):
        values = torch.stack([torch.full_like(step, 9.0), second + step, third + step], -1)
        for found, expected in zip(
            fisher_normalizer_numba.moments(values), _Nodes(values).moments(), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_tensors_on_a_cpu_go_through_the_compiled_loop() -> None:
    values = proper(30.0)
    for found, compiled in zip(
        moments(values), fisher_normalizer_numba.moments(values), strict=True
    ):
        assert found.equal(compiled)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (4, 5)])
def test_any_batch_and_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = proper(20.0)[0].expand(*shape, 3).to(dtype).requires_grad_()
    found = log_normalizer(values)
    (gradient,) = torch.autograd.grad(found.sum(), values)
    expected, slope = _Nodes(proper(20.0)[0].to(dtype).double()).moments()
    assert found.shape == shape and found.dtype == gradient.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype).expand(shape))
    torch.testing.assert_close(gradient, slope.to(dtype).expand(*shape, 3))


def test_strides_do_not_matter() -> None:
    values = proper(5.0)
    turned = values.mT.contiguous().mT
    assert not turned.is_contiguous()
    assert moments(turned)[0].equal(moments(values)[0])


def test_gradients_of_both_results() -> None:
    """Not where singular values are equal: there finite differences would leave s1 >= s2."""
    values = (proper(6.0)[:8] + torch.tensor([2.0, 1.0, 0.0]).double()).requires_grad_()
    assert torch.autograd.gradcheck(moments, (values,))


def test_what_is_not_a_number_stays_so() -> None:
    values = torch.tensor([[1.0, torch.nan, 0.0], [1.0, 0.5, 0.0]]).double()
    log_c, gradient = moments(values)
    assert log_c[0].isnan() and gradient[0].isnan().any()
    assert log_c[1].isfinite() and gradient[1].isfinite().all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees() -> None:
    values = proper(100.0)
    for found, expected in zip(moments(values.cuda()), moments(values), strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-12, atol=1e-12)
