"""Runs a small convolutional net that is written down as a list of steps.

The nets of the embedded front end come from other frameworks. Instead of re-typing each as a
module, `plausibody.assets.builders.front_end` writes its graph as steps in a JSON file and its
weights in an .npz file of 16-bit floats, and this module carries the steps out: ten operations,
any number of pictures at once, 32-bit arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from plausibody.assets.catalog import find_asset
from plausibody.assets.contents import read_arrays


@dataclass(frozen=True)
class Step:
    """One operation of a graph."""

    operation: str
    inputs: tuple[int | str, ...]
    """Numbers of the values it works on; of constants, their names."""
    gives: int
    """Number of the value it computes."""
    settings: Mapping[str, Any]
    done_with: tuple[int, ...] = ()
    """Values that no later step and no output needs."""


@dataclass(frozen=True)
class Graph:
    """A net: value 0 is its input, each step computes one more."""

    name: str
    steps: tuple[Step, ...]
    outputs: Mapping[str, int]
    """Number of the value of each named output."""
    weights: Mapping[str, Tensor]

    @torch.inference_mode()
    def __call__(self, pictures: Float[Tensor, "batch C H W"]) -> dict[str, Tensor]:
        """Computes the named outputs, as (batch, ...) each."""
        values: dict[int, Tensor] = {0: pictures.contiguous(memory_format=torch.channels_last)}
        for step in self.steps:
            inputs = [self.weights[v] if isinstance(v, str) else values[v] for v in step.inputs]
            values[step.gives] = OPERATIONS[step.operation](inputs, step.settings, self.weights)
            for value in step.done_with:
                del values[value]
        return {name: values[value] for name, value in self.outputs.items()}

    @property
    def device(self) -> torch.device:
        return next(iter(self.weights.values())).device

    def to(self, device: torch.device | str) -> Graph:
        weights = {name: weight.to(device) for name, weight in self.weights.items()}
        return Graph(self.name, self.steps, self.outputs, weights)


def load_graph(name: str) -> Graph:
    """Loads `front_end/<name>.json` and `.npz` from the assets.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If they are damaged or do not belong together.
    """
    written, arrays = find_asset(f"front_end/{name}.json"), find_asset(f"front_end/{name}.npz")
    try:
        description = json.loads(written.read_text(encoding="utf-8"))
        outputs = {str(key): int(value) for key, value in description["outputs"].items()}
        steps = [
            Step(step.pop("do"), tuple(step.pop("to")), step.pop("gives"), step)
            for step in description["steps"]
        ]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{written}: wanted a net as written by plausibody.assets.builders.front_end, "
            f"came something else ({error!r}); do: install plausibody again"
        ) from error
    weights = {
        key: torch.from_numpy(array.astype(np.float32))
        for key, array in read_arrays(arrays).items()
    }
    _check(written.name, steps, outputs, weights)
    # Channels last is the layout in which the CPU's convolutions are fastest.
    for key, weight in weights.items():
        if weight.ndim == 4:
            weights[key] = weight.contiguous(memory_format=torch.channels_last)
    return Graph(name, _forget_early(steps, outputs), outputs, weights)


def _check(
    file: str, steps: list[Step], outputs: Mapping[str, int], weights: Mapping[str, Tensor]
) -> None:
    known = {0} | {step.gives for step in steps}
    used = {value for step in steps for value in step.inputs if isinstance(value, int)}
    named = {value for step in steps for value in step.inputs if isinstance(value, str)}
    named |= {
        step.settings[key] for step in steps for key in ("weight", "bias") if key in step.settings
    }
    missing = sorted(named - weights.keys())
    missing += sorted({step.operation for step in steps} - OPERATIONS.keys())
    missing += sorted(str(value) for value in (used | set(outputs.values())) - known)
    if missing:
        raise ValueError(
            f"{file}: wanted steps, operations and weights that belong together, found none named "
            f"{', '.join(missing[:5])}; do: install plausibody again"
        )


def _forget_early(steps: list[Step], outputs: Mapping[str, int]) -> tuple[Step, ...]:
    """Notes at each step which values nobody needs after it, to keep little in memory."""
    needed, walked = set(outputs.values()), []
    for step in reversed(steps):
        inputs = {value for value in step.inputs if isinstance(value, int)}
        walked.append(
            Step(step.operation, step.inputs, step.gives, step.settings, tuple(inputs - needed))
        )
        needed |= inputs
    return tuple(reversed(walked))


Inputs = list[Tensor]
Settings = Mapping[str, Any]
Weights = Mapping[str, Tensor]


def _convolve(inputs: Inputs, settings: Settings, weights: Weights) -> Tensor:
    weight = weights[settings["weight"]]
    bias = weights[settings["bias"]] if "bias" in settings else None
    values, stride, groups = inputs[0], settings["stride"], settings["groups"]
    if settings["padding"] == "valid":
        return F.conv2d(values, weight, bias, stride, groups=groups)
    top, bottom = _same(values.shape[-2], weight.shape[-2], stride)
    left, right = _same(values.shape[-1], weight.shape[-1], stride)
    if (top, left) == (bottom, right):
        return F.conv2d(values, weight, bias, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(values, (left, right, top, bottom)), weight, bias, stride, groups=groups)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after by TensorFlow's rule "same": the odd pixel goes after."""
    total = max(0, (-(-length // stride) - 1) * stride + kernel - length)
    return total // 2, total - total // 2


def _pad(inputs: Inputs, settings: Settings, weights: Weights) -> Tensor:
    (top, bottom), (left, right) = settings["around"]
    return F.pad(inputs[0], (left, right, top, bottom))


def _double_bilinear(inputs: Inputs, settings: Settings, weights: Weights) -> Tensor:
    return F.interpolate(inputs[0], scale_factor=2, mode="bilinear", align_corners=False)


def _flatten(inputs: Inputs, settings: Settings, weights: Weights) -> Tensor:
    return inputs[0].permute(0, 2, 3, 1).flatten(1)  # in the order rows, columns, channels


OPERATIONS: Mapping[str, Callable[[Inputs, Settings, Weights], Tensor]] = {
    "convolve": _convolve,
    "pad": _pad,
    "double_bilinear": _double_bilinear,
    "flatten": _flatten,
    "halve_by_max": lambda inputs, settings, weights: F.max_pool2d(inputs[0], 2),
    "relu": lambda inputs, settings, weights: F.relu(inputs[0]),
    "relu6": lambda inputs, settings, weights: F.relu6(inputs[0]),
    "add": lambda inputs, settings, weights: inputs[0] + inputs[1],
    "subtract": lambda inputs, settings, weights: inputs[0] - inputs[1],
    "multiply": lambda inputs, settings, weights: inputs[0] * inputs[1],
}
