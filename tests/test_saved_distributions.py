"""What is saved of distributions: samples that re-project, gendered coefficients, tables, pages."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from plausibody.models.body import pose_body
from plausibody.models.calibration import LEVELS
from plausibody.models.files import encode_arrays
from plausibody.models.intervals import QUANTITIES
from plausibody.models.rotations import rotmat_to_rotvec
from plausibody.models.templates import load_template
from plausibody.predict.bulk.common_shape import NAME as SHAPES
from plausibody.predict.bulk.run import RunOptions, predict_folder
from plausibody.predict.bulk.table import COLUMNS
from plausibody.predict.bulk.table import NAME as TABLE
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.drawing.pictures import vertex_colours
from plausibody.predict.export import encode_mesh
from plausibody.predict.parameters import Origin, person_arrays
from plausibody.predict.report.bars import bars_of_person, render_bars
from plausibody.predict.result import PersonPrediction

SAMPLES = 4


@pytest.fixture(scope="module")
def person(known_person: Any) -> PersonPrediction:
    (image,) = known_person.doubting_predictor(samples=SAMPLES)(["photo.jpg"])
    found: PersonPrediction = image.people[0]
    return found


def written(known_person: Any, person: PersonPrediction, gendered: Any = None) -> Any:
    """The content of a person's file, read back."""
    origin = Origin(
        known_person.template, "mine", "0" * 64, "photo.jpg", known_person.size, gendered
    )
    content = encode_arrays(person_arrays(person, origin, samples=True))
    return np.load(io.BytesIO(content), allow_pickle=False)


def seen_by_both_cameras(saved: Any, prefix: str, assets: Any) -> tuple[Any, Any]:
    """Rebuilds bodies from their file alone; gives their key points in the picture [px]."""
    template = load_template("open", str(saved["gender"]))
    betas, rotmats = (torch.from_numpy(saved[prefix + name]) for name in ("betas", "rotmats"))
    vertices = pose_body(template, betas, rotmats).vertices
    points = (assets.regressors.coco17 @ vertices).numpy()
    camera = saved[f"{prefix}cam_weak"][..., None, :]
    x, y, side = saved["box"]
    flat = camera[..., :1] * (points[..., :2] + camera[..., 1:]) * side / 2 + [x, y]
    moved = points + saved[f"{prefix}translation"][..., None, :]
    pinhole = saved["focal"] * moved[..., :2] / moved[..., 2:] + saved["principal"]
    return flat, pinhole


def test_saved_samples_are_seen_where_they_were_drawn(
    known_person: Any, person: PersonPrediction, assets: Any
) -> None:
    saved = written(known_person, person)
    flat, pinhole = seen_by_both_cameras(saved, "sample_", assets)
    assert person.samples is not None
    bodies = person.samples.parameters.posed(known_person.template).vertices
    expected = person.camera.project(assets.regressors.coco17 @ bodies)[..., :2].numpy()
    assert flat.shape == (SAMPLES, 17, 2)
    np.testing.assert_allclose(flat, expected, atol=0.02)
    assert np.abs(pinhole - flat).max() < 30  # the lens is assumed to be near
    flat, _ = seen_by_both_cameras(saved, "", assets)
    np.testing.assert_allclose(flat, saved["keypoints"], atol=0.02)
    assert (np.diff(saved["sample_score"]) >= 0).all()
    np.testing.assert_allclose(
        rotmat_to_rotvec(torch.from_numpy(saved["sample_rotmats"])), saved["sample_rotvecs"],
        atol=1e-5,
    )  # fmt: skip


def test_saved_distribution_is_the_prediction(known_person: Any, person: Any) -> None:
    saved = written(known_person, person)
    shape = person.prediction.shape
    np.testing.assert_array_equal(saved["shape_mean"], shape.mean)
    np.testing.assert_array_equal(saved["shape_covariance"], shape.covariance)
    np.testing.assert_array_equal(saved["pose_parameter"], person.prediction.joints.parameter)
    assert saved["vertex_uncertainty"].shape == (len(known_person.template.vertices),)
    assert (str(saved["gender"]), str(saved["gender_told"])) == ("neutral", "")
    assert np.isnan(saved["height_told"])
    assert saved["measurement_names"].tolist() == list(QUANTITIES)
    assert saved["measurement_levels"].tolist() == list(LEVELS)
    assert saved["measurement_low"].shape == (4, 13)
    assert (saved["measurement_low"] < saved["measurement_mean"]).all()
    assert not saved["measurement_calibrated"]
    assert str(saved["measurement_condition"]) == "plain"


def test_single_bodies_have_no_distribution(known_person: Any) -> None:
    (image,) = known_person.predictor()(["photo.jpg"])
    saved = written(known_person, image.people[0])
    assert "measurement_mean" in saved and "measurement_std" not in saved
    assert not [name for name in saved if name.startswith(("shape_", "sample_", "pose_", "vert"))]


def test_told_people_are_saved_as_bodies_of_their_gender(known_person: Any, assets: Any) -> None:
    predictor = known_person.doubting_predictor(gender="female", height=1.75, samples=2)
    (image,) = predictor(["photo.jpg"])
    person = image.people[0]
    saved = written(known_person, person, predictor.gendered)
    assert (str(saved["gender"]), str(saved["gender_told"])) == ("female", "female")
    assert float(saved["height_told"]) == 1.75
    flat, _ = seen_by_both_cameras(saved, "", assets)
    # The female body is the neutral one to within millimetres; 1 px is 8 mm here.
    np.testing.assert_allclose(flat, saved["keypoints"], atol=1.0)
    female = load_template("open", "female")
    rest = [
        body.vertices + torch.einsum("vds,s->vd", body.shape_directions[..., :10], betas)
        for body, betas in (
            (known_person.template, person.prediction.shape.mean),
            (female, torch.from_numpy(saved["shape_mean"])),
        )
    ]
    gap = torch.linalg.vector_norm(rest[0] - rest[1], dim=-1)
    assert gap.mean() < 0.012  # its shape is no woman's, of which the bound is far lower
    low = torch.linalg.eigvalsh(torch.from_numpy(saved["shape_covariance"])).amin()
    assert low > 0


def glb_attribute(content: bytes, name: str) -> Any:
    """Reads the bytes of an attribute; trimesh does not where there is a material."""
    length = int.from_bytes(content[12:16], "little")
    tree, data = json.loads(content[20 : 20 + length]), content[20 + length + 8 :]
    (primitive,) = tree["meshes"][0]["primitives"]
    accessor = tree["accessors"][primitive["attributes"][name]]
    assert accessor["componentType"] == 5121 and accessor["normalized"]
    view = tree["bufferViews"][accessor["bufferView"]]
    start = view.get("byteOffset", 0)
    return np.frombuffer(data[start : start + view["byteLength"]], np.uint8)


def test_uncertainty_colours_the_mesh(known_person: Any, person: PersonPrediction) -> None:
    colours = vertex_colours(person)
    assert colours is not None
    faces = known_person.template.faces
    content = encode_mesh(person.body.vertices, faces, "glb", colours)
    mesh = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices, person.body.vertices, atol=1e-5)
    read = glb_attribute(content, "COLOR_0").reshape(-1, 4)
    assert (read[:, 3] == 255).all()
    np.testing.assert_allclose((read[:, :3] / 255) ** (1 / 2.2), colours, atol=0.08)
    content = encode_mesh(person.body.vertices, faces, "ply", colours)
    mesh = trimesh.load(io.BytesIO(content), file_type="ply", process=False)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, colours, atol=0.003)
    assert b"v " in encode_mesh(person.body.vertices, faces, "obj", colours)


class Folder:
    """Photos on disk, and a front end that notes which of them it looks at."""

    def __init__(self, root: Path, known_person: Any):
        self.photos, self.root, self.known_person = root / "photos", root, known_person
        self.looked: list[str] = []
        self.before_each: Callable[[str], None] = lambda name: None
        self.photos.mkdir()

    def add(self, *names: str) -> None:
        height, width = self.known_person.size
        for name in names:
            grey = sum(name.encode()) % 251 / 250  # no two the same, which would count once
            save_picture(torch.full((3, height, width), grey), self.photos / name)

    def predict(self, out: str = "out", save: str = "params", **settings: Any) -> Any:
        predictor = self.known_person.doubting_predictor(**settings)
        front_end = predictor.front_end

        def noting(pictures: Sequence[Any], max_people: int | None = None) -> Any:
            for picture in pictures:
                self.before_each(Path(picture).name)
                self.looked.append(Path(picture).name)
            return front_end(pictures, max_people)

        predictor.front_end = noting
        self.looked = []
        options = RunOptions(save=frozenset(save.split(",")), batch_size=1)
        return predict_folder([self.photos], self.root / out, predictor, options)

    def table(self, out: str = "out") -> list[dict[str, str]]:
        with (self.root / out / TABLE).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path, known_person: Any) -> Folder:
    return Folder(tmp_path, known_person)


def test_table_has_a_row_for_every_person(folder: Folder) -> None:
    folder.add("a.png", "nobody.png", "two.png")
    summary = folder.predict(height=1.8)
    rows = folder.table()
    assert [(Path(row["image"]).name, row["person"]) for row in rows] == [
        ("a.png", "0"), ("two.png", "0"), ("two.png", "1"),
    ]  # fmt: skip
    assert [row["told"] for row in rows] == ["height", "height", "plain"]
    assert all(row["intervals"] == "raw" for row in rows)
    assert float(rows[0]["height_cm"]) == pytest.approx(180, abs=0.5)
    saved = np.load(folder.root / "out" / "a" / "person_0.npz")
    waist, mass = (list(QUANTITIES).index(name) for name in ("waist", "mass"))
    nine = list(LEVELS).index(0.9)
    for column, value in (
        ("waist_cm", 100 * saved["measurement_mean"][waist]),
        ("waist_cm_low90", 100 * saved["measurement_low"][nine, waist]),
        ("mass_kg_high90", saved["measurement_high"][nine, mass]),
    ):
        assert float(rows[0][column]) == pytest.approx(float(value), abs=0.006)
    folder.add("b.png")
    folder.predict(height=1.8)
    assert folder.looked == ["b.png"]
    again = folder.table()
    assert len(again) == 4 and [again[0], *again[2:]] == rows
    assert summary.content["settings"]["height_told"] == 1.8


def test_names_that_are_no_utf8_do_not_stop_a_run(folder: Folder) -> None:
    """As in archives of old systems: one byte of the name is a letter of Latin-1."""
    folder.add("a.png")
    name = os.fsdecode(b"f\xfcr.png")
    try:
        (folder.photos / "a.png").rename(folder.photos / name)
    except OSError:
        pytest.skip("this file system has no such names")
    summary = folder.predict(save="params,report", samples=2)
    assert summary.counts == {"ok": 1}
    (row,) = folder.table()
    assert row["image"].endswith("f\\udcfcr.png")
    assert "f\\udcfcr.png" in (folder.root / "out" / "report.html").read_text("utf-8")
    content = json.loads((folder.root / "out" / "summary.json").read_text("utf-8"))
    assert content["inputs"][0]["path"] == str(folder.photos / name)


def test_table_of_single_bodies_has_no_intervals(folder: Folder, known_person: Any) -> None:
    folder.add("a.png")
    predict_folder([folder.photos], folder.root / "out", known_person.predictor())
    (row,) = folder.table()
    assert row["intervals"] == "none" and row["waist_cm_low90"] == "" and float(row["waist_cm"]) > 0


def test_samples_and_report_are_written(folder: Folder) -> None:
    folder.add("a.png")
    with pytest.raises(ValueError, match="--save samples: .* add --samples 25"):
        folder.predict(save="samples")
    folder.predict(save="params,samples,report", samples=2)
    files = {path.name for path in (folder.root / "out" / "a").iterdir()}
    assert {name for name in files if not name.startswith("report")} == {
        "person_0.npz", "person_0.json", "person_0_samples.jpg", "result.json",
    }  # fmt: skip
    assert "sample_betas" in np.load(folder.root / "out" / "a" / "person_0.npz")
    page = (folder.root / "out" / "report.html").read_text()
    assert page.count('<td class="track">') == len(QUANTITIES)
    assert "90 % intervals as the network gives them" in page
    folder.predict(save="params", samples=2)
    assert "sample_betas" not in np.load(folder.root / "out" / "a" / "person_0.npz")


def contents(out: Path) -> dict[str, Any]:
    """Everything in result files that does not depend on the clock."""
    found: dict[str, Any] = {}
    for path in sorted(out.glob("*/person_*.npz")):
        with np.load(path) as arrays:
            found[f"{path.parent.name}/{path.name}"] = {
                name: arrays[name].tolist() for name in arrays
            }
    return found


@pytest.mark.parametrize("stop_at", [2, 6])
def test_run_of_one_person_goes_on_after_a_stop_in_either_pass(
    folder: Folder, stop_at: int
) -> None:
    folder.add("a.png", "b.png", "nobody.png", "two.png")
    whole = folder.predict("whole", same_person=True)
    assert folder.looked == ["a.png", "b.png", "nobody.png", "two.png"] * 2
    count = 0

    def kill(name: str) -> None:
        nonlocal count
        count += 1
        if count == stop_at:
            raise KeyboardInterrupt

    folder.before_each = kill
    with pytest.raises(KeyboardInterrupt):
        folder.predict(same_person=True)
    folder.before_each = lambda name: None
    with (folder.root / "out" / SHAPES).open("a") as log:
        log.write('{"path": "cut off in the mid')
    summary = folder.predict(same_person=True)
    assert len(folder.looked) == 8 - (stop_at - 1)
    np.testing.assert_equal(contents(folder.root / "out"), contents(folder.root / "whole"))
    assert folder.table() == folder.table("whole")
    settings = "common_shape"
    assert summary.content["settings"][settings] == whole.content["settings"][settings]
    assert folder.predict(same_person=True).skipped == 4 and folder.looked == []


def test_another_picture_of_one_person_changes_all_results(folder: Folder) -> None:
    folder.add("a.png", "b.png")
    folder.predict(same_person=True)
    before = contents(folder.root / "out")["a/person_0.npz"]
    folder.add("c.png")
    folder.predict(same_person=True)
    assert folder.looked == ["c.png", "a.png", "b.png", "c.png"]  # first for the shape alone
    after = contents(folder.root / "out")["a/person_0.npz"]
    ratio = np.array(after["measurement_std"]) / before["measurement_std"]
    # A third picture narrows by sqrt(2/3) at most, less as the population counts once.
    assert (ratio > np.sqrt(2 / 3)).all() and (ratio < 0.9).all()


def test_bars_stay_on_their_track() -> None:
    record = {"intervals": "calibrated", "told": "height+gender"}
    columns = dict.fromkeys(COLUMNS, [80.0, 10.0, 90.0])
    page = render_bars(bars_of_person(record | columns, "Measurements <of> one"))
    assert "Measurements &lt;of&gt; one (height, gender told)" in page
    assert page.count("left:6.2%;width:50.0%") == len(QUANTITIES)
    assert "goes on" not in page
    assert "calibrated: of synthetic people" in page and "upper arm" in page


def test_bars_that_go_beyond_their_track_say_so() -> None:
    record = {"intervals": "raw", "told": "plain"}
    columns = dict.fromkeys(COLUMNS, [80.0, 70.0, 90.0]) | {"mass_kg": [80.0, 60.0, 200.0]}
    page = render_bars(bars_of_person(record | columns, "Measurements"))
    assert "left:37.5%;width:62.5%" in page
    assert page.count("goes on beyond the track") == 1 and "right:2px" in page
