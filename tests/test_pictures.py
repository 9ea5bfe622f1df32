"""What is drawn of a photo: by which word, on the right places, and only where somebody is."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from plausibody.models.proxy import ProxySettings
from plausibody.predict.drawing import bodies as drawing
from plausibody.predict.drawing.person import close_up, draw_proxy
from plausibody.predict.drawing.pictures import Photo, draw_pictures
from plausibody.predict.looking import look_at
from plausibody.predict.placement import PictureCamera
from plausibody.predict.result import ImagePrediction


@pytest.fixture(scope="module")
def image(known_person: Any) -> ImagePrediction:
    """Two people of whom samples are drawn, at the same place."""
    (found,) = known_person.doubting_predictor(samples=2)(["two.jpg"])
    return found


@pytest.fixture(scope="module")
def photo(known_person: Any) -> Photo:
    return Photo(torch.full((*known_person.size, 3), 100, dtype=torch.uint8))


def draw(photo: Photo, image: ImagePrediction, known_person: Any, *wanted: str) -> dict[str, bytes]:
    settings = ProxySettings()
    return dict(draw_pictures(photo, image, known_person.template, set(wanted), settings))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_each_word_has_its_pictures(
    photo: Photo, image: ImagePrediction, known_person: Any
) -> None:
    first = replace(image, people=image.people[:1])
    assert not draw(photo, first, known_person, "params", "mesh", "report")
    overlay = draw(photo, first, known_person, "overlay")
    assert set(overlay) == {"overlay.png", "overlay_uncertainty.jpg", "person_0_views.jpg"}
    assert opened(overlay["overlay.png"]).size == known_person.size[::-1]
    assert opened(overlay["person_0_views.jpg"]).width > 5 * 384
    plain = replace(image, people=tuple(replace(one, samples=None) for one in image.people))
    without = draw(photo, plain, known_person, "overlay", "samples")
    assert set(without) == {"overlay.png", "person_0_views.jpg", "person_1_views.jpg"}
    assert opened(without["person_0_views.jpg"]).width < 4 * 384
    others = draw(photo, first, known_person, "samples", "proxies")
    assert set(others) == {"person_0_samples.jpg", "person_0_proxies.jpg"}


def test_bodies_cost_and_cover_only_their_place(known_person: Any) -> None:
    """In a picture ten times as wide the same pixels are drawn at the same place."""
    faces, body = known_person.template.faces, known_person.vertices
    size, camera = known_person.size, known_person.camera
    small = drawing.draw_body(body, faces, camera, size)
    moved = PictureCamera(camera.scale, camera.origin + torch.tensor([1000.0, 40.0]))
    large = drawing.draw_body(body, faces, moved, (size[0] + 80, 10 * size[1]))
    part = (slice(40, 40 + size[0]), slice(1000, 1000 + size[1]))
    # In the small picture the border may cut the body off.
    torch.testing.assert_close(large.alpha[part], small.alpha, atol=0.26, rtol=0)
    assert float((large.alpha[part] - small.alpha).abs().mean()) < 1e-4
    assert float((large.colour[:, *part] - small.colour).abs().mean()) < 1e-4
    away = PictureCamera(camera.scale, camera.origin - 5000)
    gone = drawing.draw_body(body, faces, away, size)
    assert float(gone.alpha.sum()) == 0 and gone.alpha.shape == size


def test_cameras_follow_into_a_close_up(known_person: Any) -> None:
    """What is marked red in the photo is red where the camera of the close-up puts it."""
    body, camera = known_person.vertices, known_person.camera
    x, y = camera.project(body)[0, :2].tolist()
    picture = torch.zeros(3, *known_person.size)
    picture[0, int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 1
    box = known_person.person.box
    for shift in (0.0, -30.0, 40.0):  # beyond the border, too
        part, near = close_up(picture, camera, box + shift, 200)
        assert part.shape == (3, 200, 200)
        red = (part[0] - part[1] > 0.3).nonzero().float()
        assert len(red)
        at = red.mean(0).flip(0) + 0.5
        torch.testing.assert_close(at, near.project(body)[0, :2], atol=1.5, rtol=0)


def test_proxies_show_left_red_and_the_person_light(known_person: Any) -> None:
    settings = ProxySettings()
    proxy = look_at(known_person.person, settings)
    drawn = draw_proxy(proxy, "silhouette", 192)
    wrist = drawing.COCO17.index("left_wrist")
    x, y = ((proxy.keypoints[wrist, :2] + 1) * 96).long().tolist()
    red, _, blue = drawn[:, y, x].tolist()
    assert red > blue + 0.3
    assert float(drawn[:, 2, 2].max()) < 0.2
    inside = proxy.silhouette > 0.9
    lit = drawn[:, ::2, ::2].amin(0)[inside]
    assert float((lit > 0.7).float().mean()) > 0.5


def test_several_people_are_numbered_and_a_single_one_is_not(
    photo: Photo, image: ImagePrediction, known_person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered: list[list[int]] = []

    def note(picture: Any, numbers: Any, *others: Any) -> Any:
        numbered.append(list(numbers))
        return picture

    monkeypatch.setattr(drawing, "number_people", note)
    first, second = (replace(one, samples=None) for one in image.people)
    draw(photo, replace(image, people=(first,)), known_person, "overlay")
    assert numbered == []
    draw(photo, replace(image, people=(first, second)), known_person, "overlay")
    draw(photo, replace(image, people=(second,)), known_person, "overlay")
    assert numbered == [[0, 1], [1]]
