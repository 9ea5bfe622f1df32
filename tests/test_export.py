"""What is written: its frames, its wholeness, and that nothing is lost or overwritten."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from plausibody.models.body import pose_body
from plausibody.models.files import DiskFullError, encode_arrays, write_file
from plausibody.models.templates import load_template
from plausibody.predict.bulk.naming import folder_names
from plausibody.predict.bulk.run import LOG, SAVE, Progress, RunOptions, predict_folder
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.export import draft_folder, encode_mesh
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.result import PersonPrediction


@pytest.fixture(scope="module")
def person(known_person: Any) -> PersonPrediction:
    (image,) = known_person.predictor()(["photo.jpg"])
    found: PersonPrediction = image.people[0]
    return found


@pytest.fixture(scope="module")
def saved(known_person: Any, person: PersonPrediction) -> Any:
    """The content of a person's file, read back."""
    origin = Origin(known_person.template, "mine", "0" * 64, "photo.jpg", known_person.size)
    content = encode_arrays(person_arrays(person, origin, vertices=True))
    return np.load(io.BytesIO(content), allow_pickle=False)


def _posed(saved: Any) -> torch.Tensor:
    """Rebuilds a body from its file alone, in the camera's frame but not moved."""
    template = load_template("open", str(saved["gender"]))
    assert template.topology == str(saved["topology"])
    betas, rotmats = torch.from_numpy(saved["betas"]), torch.from_numpy(saved["rotmats"])
    return pose_body(template, betas, rotmats).vertices


def test_saved_body_is_seen_where_the_person_is(
    saved: Any, person: PersonPrediction, assets: Any
) -> None:
    keypoints = assets.regressors.coco17.numpy() @ _posed(saved).numpy()
    scale, *shift = saved["cam_weak"]
    x, y, side = saved["box"]
    flat = scale * (keypoints[:, :2] + shift) * side / 2 + [x, y]
    seen = saved["keypoints_seen"][:, :2]
    np.testing.assert_allclose(flat, seen, atol=0.02)
    np.testing.assert_allclose(flat, saved["keypoints"], atol=0.02)

    moved = keypoints + saved["translation"]
    pinhole = saved["focal"] * moved[:, :2] / moved[:, 2:] + saved["principal"]
    at = person.body.vertices
    expected = person.perspective.project(assets.regressors.coco17 @ at)[:, :2]
    np.testing.assert_allclose(pinhole, expected.numpy(), atol=0.02)
    # The lens is assumed to be near, the regressor's is far: a tenth of the height at most.
    assert np.abs(pinhole - seen).max() < 30


def test_saved_body_is_in_the_cameras_frame(saved: Any) -> None:
    assert int(saved["schema_version"]) == 3
    moved = _posed(saved).numpy() + saved["translation"]
    np.testing.assert_allclose(moved, saved["vertices"], atol=1e-4)
    assert saved["vertices"][:, 2].min() > 0.5
    head, ankle = saved["joints"][15], saved["joints"][7]
    assert head[1] < ankle[1]  # y down
    angle = np.linalg.norm(saved["rotvecs"][0])
    assert angle > 2.5  # a body that faces the camera is turned by half about x
    assert [int(n) for n in saved["image_size"]] == [260, 300]


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_meshes_keep_their_vertices_with_y_up(
    person: PersonPrediction, known_person: Any, suffix: str
) -> None:
    content = encode_mesh(person.body.vertices, known_person.template.faces, suffix)
    mesh = trimesh.load(io.BytesIO(content), file_type=suffix, force="mesh", process=False)
    assert mesh.faces.shape == (13776, 3)
    np.testing.assert_allclose(
        np.sort(mesh.vertices[:, 1]), np.sort(person.body.vertices[:, 1].numpy()), atol=1e-5
    )
    assert mesh.volume > 0.03  # faces look outwards


def test_unknown_mesh_format_is_refused(person: PersonPrediction, known_person: Any) -> None:
    with pytest.raises(ValueError, match="mesh format: wanted one of glb, obj, ply"):
        encode_mesh(person.body.vertices, known_person.template.faces, "stl")


def test_full_disk_is_explained_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError), draft_folder(tmp_path / "folder", "mark") as draft:
        write_file(draft / "mark", "new")
    assert os.listdir(tmp_path) == []


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="did not write"):
        with draft_folder(tmp_path / "mine", "mark"):
            raise AssertionError("must not get here")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png"], ["a_jpg", "a_png"]),
        (["x/a.jpg", "y/a.jpg"], ["x_a_jpg", "y_a_jpg"]),
        (["a.jpg", "A.jpg"], None),
        (["x/x/a.jpg", "y/x/a.jpg"], ["a_jpg_2", "a_jpg_3"]),
        (["a.jpg", "a.png", "a_jpg.gif"], None),
        (["summary.json.jpg"], ["summary.json_jpg"]),
        (["..jpg", ".hidden", "... .png"], None),
        (["n" * 240 + ".jpg"], ["n" * 150]),
        (["\N{SNOWMAN}" * 240 + ".jpg", "\N{SNOWMAN}" * 240 + ".png"], None),
        (["a\nb.jpg", 'a"b?.jpg'], ["a_b", "a_b_"]),
        (
            ["cafe\u0301.jpg", "caf\u00e9.jpg"],
            None,
        ),
        ([os.fsdecode(b"f\xfcr.jpg"), os.fsdecode(b"f\xfcr.png")], None),
    ],
)
def test_folder_names_are_unique(paths: list[str], names: list[str] | None) -> None:
    named = folder_names(paths)
    lower = [name.lower() for name in named]
    assert len(set(lower)) == len(lower)
    assert all(name and not name.startswith(".") and "/" not in name for name in lower)
    assert names is None or named == names
    for count in range(len(paths)):  # of a run that was stopped after some
        assert folder_names(paths, dict(enumerate(named[:count]))) == named
        assert folder_names(paths, {count: named[count]}) == named


def test_folder_names_of_earlier_runs_stay() -> None:
    assert folder_names(["a.jpg", "a.png"], {0: "a"}) == ["a", "a_png"]
    is_others = {"b": "elsewhere/b.jpg"}.__contains__
    assert folder_names(["b.jpg"], {}, lambda name, path: is_others(name)) == ["b_jpg"]


class Folder:
    """Photos on disk, and a predictor that notes which of them it looks at."""

    def __init__(self, photos: Path, out: Path, known_person: Any):
        self.photos, self.out = photos, out
        self.known_person = known_person
        self.looked: list[str] = []
        self.before_each: Callable[[str], None] = lambda name: None
        self.options = RunOptions(
            save=frozenset(SAVE) - {"samples", "iuv", "semantics"}, batch_size=1
        )
        photos.mkdir()

    def add(self, *names: str) -> None:
        height, width = self.known_person.size
        for name in names:
            save_picture(torch.full((3, height, width), 0.5), self.photos / name)

    def predict(self, options: RunOptions | None = None, **settings: Any) -> Any:
        predictor = self.known_person.predictor(**settings)
        front_end = predictor.front_end

        def noting(pictures: Sequence[Any], max_people: int | None = None) -> Any:
            for picture in pictures:
                self.before_each(Path(picture).name)
                self.looked.append(Path(picture).name)
            return front_end(pictures, max_people)

        predictor.front_end = noting
        self.looked = []
        self.progress: list[Progress] = []
        return predict_folder(
            [self.photos], self.out, predictor, options or self.options, self.progress.append
        )


@pytest.fixture
def folder(tmp_path: Path, known_person: Any) -> Iterator[Folder]:
    yield Folder(tmp_path / "photos", tmp_path / "out", known_person)


def test_every_input_is_accounted_for(folder: Folder) -> None:
    folder.add("a.png", "a.jpg", "broken.png", "explode.png", "nobody.png", "two.png")
    summary = folder.predict()
    content = json.loads(summary.path.read_text())
    assert content == summary.content | {"inputs": list(summary.content["inputs"])}
    assert summary.counts == {"ok": 3, "unreadable": 1, "failed": 1, "no_person": 1}
    assert summary.usable and summary.skipped == 0
    assert [Path(entry["path"]).name for entry in content["inputs"]] == sorted(
        ["a.png", "a.jpg", "broken.png", "explode.png", "nobody.png", "two.png"]
    )
    assert all(entry["message"] for entry in content["inputs"] if entry["status"] != "ok")
    two = next(entry for entry in content["inputs"] if entry["path"].endswith("two.png"))
    endings = (".npz", ".json", ".glb", "_views.jpg", "_proxies.jpg")
    for number, person in enumerate(two["people"]):
        assert person["files"] == [f"person_{number}{ending}" for ending in endings]
    assert two["files"] == ["overlay.png"]
    assert two["people"][0]["silhouette_iou"] > 0.95
    written = {path.name for path in (folder.out / "two").iterdir()}
    assert {name for name in written if not name.startswith("report")} == {
        "person_0.npz", "person_0.json", "person_0.glb", "person_0_views.jpg",
        "person_0_proxies.jpg", "person_1.npz", "person_1.json", "person_1.glb",
        "person_1_views.jpg", "person_1_proxies.jpg", "overlay.png", "result.json",
    }  # fmt: skip
    assert {path.name for path in folder.out.iterdir()} - {".lock"} == {
        "a_jpg", "a_png", "two", "summary.json", "report.html", "measurements.csv",
    }  # fmt: skip
    assert [(now.done, now.total) for now in folder.progress] == [(n, 6) for n in range(1, 7)]
    page = (folder.out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 3  # photos and thumbnails
    assert not re.search(r"https?:|@import|url\(", page)


def test_what_is_finished_is_not_done_again(folder: Folder) -> None:
    folder.add("a.png", "b.png", "nobody.png")
    folder.predict()
    assert folder.predict().skipped == 3
    assert folder.looked == []
    folder.add("c.png")
    folder.predict()
    assert folder.looked == ["c.png"]
    os.utime(folder.photos / "a.png", (1, 1))
    folder.predict()
    assert folder.looked == ["a.png"]
    folder.predict(person="main")
    assert len(folder.looked) == 4
    folder.predict(RunOptions(save=folder.options.save, force=True), person="main")
    assert len(folder.looked) == 4


def test_killed_run_goes_on_where_it_stopped(folder: Folder) -> None:
    folder.add("a.png", "b.png", "c.png", "explode.png")

    def kill(name: str) -> None:
        if name == "c.png":
            raise KeyboardInterrupt

    folder.before_each = kill
    with pytest.raises(KeyboardInterrupt):
        folder.predict()
    assert not (folder.out / "summary.json").exists()
    with (folder.out / LOG).open("a") as log:
        log.write('{"path": "cut off in the mid')
    folder.before_each = lambda name: None
    summary = folder.predict()
    assert folder.looked == ["c.png", "explode.png"]
    assert summary.skipped == 2
    assert summary.counts == {"ok": 3, "failed": 1}
    assert not (folder.out / LOG).exists()
    folder.predict()
    assert folder.looked == ["explode.png"]  # what failed may go better now


def test_folder_of_the_users_is_not_replaced(folder: Folder) -> None:
    folder.add("a.png", "b.png")
    (folder.out / "a").mkdir(parents=True)
    (folder.out / "a" / "thesis.txt").write_text("precious")
    summary = folder.predict()
    assert summary.counts == {"failed": 1, "ok": 1}
    assert "choose another --out" in summary.content["inputs"][0]["message"]
    assert (folder.out / "a" / "thesis.txt").exists()


def test_nothing_usable_is_said(folder: Folder) -> None:
    folder.add("nobody.png")
    assert not folder.predict().usable


def test_options_name_what_is_known() -> None:
    with pytest.raises(ValueError, match="got glb, masks, which this version"):
        RunOptions(save=frozenset({"glb", "masks", "mesh"}))
    with pytest.raises(ValueError, match="--mesh-format"):
        RunOptions(mesh_format="stl")
    with pytest.raises(ValueError, match="--batch-size"):
        RunOptions(batch_size=0)
