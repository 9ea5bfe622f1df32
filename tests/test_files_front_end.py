"""Key points, masks and part maps from files: what lands where in the photo, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from plausibody.models.skeleton import COCO17, mirror
from plausibody.predict.front_ends.front_end import describe_front_end
from plausibody.predict.front_ends.opening import FrontEndSettings, check_photos, open_front_end
from plausibody.predict.reading.companions import KEYPOINTS, MASKS, Companions
from plausibody.predict.reading.keypoint_files import open_keypoints, read_keypoints
from plausibody.predict.reading.mask_files import read_masks, read_parts
from plausibody.predict.reading.openpose import BODY25

HEIGHT, WIDTH = 300, 260


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photo of the size of the known person's picture."""
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(path)
    return path


@pytest.fixture
def files(tmp_path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def openpose(*people: Tensor) -> dict[str, Any]:
    entries = []
    for points in people:
        named = dict(zip(COCO17, points.tolist(), strict=True))
        flat = [value for name in BODY25 for value in named.get(name, (0.0, 0.0, 0.0))]
        entries.append({"pose_keypoints_2d": flat})
    return {"people": entries}


def save_openpose(folder: Path, *people: Tensor, name: str = "a_keypoints.json") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(openpose(*people)))


def save_mask(path: Path, inside: Tensor) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((inside.numpy() * 255).astype(np.uint8)).save(path)


def look(photo: Path, files: Path, **settings: Any) -> Any:
    front_end = open_front_end("files", "cpu", FrontEndSettings(files=files, **settings))
    (result,) = front_end([photo])
    return result


def moved(points: Tensor, mask: Tensor, right: int) -> tuple[Tensor, Tensor]:
    """The same person elsewhere; what leaves the picture is lost."""
    there = points.clone()
    there[:, 0] += right
    return there, torch.roll(mask, right, 1)


def test_what_was_written_lands_at_the_same_place_in_the_photo(known_person, photo, files):
    """The silhouette and the projected key points of a posed body, through files, to the pixel."""
    person, mask = known_person.person, known_person.person.mask() > 0.5
    save_openpose(files, person.keypoints)
    save_mask(files / "a_mask.png", mask)
    result = look(photo, files)
    (found,) = result.people
    assert (result.status, result.width, result.height) == ("ok", WIDTH, HEIGHT)
    assert torch.equal(found.mask() > 0.5, mask)
    assert torch.allclose(found.keypoints, person.keypoints, atol=1e-3)
    assert torch.equal(found.box, person.box) and not found.flags
    assert found.score == pytest.approx(0.9)
    # The body itself, projected, fits what came out of the files.
    drawn = known_person.camera.project(known_person.vertices)[:, :2]
    assert bool((drawn.amin(0) >= found.box[:2] - 1).all())
    assert bool((drawn.amax(0) <= found.box[2:] + 1).all())


def test_a_predictor_gives_the_same_body_from_files(known_person, photo, files):
    save_openpose(files, known_person.person.keypoints)
    save_mask(files / "a_mask.png", known_person.person.mask() > 0.5)
    predictor = known_person.predictor()
    (before,) = predictor([photo])
    predictor.front_end = open_front_end("files", "cpu", FrontEndSettings(files=files))
    (after,) = predictor([photo])
    one, other = before.people[0], after.people[0]
    assert torch.allclose(one.body.vertices, other.body.vertices, atol=1e-4)
    assert other.fit.silhouette_iou > 0.97 and other.fit.reprojection < 0.5


@pytest.mark.parametrize("layout", ["flat", "own folders", "full names", "folder of the photo"])
def test_files_are_found_however_they_are_kept(known_person, photo, files, layout):
    person, mask = known_person.person, known_person.person.mask() > 0.5
    names = {
        "flat": ("a_keypoints.json", "a_mask.png"),
        "own folders": ("keypoints/a.json", "masks/a.png"),
        "full names": ("keypoints/a.jpg_keypoints.json", "masks/a.jpg.png"),
        "folder of the photo": ("keypoints/photos/a.json", "masks/photos/a.png"),
    }[layout]
    for name in names:
        (files / name).parent.mkdir(parents=True, exist_ok=True)
    (files / names[0]).write_text(json.dumps(openpose(person.keypoints)))
    save_mask(files / names[1], mask)
    (found,) = look(photo, files).people
    assert torch.equal(found.mask() > 0.5, mask)


@pytest.mark.parametrize("form", ["npy", "npz", "people", "coco", "results"])
def test_key_points_of_every_form_are_the_same(known_person, photo, files, form):
    points = known_person.person.keypoints
    if form == "npy":
        np.save(files / "a_keypoints.npy", points.double().numpy())
    elif form == "npz":
        np.savez(files / "a_keypoints.npz", keypoints=points.numpy())
    elif form == "people":
        np.savez(files / "a_keypoints.npz", keypoints=points[None].numpy())
    elif form == "coco":
        marked = torch.cat([points[:, :2] - 0.5, torch.full((17, 1), 2.0)], 1)
        told = {"image_id": 1, "category_id": 1, "keypoints": marked.flatten().tolist()}
        content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [told]}
        (files / "keypoints.json").write_text(json.dumps(content))
    else:
        told = {"file_name": "a.jpg", "score": 0.9, "keypoints": points.flatten().tolist()}
        (files / "keypoints.json").write_text(json.dumps([told, {**told, "score": 0.1}]))
    name, found = open_keypoints(files).of(photo)
    assert found.shape == (1, 17, 3)
    assert torch.allclose(found[0, :, :2], points[:, :2], atol=1e-3)
    assert (found[0, :, 2] > 0.85).all() and Path(name).parent == files


def test_cocos_marks_become_confidences(tmp_path):
    flat = [5.0, 6.0, 2.0, 7.0, 8.0, 1.0] + [0.0] * 45
    annotation = {"image_id": 1, "keypoints": flat}
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [annotation]}
    (tmp_path / "keypoints.json").write_text(json.dumps(content))
    _, points = open_keypoints(tmp_path).of(Path("a.jpg"))
    assert points[0, 0].tolist() == [5.5, 6.5, 1.0]  # the middle of pixel (5, 6)
    assert points[0, 1, 2] == 0.5 and not points[0, 2:].any()


def test_several_people_get_their_own_masks_whatever_the_order(known_person, photo, files):
    points, mask = known_person.person.keypoints, known_person.person.mask() > 0.5
    left, right = moved(points, mask, -25), moved(points, mask, 25)
    save_openpose(files, left[0], right[0])
    save_mask(files / "a_mask_0.png", right[1])
    save_mask(files / "a_mask_1.png", left[1])
    result = look(photo, files)
    assert result.message == "" and len(result.people) == 2
    for person in result.people:
        is_left = float(person.keypoints[0, 0]) < float(points[0, 0])
        expected = left[1] if is_left else right[1]
        assert torch.equal(person.mask() > 0.5, expected)
        assert "overlap" in person.flags


@pytest.mark.parametrize("numbers", ["palette", "sixteen bits", "arrays"])
def test_people_numbered_in_one_file_are_separated(known_person, photo, files, numbers):
    mask = known_person.person.mask() > 0.5
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[mask.numpy()] = 7
    ids[:20, :20] = 3
    path = files / "a_mask.png"
    if numbers == "palette":
        picture = Image.new("P", (WIDTH, HEIGHT))
        picture.putdata(ids.flatten().tolist())
        picture.putpalette([value for n in range(256) for value in (n, 255 - n, 9)])
        picture.save(path)
    elif numbers == "sixteen bits":
        Image.fromarray(ids.astype(np.uint16)).save(path)
    else:
        path = files / "a_mask.npz"
        np.savez(path, masks=np.stack([ids == 3, ids == 7]))
    first, second = read_masks(path, WIDTH, HEIGHT)
    assert first.area() == 400 and torch.equal(second.render() > 0.5, mask)
    save_openpose(files, known_person.person.keypoints)
    (person,) = look(photo, files).people
    assert torch.equal(person.mask() > 0.5, mask)


@pytest.mark.parametrize("kind", ["bool", "bytes", "ones", "shares", "cut-out", "bits", "three"])
def test_masks_of_every_form_are_the_same(known_person, tmp_path, kind):
    mask = (known_person.person.mask() > 0.5).numpy()
    path = tmp_path / "a.png"
    if kind == "cut-out":
        clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        clear[..., :3], clear[..., 3] = 77, mask * 255
        Image.fromarray(clear).save(path)
    elif kind == "bits":
        Image.fromarray(mask).save(path)
    elif kind == "three":
        Image.fromarray(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, 2)).save(path)
    elif kind == "ones":
        Image.fromarray(mask.astype(np.uint8)).save(path)
    else:
        path = tmp_path / "a.npy"
        values = {"bool": mask, "bytes": mask * np.uint8(255), "shares": mask * 0.9}[kind]
        np.save(path, values)
    (found,) = read_masks(path, WIDTH, HEIGHT)
    assert torch.equal(found.render() > 0.5, torch.from_numpy(mask))


def test_a_mask_of_a_part_lies_where_its_box_says(known_person, tmp_path):
    mask = known_person.person.mask() > 0.5
    left, top, right, bottom = (int(value) for value in known_person.person.box.tolist())
    part = mask[top:bottom, left:right].numpy()
    box = [left, top, right - left, bottom - top]
    np.savez(tmp_path / "a.npz", mask=part, box=box)
    (found,) = read_masks(tmp_path / "a.npz", WIDTH, HEIGHT)
    assert torch.equal(found.render() > 0.5, mask)
    half = part[::2, ::2]  # at half the resolution, within a pixel or so
    np.savez(tmp_path / "b.npz", mask=half, box=box)
    (found,) = read_masks(tmp_path / "b.npz", WIDTH, HEIGHT)
    common = ((found.render() > 0.5) & mask).sum() / ((found.render() > 0.5) | mask).sum()
    assert float(common) > 0.9


def iuv_of(mask: Tensor) -> np.ndarray:
    """Parts 2 and 23, U to the right, V down; as I, U, V in the last axis."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    parts = np.where(rows < 100, 23, 2)
    values = np.stack([parts, columns * 255 // WIDTH, rows * 255 // HEIGHT], -1)
    return (values * mask.numpy()[..., None]).astype(np.uint8)


@pytest.mark.parametrize("order", ["as DensePose", "as named", "array", "parts"])
def test_silhouettes_from_parts(known_person, photo, files, order):
    mask = known_person.person.mask() > 0.5
    iuv = iuv_of(mask)
    save_openpose(files, known_person.person.keypoints)
    if order == "as DensePose":  # cv2.imwrite takes the channels for blue, green, red
        Image.fromarray(np.ascontiguousarray(iuv[..., ::-1])).save(files / "a_IUV.png")
    elif order == "as named":
        Image.fromarray(iuv).save(files / "a_IUV.png")
    elif order == "array":
        np.savez(files / "a_IUV.npz", iuv=np.moveaxis(iuv, -1, 0))
    else:
        Image.fromarray(iuv[..., 0]).save(files / "a_parts.png")
    (person,) = look(photo, files, silhouette_from="parts").people
    assert torch.equal(person.mask() > 0.5, mask)
    if order == "parts":
        assert person.extras["parts"].unique().tolist() == [0, 2, 23]
    else:
        assert np.array_equal(person.extras["iuv"].numpy(), np.moveaxis(iuv, -1, 0))


def test_denseposes_instances_keep_people_apart(known_person, photo, files):
    mask = known_person.person.mask() > 0.5
    iuv = iuv_of(mask)
    iuv[:30, :30] = (1, 9, 9)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[mask.numpy()], ids[:30, :30] = 1, 2
    Image.fromarray(iuv).save(files / "a_IUV.png")
    save_openpose(files, known_person.person.keypoints)
    (together,) = look(photo, files, silhouette_from="parts").people
    Image.fromarray(ids).save(files / "a_INDS.png")
    (person,) = look(photo, files, silhouette_from="parts").people
    assert torch.equal(person.mask() > 0.5, mask)
    assert (together.mask() > 0.5).sum() == mask.sum() + 900


def test_who_lacks_a_mask_is_named_and_the_others_stay(known_person, photo, files):
    points, mask = known_person.person.keypoints, known_person.person.mask() > 0.5
    elsewhere = points.clone()
    elsewhere[:, :2] = elsewhere[:, :2] / 8 + 3
    save_openpose(files, elsewhere, points)
    save_mask(files / "a_mask.png", mask)
    result = look(photo, files)
    assert result.status == "ok" and len(result.people) == 1
    assert "no silhouette shows the key points of person 0 of 2" in result.message
    save_openpose(files, elsewhere)
    result = look(photo, files)
    assert result.status == "no_person" and "person 0 of 1" in result.message
    save_openpose(files)
    assert "no person in it" in look(photo, files).message


def test_boxes_choose_people_and_their_order(known_person, photo, files, tmp_path):
    points, mask = known_person.person.keypoints, known_person.person.mask() > 0.5
    left, right = moved(points, mask, -45), moved(points, mask, 45)
    save_openpose(files, left[0], right[0])
    save_mask(files / "a_mask_0.png", left[1])
    save_mask(files / "a_mask_1.png", right[1])
    x, y, r, b = known_person.person.box.tolist()
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.jpg": [[x + 45, y, r - x, b - y], [x - 40, y, r - x, b - y]]}))
    first, second = look(photo, files, boxes=boxes).people
    assert torch.equal(first.mask() > 0.5, right[1])
    assert torch.equal(second.mask() > 0.5, left[1])
    boxes.write_text(json.dumps({"a.jpg": [[0, 0, 30, 30], [x + 45, y, r - x, b - y]]}))
    result = look(photo, files, boxes=boxes)
    assert len(result.people) == 1 and "no person of the files is in box 0 of 2" in result.message
    boxes.write_text(json.dumps({"b.jpg": [0, 0, 30, 30]}))
    assert look(photo, files, boxes=boxes).status == "no_person"


def test_of_a_cropped_picture_one_person_is_taken(known_person, photo, files):
    points, mask = known_person.person.keypoints, known_person.person.mask() > 0.5
    small = points.clone()
    small[:, :2] = small[:, :2] / 8 + 3
    corner = torch.zeros_like(mask)
    corner[3:41, 3:36] = mask[::8, ::8]
    save_openpose(files, small, points)
    save_mask(files / "a_mask_0.png", corner)
    save_mask(files / "a_mask_1.png", mask)
    assert len(look(photo, files).people) == 2
    (person,) = look(photo, files, cropped=True).people
    assert torch.equal(person.mask() > 0.5, mask)


def test_people_are_flagged(known_person, photo, files):
    points, mask = known_person.person.keypoints.clone(), known_person.person.mask() > 0.5
    save_mask(files / "a_mask.png", mask)
    joint = COCO17.index("left_ankle")
    points[joint] = torch.tensor([100.0, HEIGHT + 9.0, 0.9])
    save_openpose(files, points)
    (person,) = look(photo, files).people
    assert person.flags == {"truncated"} and person.keypoints[joint, 2] == 0
    points = known_person.person.keypoints.clone()
    points[8:, :2] = torch.tensor([10.0, 10.0])
    save_openpose(files, points)
    (person,) = look(photo, files).people
    assert "mask_unreliable" in person.flags


def test_wrong_sides_are_not_put_right(known_person, photo, files):
    """Left and right are what the file says; nothing guesses."""
    points = known_person.person.keypoints[mirror(COCO17)]
    save_openpose(files, points)
    save_mask(files / "a_mask.png", known_person.person.mask() > 0.5)
    (person,) = look(photo, files).people
    assert torch.allclose(person.keypoints, points, atol=1e-3)


def fails(photo: Path, files: Path, **settings: Any) -> str:
    """The message of a photo whose files are wrong."""
    result = look(photo, files, **settings)
    assert result.status == "unreadable" and not result.people
    assert "wanted" in result.message and "do:" in result.message
    return result.message


def test_what_is_missing_or_wrong_is_named(known_person, photo, files):
    points, mask = known_person.person.keypoints, known_person.person.mask() > 0.5
    assert "wanted key points of a.jpg, such as" in fails(photo, files)
    save_openpose(files, points)
    assert "masks of a.jpg, such as" in fails(photo, files)
    assert "--silhouette-from parts" in fails(photo, files)
    assert "part maps of a.jpg" in fails(photo, files, silhouette_from="parts")
    save_mask(files / "a_mask.png", mask[:-1])
    assert "260 x 300, came 260 x 299" in fails(photo, files)
    colours = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    Image.fromarray(colours).save(files / "a_mask.png")
    assert "came colours" in fails(photo, files)
    Image.fromarray(colours).save(files / "a_IUV.png")
    assert "or last channel, came numbers up to" in fails(photo, files, silhouette_from="parts")
    (files / "a_mask.png").write_bytes(b"nothing")
    assert "is no picture" in fails(photo, files)
    np.savez(files / "b.npz", wrong=np.zeros(3))
    with pytest.raises(ValueError, match="array called keypoints, found wrong"):
        read_keypoints(files / "b.npz")
    np.save(files / "b.npy", np.zeros((18, 3)))
    with pytest.raises(ValueError, match=r"came \(18, 3\)"):
        read_keypoints(files / "b.npy")
    broken = points.numpy().copy()
    broken[3, 0] = np.nan
    np.save(files / "b.npy", broken)
    with pytest.raises(ValueError, match="not finite"):
        read_keypoints(files / "b.npy")
    np.save(files / "b.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="damaged or of another kind"):
        read_keypoints(files / "b.npy")
    np.save(files / "c.npy", np.full((HEIGHT, WIDTH), 25, np.uint8))
    with pytest.raises(ValueError, match="parts from 0 to 24, came 25"):
        read_parts(files / "c.npy", WIDTH, HEIGHT, iuv=False)


def test_the_photo_itself_must_be_readable(known_person, photo, files):
    save_openpose(files, known_person.person.keypoints)
    photo.write_bytes(b"nothing")
    assert look(photo, files).status == "unreadable"
    (result,) = open_front_end("files", "cpu", FrontEndSettings(files=files))(
        [torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)]
    )
    assert result.status == "unreadable" and "only pixels" in result.message


def test_numbers_need_a_clear_owner(photo, files):
    kind = Companions(files, MASKS)
    for number in (0, 1, 3):
        (files / f"a_mask_{number}.png").touch()
    with pytest.raises(ValueError, match="without a gap"):
        kind.of(photo)
    (files / "a_mask_2.png").touch()
    assert [path.name[-5] for path in kind.of(photo)] == ["0", "1", "2", "3"]
    photo.with_name("a_mask_1.jpg").touch()
    with pytest.raises(ValueError, match="found a.jpg and a_mask_1.jpg"):
        kind.of(photo)


def test_photos_of_one_name_need_files_of_their_own(photo, files, tmp_path):
    other = tmp_path / "more" / "a.jpg"
    save_openpose(files)
    front_end = open_front_end("files", "cpu", FrontEndSettings(files=files))
    check_photos(front_end, [photo])
    with pytest.raises(ValueError, match="both called so"):
        check_photos(front_end, [photo, other])
    with pytest.raises(ValueError, match="key points of z.jpg or another of the 1 photos"):
        check_photos(front_end, [photo.with_name("z.jpg")])
    (files / "more").mkdir()
    save_openpose(files / "more")
    check_photos(front_end, [photo, other])
    assert Companions(files, KEYPOINTS).of(other)[0].parent.name == "more"


def test_it_describes_itself_by_the_files(known_person, photo, files):
    save_openpose(files, known_person.person.keypoints)
    settings = FrontEndSettings(files=files)
    before = describe_front_end(open_front_end("files", "cpu", settings))
    assert before["name"] == "files" and json.loads(json.dumps(before)) == before
    assert describe_front_end(open_front_end("files", "cpu", settings)) == before
    save_mask(files / "a_mask.png", known_person.person.mask() > 0.5)
    assert describe_front_end(open_front_end("files", "cpu", settings)) != before
    after = describe_front_end(open_front_end("files", "cpu", settings))
    for name in ("summary.json", "a/person_0.npz", "a/overlay.png"):  # results change nothing
        (files / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (files / "out" / name).write_text("{}")
    assert describe_front_end(open_front_end("files", "cpu", settings)) == after
    assert describe_front_end(known_person.front_end) == {"name": "method"}
