"""The reference backend of the shader, in plain torch: runs on any device.

All pixels that see a face, of all images, form one list; every step works on that list.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.body import vertex_normals
from plausibody.models.camera import world_to_camera
from plausibody.models.constants import constant
from plausibody.synth.mipmaps import level_of_detail, sample, sample_semantics
from plausibody.synth.raster import Fragments
from plausibody.synth.shading import Job, Lights


@dataclass(frozen=True)
class _Seen:
    """The pixels that see a face."""

    image: Int[Tensor, " N"]
    row: Int[Tensor, " N"]
    column: Int[Tensor, " N"]
    face: Int[Tensor, " N"]
    weight: Float[Tensor, "N 3 1"]
    """Of the face's corners."""
    shape: tuple[int, int, int]
    """Images, height and width."""

    def blend(self, corners: Float[Tensor, "N 3 C"]) -> Float[Tensor, "N C"]:
        return (self.weight * corners).sum(1)

    def spread(self, values: Tensor) -> Tensor:
        """Puts values where they belong; 0 elsewhere."""
        channels = values.shape[1:]
        out = values.new_zeros(*self.shape, *channels)
        out[self.image, self.row, self.column] = values
        return out.movedim(-1, 1).contiguous() if channels else out


def shade(job: Job, fragments: Fragments) -> dict[str, Tensor]:
    """Gives the outputs that the job asks for, by name.

    Args:
        fragments: With barycentric coordinates, if more than silhouette, part24 or depth is wanted.
    """
    done: dict[str, Tensor] = {}
    if "silhouette" in job.outputs:
        done["silhouette"] = fragments.mask.float()
    if "depth" in job.outputs:
        done["depth"] = fragments.depth
    seen = _seen(fragments)
    if "normals" in job.outputs or ("rgb" in job.outputs and job.lights is not None):
        corners = job.faces.long()[seen.face]
        normals = vertex_normals(job.vertices, job.faces.long())
        normal = _unit(seen.blend(normals[seen.image[:, None], corners]))
        if "normals" in job.outputs:
            done["normals"] = seen.spread(world_to_camera(normal))
    if not job.outputs & {"part24", "iuv", "semantics", "rgb"}:
        return done

    assert job.chart is not None
    part = job.chart.face_part[seen.face]
    if "part24" in job.outputs:
        done["part24"] = seen.spread(part)
    if not job.outputs & {"iuv", "semantics", "rgb"}:
        return done
    u, v = seen.blend(job.chart.corners[seen.face]).unbind(-1)
    if "iuv" in job.outputs:
        done["iuv"] = seen.spread(torch.stack([part.float(), u, v], -1))
    if not job.outputs & {"semantics", "rgb"}:
        return done

    assert job.mipmaps is not None and job.texture is not None
    level = level_of_detail(_screen_area(job, seen), job.chart.area[seen.face], job.mipmaps)
    texture, part = job.texture[seen.image], part.long()
    if "semantics" in job.outputs:
        done["semantics"] = seen.spread(sample_semantics(job.mipmaps, texture, part, u, v, level))
    if "rgb" in job.outputs:
        colour = sample(job.mipmaps, texture, part, u, v, level)
        if job.lights is not None:
            place = seen.blend(job.vertices[seen.image[:, None], corners])
            colour = _light(colour, normal, place, job.lights, job.eye, seen.image)
        done["rgb"] = seen.spread(colour.clamp(max=1))
    return done


def _seen(fragments: Fragments) -> _Seen:
    image, row, column = fragments.mask.nonzero(as_tuple=True)
    barycentric = fragments.barycentric
    if barycentric is None:
        weight = fragments.depth.new_zeros(len(image), 3, 1)
    else:
        weight = barycentric[image, row, column][..., None]
    batch, height, width = fragments.face.shape
    return _Seen(
        image=image,
        row=row,
        column=column,
        face=fragments.face[image, row, column].long(),
        weight=weight,
        shape=(batch, height, width),
    )


def _screen_area(job: Job, seen: _Seen) -> Float[Tensor, " N"]:
    corners = job.pixels[seen.image[:, None], job.faces.long()[seen.face], :2]
    first, second = (corners[:, 1:] - corners[:, :1]).unbind(1)
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs() / 2


def _light(
    colour: Float[Tensor, "N 3"],
    normal: Float[Tensor, "N 3"],
    place: Float[Tensor, "N 3"],
    lights: Lights,
    eye: Float[Tensor, "B 3"] | None,
    image: Int[Tensor, " N"],
) -> Float[Tensor, "N 3"]:
    """Lights a surface; see `Lights`."""
    light = _unit(lights.position[image] - place)
    cosine = (normal * light).sum(-1, keepdim=True)
    if eye is None:
        view = constant((0.0, 0.0, 1.0), place.dtype, place.device)
    else:
        view = _unit(eye[image] - place)
    mirrored = 2 * cosine * normal - light
    glance = (view * mirrored).sum(-1, keepdim=True).clamp(min=0) * (cosine > 0)
    matt = lights.ambient[image] + lights.diffuse[image] * cosine.clamp(min=0)
    return colour * matt + lights.specular[image] * glance**lights.shininess


def _unit(vector: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-12)
