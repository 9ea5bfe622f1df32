"""The compiled singular vectors: against LAPACK's, and the laws that they obey."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.models import fisher
from plausibody.models.fisher import MatrixFisher
from plausibody.models.fisher_frames_numba import frames

IDENTITY = torch.eye(3, dtype=torch.float64)


def rotations(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))[0]


def matrices(values: tuple[float, ...]) -> Tensor:
    """Of either determinant, with these singular values."""
    middle = torch.diag(torch.tensor(values, dtype=torch.float64))
    return rotations(500, 0) @ middle @ rotations(500, 1)


def whole(seed: int = 0) -> Tensor:
    """Matrices of small whole numbers: many are singular, or have equal singular values."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (3000, 3, 3), generator=generator).double()


KINDS = {
    "ordinary": torch.randn(3000, 3, 3, generator=torch.Generator().manual_seed(0)).double(),
    "isotropic": matrices((3.0, 3.0, 3.0)),
    "nearly isotropic": matrices((1e4, 1e4 - 1e-5, 1e4 - 2e-5)),
    "graded": matrices((1.0, 1e-8, 1e-16)),
    "of rank 2": matrices((5.0, 4.0, 0.0)),
    "of rank 1": matrices((5.0, 0.0, 0.0)),
    "zero": torch.zeros(3, 3, 3, dtype=torch.float64),
    "large": matrices((1e100, 1e99, 1e60)),
    "small": matrices((1e-100, 1e-120, 1e-140)),
    "of whole numbers": whole(),
    "of zeros and ones": whole().clamp(-1, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_diagonalise_and_are_rotations(kind: str) -> None:
    """Measured: 4e-15 of the largest entry at most."""
    matrix = KINDS[kind]
    left, right = frames(matrix)
    for rotmat in (left, right):
        torch.testing.assert_close(rotmat.mT @ rotmat, IDENTITY.expand_as(rotmat))
        torch.testing.assert_close(torch.linalg.det(rotmat), rotmat.new_ones(len(rotmat)))
    size = matrix.abs().amax((-2, -1), keepdim=True).clamp(min=1e-300)
    middle = left.mT @ (matrix / size) @ right
    values = middle.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(middle, torch.diag_embed(values), rtol=0, atol=1e-14)
    assert (values[:, 0] > values[:, 1] - 1e-14).all()
    assert (values[:, 1] > values[:, 2].abs() - 1e-14).all()
    reference_left, reference_right = fisher._frames(matrix / size)
    expected = (reference_left * (matrix / size @ reference_right)).sum(-2)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-14)


def test_the_mode_and_its_gradient_are_the_references() -> None:
    """U V^T and what passes through it do not depend on the choices that are left in U and V."""
    parameter = 5 * KINDS["ordinary"]
    weights = rotations(len(parameter), 2)
    found = []
    for left, right in (frames(parameter), fisher._frames(parameter)):
        leaf = parameter.clone().requires_grad_()
        distribution = MatrixFisher(leaf)
        distribution.__dict__["_frames"] = left, right  # where the property keeps them
        mode = distribution.mode()
        result = (mode * weights).sum((-2, -1)) + distribution.log_prob(weights)
        (gradient,) = torch.autograd.grad(result.sum(), leaf)
        found.append((mode.detach(), gradient))
    sums = MatrixFisher(parameter).singular_values[:, 1:].sum(-1)
    clear = sums > 0.1
    for compiled, reference in zip(*found, strict=True):
        torch.testing.assert_close(compiled[clear], reference[clear], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", [(), (0,), (64,), (65,), (2, 0, 3), (4, 33)])
def test_any_batch_type_and_stride(shape: tuple[int, ...]) -> None:
    matrix = KINDS["ordinary"][:132].float()
    chosen = matrix[: max(1, torch.Size(shape).numel())].mT
    chosen = chosen[0] if not shape else chosen[: torch.Size(shape).numel()].reshape(*shape, 3, 3)
    left, right = frames(chosen)
    assert left.shape == right.shape == chosen.shape and left.dtype == torch.float64
    product = (left.mT @ chosen.double() @ right).flatten(0, -3) if shape else None
    if product is not None:
        values = torch.diag_embed(product.diagonal(dim1=-2, dim2=-1))
        torch.testing.assert_close(product, values, rtol=0, atol=1e-14)


def test_each_matrix_is_worked_on_by_itself() -> None:
    """Wherever in a batch it is: else a prediction would depend on its neighbours."""
    matrix = KINDS["ordinary"][:200]
    left, right = frames(matrix)
    for start, end in ((0, 1), (63, 66), (150, 200)):
        part_left, part_right = frames(matrix[start:end])
        assert part_left.equal(left[start:end]) and part_right.equal(right[start:end])


def test_distributions_on_a_cpu_use_them() -> None:
    parameter = KINDS["ordinary"][:5]
    for found, expected in zip(MatrixFisher(parameter)._frames, frames(parameter), strict=True):
        assert found.equal(expected)
