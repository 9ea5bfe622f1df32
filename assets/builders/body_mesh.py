"""The mesh of the open body: MakeHuman's skin thinned to the array shapes of SMPL.

A closed surface of genus 0 with 6890 vertices has 2 * 6890 - 4 = 13776 triangles, as SMPL has.
The order of the vertices is arranged so that the indices which SMPL code hard-wires (nose, eyes,
ears, finger tips, toes, heels) fall on those places here too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from plausibody.assets.builders.decimate import Seams, decimate
from plausibody.assets.builders.makehuman import SourceBody, load_cavities
from plausibody.assets.builders.rest_pose import RestPose, joint_of_bone, rest_joints
from plausibody.assets.builders.turning import MIRROR
from plausibody.models.skeleton import SMPL24

VERTEX_COUNT = 6890
HEAD_IMPORTANCE, CAVITY_IMPORTANCE = 1.3, 0.01
MOST_WEIGHTS = 4
"""Joints that may move one vertex, as in SMPL."""

LANDMARKS = {
    "nose": 332,
    "right_eye": 6260,
    "left_eye": 2800,
    "right_ear": 4071,
    "left_ear": 583,
    "right_thumb": 6191,
    "right_index": 5782,
    "right_middle": 5905,
    "right_ring": 6016,
    "right_pinky": 6133,
    "left_thumb": 2746,
    "left_index": 2319,
    "left_middle": 2445,
    "left_ring": 2556,
    "left_pinky": 2673,
    "left_big_toe": 3216,
    "left_small_toe": 3226,
    "left_heel": 3387,
    "right_big_toe": 6617,
    "right_small_toe": 6624,
    "right_heel": 6787,
}
"""Vertex indices that SMPL code takes for granted.

Source: the table `SMPLH` in `smplx/vertex_ids.py`, which `smplx` applies to SMPL."""


@dataclass(frozen=True)
class BodyMesh:
    """Which vertices of the source make the open body, and how they hang together."""

    rows: Int[ndarray, " V"]
    """The source vertex behind each vertex."""
    faces: Int[ndarray, "F 3"]
    mirror: Int[ndarray, " V"]
    """The vertex opposite to each."""


def build_body_mesh(source: SourceBody) -> BodyMesh:
    """Thins the closed source to 6890 vertices and puts the landmarks in their places."""
    average = average_coefficients(source)
    vertices = source.shaped(average)[0].astype(np.float64)
    mirror = np.asarray(cKDTree(source.vertices).query(source.vertices * MIRROR)[1])
    vertices = (vertices + vertices[mirror] * MIRROR) / 2

    importance = np.ones(len(vertices))
    cavities = load_cavities(source)
    importance[vertices[:, 1] > 0.80] = HEAD_IMPORTANCE
    importance[cavities] = CAVITY_IMPORTANCE
    seams = Seams(
        source.model.face_texture_coordinate_indices.numpy(),
        source.model.texture_coordinates.numpy().astype(np.float64),
    )
    thinned = decimate(
        vertices, source.model.faces.numpy(), mirror, VERTEX_COUNT, 0.012, importance, seams
    )

    order = _landmark_order(source, average, thinned.kept)
    rows, place = thinned.kept[order], np.argsort(order)
    index = np.full(len(vertices), -1)
    index[rows] = np.arange(len(rows))
    return BodyMesh(rows, place[thinned.faces], index[mirror[rows]])


def average_coefficients(source: SourceBody) -> Float[ndarray, "1 K"]:
    """Gives a grown-up halfway in every trait: a stand-in where the population does not matter."""
    traits = {name: np.array([0.5]) for name in source.model.phenotype_labels}
    return source.coefficients(traits | {"age": np.array([0.72])})


def joint_weights(body: SourceBody) -> Float[ndarray, "V 24"]:
    """Sums the weights of the bones over SMPL's joints, four of them a vertex; five at a tie."""
    weights = np.zeros((len(body.vertices), len(SMPL24)))
    for bone, name in enumerate(body.bone_names):
        weights[:, SMPL24.index(joint_of_bone(name))] += body.bone_weights[:, bone]
    least = np.maximum(np.sort(weights, axis=1)[:, -MOST_WEIGHTS][:, None], 1e-4)
    weights = np.where(weights >= least, weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _landmark_order(
    source: SourceBody, average: Float[ndarray, "1 K"], kept: Int[ndarray, " V"]
) -> Int[ndarray, " V"]:
    """Gives the permutation of `kept` that puts the landmarks' vertices at their indices.

    Only the landmarks move; each changes places with the vertex it finds there.
    """
    pose = RestPose(source, average)
    skin = pose.skin(source.shaped(average), source.bone_weights)[0][kept]
    joints = dict(zip(SMPL24, rest_joints(source, pose.heads)[0], strict=True))
    places = _landmark_places(source, average, skin, joints)
    nearest = np.asarray(cKDTree(skin).query(np.stack(list(places.values())), k=8)[1])
    order, taken = np.arange(len(kept)), set[int]()
    for slot, candidates in zip(LANDMARKS.values(), nearest, strict=True):
        vertex = next(int(c) for c in candidates if int(c) not in taken)
        taken.add(vertex)
        here = int(np.flatnonzero(order == vertex)[0])
        order[[slot, here]] = order[[here, slot]]
    return order


def _landmark_places(
    source: SourceBody,
    average: Float[ndarray, "1 K"],
    skin: Float[ndarray, "V 3"],
    joints: dict[str, ndarray],
) -> dict[str, Float[ndarray, 3]]:
    """Finds the landmarks on a body in the rest pose [m], named and ordered as `LANDMARKS`."""
    pose = RestPose(source, average)
    tails = source.shaped_tails(average)

    def tip(bone: str) -> ndarray:
        return pose.carry(source.bone(bone), tails[:, source.bone(bone)])[0]

    head = skin[:, 1] > joints["head"][1]
    ear = skin[np.argmax(np.where(head, skin[:, 0], -np.inf))]
    profile = head & (np.abs(skin[:, 0]) < 0.005)
    places = {
        "nose": skin[np.argmax(np.where(profile, skin[:, 2], -np.inf))],
        "left_ear": ear,
        "right_ear": ear * MIRROR,
    }
    for side, letter, sign in (("left", "L", 1), ("right", "R", -1)):
        eye = pose.heads[0, source.bone(f"eye.{letter}")]
        places[f"{side}_eye"] = eye + [0.0, 0.0, 0.03]
        for k, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), start=1):
            places[f"{side}_{finger}"] = tip(f"finger{k}-3.{letter}")
        places[f"{side}_big_toe"] = tip(f"toe1-2.{letter}")
        places[f"{side}_small_toe"] = tip(f"toe5-3.{letter}")
        sole = (skin[:, 0] * sign > 0) & (skin[:, 1] < joints[f"{side}_ankle"][1])
        places[f"{side}_heel"] = skin[np.argmin(np.where(sole, skin[:, 2], np.inf))]
    return {name: places[name] for name in LANDMARKS}
