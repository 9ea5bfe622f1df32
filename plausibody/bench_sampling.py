"""How fast distributions over rotations are here: `plausibody bench sample`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plausibody.models.fisher import MatrixFisher
from plausibody.models.fisher_sampler import quaternion_to_rotmat

LOOP = "as published, joint by joint"
LIKELIHOOD = "log-likelihood and gradient"


@dataclass(frozen=True)
class SamplingSpeed:
    """One measured way of working on the distributions of a batch of images."""

    part: str
    """What was done: drawing, drawing with gradients back to F, the published loop, or the
    log-likelihood with its gradient (of one rotation for each distribution)."""
    samples: int
    """Rotations in one run."""
    threads: int
    milliseconds: float
    """Per run: the fastest, which other programs disturbed least."""
    median_milliseconds: float
    samples_per_second: float
    """Of the fastest run."""
    times_the_loop: float | None
    """How many times as many samples per second as the loop gives; None for what draws none."""


def bench_sample(
    images: int = 72,
    joints: int = 23,
    samples: int = 8,
    seconds: float = 2.0,
    device: torch.device | str = "cpu",
) -> list[SamplingSpeed]:
    """Measures drawing from distributions as a training step of HierProb3D does, on one thread.

    All start at F: the singular-value decomposition counts. The distributions are as wide as those
    of joints are: singular values of 0 to 100, in random frames.

    Args:
        images: In a batch; 72 in published training.
        joints: With a distribution each; 23 in SMPL's tree without the root.
        samples: Of each distribution; 8 in published training.
        seconds: Spent on each row, at least; the published loop runs once at least.
        device: To measure on; the loop is run there too.
    """
    before = torch.get_num_threads()
    generator = torch.Generator(device).manual_seed(0)
    parameter = _parameters(images, joints, generator)
    moving, target = parameter.clone().requires_grad_(), MatrixFisher(parameter).mode()
    parts: dict[str, tuple[int, Callable[[], object]]] = {
        "drawn at once": (samples, lambda: MatrixFisher(parameter).sample(samples, generator)),
        "drawn at once, with gradients": (
            samples,
            lambda: MatrixFisher(moving).sample(samples, generator, True).sum().backward(),
        ),
        LIKELIHOOD: (
            1,
            lambda: MatrixFisher(moving).log_prob(target).sum().backward(),
        ),
        LOOP: (samples, lambda: draw_one_by_one(parameter, samples, generator)),
    }
    torch.set_num_threads(1)
    try:
        times = {
            part: sorted(_times(work, seconds, parameter.device))
            for part, (_, work) in parts.items()
        }
    finally:
        torch.set_num_threads(before)
    loop = samples / times[LOOP][0]
    return [
        SamplingSpeed(
            part=part,
            samples=images * joints * each,
            threads=1,
            milliseconds=round(times[part][0] * 1e3, 3),
            median_milliseconds=round(times[part][len(times[part]) // 2] * 1e3, 3),
            samples_per_second=round(images * joints * each / times[part][0], 1),
            times_the_loop=None if part == LIKELIHOOD else round(each / times[part][0] / loop, 2),
        )
        for part, (each, _) in parts.items()
    ]


def draw_one_by_one(
    parameter: Float[Tensor, "B J 3 3"], samples: int, generator: torch.Generator
) -> Float[Tensor, "B J N 3 3"]:
    """Draws as the published training code is built: one distribution after the other.

    For each, 8 times as many proposals as samples, with b = 1.5; the first accepted are kept, and
    all is drawn anew if there are too few.

    Source: Sengupta, Budvytis and Cipolla, "Hierarchical Kinematic Probability Distributions for 3D
    Human Shape and Pose Estimation from Images in the Wild", 2021, its supplement and code.
    """
    looseness = 1.5
    left, values, right = torch.linalg.svd(parameter)
    signs = torch.linalg.det(left), torch.linalg.det(right)
    left = torch.cat([left[..., :2], left[..., 2:] * signs[0][..., None, None]], -1)
    right = torch.cat([right[..., :2, :], right[..., 2:, :] * signs[1][..., None, None]], -2)
    values = torch.cat([values[..., :2], values[..., 2:] * (signs[0] * signs[1])[..., None]], -1)
    ceiling = torch.exp(torch.tensor(-(4 - looseness) / 2)) * (4 / looseness) ** 2
    drawn = parameter.new_empty(*parameter.shape[:2], samples, 3, 3)
    for image in range(parameter.shape[0]):
        for joint in range(parameter.shape[1]):
            s1, s2, s3 = values[image, joint]
            energy = 2 * torch.stack([torch.zeros_like(s1), s2 + s3, s1 + s3, s1 + s2])
            omega = 1 + 2 * energy / looseness
            accepted = parameter.new_empty(0, 4)
            while len(accepted) < samples:
                noise = torch.randn(8 * samples, 4, device=parameter.device, generator=generator)
                proposed = noise * omega.rsqrt()
                proposed = proposed / proposed.norm(dim=-1, keepdim=True)
                uniform = torch.rand(8 * samples, device=parameter.device, generator=generator)
                density = torch.exp(-(proposed.square() * energy).sum(-1))
                proposal = (proposed.square() * omega).sum(-1) ** -2
                accepted = proposed[uniform < density / (ceiling * proposal)]
            inner = quaternion_to_rotmat(accepted[:samples])
            drawn[image, joint] = left[image, joint] @ inner @ right[image, joint]
    return drawn


def _parameters(images: int, joints: int, generator: torch.Generator) -> Float[Tensor, "B J 3 3"]:
    device = generator.device
    frames = MatrixFisher(torch.zeros(images, joints, 3, 3, device=device)).sample(2, generator)
    values = 100 * torch.rand(images, joints, 3, device=device, generator=generator)
    return frames[0] @ torch.diag_embed(values) @ frames[1].mT


def _times(work: Callable[[], object], seconds: float, device: torch.device) -> Iterator[float]:
    """Gives the time of each run [s], after one that warms up."""
    work()
    begun, spent = time.perf_counter(), 0.0
    while not spent or spent < seconds:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        spent = ended - begun
        yield ended - started
