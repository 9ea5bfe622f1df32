"""Bodies for the page: glTF in half the bytes, with places and colours as whole numbers.

A page of sixty photos holds sixty bodies. Places are 16-bit steps of the body's own extent, some
0.03 mm, as the extension KHR_mesh_quantization allows, and normals are left to the viewer.

Source: Khronos Group, "glTF 2.0 specification", sections 3 and 4.4, and "KHR_mesh_quantization".
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray
from torch import Tensor

from plausibody.predict.export import linear_light

STEPS = 65535
"""Of a body's extent along each axis."""
UNSIGNED = {1: 5121, 2: 5123, 4: 5125}
"""glTF's numbers for whole numbers without sign, by their size [bytes]."""
FLOAT = 5126
VERTEX_DATA, INDEX_DATA = 34962, 34963
POINTS, TRIANGLES = 0, 4
MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = b"glTF", 2, b"JSON", b"BIN\0"


def encode_body(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    colours: Float[Tensor, "V 3"] | None = None,
) -> bytes:
    """Gives a body as GLB.

    Args:
        vertices: In the world: y up, +z towards the camera [m].
        colours: RGB as on a screen, 0..1; glTF holds them linear in light.
    """
    writer = _Writer()
    attributes = {"POSITION": writer.places(vertices)}
    if colours is not None:
        attributes["COLOR_0"] = writer.colours(colours)
    writer.add_mesh(
        {
            "attributes": attributes,
            "indices": writer.indices(faces),
            "material": 0,
            "mode": TRIANGLES,
        }
    )
    return writer.encode()


def encode_samples(samples: Float[Tensor, "N V 3"]) -> bytes:
    """Gives bodies of one mesh as GLB: the vertices of each as points, without the faces.

    Args:
        samples: As of `encode_body`.
    """
    writer = _Writer()
    for vertices in samples:
        writer.add_mesh({"attributes": {"POSITION": writer.places(vertices)}, "mode": POINTS})
    return writer.encode()


@dataclass
class _Writer:
    """Collects the parts of a file."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By the accessor of places: what leads from steps to metres."""

    def places(self, vertices: Float[Tensor, "V 3"]) -> int:
        low, high = vertices.amin(0), vertices.amax(0)
        step = ((high - low) / STEPS).clamp(min=1e-9)
        steps = ((vertices - low) / step).round().clamp(0, STEPS).int().numpy().astype("<u2")
        number = self._accessor(
            np.pad(steps, ((0, 0), (0, 1))),  # to whole words, as glTF wants each vertex
            {"type": "VEC3", "componentType": UNSIGNED[2]},
            {"target": VERTEX_DATA, "byteStride": 8},
        )
        self.accessors[number] |= {
            "min": steps.min(0).tolist(),
            "max": steps.max(0).tolist(),
        }
        self.frames[number] = {"translation": low.tolist(), "scale": step.tolist()}
        return number

    def colours(self, colours: Float[Tensor, "V 3"]) -> int:
        linear = (linear_light(colours).clamp(0, 1) * 255).round().byte().numpy()
        return self._accessor(
            np.pad(linear, ((0, 0), (0, 1)), constant_values=255),
            {"type": "VEC4", "componentType": UNSIGNED[1], "normalized": True},
            {"target": VERTEX_DATA, "byteStride": 4},
        )

    def indices(self, faces: Int[Tensor, "F 3"]) -> int:
        # The largest number of a size may not be used: it restarts a strip.
        kind = "<u2" if int(faces.max()) < 2**16 - 1 else "<u4"
        flat = faces.flatten().numpy().astype(kind)
        layout = {"type": "SCALAR", "componentType": UNSIGNED[flat.itemsize]}
        return self._accessor(flat, layout, {"target": INDEX_DATA})

    def _accessor(
        self, values: Num[ndarray, "N ..."], layout: dict[str, Any], view: dict[str, Any]
    ) -> int:
        content = values.tobytes()
        self.data += bytes(-len(self.data) % 4)
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **view}
        )
        self.data += content
        self.accessors.append({"bufferView": len(self.views) - 1, "count": len(values), **layout})
        return len(self.accessors) - 1

    def add_mesh(self, primitive: dict[str, Any]) -> None:
        self.meshes.append({"primitives": [primitive]})
        frame = self.frames[primitive["attributes"]["POSITION"]]
        self.nodes.append({"mesh": len(self.meshes) - 1, **frame})

    def encode(self) -> bytes:
        self.data += bytes(-len(self.data) % 4)
        content = {
            "asset": {"version": "2.0", "generator": "plausibody"},
            "extensionsUsed": ["KHR_mesh_quantization"],
            "extensionsRequired": ["KHR_mesh_quantization"],
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self.nodes)))}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.8}}],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.data)}],
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.data)
        return b"".join(
            [
                MAGIC + struct.pack("<II", VERSION, size),
                struct.pack("<I", len(text)) + JSON_CHUNK + text,
                struct.pack("<I", len(self.data)) + BINARY_CHUNK + bytes(self.data),
            ]
        )
