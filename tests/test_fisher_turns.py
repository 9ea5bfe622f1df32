"""The compiled way from noise to rotations: against torch's, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plausibody.models.fisher import MatrixFisher
from plausibody.models.fisher_sampler import Envelope, envelope, rotate_noise, turn_noise
from plausibody.models.fisher_turns_numba import turn


def seeded(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def shapes() -> Envelope:
    values = [[0.0, 0.0, 0.0], [2.0, 1.0, -0.5], [2.0, 2.0, -2.0], [50.0, 40.0, 1.0], [1e4] * 3]
    return envelope(torch.tensor(values).double())


def frames() -> tuple[Tensor, Tensor]:
    uniform = MatrixFisher(torch.zeros(2, 5, 3, 3, dtype=torch.float64))
    left, right = uniform.sample(1, torch.Generator().manual_seed(0))[0]
    return left, right


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotations_and_gradients_are_those_of_torch(dtype: torch.dtype) -> None:
    """Measured: 2e-15 in float64."""
    shape, noise = shapes(), seeded(7, 5, 4).to(dtype)
    left, right = (frame.to(dtype) for frame in frames())
    found = []
    for way in ("compiled", "torch"):
        change = torch.zeros(5, 3, 3, dtype=torch.float64, requires_grad=True)
        if way == "compiled":
            rotmat = turn_noise(noise, shape, change, left, right)
        else:
            rotmat = left @ rotate_noise(noise, shape, change) @ right.mT
        assert rotmat.dtype == dtype
        (gradient,) = torch.autograd.grad((rotmat * seeded(7, 5, 3, 3)).sum(), change)
        found.append((rotmat.detach(), gradient))
    bound = 2e-5 if dtype == torch.float32 else 1e-13
    for compiled, reference in zip(*found, strict=True):
        torch.testing.assert_close(compiled, reference, rtol=bound, atol=bound)


def test_without_a_change_there_is_no_gradient() -> None:
    shape, noise = shapes(), seeded(2, 5, 4)
    rotmat = turn_noise(noise, shape, None, *frames())
    assert not rotmat.requires_grad
    left, right = frames()
    torch.testing.assert_close(rotmat, left @ rotate_noise(noise, shape, None) @ right.mT)


def test_gradients_by_steps_that_are_not_zero() -> None:
    left, right = frames()
    noise, width, step = seeded(3, 5, 4), shapes().width, 0.1 * seeded(5, 4, 4)
    step.requires_grad_()
    assert torch.autograd.gradcheck(lambda moved: turn(noise, width, moved, left, right), (step,))


def test_no_samples_and_no_distributions() -> None:
    for count, batch in ((0, (5,)), (3, (0,)), (2, (0, 4))):
        parameter = seeded(*batch, 3, 3).requires_grad_()
        rotmat = MatrixFisher(parameter).sample(count, torch.Generator(), reparameterized=True)
        assert rotmat.shape == (count, *batch, 3, 3)
        (gradient,) = torch.autograd.grad(rotmat.sum(), parameter)
        assert (gradient == 0).all()
