"""Told boxes: people have their numbers, nobody is found twice or beside his box."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plausibody.assets.catalog import SHIPPED
from plausibody.models.checkpoint import CheckpointError
from plausibody.models.official_file import read_restricted
from plausibody.models.skeleton import COCO17
from plausibody.predict.front_ends import embedded
from plausibody.predict.front_ends.embedded import EmbeddedFrontEnd, load_embedded
from plausibody.predict.front_ends.files import OtherSilhouettes
from plausibody.predict.front_ends.front_end import ImageResult
from plausibody.predict.front_ends.opening import FrontEndSettings, open_front_end
from plausibody.predict.front_ends.silhouettes import Silhouette
from plausibody.predict.reading.boxes import in_common, overlaps, read_boxes
from plausibody.predict.reading.openpose import BODY25
from plausibody.predict.reading.photo import read_photo
from plausibody.predict.result import ImagePrediction

SKIER = SHIPPED / "photos" / "skier.jpg"
HER, SNOW = [280, 45, 213, 342], [0, 0, 200, 400]


@pytest.fixture(scope="module")
def front_end() -> EmbeddedFrontEnd:
    return load_embedded()


def look(
    front_end: EmbeddedFrontEnd, folder: Path, *boxes: list[int], most: int | None = None
) -> ImageResult:
    path = folder / "boxes.json"
    path.write_text(json.dumps({"skier.jpg": boxes}))
    (result,) = replace(front_end, boxes=read_boxes(path))([SKIER], most)
    return result


def test_numbers_are_those_of_the_boxes_also_after_an_empty_one(front_end, tmp_path):
    result = look(front_end, tmp_path, SNOW, HER)
    assert list(result.numbered) == [1] and "in box 0 of 2 (from 0)" in result.message
    main = look(front_end, tmp_path, SNOW, HER, most=1)
    assert main.status == "no_person" and "in box 0 of 2 (from 0)" in main.message
    assert list(look(front_end, tmp_path, SNOW, HER, most=2).numbered) == [1]


def test_who_is_beside_a_box_or_in_two_is_one_person(front_end, tmp_path):
    alone = look(front_end, tmp_path, HER)
    wider = [250, 30, 280, 370]
    result = look(front_end, tmp_path, HER, SNOW, HER, wider)
    (person,) = result.people
    assert person.number == 0 and torch.equal(person.mask(), alone.people[0].mask())
    assert "no person recognised in box 1 of 4" in result.message
    assert "box 2, 3 of 4 (from 0) shows the same person as box 0" in result.message
    assert look(front_end, tmp_path, wider, HER).people[0].number == 1  # fills it better


@pytest.mark.parametrize("kind", ["--bbox", "--openpose", "--openpose_folder"])
def test_inputs_of_dsrs_demo_find_the_person(front_end, tmp_path, kind):
    """`--img X --bbox Y` and `--img X --openpose Y` there, and a folder of OpenPose's files, are
    `X --boxes Y` here."""
    (alone,) = look(front_end, tmp_path, HER).people
    path = told = tmp_path / "demo" / "skier_keypoints.json"
    path.parent.mkdir()
    if kind == "--bbox":
        path.write_text(json.dumps({"bbox": HER}))
    else:
        named = dict(zip(COCO17, alone.keypoints.tolist(), strict=True))
        flat = [value for name in BODY25 for value in named.get(name, (0.0, 0.0, 0.0))]
        path.write_text(json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": flat}]}))
        told = path.parent if kind == "--openpose_folder" else path
    settings = FrontEndSettings(boxes=told)
    boxes = open_front_end("embedded", "cpu", settings).boxes  # as the command opens it
    (result,) = replace(front_end, boxes=boxes)([SKIER])
    (person,) = result.people
    assert person.number == 0
    assert float(overlaps(person.box[None], alone.box)) > 0.9
    sure = (person.keypoints[:, 2] > 0.5) & (alone.keypoints[:, 2] > 0.5)
    off = (person.keypoints - alone.keypoints)[sure, :2].norm(dim=-1)
    assert sure.sum() > 10 and float(off.mean()) < 0.03 * HER[3]


def test_common_area_is_compared_with_the_smaller_box():
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 2, 4, 4], [20, 0, 30, 10], [0, 0, 0, 5]])
    assert in_common(boxes, torch.tensor([0.0, 0, 5, 5])).tolist() == [1, 1, 0, 0]


def test_more_people_than_are_looked_at_are_told(front_end, monkeypatch):
    strip = read_photo(SKIER)[:, 200:560]
    pair = torch.cat([strip, strip.flip(1)], 1)
    monkeypatch.setattr(embedded, "MOST_PEOPLE", 1)
    (result,) = front_end([pair], max_people=2)
    assert result.status == "ok" and len(result.people) == 1
    assert "2 possible people, of whom the 1 surest were looked at; do:" in result.message


@pytest.mark.parametrize("settings", [{"cropped": True}, {"boxes": Path("boxes.json")}])
def test_nobody_is_searched_far_off_where_places_are_told(settings):
    with pytest.raises(ValueError, match=r"--distant: wanted it without --(boxes|cropped).*do:"):
        open_front_end("embedded", "cpu", FrontEndSettings(tiled=True, **settings))


def test_a_folder_that_cannot_be_listed_is_named_with_its_option(tmp_path, monkeypatch):
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    settings = FrontEndSettings(silhouette_from=str(tmp_path))
    with pytest.raises(PermissionError, match=r"^--silhouette-from: wanted a folder.*do:"):
        open_front_end("embedded", "cpu", settings)


def test_advice_to_switch_safety_off_is_not_passed_on(tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="cut short, altered or something else") as caught:
        read_restricted(path)
    assert "weights_only" not in str(caught.value)


def test_what_is_told_is_of_number_0_or_of_nobody(known_person, monkeypatch):
    size = known_person.size[::-1]
    second = replace(known_person.person, number=1)
    picture = torch.zeros(*known_person.size, 3, dtype=torch.uint8)

    def predict(**options: Any) -> ImagePrediction:
        predictor = known_person.doubting_predictor(height=1.8, **options)
        monkeypatch.setattr(
            predictor, "front_end", lambda *_: [ImageResult(None, *size, "ok", people=(second,))]
        )
        return predictor([picture])[0]

    image = predict()
    assert [(person.index, bool(person.told)) for person in image.people] == [(1, False)]
    assert "told (height) is of person 0, who was not found" in image.message
    assert [bool(person.told) for person in predict(person=1).people] == [True]
    main = predict(person="main")
    assert main.status == "no_person" and "wanted person 0" in main.message
    assert "found number 1" in main.message


def test_without_a_mask_nobody_takes_the_number_of_another(known_person):
    result = ImageResult(None, *known_person.size[::-1], "ok", people=(known_person.person,) * 2)
    mask = Silhouette(known_person.person.soft_mask)

    class SecondOnly:
        def __call__(self, *_: Any) -> list[Silhouette | None]:
            return [None, mask]

        def describe(self) -> dict[str, Any]:
            return {}

    front_end = OtherSilhouettes(lambda *_: [result], SecondOnly())
    (other,) = front_end(["a.jpg"])
    assert list(other.numbered) == [1] and "no mask shows person 0 of 2" in other.message
