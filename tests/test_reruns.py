"""A second run into the same folder, and what is not ours, or not one person's, in it."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from plausibody.models.checkpoint import CheckpointError
from plausibody.models.shapes import ShapeGaussian
from plausibody.models.weights import load_regressor
from plausibody.predict.bulk.common_shape import contradictions, copies
from plausibody.predict.bulk.engine import Job, Task, write_result
from plausibody.predict.bulk.inputs import find_inputs
from plausibody.predict.bulk.keeping import RECORD
from plausibody.predict.bulk.options import SAVE, RunOptions
from plausibody.predict.bulk.run import predict_folder
from plausibody.predict.bulk.table import no_formula
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.export import OURS, draft_folder, remove
from plausibody.predict.reading.photo import note_of_frames


class Reruns:
    """Photos on disk, and runs over some of them."""

    def __init__(self, root: Path, known_person: Any):
        self.photos, self.out, self.known_person = root / "photos", root / "out", known_person
        self.photos.mkdir()

    def add(self, *names: str) -> None:
        height, width = self.known_person.size
        for name in names:
            grey = sum(name.encode()) % 251 / 250
            save_picture(torch.full((3, height, width), grey), self.photos / name)

    def predict(self, *names: str, save: str = "params", force: bool = False, **how: Any) -> Any:
        predictor = self.known_person.doubting_predictor(**how)
        paths = [self.photos / name for name in names] or [self.photos]
        options = RunOptions(save=frozenset(save.split(",")), force=force)
        return predict_folder(paths, self.out, predictor, options)


@pytest.fixture
def runs(tmp_path: Path, known_person: Any) -> Reruns:
    return Reruns(tmp_path, known_person)


def test_a_part_of_the_photos_does_not_lose_the_others(runs: Reruns) -> None:
    runs.add("a.png", "b.png", "c.png")
    runs.predict()
    table = (runs.out / "measurements.csv").read_bytes()
    with pytest.raises(ValueError, match="same photos, found 2 of others.*another --out.*--force"):
        runs.predict("a.png")
    assert (runs.out / "measurements.csv").read_bytes() == table
    runs.add("d.png")
    assert runs.predict().counts == {"ok": 4}
    (runs.photos / "b.png").unlink()  # what is gone is not waited for
    assert runs.predict().counts == {"ok": 3}
    assert runs.predict("a.png", force=True).counts == {"ok": 1}


def test_a_page_of_an_earlier_run_goes_and_that_of_the_user_stays(runs: Reruns) -> None:
    runs.add("a.png")
    runs.predict(save="params,report")
    assert (runs.out / "report.html").is_file()
    runs.predict(save="params")
    assert not (runs.out / "report.html").exists()
    (runs.out / "report.html").write_text("mine")
    runs.predict(save="params", person="main")
    assert (runs.out / "report.html").read_text() == "mine"


def test_what_is_no_longer_a_result_goes_and_what_is_the_users_stays(runs: Reruns) -> None:
    runs.add("a.png", "b.png")
    runs.predict(save="params,mesh")
    for name in ("a", "b"):
        (runs.out / name / "mynotes.txt").write_text("precious")
    runs.predict(save="params", person="main")
    for name in ("a", "b"):
        found = {path.name for path in (runs.out / name).iterdir()}
        assert found == {"person_0.npz", "person_0.json", "result.json", "mynotes.txt"}
    assert json.loads((runs.out / "a" / "result.json").read_text())["settings"]
    job = Job(runs.out, runs.known_person.predictor(), RunOptions(), torch.zeros)  # type: ignore
    blank = {"path": str(runs.photos / "a.png"), "file": [0, 0], "settings": ""}
    (image,) = runs.known_person.predictor()(["nobody.png"])
    records: list[Any] = []
    for number, folder in enumerate("ab"):
        if folder == "b":
            (runs.out / "b" / "mynotes.txt").unlink()
        write_result(
            replace(image, status="unreadable", message="broken"),
            Task(number, blank, folder, True), job, job.predictor,
            lambda task, record: records.append(record),
        )  # fmt: skip
    assert [record["status"] for record in records] == ["unreadable"] * 2
    assert [path.name for path in (runs.out / "a").iterdir()] == ["mynotes.txt"]
    assert not (runs.out / "b").exists()


def test_a_folder_that_is_shared_is_told_from_a_result_if_it_is_left_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "a"
    for turn in range(2):
        with draft_folder(final, RECORD) as draft:
            (draft / "person_0.npz").write_text(str(turn))
            (draft / RECORD).write_text('{"path": 1}')
        (final / "own").mkdir(exist_ok=True)
    moved = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.name == "person_0.npz":
            raise KeyboardInterrupt
        return moved(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt), draft_folder(final, RECORD) as draft:
        (draft / "person_0.npz").write_text("2")
        (draft / RECORD).write_text('{"path": 1}')
    assert json.loads((final / RECORD).read_text()) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    remove(final, RECORD)
    assert [path.name for path in final.iterdir()] == ["own"]


def test_all_that_is_written_is_known_as_ours(runs: Reruns) -> None:
    runs.add("two.png")
    runs.predict(save=",".join(set(SAVE) - {"semantics"}), samples=2)
    names = {path.name for path in (runs.out / "two").iterdir()} - {RECORD}
    assert len(names) > 15 and {name for name in names if not OURS.fullmatch(name)} == set()
    assert not OURS.fullmatch("mynotes.txt") and not OURS.fullmatch("person_0_notes.txt")


def test_copies_of_a_photo_count_once_for_the_common_shape(
    runs: Reruns, caplog: pytest.LogCaptureFixture
) -> None:
    runs.add("a.png", "b.png")
    alone = runs.predict(same_person=True).content["settings"]["common_shape"]
    shutil.copy(runs.photos / "a.png", runs.photos / "c.png")
    (runs.photos / "d.png").symlink_to(runs.photos / "b.png")
    names = [str(runs.photos / f"{name}.png") for name in "abcd"]
    assert copies(names, range(4)) == {2: 0, 3: 1} and copies(names, [1, 2]) == {}
    with caplog.at_level(logging.WARNING):
        content = runs.predict(same_person=True).content
    assert caplog.text.count("it counts once") == 2
    people = [entry["people"][0] for entry in content["inputs"]]
    assert people[0]["measurements"] == people[2]["measurements"]
    assert [any("the same picture as" in line for line in person["warnings"])
            for person in people] == [False, False, True, True]  # fmt: skip
    assert content["settings"]["common_shape"] != alone  # what is warned of has changed
    shutil.rmtree(runs.out)
    two = runs.predict("a.png", "b.png", same_person=True).content["inputs"][0]["people"][0]
    assert two["measurements"] == people[0]["measurements"]


class Shapes(list[ShapeGaussian]):
    photos = (3, 5, 8)


def test_shapes_that_contradict_each_other_are_doubted() -> None:
    wide = ShapeGaussian(torch.zeros(10), torch.eye(10))
    near, far = replace(wide, mean=torch.full((10,), 1.0)), torch.full((10,), 1.9)
    found = contradictions(Shapes([wide, near, replace(wide, mean=far)]), wide)  # type: ignore
    assert list(found) == [8] and "is it this person?" in found[8]


def test_names_in_tables_are_no_formulas() -> None:
    for name in ("=1+1.jpg", "@at.jpg", "-dash.jpg", "+.jpg"):
        assert no_formula(name) == f"./{name}" and Path(no_formula(name)) == Path(name)
    assert no_formula("/a/=1.jpg") == "/a/=1.jpg" and no_formula("a.jpg") == "a.jpg"


def test_tables_have_no_mark_before_their_first_name(runs: Reruns) -> None:
    runs.add("caf\u00e9.png")
    runs.predict()
    with (runs.out / "measurements.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == str(runs.photos / "caf\u00e9.png")


def test_files_with_several_pictures_are_told(runs: Reruns) -> None:
    height, width = runs.known_person.size
    pages = [Image.new("RGB", (width, height), (grey, grey, grey)) for grey in (9, 99)]
    for name in ("a.gif", "b.tif", "c.webp"):
        pages[0].save(runs.photos / name, save_all=True, append_images=pages[1:])
    pages[0].save(runs.photos / "d.gif")
    messages = [entry["message"] for entry in runs.predict().content["inputs"]]
    wanted = ("several frames; only the first", "several pages", "several frames", "")
    assert all(part in message for part, message in zip(wanted, messages, strict=True))
    assert messages[0].startswith(str(runs.photos / "a.gif")) and messages[3] == ""
    (runs.photos / "broken.gif").write_bytes(b"GIF89a")
    assert note_of_frames(runs.photos / "broken.gif") == note_of_frames("film.mp4/1") == ""


def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    for name in (".cache/a.jpg", "in/.git/b.jpg", "in/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_inputs([tmp_path], recursive=True)
    assert [Path(name).name for name in found.names] == ["c.jpg"] and found.not_searched == 2
    named = find_inputs([tmp_path / ".cache"], recursive=True)
    assert [Path(name).name for name in named.names] == ["a.jpg"]


def test_folders_that_cannot_be_listed_are_named(
    runs: Reruns, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (runs.photos / "secret").mkdir()
    scandir = os.scandir

    def scan(path: str) -> Any:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(FileNotFoundError, match="could not be listed: .*secret"):
        find_inputs([runs.photos], recursive=True)
    runs.add("a.png")
    predict_folder(
        [runs.photos], runs.out, runs.known_person.doubting_predictor(),
        RunOptions(save=frozenset({"params"}), recursive=True),
    )  # fmt: skip
    assert "secret; do: change their permissions" in caplog.text


def test_places_where_nothing_can_be_written_are_explained(runs: Reruns) -> None:
    runs.add("a.png")
    photo = runs.photos / "a.png"
    runs.out = photo / "x"
    with pytest.raises(NotADirectoryError, match="found a file on the way; do: another --out"):
        runs.predict()
    runs.out = runs.photos.parent / ("x" * 300)
    with pytest.raises(ValueError, match="the system makes none there .*; do: another --out"):
        runs.predict()


def test_cards_that_do_not_fit_are_explained_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: dict[str, Any] = {"method": "straps", "regressor": {}, "proxy": {}}
    for card, says in (
        ({}, "without 'config'"),
        ({"config": config | {"regressor": {"colour": 1}}}, "other settings than this version"),
        ({"config": config | {"method": "magic"}}, "does not fit"),
        ({"config": config}, "of another network"),
    ):
        monkeypatch.setattr(
            "plausibody.models.weights.load_weights", lambda path, card=card: ({}, card)
        )
        with pytest.raises(CheckpointError, match=rf"\(w.json\) .*{says}.*do: get both") as found:
            load_regressor(tmp_path / "w.safetensors")
        assert "Error" not in str(found.value)
