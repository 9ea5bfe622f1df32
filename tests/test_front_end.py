"""The embedded front end on real photos, from files to people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plausibody.assets.catalog import SHIPPED
from plausibody.models.proxy import ProxySettings, make_proxy
from plausibody.models.skeleton import COCO17, mirror
from plausibody.predict.front_ends.embedded import EmbeddedFrontEnd, load_embedded
from plausibody.predict.front_ends.front_end import Person
from plausibody.predict.front_ends.movenet import similarity
from plausibody.predict.reading.photo import read_photo

PHOTOS = SHIPPED / "photos"

# What people marked in the skier's photo: COCO val2017, image 785, annotation 442619 (CC BY 4.0).
SKIER_POINTS = torch.tensor(
    [[367, 81], [374, 73], [360, 75], [386, 78], [356, 81], [399, 108], [358, 129], [433, 142]]
    + [[341, 159], [449, 165], [309, 178], [424, 203], [393, 214], [429, 294], [367, 273]]
    + [[466, 362], [396, 341]],
    dtype=torch.float32,
)
SKIER_BOX = (280.8, 44.7, 499.5, 391.4)
SKIER_AREA = 27789.0

# What this front end gave when it was written: joints surer than 0.5, and area of the silhouette.
SEEN_BEFORE = {
    "skier.jpg": (
        27513,
        {
            "nose": (365, 83),
            "left_eye": (371, 76),
            "right_eye": (362, 77),
            "left_ear": (380, 78),
            "right_ear": (363, 80),
            "left_shoulder": (401, 111),
            "right_shoulder": (365, 124),
            "left_elbow": (434, 150),
            "right_elbow": (340, 161),
            "left_wrist": (434, 160),
            "right_wrist": (302, 178),
            "left_hip": (431, 212),
            "right_hip": (402, 215),
            "left_knee": (433, 290),
            "right_knee": (369, 272),
            "left_ankle": (475, 363),
            "right_ankle": (402, 339),
        },
    ),
    "astronaut.png": (
        110728,
        {
            "nose": (222, 124),
            "left_eye": (247, 106),
            "right_eye": (203, 101),
            "left_ear": (271, 121),
            "right_ear": (181, 109),
            "left_shoulder": (303, 254),
            "right_shoulder": (105, 243),
            "right_elbow": (63, 413),
            "right_hip": (138, 496),
        },
    ),
    "grace_hopper.jpg": (
        179788,
        {
            "nose": (265, 232),
            "left_eye": (310, 193),
            "right_eye": (220, 197),
            "left_ear": (352, 220),
            "right_ear": (175, 221),
            "right_shoulder": (81, 407),
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Keeps small nets from waiting for threads while other tests use the other cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def front_end() -> EmbeddedFrontEnd:
    return load_embedded()


@pytest.fixture(scope="module")
def skier() -> Tensor:
    return read_photo(PHOTOS / "skier.jpg")


def only(front_end: EmbeddedFrontEnd, picture: Path | Tensor) -> Person:
    (result,) = front_end([picture])
    assert result.status == "ok" and result.message == ""
    (person,) = result.people
    return person


def overlap(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_skier_is_where_people_marked_her(front_end):
    """OKS 0.935 and box IoU 0.96 at the time of writing; annotators score about 0.95 themselves."""
    person = only(front_end, PHOTOS / "skier.jpg")
    marked = torch.cat([SKIER_POINTS, torch.ones(17, 1)], 1)
    assert float(similarity(person.keypoints, marked, torch.tensor(SKIER_AREA), -1.0)) > 0.9
    silhouette = person.mask() > 0.5
    assert float(silhouette.sum()) == pytest.approx(SKIER_AREA, rel=0.05)
    rows, columns = silhouette.any(1).nonzero()[:, 0], silhouette.any(0).nonzero()[:, 0]
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert [float(edge) for edge in box] == pytest.approx(SKIER_BOX, abs=12)
    assert not person.flags


@pytest.mark.parametrize("name", SEEN_BEFORE)
def test_people_are_found_as_before(front_end, name):
    person = only(front_end, PHOTOS / name)
    area, points = SEEN_BEFORE[name]
    assert person.soft_mask.area() == pytest.approx(area, rel=0.02)
    extent = float((person.box[2:] - person.box[:2]).max())
    for joint, place in points.items():
        found = person.keypoints[COCO17.index(joint)]
        assert found[:2].tolist() == pytest.approx(place, abs=0.015 * extent), joint
        assert found[2] > 0.4, joint


def test_a_portrait_is_flagged_and_what_lies_outside_is_not_claimed(front_end):
    person = only(front_end, PHOTOS / "grace_hopper.jpg")
    assert "truncated" in person.flags
    for joint in ("left_knee", "right_knee", "left_ankle", "right_ankle"):
        assert person.keypoints[COCO17.index(joint), 2] == 0
    assert person.mask()[599, 256] > 0.5


@pytest.mark.parametrize("name", ["skier.jpg", "astronaut.png"])
def test_a_mirrored_photo_has_mirrored_people(front_end, name):
    picture = read_photo(PHOTOS / name)
    person, image = only(front_end, picture), only(front_end, picture.flip(1))
    back = image.keypoints[mirror(COCO17)]
    back[:, 0] = picture.shape[1] - back[:, 0]
    sure = (person.keypoints[:, 2] > 0.5) & (back[:, 2] > 0.5)
    assert sure.sum() >= 8
    extent = (person.box[2:] - person.box[:2]).max()
    apart = torch.linalg.vector_norm(person.keypoints - back, dim=-1)[sure] / extent
    assert float(apart.max()) < 0.06
    # A half-pixel mistake would move all points to one side; one pixel of the net is 0.5 %.
    assert abs(float((person.keypoints - back)[sure, 0].median() / extent)) < 0.006
    assert overlap(person.mask() > 0.5, image.mask().flip(1) > 0.5) > 0.95


def test_upside_down_people_are_found_and_turned_back_in_space_too(front_end, skier):
    person, turned = only(front_end, skier), only(front_end, skier.flip(0, 1))
    assert overlap(person.mask() > 0.5, turned.mask().flip(0, 1) > 0.5) > 0.9
    half_turn = torch.tensor([-1.0, -1.0, 1.0])
    torso = [11, 12, 23, 24]
    world = person.extras["world33"][torso]
    assert torch.allclose(turned.extras["world33"][torso] * half_turn, world, atol=0.1)
    assert world[0, 1] < -0.3  # the left shoulder is above the hips: y is down
    assert person.extras["landmarks33"].shape == (33, 4)


def test_two_people_are_two_people_with_separate_masks(front_end, skier):
    alone = only(front_end, skier)
    strip = skier[:, 200:560]
    (result,) = front_end([torch.cat([strip, strip.flip(1)], 1)])
    assert (result.width, result.height) == (720, 425)
    first, second = result.people
    assert float((first.mask() * second.mask()).max()) < 0.3
    areas = [person.soft_mask.area() for person in result.people]
    assert areas == pytest.approx([alone.soft_mask.area()] * 2, rel=0.05)
    # One faces the other: whatever their order, noses look inwards and right sides differ.
    left, right = sorted(result.people, key=lambda person: float(person.box[0]))
    shoulders = [COCO17.index("left_shoulder"), COCO17.index("right_shoulder")]
    widths = [
        float(p.keypoints[shoulders[0], 0] - p.keypoints[shoulders[1], 0]) for p in (left, right)
    ]
    assert widths[0] > 0 and widths[1] > 0


def test_people_who_overlap_share_hardly_a_pixel(front_end, skier):
    inside = only(front_end, skier).mask() > 0.5
    shift = 100
    picture = skier.clone()
    picture[:, shift:][inside[:, :-shift]] = skier[:, :-shift][inside[:, :-shift]]
    (result,) = front_end([picture])
    first, second = (person.mask() > 0.5 for person in result.people)
    assert overlap(first, second) < 1e-3  # their grids differ, so that outlines may touch
    assert any("overlap" in person.flags for person in result.people)


def test_the_main_person_comes_first_and_the_number_can_be_limited(front_end, skier):
    small = torch.nn.functional.interpolate(
        skier.permute(2, 0, 1)[None].float(), scale_factor=0.5, mode="bilinear", antialias=True
    )[0].permute(1, 2, 0)
    picture = torch.full((425, 760, 3), 220, dtype=torch.uint8)
    picture[100:312, :320] = small[:212].byte()
    picture[:, 400:] = skier[:, 200:560]
    (both,), (one,) = front_end([picture]), front_end([picture], max_people=1)
    assert len(both.people) == 2 and len(one.people) == 1
    assert both.people[0].box[0] > 400
    assert torch.equal(one.people[0].box, both.people[0].box)


@pytest.mark.parametrize("kind", ["noise", "blank", "ramp"])
def test_where_nobody_is_nobody_is_found(front_end, kind):
    picture = torch.full((300, 400, 3), 255, dtype=torch.uint8)
    if kind == "noise":
        picture.random_(0, 256, generator=torch.Generator().manual_seed(0))
    if kind == "ramp":
        picture[:] = torch.linspace(0, 255, 400)[:, None].byte()
    (result,) = front_end([picture])
    assert result.status == "no_person" and result.people == ()
    assert "do:" in result.message


def test_bad_pictures_do_not_stop_good_ones(front_end, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture at all" * 9)
    pictures = [
        tmp_path / "broken.jpg",
        PHOTOS / "skier.jpg",
        tmp_path / "gone.jpg",
        torch.zeros(20, 20, 3, dtype=torch.uint8),
        str(PHOTOS / "astronaut.png"),
    ]
    results = front_end(pictures)
    assert [result.status for result in results] == [
        *("unreadable", "ok", "unreadable", "too_small", "ok")
    ]
    assert all("wanted" in results[bad].message for bad in (0, 2, 3))
    assert [result.path for result in results] == [
        str(picture) if not isinstance(picture, Tensor) else None for picture in pictures
    ]
    assert (results[1].width, results[1].height) == (640, 425)
    assert front_end([]) == []


def test_the_same_picture_gives_the_same_people_alone_and_among_others(front_end, skier):
    alone, again = only(front_end, skier), only(front_end, skier)
    assert torch.equal(alone.keypoints, again.keypoints)
    assert torch.equal(alone.soft_mask.logits, again.soft_mask.logits)
    among = front_end([PHOTOS / "grace_hopper.jpg", skier])[1].people[0]
    assert torch.allclose(among.keypoints, alone.keypoints, atol=0.05)
    assert overlap(among.mask() > 0.5, alone.mask() > 0.5) > 0.999


def test_far_people_are_small_in_a_large_picture(skier):
    picture = torch.full((2000, 3600, 3), 200, dtype=torch.uint8)
    picture[900:1325, 1200:1840] = skier
    person = only(load_embedded(group_pass=True), picture)
    assert "small" in person.flags
    assert person.box.tolist() == pytest.approx([1480, 945, 1697, 1290], abs=30)


def test_an_observation_makes_a_proxy(front_end, skier):
    observation = only(front_end, skier).observation()
    assert observation.mask.shape == (425, 640)
    proxy = make_proxy(observation, ProxySettings(size=96))
    assert proxy.silhouette.shape == (96, 96)
    assert 0.1 < float(proxy.silhouette.mean()) < 0.5
    assert (proxy.keypoints[:, 2] > 0.5).all()
