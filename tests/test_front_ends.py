"""The door to all front ends, and how the embedded one looks where it is told to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from plausibody.assets.catalog import SHIPPED
from plausibody.predict.front_ends.crop import Crop
from plausibody.predict.front_ends.embedded import EmbeddedFrontEnd, load_embedded
from plausibody.predict.front_ends.front_end import Person, describe_front_end
from plausibody.predict.front_ends.movenet import Poses, suppress
from plausibody.predict.front_ends.opening import (
    NAMES,
    FrontEndSettings,
    check_photos,
    open_front_end,
)
from plausibody.predict.front_ends.tiles import OVERLAP, tile
from plausibody.predict.reading.boxes import WholePicture, overlaps, read_boxes
from plausibody.predict.reading.photo import read_photo

SKIER = SHIPPED / "photos" / "skier.jpg"
BOX = [280.8, 44.7, 218.7, 346.7]
"""As people drew it: COCO val2017, image 785."""


@pytest.fixture(scope="module")
def front_end() -> EmbeddedFrontEnd:
    return load_embedded()


@pytest.fixture(scope="module")
def skier() -> Tensor:
    return read_photo(SKIER)


@pytest.fixture(scope="module")
def alone(front_end, skier) -> Person:
    """As found without being told where."""
    return front_end([skier])[0].people[0]


def boxes_of(tmp_path: Path, *boxes: list[float]) -> Any:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(list(boxes)))
    return read_boxes(path)


def common(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_person_in_a_box_is_the_same_person(front_end, skier, alone, tmp_path):
    """Mask IoU 0.973 and a mean of 1.5 px between key points when this was written."""
    boxed = replace(front_end, boxes=boxes_of(tmp_path, BOX))
    (result,) = boxed([skier])
    (person,) = result.people
    assert result.message == "" and not person.flags
    assert person.box.tolist() == pytest.approx([280.8, 44.7, 499.5, 391.4], abs=0.1)
    assert common(person.mask() > 0.5, alone.mask() > 0.5) > 0.95
    apart = torch.linalg.vector_norm((person.keypoints - alone.keypoints)[:, :2], dim=-1)
    assert float(apart.mean()) < 4


def test_nobody_is_looked_for_elsewhere_and_the_order_is_the_boxes(
    front_end, skier, alone, tmp_path
):
    strip = skier[:, 200:560]
    pair = torch.cat([strip, strip.flip(1)], 1)
    left = [80.8, 44.7, 218.7, 346.7]
    right = [720 - 299.5, 44.7, 218.7, 346.7]
    boxed = replace(front_end, boxes=boxes_of(tmp_path, right, left))
    (result,) = boxed([pair])
    starts = [float(person.keypoints[:, 0].mean()) for person in result.people]
    assert starts[0] > 360 > starts[1]
    areas = [person.soft_mask.area() for person in result.people]
    assert areas == pytest.approx([alone.soft_mask.area()] * 2, rel=0.06)
    (one,) = boxed([pair], max_people=1)
    assert torch.equal(one.people[0].box, result.people[0].box) and len(one.people) == 1
    boxed = replace(front_end, boxes=boxes_of(tmp_path, left, [0, 400, 60, 25]))
    (result,) = boxed([pair])
    assert len(result.people) == 1 and float(result.people[0].keypoints[:, 0].mean()) < 360
    assert "no person recognised in box 1 of 2 (from 0)" in result.message


def test_boxes_that_make_no_sense_cost_their_photo_only(front_end, skier, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"skier.jpg": BOX, "a.jpg": [9000, 0, 5, 5], "b.jpg": []}))
    boxed = replace(front_end, boxes=read_boxes(path))
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.fromarray(skier.numpy()).resize((160, 106)).save(tmp_path / name)
    photos = [tmp_path / "a.jpg", SKIER, tmp_path / "b.jpg", tmp_path / "c.jpg"]
    results = boxed(photos)
    assert [r.status for r in results] == ["unreadable", "ok", "no_person", "no_person"]
    assert "within the picture of 160 x 106" in results[0].message
    assert "no person told of" in results[2].message
    assert "of c.jpg, found skier.jpg" in results[3].message


def test_a_cropped_picture_is_one_person_whom_nobody_searches(front_end, skier, alone):
    """Mask IoU 0.956 against the whole photo when this was written."""
    left, top, right, bottom = alone.box.round().int().tolist()
    cut = skier[top:bottom, left:right].contiguous()
    cropped = replace(front_end, boxes=WholePicture())
    (result,) = cropped([cut])
    (person,) = result.people
    assert person.box.tolist() == [0, 0, right - left, bottom - top]
    whole = torch.zeros(skier.shape[:2], dtype=torch.bool)
    whole[top:bottom, left:right] = person.mask() > 0.5
    assert common(whole, alone.mask() > 0.5) > 0.9
    strip = skier[:, 200:560]
    (two,) = cropped([torch.cat([strip, strip.flip(1)], 1)])
    assert len(two.people) <= 1  # a picture of two is not cut to one


def test_tiles_cover_the_picture_and_give_every_small_person_an_owner():
    for width, height in ((3000, 2000), (2000, 3000), (1700, 1700), (4000, 700)):
        squares = tile(width, height, least=100.0)
        covered = torch.zeros(height // 10, width // 10, dtype=torch.int)
        for square in squares:
            assert square.side == pytest.approx(max(width, height) / 3)
            rows = slice(max(0, round(square.top / 10)), round((square.top + square.side) / 10))
            columns = slice(round(square.left / 10), round((square.left + square.side) / 10))
            covered[rows, columns] += 1
        assert int(covered.min()) >= 1
        # Anybody up to nearly the overlap, anywhere, lies in a square that keeps them.
        size = 0.9 * OVERLAP * squares[0].side
        generator = torch.Generator().manual_seed(0)
        limit = torch.tensor([width, height]) - size
        corner = torch.rand(300, 2, generator=generator) * limit
        people = torch.cat([corner, corner + size], 1)
        kept = torch.stack([square.holds(people) for square in squares])
        assert bool(kept.any(0).all())
    assert tile(300, 200, least=171.0) == []


def test_a_square_leaves_whom_it_cuts_to_its_neighbour():
    first, second = tile(3000, 1000, least=100.0)[:2]
    assert (first.left, second.left) == (0, 500)
    assert first.crop == Crop(500.0, 500.0, 1000.0)
    people = torch.tensor([[900.0, 300, 1000, 600], [0, 0, 100, 300], [100, 100, 700, 300]])
    assert first.holds(people).tolist() == [False, True, False]  # cut; at the border; too large
    assert second.holds(people).tolist() == [True, False, False]


def far(skier: Tensor, share: float, places: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """A picture of 2400 x 1600 px with skiers whose height is a share of its width."""
    scale = share * 2400 / BOX[3]
    image = F.interpolate(
        skier.permute(2, 0, 1)[None].float(), scale_factor=scale, mode="bilinear", antialias=True
    )[0].permute(1, 2, 0)
    sky = F.interpolate(skier[None, :60].movedim(-1, 1).float(), size=(1600, 2400))
    picture = sky[0].permute(1, 2, 0).byte()
    rows, columns = image.shape[:2]
    truth = []
    for left, top in places:
        picture[top : top + rows, left : left + columns] = image.byte()
        x, y, w, h = (value * scale for value in BOX)
        truth.append([left + x, top + y, left + x + w, top + y + h])
    return picture, torch.tensor(truth)


def test_tiles_find_people_whom_the_plain_look_misses(front_end, skier):
    """People of 8 % of the width: none is found without tiles, all with, at their places."""
    picture, truth = far(skier, 0.08, [(100, 200), (1450, 700), (800, 1150)])
    (plain,) = front_end([picture])
    assert not plain.people
    tiled = load_embedded(tiled=True)
    (result,) = tiled([picture])
    assert len(result.people) == 3
    for box in truth:
        (one,) = [p for p in result.people if float(overlaps(box[None], p.box)[0]) > 0.5]
        assert float(overlaps(box[None], one.box)[0]) > 0.85
        inside = (one.mask() > 0.5).nonzero().flip(1).float()
        assert bool((inside.amin(0) > box[:2] - 8).all() and (inside.amax(0) < box[2:] + 8).all())
        assert "small" in one.flags
    again = replace(tiled, movenet=replace(tiled.movenet, group_pass=True))
    assert len(again([skier])[0].people) == 1  # large people are not found twice, nor in pieces


def test_what_one_pass_suspects_another_may_be_sure_of():
    box = torch.tensor([[10.0, 10, 50, 90]])
    points = torch.cat([torch.rand(1, 17, 2) * 40 + 10, torch.ones(1, 17, 1)], -1)
    coarse = Poses(torch.tensor([0.15]), box, points)
    fine = Poses(torch.tensor([0.55]), box + 1, points)
    sure = Poses(torch.tensor([0.9]), box + 200, points + 200)
    kept = suppress([coarse, fine])
    assert kept.score.tolist() == pytest.approx([0.55])
    assert suppress([sure, coarse]).score.tolist() == pytest.approx([0.9])


def test_masks_from_a_folder_replace_those_of_the_nets(alone, tmp_path):
    mask = alone.mask() > 0.5
    brighter = mask.clone()
    brighter[:, :300] = False  # to tell them apart
    Image.fromarray((brighter.numpy() * 255).astype(np.uint8)).save(tmp_path / "skier.png")
    settings = FrontEndSettings(silhouette_from=str(tmp_path))
    front_end = open_front_end("embedded", "cpu", settings)
    (result,) = front_end([SKIER])
    (person,) = result.people
    assert torch.equal(person.mask() > 0.5, brighter)
    assert torch.allclose(person.keypoints, alone.keypoints, atol=0.05)
    assert describe_front_end(front_end)["masks"]
    (tmp_path / "skier.png").unlink()
    (result,) = front_end([SKIER])
    assert result.status == "unreadable" and "masks of skier.jpg, such as" in result.message


def test_key_points_from_files_and_outlines_by_the_nets_if_asked_for(alone, tmp_path):
    np.savez(tmp_path / "skier_keypoints.npz", keypoints=alone.keypoints.numpy())
    settings = FrontEndSettings(files=tmp_path, silhouette_from="embedded")
    front_end = open_front_end("files", "cpu", settings)
    (person,) = front_end([SKIER])[0].people
    assert torch.allclose(person.keypoints, alone.keypoints)
    assert common(person.mask() > 0.5, alone.mask() > 0.5) > 0.95
    assert describe_front_end(front_end)["silhouettes"] == "embedded"


def test_each_front_end_describes_itself_and_its_settings(tmp_path, front_end):
    plain = describe_front_end(front_end)
    assert plain["name"] == "embedded" and json.loads(json.dumps(plain)) == plain
    (tmp_path / "boxes.json").write_text("[1, 2, 3, 4]")
    boxes = FrontEndSettings(group_pass=True, boxes=tmp_path / "boxes.json")
    told = describe_front_end(open_front_end("embedded", "cpu", boxes))
    assert {name for name in told if told[name] != plain.get(name)} == {"group_pass", "boxes"}
    tiled = describe_front_end(open_front_end("embedded", "cpu", FrontEndSettings(tiled=True)))
    assert tiled == plain | {"tiled": True}
    cropped = FrontEndSettings(cropped=True, keep_doubtful=True)
    told = describe_front_end(open_front_end("embedded", "cpu", cropped))
    assert told == plain | {"cropped": True, "keep_doubtful": True}


def test_the_official_weights_are_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="(?s)pose_hrnet_w48_384x288.pth.*embedded"):
        open_front_end("hrnet", "cpu", FrontEndSettings(weights=str(tmp_path / "gone.pth")))
    with pytest.raises(FileNotFoundError, match="pose_hrnet_w48_384x288.pth"):
        open_front_end("hrnet")


@pytest.mark.parametrize(
    "name, settings, says",
    [
        ("openpose", {}, "wanted one of embedded, files, hrnet, hq, got 'openpose'"),
        ("files", {}, "--files: wanted a folder with key points and masks, got none"),
        ("files", {"files": Path("gone")}, "gone: wanted a folder with COCO key points"),
        ("embedded", {"files": Path("x")}, "--files: wanted --front-end files, came embedded"),
        ("embedded", {"silhouette_from": "parts"}, "wanted --front-end files, came embedded"),
        ("embedded", {"silhouette_from": "gone"}, "found no folder gone"),
        ("files", {"tiled": True, "files": Path(".")}, "--distant: wanted --front-end embedded or"),
        ("embedded", {"weights": "x.pth"}, "wanted --front-end hrnet or hq, came embedded"),
        ("embedded", {"boxes": Path("gone.json")}, "gone.json: wanted boxes of people"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path, monkeypatch, name, settings, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=says) as caught:
        open_front_end(name, "cpu", FrontEndSettings(**settings))
    assert name not in NAMES or "do:" in str(caught.value)


def test_boxes_and_cropped_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="--cropped: wanted it without --boxes"):
        FrontEndSettings(boxes=tmp_path, cropped=True)


def test_a_wrong_file_of_boxes_is_told_before_a_long_run(tmp_path, front_end):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": BOX}))
    settings = FrontEndSettings(boxes=tmp_path / "boxes.json")
    boxed = open_front_end("embedded", "cpu", settings)
    check_photos(boxed, [Path("a.jpg"), Path("b.jpg")])
    with pytest.raises(ValueError, match="of skier.jpg or another of the 1 photos, found a.jpg"):
        check_photos(boxed, [SKIER])
    check_photos(front_end, [SKIER])
