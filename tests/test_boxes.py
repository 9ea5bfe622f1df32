"""Boxes of people from files, in the layouts that others use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from plausibody.models.skeleton import COCO17
from plausibody.predict.reading.boxes import (
    BoxFile,
    NotListedError,
    WholePicture,
    box_of_points,
    read_boxes,
    within,
)
from plausibody.predict.reading.openpose import BODY25, COCO18, read_people


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def told(file: BoxFile, photo: str = "a.jpg") -> list[list[float]]:
    """What a file says of a photo of 200 x 100 pixels."""
    return file(Path("photos") / photo, 200, 100).tolist()


ONE, TWO = [10, 20, 30, 40], [100, 0, 50, 99.5]
CORNERS, CORNERS2 = [10.0, 20.0, 40.0, 60.0], [100.0, 0.0, 150.0, 99.5]


@pytest.mark.parametrize(
    "content, expected",
    [
        (ONE, [CORNERS]),
        ([ONE, TWO], [CORNERS, CORNERS2]),
        ([], []),
        ({"bbox": ONE}, [CORNERS]),  # as the demos of SPIN and DSR
        ({"bbox": [ONE, TWO]}, [CORNERS, CORNERS2]),
        ({"a.jpg": ONE, "b.jpg": TWO}, [CORNERS]),
        ({"a": [ONE, TWO]}, [CORNERS, CORNERS2]),
        ({"photos/a.jpg": {"bbox": ONE}, "other/a.jpg": TWO}, [CORNERS]),
        ({"photos\\a.jpg": [{"bbox": ONE}]}, [CORNERS]),
        ({"a.jpg": []}, []),
        (
            [  # COCO results: sure ones of people, the surest first
                {"image_id": "a", "bbox": ONE, "score": 0.6, "category_id": 1},
                {"image_id": "a", "bbox": TWO, "score": 0.9, "category_id": 1},
                {"image_id": "a", "bbox": TWO, "score": 0.1, "category_id": 1},
                {"image_id": "a", "bbox": TWO, "score": 0.9, "category_id": 18},
                {"image_id": "b", "bbox": TWO, "score": 0.9},
            ],
            [CORNERS2, CORNERS],
        ),
        (
            {
                "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
                "annotations": [
                    {"image_id": 7, "bbox": ONE, "category_id": 1},
                    {"image_id": 7, "bbox": TWO, "category_id": 1, "iscrowd": 1},
                    {"image_id": 8, "bbox": TWO, "category_id": 1},
                ],
            },
            [CORNERS],
        ),
    ],
)
def test_every_layout_tells_the_same(tmp_path, content, expected):
    assert told(read_boxes(write(tmp_path / "boxes.json", content))) == expected


def test_numbers_of_images_are_names_of_cocos_files(tmp_path):
    path = write(tmp_path / "results.json", [{"image_id": 785, "bbox": ONE, "score": 1}])
    assert told(read_boxes(path), "000000000785.jpg") == [CORNERS]


@pytest.mark.parametrize("name", ["a.json", "a.jpg.json", "a_bbox.json", "a_keypoints.json"])
def test_a_folder_has_a_file_for_each_photo(tmp_path, name):
    write(tmp_path / name, {"bbox": ONE})
    boxes = read_boxes(tmp_path)
    assert told(boxes) == [CORNERS]
    with pytest.raises(FileNotFoundError, match="b.json, found no such file; do:"):
        told(boxes, "b.jpg")


def openpose(names: list[str], points: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    flat = [value for name in names for value in points.get(name, (0.0, 0.0, 0.0))]
    return {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": flat}]}


@pytest.mark.parametrize("names", [BODY25, COCO18])
def test_openpose_becomes_coco_by_name(names):
    points = {name: (10.0 + n, 100.0 + n, 0.5 + n / 100) for n, name in enumerate(COCO17)}
    (person,) = read_people(openpose(names, points), "file")
    assert torch.allclose(person, torch.tensor([points[name] for name in COCO17]))
    # Right and left are where OpenPose's manual has them: its point 2 is the right shoulder.
    assert names.index("right_shoulder") == 2 and names.index("left_wrist") == 7
    assert names.index("right_ankle") == {25: 11, 18: 10}[len(names)]


def test_a_box_of_openpose_goes_round_sure_points_with_a_tenth_more(tmp_path):
    points = {"nose": (50.0, 20.0, 0.9), "left_hip": (60.0, 70.0, 0.8), "neck": (50, 30, 0.9)}
    points |= {"right_hip": (40.0, 70.0, 0.8), "left_ankle": (199.0, 99.0, 0.1)}
    path = write(tmp_path / "a_keypoints.json", openpose(BODY25, points))
    assert told(read_boxes(path)) == [[35.0, 15.0, 65.0, 75.0]]
    assert told(read_boxes(tmp_path)) == [[35.0, 15.0, 65.0, 75.0]]
    assert len(box_of_points(torch.zeros(17, 3))) == 0


def test_boxes_are_cut_at_the_border_and_refused_outside():
    boxes = torch.tensor([[-10.0, 20, 40, 60]])
    assert within(boxes, 200, 100, "file").tolist() == [[0, 20, 40, 60]]
    for box in ([-100, -100, -50, -50], [150, 20, 300, 60], [0.1, 0.1, 0.9, 0.8]):
        with pytest.raises(ValueError, match="file: wanted boxes within the picture of 200 x 100"):
            within(torch.tensor([box]).float(), 200, 100, "file")
    assert WholePicture()("a.jpg", 200, 100).tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "content, says",
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[10, 20, NaN, 4]", "NaN is no number"),
        ("[10, 20, 1e999, 4]", "wanted .x, y, w, h. in pixels, came a list of 4"),
        ("[10, 20, 1" + "0" * 400 + ", 4]", "not finite or beyond"),
        ('{"a.jpg": [1, 2, 3, 4], "a.jpg": [5, 6, 7, 8]}', "'a.jpg' is given twice"),
        ("[" * 100_000, "nested|no JSON"),
        (7, "wanted boxes of people, .x, y, w, h. in pixels, came 7"),
        ([1, 2, 3], "came 3 numbers"),
        ([1, 2, -3, 4], "w and h above 0, came w = -3"),
        ([[1, 2, 3, 0]], "box 0: .*h = 0"),
        ([1, 2, "3", 4], "came a list of 4"),
        ([True, 2, 3, 4], "came a list of 4"),
        ({"a.jpg": "left"}, 'a.jpg: wanted .* came "left"'),
        ({"bbox": None}, "came null"),
        ({"people": 3}, "as OpenPose writes it, came 3"),
        ({"people": [{"pose_keypoints_2d": [1, 2, 3]}]}, "person 0: .* came 3 numbers"),
        ({"people": [{"pose_keypoints_2d": [5.0] * 75}]}, "confidences from 0 to 1, came 5"),
        ({"people": [{}]}, "BODY_25"),
        ([{"bbox": ONE}], "file_name or image_id"),
        ({"images": [], "annotations": [{"image_id": 1}]}, "image_id of one of the images, came 1"),
        ({"images": 3, "annotations": []}, "wanted a list of objects, came 3"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path, content, says):
    path = write(tmp_path / "boxes.json", content)
    with pytest.raises(ValueError, match=says) as caught:
        read_boxes(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "wanted" in message and "do:" in message


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.json: wanted boxes .* do:"):
        read_boxes(tmp_path / "gone.json")
    (tmp_path / "latin.json").write_bytes(b'{"\xe4.jpg": [1, 2, 3, 4]}')
    with pytest.raises(ValueError, match="latin.json: wanted boxes"):
        read_boxes(tmp_path / "latin.json")


def test_an_unlisted_photo_is_told_and_a_wrong_file_at_once(tmp_path):
    file = read_boxes(write(tmp_path / "boxes.json", {"a.jpg": ONE, "b.jpg": TWO}))
    with pytest.raises(NotListedError, match="of c.jpg, found a.jpg, b.jpg; do:"):
        told(file, "c.jpg")
    with pytest.raises(NotListedError, match="only pixels"):
        file(torch.zeros(100, 200, 3, dtype=torch.uint8), 200, 100)
    file.check([Path("x/c.jpg"), Path("x/b.jpg")])
    with pytest.raises(ValueError, match="of c.jpg or another of the 2 photos, found a.jpg"):
        file.check([Path("x/c.jpg"), Path("x/d.jpg")])
    alone = read_boxes(write(tmp_path / "one.json", ONE))
    alone.check([Path("a.jpg")])
    with pytest.raises(ValueError, match="wanted the names of the photos, as there are 2"):
        alone.check([Path("a.jpg"), Path("b.jpg")])
    with pytest.raises(ValueError, match="named like the photos, such as z.json"):
        read_boxes(tmp_path).check([Path("z.jpg")])


def test_photos_of_one_name_in_two_folders_have_their_own_boxes(tmp_path):
    file = read_boxes(write(tmp_path / "boxes.json", {"left/a.jpg": ONE, "a.jpg": TWO}))
    assert file(Path("x/left/a.jpg"), 200, 100).tolist() == [CORNERS]
    assert file(Path("x/right/a.jpg"), 200, 100).tolist() == [CORNERS2]


def test_names_match_however_their_accents_are_written(tmp_path):
    file = read_boxes(write(tmp_path / "boxes.json", {"u\u0308ber.jpg": ONE}))
    assert told(file, "\u00fcber.jpg") == [CORNERS]


def test_boxes_describe_themselves_by_what_they_say(tmp_path):
    path = write(tmp_path / "boxes.json", ONE)
    before = read_boxes(path).describe()
    assert json.loads(json.dumps(before)) == before
    write(path, TWO)
    assert read_boxes(path).describe() != before
    write(tmp_path / "folder" / "a.json", ONE)
    first = read_boxes(tmp_path / "folder").describe()
    write(tmp_path / "folder" / "b.json", ONE)
    assert read_boxes(tmp_path / "folder").describe() != first
    (tmp_path / "folder" / "out").mkdir()
    second = read_boxes(tmp_path / "folder").describe()
    write(tmp_path / "folder" / "summary.json", {})  # results change nothing
    write(tmp_path / "folder" / "out" / "result.json", {})
    assert read_boxes(tmp_path / "folder").describe() == second
