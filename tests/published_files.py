"""Names, shapes and twins of published networks, for tests of the importers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat

State = dict[str, Tensor]

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    entries = ("weight", "bias", "running_mean", "running_var")
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{entry}": (channels,) for entry in entries}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def resnet_shapes(depth: int, planes: int) -> dict[str, tuple[int, ...]]:
    """torchvision's names and shapes of a network without its classifier."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, planes, 7, 7), **norm("bn1", 64)}
    at = 64
    for stage, count in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)):
        width = 64 * 2**stage
        out = width if depth == 18 else 4 * width
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            kernels = [(width, at, 3, 3), (width, width, 3, 3)]
            if depth == 50:
                kernels = [(width, at, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            for number, kernel in enumerate(kernels, start=1):
                shapes[f"{name}.conv{number}.weight"] = kernel
                shapes |= norm(f"{name}.bn{number}", kernel[0])
            if at != out:
                shapes[f"{name}.downsample.0.weight"] = (out, at, 1, 1)
                shapes |= norm(f"{name}.downsample.1", out)
            at = out
    return shapes


def random_number(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers that keep signals of ordinary size, so that no output is a constant."""
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return torch.tensor(7)
    if kind == "running_var" or (len(shape) == 1 and kind == "weight"):
        return 0.8 + 0.4 * torch.rand(shape, generator=generator)
    fan = float(np.prod(shape[1:])) if len(shape) > 1 else 50.0
    return torch.randn(shape, generator=generator) * (2 / fan) ** 0.5


def mean_pose() -> Tensor:
    """24 rotations, the root upside down: the person is upright in a frame with y down."""
    rotvec = 0.3 * torch.randn(24, 3, generator=torch.Generator().manual_seed(3))
    pose = rotvec_to_rotmat(rotvec)
    pose[0] = axis_rotation(0, torch.tensor(torch.pi)) @ axis_rotation(1, torch.tensor(0.3))
    return pose


def small_smpl(seed: int = 0) -> dict[str, np.ndarray]:
    """A body of 40 vertices on SMPL's tree, whose pelvis is off the origin and moves with shape."""
    generator = np.random.default_rng(seed)
    vertices = generator.normal(size=(40, 3)) * [0.3, 0.8, 0.1] + [0.02, -0.3, 0.04]
    tree = np.stack([np.array(PARENTS), np.arange(24)])
    return {
        "v_template": vertices,
        "shapedirs": 0.03 * generator.normal(size=(40, 3, 12)),
        "posedirs": 0.001 * generator.normal(size=(40, 3, 207)),
        "J_regressor": generator.dirichlet(0.1 * np.ones(40), 24),
        "weights": generator.dirichlet(0.1 * np.ones(24), 40),
        "kintree_table": tree,
        "f": np.arange(39).reshape(-1, 3),
    }


def twin_encoder(state: State, image: Tensor) -> Tensor:
    """A residual network straight from its parameters, block by block as torchvision's."""
    state = {name.removeprefix("image_encoder."): value for name, value in state.items()}

    def normed(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.batch_norm(x, mean, var, weight, bias)

    x = functional.conv2d(image, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(normed(x, "bn1").relu(), 3, 2, 1)
    blocks = sorted({name.rpartition(".conv")[0] for name in state if ".conv1." in name})
    for block in blocks:
        bottleneck = f"{block}.conv3.weight" in state
        first = block.endswith(".0") and not block.startswith("layer1")
        y = x
        for number in (1, 2, 3)[: 3 if bottleneck else 2]:
            strided = first and number == (2 if bottleneck else 1)
            kernel = state[f"{block}.conv{number}.weight"]
            y = functional.conv2d(y, kernel, None, 2 if strided else 1, kernel.shape[-1] // 2)
            y = normed(y, f"{block}.bn{number}")
            y = y.relu() if number < (3 if bottleneck else 2) else y
        if f"{block}.downsample.0.weight" in state:
            kernel = state[f"{block}.downsample.0.weight"]
            x = normed(
                functional.conv2d(x, kernel, None, 2 if first else 1), f"{block}.downsample.1"
            )
        x = (x + y).relu()
    return x.mean((2, 3))


def twin_rotation(six: Tensor) -> Tensor:
    """[R11, R12, R21, R22, R31, R32] to a rotation."""
    first, second = six[0::2], six[1::2]
    first = first / first.norm()
    second = second - (first @ second) * first
    second = second / second.norm()
    return torch.stack([first, second, torch.linalg.cross(first, second)], 1)
