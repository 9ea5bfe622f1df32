"""Key points by networks that look at one person at a time: there and back, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.encoder import IMAGENET_MEAN, IMAGENET_STD
from plausibody.models.hrnet import PoseHRNet
from plausibody.models.skeleton import COCO17
from plausibody.predict.front_ends.front_end import ImageResult, Person, Picture
from plausibody.predict.front_ends.heatmaps import crop_affine, cut, decode, in_crop, with_flip
from plausibody.predict.front_ends.hrnet import HRNetKeypoints, load_hrnet
from plausibody.predict.front_ends.mask import SoftMask
from plausibody.predict.front_ends.top_down import BoxedPeople, TopDownFrontEnd, with_keypoints
from plausibody.predict.reading.boxes import NotListedError, WholePicture

STEP = 4
LEFT = [n for n, name in enumerate(COCO17) if name.startswith("left")]
RIGHT = [n for n, name in enumerate(COCO17) if name.startswith("right")]


@dataclass(frozen=True)
class Given:
    """Says that people are in these boxes, the same in every picture."""

    boxes: Tensor

    def __call__(self, picture: Picture, width: int, height: int) -> Tensor:
        if not isinstance(picture, Tensor) and "unlisted" in str(picture):
            raise NotListedError("no box for this photo")
        return self.boxes

    def describe(self) -> dict[str, Any]:
        return {"boxes": self.boxes.tolist()}


class SeesRed(PoseHRNet):
    """Takes every fourth pixel's red for all heatmaps: what a network trained on such dots says."""

    def forward(self, picture: Tensor) -> Tensor:
        red = picture[:, :1, ::STEP, ::STEP] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
        return red.expand(-1, 17, -1, -1)


def dot(x: float, y: float, width: int, height: int, spread: float) -> Tensor:
    """A picture with a soft red dot; pixel centres are at +0.5."""
    across = torch.arange(width) + 0.5 - x
    down = torch.arange(height)[:, None] + 0.5 - y
    red = torch.exp(-(across**2 + down**2) / (2 * spread**2))
    return torch.stack([255 * red, 0 * red, 0 * red], -1).round().byte()


def peaks(places: Tensor, width: int = 72, height: int = 96, spread: float = 3.0) -> Tensor:
    """Heatmaps with Gaussians at these places, in map pixels from the centre of the first."""
    across = torch.arange(width) - places[..., 0, None, None]
    down = torch.arange(height)[:, None] - places[..., 1, None, None]
    return torch.exp(-(across**2 + down**2) / (2 * spread**2))


@pytest.mark.parametrize(
    ("how", "bound"),
    # The diagonal of half a pixel, of a quarter; measured 0.024.
    [("argmax", 0.7072), ("quarter", 0.3536), ("dark", 0.03)],
)
def test_peaks_are_read_between_pixels(how, bound):
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(300, 1, 2, generator=generator) * torch.tensor([66.0, 90.0]) + 3
    found = decode(peaks(places), how)
    assert torch.linalg.vector_norm(found[..., :2] - places, dim=-1).max() < bound
    assert found[..., 2].min() > 0.9 and found[..., 2].max() <= 1


@pytest.mark.parametrize("how", ["argmax", "quarter", "dark"])
def test_flat_maps_and_peaks_at_the_border_stay_within(how):
    corners = torch.tensor([[[0.0, 0.0]], [[71.0, 95.0]], [[0.0, 95.0]]])
    found = decode(peaks(corners), how)
    assert torch.linalg.vector_norm(found[..., :2] - corners, dim=-1).max() < 0.8
    flat = decode(torch.zeros(1, 17, 12, 8), how)
    assert flat.isfinite().all() and not flat[..., 2].any()
    assert decode(7 * torch.ones(1, 17, 12, 8), how)[..., 2].max() == 1


@pytest.mark.parametrize(
    "box", [(20.0, 30.0, 120.0, 280.0), (-40.0, 55.5, 230.3, 130.7), (70.0, 90.0, 71.0, 91.0)]
)
def test_a_crop_has_the_box_in_its_middle_and_is_not_distorted(box):
    affine = crop_affine(torch.tensor(box), 288, 384, 1.25)
    assert affine[0, 0] == affine[1, 1] > 0 and affine[0, 1] == affine[1, 0] == 0
    middle = affine @ torch.tensor([144.0, 192.0, 1.0])
    assert middle.tolist() == pytest.approx([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    covers = affine[0, 0] * torch.tensor([288.0, 384.0]) / 1.25
    size = torch.tensor([box[2] - box[0], box[3] - box[1]])
    assert ((covers - size).abs() / size).min() == pytest.approx(0, abs=1e-5)
    assert (covers >= size - 1e-3).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("decoding", "bound"),
    # In heatmap pixels. The mirror image's map lies a quarter of a pixel off, the mean an eighth.
    [("argmax", 0.72), ("quarter", 0.5), ("dark", 0.05)],
)
@pytest.mark.parametrize("place", [(61.3, 140.8), (100.0, 33.7), (128.1, 171.2)])
def test_a_key_point_in_the_photo_comes_back_to_its_place(place, decoding, bound, flip):
    box = torch.tensor([[31.2, 15.0, 140.9, 190.6]])
    scale = float(crop_affine(box[0], 288, 384, 1.25)[0, 0])
    picture = dot(*place, 170, 210, spread=3 * STEP * scale)
    keypoints = HRNetKeypoints(SeesRed(4), decoding=decoding, flip=flip)
    front_end = TopDownFrontEnd("hrnet", BoxedPeople(Given(box)), keypoints)
    (result,) = front_end([picture])
    (person,) = result.people
    apart = torch.linalg.vector_norm(person.keypoints[:, :2] - torch.tensor(place), dim=-1)
    assert apart.max() < (bound + flip / 8) * STEP * scale
    assert person.keypoints[:, 2].min() > 0.9 - flip / 20


def test_the_mirror_image_s_left_is_right():
    """Two dots, of which the network calls that on the right of the picture the left one."""

    def network(crops: Tensor) -> Tensor:
        red = crops[:, 0, ::STEP, ::STEP]
        on_the_right = (torch.arange(red.shape[-1]) >= red.shape[-1] // 2).float()
        maps = red[:, None].repeat(1, 17, 1, 1)
        maps[:, LEFT] *= on_the_right
        maps[:, RIGHT] *= 1 - on_the_right
        return maps

    crops = torch.zeros(1, 3, 64, 64)
    crops[0, 0] = peaks(torch.tensor([44.0, 20.0]), 64, 64, 8) + peaks(
        torch.tensor([16.0, 40.0]), 64, 64, 8
    )
    (found,) = in_crop(
        decode(with_flip(network, crops, shift=True), "dark"), (float(STEP), float(STEP))
    )
    assert found[LEFT, :2].flatten().tolist() == pytest.approx([44.5, 20.5] * 8, abs=0.7)
    assert found[RIGHT, :2].flatten().tolist() == pytest.approx([16.5, 40.5] * 8, abs=0.7)
    assert found[LEFT + RIGHT, 2].min() > 0.9


def test_a_crop_beyond_the_picture_is_black():
    picture = torch.full((40, 40, 3), 255, dtype=torch.uint8)
    crop = cut(picture, torch.tensor([[1.0, 0.0, -16.0], [0.0, 1.0, 0.0]]), 32, 32)
    black = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
    white = (1 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    assert torch.allclose(crop[:, 5, 3], black) and torch.allclose(crop[:, 5, 28], white)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose file of random numbers, of width 4."""
    path = tmp_path_factory.mktemp("hrnet") / "pose_hrnet_w4_64x32.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(PoseHRNet(4).state_dict(), path)
    return path


def test_an_official_file_looks_at_photos_good_and_bad(weights, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    pixels = torch.randint(0, 256, (80, 60, 3), generator=torch.Generator().manual_seed(2))
    Image.fromarray(pixels.byte().numpy()).save(good)
    bad.write_bytes(b"no picture")
    unlisted = tmp_path / "unlisted.png"
    unlisted.write_bytes(good.read_bytes())
    boxes = Given(torch.tensor([[5.0, 5.0, 40.0, 70.0], [30.0, 20.0, 60.0, 80.0]]))
    front_end = load_hrnet(weights, people=BoxedPeople(boxes), batch=1)
    assert front_end.keypoints.size == (32, 64) and front_end.boxes is boxes
    results = front_end([good, bad, unlisted, pixels.byte()])
    statuses = [result.status for result in results]
    assert statuses == ["ok", "unreadable", "no_person", "ok"]
    assert [len(result.people) for result in results] == [2, 0, 0, 2]
    first, again = results[0].people[0], results[3].people[0]
    assert torch.equal(first.keypoints, again.keypoints)
    assert results[0].path == str(good) and results[3].path is None
    keypoints = first.keypoints
    assert keypoints.isfinite().all() and 0 <= keypoints[:, 2].min() <= keypoints[:, 2].max() <= 1
    assert "mask_unreliable" in first.flags and first.soft_mask.area() == 0
    assert [len(result.people) for result in front_end([good], max_people=1)] == [1]
    together = replace(front_end, batch=8)([good])[0].people
    for one, other in zip(results[0].people, together, strict=True):
        assert torch.allclose(one.keypoints, other.keypoints, atol=1e-3)


def test_a_front_end_tells_what_it_depends_on(weights):
    front_end = load_hrnet(weights, people=BoxedPeople(WholePicture()))
    told = front_end.describe()
    assert told["name"] == "hrnet" and len(told["keypoints"]["weights"]) == 64
    assert told["people"]["name"] == "boxes"
    for change in ({"decoding": "argmax"}, {"flip": True}, {"size": (64, 64)}, {"sha256": "0"}):
        other = replace(front_end, keypoints=replace(front_end.keypoints, **change))
        assert other.describe() != told
    assert replace(front_end, batch=3).describe() == told


@pytest.mark.parametrize("path", [None, "nowhere/pose.pth"])
def test_missing_weights_are_explained(path):
    with pytest.raises(FileNotFoundError) as caught:
        load_hrnet(path)
    for part in ("pose_hrnet_w48_384x288.pth", "https://", "--front-end embedded"):
        assert part in str(caught.value)


def test_other_weights_and_settings_are_refused(tmp_path):
    torch.save(PoseHRNet(4, joints=16).state_dict(), tmp_path / "mpii.pth")
    with pytest.raises(CheckpointError, match="17 key points of COCO, came one for 16"):
        load_hrnet(tmp_path / "mpii.pth")
    with pytest.raises(ValueError, match="multiples of 32, got 100 x 64"):
        HRNetKeypoints(PoseHRNet(4), size=(100, 64))
    with pytest.raises(ValueError, match="a batch of 1 or more"):
        TopDownFrontEnd("hrnet", BoxedPeople(WholePicture()), HRNetKeypoints(SeesRed(4)), batch=0)


def test_a_picture_that_vanishes_does_not_stop_the_others(tmp_path):
    gone = tmp_path / "gone.png"
    person = Person(1.0, torch.tensor([0.0, 0.0, 40.0, 60.0]), torch.zeros(17, 3), mask_of(60, 40))

    def people(pictures: Sequence[Picture], max_people: int | None = None) -> list[ImageResult]:
        return [ImageResult(str(p), 40, 60, "ok", people=(person,)) for p in pictures]

    front_end = TopDownFrontEnd("hrnet", people, HRNetKeypoints(SeesRed(4), (32, 64)))
    there, lost = front_end([dot(20, 30, 40, 60, 5), gone])
    assert there.status == "ok" and len(there.people) == 1
    assert lost.status == "unreadable" and not lost.people and "second time" in lost.message


def mask_of(height: int, width: int) -> SoftMask:
    """Says that the whole picture is the person."""
    identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return SoftMask(torch.full((height, width), 5.0), identity, height, width)


def test_flags_follow_the_new_key_points(known_person):
    person = replace(known_person.person, flags=frozenset({"mask_unreliable", "overlap"}))
    same = with_keypoints(person, person.keypoints)
    assert same.agreement == 1 and same.flags == {"overlap"}
    assert torch.equal(same.soft_mask.logits, person.soft_mask.logits)

    moved = person.keypoints + torch.tensor([60.0, 0.0, 0.0])
    other = with_keypoints(person, moved)
    assert other.agreement < 0.2
    assert {"low_agreement", "mask_unreliable", "overlap"} <= other.flags

    beyond = person.keypoints.clone()
    beyond[0, :2] = torch.tensor([-30.0, 10.0])
    cut_off = with_keypoints(person, beyond)
    assert "truncated" in cut_off.flags and cut_off.keypoints[0, 2] == 0
    beyond[0, 2] = 0.1  # a guess about what nobody sees says nothing
    assert "truncated" not in with_keypoints(person, beyond).flags
