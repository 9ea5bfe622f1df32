"""Other people beside a person: posed bodies on the same floor, before the same camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from plausibody.models.body import Skin, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.prediction import BodyParameters
from plausibody.models.proxy import Box
from plausibody.models.records import take
from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat
from plausibody.synth.chance import Chance
from plausibody.synth.exact import rounded
from plausibody.synth.poses import PoseBank
from plausibody.synth.raster import rasterize
from plausibody.synth.scene import mirror_pose

MOST = 2
"""How many other people there may be."""


@dataclass(frozen=True)
class PeopleSettings:
    """How often other people are near a person, and where."""

    present: float = 0.3
    """Probability of at least one."""
    second: float = 0.5
    """Probability that one comes with another."""
    in_front: float = 1.0
    """Probability of each to be nearer to the camera than the person. One who is farther leaves
    no trace in a silhouette, only in colours."""
    aside: tuple[float, float] = (0.3, 0.8)
    """Range of the shift to the left or right, over the person's width in the picture."""
    apart: tuple[float, float] = (0.3, 1.0)
    """Range of the shift towards the camera or away from it [m]."""
    shape_std: float = 1.5


@dataclass(frozen=True)
class People:
    """The other people of each sample, there or not."""

    there: Bool[Tensor, "batch most"]
    in_front: Bool[Tensor, "batch most"]
    aside: Float[Tensor, "batch most"]
    """Shift to the picture's right, over the person's width."""
    apart: Float[Tensor, "batch most"]
    """Shift towards the camera [m]."""
    parameters: BodyParameters
    """With axes (batch, most); the root's rotation contains the view."""
    vertices: Float[Tensor, "batch most V 3"]
    """In the world of the person [m]; of who is not there they mean nothing."""

    def only(self, wanted: Bool[Tensor, " batch"]) -> People:
        """Sends the other samples' people away."""
        return replace(self, there=self.there & wanted[:, None])


def draw_people(
    chance: Chance,
    bank: PoseBank,
    skin: Skin,
    tilt: Float[Tensor, "batch 3 3"],
    person: Float[Tensor, "batch N 3"],
    settings: PeopleSettings,
) -> People:
    """Draws other people with poses of a bank and shapes of their own.

    Args:
        skin: Of what is drawn of them; a coarse one will do for silhouettes.
        tilt: Of the camera, as `scene.draw_tilt` gives it.
        person: Vertices of the person they are near to, in the camera's world [m].
    """
    present = chance.chance("people", settings.present, 1)
    second = chance.chance("people/second", settings.second, 1)
    there = torch.cat([present, present & second], 1)

    pose = bank.pick(chance.integer("people/pose", len(bank), MOST))
    mirrored = chance.chance("people/mirrored", 0.5, MOST)[..., None, None]
    rotations = rounded(rotvec_to_rotmat, torch.where(mirrored, mirror_pose(pose), pose))
    yaw = chance.uniform("people/yaw", MOST, low=-math.pi, high=math.pi)
    shape = chance.normal("people/shape", MOST, 10, std=settings.shape_std)
    root = rounded(lambda y, own: axis_rotation(1, y) @ own, yaw, rotations[:, :, 0])
    upright = torch.cat([root[:, :, None], rotations[:, :, 1:]], 2)
    vertices = _posed(skin, BodyParameters(shape=shape, rotations=upright), there)

    low, high = settings.aside
    aside = chance.uniform("people/aside", MOST, low=low, high=high)
    aside = torch.where(chance.chance("people/left", 0.5, MOST), -aside, aside)
    low, high = settings.apart
    apart = chance.uniform("people/apart", MOST, low=low, high=high)
    in_front = chance.chance("people/in_front", settings.in_front, MOST)
    apart = torch.where(in_front, apart, -apart)

    width = person[..., 0].amax(1) - person[..., 0].amin(1)
    floor = (person @ tilt[:, :, 1:2])[..., 0].amin(1)
    lift = floor[:, None] - vertices[..., 1].amin(-1)
    shift = torch.stack([aside * width[:, None], lift, apart], -1)
    vertices = (vertices + shift[:, :, None]) @ tilt[:, None].mT
    tilted = rounded(torch.matmul, tilt[:, None], root)
    seen = torch.cat([tilted[:, :, None], rotations[:, :, 1:]], 2)
    return People(
        there=there, in_front=in_front, aside=aside, apart=apart,
        parameters=BodyParameters(shape=shape, rotations=seen), vertices=vertices,
    )  # fmt: skip


def _posed(
    skin: Skin, bodies: BodyParameters, there: Bool[Tensor, "batch most"]
) -> Float[Tensor, "batch most V 3"]:
    """Poses who is there; on a CPU nobody else, which a GPU would have to be waited for."""
    if there.device.type != "cpu":
        return pose_body(skin, bodies.shape, bodies.rotations).vertices
    vertices = bodies.shape.new_zeros(*there.shape, *skin.vertices.shape)
    if there.any():
        vertices[there] = pose_body(skin, bodies.shape[there], bodies.rotations[there]).vertices
    return vertices


def draw_depth(
    people: People,
    faces: Int[Tensor, "F 3"],
    camera: PerspectiveCamera,
    box: Box,
    size: int,
    backend: str = "auto",
) -> Float[Tensor, "batch size size"]:
    """Gives how far away the nearest of the other people is in a square of the picture [m].

    -1 where there is nobody, as in a rasteriser's depth.

    Args:
        faces: Of the skin that the people were drawn with; counts may stay below its vertices.
    """
    if people.there.device.type == "cpu" and not (some := people.there.any(1)).all():
        depth = camera.focal.new_full((len(some), size, size), -1.0)
        if some.any():
            among = take(people, some), faces, take(camera, some), take(box, some)
            depth[some] = draw_depth(*among, size, backend)
        return depth
    batch, most, count = people.vertices.shape[:3]
    seen = camera.project(people.vertices.flatten(1, 2))
    flat = (box.to_square(seen[..., :2]) + 1) * (size / 2)
    # Who is not there stands behind the camera, where nothing is drawn.
    gone = ~people.there.repeat_interleave(count, 1)[..., None]
    depth = torch.where(gone, -1.0, seen[..., 2:])
    return rasterize(
        torch.cat([flat, depth], -1), _repeated(faces, count, most), (size, size),
        barycentrics=False, backend=backend,
    ).depth  # fmt: skip


_known_faces = WeakIdKeyDictionary()
"""Faces of one -> (number of vertices of one, people, faces of all). The rasteriser looks at new
faces, which is to wait for a GPU."""


def _repeated(faces: Int[Tensor, "F 3"], count: int, most: int) -> Int[Tensor, "F2 3"]:
    """Gives the faces of `most` people, whose vertices follow each other."""
    known = _known_faces.get(faces, (0, 0, faces))
    if known[:2] != (count, most):
        first = count * torch.arange(most, device=faces.device)[:, None, None]
        known = _known_faces[faces] = count, most, (faces + first).flatten(0, 1)
    return known[2]
