"""Videos: the right frames, upright, in any order, and what is said of bad files."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plausibody.predict.bulk.engine_video import VideoEngine
from plausibody.predict.bulk.options import RunOptions
from plausibody.predict.bulk.run import predict_folder
from plausibody.predict.reading.video import (
    VideoError,
    frame_name,
    is_video,
    read_frames,
    video_inputs,
)

WIDTH, HEIGHT = 64, 48
Film = Callable[..., Path]


def frame(number: int) -> Tensor:
    """Grey that tells the frame's number, with a red left upper corner."""
    picture = torch.full((HEIGHT, WIDTH, 3), 40 + 5 * number, dtype=torch.uint8)
    picture[:24, :32] = torch.tensor([250, 10, 10], dtype=torch.uint8)
    return picture


def number_in(picture: Tensor) -> int:
    """Reads the number back, from the part that is grey whichever way the frame was turned."""
    height, width = picture.shape[:2]
    parts = picture.float().reshape(2, height // 2, 2, width // 2, 3).permute(0, 2, 1, 3, 4)
    greys = parts[..., 3:-3, 3:-3, 1].mean((-2, -1)).flatten()
    return round((float(greys.median()) - 40) / 5)


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("av", reason="the extra video is not installed")


@pytest.fixture
def film(library: Any, tmp_path: Path) -> Film:
    """Writes a video."""

    def write(
        name: str = "walk.mp4", frames: int = 12, rate: int = 10, rotation: int = 0, gop: int = 5
    ) -> Path:
        path = tmp_path / name
        with library.open(str(path), "w") as container:
            options = {"g": str(gop), "bf": "2", "qmin": "1", "qmax": "3"}
            stream = container.add_stream("mpeg4", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                picture = library.VideoFrame.from_ndarray(frame(number).numpy(), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return write


def test_all_frames_come_in_their_order_with_their_numbers(film):
    path = film()
    found = list(read_frames(path))
    assert [name for name, _ in found] == [f"walk_{n:06d}" for n in range(12)]
    assert [number_in(picture) for _, picture in found] == list(range(12))
    picture = found[3][1]
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == torch.uint8
    assert picture[5, 5].tolist() == pytest.approx([250, 10, 10], abs=25)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"step": 5}, [0, 5, 10]),
        ({"step": 50}, [0]),
        ({"fps": 5.0}, [0, 2, 4, 6, 8, 10]),
        ({"fps": 3.0}, [0, 4, 7, 10]),
        ({"fps": 60.0}, list(range(12))),
    ],
)
def test_some_frames_may_be_chosen(film, options, numbers):
    path = film()
    assert [name for name, _ in read_frames(path, **options)] == [
        frame_name(path, number) for number in numbers
    ]
    inputs = video_inputs(path, **options)
    assert list(inputs.names) == [str(path / frame_name(path, number)) for number in numbers]


@pytest.mark.parametrize(
    ("rotation", "corner", "size"),
    # Against the clock: where the left upper corner of what the camera saw goes.
    [
        (90, (40, 5), (WIDTH, HEIGHT)),
        (-90, (5, 40), (WIDTH, HEIGHT)),
        (180, (40, 50), (HEIGHT, WIDTH)),
    ],
)
def test_frames_are_upright_as_the_phone_was_held(film, rotation, corner, size):
    (_, first), *_ = read_frames(film(rotation=rotation))
    assert first.shape == (*size, 3)
    assert first[corner].tolist() == pytest.approx([250, 10, 10], abs=25)
    assert first.is_contiguous()


@pytest.mark.parametrize("name", ["walk.mp4", "walk.avi", "walk.mkv", "walk.ts"])
def test_frames_open_by_name_in_any_order(film, name):
    """Also of a transport stream, which has no index of frames that stand by themselves."""
    path = film(name, frames=30)
    inputs = video_inputs(path)
    assert len(inputs.names) == 30
    pictures = [picture for _, picture in read_frames(path)]
    for number in (0, 1, 2, 17, 3, 3, 29, 28, 0):
        assert torch.equal(inputs.open(inputs.paths[number]), pictures[number]), number


def test_far_frames_are_found_by_their_key_frames(film):
    path = film(frames=40, gop=4)
    inputs = video_inputs(path)
    video = inputs.open.__self__
    assert video.shown is not None
    for number in (39, 6, 33):
        assert number_in(inputs.open(inputs.paths[number])) == number
    other = pickle.loads(pickle.dumps(video))  # as engines send it to other processes
    assert number_in(other.open(inputs.paths[20])) == 20


def test_a_changed_video_is_noticed(film):
    path = film()
    inputs = video_inputs(path)
    before = inputs.stamp(inputs.names[0])
    assert before == inputs.stamp(inputs.names[5]) == video_inputs(path).stamp("")
    film(frames=13)
    assert video_inputs(path).stamp("") != before


def test_a_video_that_breaks_off_gives_the_frames_before(film, library):
    path = film("walk.mkv", frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = []
    try:
        found += [name for name, _ in read_frames(path)]
    except VideoError as error:
        assert str(path) in str(error)
    inputs = video_inputs(path)
    assert 5 < len(inputs.names) < 40
    assert number_in(inputs.open(inputs.paths[4])) == 4
    with pytest.raises(VideoError, match="wanted frame 39"):
        inputs.open(path / frame_name(path, 39))


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00" * 5000])
def test_what_is_no_video_is_refused(library, tmp_path, content):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    for read in (video_inputs, lambda path: list(read_frames(path))):
        with pytest.raises(VideoError, match=r"film\.mp4: wanted a"):
            read(path)


def test_sound_alone_missing_files_and_odd_rates_are_refused(library, film, tmp_path):
    sound = tmp_path / "sound.wav"
    with library.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = torch.zeros(1, 800, dtype=torch.int16).numpy()
        tone = library.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        tone.sample_rate = 8000
        container.mux(stream.encode(tone))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="without moving pictures"):
        list(read_frames(sound))
    with pytest.raises(FileNotFoundError, match="found no file"):
        list(read_frames(tmp_path / "none.mp4"))
    path = film()
    for options in ({"step": 0}, {"fps": 0.0}, {"fps": -1.0}):
        with pytest.raises(ValueError, match=r"(--every|fps): wanted"):
            list(read_frames(path, **options))


def test_a_run_over_a_video_goes_on_where_it_was_stopped(film, known_person, tmp_path):
    """Smoothed, the unbroken run and the one in two parts give the same files."""
    path = film(frames=7)
    predictor = known_person.doubting_predictor()
    options = RunOptions(save=frozenset({"params"}), batch_size=2)

    def run(out: Path, stop_after: int | None = None, radius: int = 1) -> Any:
        inputs = video_inputs(path)
        written = 0

        def stop() -> str:
            nonlocal written
            written += 1
            return "enough" if stop_after is not None and written >= stop_after else ""

        engine = VideoEngine(inputs.names, radius)
        return predict_folder(inputs, out, predictor, options, stop=stop, engine=engine)

    whole = run(tmp_path / "whole")
    assert whole.counts == {"ok": 7}
    with pytest.raises(Exception, match="enough"):
        run(tmp_path / "parts", stop_after=3)
    assert run(tmp_path / "parts").counts == {"ok": 7}
    for number in range(7):
        name = f"walk_{number:06d}/person_0.npz"
        one, other = ((tmp_path / out / name).read_bytes() for out in ("whole", "parts"))
        assert one == other
    assert run(tmp_path / "parts").skipped == 7
    assert run(tmp_path / "parts", radius=2).skipped == 0, "other smoothing gives other bodies"


# Without the library.


@pytest.mark.parametrize(
    ("name", "said"), [("a.MP4", True), ("b.mov", True), ("c.jpg", False), ("mp4", False)]
)
def test_videos_are_known_by_their_names(name, said):
    assert is_video(name) is said


def test_frames_have_names_that_sort_and_keep_their_ends():
    assert frame_name("clips/walk.v2.mp4", 123) == "walk_v2_000123"
    assert frame_name("a.mov", 2_000_000) == "a_2000000"


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (video_inputs, lambda path: list(read_frames(path))):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "plausibody\[video\]"'):
            read(tmp_path / "a.mp4")
