"""The edge detector: against the released arithmetic, across backends, and at borders."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from plausibody.models.edges import CENTRE, NEAR, canny

BACKENDS = ("torch", "numba")


def pictures(*shape: int, seed: int = 0) -> Tensor:
    """Smooth colours with some noise, as photos have."""
    generator = torch.Generator().manual_seed(seed)
    count, height, width = shape
    coarse = torch.rand(count, 3, height // 4 + 2, width // 4 + 2, generator=generator)
    smooth = functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (smooth + 0.05 * torch.rand(count, 3, height, width, generator=generator)).clamp(0, 1)


def released(images: Tensor) -> Tensor:
    """The published steps one by one: zero padding, gradients per channel, angles in degrees."""
    taps = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / 2)
    taps = (taps / taps.sum()).reshape(1, 1, 1, 5)
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).reshape(1, 1, 3, 3)
    along_x, along_y = torch.zeros(2, *images[:, :1].shape)
    for channel in range(3):
        one = images[:, channel : channel + 1]
        one = functional.conv2d(one, taps, padding=(0, 2))
        one = functional.conv2d(one, taps.mT, padding=(2, 0))
        along_x = along_x + functional.conv2d(one, sobel, padding=1)
        along_y = along_y + functional.conv2d(one, sobel.mT, padding=1)
    along_x, along_y = along_x / 3, along_y / 3
    strength = (along_x**2 + along_y**2).sqrt()
    angle = torch.atan2(along_y, along_x) * (180 / torch.pi) + 180
    angle = (angle / 45).round() * 45

    # Filter k compares with the neighbour in the direction of 45 k degrees, y down.
    ways = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
    compare = torch.zeros(8, 1, 3, 3)
    for k, (down, right) in enumerate(ways):
        compare[k, 0, 1, 1], compare[k, 0, 1 + down, 1 + right] = 1, -1
    gaps = functional.conv2d(strength, compare, padding=1)
    thin = strength[:, 0].clone()
    way = (angle / 45)[:, 0] % 8
    for k in range(4):
        chosen = (way == k) | (way == k + 4)
        weaker = torch.minimum(gaps[:, k], gaps[:, k + 4]) <= 0
        thin[chosen & weaker] = 0
    return thin


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_padding_gives_the_released_edges(backend: str) -> None:
    images = pictures(8, 128, 160)
    ours, theirs = canny(images, padding="zero", backend=backend), released(images)
    same = torch.isclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # Measured: all of 2 million pixels here, 99.998 % on photos, whose flat areas make ties.
    assert (~same).double().mean() < 1e-4
    assert 0.02 < (ours > 0).double().mean() < 0.4


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicated_borders_give_the_edges_of_the_extended_picture(backend: str) -> None:
    images = pictures(4, 70, 90)
    extended = functional.pad(images, (9, 9, 9, 9), "replicate")
    ours, theirs = canny(images, backend=backend), released(extended)[:, 9:-9, 9:-9]
    same = torch.isclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert (~same).double().mean() < 1e-4


def test_away_from_borders_padding_has_no_say() -> None:
    images = pictures(2, 60, 60)
    whole = canny(images)[:, 10:-10, 10:-10]
    assert torch.equal(canny(images, padding="zero")[:, 10:-10, 10:-10], whole)
    cut = canny(images[..., 4:-4, 4:-4])
    assert torch.equal(cut[:, 6:-6, 6:-6], whole)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grey", [0.0, 0.1, 1 / 3, 0.7, 1.0])
def test_a_flat_picture_has_no_edges_even_at_its_border(backend: str, grey: float) -> None:
    images = torch.tensor([grey, 1 - grey, 0.2])[:, None, None].expand(2, 3, 40, 50)
    assert (canny(images, backend=backend) == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_padding_frames_a_flat_picture_as_published(backend: str) -> None:
    edges = canny(torch.ones(1, 3, 32, 32), padding="zero", backend=backend)[0]
    assert (edges[3:-3, 3:-3] == 0).all()
    assert (edges[:3, 8:-8].amax(0) > 0.5).all() and (edges[8:-8, -3:].amax(1) > 0.5).all()


@pytest.mark.parametrize("padding", ["replicate", "zero"])
def test_a_ramp_that_runs_over_the_border_leaves_no_line_there(padding: str) -> None:
    slope = torch.linspace(0.2, 0.8, 48).expand(3, 40, 48)
    borders = canny(slope, padding=padding)[8:-8, [0, 1, 46, 47]]
    assert (borders > 0).any() == (padding == "zero")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_gives_one_line_of_known_strength(backend: str) -> None:
    image = torch.zeros(3, 21, 24)
    image[..., 12:] = torch.tensor([0.9, 0.6, 0.0])[:, None, None]
    image[..., 11] = torch.tensor([0.45, 0.3, 0.0])[:, None]  # the middle of the step
    edges = canny(image, backend=backend)
    assert (edges[:, 11] > 0).all() and (edges[:, :11] == 0).all() and (edges[:, 12:] == 0).all()
    # Sobel's weights sum to 4, the channels' mean step is 0.5; three taps see the step's middle.
    expected = 4 * 0.5 * (CENTRE + NEAR)
    torch.testing.assert_close(edges[:, 11], torch.full((21,), expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_mirrored_pictures_have_mirrored_edges(backend: str) -> None:
    images = pictures(2, 30, 41)
    edges = canny(images, backend=backend)
    assert torch.equal(canny(images.flip(-1), backend=backend), edges.flip(-1))
    assert torch.equal(canny(images.flip(-2), backend=backend), edges.flip(-2))


def test_edges_are_strict_maxima_along_their_gradient() -> None:
    """No pixel is kept whose eight neighbours are all at least as strong."""
    edges = canny(pictures(3, 40, 40))
    around = functional.unfold(functional.pad(edges[:, None], (1, 1, 1, 1)), 3)
    around = around.reshape(3, 9, 40, 40)[:, [0, 1, 2, 3, 5, 6, 7, 8]]
    beaten = (around >= edges[:, None]).all(1) & (edges > 0)
    assert not beaten.any()


SHAPES = [(3, 33, 47), (1, 1, 5), (2, 2, 1), (0, 4, 4), (2, 64, 64)]


@pytest.mark.parametrize("padding", ["replicate", "zero"])
@pytest.mark.parametrize("shape", SHAPES)
def test_numba_does_as_torch_does_bit_for_bit(shape: tuple[int, int, int], padding: str) -> None:
    images = pictures(*shape)
    for threshold in (0.0, 0.3):
        one, other = (
            canny(images, padding=padding, threshold=threshold, backend=backend)
            for backend in BACKENDS
        )
        assert torch.equal(one, other)


def test_numba_gives_the_same_with_many_threads_and_any_layout() -> None:
    images = pictures(9, 20, 30)
    one = canny(images, backend="numba", threads=1)
    assert torch.equal(canny(images, backend="numba", threads=4), one)
    last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(canny(last, backend="numba"), one)
    assert torch.equal(canny(images.reshape(3, 3, 3, 20, 30)), one.reshape(3, 3, 20, 30))
    assert torch.equal(canny(images[4]), one[4])


TRITON = """
import torch
from plausibody.models.edges import canny
generator = torch.Generator().manual_seed(0)
for shape in %r:
    images = torch.rand(shape[0], 3, *shape[1:], generator=generator)
    for padding in ("replicate", "zero"):
        for threshold in (0.0, 0.3):
            one, other = (
                canny(images, padding=padding, threshold=threshold, backend=backend)
                for backend in ("torch", "triton")
            )
            assert torch.equal(one, other), (shape, padding, threshold)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_does_as_torch_does_bit_for_bit() -> None:
    """In Triton's interpreter, in a process of its own: the switch is read at the import."""
    done = subprocess.run(
        [sys.executable, "-c", TRITON % SHAPES],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"


@pytest.mark.cuda
def test_cuda_does_as_the_cpu_does_bit_for_bit() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = pictures(5, 65, 70)
    for padding in ("replicate", "zero"):
        ours = canny(images.cuda(), padding=padding, backend="triton").cpu()
        assert torch.equal(ours, canny(images, padding=padding, backend="torch"))


def test_weak_edges_are_left_out_by_a_threshold() -> None:
    images = pictures(1, 50, 50)
    every = canny(images)
    strong = canny(images, threshold=0.5)
    assert torch.equal(strong, torch.where(every >= 0.5, every, 0.0))
    assert 0 < (strong > 0).sum() < (every > 0).sum()


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="padding: wanted replicate or zero, got 'mirror'"):
        canny(torch.zeros(3, 8, 8), padding="mirror")
    with pytest.raises(ValueError, match="backend: wanted one of auto, torch"):
        canny(torch.zeros(3, 8, 8), backend="opencv")
