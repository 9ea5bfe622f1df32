"""The photos of a run on several processes, where Ray is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from plausibody.models.files import DiskFullError
from plausibody.predict.bulk import keeping
from plausibody.predict.bulk.engine import Job, LocalEngine
from plausibody.predict.bulk.engine_ray import RayEngine
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import StoppedError, predict_folder
from plausibody.predict.drawing.bodies import save_picture
from plausibody.predict.reading.photo import decode_photo

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


def files_of(out: Path) -> dict[str, bytes]:
    """Every file of a run, but for the times in its summary."""
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "summary.json"
    }
    summary = json.loads((out / "summary.json").read_text())
    assert summary.pop("timing")["photos"] > 0
    return found | {"summary.json": json.dumps(summary).encode()}


@pytest.fixture(scope="module")
def cluster(known_person: Any) -> Iterator[None]:
    """This machine. Workers cannot import tests; what they need of them comes along."""
    import ray

    for thing in (known_person, Full):
        ray.cloudpickle.register_pickle_by_value(sys.modules[thing.__module__])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=3, log_to_driver=False, include_dashboard=False)
        yield
        ray.shutdown()


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"do: pip install 'plausibody\[ray\]', or --engine loc"):
        RayEngine()


@needs_ray
def test_workers_give_what_one_process_gives(
    tmp_path: Path, known_person: Any, monkeypatch: pytest.MonkeyPatch, cluster: None
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png", "c.png", "explode.png", "nobody.png", "two.png", "z.png"):
        picture = torch.full((3, *known_person.size), 0.5)
        save_picture(picture, tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)  # workers must find what is named from here
    options = RunOptions(save=frozenset({"params", "overlay"}), batch_size=2)

    def predict(out: str, engine: Any, stop: Any = lambda: "") -> Any:
        predictor = known_person.doubting_predictor(samples=2)
        return predict_folder(["photos"], Path(out), predictor, options, stop=stop, engine=engine)

    predict("local", LocalEngine())
    summary = predict("ray", RayEngine(2))
    assert summary.counts == {"ok": 5, "failed": 1, "no_person": 1}
    timing = summary.content["timing"]
    assert timing["engine"] == "ray" and timing["seconds_by_stage"]["network"] > 0
    assert files_of(Path("ray")) == files_of(Path("local"))

    with pytest.raises(StoppedError):
        predict("stopped", RayEngine(2), stop=lambda: "SIGTERM")
    predict("stopped", RayEngine(1))
    assert files_of(Path("stopped")) == files_of(Path("local"))


@needs_ray
def test_a_cluster_that_is_too_small_is_told(
    tmp_path: Path, known_person: Any, cluster: None
) -> None:
    job = Job(tmp_path, known_person.predictor(), RunOptions(), decode_photo)
    with pytest.raises(ValueError, match="room for 64 workers of 1 CPU, .* came one for 3; do:"):
        RayEngine(64)([], job, lambda task, record: None)


@needs_ray
def test_a_full_disk_of_a_worker_is_told(tmp_path: Path, known_person: Any, cluster: None) -> None:
    (tmp_path / "photos").mkdir()
    save_picture(torch.full((3, *known_person.size), 0.5), tmp_path / "photos" / "a.png")
    (tmp_path / "out").mkdir()
    predictor = known_person.doubting_predictor()
    predictor.front_end = Full(known_person)
    with pytest.raises(DiskFullError, match="the disk is full; do: make space"):
        predict_folder([tmp_path / "photos"], tmp_path / "out", predictor, engine=RayEngine(1))


class Full:
    """A front end that finds, in the worker, no space to write results."""

    def __init__(self, known: Any):
        self.known = known

    def __call__(self, pictures: Sequence[Any], max_people: int | None = None) -> Any:
        def write(path: Path, content: Any) -> None:
            raise DiskFullError(path)

        keeping.write_file = write
        return self.known.front_end(pictures, max_people)
