"""Runs over many photos: stopping, sharing a folder, full disks, and what is kept where."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from plausibody.models.files import DiskFullError
from plausibody.models.locks import LockedError, locked
from plausibody.predict.bulk import keeping
from plausibody.predict.bulk.ahead import ReadAhead
from plausibody.predict.bulk.inputs import Inputs
from plausibody.predict.bulk.journal import Journal, read_journal
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import LOG, Progress, StoppedError, predict_folder
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.reading.photo import PhotoError


class Bulk:
    """Photos on disk, and a predictor that notes which of them it looks at."""

    def __init__(self, root: Path, known_person: Any):
        self.root, self.photos, self.out = root, root / "photos", root / "out"
        self.known_person = known_person
        self.looked: list[list[str]] = []
        self.photos.mkdir()

    def add(self, *names: str) -> None:
        for name in names:
            (self.photos / name).parent.mkdir(exist_ok=True)
            save_picture(torch.full((3, *self.known_person.size), 0.5), self.photos / name)

    def predict(self, paths: Any = None, options: Any = None, **how: Any) -> Any:
        predictor = self.known_person.predictor()
        front_end = predictor.front_end

        def noting(pictures: Sequence[Any], max_people: int | None = None) -> Any:
            self.looked.append([Path(picture).name for picture in pictures])
            return front_end(pictures, max_people)

        predictor.front_end = noting
        self.looked = []
        options = {"save": frozenset({"params"}), "batch_size": 2} | (options or {})
        paths = [self.photos] if paths is None else paths
        return predict_folder(paths, self.out, predictor, RunOptions(**options), **how)

    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.out / "summary.json").read_text())
        return content


@pytest.fixture
def bulk(tmp_path: Path, known_person: Any) -> Iterator[Bulk]:
    yield Bulk(tmp_path, known_person)


def stop_after(count: int) -> Callable[[], str]:
    calls = iter(range(1, 100))
    return lambda: "SIGTERM" if next(calls) == count else ""


def test_a_run_that_is_asked_to_stop_says_how_to_go_on(bulk: Bulk) -> None:
    bulk.add("a.png", "b.png", "c.png", "d.png", "e.png")
    with pytest.raises(StoppedError, match="SIGTERM: stopped with 60% .* same command") as found:
        bulk.predict(stop=stop_after(3))
    assert found.value.why == "SIGTERM" and not (bulk.out / "summary.json").exists()
    told: list[Progress] = []
    summary = bulk.predict(progress=told.append)
    assert summary.skipped == 3 and summary.counts == {"ok": 5}
    assert bulk.looked == [["c.png", "d.png"], ["e.png"]]  # the batches of an unbroken run
    assert [(now.done, now.total, now.people) for now in told] == [(4, 5, 4), (5, 5, 5)]
    bulk.add("f.png", "g.png")
    bulk.predict()
    assert bulk.looked == [["f.png", "g.png"]]


def test_the_summary_tells_how_fast_it_went(bulk: Bulk) -> None:
    bulk.add("a.png", "two.png", "nobody.png")
    bulk.predict()
    timing = bulk.summary()["timing"]
    assert (timing["engine"], timing["photos"], timing["people"]) == ("local", 3, 3)
    assert timing["photos_per_second"] == pytest.approx(3 / timing["seconds"], rel=0.05)
    assert set(timing["seconds_by_stage"]) == {"front_end", "network", "writing"}
    bulk.predict()  # nothing to do
    assert bulk.looked == [] and bulk.summary()["timing"] == timing


def test_a_summary_that_somebody_formatted_is_still_known(bulk: Bulk) -> None:
    bulk.add("a.png", "nobody.png")
    content = bulk.predict().content
    inputs = bulk.summary()["inputs"]
    assert list(content["inputs"]) == inputs == content["inputs"][:]
    assert (len(content["inputs"]), content["inputs"][-1]) == (2, inputs[1])
    (bulk.out / "summary.json").write_text(json.dumps(bulk.summary(), indent=4))
    assert bulk.predict().skipped == 2
    assert b'\n{"path"' in (bulk.out / "summary.json").read_bytes()


def test_two_runs_do_not_share_a_folder(bulk: Bulk) -> None:
    bulk.add("a.png")
    with locked(bulk.out, "predicting", ".lock", ".holder.txt"):
        with pytest.raises(LockedError, match=f"process {os.getpid()} on .* is predicting there"):
            bulk.predict()
    assert bulk.predict().usable


def test_a_lock_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="found a file on the way; do: another --out"):
        with locked(tmp_path / "file"):
            raise AssertionError("must not get here")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("summary.json", "{", "wanted the summary of an earlier run, got"),
        ("summary.json", "[1, 2]", "another file of this name; do: choose another --out"),
        ("summary.json", '{"inputs": 3}', "another file of this name"),
        ("measurements.csv", "my,own\n", "plausibody did not write; do: choose another --out"),
        ("report.html", "<p>mine", "plausibody did not write"),
    ],
)
def test_files_of_the_users_are_not_replaced(
    bulk: Bulk, name: str, content: str, says: str
) -> None:
    bulk.add("a.png")
    bulk.out.mkdir()
    (bulk.out / name).write_text(content)
    with pytest.raises((ValueError, FileExistsError), match=says):
        bulk.predict()
    assert [path.name for path in bulk.out.iterdir()] == [name]
    assert (bulk.out / name).read_text() == content


def test_results_of_other_photos_are_not_replaced(bulk: Bulk) -> None:
    bulk.add("a.png", "left/a.png", "left/b.png", "left/nobody.png")
    bulk.predict([bulk.photos / "a.png"])
    with pytest.raises(ValueError, match="found 1 of others, such as .*a.png; do: .*--force"):
        bulk.predict([bulk.photos / "left"])
    assert len(bulk.summary()["inputs"]) == 1
    os.utime(bulk.photos / "left" / "a.png", (1, 1))
    bulk.predict([bulk.photos / "left"], {"force": True})
    assert {path.name for path in bulk.out.iterdir() if path.is_dir()} == {"a", "a_png", "b"}
    bulk.predict([bulk.photos], {"recursive": True})  # some are the same: the run has grown
    assert len(bulk.summary()["inputs"]) == 4


def test_a_body_that_is_not_found_any_more_is_taken_away(bulk: Bulk) -> None:
    bulk.add("a.png")
    bulk.predict()
    known, bulk.known_person = bulk.known_person, None
    predictor = known.predictor(person=1)
    predict_folder([bulk.photos], bulk.out, predictor, RunOptions(save=frozenset({"params"})))
    assert not (bulk.out / "a").exists()
    assert bulk.summary()["inputs"][0]["status"] == "no_person"


def test_results_that_a_killed_run_has_replaced_are_made_again(bulk: Bulk) -> None:
    bulk.add("a.png", "b.png")
    bulk.predict()
    written = bulk.out / "a" / "result.json"
    record = json.loads(written.read_text())
    written.write_text(json.dumps(record | {"settings": "other ones"}))
    assert bulk.predict().skipped == 1 and json.loads(written.read_text()) == record


@pytest.mark.parametrize("where", ["photo", "journal", "summary"])
def test_a_full_disk_costs_nothing_that_is_finished(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    bulk.add("a.png", "b.png", "c.png")
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        if where == "photo":
            write, count = keeping.write_file, iter(range(9))

            def write_some(path: Path, content: Any) -> None:
                if next(count) == 3:
                    path.write_bytes(b"half")
                    raise full
                write(path, content)

            patch.setattr(keeping, "write_file", write_some)
        elif where == "journal":
            add = Journal.add

            def add_some(journal: Journal, number: int, entry: Any) -> None:
                if number == 1:
                    raise DiskFullError(journal.path)
                add(journal, number, entry)

            patch.setattr(Journal, "add", add_some)
        else:
            replace = Path.replace

            def replace_some(path: Path, target: Path) -> Path:
                if target.name == "summary.json":
                    raise full
                return replace(path, target)

            patch.setattr(Path, "replace", replace_some)
        with pytest.raises(DiskFullError, match="do: make space, then give the same command again"):
            bulk.predict()
    assert not (bulk.out / "summary.json").exists() and (bulk.out / LOG).exists()
    assert not list(bulk.out.rglob("*.unfinished"))
    summary = bulk.predict()
    assert summary.counts == {"ok": 3} and summary.skipped == (3 if where == "summary" else 1)


def test_results_that_cannot_be_written_cost_one_photo(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk.add("a.png", "b.png", "c.png")
    arrays = keeping.encode_arrays
    calls = iter(range(9))

    def encode(content: Any) -> bytes:
        if next(calls) == 1:
            raise RuntimeError("a bug")
        return arrays(content)

    monkeypatch.setattr(keeping, "encode_arrays", encode)
    summary = bulk.predict()
    assert [entry["status"] for entry in summary.content["inputs"]] == ["ok", "failed", "ok"]
    assert (
        "b.png: wanted to write its results, got RuntimeError: a bug"
        in (summary.content["inputs"][1]["message"])
    )
    assert sorted(path.name for path in bulk.out.glob("*/")) == ["a", "c"]
    assert bulk.predict().counts == {"ok": 3}


def test_pictures_may_be_anything_that_opens(bulk: Bulk) -> None:
    """As the frames of a video do."""
    opened: list[str] = []

    def frame(path: Path) -> torch.Tensor:
        opened.append(path.name)
        return torch.full((*bulk.known_person.size, 3), 99, dtype=torch.uint8)

    frames = Inputs(["film.mp4/1", "film.mp4/2"], open=frame, stamp=lambda name: [7, 7])
    summary = bulk.predict(frames, {"save": frozenset({"overlay"})})
    assert summary.counts == {"ok": 2} and opened == ["1", "2"]
    assert (bulk.out / "2" / "overlay.png").is_file()
    assert bulk.predict(frames).skipped == 0 and bulk.predict(frames).skipped == 2


def test_reading_ahead_opens_pictures_once_if_there_is_room() -> None:
    opened: list[str] = []

    def decode(path: Path) -> torch.Tensor:
        opened.append(path.name)
        if "bad" in path.name:
            raise PhotoError("bad")
        return torch.zeros(2, 2, 3, dtype=torch.uint8)

    with ReadAhead(decode, room=12) as ahead:
        seen = []
        for batch in ahead.batches(iter([["a", "b"], ["bad", "a"], ["c"]]), str):
            for name in batch * 2:
                if name == "bad":
                    with pytest.raises(PhotoError, match="bad"):
                        ahead(Path(name))
                else:
                    assert ahead(Path(name)).shape == (2, 2, 3)
                seen.append(name)
            assert ahead.held <= 12
        assert seen == ["a", "b"] * 2 + ["bad", "a"] * 2 + ["c"] * 2
        # There is room for one: a stays until the second batch is done, while b and bad are opened
        # whenever they are asked for. The thread may come to c before that, or after.
        assert sorted(opened)[:5] == ["a", "b", "b", "bad", "bad"]
        assert sorted(opened)[5:] in (["c"], ["c", "c"])
        assert ahead.held == 0


def test_a_journal_tells_what_is_old_from_what_is_new(tmp_path: Path) -> None:
    path, names = tmp_path / "journal", ["a", "b", "c"]
    journal = Journal(path, names)
    journal.begin(lambda: iter([({"path": "b", "n": 1}, True), ({"path": "z"}, True)]), bool)
    with journal:
        journal.add(0, {"path": "a", "text": "\udcfc\n"})
        assert list(journal.batches(2)) == [[0, 2]] and journal.count() == 2
    with path.open("ab") as file:
        file.write(b'{"path": "c", "cut o')
    assert [(entry["path"], old) for entry, old in read_journal(path)] == [
        ("b", True),
        ("a", False),
    ]
    again = Journal(path, names)
    again.begin(lambda: read_journal(path), lambda entry: entry["path"] != "b")
    with again:
        assert list(again) == [{"path": "a", "text": "\udcfc\n"}]
        again.end()
    assert list(read_journal(path)) == [({"path": "a", "text": "\udcfc\n"}, True)]
