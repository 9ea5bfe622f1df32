"""3DPW as published becomes crops and labels: the published numbers, and no trap catches us."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from plausibody.cli import main
from plausibody.evaluate.datasets import pw3d_import
from plausibody.evaluate.datasets.pw3d_import import import_3dpw
from plausibody.evaluate.datasets.pw3d_labels import cut_crop
from plausibody.evaluate.datasets.pw3d_sequences import Sequence3DPW, read_sequence
from plausibody.evaluate.datasets.pw3d_split import SplitLabels, read_split
from plausibody.evaluate.staged.python2 import python2_pickle
from plausibody.models.body import pose_body
from plausibody.models.templates import load_template
from plausibody.models.unpickle import UnsafePickle, read_pickle
from plausibody.synth.picture_file import picture_size, read_picture

PER_PERSON = ("pictures", "names", "low", "high", "poses", "shapes", "genders")
FIRST, SECOND = "courtyard_staged_00", "courtyard_staged_01"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["assets", "import", "3dpw", *map(str, arguments)])


@pytest.fixture
def raw(staged_3dpw: tuple[Path, list[Sequence3DPW]], tmp_path: Path) -> Path:
    """A copy of the staged files, to be changed."""
    return Path(shutil.copytree(staged_3dpw[0] / "raw", tmp_path / "raw"))


@pytest.fixture
def labels(staged_3dpw: tuple[Path, list[Sequence3DPW]]) -> SplitLabels:
    return read_split(staged_3dpw[0] / "raw", labels_body="open")


@pytest.fixture
def rewritten(raw: Path) -> Callable[..., Path]:
    """Writes the first sequence again with some keys changed; None leaves one out."""

    def write(**changed: Any) -> Path:
        path = raw / "sequenceFiles" / "test" / f"{FIRST}.pkl"
        content = {**read_pickle(path), **changed}
        content = {key: value for key, value in content.items() if value is not None}
        path.write_bytes(python2_pickle(content))
        return path

    return write


def published_box(
    sequence: Sequence3DPW, person: int, frame: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """The published definition in double precision: box centre, side, and the root's matrix."""
    actor = sequence.actors[person]
    rotations = Rotation.from_rotvec(actor.poses[frame].reshape(24, 3)).as_matrix()
    template = load_template("open", actor.gender)
    vertices = (
        pose_body(template, torch.tensor(actor.shape).float(), torch.tensor(rotations).float())
        .vertices.double()
        .numpy()
    )
    world = vertices + actor.translations[frame]
    camera = sequence.cameras[frame]
    seen = np.einsum("ij,vj->vi", camera[:3, :3], world) + camera[:3, 3]
    u = sequence.intrinsics[0, 0] * seen[:, 0] / seen[:, 2] + sequence.intrinsics[0, 2]
    v = sequence.intrinsics[1, 1] * seen[:, 1] / seen[:, 2] + sequence.intrinsics[1, 2]
    centre = np.array([(u.max() + u.min()) / 2, (v.max() + v.min()) / 2])
    return centre, max(np.ptp(u), np.ptp(v)), camera[:3, :3] @ rotations[0]


def test_the_table_has_the_published_keys_types_and_order(
    staged_3dpw: tuple[Path, list[Sequence3DPW]],
) -> None:
    with np.load(staged_3dpw[0] / "test" / "3dpw_test.npz") as table:
        arrays = dict(table)
    told = {
        key: (array.dtype.kind, array.itemsize, array.shape[1:]) for key, array in arrays.items()
    }
    assert told == {
        "imgname": ("U", 4 * 46, ()),
        "center": ("f", 4, (2,)),
        "wh": ("f", 4, ()),
        "pose": ("f", 4, (72,)),
        "shape": ("f", 8, (10,)),
        "gender": ("U", 4, ()),
        "truncated": ("b", 1, ()),  # ours; readers of the published file take keys by name
    }
    # Of each sequence one person after the other; the camera is not valid for the first in frame 1.
    assert arrays["imgname"].tolist() == [
        *(f"{FIRST}_image_{frame:05d}_person_000.png" for frame in (0, 2)),
        *(f"{FIRST}_image_{frame:05d}_person_001.png" for frame in (0, 1, 2)),
        *(f"{SECOND}_image_{frame:05d}_person_000.png" for frame in (0, 2)),
    ]
    assert arrays["gender"].tolist() == list("mmfffff")


def test_boxes_and_poses_are_those_of_the_definition(
    staged_3dpw: tuple[Path, list[Sequence3DPW]],
) -> None:
    folder, sequences = staged_3dpw
    with np.load(folder / "test" / "3dpw_test.npz") as table:
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    for row in rows:
        name, _, rest = str(row["imgname"]).partition("_image_")
        sequence = next(one for one in sequences if one.name == name)
        frame, person = int(rest[:5]), int(rest[-7:-4])
        centre, side, root = published_box(sequence, person, frame)
        assert np.abs(row["center"] - centre).max() < 2e-3
        assert abs(row["wh"] - side) < 2e-3
        actor = sequence.actors[person]
        assert np.abs(Rotation.from_rotvec(row["pose"][:3]).as_matrix() - root).max() < 1e-5
        assert np.array_equal(row["pose"][3:], actor.poses[frame, 3:].astype(np.float32))
        assert np.array_equal(row["shape"], actor.shape)


def test_who_goes_on_beyond_the_frame_is_marked(
    staged_3dpw: tuple[Path, list[Sequence3DPW]], raw: Path, tmp_path: Path
) -> None:
    with np.load(staged_3dpw[0] / "test" / "3dpw_test.npz") as table:
        assert not table["truncated"].any()
        name, centre, side = str(table["imgname"][3]), table["center"][3], table["wh"][3]
    sequence, _, rest = name.partition("_image_")
    path = raw / "imageFiles" / sequence / f"image_{rest[:5]}.jpg"
    frame = Image.open(path)
    # The body is upright: its box is as high as its side is long.
    frame.crop((0, 0, frame.width, int(centre[1] + side / 2) - 2)).save(path)
    import_3dpw(read_split(raw, labels_body="open"), tmp_path / "out")
    with np.load(tmp_path / "out" / "3dpw_test.npz") as table:
        marked = dict(zip(table["imgname"].tolist(), table["truncated"].tolist(), strict=True))
    assert marked[name] and sum(marked.values()) <= 2  # the other person of the frame may be so too


def warp(picture: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
    """The published crop: pixel 256 shows the box's centre, a step is 1.2 sides over 512."""
    steps = (np.arange(512) - 256) * 1.2 * side / 512
    places = np.stack(np.meshgrid(centre[1] + steps, centre[0] + steps, indexing="ij"))
    colours = picture.astype(float).transpose(2, 0, 1)
    cut = [map_coordinates(colour, places, order=1, mode="grid-constant") for colour in colours]
    return np.stack(cut, -1)


def test_crops_are_the_published_warp(staged_3dpw: tuple[Path, list[Sequence3DPW]]) -> None:
    folder = staged_3dpw[0]
    with np.load(folder / "test" / "3dpw_test.npz") as table:
        name, centre, side = str(table["imgname"][3]), table["center"][3], float(table["wh"][3])
    sequence, _, rest = name.partition("_image_")
    frame = Image.open(folder / "raw" / "imageFiles" / sequence / f"image_{rest[:5]}.jpg")
    crop = np.asarray(Image.open(folder / "test" / "cropped_frames" / name)).astype(float)
    assert crop.shape == (512, 512, 3)
    assert np.abs(crop - warp(np.asarray(frame), centre, side)).max() < 0.51


@pytest.mark.parametrize(
    ("centre", "side"),
    [((60.3, 40.8), 50.0), ((2.0, 90.0), 160.0), ((70.0, 45.0), 2000.0), ((-900.0, 9.0), 30.0)],
    ids=["enlarged", "beyond the border", "without smoothing", "outside"],
)
def test_any_crop_is_the_published_warp(centre: tuple[float, float], side: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    where = np.array(centre, dtype=np.float32)
    crop = cut_crop(torch.from_numpy(picture), where, side).permute(1, 2, 0).numpy()
    assert np.abs(crop - warp(picture, where, side)).max() < 0.6


def test_the_same_import_again_writes_nothing_but_the_table(
    staged_3dpw: tuple[Path, list[Sequence3DPW]], labels: SplitLabels
) -> None:
    out = staged_3dpw[0] / "test"
    before = {path: path.stat().st_mtime_ns for path in (out / "cropped_frames").iterdir()}
    report = import_3dpw(labels, out)
    assert report.people == report.continued == len(labels) == 7
    after = {path: path.stat().st_mtime_ns for path in (out / "cropped_frames").iterdir()}
    assert after == before


def test_force_begins_anew_also_where_the_labels_are_the_same(
    labels: SplitLabels, tmp_path: Path
) -> None:
    some = replace(labels, **{name: getattr(labels, name)[:2] for name in PER_PERSON})
    import_3dpw(some, tmp_path)
    crop = tmp_path / "cropped_frames" / labels.names[0]
    good = crop.read_bytes()
    crop.write_bytes(b"of frames that have since changed")
    assert import_3dpw(some, tmp_path).continued == 2
    assert import_3dpw(some, tmp_path, force=True).continued == 0
    assert crop.read_bytes() == good


def test_a_killed_import_goes_on_to_the_same_files(
    staged_3dpw: tuple[Path, list[Sequence3DPW]],
    labels: SplitLabels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = staged_3dpw[0] / "test", tmp_path / "out"
    encode, written = pw3d_import.encode_picture, []

    def stop_after_three(picture: torch.Tensor) -> bytes:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(picture)
        return encode(picture)

    with monkeypatch.context() as patch:
        patch.setattr(pw3d_import, "encode_picture", stop_after_three)
        with pytest.raises(KeyboardInterrupt):
            import_3dpw(labels, out, threads=1)
    assert not (out / "3dpw_test.npz").exists()
    (out / "cropped_frames" / f".{labels.names[5]}.unfinished").write_bytes(b"half a")
    report = import_3dpw(labels, out)
    assert (report.people, report.continued) == (7, 3)
    for name in labels.names:
        crop = Path("cropped_frames") / name
        assert (out / crop).read_bytes() == (whole / crop).read_bytes()
    with np.load(out / "3dpw_test.npz") as ours, np.load(whole / "3dpw_test.npz") as theirs:
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_missing_and_broken_frames_are_named_and_the_others_imported(
    raw: Path, tmp_path: Path
) -> None:
    frames, out = raw / "imageFiles", tmp_path / "out"
    (frames / SECOND / "image_00000.jpg").unlink()
    torn = frames / FIRST / "image_00002.jpg"
    torn.write_bytes(torn.read_bytes()[:500])
    result = run(raw, "--out", out, "--labels-body", "open", "--quiet")
    assert result.exit_code == 0, result.output
    assert f"missing frames: imageFiles/{SECOND}/image_00000.jpg" in result.output
    assert "broken frames: 1" in result.output and "image_00002.jpg" in result.output
    assert "left out: 3 people" in result.output
    with np.load(out / "3dpw_test.npz") as table:
        assert len(table["imgname"]) == 4
    record = json.loads((out / "import.json").read_text("utf-8"))
    assert record["missing"] == [f"imageFiles/{SECOND}/image_00000.jpg"]
    assert list(record["broken"]) == [f"imageFiles/{FIRST}/image_00002.jpg"]


def test_a_data_set_without_frames_is_refused(raw: Path, tmp_path: Path) -> None:
    shutil.rmtree(raw / "imageFiles")
    result = run(raw, "--out", tmp_path / "out", "--labels-body", "open", "--quiet")
    assert result.exit_code == 1
    assert "wanted frames" in result.output and "image_00000.jpg" in result.output
    assert not (tmp_path / "out" / "3dpw_test.npz").exists()


class Hostile:
    """An object whose pickle runs a command when it is opened carelessly."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_malicious_pickle_is_refused_and_runs_nothing(
    rewritten: Callable[..., Path], raw: Path, tmp_path: Path
) -> None:
    path = rewritten(texture_maps=Hostile(tmp_path / "ran"))
    with pytest.raises(UnsafePickle, match=f"{FIRST}.pkl"):
        read_sequence(path)
    result = run(raw, "--out", tmp_path / "out", "--labels-body", "open", "--quiet")
    assert result.exit_code == 1 and "hostile" in result.output
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_pickle_that_breaks_off_is_named(raw: Path) -> None:
    path = raw / "sequenceFiles" / "test" / f"{SECOND}.pkl"
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(
        ValueError, match=rf"{SECOND}.pkl: wanted a pickle, came a file that is cut"
    ):
        read_split(raw, labels_body="open")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cam_poses": None, "trans": None}, "found no trans, cam_poses"),
        ({"sequence": "../../elsewhere"}, "sequence: wanted the name of a folder"),
        ({"sequence": SECOND}, f"wanted a sequence of its own, came {SECOND} again"),
        ({"genders": ["m"]}, "wanted lists with an entry for each person"),
        ({"genders": ["m", "x"]}, "genders: wanted m or f"),
        ({"cam_intrinsics": np.eye(4)}, r"cam_intrinsics: wanted numbers of the shape \(3, 3\)"),
        ({"betas": [np.zeros(9), np.zeros(10)]}, "betas of person 0: wanted"),
        ({"poses": [np.zeros((3, 72)), np.zeros((2, 72))]}, "poses of person 1: wanted"),
        ({"campose_valid": ["yes", "no"]}, "campose_valid of person 0: wanted numbers"),
        ({"poses": [["a"], {}]}, "poses of person 0: wanted numbers"),
    ],
)
def test_what_is_no_sequence_is_refused_in_words(
    rewritten: Callable[..., Path], raw: Path, changed: dict[str, Any], message: str
) -> None:
    rewritten(**changed)
    with pytest.raises(ValueError, match=message):
        read_split(raw, labels_body="open")


def test_labels_that_make_no_sense_are_left_out_and_named(
    staged_3dpw: tuple[Path, list[Sequence3DPW]], rewritten: Callable[..., Path], raw: Path
) -> None:
    first = staged_3dpw[1][0]
    poses = [actor.poses.copy() for actor in first.actors]
    places = [actor.translations.copy() for actor in first.actors]
    poses[0][2, 7] = np.nan
    poses[0][1, 0] = np.nan  # the camera is not valid there: nobody looks
    behind = np.linalg.inv(first.cameras[0])[:3] @ [0.0, 0.0, -3.0, 1.0]
    places[1][0] = behind
    rewritten(poses=poses, trans=places)
    found = read_split(raw, labels_body="open")
    assert found.unusable == {
        f"{FIRST}_image_00002_person_000.png": "numbers that are not finite",
        f"{FIRST}_image_00000_person_001.png": "a body that is not before the camera",
    }
    assert len(found) == 5 and np.isfinite(found.centre).all()


def test_a_split_without_a_usable_label_is_refused(
    staged_3dpw: tuple[Path, list[Sequence3DPW]], raw: Path, rewritten: Callable[..., Path]
) -> None:
    (raw / "sequenceFiles" / "test" / f"{SECOND}.pkl").unlink()
    cameras = np.full_like(staged_3dpw[1][0].cameras, np.nan)
    rewritten(cam_poses=cameras)
    with pytest.raises(ValueError, match="wanted people, no frame of any sequence can be used"):
        read_split(raw, labels_body="open")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_from_headers_are_those_of_upright_pictures(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 24)).save(tmp_path / "turned.jpg", exif=exif)
    height, width, _ = read_picture(tmp_path / "turned.jpg").shape
    assert picture_size(tmp_path / "turned.jpg") == (width, height)


def test_a_folder_of_other_labels_is_replaced_only_by_force(
    labels: SplitLabels, raw: Path, rewritten: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    import_3dpw(labels, out)
    (out / "cropped_frames" / "mine.png").write_bytes(b"a user's")
    content = read_pickle(raw / "sequenceFiles" / "test" / f"{FIRST}.pkl")
    rewritten(trans=[place + 0.1 for place in content["trans"]])
    result = run(raw, "--out", out, "--labels-body", "open", "--quiet")
    assert result.exit_code == 1 and "--force" in result.output
    before = (out / "cropped_frames" / labels.names[0]).read_bytes()
    result = run(raw, "--out", out, "--labels-body", "open", "--quiet", "--force")
    assert result.exit_code == 0, result.output
    assert "7 people, 0 of them from before" in result.output
    assert (out / "cropped_frames" / labels.names[0]).read_bytes() != before
    assert (out / "cropped_frames" / "mine.png").is_file()


def test_what_the_authors_published_is_not_overwritten(labels: SplitLabels, tmp_path: Path) -> None:
    (tmp_path / "3dpw_test.npz").write_bytes(b"the published one")
    for force in (False, True):
        with pytest.raises(FileExistsError, match="did not write"):
            import_3dpw(labels, tmp_path, force)
    assert (tmp_path / "3dpw_test.npz").read_bytes() == b"the published one"


def test_folders_that_are_not_3dpw_say_what_was_wanted(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing"):
        result = run(source, "--out", tmp_path / "out", "--labels-body", "open")
        assert result.exit_code == 1
        assert "sequenceFiles/test/*.pkl" in result.output.replace("\n", "")


def test_labels_of_smpl_need_its_files(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(raw, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "--labels-body smpl" in result.output and "smpl.is.tue.mpg.de" in result.output
