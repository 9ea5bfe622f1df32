"""Pictures of bodies: upright, left on the left, nearer before farther."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.placement import PictureCamera


def _centre(picture: Tensor) -> tuple[float, float]:
    """Mean place (x, y) of what differs from paper."""
    where = (picture - drawing.PAPER).abs().amax(0) > 0.05
    rows, columns = where.nonzero().float().mean(0).tolist()
    return columns, rows


def test_overlay_lies_on_the_person(known_person: Any) -> None:
    photo = torch.zeros(3, *known_person.size)
    faces = known_person.template.faces
    drawn = drawing.draw_overlay(photo, [known_person.vertices], [known_person.camera], faces)
    covered = drawn.amax(0) > 0.05
    mask = known_person.person.mask() > 0.5
    assert float((covered & mask).sum() / (covered | mask).sum()) > 0.95
    # The left arm is up: a person who faces the camera has it on the right-hand side.
    _, column = (mask & (torch.arange(mask.shape[0])[:, None] < 40)).nonzero().float().mean(0)
    assert column > known_person.camera.origin[0]


def test_nearer_people_are_drawn_over_farther_ones(known_person: Any) -> None:
    faces, body = known_person.template.faces, known_person.vertices
    near = known_person.camera
    far = PictureCamera(scale=near.scale / 2, origin=near.origin)
    photo = torch.zeros(3, *known_person.size)

    def one(n: int, camera: PictureCamera) -> Tensor:
        layer = drawing.draw_body(body, faces, camera, known_person.size, drawing.PEOPLE[n])
        return drawing.put_over(photo, layer)

    middle = (slice(None), 120, 140)
    for cameras in ([near, far], [far, near]):
        both = drawing.draw_overlay(photo, [body, body], cameras, faces, opacity=1.0)
        torch.testing.assert_close(both[middle], one(cameras.index(near), near)[middle])


def test_own_limbs_hide_what_is_behind(known_person: Any) -> None:
    """A small triangle before a large one: its own light is seen there, the other's around."""
    large = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    small = torch.tensor([[-0.2, -0.5, 0.5], [0.2, -0.5, 0.5], [0, -0.1, 0.9]])
    camera = PictureCamera(scale=torch.tensor(40.0), origin=torch.tensor([50.0, 50.0]))
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    for order in (torch.cat([large, small]), torch.cat([small, large])):
        layer = drawing.draw_body(order, faces, camera, (100, 100), (1.0, 1.0, 1.0))
        inside, outside = layer.colour[0, 62, 50], layer.colour[0, 80, 70]
        assert abs(float(inside - outside)) > 0.1
        assert float(layer.alpha[62, 50]) == 1
    assert float(layer.alpha[5, 5]) == 0


def test_side_view_is_from_the_photos_right() -> None:
    """What sticks out towards the camera shows on the left."""
    spike = torch.tensor([[0.0, -1, 0], [0, 1, 0], [0, 0, 2.0], [0.1, 0, 0]])
    faces = torch.tensor([[0, 1, 2], [2, 1, 0]])
    picture = drawing.draw_side(spike, faces, 100)
    # The triangle's long corner is the thin one, so its mass lies at the other end.
    x, _ = _centre(picture)
    assert x > 52
    mirrored, _ = _centre(drawing.draw_alone(spike, faces, 100, yaw=math.pi / 2))
    assert mirrored < 48


def test_body_alone_fills_its_square(known_person: Any) -> None:
    picture = drawing.draw_alone(known_person.vertices, known_person.template.faces, 120)
    rows = ((picture - drawing.PAPER).abs().amax(0) > 0.05).any(1).nonzero()[:, 0]
    assert int(rows[-1] - rows[0]) == pytest.approx(0.9 * 120, abs=3)


def test_evidence_shows_left_and_right(known_person: Any) -> None:
    photo = torch.full((3, *known_person.size), 0.5)
    person = known_person.person
    drawn = drawing.draw_evidence(photo, *drawing.shrink_evidence(person, known_person.size))
    for name, colour in (("left_wrist", drawing.LEFT), ("right_wrist", drawing.RIGHT)):
        x, y = person.keypoints[drawing.COCO17.index(name), :2].long().tolist()
        pixel = drawn[:, y, x]
        assert int(pixel.argmax()) == int(torch.tensor(colour).argmax())
    outside = drawn[:, 5, 5]
    assert (outside < photo[:, 5, 5]).all()


def test_evidence_follows_a_smaller_picture(known_person: Any) -> None:
    size = (150, 130)
    mask, keypoints = drawing.shrink_evidence(known_person.person, size)
    assert mask.shape == size
    assert float(mask.mean()) == pytest.approx(float(known_person.person.mask().mean()), rel=0.01)
    torch.testing.assert_close(keypoints[:, :2] * 2, known_person.person.keypoints[:, :2])


def test_lines_have_their_width_and_stay_inside() -> None:
    canvas, white = torch.zeros(3, 40, 60), (1.0, 1.0, 1.0)
    start, end = torch.tensor([10.0, 20.0]), torch.tensor([50.0, 20.0])
    line = drawing.draw_line(canvas, start, end, white, 4.0)
    assert float(line[0].sum(0)[30]) == pytest.approx(4)
    assert float(line[0, 20].sum()) == pytest.approx(44, abs=1)
    dot = drawing.draw_line(canvas, end, end, white, 9.0)
    assert float(dot[0].sum()) == pytest.approx(math.pi * 4.5**2, rel=0.03)
    away, lost = torch.tensor([-500.0, 20.0]), torch.tensor([torch.nan, 3.0])
    assert float(drawing.draw_line(canvas, away, away - 5, white, 4.0).sum()) == 0
    assert float(drawing.draw_line(canvas, lost, away, white, 4.0).sum()) == 0
    assert float(canvas.sum()) == 0


def test_large_photos_are_shrunk_and_cameras_follow(known_person: Any) -> None:
    photo = torch.randint(0, 255, (300, 400, 3), dtype=torch.uint8)
    assert drawing.shrink(photo).shape == (3, 300, 400)
    small = drawing.shrink(photo, 200)
    assert small.shape == (3, 150, 200)
    camera = drawing.shrink_camera(known_person.camera, 0.5)
    points = known_person.vertices[:5]
    torch.testing.assert_close(
        camera.project(points)[:, :2] * 2, known_person.camera.project(points)[:, :2]
    )


def test_sheets(tmp_path: Path) -> None:
    pictures = [torch.full((3, 20, 30), shade) for shade in (0.0, 0.5, 1.0)]
    assert drawing.tile(pictures, 2, gap=4).shape == (3, 44, 64)
    assert drawing.tile(pictures[:1], 4).shape == (3, 20, 30)
    with pytest.raises(ValueError, match="tile: wanted at least one"):
        drawing.tile([], 2)
    labelled = drawing.label(pictures[0], "skier")
    assert labelled.shape == (3, 40, 30)
    assert float(labelled[:, 20:].min()) < 0.5
    assert drawing.fit_square(torch.zeros(3, 10, 40), 20).shape == (3, 20, 20)
    picture = torch.rand(3, 100, 300)
    for box in ((10, 10, 20, 20), (250, 80, 400, 90), (0, 0, 300, 100), (-9, -9, -5, -5)):
        assert drawing.cut_square(picture, torch.tensor(box).float(), 50).shape == (3, 50, 50)


def test_saved_pictures_hold_what_was_drawn(tmp_path: Path) -> None:
    whole = torch.randint(0, 255, (3, 8, 9), dtype=torch.uint8)
    drawing.save_picture(whole, tmp_path / "new" / "whole.png")
    with Image.open(tmp_path / "new" / "whole.png") as picture:
        read = np.asarray(picture)
    np.testing.assert_array_equal(read.transpose(2, 0, 1), whole.numpy())
    drawing.save_picture(torch.ones(3, 8, 9) * 2, str(tmp_path / "soft.jpg"))
    with pytest.raises(ValueError, match="suffix of a picture file"):
        drawing.save_picture(whole, tmp_path / "noname")


def test_people_have_their_numbers_above_their_heads(known_person: Any) -> None:
    """At the same place, the second number moves aside; away from the picture, it stays in it."""
    body, camera = known_person.vertices, known_person.camera
    lower = PictureCamera(camera.scale, camera.origin + torch.tensor([0.0, 60.0]))
    away = PictureCamera(camera.scale, camera.origin + torch.tensor([5000.0, 60.0]))
    photo = torch.zeros(3, *known_person.size)
    drawn = drawing.number_people(photo, [0, 3, 30], [body] * 3, [lower, lower, away])
    assert drawn.shape == photo.shape

    def place(n: int) -> Tensor:
        off = (drawn - drawn.new_tensor(drawing.PEOPLE[n])[:, None, None]).abs().amax(0)
        where: Tensor = (off < 0.01).nonzero().float()
        assert len(where) > 60
        return where

    flat = lower.project(body)[:, :2]
    top = flat[flat[:, 1].argmin()]
    middle = place(0).mean(0)
    assert float(middle[1]) == pytest.approx(float(top[0]), abs=4)
    assert 0 < float(top[1] - middle[0]) < 30
    assert float((place(3).mean(0) - middle).abs()[0]) >= 16
    assert float(place(30 % len(drawing.PEOPLE))[:, 1].mean()) > known_person.size[1] - 30


def test_peoples_colours_can_be_told_apart() -> None:
    colours = torch.tensor(drawing.PEOPLE)
    apart = torch.cdist(colours, colours) + 10 * torch.eye(len(colours))
    assert len(colours) >= 16 and float(apart.min()) > 0.15
