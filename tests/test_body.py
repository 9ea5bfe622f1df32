"""The body: a rod one can hold in the head, laws, and a twin in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body, regress, vertex_normals
from plausibody.models.rotations import axis_rotation, rotvec_to_rotmat


@pytest.fixture
def rod() -> BodyTemplate:
    """Five vertices on a 1 m rod, hinged at its middle; the one shape direction lengthens it."""
    y = torch.linspace(0, 1, 5).double()
    vertices = torch.stack([torch.zeros_like(y), y, torch.zeros_like(y)], -1)
    return BodyTemplate(
        vertices=vertices,
        shape_directions=vertices[..., None] * 0.1,
        pose_directions=torch.zeros(5, 3, 9).double(),
        joint_regressor=torch.eye(5).double()[[0, 2]],
        skinning_weights=torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]).double(),
        parents=(-1, 0),
        faces=torch.tensor([[0, 1, 2]]),
        topology="rod",
        gender="neutral",
    )


@pytest.fixture
def creature() -> BodyTemplate:
    """Twenty random vertices on six joints, of which two branch."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).double()

    return BodyTemplate(
        vertices=draw(20, 3),
        shape_directions=0.1 * draw(20, 3, 4),
        pose_directions=0.02 * draw(20, 3, 45),
        joint_regressor=draw(6, 20).softmax(-1),
        skinning_weights=draw(20, 6).softmax(-1),
        parents=(-1, 0, 1, 0, 1, 4),
        faces=torch.tensor([[0, 1, 2], [2, 1, 3]]),
        topology="creature",
        gender="neutral",
    )


def bent(*angles: float) -> Tensor:
    """Rotations of the rod's root and hinge about x."""
    return axis_rotation(0, torch.tensor(angles).double())


def random_pose(*batch: int, joints: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(*batch, 4, generator=generator).double(),
        rotvec_to_rotmat(torch.randn(*batch, joints, 3, generator=generator).double()),
        torch.randn(*batch, 3, generator=generator).double(),
    )


def assert_same_body(first: PosedBody, second: PosedBody) -> None:
    torch.testing.assert_close(first.vertices, second.vertices)
    torch.testing.assert_close(first.joints, second.joints)


def test_bending_the_hinge_by_90_degrees(rod: BodyTemplate) -> None:
    body = pose_body(rod, torch.zeros(1).double(), bent(0, math.pi / 2))
    torch.testing.assert_close(body.vertices[-1], torch.tensor([0, 0.5, 0.5]).double())
    torch.testing.assert_close(body.vertices[:3], rod.vertices[:3])
    torch.testing.assert_close(body.joints[1], torch.tensor([0, 0.5, 0]).double())


def test_rotating_the_root_rotates_the_body_about_the_root(creature: BodyTemplate) -> None:
    shape, rotations, _ = random_pose()
    turn = rotvec_to_rotmat(torch.tensor([0.3, -1.0, 0.7]).double())
    turned = torch.cat([turn @ rotations[:1], rotations[1:]])
    before, after = pose_body(creature, shape, rotations), pose_body(creature, shape, turned)
    root = before.joints[0]
    torch.testing.assert_close(after.joints[0], root)
    torch.testing.assert_close(after.vertices, (before.vertices - root) @ turn.mT + root)
    torch.testing.assert_close(after.joints, (before.joints - root) @ turn.mT + root)


def test_translation_moves_everything(creature: BodyTemplate) -> None:
    shape, rotations, translation = random_pose(3)
    before = pose_body(creature, shape, rotations)
    after = pose_body(creature, shape, rotations, translation)
    torch.testing.assert_close(after.vertices, before.vertices + translation[:, None])
    torch.testing.assert_close(after.joints, before.joints + translation[:, None])


def test_the_rest_pose_is_the_shaped_template(creature: BodyTemplate) -> None:
    shape, rotations, _ = random_pose()
    body = pose_body(creature, shape, torch.eye(3).double().expand_as(rotations))
    rest = creature.vertices + creature.shape_directions @ shape
    torch.testing.assert_close(body.vertices, rest)
    torch.testing.assert_close(body.joints, creature.joint_regressor @ rest)


def test_shape_moves_joints(rod: BodyTemplate) -> None:
    body = pose_body(rod, torch.tensor([10.0]).double(), bent(0, math.pi / 2))
    torch.testing.assert_close(body.joints[1], torch.tensor([0.0, 1, 0]).double())
    torch.testing.assert_close(body.vertices[-1], torch.tensor([0.0, 1, 1]).double())


def test_batches_broadcast(creature: BodyTemplate) -> None:
    shape, rotations, _ = random_pose(2, 3)
    whole = pose_body(creature, shape, rotations)
    assert whole.vertices.shape == (2, 3, 20, 3)
    one = pose_body(creature, shape[1, 2], rotations[1, 2])
    torch.testing.assert_close(whole.vertices[1, 2], one.vertices)
    torch.testing.assert_close(whole.joints[1, 2], one.joints)
    assert_same_body(
        pose_body(creature, shape[0, 0], rotations),
        pose_body(creature, shape[0, 0].expand_as(shape), rotations),
    )
    assert_same_body(
        pose_body(creature, shape, rotations[:, :1]),
        pose_body(creature, shape, rotations[:, :1].expand_as(rotations)),
    )


def test_fewer_coefficients_mean_zeros(creature: BodyTemplate) -> None:
    shape, rotations, _ = random_pose(2)
    padded = torch.cat([shape[:, :2], torch.zeros(2, 2).double()], -1)
    few = pose_body(creature, shape[:, :2], rotations)
    assert_same_body(few, pose_body(creature, padded, rotations))
    with pytest.raises(ValueError, match="4 coefficients, got 5"):
        pose_body(creature, torch.zeros(2, 5).double(), rotations)


def test_a_subset_is_the_whole_restricted(creature: BodyTemplate) -> None:
    shape, rotations, translation = random_pose(3)
    chosen = torch.tensor([7, 2, 2, 19])
    whole = pose_body(creature, shape, rotations, translation)
    part = pose_body(creature.subset(chosen), shape, rotations, translation)
    torch.testing.assert_close(part.vertices, whole.vertices[:, chosen])
    torch.testing.assert_close(part.joints, whole.joints)


def test_against_loops(creature: BodyTemplate) -> None:
    shape, rotations, translation = random_pose(4)
    body = pose_body(creature, shape, rotations, translation)
    for number in range(4):
        vertices, joints = posed_naive(
            creature, shape[number].numpy(), rotations[number].numpy(), translation[number].numpy()
        )
        np.testing.assert_allclose(body.vertices[number], vertices, atol=1e-12)
        np.testing.assert_allclose(body.joints[number], joints, atol=1e-12)


def posed_naive(
    template: BodyTemplate, shape: NDArray, rotations: NDArray, translation: NDArray
) -> tuple[NDArray, NDArray]:
    """Loper et al. 2015, equations 2-11, one vertex and one 4x4 matrix at a time."""
    rest = template.vertices.numpy() + template.shape_directions.numpy() @ shape
    places = template.joint_regressor.numpy() @ rest
    feature = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    bent_rest = rest + template.pose_directions.numpy() @ feature
    world = []
    for joint, parent in enumerate(template.parents):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = places[joint] - (places[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    vertices = np.zeros_like(rest)
    for vertex, weights in enumerate(template.skinning_weights.numpy()):
        for joint, weight in enumerate(weights):
            from_joint = np.append(bent_rest[vertex] - places[joint], 1)
            vertices[vertex] += weight * (world[joint] @ from_joint)[:3]
    return vertices + translation, np.stack([at[:3, 3] for at in world]) + translation


def test_gradients(creature: BodyTemplate) -> None:
    shape, _, translation = random_pose(2)
    rotvec = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1)).double()

    def posed(shape: Tensor, rotvec: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
        body = pose_body(creature, shape, rotvec_to_rotmat(rotvec), translation)
        return body.vertices, body.joints

    inputs = tuple(tensor.requires_grad_() for tensor in (shape, rotvec, translation))
    assert torch.autograd.gradcheck(posed, inputs)


def test_parents_must_come_first(rod: BodyTemplate) -> None:
    for parents in ((0, 0), (-1, 1)):
        with pytest.raises(ValueError, match="precede"):
            BodyTemplate(**{**vars(rod), "parents": parents})


def test_regressed_joints_are_weighted_means(creature: BodyTemplate) -> None:
    vertices = pose_body(creature, *random_pose(2, 3)).vertices
    joints = regress(creature.joint_regressor, vertices)
    torch.testing.assert_close(joints, creature.joint_regressor @ vertices)


def test_normals_point_outwards_and_have_unit_length() -> None:
    cube = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]).double()
    faces = torch.tensor(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
         [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )  # fmt: skip
    scaled = cube * torch.tensor([1.0, 2.0, 3.0]).double().expand(2, 1, 3)
    normals = vertex_normals(scaled, faces)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, 8).double())
    assert ((normals * scaled).sum(-1) > 0).all()


def test_normals_against_loops(creature: BodyTemplate) -> None:
    vertices = creature.vertices
    faces = torch.randint(0, 20, (30, 3), generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(20, 3).double()
    for face in faces:
        a, b, c = vertices[face]
        expected[face[0]] += torch.linalg.cross(b - a, c - a)
        expected[face[1]] += torch.linalg.cross(b - a, c - a)
        expected[face[2]] += torch.linalg.cross(b - a, c - a)
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(vertex_normals(vertices, faces), expected)
