"""A thousand damaged files: each ends in a result, or in an error of ours that names the file.

Bytes are flipped, cut off, doubled and replaced, values of JSON and arrays exchanged for others,
always by the same seed. What makes a reader hang stops the tests with a traceback.
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plausibody.assets.catalog import SHIPPED
from plausibody.models.calibration import CalibrationError, load_calibration
from plausibody.predict.bulk.inputs import find_inputs
from plausibody.predict.bulk.run import RunOptions, predict_folder
from plausibody.predict.bulk.summary import LOG, SUMMARY
from plausibody.predict.front_ends.embedded import load_embedded
from plausibody.predict.front_ends.front_end import ImageResult
from plausibody.predict.front_ends.opening import FrontEndSettings, open_front_end
from plausibody.predict.reading.boxes import read_boxes
from plausibody.predict.reading.keypoint_files import open_keypoints, read_keypoints
from plausibody.predict.reading.mask_files import read_masks, read_parts
from plausibody.predict.reading.openpose import BODY25
from plausibody.predict.reading.photo import read_photo

WIDTH, HEIGHT = 48, 40
PATIENCE = 300
"""Seconds after which a file counts as hanging; a file takes milliseconds."""
Reader = Callable[[Path], Any]


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def damage(content: bytes, chance: random.Random) -> bytes:
    """Changes bytes in one of the ways in which files break, or are made to."""
    data = bytearray(content)
    at = chance.randrange(len(data))
    length = min(chance.choice((1, 2, 4, 16, 200)), len(data) - at)
    match chance.randrange(8):
        case 0:
            del data[at:]
        case 1:
            data[at:at] = data[at : at + length] * chance.choice((1, 3, 50))
        case 2:
            del data[at : at + length]
        case 3:
            data[at : at + length] = bytes(length)
        case 4:
            data[at : at + length] = b"\xff" * length
        case 5:
            data[at : at + length] = chance.randbytes(length)
        case 6:
            data += chance.randbytes(100)
        case _:
            for _ in range(chance.choice((1, 3, 30))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


ODD: tuple[Callable[[], Any], ...] = (
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 10**400,
    lambda: 1e308,
    lambda: float("nan"),
    lambda: float("-inf"),
    lambda: "",
    lambda: "text\ud800\x00/..",
    lambda: [],
    lambda: {},
    lambda: [[[]]],
    lambda: {"bbox": {"bbox": []}},
    lambda: list(range(3000)),
)


def exchange(value: Any, chance: random.Random) -> Any:
    """Puts something odd into a random place of what JSON holds; now and then drops or doubles."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        place = chance.choice(places)
        changed = dict(value) if isinstance(value, dict) else list(value)
        if chance.random() < 0.1:
            del changed[place]
        elif chance.random() < 0.1 and isinstance(changed, list):
            changed.append(changed[place])
        else:
            changed[place] = exchange(changed[place], chance)
        return changed
    return chance.choice(ODD)()


def damaged_json(content: Any, chance: random.Random) -> bytes:
    text = json.dumps(exchange(content, chance) if chance.random() < 0.7 else content)
    if chance.random() < 0.05:
        depth = chance.choice((50, 5000, 200_000))
        text = "[" * depth + text + "]" * depth
    data = text.encode("utf-8", "surrogatepass")
    return damage(data, chance) if chance.random() < 0.4 else data


def outcome(read: Reader, path: Path, ours: tuple[type[Exception], ...] = ()) -> str:
    """Reads a file: "read", or the message of an error of ours. Other errors go on."""
    try:
        read(path)
    except (ValueError, FileNotFoundError, *ours) as error:
        message = str(error)
        assert str(path) in message or f"{path.parent}:" in message, message
        assert "wanted" in message, message
        assert len(message) < 2000
        return message
    return "read"


def pictures() -> list[tuple[str, bytes]]:
    """Small pictures of all kinds, with what is inside them written out."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    colours = np.stack([columns * 5, rows * 6, (rows + columns) * 2], -1).astype(np.uint8)
    base = Image.fromarray(colours)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for suffix, kind, picture, options in (
        ("jpg", "JPEG", base, {"exif": exif}),
        ("jpg", "JPEG", base.convert("CMYK"), {"progressive": True}),
        ("png", "PNG", base.convert("RGBA"), {}),
        ("png", "PNG", base.convert("P"), {"transparency": 3}),
        ("png", "PNG", Image.fromarray(colours[..., 0].astype(np.uint16) * 200), {}),
        ("webp", "WEBP", base, {}),
        ("gif", "GIF", base, {"save_all": True, "append_images": [base.rotate(90)]}),
        ("tif", "TIFF", base, {"compression": "tiff_lzw"}),
        ("tif", "TIFF", base.convert("I"), {}),
        ("bmp", "BMP", base, {}),
        ("ppm", "PPM", base, {}),
        ("tga", "TGA", base, {}),
        ("jp2", "JPEG2000", base, {}),
    ):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        made.append((suffix, file.getvalue()))
    return made


def test_400_damaged_photos(tmp_path):
    chance, base = random.Random(1), pictures()
    ends = []
    for number in range(400):
        suffix, content = base[number % len(base)]
        path = tmp_path / f"photo {number}.{suffix}"
        path.write_bytes(damage(content, chance))
        ends.append(outcome(read_photo, path))
    assert 40 < ends.count("read") < 360  # both ways were walked
    assert all("do:" in end for end in ends if end != "read")


def test_200_damaged_masks_and_part_maps(tmp_path):
    chance = random.Random(2)
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[8:30, 10:25] = 255
    parts = inside // 255 * 7
    iuv = np.stack([parts, inside, inside], -1)
    base: list[tuple[str, bytes, Reader]] = []

    def add(suffix: str, save: Callable[[io.BytesIO], Any], read: Reader) -> None:
        file = io.BytesIO()
        save(file)
        base.append((suffix, file.getvalue(), read))

    def masks(path: Path) -> Any:
        return [mask.render() for mask in read_masks(path, WIDTH, HEIGHT)]

    def part_map(path: Path) -> Any:
        return read_parts(path, WIDTH, HEIGHT, iuv=False)

    def iuv_map(path: Path) -> Any:
        return read_parts(path, WIDTH, HEIGHT, iuv=True)

    palette = Image.fromarray(inside).convert("P")
    add("png", lambda file: Image.fromarray(inside).save(file, "PNG"), masks)
    add("png", lambda file: palette.save(file, "PNG"), masks)
    add("npy", lambda file: np.save(file, inside > 0), masks)
    add("npz", lambda file: np.savez(file, mask=inside[8:30], box=[0, 8, 48, 22]), masks)
    add("npz", lambda file: np.savez_compressed(file, masks=inside[None] / 255), masks)
    add("png", lambda file: Image.fromarray(parts).save(file, "PNG"), part_map)
    add("png", lambda file: Image.fromarray(iuv).save(file, "PNG"), iuv_map)
    add("npz", lambda file: np.savez_compressed(file, iuv=iuv), iuv_map)
    ends = []
    for number in range(200):
        suffix, content, read = base[number % len(base)]
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(damage(content, chance))
        ends.append(outcome(read, path))
    assert 20 < ends.count("read") < 180


def test_250_damaged_files_of_boxes_and_key_points(tmp_path):
    chance = random.Random(3)
    openpose = {"people": [{"pose_keypoints_2d": [5.0, 6.0, 0.9] * len(BODY25)}] * 2}
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "keypoints": [5, 6, 2] * 17}
        ],
    }
    results = [
        {"file_name": "a.jpg", "score": 0.9, "bbox": [1, 2, 30, 20], "keypoints": [5, 6, 0.9] * 17}
    ]

    def boxes(path: Path) -> Any:
        found = read_boxes(path)
        found.check([Path("a.jpg")])
        return found(Path("a.jpg"), WIDTH, HEIGHT)

    def keypoints_of_all(path: Path) -> Any:
        return open_keypoints(path).of(Path("a.jpg"))

    base: list[tuple[Any, Reader]] = [
        ([1, 2, 30, 20], boxes),
        ({"a.jpg": [1, 2, 30, 20], "b.jpg": [[4, 5, 6, 7], [8, 9, 3, 2]]}, boxes),
        ({"bbox": [1, 2, 30, 20]}, boxes),
        (openpose, boxes),
        (coco, boxes),
        (results, boxes),
        (openpose, read_keypoints),
        (coco, keypoints_of_all),
        (results, keypoints_of_all),
    ]
    ends = []
    for number in range(250):
        content, read = base[number % len(base)]
        path = tmp_path / f"{number}.json"
        path.write_bytes(damaged_json(content, chance))
        ends.append(outcome(read, path))
    assert 15 < ends.count("read") < 200
    assert all("do:" in end for end in ends if end != "read")


def test_50_damaged_arrays_of_key_points(tmp_path):
    chance = random.Random(4)
    points = np.full((2, 17, 3), 0.5)
    ends = []
    for number in range(50):
        file = io.BytesIO()
        if number % 2:
            np.savez(file, keypoints=points)
        else:
            np.save(file, points[0])
        path = tmp_path / f"{number}.{'npz' if number % 2 else 'npy'}"
        path.write_bytes(damage(file.getvalue(), chance))
        ends.append(outcome(read_keypoints, path))
    assert 5 < ends.count("read") < 45


def test_50_damaged_calibrations(tmp_path):
    chance = random.Random(5)
    (path,) = sorted((SHIPPED / "weights").glob("*calibration*.json"))[:1]
    content = json.loads(path.read_text())
    ends = []
    for number in range(50):
        path = tmp_path / f"{number}.json"
        path.write_bytes(damaged_json(content, chance))
        ends.append(outcome(load_calibration, path, (CalibrationError,)))
    assert any(end != "read" for end in ends)


def test_50_damaged_summaries_and_journals_of_earlier_runs(known_person, tmp_path):
    """A run goes on from what is left of the one before, or refuses the folder."""
    chance = random.Random(6)
    photos = [tmp_path / f"nobody {n}.png" for n in range(2)]
    for photo in photos:
        Image.new("RGB", (WIDTH, HEIGHT)).save(photo)
    predictor, options = known_person.predictor(), RunOptions(save=frozenset())
    whole = predict_folder(photos, tmp_path / "whole", predictor, options)
    content = json.loads(whole.path.read_text())
    ends = []
    for number in range(50):
        out = tmp_path / f"{number}"
        out.mkdir()
        if number % 3:
            (out / SUMMARY).write_bytes(damaged_json(content, chance))
        else:
            lines = [damaged_json(entry, chance) for entry in content["inputs"]]
            (out / LOG).write_bytes(b"\n".join(lines))

        def run(path: Path) -> None:
            summary = predict_folder(photos, path.parent, predictor, options)
            assert summary.counts == {"no_person": 2}

        ends.append(outcome(run, out / SUMMARY))
    assert any(end == "read" for end in ends) and any(end != "read" for end in ends)


def test_the_nets_look_at_what_is_left_of_damaged_photos(tmp_path):
    chance = random.Random(8)
    content = (SHIPPED / "photos" / "skier.jpg").read_bytes()
    paths = [tmp_path / f"{number}.jpg" for number in range(6)]
    for path in paths:
        path.write_bytes(damage(content, chance))
    results = load_embedded()(paths)
    assert [result.path for result in results] == [str(path) for path in paths]
    assert {result.status for result in results} <= {"ok", "no_person", "unreadable"}
    assert all(bool(result.people) != bool(result.message) for result in results)


def test_a_folder_of_damaged_photos_and_files_is_accounted_for(known_person, tmp_path):
    """Photos, their key points and masks are damaged by turns; the whole ones are predicted."""
    chance = random.Random(7)
    photos, files = tmp_path / "photos", tmp_path / "files"
    photos.mkdir()
    files.mkdir()
    height, width = known_person.size
    picture = Image.new("RGB", (width, height), (90, 120, 150))
    mask = (known_person.person.mask() > 0.5).numpy().astype(np.uint8) * 255
    for number in range(24):
        content = []
        for save in (
            lambda file: picture.save(file, "PNG"),
            lambda file: np.save(file, known_person.person.keypoints.numpy()),
            lambda file: Image.fromarray(mask).save(file, "PNG"),
        ):
            file = io.BytesIO()
            save(file)
            content.append(file.getvalue())
        if number % 4:
            content[number % 4 - 1] = damage(content[number % 4 - 1], chance)
        names = (photos / f"{number}.png", files / f"{number}_keypoints.npy")
        for path, data in zip((*names, files / f"{number}_mask.png"), content, strict=True):
            path.write_bytes(data)
    front_end = open_front_end("files", "cpu", FrontEndSettings(files=files))
    predictor = known_person.predictor()
    predictor.front_end = front_end
    paths = list(find_inputs([photos]).paths)
    results = predictor(paths)
    assert [result.path for result in results] == [str(path) for path in paths]
    for path, result in zip(paths, results, strict=True):
        if int(path.stem) % 4 == 0:
            assert result.status == "ok" and len(result.people) == 1
        else:
            assert result.status in ("ok", "no_person", "unreadable", "too_small")
        if not result.people:
            assert result.message and "Traceback" not in result.message
    seen = front_end(paths)
    assert all(isinstance(result, ImageResult) for result in seen)
    for result in seen:
        for person in result.people:
            assert bool(torch.isfinite(person.keypoints).all())
            assert bool(torch.isfinite(person.mask()).all())
