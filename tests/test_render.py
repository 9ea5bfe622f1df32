"""Pictures of bodies: sides, light, and what shows through."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from plausibody.models.body import BodyTemplate, PosedBody, pose_body
from plausibody.models.camera import PerspectiveCamera
from plausibody.models.rotations import axis_rotation
from plausibody.models.skeleton import SMPL24
from plausibody.models.templates import load_template
from plausibody.synth.render import SKIN, render_parts, shade

SIDE = 96


@pytest.fixture(scope="module")
def template() -> BodyTemplate:
    return load_template("open")


def seen_from(template: BodyTemplate, yaw: float) -> tuple[PosedBody, Tensor]:
    """The body with its left arm raised, and its vertices in the picture."""
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    rotations[:, SMPL24.index("left_shoulder")] = axis_rotation(2, torch.tensor(1.3))
    rotations[:, 0] = axis_rotation(1, torch.tensor(yaw))
    body = pose_body(template, torch.zeros(1, 10), rotations)
    camera = PerspectiveCamera(
        focal=torch.tensor([1.2 * SIDE]),
        principal=torch.full((1, 2), SIDE / 2),
        translation=torch.tensor([[0.0, -0.25, 3.2]]),
    )
    return body, camera.project(body.vertices)


def centre(mask: Tensor) -> tuple[float, float]:
    row, column = mask.nonzero(as_tuple=True)
    return float(row.float().mean()), float(column.float().mean())


def vertex_side(template: BodyTemplate, joints: list[str]) -> Tensor:
    """1 for faces that mostly follow these joints, else 2."""
    index = torch.tensor([SMPL24.index(name) for name in joints])
    follows = template.skinning_weights[:, index].sum(-1)
    return torch.where(follows[template.faces].mean(-1) > 0.5, 1, 2).to(torch.uint8)


@pytest.mark.parametrize(("yaw", "right_of_body"), [(0.0, True), (math.pi, False)])
def test_bodies_are_upright_and_their_left_is_left(template, yaw, right_of_body):
    body, pixels = seen_from(template, yaw)
    hand = vertex_side(template, ["left_wrist", "left_hand"])
    hand_picture = render_parts(pixels, template.faces, hand, (SIDE, SIDE))
    row, column = centre(hand_picture.parts[0] == 1)
    body_row, body_column = centre(hand_picture.silhouette[0] > 0)
    assert row < body_row - 0.2 * SIDE
    assert (column > body_column + 3) == right_of_body
    assert (column < body_column - 3) != right_of_body
    feet = vertex_side(template, ["left_foot", "right_foot", "left_ankle", "right_ankle"])
    feet_picture = render_parts(pixels, template.faces, feet, (SIDE, SIDE))
    assert centre(feet_picture.parts[0] == 1)[0] > body_row + 0.2 * SIDE


def test_a_body_that_turns_left_shows_its_toes_on_our_right(template):
    """A quarter turn to its left, about +y, makes a body that faced us look along +x."""
    _, pixels = seen_from(template, math.pi / 2)
    toes = vertex_side(template, ["left_foot", "right_foot"])
    legs = vertex_side(template, ["left_knee", "right_knee", "left_ankle", "right_ankle"])
    toe_column = centre(render_parts(pixels, template.faces, toes, (SIDE, SIDE)).parts[0] == 1)[1]
    leg_column = centre(render_parts(pixels, template.faces, legs, (SIDE, SIDE)).parts[0] == 1)[1]
    assert toe_column > leg_column + 2


def test_silhouette_parts_and_depth_agree(template):
    _, pixels = seen_from(template, 0.0)
    parts = torch.full((len(template.faces),), 3, dtype=torch.uint8)
    drawn = render_parts(pixels, template.faces, parts, (SIDE, SIDE))
    seen = drawn.silhouette > 0
    assert torch.equal(drawn.parts == 3, seen) and torch.equal(drawn.parts == 0, ~seen)
    assert torch.equal(drawn.depth > 0, seen)
    assert (drawn.depth[~seen] == -1).all()


def test_shading_stays_beside_and_behind_nothing(template):
    body, pixels = seen_from(template, 0.0)
    background = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    size = (SIDE, SIDE)

    def draw(opacity: float) -> Tensor:
        return shade(
            pixels, body.vertices, template.faces, size, background=background, opacity=opacity
        )

    assert torch.equal(draw(0.0), background)
    solid, half = draw(1.0), draw(0.5)
    mask = render_parts(
        pixels, template.faces, torch.ones(len(template.faces), dtype=torch.uint8), size
    ).silhouette
    beside = torch.nn.functional.max_pool2d(mask[:, None], 3, 1, 1).expand(-1, 3, -1, -1) == 0
    assert beside.any() and torch.equal(solid[beside], background[beside])
    torch.testing.assert_close(half, (solid + background) / 2)
    assert (solid >= 0).all() and (solid <= 1).all()


def test_what_faces_the_camera_is_brightest_in_a_row():
    """On a sphere, light falls off evenly to both sides, and more comes from above."""
    rings, spokes = 40, 80
    polar = torch.linspace(0.001, math.pi - 0.001, rings)[:, None].expand(rings, spokes)
    around = (torch.arange(spokes) * (2 * math.pi / spokes)).expand(rings, spokes)
    sphere = torch.stack(
        [polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()], -1
    ).reshape(1, -1, 3)
    corner = torch.arange(rings - 1)[:, None] * spokes + torch.arange(spokes)
    aside = torch.arange(rings - 1)[:, None] * spokes + (torch.arange(spokes) + 1) % spokes
    faces = torch.cat(
        [
            torch.stack([corner, corner + spokes, aside], -1).reshape(-1, 3),
            torch.stack([aside, corner + spokes, aside + spokes], -1).reshape(-1, 3),
        ]
    )
    pixels = sphere * torch.tensor([20.0, -20.0, -1.0]) + torch.tensor([32.0, 32.0, 5.0])
    picture = shade(pixels, sphere, faces, (64, 64), perspective=False)[0]
    middle = picture[:, 32]
    assert int(middle[0, 14:50].argmax()) + 14 in (31, 32)
    torch.testing.assert_close(picture[:, :, :32], picture[:, :, 32:].flip(2), atol=0.02, rtol=0)
    assert picture[0, 20, 32] > picture[0, 44, 32] + 0.08
    ratio = middle[:, 32] / torch.tensor(SKIN)
    torch.testing.assert_close(ratio, ratio[:1].expand(3))


def test_colours_of_vertices_show(template):
    body, pixels = seen_from(template, 0.0)
    left_of_body = (body.vertices[..., :1] > 0).float()
    colour = torch.cat([left_of_body, torch.zeros_like(left_of_body), 1 - left_of_body], -1)
    black = torch.zeros(1, 3, SIDE, SIDE)
    picture = shade(
        pixels, body.vertices, template.faces, (SIDE, SIDE), colour=colour, background=black
    )[0]
    assert centre(picture[0] > picture[2])[1] > centre(picture[2] > picture[0])[1] + 5
    assert picture[1].max() == 0
