"""What the rasteriser finds, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Fragments:
    """What each pixel of each image sees."""

    face: Int[Tensor, "B H W"]
    """Number of the nearest face (int32), -1 where there is none."""
    depth: Float[Tensor, "B H W"]
    """Its depth at the pixel's centre [m], -1 where there is none."""
    barycentric: Float[Tensor, "B H W 3"] | None
    """Weights of the face's vertices in the order of `faces`, of sum 1; all 0 without a face. None
    if they were not asked for."""
    dropped: Int[Tensor, " B"]
    """How many faces of each image were dropped; see the contract of `plausibody.synth.raster`."""

    @property
    def mask(self) -> Bool[Tensor, "B H W"]:
        """Where anything is seen: the silhouette."""
        return self.face >= 0


def label_pixels(fragments: Fragments, face_labels: UInt8[Tensor, " F"]) -> UInt8[Tensor, "B H W"]:
    """Gives each pixel its face's label, 0 where there is none."""
    return look_up(fragments.face, face_labels)


def look_up(face: Int[Tensor, "B H W"], face_labels: UInt8[Tensor, " F"]) -> UInt8[Tensor, "B H W"]:
    """Gives the label of each face number, 0 for -1."""
    # The extra label at the end is the background's: face -1 counts from there.
    table = torch.cat([face_labels, face_labels.new_zeros(1)])
    return table[face.long()]


def interpolate(
    fragments: Fragments, attributes: Float[Tensor, "#B V C"], faces: Int[Tensor, "F 3"]
) -> Float[Tensor, "B C H W"]:
    """Spreads attributes of vertices over the pixels; 0 where no face is seen.

    Differentiable in the attributes.

    Args:
        attributes: Of each image's vertices, or of one mesh for all images.
        faces: Into the attributes; not those of the mesh where attributes have seams of their
            own, such as texture coordinates.
    """
    if fragments.barycentric is None:
        raise ValueError(
            "interpolate: wanted fragments with barycentric coordinates, got none; "
            "rasterize with barycentrics=True"
        )
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    corners = faces.long()[fragments.face[image, row, column].long()]
    source = image if len(attributes) > 1 else torch.zeros_like(image)
    weight = fragments.barycentric[image, row, column].to(attributes.dtype)
    values = (weight[..., None] * attributes[source[:, None], corners]).sum(1)
    batch, height, width = fragments.face.shape
    out = attributes.new_zeros(batch, height, width, attributes.shape[-1])
    return out.index_put((image, row, column), values).permute(0, 3, 1, 2)
